//! Runs a pipeline: the source and the codec on threads of their own, each sink on another, bounded queues
//! between them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{channel, sync_channel};
use std::thread;
use std::time::Instant;

use super::build::Pipeline;
use super::control::Progress;
use super::decoders::DecodersError;
use super::encode::EncodeError;
use super::encoding::{Counts, Encoding};
use super::reading::read;
use super::summary::Summary;
use super::writing::{Writing, commit};
use crate::signal::Stage;
use crate::sink::{SinkError, SinkReport};
use crate::source::SourceError;

/// Batches of events that may wait for the codec.
const BATCH_QUEUE: usize = 8;
/// Packets that may wait for each sink.
const PACKET_QUEUE: usize = 256;

/// Why a run ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The source cannot go on.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The codec cannot go on.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// What decodes packets cannot be had.
    #[error(transparent)]
    Decode(#[from] DecodersError),
    /// A sink cannot go on.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// A stage ended without saying why: a fault of the program.
    #[error("the {0} stage broke off; this is a fault of rivulet itself")]
    Broken(Stage),
}

/// Runs `pipeline` until its source ends or [`Progress::stop`] is set, and says what was done.
///
/// # Errors
/// The first stage that failed. The others are stopped.
pub async fn run(pipeline: Pipeline, progress: Arc<Progress>) -> Result<Summary, RunError> {
    let started = Instant::now();
    let Pipeline {
        name,
        source,
        committer,
        stage,
        pace,
        sinks,
        nominal_ratio,
        telemetry,
        abandoned,
        instance,
    } = pipeline;

    let (batches, for_codec) = sync_channel(BATCH_QUEUE);
    let reading = {
        let (progress, failed) = (Arc::clone(&progress), Arc::clone(&abandoned));
        spawn("rivulet-source", &abandoned, move || read(source, &batches, &progress, &failed))
    };
    let (commits, barriers) = channel();
    let mut latency_measured = false;
    let (queues, writing): (Vec<_>, Vec<_>) = sinks
        .into_iter()
        .map(|sink| {
            let measures_latency = !latency_measured && sink.is_output();
            latency_measured |= measures_latency;
            let writing = Writing {
                measures_latency: measures_latency && !sink.acknowledges_later(),
                sink,
                commits: commits.clone(),
                progress: Arc::clone(&progress),
                telemetry: Arc::clone(&telemetry),
                abandoned: Arc::clone(&abandoned),
            };
            let (packets, for_sink) = sync_channel(PACKET_QUEUE);
            (packets, spawn("rivulet-sink", &abandoned, move || writing.run(&for_sink)))
        })
        .unzip();
    drop(commits);
    let committing = {
        let (progress, telemetry) = (Arc::clone(&progress), Arc::clone(&telemetry));
        spawn("rivulet-commit", &abandoned, move || commit(committer, &barriers, &progress, &telemetry))
    };
    let encoding = {
        let encoding =
            Encoding { stage, sinks: queues, pace, progress, telemetry, abandoned: Arc::clone(&abandoned) };
        spawn("rivulet-codec", &abandoned, move || encoding.run(&for_codec))
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
    let committed = committing.await.unwrap_or(Err(RunError::Broken(Stage::Sink)));
    let counts = encoding.await.unwrap_or(Err(RunError::Broken(Stage::Encode)));
    let ended = reading.await.unwrap_or(Err(RunError::Broken(Stage::Source)));
    drop(instance);
    if let Some(error) = sink_error {
        return Err(error);
    }
    committed?;
    let (counts, ended) = (counts?, ended?);
    Ok(summary(name, nominal_ratio, counts, reports, started.elapsed().as_secs_f64(), !ended))
}

/// A thread whose result can be awaited; the receiver fails if the thread panics. A thread that fails says so in
/// `abandoned`, for those that wait for something that takes long.
fn spawn<T: Send + 'static>(
    name: &str,
    abandoned: &Arc<AtomicBool>,
    work: impl FnOnce() -> Result<T, RunError> + Send + 'static,
) -> impl Future<Output = Result<Result<T, RunError>, tokio::sync::oneshot::error::RecvError>> {
    let (done, result) = tokio::sync::oneshot::channel();
    let failure = Failure(Arc::clone(abandoned));
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(move || {
        let result = work();
        if result.is_ok() {
            std::mem::forget(failure);
        }
        // Nobody waits any more: the run has failed elsewhere and said so.
        let _ = done.send(result);
    });
    if let Err(error) = spawned {
        tracing::error!(%error, "cannot start thread {name}");
    }
    result
}

/// Says, when it is dropped, that a thread has failed.
struct Failure(Arc<AtomicBool>);

impl Drop for Failure {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn summary(
    pipeline: String,
    nominal_ratio: Option<f64>,
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
        dead_letters: counts.dead_letters,
        dead_letter_samples: counts.dead_letter_samples,
        interrupted,
    }
}
