//! Recordings in and out in every format, by the built binary.

#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::process::Stdio;

use integration_tests::{Workplace, pipeline, read_csv};

const EXCERPT: &str = "path = \"pipelines/data/mitdb_100_60s.hea\"";

/// A workplace with the excerpt encoded as `out.rvl` and decoded as `out.csv`.
fn encoded() -> (Workplace, Vec<Vec<f64>>) {
    let workplace = Workplace::new();
    workplace.write("test.toml", pipeline(EXCERPT));
    workplace.rivulet(&["run", "test.toml"]).ok();
    workplace.rivulet(&["decode", "out.rvl", "-o", "out.csv"]).ok();
    let (_, columns) = read_csv(&workplace.path("out.csv"));
    (workplace, columns)
}

/// A pipeline that writes `again.rvl`.
fn to_again(source: &str) -> String {
    let sink = "[[sinks]]\ntype = \"file\"\npath = \"";
    pipeline(source).replace(&format!("{sink}out.rvl"), &format!("{sink}again.rvl"))
}

/// Encodes what a source gives and says how many samples that were, and in how many streams.
fn run(workplace: &Workplace, source: &str) -> (u64, u64) {
    workplace.write("again.toml", to_again(source));
    let summary = workplace.rivulet(&["run", "again.toml", "--json"]).ok().json();
    assert_eq!(summary["dead_letters"], 0, "{summary}");
    (summary["samples"].as_u64().unwrap(), summary["streams"].as_u64().unwrap())
}

#[test]
fn what_is_decoded_is_read_again() {
    let (workplace, columns) = encoded();
    let rows = columns[0].len();
    for file in ["a.wav", "a.edf", "a.bdf", "a.hea", "a.csv"] {
        workplace.rivulet(&["decode", "out.rvl", "-o", file]).ok();
        let rate = if file == "a.csv" { "sample_rate_hz = 360" } else { "" };
        let source = format!("path = \"{file}\"\n{rate}");
        assert_eq!(run(&workplace, &source), (2 * rows as u64, 2), "{file}");
        // The codec is the same one, and so is what comes out.
        workplace.rivulet(&["decode", "again.rvl", "-o", "again.csv"]).ok();
        let (names, again) = read_csv(&workplace.path("again.csv"));
        assert_eq!(again[0].len(), rows, "{file}");
        let channel = if file == "a.csv" { "mitdb_100_60s/MLII" } else { "MLII" };
        let expected = if file == "a.wav" { "a/ch0".to_owned() } else { format!("a/{channel}") };
        assert_eq!(names[0], expected);
    }
}

#[test]
fn samples_are_the_same_in_every_format() {
    let (workplace, columns) = encoded();
    workplace.rivulet(&["decode", "out.rvl", "-o", "out.raw"]).ok();
    let raw = std::fs::read(workplace.path("out.raw")).unwrap();
    let samples: Vec<f64> =
        raw.chunks_exact(2).map(|bytes| f64::from(i16::from_le_bytes([bytes[0], bytes[1]]))).collect();
    assert_eq!(samples.iter().copied().step_by(2).collect::<Vec<_>>(), columns[0]);
    for (file, front) in [("b.wav", 80), ("b.hea", 0)] {
        workplace.rivulet(&["decode", "out.rvl", "-o", file]).ok();
        let data = std::fs::read(workplace.path(&file.replace("hea", "dat"))).unwrap();
        assert!(data[front..] == raw[..], "{file}");
    }
    workplace.rivulet(&["decode", "out.rvl", "-o", "b.edf"]).ok();
    let edf = std::fs::read(workplace.path("b.edf")).unwrap();
    // A second of both signals and 120 bytes of annotations in each record.
    let records = edf[256 * 4..].chunks_exact(2 * 720 + 120);
    let first: Vec<u8> = records.flat_map(|record| record[..720].to_vec()).collect();
    let expected: Vec<u8> = columns[0].iter().flat_map(|count| (*count as i16).to_le_bytes()).collect();
    assert!(first == expected);
}

#[test]
fn formats_that_do_not_fit_say_what_does() {
    let (workplace, _) = encoded();
    let refusal = |arguments: &[&str], text: &str| {
        workplace.rivulet(&[&["decode", "out.rvl", "-o"], arguments].concat()).fails(64, text);
    };
    refusal(&["a.flac"], "name it .csv, .raw, .wav, .edf, .bdf or .hea");
    refusal(&["-", "--format", "wav"], "write it to a file");
    refusal(&["a.edf", "--physical"], "leave --physical out");
    refusal(&["a.csv", "--format", "wfdb"], "named by its header");
    assert!(!workplace.files().iter().any(|name| name.starts_with("a.")));
}

#[test]
fn standard_input_and_compressed_files_are_read() {
    let (workplace, columns) = encoded();
    let csv = std::fs::read(workplace.path("out.csv")).unwrap();
    let total = 2 * columns[0].len() as u64;
    std::fs::copy(integration_tests::root().join("pipelines/stdin.toml"), workplace.path("stdin.toml"))
        .unwrap();
    let mut child = workplace
        .command(&["run", "stdin.toml", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&csv).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (summary["samples"].as_u64(), summary["streams"].as_u64()),
        (Some(total), Some(2)),
        "{summary}"
    );

    let gzip = std::process::Command::new("gzip").arg("-k").arg(workplace.path("out.csv")).status();
    if gzip.is_ok_and(|status| status.success()) {
        assert_eq!(run(&workplace, "path = \"out.csv.gz\"\nsample_rate_hz = 360"), (total, 2));
    } else {
        eprintln!("skipped: there is no gzip here");
    }
}

#[test]
fn packets_are_encoded_again() {
    let (workplace, columns) = encoded();
    assert_eq!(run(&workplace, "path = \"out.rvl\""), (2 * columns[0].len() as u64, 2));
    let streams = |file: &str| -> Vec<String> {
        let report = workplace.rivulet(&["inspect", file, "--json"]).ok().json();
        let streams = report["streams"].as_array().unwrap();
        streams.iter().map(|stream| stream["key"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(streams("again.rvl"), streams("out.rvl"), "streams keep their keys");
    workplace.write("none.toml", to_again("path = \"out.rvl\"\nmodels = [\"nowhere\"]"));
    workplace.rivulet(&["run", "none.toml"]).fails(65, "name its directory in source.models");
}

#[test]
fn many_files_are_one_source() {
    let (workplace, columns) = encoded();
    std::fs::create_dir_all(workplace.path("beds/1")).unwrap();
    std::fs::create_dir_all(workplace.path("beds/2")).unwrap();
    for bed in ["1", "2"] {
        workplace.rivulet(&["decode", "out.rvl", "-o", &format!("beds/{bed}/ecg.wav")]).ok();
    }
    let total = 2 * columns[0].len() as u64;
    assert_eq!(run(&workplace, "path = \"beds/*/ecg.wav\""), (2 * total, 4));
    let report = workplace.rivulet(&["inspect", "again.rvl", "--json"]).ok().json();
    assert_eq!(report["streams"][0]["key"], "1/ecg/ch0", "{report}");
    assert_eq!(report["streams"][3]["key"], "2/ecg/ch1", "{report}");
}
