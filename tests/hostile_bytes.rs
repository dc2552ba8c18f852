//! Bytes that nobody wrote: no panic, and no memory beyond a small multiple of what is there.

#![allow(unsafe_code, clippy::unwrap_used)]

mod counting;
#[path = "../fuzz/packet_files.rs"]
mod packet_files;

use std::fmt::Debug;
use std::io::Write;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};

use counting::peak_of;
use rivulet::model::ModelId;
use rivulet::packet::rvl::Writer;
use rivulet::packet::{ChannelSide, Header, Layer, LayerId, Packet};
use rivulet::signal::{ChannelInfo, SampleType, StreamInfo, StreamKey};
use rivulet::source::SourceEvent;
use rivulet::source::decoding::{Codec, DecodingOptions, JsonFields, JsonLayout};
use rivulet::source::file::{FileOptions, open};

/// Bytes of memory for each byte of input, and besides.
const PER_BYTE: usize = 160;
const BESIDES: usize = 16 << 10;

/// Cases of each test of packets; there are three.
const CASES: u32 = 100_000;

/// Runs `work` on the bytes of many cases and holds its memory to the bound.
fn survives<S: Strategy>(cases: S, bytes: impl Fn(S::Value) -> Vec<u8>, work: impl Fn(&[u8]))
where
    S::Value: Debug,
{
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let result = TestRunner::new(config).run(&cases, |case| {
        let bytes = bytes(case);
        let peak = peak_of(|| work(&bytes));
        prop_assert!(peak <= PER_BYTE * bytes.len() + BESIDES, "{peak} bytes for {}", bytes.len());
        Ok(())
    });
    result.unwrap();
}

fn packet() -> Packet {
    Packet {
        header: Header {
            model: ModelId(*b"a model!"),
            key_packet: true,
            after_gap: false,
            sample_type: SampleType::I16,
            channels: 2,
            sample_rate_hz: 360.0,
            frame_size: 64,
            first_frame: 4,
            time_ns: None,
            frames: 3,
            last_valid: 60,
        },
        side: vec![
            ChannelSide::nearest(10.0, 50.0),
            ChannelSide::Constant(7.0),
            ChannelSide::nearest(12.0, 52.0),
            ChannelSide::nearest(1.0, 2.0),
            ChannelSide::Constant(0.0),
            ChannelSide::Constant(0.0),
        ],
        layers: vec![Layer { id: LayerId::PackedCodes, payload: vec![0xA5; 16] }],
    }
}

fn file() -> Vec<u8> {
    let info = StreamInfo {
        key: StreamKey::new("device/acceleration"),
        sample_rate_hz: 360.0,
        sample_type: SampleType::I16,
        stored_bits: 16,
        channels: vec![ChannelInfo::unscaled("x"), ChannelInfo::unscaled("y")],
    };
    let mut writer = Writer::new(Vec::new()).unwrap();
    let packet = packet().to_bytes().unwrap();
    for stream in 0..2 {
        writer.add_stream(&info).unwrap();
        writer.write_packet(stream, &packet).unwrap();
        writer.write_packet(stream, &packet).unwrap();
    }
    writer.finish().unwrap().0
}

fn read_packet(bytes: &[u8]) {
    let _ = Header::read(bytes);
    if let Ok(packet) = Packet::from_bytes(bytes) {
        assert_eq!(packet.side.len(), packet.header.frames as usize * usize::from(packet.header.channels));
    }
}

fn overwrites() -> impl Strategy<Value = Vec<(Index, Vec<u8>)>> {
    prop::collection::vec((any::<Index>(), prop::collection::vec(any::<u8>(), 1..10)), 1..4)
}

fn overwritten(mut bytes: Vec<u8>, overwrites: &[(Index, Vec<u8>)]) -> Vec<u8> {
    for (at, with) in overwrites {
        let at = at.index(bytes.len());
        for (byte, with) in bytes[at..].iter_mut().zip(with) {
            *byte = *with;
        }
    }
    bytes
}

#[test]
fn random_bytes() {
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300),
        // Behind the start of a file, and made of what records are made of.
        prop::collection::vec(prop::sample::select(vec![0xB7, 0, 1, 2, 3, 4, 0x82, 255]), 0..200)
            .prop_map(|tail| [&file()[..12], &tail].concat()),
    ];
    survives(
        bytes,
        |bytes| bytes,
        |bytes| {
            read_packet(bytes);
            packet_files::read(bytes);
        },
    );
}

#[test]
fn packets_sealed_after_they_were_changed() {
    let good = packet().to_bytes().unwrap();
    let sealed = |(overwrites, length): (Vec<_>, usize)| {
        let mut bytes = overwritten(good[..good.len() - 4].to_vec(), &overwrites);
        bytes.truncate(length);
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    };
    survives((overwrites(), 10..good.len() - 3), sealed, read_packet);
}

#[test]
fn files_with_changed_bytes() {
    let good = file();
    let changed = |(overwrites, cut): (Vec<_>, Index)| {
        let mut bytes = overwritten(good.clone(), &overwrites);
        bytes.truncate(good.len().min(cut.index(2 * good.len())));
        bytes
    };
    survives((overwrites(), any::<Index>()), changed, packet_files::read);
}

/// Memory of a recording's reader, whatever its bytes claim: the largest chunk, as bytes and as samples, and buffers.
const RECORDING_BYTES: usize = 48 << 20;

/// Cases of the test below, each with a file.
const RECORDINGS: u32 = 3_000;

/// Starts of recordings, by extension.
fn recordings() -> Vec<(&'static str, Vec<u8>)> {
    let edf = |magic: &[u8]| {
        let mut bytes = magic.to_vec();
        let fields = [
            ("X", 80),
            ("X", 80),
            ("29.02.24", 8),
            ("12.30.15", 8),
            ("512", 8),
            ("EDF+D", 44),
            ("-1", 8),
            ("1", 8),
            ("1", 4),
            ("ECG", 16),
            ("", 80),
            ("mV", 8),
            ("-5", 8),
            ("5", 8),
            ("-2048", 8),
            ("2047", 8),
            ("", 80),
            ("60", 8),
            ("", 32),
        ];
        bytes.extend(fields.iter().flat_map(|(text, width)| format!("{text:width$}").into_bytes()));
        bytes.extend([7; 400]);
        bytes
    };
    let wav = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\x01\0\x01\0\x68\x01\0\0\xd0\x02\0\0\x02\0\x10\0data\xff\xff\xff\xff";
    vec![
        ("edf", edf(b"0       ")),
        ("bdf", edf(b"\xffBIOSEMI")),
        ("wav", [&wav[..], &[9; 200]].concat()),
        ("csv", b"time,x,y\n0,1,2\n0.1,3,4\n0.2,5,6\n".to_vec()),
        ("jsonl", b"{\"t\":1,\"k\":\"a\",\"v\":[1,2,3]}\n{\"t\":2,\"k\":\"b\",\"v\":[4]}\n".to_vec()),
        ("f32", [1.0_f32, 2.0, f32::NAN, 4.0].iter().flat_map(|value| value.to_le_bytes()).collect()),
        ("hea", b"a 2 360 3 12:30:15 29/02/2024\na.f32 16 200(5)/mV 16 0 1 2 0 I\na.f32 16 1/NU\n".to_vec()),
        ("rvl", file()),
    ]
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn read_recording(path: &std::path::Path, options: &FileOptions) -> usize {
    let Ok(mut source) = open(path, options) else { return 0 };
    let (mut samples, mut events) = (0, 0);
    loop {
        events += 1;
        assert!(events < 100_000, "no end of {}", path.display());
        match source.next_event() {
            Ok(SourceEvent::Chunk(chunk)) => samples += chunk.samples.len(),
            Ok(SourceEvent::End) | Err(_) => return samples,
            Ok(_) => {}
        }
    }
}

#[test]
fn recordings_with_changed_bytes() {
    let samples = "v".parse().unwrap();
    let key = Some("k".parse().unwrap());
    let json = JsonFields { samples: vec![samples], layout: JsonLayout::Rows, time: None, key };
    let decoding = DecodingOptions {
        sample_rate_hz: 10.0,
        sample_type: SampleType::I16,
        channels: vec![ChannelInfo::unscaled("")],
        codec: Codec::Json(json),
    };
    let given = |extension: &str| FileOptions {
        sample_rate_hz: (extension == "f32").then_some(10.0),
        decoding: Some(Box::new(decoding.clone())),
        ..FileOptions::default()
    };
    let recordings = recordings();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.f32"), [1; 24]).unwrap();
    for (extension, bytes) in &recordings {
        let path = folder.path().join(format!("good.{extension}"));
        std::fs::write(&path, bytes).unwrap();
        // Packets need a model that is not there.
        assert!(read_recording(&path, &given(extension)) > 0 || *extension == "rvl", "{extension}");
    }
    let config = Config { cases: RECORDINGS, failure_persistence: None, ..Config::default() };
    let cases = (any::<Index>(), overwrites(), any::<Index>(), any::<bool>());
    let result = TestRunner::new(config).run(&cases, |(which, overwrites, cut, compressed)| {
        let (extension, good) = &recordings[which.index(recordings.len())];
        let good = if compressed { gzip(good) } else { good.clone() };
        let mut bytes = overwritten(good.clone(), &overwrites);
        bytes.truncate(good.len().min(cut.index(2 * good.len())));
        let path = folder.path().join(format!("changed.{extension}{}", if compressed { ".gz" } else { "" }));
        std::fs::write(&path, &bytes).unwrap();
        let peak = peak_of(|| {
            read_recording(&path, &given(extension));
        });
        prop_assert!(peak <= RECORDING_BYTES, "{peak} bytes for {} of {extension}", bytes.len());
        Ok(())
    });
    result.unwrap();
}

/// Index and stream records can claim much with a right checksum.
#[test]
fn sealed_claims_are_bounded() {
    for claim in [u64::MAX, 1 << 40, 1 << 20, 4096] {
        let mut index = vec![0, 253];
        index.extend_from_slice(&claim.to_le_bytes());
        index.extend_from_slice(&[12; 400]);
        let mut bytes = file();
        let head_and_checksum = packet_files::record(3, 9, &index);
        bytes.extend_from_slice(&head_and_checksum);
        let mut stream = vec![1, b'x', 3, 0, 16, 253];
        stream.extend_from_slice(&claim.to_le_bytes());
        stream.extend_from_slice(&[0; 400]);
        bytes.extend_from_slice(&packet_files::record(1, 9, &stream));
        let peak = peak_of(|| packet_files::read(&bytes));
        assert!(peak <= PER_BYTE * bytes.len() + BESIDES, "{peak} bytes for {}", bytes.len());
    }
}
