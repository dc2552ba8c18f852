use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;

use crate::signal::{Position, SampleType};
use crate::source::SourceError;
use crate::source::file::tests::{Read, read, refusal};
use crate::source::file::{CsvOptions, FileOptions};

struct Recording {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Recording {
    fn new(text: impl AsRef<[u8]>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ecg.csv");
        fs::write(&path, text).unwrap();
        Self { _folder: folder, path }
    }

    fn read(&self) -> Read {
        self.try_read().unwrap()
    }

    fn try_read(&self) -> Result<Read, SourceError> {
        read(&self.path, &FileOptions { sample_rate_hz: Some(100.0), ..FileOptions::default() })
    }

    fn refusal(&self) -> String {
        refusal(&self.path, &FileOptions { sample_rate_hz: Some(100.0), ..FileOptions::default() })
    }
}

fn names(read: &Read) -> Vec<&str> {
    read.info.channels.iter().map(|channel| channel.name.as_str()).collect()
}

#[test]
fn columns_become_channels() {
    let read = Recording::new("MLII,\"V5, chest\"\n1,-2\n3,4\n").read();
    assert_eq!(names(&read), ["MLII", "V5, chest"]);
    assert_eq!(read.info.key.as_str(), "ecg");
    assert_eq!(read.samples(), [1.0, -2.0, 3.0, 4.0]);
    assert_eq!(read.total, Some(4));
    assert_eq!(read.chunks[0].position, Position::Byte(26));
    assert_eq!((read.chunks[0].time_ns, read.chunks[0].after_gap), (None, false));
}

#[test]
fn the_first_line_may_be_data() {
    let read = Recording::new("1,2\n3,4").read();
    assert_eq!(names(&read), ["ch0", "ch1"]);
    assert_eq!(read.samples(), [1.0, 2.0, 3.0, 4.0]);
    let numbered = Recording::new("0,1\n3,4\n");
    let options = FileOptions {
        sample_rate_hz: Some(1.0),
        csv: CsvOptions { header: Some(true), ..CsvOptions::default() },
        ..FileOptions::default()
    };
    let read = read_with(&numbered, &options);
    assert_eq!((names(&read), read.samples()), (vec!["0", "1"], vec![3.0, 4.0]));
}

fn read_with(recording: &Recording, options: &FileOptions) -> Read {
    read(&recording.path, options).unwrap()
}

#[test]
fn marks_line_breaks_and_delimiters_of_other_systems_are_read() {
    for text in [
        "\u{feff}x,y\r\n1,2\r\n\r\n3,4\r\n",
        "x;y\n1;2\n3;4\n",
        "x\ty\n1\t2\n3\t4",
        "\n\n\"x\" , \"y\"\n\"1\" , 2\n 3,4\n  \n",
    ] {
        let read = Recording::new(text).read();
        assert_eq!((names(&read), read.samples()), (vec!["x", "y"], vec![1.0, 2.0, 3.0, 4.0]), "{text:?}");
        assert!(read.dead_letters.is_empty());
    }
    let options = FileOptions {
        sample_rate_hz: Some(1.0),
        csv: CsvOptions { delimiter: Some('|'), ..CsvOptions::default() },
        ..FileOptions::default()
    };
    assert_eq!(read_with(&Recording::new("1|2\n"), &options).samples(), [1.0, 2.0]);
}

#[test]
fn the_samples_say_their_type() {
    for (text, sample_type) in [
        ("1\n-32768\n32767\n", SampleType::I16),
        ("1.0\n2e3\n", SampleType::I16),
        ("32768\n", SampleType::I24),
        ("-8388609\n", SampleType::I32),
        ("4294967296\n", SampleType::F64),
        ("1\n2.5\n", SampleType::F64),
    ] {
        let read = Recording::new(text).read();
        assert_eq!(read.info.sample_type, sample_type, "{text:?}");
        assert_eq!(read.info.stored_bits, sample_type.bits());
    }
    let recording = Recording::new("0.1\n2\n1e300\n");
    let single = FileOptions {
        sample_rate_hz: Some(1.0),
        sample_type: Some(SampleType::F32),
        ..FileOptions::default()
    };
    let read = read_with(&recording, &single);
    assert_eq!(read.samples(), [f64::from(0.1_f32), 2.0]);
    assert_eq!(
        read.dead_letters[0].reason,
        "line 3: column 1: \"1e300\" is not a finite number that fits f32"
    );
    let counts = FileOptions { sample_type: Some(SampleType::I16), ..single };
    let read = read_with(&recording, &counts);
    assert_eq!((read.samples(), read.total), (vec![2.0], Some(1)));
    assert_eq!(read.dead_letters[0].reason, "line 1: column 1: \"0.1\" is not a whole number that fits i16");
}

#[test]
fn rows_that_cannot_be_read_leave_a_gap() {
    let read = Recording::new("x,y\n1,2\n3\n4,5,6\n7,NaN\n8,-inf\n9,?\n,10\n11,12\n13,14\n").read();
    assert_eq!(read.samples(), [1.0, 2.0, 11.0, 12.0, 13.0, 14.0]);
    let gaps: Vec<_> = read.chunks.iter().map(|chunk| (chunk.after_gap, chunk.samples[0])).collect();
    assert_eq!(gaps, [(false, 1.0), (true, 11.0)]);
    let reasons: Vec<&str> = read.dead_letters.iter().map(|letter| letter.reason.as_str()).collect();
    assert_eq!(
        reasons,
        [
            "line 3: 1 cells, but there are 2 columns",
            "line 4: 3 cells, but there are 2 columns",
            "line 5: column 2: \"NaN\" is not a finite number",
            "line 6: column 2: \"-inf\" is not a finite number",
            "line 7: column 2: \"?\" is not a finite number",
            "line 8: column 1: \"\" is not a finite number",
        ]
    );
    assert!(read.dead_letters.iter().all(|letter| letter.samples == 2));
    assert_eq!(read.dead_letters[0].position, Position::Byte(8));
}

#[test]
fn the_time_column_gives_time_and_rate() {
    // 360 Hz, written in milliseconds.
    let mut text = "Time [ms],x\n".to_owned();
    for i in 0..5000 {
        let late = if i < 3000 { 0 } else { 60_000 };
        writeln!(text, "{},{i}", i * 1000 / 360 + late).unwrap();
    }
    let recording = Recording::new(text);
    let read = read_with(&recording, &FileOptions::default());
    assert_eq!(read.info.sample_rate_hz, 360.0);
    assert_eq!(names(&read), ["x"]);
    assert_eq!(read.samples(), (0..5000).map(f64::from).collect::<Vec<_>>());
    let gap =
        read.chunks.iter().find(|chunk| chunk.samples[0] == 3000.0).expect("a chunk begins after the gap");
    assert_eq!(gap.time_ns, Some(68_333_000_000));
    assert!(read.chunks.len() < 50, "jitter does not cut chunks short: {}", read.chunks.len());
    let given = FileOptions { sample_rate_hz: Some(300.0), ..FileOptions::default() };
    assert_eq!(read_with(&recording, &given).info.sample_rate_hz, 300.0);
}

#[test]
fn time_stamps_are_times() {
    let text = "x,timestamp\n1,2013-12-02 21:15:00\n2,2013-12-02 21:20:00\n3,2013-12-02 21:25:00\n";
    let read = read_with(&Recording::new(text), &FileOptions::default());
    assert_eq!(read.info.sample_rate_hz, 1.0 / 300.0);
    assert_eq!(read.chunks[0].time_ns, Some(1_386_018_900_000_000_000));
    assert_eq!(read.samples(), [1.0, 2.0, 3.0]);
}

#[test]
fn coarse_times_give_the_mean_rate() {
    let mut text = "timestamp,x\n".to_owned();
    (0..201).for_each(|i| writeln!(text, "{},0", i / 10).unwrap());
    let read = read_with(&Recording::new(text), &FileOptions::default());
    assert_eq!(read.info.sample_rate_hz, 10.0);
}

#[test]
fn the_time_column_may_be_named() {
    let options = |time_column: &str| FileOptions {
        csv: CsvOptions { time_column: Some(time_column.into()), ..CsvOptions::default() },
        ..FileOptions::default()
    };
    let recording = Recording::new("time,clock,timer\n7,0.5,1\n8,1.0,2\n");
    let read = read_with(&recording, &options("clock"));
    assert_eq!((names(&read), read.samples()), (vec!["time", "timer"], vec![7.0, 1.0, 8.0, 2.0]));
    assert_eq!((read.info.sample_rate_hz, read.chunks[0].time_ns), (2.0, Some(500_000_000)));
    let bare = Recording::new("5,0.5\n6,1.0\n");
    assert_eq!(read_with(&bare, &options("1")).samples(), [5.0, 6.0]);
    assert!(refusal(&recording.path, &options("when")).contains("\"when\" is neither the name"));
    assert!(refusal(&bare.path, &options("2")).contains("time_column"));
    let read = read_with(&Recording::new("time,x\n0,1\nlate,2\n1,3\n2,4\n"), &FileOptions::default());
    assert_eq!(read.dead_letters[0].reason, "line 3: column 1: \"late\" is not a time");
}

#[test]
fn what_cannot_be_read_is_refused_in_one_line() {
    assert!(Recording::new("").refusal().contains("is empty"));
    assert!(Recording::new("\n \n").refusal().contains("has no row of samples"));
    assert!(Recording::new("x,y\n").refusal().contains("has no row of samples"));
    assert!(Recording::new("time\n1\n2\n").refusal().contains("0 channels"));
    assert!(Recording::new("x,y\na,b\nc,d\n").refusal().contains("line 2: column 1: \"a\" is not a finite"));
    assert!(Recording::new("\0\u{1}x\n1\n").refusal().contains("line 1: has bytes of 0: a binary file"));
    assert!(Recording::new("x;y\n1;2\n1,5;2,5\n").refusal().contains("line 3: \"1,5\" has a decimal comma"));
    assert!(Recording::new("x\n1,5\n2,5\n").refusal().contains("decimal comma?"));
    assert!(Recording::new(b"\xff\xfe1\0,\0").refusal().contains("UTF-16"));
    assert!(Recording::new(vec![b'1'; (1 << 20) + 2]).refusal().contains("line 1: is longer than 1 MiB"));
    assert!(Recording::new(b"x\n\xff\n\x00\x1b\n").refusal().contains("line 2"));

    let recording = Recording::new("1,2\n3,4\n");
    assert!(refusal(&recording.path, &FileOptions::default()).contains("sample_rate_hz: is not known"));
    let still = Recording::new("time,x\n1,2\n1,3\n");
    assert!(refusal(&still.path, &FileOptions::default()).contains("sample_rate_hz: is not known"));
    let channels = FileOptions { channels: Some(3), sample_rate_hz: Some(1.0), ..FileOptions::default() };
    assert!(refusal(&recording.path, &channels).contains("is given as 3, but the file has 2"));
    for delimiter in ['"', '\n', '1', '.', '§'] {
        let csv = CsvOptions { delimiter: Some(delimiter), ..CsvOptions::default() };
        assert!(
            refusal(&recording.path, &FileOptions { csv, ..FileOptions::default() }).contains("delimiter")
        );
    }
}

#[cfg(unix)]
#[test]
fn a_pipe_is_read_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe.csv");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let pipe = path.clone();
    let writer = std::thread::spawn(move || fs::write(pipe, "x\n1\n2\n").unwrap());
    let options = FileOptions { sample_rate_hz: Some(100.0), ..FileOptions::default() };
    let read = read(&path, &options).unwrap();
    writer.join().unwrap();
    assert_eq!((read.samples(), read.total), (vec![1.0, 2.0], None));
    assert_eq!(read.info.sample_type, SampleType::F64);
}

proptest! {
    #[test]
    fn what_was_written_is_read(
        rows in prop::collection::vec([-1e9..1e9_f64, -1e-9..1e-9_f64], 1..100),
        chunk_samples in 1_usize..40,
    ) {
        let mut text = String::new();
        rows.iter().for_each(|[x, y]| writeln!(text, "{x},{y:e}").unwrap());
        let recording = Recording::new(text);
        let options = FileOptions {
            sample_rate_hz: Some(1.0),
            sample_type: Some(SampleType::F64),
            chunk_samples,
            ..FileOptions::default()
        };
        let read = read_with(&recording, &options);
        prop_assert_eq!(read.samples(), rows.concat());
        prop_assert!(read.chunks.iter().all(|chunk| chunk.samples.len() <= 2 * chunk_samples));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 1..300)) {
        let _ = Recording::new(bytes).try_read();
    }

    #[test]
    fn every_row_is_read_or_accounted_for(
        lines in prop::collection::vec("[0-9]{1,3}(,[0-9x\"]{1,3}){0,2}", 1..30),
    ) {
        let recording = Recording::new(format!("x,y\n{}\n", lines.join("\n")));
        if let Ok(read) = recording.try_read() {
            let lost: u64 = read.dead_letters.iter().map(|letter| letter.samples).sum();
            prop_assert_eq!(read.samples().len() as u64 + lost, 2 * lines.len() as u64);
        }
    }
}
