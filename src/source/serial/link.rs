//! The wire: opened, read, lost, waited for and opened again.
//!
//! ```text
//! Closed --(back-off is over)--> open --> Open --(gone, or silent for too long)--> Closed
//! ```

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use serial2_tokio::SerialPort;
use tokio::runtime::Runtime;
use tokio_stream::{Stream, StreamExt};
use tokio_util::codec::FramedRead;

use super::framing::{Frame, Framing, FramingOptions};
use super::port::{Port, PortLock, PortOptions};
use crate::back_off::{BackOff, BackOffPolicy};
use crate::signal::Stage;
use crate::source::SourceError;
use crate::telemetry::{Health, PipelineTelemetry, SerialTelemetry, unix_ns};

/// Tries to open a port begin so fast and become so slow. Only a record that can be used starts them over.
const BACK_OFF: BackOffPolicy = BackOffPolicy {
    first: Duration::from_millis(100),
    longest: Duration::from_secs(5),
    steady_after: Duration::MAX,
};
/// A port that is open and has sent nothing for so long is told of.
const NOTHING_AFTER: Duration = Duration::from_secs(10);
/// Frames of one read, at most.
const READ_FRAMES: usize = 1024;

#[derive(Debug)]
pub(super) struct LinkOptions {
    pub(super) port: PortOptions,
    pub(super) framing: FramingOptions,
    pub(super) idle_timeout: Option<Duration>,
}

/// A port that comes and goes.
pub(super) struct Link {
    options: LinkOptions,
    telemetry: Arc<PipelineTelemetry>,
    metrics: Arc<SerialTelemetry>,
    state: State,
    /// Made on the thread that reads, which drops it, too: no runtime may be dropped within another.
    runtime: Option<Runtime>,
    back_off: BackOff,
    opened_before: bool,
    /// True until a record tells that the wire works.
    doubtful: bool,
    /// True from the loss of the wire until it is open again.
    is_gone: bool,
}

enum State {
    Closed { retry_at: Instant },
    Open(Box<Wire>),
}

struct Wire {
    frames: FramedRead<SerialPort, Framing>,
    /// Keeps the port's lock.
    _lock: Option<PortLock>,
    heard: Instant,
    /// Bytes that wait for the rest of their record.
    incomplete: usize,
    /// True if its silence was told of.
    silence_told: bool,
}

/// What a read came upon beside frames.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Read {
    /// The wire was opened; the frames came from it.
    pub(super) opened: bool,
}

impl Link {
    pub(super) fn new(
        options: LinkOptions,
        telemetry: Arc<PipelineTelemetry>,
        metrics: Arc<SerialTelemetry>,
    ) -> Self {
        telemetry.health(super::COMPONENT, Health::Starting);
        Self {
            options,
            telemetry,
            metrics,
            state: State::Closed { retry_at: Instant::now() },
            runtime: None,
            back_off: BackOff::new(BACK_OFF),
            opened_before: false,
            doubtful: true,
            is_gone: false,
        }
    }

    /// Appends what has come to `frames`, each with its time of arrival; waits up to `wait` where nothing has. What is
    /// wrong with the port is told as health.
    ///
    /// # Errors
    /// The system has no room for a runtime.
    pub(super) fn read(
        &mut self,
        wait: Duration,
        frames: &mut Vec<(i64, Frame)>,
    ) -> Result<Read, SourceError> {
        let runtime = match &self.runtime {
            Some(runtime) => runtime,
            None => self.runtime.insert(new_runtime()?),
        };
        let mut read = Read::default();
        if let State::Closed { retry_at } = self.state {
            let left = retry_at.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                std::thread::sleep(left.min(wait));
                return Ok(read);
            }
            let opened = {
                let _context = runtime.enter();
                self.options.port.open()
            };
            match opened {
                Ok(port) => self.open(port),
                Err(refusal) => {
                    self.telemetry.retry(Stage::Source);
                    // That it is gone was told.
                    match refusal.is_missing && self.is_gone {
                        true => self.wait(),
                        false => self.lose(refusal.to_string()),
                    }
                    return Ok(read);
                }
            }
            read.opened = true;
        }
        let (State::Open(wire), Some(runtime)) = (&mut self.state, &self.runtime) else { return Ok(read) };
        let ended = runtime.block_on(next_frames(&mut wire.frames, wait, frames));
        let incomplete = wire.frames.read_buffer().len();
        if !frames.is_empty() || incomplete != std::mem::replace(&mut wire.incomplete, incomplete) {
            wire.heard = Instant::now();
            wire.silence_told = false;
        }
        let silent = wire.heard.elapsed();
        let path = self.options.port.path.display();
        if let Some(error) = ended {
            let lost = loss(&path.to_string(), error.as_ref());
            self.lose(lost);
            self.is_gone = true;
        } else if let Some(timeout) = self.options.idle_timeout.filter(|timeout| silent >= *timeout) {
            let lost = format!(
                "nothing has come from {path} for {} ms (source.idle_timeout_ms): it is opened anew; is the device \
                 sending?",
                timeout.as_millis()
            );
            self.lose(lost);
        } else if silent >= NOTHING_AFTER && !wire.silence_told {
            wire.silence_told = true;
            self.doubtful = true;
            let reason = format!(
                "{path} is open, and nothing has come for {} s: is the device sending?",
                NOTHING_AFTER.as_secs()
            );
            self.telemetry.health(super::COMPONENT, Health::Degraded(reason));
        }
        Ok(read)
    }

    fn open(&mut self, port: Port) {
        let (pipeline, path) = (self.telemetry.name(), self.options.port.path.display());
        // That it is well again is told with its first record: a port may be opened without end.
        match std::mem::replace(&mut self.opened_before, true) {
            false => tracing::info!(pipeline, "{path} is open"),
            true => {
                tracing::debug!(pipeline, "{path} is open again");
                self.metrics.reconnect();
            }
        }
        self.is_gone = false;
        self.metrics.connected(true);
        self.state = State::Open(Box::new(Wire {
            frames: FramedRead::new(port.serial, Framing::new(&self.options.framing)),
            _lock: port.lock,
            heard: Instant::now(),
            incomplete: 0,
            silence_told: false,
        }));
    }

    /// A record that can be used has come.
    pub(super) fn works(&mut self) {
        if self.doubtful && matches!(self.state, State::Open(_)) {
            self.doubtful = false;
            self.back_off = BackOff::new(BACK_OFF);
            self.telemetry.health(super::COMPONENT, Health::Ok);
        }
    }

    fn lose(&mut self, reason: String) {
        self.close();
        self.doubtful = true;
        self.is_gone = false;
        self.telemetry.health(super::COMPONENT, Health::Degraded(reason));
        self.wait();
    }

    fn wait(&mut self) {
        let wait = self.back_off.after_failure(Duration::ZERO);
        self.state = State::Closed { retry_at: Instant::now() + wait };
    }

    /// Gives the port back.
    pub(super) fn close(&mut self) {
        self.metrics.connected(false);
        let _context = self.runtime.as_ref().map(Runtime::enter);
        self.state = State::Closed { retry_at: Instant::now() };
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.close();
        // A source that never ran has none; one that did is dropped by the thread that ran it.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn new_runtime() -> Result<Runtime, SourceError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    runtime.map_err(|error| {
        SourceError::Internal(format!("the serial source cannot wait for its port: {error}"))
    })
}

/// How the wire ended, if it did: none within for an end without an error.
async fn next_frames(
    wire: &mut FramedRead<SerialPort, Framing>,
    wait: Duration,
    frames: &mut Vec<(i64, Frame)>,
) -> Option<Option<io::Error>> {
    let until = Instant::now() + wait;
    let mut next = tokio::time::timeout(wait, wire.next()).await.ok();
    while let Some(item) = next {
        match item {
            Some(Ok(frame)) => frames.push((unix_ns(), frame)),
            Some(Err(error)) => return Some(Some(error)),
            None => return Some(None),
        }
        // Looking for records in noise takes time, and the pipeline may be stopped.
        if frames.len() >= READ_FRAMES || Instant::now() >= until {
            return None;
        }
        next = poll_fn(|context| {
            Poll::Ready(match Pin::new(&mut *wire).poll_next(context) {
                Poll::Ready(item) => Some(item),
                Poll::Pending => None,
            })
        })
        .await;
    }
    None
}

fn loss(path: &str, error: Option<&io::Error>) -> String {
    // A device that is unplugged shows as either, by its driver.
    let unplugged = [Errno::IO, Errno::NXIO, Errno::NODEV];
    match error {
        Some(error) if !Errno::from_io_error(error).is_some_and(|errno| unplugged.contains(&errno)) => {
            format!("{path} cannot be read any more: {error}; it is opened anew")
        }
        _ => format!("{path} is gone: was it unplugged? reading goes on when it is back"),
    }
}
