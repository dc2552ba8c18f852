//! Runs a pipeline: the source and the codec on threads of their own, each sink on another, bounded queues
//! between them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use tokio::sync::mpsc;

use super::build::Pipeline;
use super::encode::{EncodeError, EncodeStage};
use super::summary::Summary;
use crate::signal::{Stage, StreamIndex, StreamInfo};
use crate::sink::{DeadLetterSink, Outgoing, Sink, SinkError, SinkReport};
use crate::source::{Source, SourceError, SourceEvent};

/// Chunks that may wait for the codec.
const CHUNK_QUEUE: usize = 8;
/// Packets that may wait for each sink.
const PACKET_QUEUE: usize = 64;

/// Why a run ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The source cannot go on.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The codec cannot go on.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// A sink cannot go on.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// A stage ended without saying why: a fault of the program.
    #[error("the {0} stage broke off; this is a fault of rivulet itself")]
    Broken(Stage),
}

/// How far a run is; read by whoever shows progress, written by the stages.
#[derive(Debug, Default)]
pub struct Progress {
    /// Samples that have left in packets.
    pub samples: AtomicU64,
    /// Bytes of those packets.
    pub packet_bytes: AtomicU64,
    /// Set to stop reading; what was read still leaves.
    pub stop: AtomicBool,
}

enum ForSink {
    Stream(StreamIndex, StreamInfo),
    Packet(Outgoing),
    /// Everything has been sent. A queue that closes without it means that the run has failed.
    End,
}

/// What the codec thread has counted.
#[derive(Default)]
struct Counts {
    streams: usize,
    samples: u64,
    frames: u64,
    packets: u64,
    bits_in: u64,
    packet_bytes: u64,
    dead_letters: (u64, u64),
}

/// Runs `pipeline` until its source ends or [`Progress::stop`] is set, and says what was done.
///
/// # Errors
/// The first stage that failed. The others are stopped.
pub async fn run(pipeline: Pipeline, progress: Arc<Progress>) -> Result<Summary, RunError> {
    let started = Instant::now();
    let Pipeline { name, source, stage, sinks, dead_letters, nominal_ratio } = pipeline;

    let (chunks, for_codec) = mpsc::channel(CHUNK_QUEUE);
    let reading = {
        let progress = Arc::clone(&progress);
        spawn("rivulet-source", move || read(source, &chunks, &progress))
    };
    let (queues, writing): (Vec<_>, Vec<_>) = sinks
        .into_iter()
        .map(|sink| {
            let (packets, for_sink) = mpsc::channel(PACKET_QUEUE);
            (packets, spawn("rivulet-sink", move || write(sink, for_sink)))
        })
        .unzip();
    let encoding = {
        let progress = Arc::clone(&progress);
        spawn("rivulet-codec", move || encode(stage, for_codec, &queues, dead_letters, &progress))
    };

    // A stage that fails closes its queues, and the others end by that. A sink's error comes first: it is the
    // cause where the codec merely found its queue closed.
    let mut reports = Vec::new();
    let mut sink_error = None;
    for writing in writing {
        match writing.await.unwrap_or(Err(RunError::Broken(Stage::Sink))) {
            Ok(report) => reports.extend(report),
            Err(error) => sink_error = sink_error.or(Some(error)),
        }
    }
    let counts = encoding.await.unwrap_or(Err(RunError::Broken(Stage::Encode)));
    let ended = reading.await.unwrap_or(Err(RunError::Broken(Stage::Source)));
    if let Some(error) = sink_error {
        return Err(error);
    }
    let (counts, ended) = (counts?, ended?);
    Ok(summary(name, nominal_ratio, counts, reports, started.elapsed().as_secs_f64(), !ended))
}

/// A thread whose result can be awaited; the receiver fails if the thread panics.
fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> Result<T, RunError> + Send + 'static,
) -> impl Future<Output = Result<Result<T, RunError>, tokio::sync::oneshot::error::RecvError>> {
    let (done, result) = tokio::sync::oneshot::channel();
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(move || {
        // Nobody waits any more: the run has failed elsewhere and said so.
        let _ = done.send(work());
    });
    if let Err(error) = spawned {
        tracing::error!(%error, "cannot start thread {name}");
    }
    result
}

/// True if the source came to its end, false if it was stopped. The end is passed on only where there was no
/// error, so that nothing downstream takes a part for the whole.
fn read(
    mut source: Box<dyn Source>,
    chunks: &mpsc::Sender<SourceEvent>,
    progress: &Progress,
) -> Result<bool, RunError> {
    loop {
        let stopped = progress.stop.load(Ordering::Relaxed);
        let event = if stopped { SourceEvent::End } else { source.next_event()? };
        let end = event == SourceEvent::End;
        if chunks.blocking_send(event).is_err() || end {
            return Ok(end && !stopped);
        }
    }
}

fn encode(
    mut stage: EncodeStage,
    mut events: mpsc::Receiver<SourceEvent>,
    sinks: &[mpsc::Sender<Arc<ForSink>>],
    mut dead_letters: DeadLetterSink,
    progress: &Progress,
) -> Result<Counts, RunError> {
    let mut counts = Counts::default();
    let mut stored_bits: Vec<u64> = Vec::new();
    let mut outgoing = Vec::new();
    let send = |message: ForSink| {
        let message = Arc::new(message);
        sinks.iter().all(|sink| sink.blocking_send(Arc::clone(&message)).is_ok())
    };
    while let Some(event) = events.blocking_recv() {
        let end = event == SourceEvent::End;
        match event {
            SourceEvent::Stream(info) => {
                for (stream, info) in stage.add_stream(&info)? {
                    counts.streams += 1;
                    stored_bits.push(u64::from(info.stored_bits));
                    if !send(ForSink::Stream(stream, info)) {
                        return Ok(counts);
                    }
                }
            }
            SourceEvent::Chunk(chunk) => {
                if let Some(letter) = stage.push(&chunk, &mut outgoing)? {
                    dead_letters.write(&letter)?;
                }
            }
            SourceEvent::DeadLetter(letter) => dead_letters.write(&letter)?,
            SourceEvent::End => stage.finish(&mut outgoing)?,
        }
        for packet in outgoing.drain(..) {
            let header = &packet.packet.header;
            let samples = header.valid_samples() * u64::from(header.channels);
            counts.samples += samples;
            counts.frames += u64::from(header.frames);
            counts.packets += 1;
            counts.bits_in += samples * stored_bits.get(packet.stream).copied().unwrap_or(16);
            counts.packet_bytes += packet.bytes.len() as u64;
            progress.samples.store(counts.samples, Ordering::Relaxed);
            progress.packet_bytes.store(counts.packet_bytes, Ordering::Relaxed);
            if !send(ForSink::Packet(packet)) {
                return Ok(counts);
            }
        }
        if end {
            counts.dead_letters = dead_letters.finish()?;
            send(ForSink::End);
            break;
        }
    }
    Ok(counts)
}

/// None where the run failed before everything was sent.
fn write(
    mut sink: Box<dyn Sink>,
    mut packets: mpsc::Receiver<Arc<ForSink>>,
) -> Result<Option<SinkReport>, RunError> {
    while let Some(message) = packets.blocking_recv() {
        match message.as_ref() {
            ForSink::Stream(stream, info) => sink.add_stream(*stream, info)?,
            ForSink::Packet(outgoing) => sink.write(outgoing)?,
            ForSink::End => return Ok(Some(sink.finish()?)),
        }
    }
    Ok(None)
}

fn summary(
    pipeline: String,
    nominal_ratio: f64,
    counts: Counts,
    reports: Vec<SinkReport>,
    seconds: f64,
    interrupted: bool,
) -> Summary {
    let bytes_out = reports.iter().find_map(|report| report.bytes_written).unwrap_or(counts.packet_bytes);
    let bytes_in = counts.bits_in.div_ceil(8);
    let mirror = reports.into_iter().find_map(|report| report.mirror);
    Summary {
        pipeline,
        streams: counts.streams,
        samples: counts.samples,
        frames: counts.frames,
        packets: counts.packets,
        bytes_in,
        bytes_out,
        ratio: bytes_in as f64 / bytes_out.max(1) as f64,
        nominal_ratio,
        max_prd_percent: mirror.as_ref().and_then(|mirror| mirror.max_prd_percent),
        violations: mirror.as_ref().and_then(|mirror| mirror.max_prd_percent.map(|_| mirror.violations)),
        fidelity: mirror.map(|mirror| mirror.fidelity),
        seconds,
        samples_per_second: if seconds > 0.0 { counts.samples as f64 / seconds } else { 0.0 },
        dead_letters: counts.dead_letters.0,
        dead_letter_samples: counts.dead_letters.1,
        interrupted,
    }
}
