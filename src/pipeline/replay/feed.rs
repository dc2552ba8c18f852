//! Recordings on their way into a pipeline's own topic.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};
use serde::Serialize;

use super::{Feeding, ReplayOptions, topic_of};
use crate::config::{AutoOffsetReset, KafkaSourceConfig, PipelineConfig, SourceDecoding, StateStore};
use crate::kafka::admin::{TopicPlan, ensure_topic};
use crate::kafka::client::{Isolation, reader_config, writer_config};
use crate::kafka::producer::{AckProducer, Record, told};
use crate::pipeline::Progress;
use crate::pipeline::build::load_model;
use crate::signal::StreamKey;
use crate::source::decoding::{DecodingOptions, MessageWriter};
use crate::source::replay::{Clock, Meter, Player, Recording, WallClock};
use crate::telemetry::{PipelineTelemetry, unix_ns};

/// How long one answer of the brokers may take.
const ANSWER: Duration = Duration::from_secs(10);
/// How long one sleep may be.
const STEP: Duration = Duration::from_millis(100);
/// How often it is looked whether everything has been committed.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long the brokers may take to acknowledge what is left at the end.
const FLUSH_WITHIN: Duration = Duration::from_secs(60);
const NANOS_PER_MS: i64 = 1_000_000;

/// What was produced to the pipeline's topic.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Produced {
    /// Messages.
    #[serde(rename = "produced_messages")]
    pub messages: u64,
    /// Bytes of their values.
    #[serde(rename = "produced_bytes")]
    pub bytes: u64,
    /// Samples of all channels in them.
    #[serde(rename = "produced_samples")]
    pub samples: u64,
    /// From the first message until all were acknowledged.
    #[serde(rename = "produced_in_seconds")]
    pub seconds: f64,
    /// Messages over that time.
    #[serde(rename = "produced_messages_per_second")]
    pub messages_per_second: f64,
    /// Samples over that time.
    #[serde(rename = "produced_samples_per_second")]
    pub samples_per_second: f64,
    /// From then until the pipeline had committed all of them.
    #[serde(rename = "committed_after_seconds")]
    pub committed_after_seconds: f64,
}

/// How a feed went.
pub(super) struct Fed {
    pub(super) produced: Produced,
    /// From the first message to the last commit.
    pub(super) seconds: f64,
    /// True if it was stopped before its end.
    pub(super) interrupted: bool,
}

/// Why a pipeline's topic cannot be fed.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// Patterns only.
    #[error("source.topics has only regular expressions: which topic to produce to is not said; name one")]
    NoTopic,
    /// The topic holds packets.
    #[error("the pipeline reads packets, which recordings are none of")]
    Packets,
    /// The recordings are no such messages.
    #[error("recording {recording}: {reason}")]
    Recording {
        /// The recording.
        recording: StreamKey,
        /// What does not fit.
        reason: String,
    },
    /// Messages that the pipeline's decoding reads cannot be written.
    #[error("{0}")]
    Messages(String),
    /// The brokers do not have the topic.
    #[error(
        "the topic {topic:?} does not exist on {brokers}: create it, or say with --partitions how many it gets"
    )]
    Missing {
        /// The topic.
        topic: String,
        /// The brokers that were asked.
        brokers: String,
    },
    /// The brokers cannot be reached, or refuse.
    #[error("the topic {topic:?} cannot be fed: {reason}")]
    Unavailable {
        /// The topic.
        topic: String,
        /// Why.
        reason: String,
    },
    /// The feed ended without saying why: a fault of the program.
    #[error("the feed broke off; this is a fault of rivulet itself")]
    Broken,
}

/// Produces recordings to a pipeline's topic and waits until the pipeline has committed them.
pub(super) struct Feed {
    topic: String,
    player: Player,
    writer: MessageWriter,
    /// The header that the pipeline reads keys from.
    key_header: Option<String>,
    producer: AckProducer,
    /// Reads ends and commits, as a stranger to the group.
    offsets: BaseConsumer,
    partitions: Vec<Partition>,
    duration: Option<Duration>,
    meter: Arc<Meter>,
    /// Messages at the end of a partition that are not committed while a frame is open.
    uncommitted: i64,
}

struct Partition {
    number: i32,
    /// Where it ended before anything was produced.
    end_before: i64,
}

impl Feed {
    /// Finds, or makes, the topic; nothing is produced yet.
    pub(super) fn open(
        config: &PipelineConfig,
        source: &KafkaSourceConfig,
        recordings: Vec<Recording>,
        options: &ReplayOptions,
        feeding: Feeding,
        telemetry: &Arc<PipelineTelemetry>,
        meter: &Arc<Meter>,
    ) -> Result<Self, FeedError> {
        let SourceDecoding::Samples(decoding) = &source.decoding else { return Err(FeedError::Packets) };
        let topic = topic_of(source).ok_or(FeedError::NoTopic)?.to_owned();
        let recordings = fit(recordings, decoding)?;
        let player = Player::new(recordings, &options.play(feeding.message_samples));
        let writer =
            MessageWriter::new(decoding.clone()).map_err(|error| FeedError::Messages(error.to_string()))?;
        let unavailable =
            |error: &KafkaError| FeedError::Unavailable { topic: topic.clone(), reason: told(error) };

        let reader = reader_config(&source.client, Isolation::Committed);
        if let Some(partitions) = feeding.partitions {
            let partitions = i32::try_from(partitions.get()).unwrap_or(i32::MAX);
            let plan = TopicPlan { name: &topic, partitions, replication_factor: None, config: Vec::new() };
            ensure_topic(&reader, &plan).map_err(|error| unavailable(&error))?;
        }
        let mut stranger = reader;
        stranger.set("group.id", &source.group_id).set("enable.auto.commit", "false");
        let offsets: BaseConsumer = stranger.create().map_err(|error| unavailable(&error))?;
        let metadata = offsets.fetch_metadata(Some(&topic), ANSWER).map_err(|error| unavailable(&error))?;
        let found = metadata.topics().iter().find(|found| found.name() == topic && found.error().is_none());
        let numbers: Vec<i32> = found
            .map(|found| found.partitions().iter().map(|partition| partition.id()).collect())
            .unwrap_or_default();
        if numbers.is_empty() {
            return Err(FeedError::Missing { topic, brokers: source.client.brokers.clone() });
        }
        let mut writer_client = writer_config(&source.client);
        if options.speed.times().is_some() {
            // What the producer waits is part of the latency.
            writer_client.set("linger.ms", "0");
        }
        let producer = AckProducer::new(&writer_client, "feed", Arc::clone(telemetry), false)
            .map_err(|error| unavailable(&error))?;
        let mut feed = Self {
            topic: topic.clone(),
            player,
            writer,
            key_header: source.key_header.clone(),
            producer,
            offsets,
            partitions: Vec::with_capacity(numbers.len()),
            duration: options.duration,
            meter: Arc::clone(meter),
            uncommitted: uncommitted(config, decoding, feeding),
        };
        let mut backlog = 0;
        for number in numbers {
            let (beginning, end_before) = feed.ends(number).map_err(|error| unavailable(&error))?;
            let unread_from = match source.auto_offset_reset {
                AutoOffsetReset::Earliest => beginning,
                AutoOffsetReset::Latest | AutoOffsetReset::Error => end_before,
            };
            let committed = feed.committed(&[number]).map_err(|error| unavailable(&error))?;
            let read_to = committed.first().copied().flatten().unwrap_or(unread_from);
            backlog += end_before - read_to.clamp(beginning, end_before);
            feed.partitions.push(Partition { number, end_before });
        }
        if backlog > feed.uncommitted * feed.partitions.len() as i64 {
            tracing::warn!(
                topic,
                messages = backlog,
                "the group has not read the topic to its end: what is there is read first, and counts; a topic of its \
                 own measures the replay alone"
            );
        }
        feed.check_messages()?;
        Ok(feed)
    }

    /// What it plays.
    pub(super) fn player(&self) -> &Player {
        &self.player
    }

    /// Produces once the pipeline reads, and returns when it has committed everything.
    pub(super) fn run(mut self, progress: &Progress) -> Result<Fed, FeedError> {
        while progress.opened.load(Ordering::Relaxed) == 0 {
            if progress.stopped() {
                return Ok(self.fed(0, Duration::ZERO, Duration::ZERO, true));
            }
            std::thread::sleep(LOOK_EVERY);
        }
        let started = Instant::now();
        let (messages, bytes) = self.produce(progress)?;
        self.producer.flush(FLUSH_WITHIN, &progress.stop).or_else(|error| match progress.stopped() {
            true => Ok(()),
            false => Err(self.unavailable(&error)),
        })?;
        let produced = started.elapsed();
        let committed = self.await_commits(progress);
        let mut fed = self.fed(messages, produced, started.elapsed(), !committed);
        fed.produced.bytes = bytes;
        Ok(fed)
    }

    fn fed(&self, messages: u64, produced: Duration, whole: Duration, interrupted: bool) -> Fed {
        let seconds = produced.as_secs_f64();
        let per_second = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        let samples = self.meter.samples();
        let produced = Produced {
            messages,
            bytes: 0,
            samples,
            seconds,
            messages_per_second: per_second(messages),
            samples_per_second: per_second(samples),
            committed_after_seconds: (whole - produced).as_secs_f64(),
        };
        Fed { produced, seconds: whole.as_secs_f64(), interrupted }
    }

    /// Messages and bytes of their values.
    fn produce(&mut self, progress: &Progress) -> Result<(u64, u64), FeedError> {
        let mut clock = WallClock::new();
        clock.start();
        let end_ns = self.duration.map(|duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX));
        let keys: Vec<String> = (0..self.player.streams())
            .map(|stream| {
                self.player.stream_info(stream).map_or_else(String::new, |info| info.key.to_string())
            })
            .collect();
        let paced = self.player.is_paced();
        let start_ns = clock.start_unix_ns();
        let (mut messages, mut bytes) = (0, 0);
        let mut value = Vec::new();
        while let Some(due_ns) = self.player.next_due_ns() {
            let now_ns = clock.now_ns();
            if progress.stopped() || end_ns.is_some_and(|end_ns| now_ns >= end_ns) {
                break;
            }
            if paced && due_ns > now_ns {
                let wake_ns = end_ns.map_or(due_ns, |end_ns| due_ns.min(end_ns));
                let wait = Duration::from_nanos(u64::try_from(wake_ns - now_ns).unwrap_or(0));
                clock.sleep(wait.min(STEP));
                continue;
            }
            let Some(played) = self.player.take() else { break };
            self.meter.played(&played, paced.then(|| now_ns.saturating_sub(played.due_ns)));
            let time_ns = start_ns.saturating_add(played.time_ns);
            // Without a pace, no message is in the future, nor further ahead than its samples: neither do brokers
            // refuse it nor does the window see a gap.
            let message_ns = match paced {
                true => start_ns.saturating_add(played.due_ns),
                false => unix_ns().min(time_ns),
            };
            let key = keys.get(played.stream).map_or("", String::as_str);
            self.writer.write(key, time_ns, &played.samples, &mut value);
            let header = self.key_header.as_deref().map(|name| (name, key.as_bytes()));
            let record = Record {
                topic: &self.topic,
                partition: None,
                key: Some(key.as_bytes()),
                value: &value,
                headers: header.as_slice(),
            };
            let time_ms = Some(message_ns.div_euclid(NANOS_PER_MS));
            match self.producer.send_at(record, time_ms, Vec::new(), &progress.stop) {
                Ok(()) => {}
                Err(_) if progress.stopped() => break,
                Err(error) => return Err(self.unavailable(&error)),
            }
            messages += 1;
            bytes += value.len() as u64;
        }
        self.meter.ended(clock.now_ns());
        Ok((messages, bytes))
    }

    /// True once the pipeline has committed everything that was produced, false if it is stopped before.
    fn await_commits(&self, progress: &Progress) -> bool {
        let numbers: Vec<i32> = self.partitions.iter().map(|partition| partition.number).collect();
        let mut ends = None;
        while !progress.stopped() {
            if ends.is_none() {
                // The brokers have acknowledged everything: where they end now is where the replay ends.
                ends = numbers
                    .iter()
                    .map(|number| self.ends(*number).map(|(_, end)| end).ok())
                    .collect::<Option<Vec<_>>>();
            }
            if let (Some(ends), Ok(committed)) = (&ends, self.committed(&numbers)) {
                let done =
                    self.partitions.iter().zip(ends).zip(committed).all(|((partition, end), committed)| {
                        let untouched = *end <= partition.end_before;
                        untouched || committed.is_some_and(|next| next >= end - self.uncommitted)
                    });
                if done {
                    return true;
                }
            }
            std::thread::sleep(LOOK_EVERY);
        }
        false
    }

    /// Holds that the pipeline reads what will be written, for each stream's key.
    fn check_messages(&self) -> Result<(), FeedError> {
        for stream in 0..self.player.streams() {
            let Some((info, samples)) = self.player.example(stream) else { continue };
            self.writer
                .check(info.key.as_str(), unix_ns(), samples)
                .map_err(|error| FeedError::Messages(format!("stream {}: {error}", info.key)))?;
        }
        Ok(())
    }

    fn ends(&self, partition: i32) -> Result<(i64, i64), KafkaError> {
        self.offsets.fetch_watermarks(&self.topic, partition, ANSWER)
    }

    fn committed(&self, partitions: &[i32]) -> Result<Vec<Option<i64>>, KafkaError> {
        let mut places = TopicPartitionList::new();
        for partition in partitions {
            places.add_partition(&self.topic, *partition);
        }
        let committed = self.offsets.committed_offsets(places, ANSWER)?;
        let of = |partition: &i32| {
            let place = committed.find_partition(&self.topic, *partition)?;
            match place.offset() {
                Offset::Offset(offset) => Some(offset),
                _ => None,
            }
        };
        Ok(partitions.iter().map(of).collect())
    }

    fn unavailable(&self, error: &KafkaError) -> FeedError {
        FeedError::Unavailable { topic: self.topic.clone(), reason: told(error) }
    }
}

/// Without state, positions are committed up to the open frame: so many messages may be left of it.
fn uncommitted(config: &PipelineConfig, decoding: &DecodingOptions, feeding: Feeding) -> i64 {
    if config.delivery.state != StateStore::None {
        return 0;
    }
    let frame_size = load_model(config).map_or(0, |model| model.architecture().frame_size);
    let rows = feeding.message_samples.map_or_else(
        || (decoding.sample_rate_hz * crate::source::replay::CHUNK_SECONDS).round().max(1.0) as usize,
        std::num::NonZeroUsize::get,
    );
    i64::try_from(frame_size.div_ceil(rows)).unwrap_or(i64::MAX).saturating_add(1)
}

/// Recordings as the topic's messages hold them: with its channels, at its rate, in its sample type.
fn fit(recordings: Vec<Recording>, decoding: &DecodingOptions) -> Result<Vec<Recording>, FeedError> {
    let channels = decoding.channels.len();
    let mut fitted = Vec::with_capacity(recordings.len());
    for recording in recordings {
        let refuse =
            |reason: String| Err(FeedError::Recording { recording: recording.info.key.clone(), reason });
        let (found, rate_hz) = (recording.info.channels.len(), recording.info.sample_rate_hz);
        if rate_hz != decoding.sample_rate_hz {
            return refuse(format!(
                "has {rate_hz} Hz, but source.decoding.sample_rate_hz is {}: give a recording of that rate, or a copy \
                 of the pipeline file with this one",
                decoding.sample_rate_hz
            ));
        }
        let sample_type = decoding.sample_type;
        if sample_type.is_integer()
            && let Some(sample) = recording.samples.iter().find(|sample| !sample_type.holds(**sample))
        {
            return refuse(format!(
                "has the sample {sample}, which source.decoding.sample_type does not hold"
            ));
        }
        match channels {
            1 if found > 1 => fitted.extend(recording.split()),
            channels if channels == found => fitted.push(recording),
            channels => {
                return refuse(format!("has {found} channels, but source.decoding has {channels}"));
            }
        }
    }
    for recording in &mut fitted {
        recording.info = decoding.stream_info(recording.info.key.clone());
        recording.samples.iter_mut().for_each(|sample| *sample = decoding.sample_type.nearest(*sample));
    }
    Ok(fitted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::{ChannelInfo, SampleType, StreamInfo};
    use crate::source::decoding::Codec;
    use crate::source::file::Endian;

    fn recording(channels: usize, samples: &[f64]) -> Recording {
        let info = StreamInfo {
            key: StreamKey::new("r"),
            sample_rate_hz: 100.0,
            sample_type: SampleType::F64,
            stored_bits: 64,
            channels: (0..channels).map(|i| ChannelInfo::unscaled(format!("c{i}"))).collect(),
        };
        Recording { info, samples: samples.to_vec() }
    }

    fn decoding(channels: usize, sample_type: SampleType, sample_rate_hz: f64) -> DecodingOptions {
        DecodingOptions {
            sample_rate_hz,
            sample_type,
            channels: vec![ChannelInfo::unscaled(""); channels],
            codec: Codec::Raw { endian: Endian::Little },
        }
    }

    #[test]
    fn recordings_become_what_the_topic_holds() {
        let two = || vec![recording(2, &[1.0, 2.0, 3.0, 4.0])];
        let split = fit(two(), &decoding(1, SampleType::I16, 100.0)).unwrap();
        let found: Vec<_> = split.iter().map(|r| (r.info.key.as_str(), r.samples.as_slice())).collect();
        assert_eq!(found, [("r/c0", &[1.0, 3.0][..]), ("r/c1", &[2.0, 4.0][..])]);
        assert!(split.iter().all(|r| r.info.sample_type == SampleType::I16 && r.info.channels.len() == 1));
        let whole = fit(two(), &decoding(2, SampleType::I16, 100.0)).unwrap();
        assert_eq!((whole.len(), whole[0].samples.len()), (1, 4));
        let rounded = fit(vec![recording(1, &[0.1])], &decoding(1, SampleType::F32, 100.0)).unwrap();
        assert_eq!(rounded[0].samples, [f64::from(0.1_f32)]);
    }

    #[test]
    fn recordings_that_the_topic_cannot_hold_are_refused() {
        for (recording, decoding, reason) in [
            (recording(1, &[1.0]), decoding(1, SampleType::I16, 360.0), "has 100 Hz"),
            (recording(1, &[0.5]), decoding(1, SampleType::I16, 100.0), "the sample 0.5"),
            (recording(3, &[1.0; 3]), decoding(2, SampleType::I16, 100.0), "has 3 channels"),
        ] {
            let error = fit(vec![recording], &decoding).unwrap_err().to_string();
            assert!(error.starts_with("recording r: ") && error.contains(reason), "{error}");
        }
    }
}
