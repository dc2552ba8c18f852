//! Packets for the tests of this module and those below it.

use proptest::prelude::*;

use super::{ChannelSide, Header, Layer, LayerId, MAX_PACKET_SAMPLES, Packet, pack_codes};
use crate::model::ModelId;
use crate::signal::SampleType;

/// A packet of an ECG channel in `frames` frames of 512 samples with 64 codes of 8 bits each.
pub(super) fn ecg(first_frame: u64, frames: u32) -> Packet {
    let level = |frame: u32| f64::from((frame * 37 + 11) % 50);
    Packet {
        header: Header {
            model: ModelId([0x5e, 0xed, 0x0f, 0xec, 0x61, 0x6a, 0x70, 0x01]),
            key_packet: true,
            after_gap: false,
            sample_type: SampleType::I16,
            channels: 1,
            sample_rate_hz: 360.0,
            frame_size: 512,
            first_frame,
            time_ns: None,
            frames,
            last_valid: 512,
        },
        side: (0..frames).map(|f| ChannelSide::nearest(950.0 + level(f), 60.0 + level(f + 7))).collect(),
        layers: vec![codes((0..frames * 64).map(|i| (i * 167 % 251) as u16).collect(), 8)],
    }
}

/// A layer of codes of `bits` bits.
pub(super) fn codes(codes: Vec<u16>, bits: u32) -> Layer {
    Layer { id: LayerId::PackedCodes, payload: pack_codes(&codes, bits) }
}

fn entry(sample_type: SampleType) -> impl Strategy<Value = ChannelSide> {
    let scaled =
        (-1e6..1e6, -10.0..20.0_f64).prop_map(|(offset, octave)| ChannelSide::nearest(offset, octave.exp2()));
    let constant = prop_oneof![-40_000.0..40_000.0, proptest::num::f64::ANY].prop_filter_map(
        "not a sample",
        move |value: f64| {
            let value = sample_type.nearest(value);
            sample_type.holds(value).then_some(ChannelSide::Constant(value))
        },
    );
    prop_oneof![4 => scaled, 1 => constant]
}

prop_compose! {
    fn header()(
        model in any::<[u8; 8]>(),
        key_packet in any::<bool>(),
        after_gap in any::<bool>(),
        sample_type in prop::sample::select(SampleType::ALL.to_vec()),
        channels in 1..5_u16,
        sample_rate_hz in prop_oneof![1e-3..1e6, (1..100_000_u32).prop_map(f64::from)],
        (frame_size, last) in (1..2000_u32, any::<prop::sample::Index>()),
        first_frame in prop_oneof![0..1000_u64, 0..u64::MAX / 2],
        time_ns in prop::option::of(any::<i64>()),
        frames in 1..30_u32,
    ) -> Header {
        let last_valid = 1 + last.index(frame_size as usize) as u32;
        Header {
            model: ModelId(model),
            key_packet, after_gap, sample_type, channels, sample_rate_hz, frame_size, first_frame, time_ns, frames,
            last_valid,
        }
    }
}

/// Any packet that the format can hold.
pub(super) fn any_packet() -> impl Strategy<Value = Packet> {
    header().prop_flat_map(|header| {
        assert!(u64::from(header.frames * header.frame_size) * 4 <= MAX_PACKET_SAMPLES);
        let entries = header.frames as usize * usize::from(header.channels);
        let side = prop::collection::vec(entry(header.sample_type), entries);
        let layers = prop::option::of(prop::collection::vec(any::<u8>(), 0..400));
        (Just(header), side, layers).prop_map(|(header, side, payload)| Packet {
            header,
            side,
            layers: payload.map(|payload| Layer { id: LayerId::PackedCodes, payload }).into_iter().collect(),
        })
    })
}
