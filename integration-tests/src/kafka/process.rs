//! Child processes that do not outlive the tests.

use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::wait::wait_for;

/// A child, and a watchdog that kills it when the test process ends in whatever way: its standard input is closed
/// then.
#[derive(Debug)]
pub(super) struct Process {
    name: String,
    child: Child,
    watchdog: Child,
}

impl Process {
    /// Starts `command`. If the test process ends first, `leftovers` is removed as well.
    pub(super) fn spawn(name: &str, command: &mut Command, leftovers: Option<&Path>) -> Self {
        let child = command.stdin(Stdio::null()).spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
        let watchdog = Command::new("sh")
            .args([
                "-c",
                r#"read -r _; kill -9 "$1"; [ -z "$2" ] || { sleep 0.2; rm -rf "$2"; }"#,
                "watchdog",
            ])
            .arg(child.id().to_string())
            .arg(leftovers.unwrap_or(Path::new("")))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh starts");
        Self { name: name.to_owned(), child, watchdog }
    }

    /// How it ended, if it did.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be asked")
    }

    /// SIGKILL.
    pub(super) fn kill9(&mut self) {
        // The watchdog first: the process id may be given to another once the child was waited for.
        let _ = self.watchdog.kill();
        let _ = self.watchdog.wait();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM, without waiting.
    pub(super) fn signal_term(&self) {
        let status = Command::new("sh")
            .args(["-c", r#"kill -TERM "$1""#, "sh"])
            .arg(self.child.id().to_string())
            .status()
            .expect("sh starts");
        assert!(status.success(), "{} cannot be told to end", self.name);
    }

    /// Waits for its end.
    #[track_caller]
    pub(super) fn wait(&mut self, deadline: Duration) -> ExitStatus {
        let what = format!("end of {}", self.name);
        let status = wait_for(&what, deadline, || self.ended().ok_or("it still runs"));
        self.kill9();
        status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill9();
    }
}

/// The end of a log, for the message of a test that fails.
pub(super) fn tail(path: &Path, lines: usize) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    let from = all.len().saturating_sub(lines);
    format!("--- last lines of {}\n{}\n", path.display(), all[from..].join("\n"))
}
