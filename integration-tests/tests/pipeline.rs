//! From a recording to packets and back, with the built binary.

#![allow(clippy::unwrap_used)]

use std::process::Stdio;
use std::time::{Duration, Instant};

use integration_tests::{Workplace, pipeline, prd_percent, read_csv, read_wfdb_212, root};

#[test]
fn the_first_command_makes_packets_that_give_the_signal_back() {
    let workplace = Workplace::new();
    let summary = workplace.rivulet(&["run", "pipelines/ecg.toml", "--json"]).ok().json();
    assert_eq!(summary["samples"], 43_200);
    assert_eq!(summary["bytes_in"], 43_200 * 12 / 8);
    assert_eq!(summary["dead_letters"], 0);
    let file = workplace.path("out/ecg.rvl");
    let size = std::fs::metadata(&file).unwrap().len();
    assert_eq!(summary["bytes_out"], size);
    let ratio = summary["ratio"].as_f64().unwrap();
    assert!((ratio - 43_200.0 * 1.5 / size as f64).abs() < 1e-9);
    assert!(ratio > 10.0, "nominal 16 over 16 bits is 12 over 12: {ratio}");
    assert_eq!(summary["nominal_ratio"], 16.0);

    workplace.rivulet(&["decode", "out/ecg.rvl", "-o", "out/ecg.csv"]).ok();
    let (names, columns) = read_csv(&workplace.path("out/ecg.csv"));
    assert_eq!(names, ["mitdb_100_60s/MLII", "mitdb_100_60s/V5"]);
    let originals = read_wfdb_212(&root().join("pipelines/data/mitdb_100_60s.dat"));
    let mut prds = Vec::new();
    for (original, decoded) in originals.iter().zip(&columns) {
        assert_eq!(original.len(), decoded.len(), "decoded sample for sample");
        assert!(decoded.iter().all(|sample| sample.fract() == 0.0), "counts are whole");
        prds.push(prd_percent(original, decoded));
    }
    let reported = summary["prd_percent"].as_f64().unwrap();
    let measured = prds.iter().sum::<f64>() / prds.len() as f64;
    assert!((reported - measured).abs() < 1e-6 * measured, "{reported} against {measured}");
    assert!(reported < 25.0, "{reported}");

    workplace.rivulet(&["decode", "out/ecg.rvl", "-o", "out/ecg.raw"]).ok();
    let raw = std::fs::read(workplace.path("out/ecg.raw")).unwrap();
    let samples: Vec<f64> =
        raw.chunks_exact(2).map(|pair| f64::from(i16::from_le_bytes([pair[0], pair[1]]))).collect();
    assert!(
        samples.iter().step_by(2).eq(columns[0].iter())
            && samples.iter().skip(1).step_by(2).eq(columns[1].iter())
    );
}

#[test]
fn inspect_accounts_for_every_byte() {
    let workplace = Workplace::new();
    workplace.rivulet(&["run", "pipelines/ecg.toml"]).ok();
    let inspected = workplace.rivulet(&["inspect", "out/ecg.rvl", "--json"]).ok().json();
    let size = std::fs::metadata(workplace.path("out/ecg.rvl")).unwrap().len();
    let bytes = &inspected["bytes"];
    let part = |name: &str| bytes[name].as_u64().unwrap();
    let packets: u64 = ["header", "side", "indices", "checksum"].into_iter().map(part).sum();
    assert_eq!(packets + bytes["container"]["total"].as_u64().unwrap(), size, "{inspected}");
    assert_eq!(part("total"), size);
    assert!(part("side") <= 3 * inspected["total"]["frames"].as_u64().unwrap(), "{inspected}");
    assert_eq!(inspected["streams"].as_array().unwrap().len(), 2);
}

#[test]
fn the_same_run_gives_the_same_bytes() {
    let workplace = Workplace::new();
    let run = || {
        workplace.rivulet(&["run", "pipelines/ecg.toml"]).ok();
        std::fs::read(workplace.path("out/ecg.rvl")).unwrap()
    };
    assert!(run() == run());
}

#[test]
fn a_recording_shorter_than_a_frame_keeps_its_length() {
    let workplace = Workplace::new();
    let rows: String =
        (0..100).map(|i| format!("{}\n", (100.0 * (f64::from(i) / 9.0).sin()).round())).collect();
    workplace.write("short.csv", format!("lead\n{rows}"));
    workplace.write("test.toml", pipeline("path = \"short.csv\"\nsample_rate_hz = 360"));
    let summary = workplace.rivulet(&["run", "test.toml", "--json"]).ok().json();
    assert_eq!((summary["samples"].as_u64(), summary["frames"].as_u64()), (Some(100), Some(1)));
    workplace.rivulet(&["decode", "out.rvl", "-o", "back.csv"]).ok();
    assert_eq!(read_csv(&workplace.path("back.csv")).1[0].len(), 100);
}

#[test]
fn a_constant_signal_comes_back_exactly_and_costs_almost_nothing() {
    let workplace = Workplace::new();
    workplace.write("flat.csv", format!("lead\n{}", "-77\n".repeat(51_200)));
    workplace.write("test.toml", pipeline("path = \"flat.csv\"\nsample_rate_hz = 360"));
    let summary = workplace.rivulet(&["run", "test.toml", "--json"]).ok().json();
    assert_eq!(summary["constant_frames"], 100);
    assert!(summary["prd_percent"].is_null());
    assert!(summary["bytes_out"].as_u64().unwrap() < 1_000, "{summary}");
    workplace.rivulet(&["decode", "out.rvl", "-o", "back.csv"]).ok();
    let column = &read_csv(&workplace.path("back.csv")).1[0];
    assert!(column.len() == 51_200 && column.iter().all(|sample| *sample == -77.0));
}

#[test]
fn samples_that_are_not_numbers_become_dead_letters() {
    let workplace = Workplace::new();
    let mut bytes = Vec::new();
    for i in 0..2_000_u16 {
        let sample = if (700..703).contains(&i) { f32::NAN } else { (f32::from(i) / 20.0).sin() };
        bytes.extend_from_slice(&sample.to_le_bytes());
    }
    workplace.write("nan.raw", bytes);
    let source = "path = \"nan.raw\"\nsample_rate_hz = 360\nsample_type = \"f32\"\nchannels = 1";
    workplace.write("test.toml", pipeline(source));
    let outcome = workplace.rivulet(&["run", "test.toml", "--json"]).ok();
    let summary = outcome.json();
    assert!(summary["dead_letters"].as_u64().unwrap() >= 1, "{summary}");
    assert_eq!(summary["dead_letter_samples"], 3);
    assert_eq!(summary["samples"], 1_997);
    assert!(outcome.stderr.contains("dead letter"), "{outcome:?}");
    let inspected = workplace.rivulet(&["inspect", "out.rvl", "--json"]).ok().json();
    assert_eq!(inspected["streams"][0]["gaps"], 1, "{inspected}");
}

/// A recording long enough that a run takes a while.
fn long_recording(workplace: &Workplace) {
    let mut bytes = Vec::new();
    let excerpt = std::fs::read(root().join("pipelines/data/mitdb_100_60s.dat")).unwrap();
    for _ in 0..400 {
        bytes.extend_from_slice(&excerpt);
    }
    workplace.write("long.dat", bytes);
    workplace.write("long.hea", "long 2 360\nlong.dat 212 200 11 1024\nlong.dat 212 200 11 1024\n");
    workplace.write("test.toml", pipeline("path = \"long.hea\""));
}

/// Waits until the file under way holds something.
fn wait_for_packets(workplace: &Workplace) {
    let started = Instant::now();
    let partial = workplace.path("out.rvl.partial");
    while std::fs::metadata(&partial).map_or(0, |metadata| metadata.len()) < 100_000 {
        assert!(started.elapsed() < Duration::from_secs(120), "no packets were written");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_killed_run_leaves_whole_packets_under_another_name() {
    let workplace = Workplace::new();
    long_recording(&workplace);
    let mut child = workplace.command(&["run", "test.toml"]).stdout(Stdio::null()).spawn().unwrap();
    wait_for_packets(&workplace);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!workplace.path("out.rvl").exists());
    let inspected = workplace.rivulet(&["inspect", "out.rvl.partial", "--json"]).json();
    assert!(inspected["total"]["packets"].as_u64().unwrap() > 0, "{inspected}");
}

#[test]
fn the_first_signal_stops_reading_and_finishes_the_file() {
    let workplace = Workplace::new();
    long_recording(&workplace);
    let child = workplace
        .command(&["run", "test.toml", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for_packets(&workplace);
    let killed =
        std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["interrupted"], true);
    let inspected = workplace.rivulet(&["inspect", "out.rvl", "--json"]).ok().json();
    assert_eq!(inspected["total"]["samples"], summary["samples"]);
    assert_eq!(workplace.files(), ["long.dat", "long.hea", "out.rvl", "test.toml"]);
}

#[test]
fn a_promise_that_is_not_kept_fails_the_run_where_asked() {
    let workplace = Workplace::new();
    let text = pipeline("path = \"pipelines/data/mitdb_100_60s.hea\"");
    workplace.write("log.toml", format!("{text}max_prd_percent = 0.5\n"));
    let summary = workplace.rivulet(&["run", "log.toml", "--json"]).ok().json();
    assert!(summary["violations"].as_u64().unwrap() > 0);
    workplace.write("fail.toml", format!("{text}max_prd_percent = 0.5\non_violation = \"fail\"\n"));
    workplace.rivulet(&["run", "fail.toml", "--json"]).fails(1, "above 0.5 %");
}

#[test]
fn eval_reports_what_run_measures() {
    let workplace = Workplace::new();
    let run = workplace.rivulet(&["run", "pipelines/ecg.toml", "--json"]).ok().json();
    let arguments = [
        "eval",
        "--model",
        "models/ecg-16x",
        "pipelines/data/mitdb_100_60s.hea",
        "--json",
        "--report",
        "report.html",
        "--plot",
        "plot.svg",
    ];
    let eval = workplace.rivulet(&arguments).ok().json();
    for field in ["samples", "frames", "bytes_in", "bytes_out", "prd_percent", "max_error", "snr_db"] {
        assert_eq!(run[field], eval["overall"][field], "{field}");
    }
    let report = std::fs::read_to_string(workplace.path("report.html")).unwrap();
    assert!(report.contains("<svg") && report.contains("mitdb_100_60s/MLII"));
    assert!(
        !report.contains("http://") || report.matches("http").count() == report.matches("www.w3.org").count()
    );
    assert!(std::fs::read_to_string(workplace.path("plot.svg")).unwrap().contains("polyline"));
}
