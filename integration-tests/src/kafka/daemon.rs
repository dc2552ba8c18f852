//! The built binary at work.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use super::process::{Process, tail};
use super::wait::wait_for;
use crate::Workplace;

/// A process that runs a pipeline. Its log goes on in one file over all processes of the same name in a workplace,
/// and its end is printed where a test fails.
#[derive(Debug)]
pub struct Daemon {
    process: Process,
    log: PathBuf,
}

impl Daemon {
    /// `rivulet run` with these arguments, logging to `NAME.log` in `workplace`.
    pub fn run(workplace: &Workplace, name: &str, arguments: &[&str]) -> Self {
        Self::run_with(workplace, name, arguments, &[])
    }

    /// As [`Daemon::run`], with environment variables.
    pub fn run_with(
        workplace: &Workplace,
        name: &str,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let log = workplace.path(&format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log).expect("a log file");
        let mut command = workplace.command(&[&["run"], arguments].concat());
        command.envs(environment.iter().copied());
        command.stdout(file.try_clone().expect("a second handle")).stderr(file);
        Self { process: Process::spawn(name, &mut command, None), log }
    }

    /// SIGKILL.
    pub fn kill9(mut self) {
        self.process.kill9();
    }

    /// SIGTERM; waits for the end and holds that it was a clean one.
    #[track_caller]
    pub fn terminate(mut self) {
        self.process.signal_term();
        let status = self.process.wait(Duration::from_secs(60));
        assert!(status.success(), "SIGTERM ended it with {status}");
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.ended()
    }

    /// Holds that it still runs.
    #[track_caller]
    pub fn assert_running(&mut self) {
        let ended = self.process.ended();
        assert!(ended.is_none(), "it ended with {ended:?}");
    }

    /// What it has logged so far, and those of the same name before it.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits until its log has a line that `is_it`.
    #[track_caller]
    pub fn await_line(&mut self, what: &str, deadline: Duration, is_it: impl Fn(&str) -> bool) -> String {
        wait_for(&format!("a line about {what}"), deadline, || {
            self.assert_running();
            self.log().lines().find(|line| is_it(line)).map(str::to_owned).ok_or("no such line")
        })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = std::io::stderr().write_all(tail(&self.log, 60).as_bytes());
        }
    }
}

/// Status and body of a GET request; none if nobody answers.
pub fn http_get(address: &str, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// Sum of a metric over all its labels, if `/metrics` at `address` has it.
pub fn metric_sum(address: &str, name: &str) -> Option<f64> {
    let (_, body) = http_get(address, "/metrics")?;
    let values: Vec<f64> = body
        .lines()
        .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])))
        .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
        .collect();
    (!values.is_empty()).then(|| values.iter().sum())
}

/// The lines of a JSON lines file.
pub fn json_lines(path: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}
