//! Several ports in one process.

use integration_tests::Workplace;
use integration_tests::kafka::Random;
use integration_tests::serial::{Device, cobs, excerpt, length_delimited, patch_record};

use crate::scene::{COBS, PACKED, Scene, assert_decodes_to, pipeline};

#[test]
fn three_devices_speak_three_ways_at_once() {
    let seed = Random::seed("three");
    let samples = excerpt();
    let samples = &samples[..12_000];
    let workplace = Workplace::new();
    let length = "method = \"length_delimited\", sync = [0xa5, 0x5a], length_type = \"u8\", check = \"crc16-ccitt\", \
                  check_endian = \"big\"";
    let raw = "codec = \"raw\", sample_type = \"s16be\"";
    let csv = "codec = \"csv\", sample_type = \"i16\"";
    workplace.write("patch.toml", pipeline("patch", COBS, PACKED));
    workplace.write("belt.toml", pipeline("belt", length, raw));
    workplace.write("scale.toml", pipeline("scale", "method = \"newline_delimited\"", csv));
    let names = ["patch", "belt", "scale"];
    let devices = names.map(|name| Device::plug_in(&workplace.path(name)));
    let scene = Scene::run(workplace, &names);
    scene.await_open(3.0);

    let wires: [Vec<u8>; 3] = [
        samples
            .chunks(8)
            .enumerate()
            .flat_map(|(number, record)| cobs(&patch_record(number as u16, record)))
            .collect(),
        samples
            .chunks(30)
            .flat_map(|record| {
                let bytes: Vec<u8> = record.iter().flat_map(|sample| sample.to_be_bytes()).collect();
                length_delimited(&[0xa5, 0x5a], &bytes)
            })
            .collect(),
        // The end of a line that nobody saw the beginning of comes first.
        std::iter::once("23\r\n".to_owned())
            .chain(samples.iter().map(|sample| format!("{sample}\r\n")))
            .flat_map(String::into_bytes)
            .collect(),
    ];
    std::thread::scope(|scope| {
        for ((device, wire), number) in devices.iter().zip(&wires).zip(0..) {
            scope.spawn(move || device.sender(Random::new(seed + number)).send(wire));
        }
    });
    scene.await_metric("rivulet_samples_in_total", 36_000.0);
    assert_eq!(scene.metric("rivulet_serial_framing_errors_total"), 0.0);
    let (workplace, _) = scene.terminate();
    for name in names {
        assert_decodes_to(&workplace, name, &[samples]);
    }
}

#[test]
fn a_port_has_one_reader() {
    let workplace = Workplace::new();
    let text = pipeline("patch", COBS, PACKED);
    workplace.write("patch.toml", &text);
    workplace.write(
        "again.toml",
        text.replace("name = \"patch\"", "name = \"again\"").replace("patch.", "again."),
    );
    let outcome = workplace.rivulet(&["run", "patch.toml", "again.toml"]);
    outcome.fails(78, "again.toml:4: source.path: patch (patch.toml) reads the same port");

    let _device = Device::plug_in(&workplace.path("patch"));
    let first = Scene::run(workplace, &["patch"]);
    first.await_open(1.0);
    let Scene { workplace, daemon, .. } = first;
    let mut second = Scene::run(workplace, &["again"]);
    second
        .daemon
        .await_line("the other", crate::scene::PATIENCE, |line| line.contains("in use by another program"));
    daemon.terminate();
    second.await_open(1.0);
    second.terminate();
}
