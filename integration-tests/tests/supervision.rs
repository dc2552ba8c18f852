//! Several pipelines in one process, what it serves while they run, and how it ends.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStderr, Stdio};
use std::time::{Duration, Instant};

use integration_tests::{Workplace, pipeline};

const EXCERPT: &str = "path = \"pipelines/data/mitdb_100_60s.hea\"";

/// A pipeline named `name` that writes `name`.rvl.
fn named(name: &str, source: &str) -> String {
    pipeline(source).replace("\"test\"", &format!("\"{name}\"")).replace("out.rvl", &format!("{name}.rvl"))
}

/// A pipeline that reads a pipe, which has no end as long as nobody writes to it.
fn endless(workplace: &Workplace, name: &str) {
    let pipe = workplace.path("pipe.csv");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let source = "path = \"pipe.csv\"\nsample_rate_hz = 360\nheader = false\ndelimiter = \",\"";
    workplace.write(&format!("{name}.toml"), named(name, source));
}

/// A daemon whose log is read line by line; killed when the value goes.
struct Daemon {
    child: Child,
    log: BufReader<ChildStderr>,
}

impl Daemon {
    fn start(workplace: &Workplace, arguments: &[&str]) -> Self {
        let mut command = workplace.command(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        Self { child, log }
    }

    /// The first log line from here on that holds `text`.
    fn log_line(&mut self, text: &str) -> String {
        let mut line = String::new();
        while self.log.read_line(&mut line).unwrap() > 0 {
            if line.contains(text) {
                return line;
            }
            line.clear();
        }
        panic!("'{text}' was never logged")
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(std::process::Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    fn exit_code(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Status code and body.
fn get(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[test]
fn a_directory_of_pipelines_runs_side_by_side() {
    let workplace = Workplace::new();
    for name in ["a", "b"] {
        workplace.write(&format!("conf/{name}.toml"), named(name, EXCERPT));
    }
    let outcome = workplace.rivulet(&["run", "conf", "--json"]).ok();
    let mut names: Vec<String> = outcome
        .stdout
        .lines()
        .map(|line| {
            let summary: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(summary["samples"], 43_200);
            summary["pipeline"].as_str().unwrap().to_owned()
        })
        .collect();
    names.sort();
    assert_eq!(names, ["a", "b"]);
    assert!(
        std::fs::read(workplace.path("a.rvl")).unwrap() == std::fs::read(workplace.path("b.rvl")).unwrap()
    );
}

#[test]
fn one_that_fails_does_not_take_the_others_along() {
    let workplace = Workplace::new();
    workplace.write("conf/bad.toml", named("bad", "path = \"missing.hea\""));
    workplace.write("conf/good.toml", named("good", EXCERPT));
    let outcome = workplace.rivulet(&["run", "conf", "--json"]).fails(66, "1 of 2 pipelines failed: bad");
    assert!(outcome.stderr.contains("missing.hea"), "{outcome:?}");
    assert_eq!(outcome.json()["pipeline"], "good");
    workplace.rivulet(&["inspect", "good.rvl"]).ok();
}

#[test]
fn nothing_starts_where_anything_is_wrong() {
    let workplace = Workplace::new();
    workplace.write("conf/a.toml", named("a", EXCERPT));
    workplace.write("conf/b.toml", named("a", EXCERPT));
    workplace.write("conf/c.toml", named("c", EXCERPT).replace("encoder", "encodr"));
    let outcome = workplace.rivulet(&["run", "conf"]).fails(78, "conf/b.toml:1: name: ");
    for problem in ["conf/b.toml:10: sinks[0].path: ", "conf/c.toml:5: encodr: unknown key"] {
        assert!(outcome.stderr.contains(problem), "'{problem}' is not in: {outcome:?}");
    }
    std::fs::remove_file(workplace.path("conf/b.toml")).unwrap();
    workplace.write("conf/c.toml", named("c", EXCERPT) + "[window]\nframe_size = 100\n");
    workplace.rivulet(&["run", "conf"]).fails(78, "conf/c.toml:");
    assert!(!workplace.files().iter().any(|name| name.contains(".rvl")), "{:?}", workplace.files());
}

#[test]
fn metrics_and_health_are_served_and_the_end_is_limited() {
    let workplace = Workplace::new();
    endless(&workplace, "endless");
    workplace.write("done.toml", named("done", EXCERPT));
    let arguments =
        ["run", "done.toml", "endless.toml", "--metrics", "127.0.0.1:0", "--shutdown-timeout-secs", "2"];
    let mut daemon = Daemon::start(&workplace, &arguments);
    let line = daemon.log_line("serving");
    let address = line.split("127.0.0.1:").nth(1).unwrap().trim();
    let address = format!("127.0.0.1:{address}");
    assert_eq!(get(&address, "/health/live").0, 200);
    let (_, metrics) = get(&address, "/metrics");
    assert!(metrics.contains("rivulet_uptime_seconds ") && metrics.ends_with("# EOF\n"), "{metrics}");
    // The pipe has no writer, so that its pipeline never gets to run.
    let started = Instant::now();
    loop {
        let (code, body) = get(&address, "/health/ready");
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(code, 503);
        let state = |name: &str| body["pipelines"][name]["components"]["pipeline"]["state"].clone();
        if state("done") == "ok" && state("endless") == "starting" {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "{body}");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(get(&address, "/metrics").1.contains("pipeline=\"endless\""));

    daemon.signal("-TERM");
    daemon.log_line("stopping");
    assert!(get(&address, "/health/ready").1.contains("\"stopping\":true"));
    let line = daemon.log_line("not finished within 2 s of the signal: ");
    assert!(line.trim_end().ends_with("endless"), "{line}");
    assert_eq!(daemon.exit_code(), Some(75));
}

#[test]
fn a_second_signal_ends_at_once() {
    let workplace = Workplace::new();
    endless(&workplace, "endless");
    let mut daemon = Daemon::start(&workplace, &["run", "endless.toml", "--metrics", "127.0.0.1:0"]);
    daemon.log_line("serving");
    daemon.signal("-INT");
    daemon.log_line("stopping");
    daemon.signal("-TERM");
    assert_eq!(daemon.exit_code(), Some(130));
}

#[test]
fn an_address_that_is_taken_starts_nothing() {
    let workplace = Workplace::new();
    workplace.write("test.toml", pipeline(EXCERPT));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    workplace.rivulet(&["run", "test.toml", "--metrics", &address]).fails(69, &address);
    assert_eq!(workplace.files(), ["test.toml"]);
}
