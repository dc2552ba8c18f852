//! The signals that end a run.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGINT and SIGTERM, which mean the same; where they cannot be caught they end the process at once.
pub(in crate::cli) struct Signals(Option<(Signal, Signal)>);

impl Signals {
    /// Catches them from here on. Has to be called within a tokio runtime.
    pub(in crate::cli) fn catch() -> Self {
        let caught =
            || -> io::Result<_> { Ok((signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)) };
        match caught() {
            Ok(signals) => Self(Some(signals)),
            Err(error) => {
                tracing::warn!(%error, "signals cannot be caught: SIGINT and SIGTERM end the run at once");
                Self(None)
            }
        }
    }

    /// Waits for the next one. May be dropped and called again.
    pub(in crate::cli) async fn next(&mut self) {
        match &mut self.0 {
            Some((interrupt, terminate)) => tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            },
            None => std::future::pending().await,
        }
    }
}
