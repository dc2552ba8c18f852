//! The serial source: records from a serial port.
//!
//! ```text
//! port -> framing -> backlog -> decoding, clock, sequence -> chunks
//! ```
//!
//! A port that is not there, busy or unplugged is waited for; the source never ends by itself. What comes from the
//! wire is read as long as the source is called, whether the pipeline has room or not, and waits in a backlog of
//! bounded size.

mod backlog;
mod clock;
pub mod framing;
mod link;
mod port;
pub(crate) mod ports;
mod quality;
mod records;
mod sequence;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use port::PortOptions;
pub(crate) use port::is_port;
pub use serial2_tokio::{CharSize, FlowControl, Parity, SerialPort, StopBits};

use backlog::{Backlog, Entry};
use framing::{Fault, Frame, FramingOptions};
use link::{Link, LinkOptions};
use quality::{News, Quality, Trouble};
use records::Records;

use super::decoding::{Codec, DecodingOptions, MessageDecoder};
use super::{OpenOrigin, Source, SourceError, SourceEvent};
use crate::signal::{DeadLetter, Message, Origin, Position, Stage};
use crate::telemetry::{Health, PipelineTelemetry, Repeats, SerialTelemetry, unix_ns};

/// How long one call may take.
const STEP: Duration = Duration::from_millis(100);
/// The same while the pipeline has no room: it looks for some again soon.
const HELD_STEP: Duration = Duration::from_millis(5);
/// Entries of the backlog that are turned into events before the wire is looked at again.
const SLICE: usize = 512;
/// Silence that is a gap, where the window does not say.
pub(crate) const SILENCE: Duration = Duration::from_secs(1);
/// How often the clock's drift is looked at.
const DRIFT_EVERY: Duration = Duration::from_secs(1);
/// A drift is worth a word once it was measured for so long.
const DRIFT_TOLD_AFTER_NS: i64 = 30_000_000_000;
/// So much is no crystal's drift: the declared rate is wrong.
const WRONG_RATE_PPM: f64 = 1_000.0;
/// How often the same may be said again.
const SAID_EVERY: Duration = Duration::from_secs(3600);

/// The component that health is told of.
const COMPONENT: &str = "source";

/// What the source reads, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct SerialOptions {
    /// The port.
    pub port: PortOptions,
    /// Where records begin and end.
    pub framing: FramingOptions,
    /// How records become samples.
    pub decoding: DecodingOptions,
    /// The key of records that do not name one.
    pub key: String,
    /// The port is opened anew when nothing has come for so long; none: it is waited for.
    pub idle_timeout: Option<Duration>,
    /// Bytes of records that may wait for the pipeline.
    pub buffer_bytes: usize,
}

/// Reads records from a serial port.
pub(crate) struct SerialSource {
    path: String,
    baud_rate: u32,
    /// True if records are text.
    speaks_text: bool,
    since_ms: i64,
    telemetry: Arc<PipelineTelemetry>,
    metrics: Arc<SerialTelemetry>,
    link: Link,
    backlog: Backlog,
    records: Records,
    quality: Quality,
    ready: VecDeque<SourceEvent>,
    /// Reused between reads.
    frames: Vec<(i64, Frame)>,
    phase: Phase,
    /// True if something was given out since the last idle event, behind which it leaves the source's batch.
    unsent: bool,
    /// True once something has come since the wire was opened: it may be the end of a record.
    begun: bool,
    drift_due: Instant,
    drift_said: Repeats,
    overrun_said: Repeats,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Unopened,
    Reading,
    Stopping,
}

impl SerialSource {
    /// A source whose port is opened once it is called. `silence` is a gap, and there may be so many streams.
    pub(crate) fn new(
        options: SerialOptions,
        silence: Duration,
        max_streams: usize,
        telemetry: Arc<PipelineTelemetry>,
    ) -> Self {
        let metrics = Arc::new(telemetry.serial(&Fault::ALL.map(Fault::label)));
        let silence_ns = i64::try_from(silence.as_nanos()).unwrap_or(i64::MAX);
        let speaks_text = !matches!(options.decoding.codec, Codec::Raw { .. } | Codec::Packed(_));
        let decoder = MessageDecoder::new(options.decoding);
        Self {
            path: options.port.path.display().to_string(),
            baud_rate: options.port.baud_rate,
            speaks_text,
            since_ms: unix_ns() / 1_000_000,
            link: Link::new(
                LinkOptions {
                    port: options.port,
                    framing: options.framing,
                    idle_timeout: options.idle_timeout,
                },
                Arc::clone(&telemetry),
                Arc::clone(&metrics),
            ),
            telemetry,
            metrics,
            backlog: Backlog::new(options.buffer_bytes),
            records: Records::new(decoder, options.key, max_streams, silence_ns),
            quality: Quality::default(),
            ready: VecDeque::new(),
            frames: Vec::new(),
            phase: Phase::Unopened,
            unsent: false,
            begun: false,
            drift_due: Instant::now(),
            drift_said: Repeats::new(1, SAID_EVERY),
            overrun_said: Repeats::new(1, SAID_EVERY),
        }
    }

    /// Moves what has come from the wire to the backlog, waiting so long where nothing has. True if there may be more.
    fn read(&mut self, wait: Duration) -> Result<bool, SourceError> {
        let mut frames = std::mem::take(&mut self.frames);
        let read = self.link.read(wait, &mut frames)?;
        if read.opened {
            self.backlog.opened();
        }
        let more = !frames.is_empty();
        for (arrival_ns, frame) in frames.drain(..) {
            let (Frame::Whole { wire_bytes, .. } | Frame::Corrupt { wire_bytes, .. }) = &frame;
            self.telemetry.bytes(Stage::Source, *wire_bytes as u64);
            if let Err(frame) = self.backlog.push(frame, arrival_ns) {
                self.drop_frame(&frame);
            }
        }
        self.frames = frames;
        Ok(more)
    }

    /// The backlog is full: the pipeline is slower than the wire.
    fn drop_frame(&mut self, frame: &Frame) {
        match frame {
            Frame::Whole { record, .. } => {
                let samples = self.records.samples_of(record);
                self.backlog.drop_record(samples);
                self.metrics.overrun(samples);
            }
            Frame::Corrupt { fault, wire_bytes, .. } => {
                self.backlog.drop_damage();
                self.metrics.framing_error(fault.label());
                self.metrics.bytes_discarded(*wire_bytes as u64);
            }
        }
        if self.overrun_said.event(Instant::now()).is_some() {
            tracing::warn!(
                pipeline = self.telemetry.name(),
                "{}: records come faster than the pipeline takes them, and buffer_bytes of them wait already: they are \
                 dropped, counted in rivulet_serial_overrun_samples_total and marked as gaps; look for a sink that \
                 stalls, or give the encoder more threads",
                self.path
            );
        }
    }

    /// Turns a slice of the backlog into events.
    fn decode(&mut self) {
        for _ in 0..SLICE {
            match self.backlog.pop() {
                None => break,
                Some(Entry::Opened) => {
                    self.begun = false;
                    self.records.opened();
                }
                Some(Entry::Dropped(dropped)) => self.records.dropped(dropped),
                Some(Entry::Frame { frame: Frame::Whole { record, wire_bytes }, arrival_ns }) => {
                    self.take_record(&record, wire_bytes, arrival_ns);
                }
                Some(Entry::Frame { frame: Frame::Corrupt { fault, bytes, wire_bytes }, .. }) => {
                    self.take_corrupt(fault, &bytes, wire_bytes);
                }
            }
        }
        self.records.flush(&mut self.ready);
        self.look_at_drift();
    }

    fn take_record(&mut self, record: &[u8], wire_bytes: usize, arrival_ns: i64) {
        self.telemetry.messages_in(1);
        let (lost, taken) = self.records.take(record, arrival_ns, &mut self.ready);
        self.metrics.lost(lost.records, lost.samples);
        match taken {
            Ok(()) => {
                let news = self.quality.good(wire_bytes);
                self.tell(news, "");
                self.begun = true;
                if !self.quality.is_troubled() {
                    self.link.works();
                }
            }
            Err(reason) => {
                let news = self.quality.bad(wire_bytes, record);
                self.tell(news, &reason);
                self.refuse(reason, record);
            }
        }
    }

    fn take_corrupt(&mut self, fault: Fault, bytes: &[u8], wire_bytes: usize) {
        self.metrics.bytes_discarded(wire_bytes as u64);
        let news = self.quality.bad(wire_bytes, bytes);
        self.tell(news, fault.describe());
        self.records.damaged();
        // The end of a record that began before the wire was opened is no damage, and the beginning of one that the
        // wire was lost in is none that anybody could repair.
        if std::mem::replace(&mut self.begun, true) {
            self.metrics.framing_error(fault.label());
            if fault == Fault::Unfinished {
                return;
            }
            let reason = format!("{}: {wire_bytes} bytes, {}", fault.describe(), shown(bytes));
            self.refuse(reason, bytes);
        }
    }

    fn refuse(&mut self, reason: String, bytes: &[u8]) {
        self.records.flush(&mut self.ready);
        let letter = DeadLetter {
            stage: Stage::Source,
            origin: self.path.clone(),
            position: Position::None,
            reason,
            samples: 0,
            message: Some(Arc::new(Message { key: None, value: bytes.to_vec() })),
        };
        self.ready.push_back(SourceEvent::DeadLetter { origin: 0, letter });
    }

    fn tell(&self, news: Option<News>, reason: &str) {
        match news {
            None => {}
            Some(News::Recovery) => self.telemetry.health(COMPONENT, Health::Ok),
            Some(News::Trouble(trouble)) => {
                self.telemetry.health(COMPONENT, Health::Degraded(self.describe(trouble, reason)));
            }
        }
    }

    fn describe(&self, trouble: Trouble, reason: &str) -> String {
        let (path, baud_rate) = (&self.path, self.baud_rate);
        let hint = if !self.speaks_text && trouble.text > 0.95 {
            "the device sends text, and source.decoding takes binary records: is it \"newline_delimited\" with codec \
             \"csv\" or \"json\"?"
                .to_owned()
        } else if self.speaks_text && trouble.text < 0.7 {
            format!(
                "they are no text: is baud_rate right ({baud_rate}), or does the device send binary records?"
            )
        } else {
            format!("is baud_rate right ({baud_rate}), and do framing and decoding fit the device?")
        };
        let Trouble { bad, all, .. } = trouble;
        format!(
            "{bad} of the last {all} bytes of {path} are in no record that can be used ({reason}): {hint}"
        )
    }

    fn look_at_drift(&mut self) {
        let now = Instant::now();
        if now < self.drift_due {
            return;
        }
        self.drift_due = now + DRIFT_EVERY;
        let Some((ppm, measured_ns)) = self.records.drift() else { return };
        self.metrics.clock_drift_ppm(ppm);
        if measured_ns >= DRIFT_TOLD_AFTER_NS
            && ppm.abs() > WRONG_RATE_PPM
            && self.drift_said.event(now).is_some()
        {
            let declared_hz = self.records.decoder().options().sample_rate_hz;
            let real_hz = declared_hz * (1.0 + ppm * 1e-6);
            tracing::warn!(
                pipeline = self.telemetry.name(),
                "{}: the device sends {real_hz:.2} samples/s, declared are {declared_hz} ({ppm:+.0} ppm): is \
                 source.decoding.sample_rate_hz right, or are records lost?",
                self.path
            );
        }
    }

    fn next_ready(&mut self) -> Option<SourceEvent> {
        let event = self.ready.pop_front();
        self.unsent |= event.is_some();
        event
    }
}

/// Bytes in the words of a message.
fn shown(bytes: &[u8]) -> String {
    const SHOWN: usize = 16;
    let hex: Vec<_> = bytes.iter().take(SHOWN).map(|byte| format!("{byte:02x}")).collect();
    format!("{}{}", hex.join(" "), if bytes.len() > SHOWN { " ..." } else { "" })
}

impl Source for SerialSource {
    fn next_event(&mut self) -> Result<SourceEvent, SourceError> {
        if self.phase == Phase::Unopened {
            self.phase = Phase::Reading;
            return Ok(SourceEvent::Open(OpenOrigin {
                index: 0,
                origin: Origin::Port { path: self.path.as_str().into(), since_ms: self.since_ms },
                next: 0,
                note: None,
                windows: Vec::new(),
                after_gap: false,
            }));
        }
        if let Some(event) = self.next_ready() {
            return Ok(event);
        }
        // What was read leaves before this waits for more.
        if std::mem::take(&mut self.unsent) {
            return Ok(SourceEvent::Idle);
        }
        self.read(if self.backlog.is_empty() { STEP } else { Duration::ZERO })?;
        self.decode();
        Ok(self.next_ready().unwrap_or(SourceEvent::Idle))
    }

    fn hold(&mut self) -> Result<bool, SourceError> {
        self.read(HELD_STEP)?;
        Ok(true)
    }

    fn is_held_at_once(&self) -> bool {
        true
    }

    fn stop(&mut self) -> Result<Option<SourceEvent>, SourceError> {
        /// What a port holds is read in far fewer rounds; a wire that never rests must not keep the pipeline.
        const LAST_READS: usize = 64;
        if self.phase == Phase::Reading {
            for _ in 0..LAST_READS {
                if !self.read(Duration::ZERO)? {
                    break;
                }
            }
            self.link.close();
        }
        // A pipeline that is stopped before it was begun has nothing to send.
        if self.phase == Phase::Unopened {
            return Ok(None);
        }
        self.phase = Phase::Stopping;
        while self.ready.is_empty() && !self.backlog.is_empty() {
            self.decode();
        }
        Ok(self.ready.pop_front())
    }
}
