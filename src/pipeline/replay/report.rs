//! What a replay measured.

use std::fmt::Write;
use std::sync::Arc;

use serde::Serialize;

use super::{Produced, ReplayOptions, Via};
use crate::config::{EncoderConfig, Guarantee, PipelineConfig};
use crate::pipeline::Summary;
use crate::pipeline::build::load_model;
use crate::pipeline::summary::grouped;
use crate::source::replay::Meter;
use crate::telemetry::{LatencySnapshot, PipelineTelemetry, process};

/// A feed that ends so shortly before the pipeline, in shares of the whole, may be what the pipeline waited for.
const FEED_LIMITS_ABOVE: f64 = 0.9;
/// A play that is late by more than this is said to have fallen behind.
const BEHIND_SECONDS: f64 = 0.1;

/// What a replay has left behind.
pub(super) struct Measured {
    pub(super) summary: Summary,
    pub(super) streams: usize,
    /// Of the first recording; the others are mostly sampled alike.
    pub(super) sample_rate_hz: f64,
    pub(super) meter: Arc<Meter>,
    pub(super) play_seconds: f64,
    pub(super) cpu_seconds: Option<f64>,
    pub(super) produced: Option<Produced>,
}

/// What a replay measured: the object that `--json` prints.
#[derive(Clone, Debug, Serialize)]
pub struct ReplayReport {
    /// What the pipeline has done.
    #[serde(flatten)]
    pub summary: Summary,
    /// Frames over wall time.
    pub frames_per_second: f64,
    /// Packets over wall time.
    pub packets_per_second: f64,
    /// Streams that were played; their channels may be streams of their own to the pipeline.
    pub played_streams: usize,
    /// Samples of all channels that were handed to the pipeline or produced.
    pub played_samples: u64,
    /// `memory` or `kafka`: which way they went.
    pub via: &'static str,
    /// Signal time over wall time as it was asked for; none: as fast as it went.
    pub speed_asked: Option<f64>,
    /// Signal time over wall time of each stream, as it was.
    pub speed_reached: f64,
    /// How late the last chunk was handed over; none where nothing was paced.
    pub behind_seconds: Option<f64>,
    /// How late the latest one was.
    pub max_behind_seconds: Option<f64>,
    /// From the end of the play until every packet had been acknowledged; none where nothing was paced.
    pub drained_after_seconds: Option<f64>,
    /// From the time at which the last sample of a frame was due to its acknowledged packet; none where nothing was
    /// paced: there is no time at which a sample was due.
    pub latency: Option<LatencySnapshot>,
    /// What bounds the time that a frame waits for its packet to fill; none where nothing was paced.
    #[serde(flatten)]
    pub packet_wait: Option<LatencyBound>,
    /// CPU time of the process, user and system; none where the system does not tell.
    pub cpu_seconds: Option<f64>,
    /// CPU time over samples that left in packets.
    pub cpu_seconds_per_million_samples: Option<f64>,
    /// The most memory that the process had.
    pub peak_memory_bytes: Option<u64>,
    /// What was produced, through Kafka.
    #[serde(flatten)]
    pub produced: Option<Produced>,
    /// True if the pipeline was hardly behind when the feed ended: it may be the feed that was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feed_may_limit: Option<bool>,
}

/// How long a frame may wait for its packet to fill, and which setting says so.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LatencyBound {
    /// The longest wait.
    #[serde(rename = "packet_wait_bound_seconds")]
    pub seconds: f64,
    /// The key of the setting.
    #[serde(rename = "packet_wait_bound_by")]
    pub by: &'static str,
}

impl ReplayReport {
    pub(super) fn new(
        config: &PipelineConfig,
        options: &ReplayOptions,
        measured: Measured,
        telemetry: &PipelineTelemetry,
    ) -> Self {
        let Measured { summary, streams, sample_rate_hz, meter, play_seconds, cpu_seconds, produced } =
            measured;
        let over = |count: f64, seconds: f64| if seconds > 0.0 { count / seconds } else { 0.0 };
        let paced = options.speed.times();
        Self {
            frames_per_second: over(summary.frames as f64, summary.seconds),
            packets_per_second: over(summary.packets as f64, summary.seconds),
            played_streams: streams,
            played_samples: meter.samples(),
            via: match options.via {
                Via::Memory => "memory",
                Via::Kafka(_) => "kafka",
            },
            speed_asked: paced,
            speed_reached: over(meter.signal_seconds() / streams.max(1) as f64, play_seconds),
            behind_seconds: paced.map(|_| meter.behind_seconds()),
            max_behind_seconds: paced.map(|_| meter.max_behind_seconds()),
            drained_after_seconds: paced.map(|_| (summary.seconds - play_seconds).max(0.0)),
            latency: paced.and_then(|_| telemetry.latency_snapshot()),
            packet_wait: paced.and_then(|speed| packet_wait(config, options.via, sample_rate_hz * speed)),
            cpu_seconds,
            cpu_seconds_per_million_samples: cpu_seconds
                .filter(|_| summary.samples > 0)
                .map(|seconds| seconds / (summary.samples as f64 / 1e6)),
            peak_memory_bytes: process::peak_memory_bytes(),
            feed_may_limit: produced.map(|produced| produced.seconds > FEED_LIMITS_ABOVE * summary.seconds),
            produced,
            summary,
        }
    }

    /// The report as an aligned table.
    pub fn table(&self) -> String {
        let mut rows: Vec<(&str, String)> = vec![
            ("frames per second", format!("{:.1}", self.frames_per_second)),
            ("packets per second", format!("{:.1}", self.packets_per_second)),
            ("streams played", format!("{}, via {}", self.played_streams, self.via)),
        ];
        let reached = match self.speed_asked {
            None => format!("{:.1} times real time, as fast as it went", self.speed_reached),
            Some(asked) => format!("{:.2} times real time, {asked} asked for", self.speed_reached),
        };
        rows.push(("speed", reached));
        if let (Some(max_behind), Some(drained)) = (self.max_behind_seconds, self.drained_after_seconds) {
            let too_fast = if max_behind > BEHIND_SECONDS { ": too fast for this pipeline" } else { "" };
            let late = format!("chunks up to {}{too_fast}", milliseconds(max_behind));
            rows.push(("behind schedule", format!("{late}; done {} after the end", milliseconds(drained))));
        }
        match (&self.latency, self.speed_asked) {
            (Some(latency), _) => rows.push((
                "latency",
                format!(
                    "p50 {}, p90 {}, p99 {}, p99.9 {}, max {} of {} frames",
                    milliseconds(latency.p50_seconds),
                    milliseconds(latency.p90_seconds),
                    milliseconds(latency.p99_seconds),
                    milliseconds(latency.p99_9_seconds),
                    milliseconds(latency.max_seconds),
                    grouped(latency.count),
                ),
            )),
            (None, Some(_)) => rows.push(("latency", "no packet was acknowledged".to_owned())),
            (None, None) => rows.push(("latency", "not measured: give a --speed".to_owned())),
        }
        if let Some(LatencyBound { seconds, by }) = &self.packet_wait {
            let wait = format!("a frame waits for its packet up to {}: {by}", milliseconds(*seconds));
            rows.push(("bounded by", wait));
        }
        let unknown = || "unknown".to_owned();
        let cpu = self.cpu_seconds_per_million_samples;
        rows.push(("cpu", cpu.map_or_else(unknown, |seconds| format!("{seconds:.3} s a million samples"))));
        let memory = self.peak_memory_bytes;
        rows.push(("peak memory", memory.map_or_else(unknown, |bytes| format!("{} MiB", bytes >> 20))));
        if let Some(produced) = &self.produced {
            rows.push((
                "produced",
                format!(
                    "{} messages a second, {} samples a second; all committed {:.3} s later",
                    grouped(produced.messages_per_second as u64),
                    grouped(produced.samples_per_second as u64),
                    produced.committed_after_seconds,
                ),
            ));
        }
        if self.speed_asked.is_none() && self.feed_may_limit == Some(true) {
            rows.push(("limited by", "perhaps the feed: the pipeline kept up with it".to_owned()));
        }
        rows.iter().fold(self.summary.table(), |mut table, (name, value)| {
            // Writing to a string does not fail.
            let _ = writeln!(table, "{name:<20} {value}");
            table
        })
    }
}

/// The setting that bounds how long a frame waits between its last sample and its packet's departure, where samples
/// come at `rate_hz` of wall time.
fn packet_wait(config: &PipelineConfig, via: Via, rate_hz: f64) -> Option<LatencyBound> {
    let EncoderConfig::Rvq(encoder) = config.encoder.as_ref()?;
    let frame_size = load_model(config).ok()?.architecture().frame_size;
    let commit = LatencyBound {
        seconds: config.delivery.commit_interval.as_secs_f64(),
        by: "delivery.commit_interval_ms",
    };
    // In a transaction even a full packet waits for the commit.
    if matches!(via, Via::Kafka(_)) && config.delivery.guarantee == Guarantee::ExactlyOnce {
        return Some(commit);
    }
    let others = encoder.frames_per_packet.get() - 1;
    let full = LatencyBound {
        seconds: others as f64 * frame_size as f64 / rate_hz,
        by: "encoder.frames_per_packet",
    };
    let delay = encoder
        .max_packet_delay
        .map(|delay| LatencyBound { seconds: delay.as_secs_f64(), by: "encoder.max_packet_delay_ms" });
    [Some(full), delay, Some(commit)].into_iter().flatten().min_by(|a, b| a.seconds.total_cmp(&b.seconds))
}

fn milliseconds(seconds: f64) -> String {
    format!("{:.1} ms", seconds * 1e3)
}

#[cfg(test)]
mod tests {
    use super::super::Feeding;
    use super::*;

    fn config(encoder: &str, delivery: &str) -> PipelineConfig {
        let model = concat!(env!("CARGO_MANIFEST_DIR"), "/models/ecg-16x");
        let text = format!(
            "name = 'p'\n[source]\ntype = 'kafka'\nbrokers = 'a:1'\ntopics = ['t']\ngroup_id = 'g'\n\
             decoding = {{ codec = 'raw', sample_type = 's16le', channels = 1, sample_rate_hz = 360 }}\n\
             [encoder]\ntype = 'rvq'\nmodel = '{model}'\n{encoder}\n[delivery]\n{delivery}\n\
             [[sinks]]\ntype = 'kafka'\nbrokers = 'a:1'\ntopic = 'u'\n"
        );
        PipelineConfig::parse(&text, "p.toml", &|_| None).unwrap()
    }

    #[test]
    fn the_setting_that_bounds_the_wait_is_named() {
        let bound = |encoder, delivery, rate_hz| {
            let found = packet_wait(&config(encoder, delivery), Via::Memory, rate_hz).unwrap();
            (found.by, found.seconds)
        };
        assert_eq!(bound("", "", 360.0), ("delivery.commit_interval_ms", 0.5));
        assert_eq!(bound("max_packet_delay_ms = 200", "", 360.0), ("encoder.max_packet_delay_ms", 0.2));
        assert_eq!(bound("frames_per_packet = 1", "", 360.0), ("encoder.frames_per_packet", 0.0));
        assert_eq!(bound("frames_per_packet = 3", "", 10_240.0), ("encoder.frames_per_packet", 0.1));

        let exactly_once = config("frames_per_packet = 1", "guarantee = 'exactly_once'");
        let bound = packet_wait(&exactly_once, Via::Kafka(Feeding::default()), 360.0).unwrap();
        assert_eq!(bound.by, "delivery.commit_interval_ms");
    }
}
