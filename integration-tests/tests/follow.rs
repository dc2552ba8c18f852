//! Files that are followed while they grow: rotated, cut, and read by a process that is killed.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use integration_tests::{Workplace, read_csv, read_wfdb_212, root};

const FRAME: usize = 512;
/// Samples of each of two channels: whole frames, so that none stays open.
const SAMPLES: usize = 36 * FRAME;
const PATIENCE: Duration = Duration::from_secs(180);

/// What is written to a file, unit by unit, and how a pipeline reads it.
struct Workload {
    name: &'static str,
    file: &'static str,
    header: &'static str,
    units: Vec<Vec<u8>>,
    decoding: &'static str,
}

impl Workload {
    fn all() -> [Self; 3] {
        let recording = read_wfdb_212(&root().join("pipelines/data/mitdb_100_60s.dat"));
        let [first, second] = recording.map(|channel| channel[..SAMPLES].to_vec());
        let rows = || first.iter().zip(&second);
        let csv = rows().map(|(a, b)| format!("{a},{b}\r\n").into_bytes()).collect();
        let raw = rows().map(|(a, b)| [a, b].map(|sample| (*sample as i16).to_le_bytes()).concat()).collect();
        let line = |device: &str, number: usize, samples: &[f64]| {
            let time_ms = 1_790_000_000_000 + (number as f64 * 100.0 / 0.36).round() as i64;
            format!("{}\n", serde_json::json!({ "device": device, "time": time_ms, "values": samples }))
                .into_bytes()
        };
        let lines = first.chunks(100).zip(second.chunks(100)).enumerate();
        let jsonl = lines.flat_map(|(i, (a, b))| [line("pump", i, a), line("ring", i, b)]).collect();
        [
            Self {
                name: "csv",
                file: "ecg.csv",
                header: "MLII,V5\r\n",
                units: csv,
                decoding: "codec = \"csv\"\nheader = true\ncolumns = [\"MLII\", \"V5\"]\nsample_type = \"i16\"",
            },
            Self {
                name: "jsonl",
                file: "ecg.jsonl",
                header: "",
                units: jsonl,
                decoding: "codec = \"json\"\nsamples = \"values\"\ntime = \"time\"\ntime_unit = \"ms\"\nkey = \"device\"\n\
                           sample_type = \"f32\"",
            },
            Self {
                name: "raw",
                file: "ecg.raw",
                header: "",
                units: raw,
                decoding: "codec = \"raw\"\nsample_type = \"s16le\"\nchannels = 2",
            },
        ]
    }

    fn pipeline(&self) -> String {
        let Self { name, file, decoding, .. } = self;
        format!(
            "name = \"{name}\"\n[source]\ntype = \"file\"\npath = \"logs/{file}\"\nfollow = true\n[source.decoding]\n{decoding}\n\
             sample_rate_hz = 360\n[window]\nmax_gap_ms = 1000\n[encoder]\ntype = \"rvq\"\nmodel = \"models/ecg-16x\"\n\
             [delivery]\ncommit_interval_ms = 100\n[[sinks]]\ntype = \"file\"\npath = \"{name}.rvl\"\n\
             [dead_letters]\npath = \"{name}.refused\"\n"
        )
    }
}

/// xorshift64*: the same pieces in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % bound
    }
}

/// A logger that appends in pieces that end anywhere, and rotates its file.
struct Logger {
    path: PathBuf,
    state: PathBuf,
    header: &'static str,
    units: std::vec::IntoIter<Vec<u8>>,
    /// What is begun and not written yet.
    begun: Vec<u8>,
    file: Option<File>,
    rotations: usize,
    commits: usize,
    committed: Option<SystemTime>,
    random: Random,
}

impl Logger {
    fn new(workplace: &Workplace, workload: &Workload) -> Self {
        let logger = Self {
            path: workplace.path(&format!("logs/{}", workload.file)),
            state: workplace.path(&format!("state/{}.state", workload.name)),
            header: workload.header,
            units: workload.units.clone().into_iter(),
            begun: Vec::new(),
            file: None,
            rotations: 0,
            commits: 0,
            committed: None,
            random: Random(workload.name.len() as u64),
        };
        std::fs::create_dir_all(logger.path.parent().unwrap()).unwrap();
        logger
    }

    /// Writes up to `bytes`; false once all is written.
    fn write(&mut self, bytes: usize) -> bool {
        while self.begun.len() < bytes {
            match self.units.next() {
                Some(unit) => self.begun.extend(unit),
                None => break,
            }
        }
        let piece: Vec<u8> = self.begun.drain(..bytes.min(self.begun.len())).collect();
        self.append(&piece);
        let modified = std::fs::metadata(&self.state).and_then(|metadata| metadata.modified()).ok();
        if modified != self.committed {
            self.committed = modified;
            self.commits += 1;
        }
        !piece.is_empty()
    }

    fn append(&mut self, piece: &[u8]) {
        let file = self.file.get_or_insert_with(|| {
            let mut file = OpenOptions::new().create(true).append(true).open(&self.path).unwrap();
            file.write_all(self.header.as_bytes()).unwrap();
            file
        });
        file.write_all(piece).unwrap();
    }

    /// Rotates at the end of a unit, by a new name or by a copy.
    fn rotate(&mut self) {
        let rest = std::mem::take(&mut self.begun);
        self.append(&rest);
        let numbered = |number| PathBuf::from(format!("{}.{number}", self.path.display()));
        for number in (1..=self.rotations).rev() {
            std::fs::rename(numbered(number), numbered(number + 1)).unwrap();
        }
        self.rotations += 1;
        self.commits = 0;
        if self.rotations.is_multiple_of(2) {
            std::fs::copy(&self.path, numbered(1)).unwrap();
            let file = self.file.as_mut().unwrap();
            file.set_len(0).unwrap();
            file.write_all(self.header.as_bytes()).unwrap();
        } else {
            std::fs::rename(&self.path, numbered(1)).unwrap();
            self.file = None;
        }
    }

    fn run(mut self) -> usize {
        let total: usize = self.units.as_slice().iter().map(Vec::len).sum();
        let mut written = 0;
        loop {
            let bytes = 1 + self.random.below(total as u64 / 250) as usize;
            if !self.write(bytes) {
                return self.rotations;
            }
            written += bytes;
            std::thread::sleep(Duration::from_millis(5 + self.random.below(60)));
            // What was never read of a file cannot be told from what is in the next one.
            if self.commits >= 3 && written >= total / 20 {
                self.rotate();
                written = 0;
            }
        }
    }
}

/// A daemon; killed when the value goes.
struct Daemon(Child);

impl Daemon {
    fn start(workplace: &Workplace, arguments: &[&str]) -> Self {
        Self::spawn(workplace.command(&[&["run"], arguments].concat()))
    }

    fn spawn(mut command: Command) -> Self {
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Asks it to end, which it does.
    fn stop(&mut self) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        assert_eq!(self.0.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The samples of each stream of a packet file, by its name; none where it cannot be decoded now.
fn decoded(workplace: &Workplace, file: &str) -> Option<BTreeMap<String, Vec<f64>>> {
    if !workplace.path(file).is_file() {
        return None;
    }
    let _ = std::fs::remove_file(workplace.path("back.csv"));
    workplace.rivulet(&["decode", file, "-o", "back.csv"]);
    let path = workplace.path("back.csv");
    if !path.is_file() {
        return None;
    }
    let (names, columns) = read_csv(&path);
    Some(names.into_iter().zip(columns).collect())
}

#[track_caller]
fn await_samples(workplace: &Workplace, file: &str, samples: usize) -> BTreeMap<String, Vec<f64>> {
    let since = Instant::now();
    loop {
        let streams = decoded(workplace, file).unwrap_or_default();
        let have = |samples: &[f64]| samples.iter().filter(|sample| sample.is_finite()).count();
        let found: Vec<_> = streams.values().map(|stream| have(stream)).collect();
        if found.iter().sum::<usize>() >= samples {
            return streams;
        }
        assert!(since.elapsed() < PATIENCE, "{file} has {found:?} of {samples} samples");
        std::thread::sleep(Duration::from_millis(300));
    }
}

fn is_empty(path: &Path) -> bool {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len()) == 0
}

#[test]
fn nothing_is_lost_or_repeated_whatever_is_killed_and_rotated() {
    let workloads = Workload::all();
    // Undisturbed: all is there before anybody reads it.
    let calm = Workplace::new();
    let wild = Workplace::new();
    for workload in &workloads {
        calm.write(
            &format!("logs/{}", workload.file),
            [workload.header.as_bytes(), &workload.units.concat()].concat(),
        );
        for workplace in [&calm, &wild] {
            workplace.write(&format!("conf/{}.toml", workload.name), workload.pipeline());
        }
    }
    let mut daemon = Daemon::start(&calm, &["conf"]);
    let expected = workloads
        .each_ref()
        .map(|Workload { name, .. }| await_samples(&calm, &format!("{name}.rvl"), 2 * SAMPLES));
    daemon.stop();

    let loggers: Vec<_> = workloads
        .iter()
        .map(|workload| Logger::new(&wild, workload))
        .map(|logger| std::thread::spawn(move || logger.run()))
        .collect();
    let mut daemon = Daemon::start(&wild, &["conf"]);
    let mut random = Random(7);
    let mut ends = 0;
    while !loggers.iter().all(std::thread::JoinHandle::is_finished) {
        std::thread::sleep(Duration::from_millis(1_000 + random.below(3_000)));
        if ends % 4 == 3 {
            daemon.stop()
        } else {
            daemon.kill()
        }
        ends += 1;
        std::thread::sleep(Duration::from_millis(random.below(500)));
        daemon = Daemon::start(&wild, &["conf"]);
    }
    let rotations: Vec<_> = loggers.into_iter().map(|logger| logger.join().unwrap()).collect();
    assert!(ends >= 3 && rotations.iter().sum::<usize>() >= 6, "{ends} ends, rotations {rotations:?}");
    for (workload, expected) in workloads.iter().zip(&expected) {
        let found = await_samples(&wild, &format!("{}.rvl", workload.name), 2 * SAMPLES);
        assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        assert!(found == *expected, "{} differs", workload.name);
        assert!(is_empty(&wild.path(&format!("{}.refused", workload.name))), "{}", workload.name);
    }
    daemon.stop();
    for (workload, expected) in workloads.iter().zip(&expected) {
        let file = format!("{}.rvl", workload.name);
        wild.rivulet(&["decode", &file, "-o", "last.csv"]).ok();
        assert!(decoded(&wild, &file).unwrap() == *expected, "{} differs once it is closed", workload.name);
    }
}

/// A place with one pipeline that follows `logs/ecg.csv`.
fn csv_workplace() -> (Workplace, Workload) {
    let [csv, ..] = Workload::all();
    let workplace = Workplace::new();
    workplace.write("p.toml", csv.pipeline());
    std::fs::create_dir_all(workplace.path("logs")).unwrap();
    (workplace, csv)
}

#[test]
fn a_damaged_state_is_refused_and_stays_as_it_is() {
    let (workplace, csv) = csv_workplace();
    workplace.write("logs/ecg.csv", [csv.header.as_bytes(), &csv.units[..FRAME].concat()].concat());
    let mut daemon = Daemon::start(&workplace, &["p.toml"]);
    await_samples(&workplace, "csv.rvl", 2 * FRAME);
    daemon.stop();
    let path = workplace.path("state/csv.state");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let before = std::fs::read(workplace.path("csv.rvl")).unwrap();
    workplace.rivulet(&["run", "p.toml"]).fails(
        78,
        "state/csv.state: is damaged: its checksum is wrong; restore it from a backup, or move it away",
    );
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    assert_eq!(std::fs::read(workplace.path("csv.rvl")).unwrap(), before);

    // As the message says: read from the beginning, nothing is there twice.
    std::fs::rename(&path, workplace.path("damaged")).unwrap();
    workplace.write("logs/ecg.csv", [csv.header.as_bytes(), &csv.units[..2 * FRAME].concat()].concat());
    let mut daemon = Daemon::start(&workplace, &["p.toml"]);
    let streams = await_samples(&workplace, "csv.rvl", 4 * FRAME);
    daemon.stop();
    assert!(streams.values().all(|stream| stream.len() == 2 * FRAME));
}

#[test]
fn a_second_process_is_told_that_it_is_one_too_many() {
    let (workplace, csv) = csv_workplace();
    workplace.write("logs/ecg.csv", [csv.header.as_bytes(), &csv.units[..FRAME].concat()].concat());
    let mut daemon = Daemon::start(&workplace, &["p.toml"]);
    await_samples(&workplace, "csv.rvl", 2 * FRAME);
    workplace.rivulet(&["run", "p.toml"]).fails(78, "state/csv.state: another process uses this state");
    daemon.stop();
}

#[test]
fn the_shipped_pipeline_runs() {
    let workplace = Workplace::new();
    workplace.rivulet(&["validate", "pipelines/follow.toml"]).ok();
    let [csv, ..] = Workload::all();
    let mut daemon = Daemon::spawn({
        let mut command = workplace.command(&["run", "pipelines/follow.toml"]);
        command.env("ECG_LOG", "log.csv");
        command
    });
    let lines = csv.units.iter().enumerate().take(FRAME).map(|(i, unit)| {
        format!("{:.3},{}", 1_767_225_600.0 + i as f64 / 360.0, String::from_utf8_lossy(unit))
    });
    workplace.write("log.csv", format!("time,MLII,V5\n{}not a row\n", lines.collect::<String>()));
    let streams = await_samples(&workplace, "out/follow.rvl", 2 * FRAME);
    assert_eq!(streams.keys().collect::<Vec<_>>(), ["log/MLII", "log/V5"]);
    daemon.stop();
    let refused = std::fs::read_to_string(workplace.path("out/follow.refused.jsonl")).unwrap();
    assert!(refused.contains("the line at byte ") && refused.lines().count() == 1, "{refused}");
    assert!(workplace.path("state/follow.state").is_file());
}
