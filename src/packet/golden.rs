//! Packets whose bytes never change: what was once written must be readable for ever.

use super::samples::{codes, ecg};
use super::{ChannelSide, Header, Packet};
use crate::signal::SampleType;

/// Name, packet and bytes.
fn golden() -> Vec<(&'static str, Packet, &'static [u8])> {
    let one = Packet {
        side: vec![ChannelSide::Scaled { scale_steps: 93, offset_steps: 1138 }],
        layers: vec![codes((0..8).collect(), 8)],
        header: Header { frame_size: 64, last_valid: 64, ..ecg(0, 1).header },
    };
    let several = ecg(1000, 8);
    let constants = Packet {
        header: Header { frame_size: 64, last_valid: 17, ..ecg(7, 6).header },
        side: vec![
            ChannelSide::Constant(1024.0),
            ChannelSide::Constant(1024.0),
            ChannelSide::nearest(1000.0, 40.0),
            ChannelSide::Constant(-32_768.0),
            ChannelSide::nearest(990.0, 45.0),
            ChannelSide::Constant(32_767.0),
        ],
        layers: vec![codes((0..16).map(|i| i * 31 % 64).collect(), 6)],
    };
    let silent = Packet {
        header: Header { channels: 2, ..ecg(3, 3).header },
        side: vec![ChannelSide::Constant(0.0); 6],
        layers: vec![],
    };
    let channels = Packet {
        header: Header {
            channels: 3,
            sample_rate_hz: 285.714_285_714_285_7,
            sample_type: SampleType::I24,
            ..ecg(70_000, 2).header
        },
        side: vec![
            ChannelSide::nearest(-3.5, 800.0),
            ChannelSide::nearest(120.0, 0.7),
            ChannelSide::nearest(2_000_000.0, 12.0),
            ChannelSide::nearest(4.5, 790.0),
            ChannelSide::nearest(121.0, 0.7),
            ChannelSide::nearest(2_000_030.0, 12.5),
        ],
        layers: vec![codes((0..64).map(|i| i * 337 % 1024).collect(), 10)],
    };
    let single_precision = Packet {
        header: Header { sample_type: SampleType::F32, sample_rate_hz: 0.1, ..ecg(0, 3).header },
        side: vec![
            ChannelSide::nearest(0.25, 1.5e-3),
            ChannelSide::Constant(f64::from(0.1_f32)),
            ChannelSide::Constant(f64::from(0.1_f32)),
        ],
        layers: vec![codes(vec![1, 2, 3], 12)],
    };
    let double_precision = Packet {
        header: Header { sample_type: SampleType::F64, ..ecg(0, 2).header },
        side: vec![ChannelSide::Constant(0.1), ChannelSide::nearest(-1e-300, 1e-301)],
        layers: vec![codes(vec![1; 5], 1)],
    };
    let after_gap = Packet {
        header: Header {
            key_packet: false,
            after_gap: true,
            time_ns: Some(1_700_000_000_123_456_789),
            last_valid: 200,
            ..ecg(300, 2).header
        },
        ..ecg(300, 2)
    };
    vec![
        ("one frame", one, include_bytes!("testdata/one_frame.v1.bin")),
        ("several frames", several, include_bytes!("testdata/several_frames.v1.bin")),
        ("constants", constants, include_bytes!("testdata/constants.v1.bin")),
        ("constants only", silent, include_bytes!("testdata/constants_only.v1.bin")),
        ("three channels", channels, include_bytes!("testdata/three_channels.v1.bin")),
        ("single precision", single_precision, include_bytes!("testdata/single_precision.v1.bin")),
        ("double precision", double_precision, include_bytes!("testdata/double_precision.v1.bin")),
        ("after a gap, with time", after_gap, include_bytes!("testdata/after_gap.v1.bin")),
    ]
}

#[test]
fn golden_packets_decode() {
    for (name, packet, bytes) in golden() {
        assert_eq!(Packet::from_bytes(bytes).unwrap(), packet, "{name}");
    }
}

#[test]
fn golden_packets_encode_to_the_same_bytes() {
    for (name, packet, bytes) in golden() {
        assert_eq!(packet.to_bytes().unwrap(), bytes, "{name}");
    }
}
