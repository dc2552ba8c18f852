//! The shipped pipeline, as it is.

use integration_tests::Workplace;
use integration_tests::kafka::{Daemon, Random, free_port, metric_sum, wait_until};
use integration_tests::serial::{Device, cobs, excerpt, patch_record};

use crate::scene::PATIENCE;

#[test]
fn the_shipped_pipeline_runs() {
    let workplace = Workplace::new();
    let device = Device::plug_in(&workplace.path("port"));
    let port = workplace.path("port").display().to_string();
    let checked =
        workplace.command(&["validate", "pipelines/serial.toml"]).env("SERIAL_PORT", &port).output();
    let checked = checked.unwrap();
    assert!(checked.status.success(), "{checked:?}");
    assert!(String::from_utf8_lossy(&checked.stderr).contains("cannot be read again"), "{checked:?}");

    let address = format!("127.0.0.1:{}", free_port());
    let arguments = ["pipelines/serial.toml", "--metrics", &address];
    let daemon = Daemon::run_with(&workplace, "daemon", &arguments, &[("SERIAL_PORT", &port)]);
    let metric = |name: &str| metric_sum(&address, name).unwrap_or(0.0);
    wait_until("the port is open", PATIENCE, || metric("rivulet_serial_connected") == 1.0);
    let samples = excerpt();
    let mut sender = device.sender(Random::new(1));
    for (number, record) in samples.chunks_exact(8).enumerate().take(500) {
        sender.send(&cobs(&patch_record(number as u16, record)));
    }
    wait_until("all has come", PATIENCE, || metric("rivulet_samples_in_total") == 4_000.0);
    daemon.terminate();
    let inspected = workplace.rivulet(&["inspect", "out/ecg-patch.rvl", "--json"]).ok().json();
    assert_eq!(inspected["total"]["samples"], 4_000, "{inspected}");
    assert_eq!(inspected["streams"][0]["key"], "patch-1", "{inspected}");
}

#[test]
fn a_recording_takes_the_place_of_the_port() {
    let workplace = Workplace::new();
    workplace.rivulet(&["replay", "pipelines/serial.toml"]).fails(64, "reads a serial port");
    let input = ["--input", "pipelines/data/mitdb_100_60s.hea", "--json"];
    let report =
        workplace.rivulet(&[["replay", "pipelines/serial.toml"].as_slice(), &input].concat()).ok().json();
    assert_eq!(report["samples"], 43_200, "{report}");
}

#[test]
fn ports_are_listed() {
    let workplace = Workplace::new();
    let text = workplace.rivulet(&["list", "ports"]).ok().stdout;
    let ports = workplace.rivulet(&["list", "ports", "--json"]).ok().json();
    match ports.as_array().unwrap().as_slice() {
        [] => assert!(text.contains("no serial ports"), "{text}"),
        ports => assert!(ports.iter().all(|port| text.contains(port["path"].as_str().unwrap())), "{text}"),
    }
}
