//! Recordings played through a pipeline, with the built binary.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::process::Stdio;

use integration_tests::{Workplace, pipeline};
use serde_json::Value;

fn number(report: &Value, key: &str) -> f64 {
    report[key].as_f64().unwrap_or_else(|| panic!("{key} is no number in {report}"))
}

/// Holds what is true of every report.
fn check(workplace: &Workplace, report: &Value, file: &str) {
    assert_eq!(report["samples"], report["played_samples"], "everything that was played left: {report}");
    assert_eq!(report["bytes_out"], std::fs::metadata(workplace.path(file)).unwrap().len());
    let ratio = number(report, "bytes_in") / number(report, "bytes_out");
    assert!((number(report, "ratio") - ratio).abs() < 1e-9);
    let seconds = number(report, "seconds");
    for (rate, count) in [
        ("samples_per_second", "samples"),
        ("frames_per_second", "frames"),
        ("packets_per_second", "packets"),
    ] {
        let expected = number(report, count) / seconds;
        assert!((number(report, rate) - expected).abs() < 1e-6 * expected, "{rate} in {report}");
    }
    assert!(number(report, "speed_reached") > 0.0);
    assert!(number(report, "prd_percent") > 0.0, "the pipeline has a mirror");
    let cpu = number(report, "cpu_seconds") / (number(report, "samples") / 1e6);
    assert!((number(report, "cpu_seconds_per_million_samples") - cpu).abs() < 1e-9);
    assert!(number(report, "peak_memory_bytes") > 1e6);
    assert_eq!((&report["via"], &report["dead_letters"]), (&Value::from("memory"), &Value::from(0)));
    assert_eq!(report["interrupted"], false);
}

#[test]
fn as_fast_as_it_goes_every_stream_is_played_once() {
    let workplace = Workplace::new();
    let report = workplace.rivulet(&["replay", "pipelines/ecg.toml", "--streams", "3", "--json"]).ok().json();
    check(&workplace, &report, "out/ecg.rvl");
    assert_eq!((&report["samples"], &report["played_streams"]), (&Value::from(3 * 43_200), &Value::from(3)));
    assert_eq!(report["streams"], 6, "each channel is a stream to the model");
    for absent in ["speed_asked", "latency", "behind_seconds"] {
        assert!(report[absent].is_null(), "{absent} in {report}");
    }
    let inspected = workplace.rivulet(&["inspect", "out/ecg.rvl", "--json"]).ok().json();
    let keys: Vec<_> = inspected["streams"]
        .as_array()
        .unwrap()
        .iter()
        .map(|stream| stream["key"].as_str().unwrap())
        .collect();
    assert!(keys.contains(&"mitdb_100_60s#2/V5"), "{keys:?}");
    assert_eq!(inspected["total"]["samples"], report["samples"]);
    assert!(inspected["streams"].as_array().unwrap().iter().all(|stream| stream["gaps"] == 0), "{inspected}");
}

#[test]
fn a_paced_replay_measures_latency() {
    let workplace = Workplace::new();
    let outcome = workplace
        .rivulet(&[
            "replay",
            "pipelines/ecg.toml",
            "--speed",
            "10",
            "--duration",
            "2",
            "--streams",
            "4",
            "--json",
        ])
        .ok();
    let report = outcome.json();
    check(&workplace, &report, "out/ecg.rvl");
    assert!(outcome.stderr.contains("packets go to the file out/ecg.rvl"), "{outcome:?}");
    // Twenty seconds of signal were due, in chunks of 18 rows of two channels.
    let samples = report["samples"].as_u64().unwrap();
    assert!(samples > 0 && samples <= 4 * 20 * 360 * 2, "{report}");
    assert_eq!(samples % (18 * 2), 0, "{report}");
    assert_eq!((&report["played_streams"], &report["streams"]), (&Value::from(4), &Value::from(8)));
    assert_eq!(number(&report, "speed_asked"), 10.0);
    assert!(number(&report, "speed_reached") <= 10.0, "{report}");
    let latency = &report["latency"];
    assert_eq!(latency["count"], report["frames"]);
    let quantiles: Vec<_> = ["p50", "p90", "p99", "p99_9", "max"]
        .map(|quantile| number(latency, &format!("{quantile}_seconds")))
        .into_iter()
        .collect();
    assert!(quantiles.is_sorted() && quantiles[0] > 0.0, "{quantiles:?}");
    assert!(number(&report, "behind_seconds") <= number(&report, "max_behind_seconds"));
    assert!(number(&report, "drained_after_seconds") >= 0.0);
    assert_eq!(report["packet_wait_bound_by"], "delivery.commit_interval_ms");
    assert_eq!(number(&report, "packet_wait_bound_seconds"), 0.5);
}

#[test]
fn recordings_that_are_given_take_the_place_of_the_source() {
    let workplace = Workplace::new();
    let rows: String =
        (0..2_000).map(|i| format!("{}\n", (100.0 * (f64::from(i) / 9.0).sin()).round())).collect();
    workplace.write("a.csv", format!("lead\n{rows}"));
    workplace.write("b.csv", format!("lead\n{rows}{rows}"));
    workplace.write("test.toml", pipeline("path = \"not-there.csv\"\nsample_rate_hz = 360"));
    let report =
        workplace.rivulet(&["replay", "test.toml", "--input", "a.csv", "b.csv", "--json"]).ok().json();
    check(&workplace, &report, "out.rvl");
    assert_eq!((&report["played_streams"], &report["samples"]), (&Value::from(2), &Value::from(6_000)));

    let table = workplace.rivulet(&["replay", "test.toml", "--input", "a.csv"]).ok().stdout;
    for row in
        ["streams played       1, via memory", "latency              not measured", "cpu ", "peak memory"]
    {
        assert!(table.contains(row), "'{row}' is not in:\n{table}");
    }
    workplace.rivulet(&["replay", "test.toml"]).fails(66, "not-there.csv");
}

#[test]
fn a_signal_ends_a_replay_without_end_with_its_report() {
    let workplace = Workplace::new();
    let child = workplace
        .command(&["replay", "pipelines/ecg.toml", "--speed", "1", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let started = std::time::Instant::now();
    while std::fs::metadata(workplace.path("out/ecg.rvl.partial")).map_or(0, |metadata| metadata.len()) < 200
    {
        assert!(started.elapsed() < std::time::Duration::from_secs(120), "no packets were written");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let killed =
        std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["interrupted"], true);
    assert!(report["latency"]["count"].as_u64().unwrap() > 0, "{report}");
}

#[test]
fn what_cannot_be_replayed_is_said_before_anything_is_opened() {
    let workplace = Workplace::new();
    workplace.rivulet(&["replay", "pipelines/kafka.toml"]).fails(64, "give some with --input");
    workplace.rivulet(&["replay", "pipelines/ecg.toml", "--via", "kafka"]).fails(64, "reads no topic");
    workplace.rivulet(&["replay", "pipelines/ecg.toml", "--partitions", "2"]).fails(64, "--via kafka");
    workplace
        .rivulet(&["replay", "pipelines/ecg.toml", "--speed", "0"])
        .fails(64, "how many times real time");
    workplace.rivulet(&["replay", "pipelines/ecg.toml", "--duration", "-1"]).fails(64, "");
    workplace.rivulet(&["replay", "pipelines/kafka-decode.toml"]).fails(78, "nothing to replay");
    workplace.rivulet(&["replay", "pipelines/ecg.toml", "--streams", "60000"]).fails(78, "max_streams");
    assert_eq!(workplace.files(), [""; 0]);
}

#[test]
fn a_daemons_file_is_not_replaced() {
    let workplace = Workplace::new();
    let text = std::fs::read_to_string(workplace.path("pipelines/kafka.toml")).unwrap();
    let (source, _) = text.split_once("[delivery]").unwrap();
    workplace.write("kept.toml", format!("{source}[[sinks]]\ntype = \"file\"\npath = \"kept.rvl\"\n"));
    let recording = "pipelines/data/mitdb_100_60s.hea";
    workplace.write("kept.rvl", "what a daemon wrote");
    workplace
        .rivulet(&["replay", "kept.toml", "--input", recording])
        .fails(73, "kept.rvl holds what the pipeline");
    assert_eq!(std::fs::read(workplace.path("kept.rvl")).unwrap(), b"what a daemon wrote");
    std::fs::remove_file(workplace.path("kept.rvl")).unwrap();
    workplace.rivulet(&["replay", "kept.toml", "--input", recording]).ok();
    assert!(workplace.path("kept.rvl").exists());
}
