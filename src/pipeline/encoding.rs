//! The codec's thread: batches of events in, packets and barriers out.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use super::control::{Barrier, Progress};
use super::encode::EncodeError;
use super::run::RunError;
use super::stage::CodecStage;
use crate::signal::{DeadLetter, Origin, OriginIndex, Stage, StreamIndex, StreamInfo};
use crate::sink::{Outgoing, SampleMessage};
use crate::source::{PacketMessage, SourceEvent};
use crate::telemetry::PipelineTelemetry;
use crate::window::WindowError;

/// How often time is looked at while nothing comes.
const TICK: Duration = Duration::from_millis(20);
/// How often idle streams are looked for, and open ones counted.
const SURVEY_EVERY: Duration = Duration::from_secs(1);

/// When packets leave and checkpoints are made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// None for a source whose positions nobody keeps.
    pub(super) commit: Option<CommitPace>,
    /// How long a frame may wait for its packet to fill.
    pub(super) max_packet_delay: Option<Duration>,
    /// How long a stream may be without samples before its open frame is closed.
    pub(super) idle_timeout: Option<Duration>,
}

/// A checkpoint is made when any of these is reached.
#[derive(Clone, Copy, Debug)]
pub(super) struct CommitPace {
    /// Time since the last one.
    pub(super) interval: Duration,
    /// Frames since the last one.
    pub(super) frames: u64,
    /// Bytes of packets since the last one.
    pub(super) bytes: u64,
}

/// What goes to every sink.
pub(super) enum ForSink {
    Stream(StreamIndex, Arc<StreamInfo>, Origin),
    Gone(StreamIndex),
    Packet(Outgoing),
    Samples(SampleMessage),
    DeadLetter(DeadLetter),
    Barrier(Arc<Barrier>),
    /// Everything has been sent. A queue that closes without it means that the run has failed.
    End,
}

/// What the codec thread has counted.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) streams: usize,
    pub(super) samples: u64,
    pub(super) frames: u64,
    pub(super) packets: u64,
    pub(super) bits_in: u64,
    pub(super) packet_bytes: u64,
    pub(super) dead_letters: u64,
    pub(super) dead_letter_samples: u64,
}

/// What the codec thread works with.
pub(super) struct Encoding {
    pub(super) stage: CodecStage,
    pub(super) sinks: Vec<SyncSender<Arc<ForSink>>>,
    pub(super) pace: Pace,
    pub(super) progress: Arc<Progress>,
    pub(super) telemetry: Arc<PipelineTelemetry>,
    /// Set where the run has failed elsewhere.
    pub(super) abandoned: Arc<AtomicBool>,
}

struct State {
    counts: Counts,
    stored_bits: HashMap<StreamIndex, u64>,
    outgoing: Vec<Outgoing>,
    in_flight: Arc<AtomicUsize>,
    barriers: u64,
    /// Of the last checkpoint.
    committed: Instant,
    frames: u64,
    bytes: u64,
    surveyed: Instant,
    /// Samples of the batch under way.
    samples_in: u64,
}

/// The sinks are gone: the run has failed there.
struct SinksGone;

impl Encoding {
    /// Takes events until the source ends.
    pub(super) fn run(mut self, events: &Receiver<Vec<SourceEvent>>) -> Result<Counts, RunError> {
        let now = Instant::now();
        let mut state = State {
            counts: Counts::default(),
            stored_bits: HashMap::new(),
            outgoing: Vec::new(),
            in_flight: Arc::default(),
            barriers: 0,
            committed: now,
            frames: 0,
            bytes: 0,
            surveyed: now,
            samples_in: 0,
        };
        let live = self.pace.commit.is_some()
            || self.pace.max_packet_delay.is_some()
            || self.pace.idle_timeout.is_some();
        // With nothing to send this thread does not find its queues closed.
        while !self.abandoned.load(Ordering::Relaxed) {
            let batch = match live {
                true => match events.recv_timeout(TICK) {
                    Ok(batch) => batch,
                    Err(RecvTimeoutError::Timeout) => Vec::new(),
                    Err(RecvTimeoutError::Disconnected) => return Ok(state.counts),
                },
                false => match events.recv() {
                    Ok(batch) => batch,
                    Err(_) => return Ok(state.counts),
                },
            };
            let mut end = false;
            for event in batch {
                end |= matches!(event, SourceEvent::End);
                if self.take(event, &mut state)?.is_err() {
                    return Ok(state.counts);
                }
            }
            let samples_in = std::mem::take(&mut state.samples_in);
            if samples_in > 0 {
                self.telemetry.samples_in(samples_in, 0);
            }
            let sent = match end {
                true => self.end(&mut state)?,
                false => self.keep_pace(&mut state)?,
            };
            if end || sent.is_err() {
                break;
            }
        }
        Ok(state.counts)
    }

    fn take(&mut self, event: SourceEvent, state: &mut State) -> Result<Result<(), SinksGone>, RunError> {
        Ok(match event {
            SourceEvent::Open(opened) => {
                tracing::debug!(origin = %opened.origin, next = opened.next, streams = opened.windows.len(), "opened");
                self.stage.open(opened)?;
                self.progress.opened.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            SourceEvent::Stream { origin, info } => self.add_stream(origin, info, state)?,
            SourceEvent::Chunk(chunk) => {
                state.samples_in += chunk.samples.len() as u64;
                match self.stage.push(chunk, Instant::now())? {
                    Some(letter) => self.dead_letter(letter, state),
                    None => Ok(()),
                }
            }
            SourceEvent::Packet(message) => self.decode(message, state)?,
            SourceEvent::DeadLetter { origin, letter } => {
                self.stage.pass(origin, letter.position);
                self.dead_letter(letter, state)
            }
            SourceEvent::Passed { origin, position } => {
                self.stage.pass(origin, position);
                Ok(())
            }
            SourceEvent::Close(closed) => {
                let sent = match closed.commit {
                    true => self.commit(Some(closed.done), &closed.origins, state)?,
                    false => Ok(()),
                };
                let gone = self.stage.close(&closed.origins);
                sent.and_then(|()| self.forget(gone, state))
            }
            SourceEvent::Rewound { done } => {
                let gone = self.stage.close_all();
                state.barriers += 1;
                let number = state.barriers;
                let barrier = Barrier::new(None, number, self.sinks.len(), Some(done), &state.in_flight);
                self.forget(gone, state).and_then(|()| self.send(ForSink::Barrier(Arc::new(barrier))))
            }
            SourceEvent::Idle | SourceEvent::End => Ok(()),
        })
    }

    fn add_stream(
        &mut self,
        origin: usize,
        info: StreamInfo,
        state: &mut State,
    ) -> Result<Result<(), SinksGone>, RunError> {
        let from = self.stage.origin(origin).cloned().unwrap_or(Origin::Whole);
        let added = match self.stage.add_stream(origin, info) {
            Ok(added) => added,
            // A source of many streams goes on without the one; its chunks become dead letters.
            Err(EncodeError::Window(error)) if is_left_out(&from, &error) => {
                tracing::warn!(origin = %from, "{error}");
                return Ok(Ok(()));
            }
            Err(error) => return Err(error.into()),
        };
        for (stream, info) in added {
            state.counts.streams += 1;
            state.stored_bits.insert(stream, u64::from(info.stored_bits));
            if self.send(ForSink::Stream(stream, info, from.clone())).is_err() {
                return Ok(Err(SinksGone));
            }
        }
        Ok(Ok(()))
    }

    /// Sends the samples of a packet.
    fn decode(
        &mut self,
        message: PacketMessage,
        state: &mut State,
    ) -> Result<Result<(), SinksGone>, RunError> {
        let packet_bytes = message.value.len() as u64;
        let decoded = self.stage.decode(message, Instant::now())?;
        self.telemetry.repeats_dropped(decoded.repeated_frames);
        if let Some((stream, info, origin)) = decoded.stream {
            state.counts.streams += 1;
            if self.send(ForSink::Stream(stream, info, origin)).is_err() {
                return Ok(Err(SinksGone));
            }
        }
        if let Some(letter) = decoded.letter {
            return Ok(self.dead_letter(letter, state));
        }
        state.count_packet(packet_bytes, decoded.samples, &self.telemetry);
        self.progress.samples.store(state.counts.samples, Ordering::Relaxed);
        for message in decoded.messages {
            state.count_message(&message, &self.telemetry);
            if self.send(ForSink::Samples(message)).is_err() {
                return Ok(Err(SinksGone));
            }
        }
        Ok(Ok(()))
    }

    fn forget(&self, streams: Vec<StreamIndex>, state: &mut State) -> Result<(), SinksGone> {
        streams.into_iter().try_for_each(|stream| {
            state.stored_bits.remove(&stream);
            self.send(ForSink::Gone(stream))
        })
    }

    fn dead_letter(&mut self, letter: DeadLetter, state: &mut State) -> Result<(), SinksGone> {
        state.counts.dead_letters += 1;
        state.counts.dead_letter_samples += letter.samples;
        self.telemetry.dead_letter(letter.stage, letter.samples);
        self.send(ForSink::DeadLetter(letter))
    }

    /// Sends what is full or due, and makes a checkpoint where it is time.
    fn keep_pace(&mut self, state: &mut State) -> Result<Result<(), SinksGone>, RunError> {
        let now = Instant::now();
        if let Some(before) = self.pace.max_packet_delay.and_then(|delay| now.checked_sub(delay)) {
            self.stage.flush_waiting(before);
        }
        if now.duration_since(state.surveyed) >= SURVEY_EVERY {
            state.surveyed = now;
            if let Some(before) = self.pace.idle_timeout.and_then(|idle| now.checked_sub(idle)) {
                let gone = self.stage.close_idle(before);
                if self.forget(gone, state).is_err() {
                    return Ok(Err(SinksGone));
                }
            }
            let (streams, samples) = self.stage.open_streams();
            self.telemetry.open_streams(streams as u64);
            self.telemetry.open_samples(samples as u64);
        }
        if self.encode(state)?.is_err() {
            return Ok(Err(SinksGone));
        }
        let Some(pace) = self.pace.commit else { return Ok(Ok(())) };
        let due = now.duration_since(state.committed) >= pace.interval
            || state.frames >= pace.frames
            || state.bytes >= pace.bytes;
        match due && state.in_flight.load(Ordering::Acquire) == 0 && self.stage.has_moved() {
            true => self.commit(None, &[], state),
            false => Ok(Ok(())),
        }
    }

    /// Has everything leave, and a barrier behind it.
    fn commit(
        &mut self,
        done: Option<SyncSender<()>>,
        closing: &[OriginIndex],
        state: &mut State,
    ) -> Result<Result<(), SinksGone>, RunError> {
        self.stage.flush();
        if self.encode(state)?.is_err() {
            return Ok(Err(SinksGone));
        }
        let mut checkpoint = self.stage.checkpoint()?;
        checkpoint.closed = closing.iter().filter_map(|origin| self.stage.origin(*origin).cloned()).collect();
        state.barriers += 1;
        let sinks = self.sinks.len();
        let barrier = Barrier::new(Some(checkpoint), state.barriers, sinks, done, &state.in_flight);
        state.committed = Instant::now();
        state.frames = 0;
        state.bytes = 0;
        Ok(self.send(ForSink::Barrier(Arc::new(barrier))))
    }

    fn end(&mut self, state: &mut State) -> Result<Result<(), SinksGone>, RunError> {
        self.stage.finish();
        let sent = self.encode(state)?;
        Ok(sent.and_then(|()| self.send(ForSink::End)))
    }

    fn encode(&mut self, state: &mut State) -> Result<Result<(), SinksGone>, RunError> {
        let started = Instant::now();
        let mut outgoing = std::mem::take(&mut state.outgoing);
        self.stage.encode(&mut outgoing)?;
        if !outgoing.is_empty() {
            self.telemetry.encode_seconds(started.elapsed().as_secs_f64());
        }
        for packet in outgoing.drain(..) {
            state.count(&packet, &self.telemetry);
            self.progress.samples.store(state.counts.samples, Ordering::Relaxed);
            self.progress.packet_bytes.store(state.counts.packet_bytes, Ordering::Relaxed);
            if self.send(ForSink::Packet(packet)).is_err() {
                return Ok(Err(SinksGone));
            }
        }
        state.outgoing = outgoing;
        Ok(Ok(()))
    }

    fn send(&self, message: ForSink) -> Result<(), SinksGone> {
        let message = Arc::new(message);
        self.sinks.iter().try_for_each(|sink| sink.send(Arc::clone(&message)).map_err(|_| SinksGone))
    }
}

/// True for a stream of `origin` that others go on without. Of a serial port all streams are alike: one that does not
/// fit the model is a mistake in the pipeline file.
fn is_left_out(origin: &Origin, error: &WindowError) -> bool {
    match origin {
        Origin::Partition { .. } | Origin::File { .. } => true,
        Origin::Port { .. } => {
            matches!(error, WindowError::TooManyStreams { .. } | WindowError::DuplicateKey { .. })
        }
        _ => false,
    }
}

impl State {
    /// Counts a packet that came in.
    fn count_packet(&mut self, bytes: u64, samples: u64, telemetry: &PipelineTelemetry) {
        self.counts.packets += 1;
        self.counts.samples += samples;
        self.counts.bits_in += bytes.saturating_mul(8);
        telemetry.samples_in(samples, 0);
        telemetry.bytes(Stage::Source, bytes);
    }

    /// Counts a message that goes out.
    fn count_message(&mut self, message: &SampleMessage, telemetry: &PipelineTelemetry) {
        let (frames, bytes) = (u64::from(message.frames), message.value.len() as u64);
        self.counts.frames += frames;
        self.counts.packet_bytes += bytes;
        self.frames += frames;
        self.bytes += bytes;
        telemetry.bytes(Stage::Sink, bytes);
    }

    fn count(&mut self, packet: &Outgoing, telemetry: &PipelineTelemetry) {
        let header = &packet.packet.header;
        let samples = header.valid_samples() * u64::from(header.channels);
        let bits = samples * self.stored_bits.get(&packet.stream).copied().unwrap_or(16);
        let (frames, bytes) = (u64::from(header.frames), packet.bytes.len() as u64);
        self.counts.samples += samples;
        self.counts.frames += frames;
        self.counts.packets += 1;
        self.counts.bits_in += bits;
        self.counts.packet_bytes += bytes;
        self.frames += frames;
        self.bytes += bytes;
        telemetry.samples_in(0, bits);
        telemetry.frames_encoded(frames);
        telemetry.packets_out(1);
        telemetry.packet_bytes(bytes);
    }
}
