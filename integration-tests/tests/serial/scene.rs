//! A daemon on a serial port, and what it has made of what it read.

use std::time::Duration;

use integration_tests::Workplace;
use integration_tests::kafka::{Daemon, free_port, metric_sum, wait_for, wait_until};

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The pipeline of `pipelines/serial.toml` without what tests have no use for, on the port `name` in the workplace,
/// into `NAME.rvl`. There is room for all that a test sends, so that a slow build loses nothing.
pub(crate) fn pipeline(name: &str, framing: &str, decoding: &str) -> String {
    format!(
        "name = \"{name}\"\n[source]\ntype = \"serial\"\npath = \"{name}\"\nbaud_rate = 921600\n\
         buffer_bytes = 100000000\nframing = {{ {framing} }}\n\
         decoding = {{ {decoding}, sample_rate_hz = 360 }}\n[encoder]\ntype = \"rvq\"\nmodel = \"models/ecg-16x\"\n\
         [[sinks]]\ntype = \"file\"\npath = \"{name}.rvl\"\n[dead_letters]\npath = \"{name}.jsonl\"\n"
    )
}

pub(crate) const COBS: &str = "method = \"cobs\", check = \"crc16-ccitt\", check_endian = \"little\"";
pub(crate) const PACKED: &str = "codec = \"packed\", fields = \"u16le seq, 8*s16le samples, u8 status\"";

/// A daemon that runs pipelines.
pub(crate) struct Scene {
    pub(crate) workplace: Workplace,
    pub(crate) daemon: Daemon,
    address: String,
}

impl Scene {
    /// Runs the pipeline files of these names in a workplace.
    pub(crate) fn run(workplace: Workplace, names: &[&str]) -> Self {
        let address = format!("127.0.0.1:{}", free_port());
        let files: Vec<_> = names.iter().map(|name| format!("{name}.toml")).collect();
        let mut arguments: Vec<_> = files.iter().map(String::as_str).collect();
        arguments.extend(["--metrics", &address]);
        let daemon = Daemon::run(&workplace, "daemon", &arguments);
        Self { workplace, daemon, address }
    }

    pub(crate) fn metric(&self, name: &str) -> f64 {
        metric_sum(&self.address, name).unwrap_or(f64::NAN)
    }

    /// Waits until so many ports are open: what was sent before is forgotten.
    #[track_caller]
    pub(crate) fn await_open(&self, ports: f64) {
        wait_until("ports are open", PATIENCE, || self.metric("rivulet_serial_connected") == ports);
    }

    /// Waits until a metric is at least `value`.
    #[track_caller]
    pub(crate) fn await_metric(&self, name: &str, value: f64) {
        wait_for(&format!("{name} of {value}"), PATIENCE, || match self.metric(name) {
            found if found >= value => Ok(()),
            found => Err(found),
        });
    }

    /// The body of `/health/ready`.
    pub(crate) fn health(&self) -> String {
        integration_tests::kafka::http_get(&self.address, "/health/ready")
            .map_or(String::new(), |(_, body)| body)
    }

    /// Ends the daemon and gives back its workplace and log.
    pub(crate) fn terminate(self) -> (Workplace, String) {
        let log = self.workplace.path("daemon.log");
        self.daemon.terminate();
        let log = std::fs::read_to_string(log).unwrap();
        (self.workplace, log)
    }
}

/// The samples of a file's only stream, decoded, and its gaps.
pub(crate) fn decode(workplace: &Workplace, name: &str) -> (Vec<f64>, u64) {
    let inspected = workplace.rivulet(&["inspect", &format!("{name}.rvl"), "--json"]).ok().json();
    assert_eq!(inspected["streams"].as_array().unwrap().len(), 1, "{inspected}");
    let gaps = inspected["streams"][0]["gaps"].as_u64().unwrap();
    let raw = format!("{name}.raw");
    workplace.rivulet(&["decode", &format!("{name}.rvl"), "-o", &raw]).ok();
    let bytes = std::fs::read(workplace.path(&raw)).unwrap();
    let samples = bytes.chunks_exact(2).map(|pair| f64::from(i16::from_le_bytes([pair[0], pair[1]])));
    (samples.collect(), gaps)
}

/// Holds that what came out is what the codec makes of these runs, with a gap between each two.
#[track_caller]
pub(crate) fn assert_decodes_to(workplace: &Workplace, name: &str, runs: &[&[i16]]) {
    let (samples, gaps) = decode(workplace, name);
    let expected = integration_tests::serial::decoded(runs);
    assert_eq!(samples.len(), expected.len(), "samples of {name}");
    let differs = samples.iter().zip(&expected).position(|(found, wanted)| found != wanted);
    assert_eq!(differs, None, "the first sample of {name} that differs");
    assert_eq!(gaps, runs.len() as u64 - 1, "gaps of {name}");
}
