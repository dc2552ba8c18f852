//! What is wrong with a port is said once, and waited out.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use integration_tests::Workplace;
use integration_tests::kafka::{Random, wait_until};
use integration_tests::serial::{Device, cobs, excerpt, patch_record};

use crate::scene::{COBS, PACKED, PATIENCE, Scene, assert_decodes_to, pipeline};

fn records(samples: &[i16]) -> Vec<u8> {
    let records = samples.chunks_exact(8).enumerate();
    records.flat_map(|(number, record)| cobs(&patch_record(number as u16, record))).collect()
}

#[test]
fn a_device_that_is_not_there_is_waited_for() {
    let samples = excerpt();
    let samples = &samples[..4_000];
    let workplace = Workplace::new();
    workplace.write("patch.toml", pipeline("patch", COBS, PACKED));
    workplace.rivulet(&["validate", "patch.toml"]).fails(78, "1 of 1");
    let link = workplace.path("patch");
    let mut scene = Scene::run(workplace, &["patch"]);
    scene.daemon.await_line("the missing device", PATIENCE, |line| {
        line.contains("patch is not there: is the device plugged in?")
    });
    assert!(scene.health().contains("is the device plugged in?"), "{}", scene.health());
    let device = Device::plug_in(&link);
    scene.await_open(1.0);
    device.sender(Random::new(1)).send(&records(samples));
    scene.await_metric("rivulet_samples_in_total", 4_000.0);
    wait_until("it is well", PATIENCE, || scene.metric("rivulet_pipeline_ready") == 1.0);
    let (workplace, log) = scene.terminate();
    assert_decodes_to(&workplace, "patch", &[samples]);
    assert_eq!(log.matches("degraded").count(), 1, "{log}");
}

#[test]
fn a_wire_of_garbage_is_told_of_once_until_it_is_over() {
    let random = Random::new(Random::seed("garbage"));
    let samples = excerpt();
    let samples = &samples[..8_000];
    let workplace = Workplace::new();
    workplace.write("patch.toml", pipeline("patch", COBS, PACKED));
    let device = Device::plug_in(&workplace.path("patch"));
    let mut scene = Scene::run(workplace, &["patch"]);
    scene.await_open(1.0);
    let mut sender = device.sender(random.clone());
    sender.send(&random.clone().bytes(60_000));
    scene.daemon.await_line("the baud rate", PATIENCE, |line| line.contains("is baud_rate right (921600)"));
    assert_eq!(scene.metric("rivulet_pipeline_ready"), 0.0);
    assert!(scene.metric("rivulet_serial_bytes_discarded_total") > 0.0);
    sender.send(&[0]);
    sender.send(&records(samples));
    scene.await_metric("rivulet_samples_in_total", 8_000.0);
    wait_until("it is well", PATIENCE, || scene.metric("rivulet_pipeline_ready") == 1.0);
    let (workplace, log) = scene.terminate();
    assert_decodes_to(&workplace, "patch", &[samples]);
    assert_eq!((log.matches("degraded").count(), log.matches("recovered").count()), (1, 1), "{log}");
}

#[test]
fn text_where_binary_is_expected_is_named() {
    let workplace = Workplace::new();
    workplace.write("patch.toml", pipeline("patch", COBS, PACKED));
    let device = Device::plug_in(&workplace.path("patch"));
    let mut scene = Scene::run(workplace, &["patch"]);
    scene.await_open(1.0);
    device.sender(Random::new(1)).send("ECG;1024;1031\r\n".repeat(1_000).as_bytes());
    scene.daemon.await_line("the text", PATIENCE, |line| line.contains("the device sends text"));
    scene.terminate();
}

#[test]
fn a_silent_port_is_opened_anew() {
    let workplace = Workplace::new();
    let text = pipeline("patch", COBS, PACKED).replace("baud_rate", "idle_timeout_ms = 200\nbaud_rate");
    workplace.write("patch.toml", text);
    let _device = Device::plug_in(&workplace.path("patch"));
    let mut scene = Scene::run(workplace, &["patch"]);
    scene.daemon.await_line("the silence", PATIENCE, |line| line.contains("source.idle_timeout_ms"));
    scene.await_metric("rivulet_serial_reconnects_total", 2.0);
    let (_, log) = scene.terminate();
    assert_eq!(log.matches("degraded").count(), 1, "{log}");
}

#[test]
fn a_port_that_may_not_be_opened_is_waited_for() {
    if nix::unistd::geteuid().is_root() {
        // Past the capture of the test harness, which shows the output of failed tests only.
        let _ = std::io::stderr().write_all(b"permission: skipped: root may open everything\n");
        return;
    }
    let workplace = Workplace::new();
    workplace.write("patch.toml", pipeline("patch", COBS, PACKED));
    let device = Device::plug_in(&workplace.path("patch"));
    let mode = |mode| std::fs::set_permissions(device.path(), PermissionsExt::from_mode(mode)).unwrap();
    mode(0o000);
    let mut scene = Scene::run(workplace, &["patch"]);
    scene.daemon.await_line("the permission", PATIENCE, |line| line.contains("may not be opened"));
    mode(0o600);
    scene.await_open(1.0);
    scene.terminate();
}
