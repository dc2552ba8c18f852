use proptest::prelude::*;

use super::super::tests::{decode, options, record, refusal};
use super::super::{Codec, DecodingOptions, MessageDecoder};
use super::*;

fn packed(fields: &str, sample_type: SampleType, channels: usize) -> DecodingOptions {
    options(Codec::Packed(fields.parse().unwrap()), sample_type, channels)
}

fn refused(text: &str) -> String {
    text.parse::<PackedFields>().unwrap_err().to_string()
}

#[test]
fn samples_are_found_among_other_fields() {
    let options = packed("u16le seq, 2*s16be samples, u8 status, s16be samples, pad", SampleType::I16, 1);
    let payload = [7, 1, 0x00, 0x01, 0xff, 0xfe, 0xaa, 0x80, 0x00, 0xbb];
    assert_eq!(decode(&options, payload).unwrap(), [record(None, None, &[1.0, -2.0, -32_768.0])]);
    let decoder = MessageDecoder::new(options);
    assert_eq!(decoder.sequence(&payload), Some(0x0107));
    assert_eq!(decoder.sequence(&payload[1..]), None);
}

#[test]
fn every_type_is_read() {
    for (name, bytes, value) in [
        ("u8", vec![0xfe], 254.0),
        ("s8", vec![0xfe], -2.0),
        ("u16le", vec![0xfe, 0xff], 65_534.0),
        ("s16be", vec![0xff, 0xfe], -2.0),
        ("u24be", vec![1, 2, 3], 66_051.0),
        ("s24le", vec![0xfd, 0xff, 0xff], -3.0),
        ("u32le", vec![0xff; 4], 4_294_967_295.0),
        ("s32be", vec![0x80, 0, 0, 0], -2_147_483_648.0),
        ("f32le", 1.5_f32.to_le_bytes().to_vec(), 1.5),
        ("f64be", (-0.1_f64).to_be_bytes().to_vec(), -0.1),
    ] {
        let fields: PackedFields = format!("{name} samples").parse().unwrap();
        let options = options(Codec::Packed(fields.clone()), fields.sample_type(), 1);
        assert_eq!(decode(&options, bytes).unwrap(), [record(None, None, &[value])], "{name}");
    }
}

#[test]
fn times_count_in_their_unit() {
    let fields: PackedFields = "u32be time, s16le samples".parse().unwrap();
    assert!(fields.has_time());
    let options = options(Codec::Packed(fields.with_time_unit(TimeUnit::Seconds)), SampleType::I16, 1);
    let payload = [0x65, 0x53, 0xf1, 0x00, 3, 0];
    assert_eq!(decode(&options, payload).unwrap(), [record(None, Some(1_700_000_000_000_000_000), &[3.0])]);
    let far = packed("f64le time, s16le samples", SampleType::I16, 1);
    let payload = [f64::NAN.to_le_bytes().as_slice(), &[3, 0]].concat();
    assert_eq!(refusal(&far, payload), "byte 0: no time between the years 1678 and 2262");
}

#[test]
fn the_sample_type_holds_what_can_come() {
    for (fields, sample_type, bits) in [
        ("u8 samples", SampleType::I16, 8),
        ("u16le samples, s8 samples", SampleType::I24, 16),
        ("u24le samples", SampleType::I32, 24),
        ("u32le samples", SampleType::F64, 32),
        ("s24le samples, f32le samples", SampleType::F32, 32),
        ("s32le samples, f32le samples", SampleType::F64, 32),
    ] {
        let fields: PackedFields = fields.parse().unwrap();
        assert_eq!((fields.sample_type(), fields.sample_bits()), (sample_type, bits), "{fields:?}");
    }
}

#[test]
fn what_does_not_fit_is_refused_with_its_place() {
    let options = packed("u8 seq, 2*u16le samples", SampleType::I16, 1);
    assert_eq!(refusal(&options, [0, 1, 0, 0xff, 0xff]), "byte 3: 65535 is not a whole number that fits i16");
    assert_eq!(refusal(&options, [0, 1, 0]), "message: 3 bytes, but the fields take 5");
    let text = refusal(&options, "12,34\r");
    assert!(text.contains("they are text"), "{text}");
    let float = packed("f32le samples", SampleType::F32, 1);
    assert!(refusal(&float, f32::NAN.to_le_bytes()).starts_with("byte 0: NaN is not a finite number"));
}

#[test]
fn mistakes_are_told_with_their_place() {
    for (text, message) in [
        ("u16le seq, 3*x16le samples", "character 14: \"x16le\" is no type (did you mean 'u16le'?)"),
        ("u16le seq, 3*i16 samples", "character 14: \"i16\" is no type (did you mean 's16le'?)"),
        (
            "s16 samples",
            "character 1: 's16' does not say which byte comes first: 's16le' the lowest, 's16be' the highest",
        ),
        ("u8 seq,", "character 8: a field is missing: between commas stand a type and a name"),
        ("", "character 1: a field is missing: between commas stand a type and a name"),
        ("u8 seq", "character 1: no field is named 'samples'"),
        ("u8", "character 1: 'u8' has no name: samples, seq, time, _ or another"),
        ("s8 seq, s8 samples", "character 1: 's8' cannot count records: take an unsigned type"),
        ("s8 samples, u8 seq, u8 seq", "character 21: 'seq' is there before"),
        ("s8 samples, 2*u8 seq", "character 13: 'seq' is one number"),
        ("u64le samples", "character 1: no sample type holds a 'u64le'"),
        ("0*u8 samples", "character 1: \"0\" is no number from 1 to 65536 before '*'"),
        ("u8 my samples", "character 4: \"my samples\" is no name: letters, digits, '_' and '-'"),
        ("65536*pad, s8 samples", "character 12: a record may have at most 65536 bytes"),
        ("ä8 samples", "character 1: \"ä8\" is no type (did you mean 'u8'?)"),
    ] {
        assert_eq!(refused(text), message, "{text}");
    }
}

proptest! {
    #[test]
    fn any_text_is_fields_or_refused(text in "[usf0-9le*, a-zä_]{0,40}") {
        if let Ok(fields) = text.parse::<PackedFields>() {
            prop_assert!(fields.samples() > 0 && fields.length_bytes() > 0);
        }
    }

    #[test]
    fn any_bytes_are_samples_or_refused(payload in prop::collection::vec(any::<u8>(), 0..40)) {
        let options = packed("u32be seq, f32le samples, f64be samples, s24be samples, u64le time", SampleType::F64, 3);
        for record in decode(&options, &payload).unwrap_or_default() {
            prop_assert!(record.samples.len() == 3 && record.samples.iter().all(|sample| sample.is_finite()));
        }
    }
}
