//! Pipelines that read a serial port.

use super::*;
use crate::source::decoding::Codec;
use crate::source::serial::framing::{
    Check, CheckKind, Covers, Escape, FramingOptions, LengthCounts, LengthField, Method,
};
use crate::source::serial::{CharSize, FlowControl, Parity, PortOptions, SerialOptions, StopBits};

/// A valid pipeline; the framing is in line 5, the decoding in line 6.
const SERIAL: &str = r#"name = "patch"
encoder = { type = "rvq", model = "m" }
sinks = [{ type = "file", path = "out.rvl" }]
[source]
framing = { method = "cobs" }
decoding = { codec = "packed", fields = "u8 seq, 2*s16le samples", sample_rate_hz = 250 }
type = "serial"
path = "/dev/serial/by-id/usb-patch"
baud_rate = 115200
"#;

fn replaced(old: &str, new: &str) -> String {
    assert_eq!(SERIAL.matches(old).count(), 1, "{old}");
    SERIAL.replace(old, new)
}

#[track_caller]
fn source(text: &str) -> SerialOptions {
    match parse(text).unwrap().source {
        SourceConfig::Serial(source) => *source,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn framing(keys: &str) -> FramingOptions {
    let text = "decoding = { codec = \"csv\", sample_type = \"i16\", sample_rate_hz = 250 }";
    let packed =
        "decoding = { codec = \"packed\", fields = \"u8 seq, 2*s16le samples\", sample_rate_hz = 250 }";
    source(&replaced("method = \"cobs\"", keys).replace(packed, text)).framing
}

#[test]
fn what_is_left_out_has_its_default() {
    let source = source(SERIAL);
    let port = PortOptions {
        path: PathBuf::from("/dev/serial/by-id/usb-patch"),
        baud_rate: 115_200,
        data_bits: CharSize::Bits8,
        parity: Parity::None,
        stop_bits: StopBits::One,
        flow_control: FlowControl::None,
        exclusive: true,
    };
    assert_eq!(source.port, port);
    assert_eq!(source.key, "usb-patch");
    assert_eq!((source.idle_timeout, source.buffer_bytes), (None, 1 << 20));
    assert_eq!(source.framing, FramingOptions { method: Method::Cobs { max_length: 4096 }, check: None });
    assert!(matches!(source.decoding.codec, Codec::Packed(_)));
    assert_eq!(source.decoding.sample_type, SampleType::I16);
}

#[test]
fn what_is_given_arrives() {
    let keys = "baud_rate = 921600\ndata_bits = 7\nparity = \"even\"\nstop_bits = 2\nflow_control = \"rts_cts\"\n\
                exclusive = false\nidle_timeout_ms = 250\nbuffer_bytes = 65536\nkey = \"bed-4\"";
    let source = source(&replaced("baud_rate = 115200", keys));
    let port = PortOptions {
        path: PathBuf::from("/dev/serial/by-id/usb-patch"),
        baud_rate: 921_600,
        data_bits: CharSize::Bits7,
        parity: Parity::Even,
        stop_bits: StopBits::Two,
        flow_control: FlowControl::RtsCts,
        exclusive: false,
    };
    assert_eq!(source.port, port);
    assert_eq!((source.key.as_str(), source.buffer_bytes), ("bed-4", 65_536));
    assert_eq!(source.idle_timeout, Some(Duration::from_millis(250)));
}

#[test]
fn framings_arrive() {
    let check = |kind, endian, covers| Some(Check { kind, endian, covers });
    for (keys, method, wanted) in [
        (
            "method = \"newline_delimited\", max_length = 80",
            Method::NewlineDelimited { max_length: 80 },
            None,
        ),
        (
            "method = \"fixed\", length = 9, sync = [0xa5, 90], check = \"sum8\", check_from = \"sync\"",
            Method::Fixed { length: 9, sync: vec![0xa5, 0x5a] },
            check(CheckKind::Sum8, Endian::Little, Covers::Sync),
        ),
        (
            "method = \"length_delimited\", sync = [1], length_type = \"u16be\", length_counts = \"all\", \
             max_length = 99, check = \"crc32\", check_endian = \"big\", check_from = \"length\"",
            Method::LengthDelimited {
                sync: vec![1],
                field: LengthField { bytes: 2, endian: Endian::Big },
                counts: LengthCounts::All,
                max_length: 99,
            },
            check(CheckKind::Crc32, Endian::Big, Covers::Length),
        ),
        (
            "method = \"slip\", check = \"crc16-modbus\", check_endian = \"little\"",
            Method::Slip { max_length: 4096 },
            check(CheckKind::Crc16Modbus, Endian::Little, Covers::Record),
        ),
        (
            "method = \"start_end\", start = 0x7e, end = 0x7e, escape = 0x7d, check = \"xor8\"",
            Method::StartEnd {
                start: 0x7e,
                end: 0x7e,
                escape: Some(Escape { byte: 0x7d, xor: 0x20 }),
                max_length: 4096,
            },
            check(CheckKind::Xor8, Endian::Little, Covers::Record),
        ),
        (
            "method = \"start_end\", start = 2, end = 0",
            Method::StartEnd { start: 2, end: 0, escape: None, max_length: 4096 },
            None,
        ),
    ] {
        assert_eq!(framing(keys), FramingOptions { method, check: wanted }, "{keys}");
    }
}

#[test]
fn framings_that_cannot_be_are_refused() {
    for (keys, says) in [
        (
            "",
            "framing.method: missing; one of newline_delimited, fixed, length_delimited, cobs, slip, start_end",
        ),
        (
            "method = \"cops\"",
            "framing.method: expected one of newline_delimited, fixed, length_delimited, cobs",
        ),
        ("method = \"cobs\", check = \"crc16\"", "framing.check: expected one of crc16-ccitt, crc16-xmodem"),
        (
            "method = \"cobs\", check = \"crc32\"",
            "framing.check_endian: missing beside check; one of little, big",
        ),
        ("method = \"cobs\", check_endian = \"big\"", "framing.check_endian: means nothing without check"),
        (
            "method = \"cobs\", check = \"xor8\", check_endian = \"big\"",
            "framing.check_endian: means nothing for a check of one byte",
        ),
        ("method = \"cobs\", sync = [1]", "framing.sync: unknown key"),
        ("method = \"cobs\", max_length = 4", "framing.max_length: is 4, but the fields of decoding take 5"),
        (
            "method = \"newline_delimited\"",
            "framing.method: ends records at a byte that binary samples may hold, too",
        ),
        ("method = \"fixed\", length = 5", "framing.method: needs sync or check"),
        (
            "method = \"fixed\", length = 2, sync = [1], check = \"xor8\"",
            "framing.length: is 2, and sync and check alone take 2",
        ),
        (
            "method = \"fixed\", length = 9, sync = [1]",
            "framing.length: 9 bytes leave 8 for the record, but the fields of decoding take 5",
        ),
        ("method = \"fixed\", length = 6, sync = []", "framing.sync: has 0 bytes: give 1 to 16"),
        ("method = \"fixed\", length = 6, sync = [300]", "framing.sync[0]: 300 is no byte: 0 to 255"),
        ("method = \"length_delimited\", sync = [1]", "framing.length_type: missing"),
        ("method = \"length_delimited\", length_type = \"u8\"", "framing.method: needs sync or check"),
        (
            "method = \"length_delimited\", length_type = \"u8\", sync = [1], length_counts = \"record_and_check\"",
            "framing.length_counts: counts a check, but there is none",
        ),
        ("method = \"start_end\", start = 2, end = 3", "framing.escape: missing: binary samples may hold"),
        (
            "method = \"start_end\", start = 2, end = 3, check = \"sum8\"",
            "framing.check: is bytes, which may be those of start and end: give escape",
        ),
        ("method = \"start_end\", start = 2, end = 3, escape = 3", "framing.escape: has to be another byte"),
        (
            "method = \"start_end\", start = 2, end = 2, escape = 3, escape_xor = 0",
            "framing.escape_xor: may not be 0",
        ),
        (
            "method = \"start_end\", start = 2, end = 3, escape = 4, escape_xor = 1",
            "framing.escape_xor: 0x01 makes one of start, end and escape of another of them",
        ),
        ("method = \"start_end\", start = 256, end = 3", "framing.start: expected a byte, 0 to 255"),
    ] {
        let found = problems(&replaced("method = \"cobs\"", keys));
        assert_eq!(found.len(), 1, "{keys}: {found:#?}");
        assert!(found[0].starts_with(&format!("p.toml:5: source.{says}")), "{keys}: {}", found[0]);
    }
    let raw = replaced("method = \"cobs\"", "method = \"fixed\", length = 7, sync = [1]").replace(
        "codec = \"packed\", fields = \"u8 seq, 2*s16le samples\"",
        "codec = \"raw\", sample_type = \"s32le\"",
    );
    assert_eq!(
        problems(&raw),
        [
            "p.toml:5: source.framing.length: 7 bytes leave 6 for the record, which are not whole rows of 4 bytes"
        ]
    );
}

#[test]
fn a_port_promises_less_than_a_topic() {
    let with = |lines: &str| problems(&format!("{SERIAL}{lines}\n"));
    assert_eq!(
        with("[delivery]\nguarantee = \"exactly_once\""),
        [
            "p.toml:11: delivery.guarantee: exactly_once needs a source of type \"kafka\", whose positions are part of \
             the transaction; leave it out"
        ]
    );
    assert_eq!(
        with("[delivery]\ncommit_interval_ms = 5"),
        ["p.toml:11: delivery.commit_interval_ms: only for a source of type \"kafka\", or one that follows \
             files: what a serial port has sent cannot be read again, and nothing is committed"]
    );
    parse(&format!("{SERIAL}[delivery]\nguarantee = \"at_least_once\"")).unwrap();
    let topic = replaced(
        "{ type = \"file\", path = \"out.rvl\" }",
        "{ type = \"kafka\", brokers = \"a:9092\", topic = \"{topic}\" }",
    );
    assert!(problems(&topic)[0].contains("and a serial port has none"), "{:?}", problems(&topic));
    assert_eq!(
        problems(&replaced("path = \"/dev/serial/by-id/usb-patch\"", "path = \"out.rvl\"")),
        ["p.toml:3: sinks[0].path: the same file as source.path: it would be overwritten"]
    );
}
