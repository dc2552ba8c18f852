//! What is sent comes out, whatever the wire does to it.

use std::io::Write;

use integration_tests::Workplace;
use integration_tests::kafka::{Random, json_lines};
use integration_tests::serial::{Device, Sender, cobs, excerpt, patch_record, recording_folder};

use crate::scene::{COBS, PACKED, Scene, assert_decodes_to, pipeline};

const RECORD: usize = 8;

/// Sends records from the one of number `first` on, with noise on the wire; adds those that arrive whole to runs.
struct Patch {
    random: Random,
    /// Runs of records between those that are lost.
    runs: Vec<Vec<i16>>,
    lost: u64,
    /// Runs of bytes that are no record.
    damages: u64,
    broken: bool,
}

impl Patch {
    fn new(random: Random) -> Self {
        Self { random, runs: vec![Vec::new()], lost: 0, damages: 0, broken: false }
    }

    fn send(&mut self, sender: &mut Sender<'_>, first: usize, samples: &[i16], noise: bool) {
        let records: Vec<&[i16]> = samples.chunks_exact(RECORD).collect();
        for (place, record) in records.iter().enumerate() {
            let mut wire = cobs(&patch_record((first + place) as u16, record));
            // The first and the last record tell of those between.
            let ends = place == 0 || place + 1 == records.len();
            match self.random.within(0..if noise && !ends { 100 } else { 1 }) {
                97 => {
                    // Bytes from elsewhere, which end before the record begins.
                    let length = self.random.within(4..60) as usize;
                    let mut garbage = self.random.bytes(length);
                    garbage.iter_mut().filter(|byte| **byte == 0).for_each(|byte| *byte = 0x55);
                    garbage.push(0);
                    sender.send(&garbage);
                    self.damages += 1;
                }
                98 => {
                    // A bit that turns no byte into a delimiter.
                    let at = self.random.within(1..wire.len() as u64 - 1) as usize;
                    let bit = 1 << self.random.within(0..8);
                    wire[at] = if wire[at] == bit { wire[at] | 0x80 | bit << 1 } else { wire[at] ^ bit };
                    self.lose(1);
                    self.damages += 1;
                    sender.send(&wire);
                    continue;
                }
                99 => {
                    self.lose(1);
                    continue;
                }
                _ => {}
            }
            sender.send(&wire);
            if std::mem::take(&mut self.broken) {
                self.runs.push(Vec::new());
            }
            self.runs.last_mut().unwrap().extend_from_slice(record);
        }
    }

    fn lose(&mut self, records: u64) {
        self.lost += records;
        self.broken = true;
    }

    fn runs(&self) -> Vec<&[i16]> {
        self.runs.iter().map(Vec::as_slice).collect()
    }

    fn samples(&self) -> f64 {
        self.runs.iter().map(Vec::len).sum::<usize>() as f64
    }
}

/// Sends samples through noise, and holds that all that arrived whole comes out.
fn noise_costs_what_it_hits(test: &str, samples: &[i16]) {
    let random = Random::new(Random::seed(test));
    let workplace = Workplace::new();
    workplace.write("patch.toml", pipeline("patch", COBS, PACKED));
    let device = Device::plug_in(&workplace.path("patch"));
    let scene = Scene::run(workplace, &["patch"]);
    scene.await_open(1.0);
    let mut patch = Patch::new(random.clone());
    patch.send(&mut device.sender(random), 0, samples, true);
    scene.await_metric("rivulet_samples_in_total", patch.samples());
    assert_eq!(scene.metric("rivulet_serial_lost_records_total"), patch.lost as f64);
    assert_eq!(scene.metric("rivulet_serial_lost_samples_total"), (patch.lost * RECORD as u64) as f64);
    assert_eq!(scene.metric("rivulet_serial_framing_errors_total"), patch.damages as f64);
    assert_eq!(scene.metric("rivulet_serial_overrun_samples_total"), 0.0);
    let (workplace, _) = scene.terminate();
    assert_decodes_to(&workplace, "patch", &patch.runs());
    assert_eq!(json_lines(&workplace.path("patch.jsonl")).len() as u64, patch.damages);
}

#[test]
fn noise_costs_the_records_that_it_hits() {
    noise_costs_what_it_hits("noise", &excerpt());
}

#[test]
fn noise_costs_the_records_of_a_recording_that_it_hits() {
    let Some(folder) = recording_folder() else {
        // Past the capture of the test harness, which shows the output of failed tests only.
        let reason = "recording: skipped: no recordings in $RIVULET_RECORDINGS or ../shared/data\n";
        let _ = std::io::stderr().write_all(reason.as_bytes());
        return;
    };
    let [lead, _] = integration_tests::read_wfdb_212(&folder.join("mitdb_103.dat"));
    let samples: Vec<i16> = lead.iter().take(60_000).map(|sample| *sample as i16).collect();
    noise_costs_what_it_hits("recording", &samples);
}

#[test]
fn a_device_that_is_plugged_in_again_goes_on_behind_a_gap() {
    let random = Random::new(Random::seed("reconnect"));
    let samples = excerpt();
    let workplace = Workplace::new();
    workplace.write("patch.toml", pipeline("patch", COBS, PACKED));
    let link = workplace.path("patch");
    let device = Device::plug_in(&link);
    let mut scene = Scene::run(workplace, &["patch"]);
    scene.await_open(1.0);
    let mut patch = Patch::new(random.clone());

    let (first, rest) = samples.split_at(800 * RECORD);
    let mut sender = device.sender(random.clone());
    patch.send(&mut sender, 0, first, false);
    sender.send(&cobs(&patch_record(800, &rest[..RECORD]))[..9]);
    scene.await_metric("rivulet_samples_in_total", patch.samples());
    device.unplug();
    scene.daemon.await_line("the loss", crate::scene::PATIENCE, |line| line.contains("was it unplugged?"));
    scene.await_open(0.0);

    // It begins to count anew, and the first that comes is the end of a record.
    let device = Device::plug_in(&link);
    scene.await_open(1.0);
    patch.broken = true;
    let mut sender = device.sender(random);
    sender.send(&cobs(&patch_record(4, &rest[..RECORD]))[9..]);
    patch.send(&mut sender, 0, &rest[..900 * RECORD], false);
    scene.await_metric("rivulet_samples_in_total", patch.samples());
    assert_eq!(scene.metric("rivulet_serial_reconnects_total"), 1.0);
    assert_eq!(scene.metric("rivulet_pipeline_ready"), 1.0);
    let (workplace, log) = scene.terminate();
    assert_decodes_to(&workplace, "patch", &patch.runs());
    assert_eq!(log.matches("degraded").count(), 1, "{log}");
    assert_eq!(log.matches("recovered").count(), 1, "{log}");
    assert_eq!(
        json_lines(&workplace.path("patch.jsonl")),
        [] as [serde_json::Value; 0],
        "a cut is no damage"
    );
}
