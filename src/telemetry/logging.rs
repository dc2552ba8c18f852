//! Logs on standard error: one line an event, as text or JSON.

use std::io::{self, IsTerminal};

use indicatif::MultiProgress;
use tracing::Level;
use tracing_subscriber::fmt::MakeWriter;

/// How a log line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Sends events of at least `level` to standard error. The first call of a process wins.
///
/// Lines go past the progress bars of `bars` without tearing them.
pub fn init_logging(level: Level, format: LogFormat, bars: &MultiProgress) {
    let writer = PastBars(bars.clone());
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        // Whoever read the log may have gone: that is no reason to end.
        .log_internal_errors(false)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(writer);
    // An error says that logging is already set up, by an embedding program or an earlier call.
    let _ = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}

#[derive(Clone)]
struct PastBars(MultiProgress);

impl<'a> MakeWriter<'a> for PastBars {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl io::Write for PastBars {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
