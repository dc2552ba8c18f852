//! Ctrl-C and termination as a flag that the loop looks at between steps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Listens for SIGINT and SIGTERM from now on: the first sets the flag, the second ends the program at once.
///
/// # Errors
/// The operating system gives no thread or no signals.
pub fn stop_flag() -> std::io::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let set = Arc::clone(&flag);
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            // Without signals there is nothing to wait for; the run goes on and cannot be stopped gently.
            if wait().await.is_ok() {
                set.store(true, Ordering::Relaxed);
                if wait().await.is_ok() {
                    std::process::exit(EXIT_AFTER_SECOND_SIGNAL);
                }
            }
        });
    })?;
    Ok(flag)
}

/// What a shell reports for a program that SIGINT ended.
const EXIT_AFTER_SECOND_SIGNAL: i32 = 130;

#[cfg(unix)]
async fn wait() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result,
        _ = terminate.recv() => Ok(()),
    }
}

#[cfg(not(unix))]
async fn wait() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}
