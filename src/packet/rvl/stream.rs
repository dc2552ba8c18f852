//! The payload of a stream record.

use crate::packet::MAX_CHANNELS;
use crate::packet::bits::{unzigzag, zigzag};
use crate::packet::error::PacketError;
use crate::packet::fields::{Fields, put};
use crate::signal::SampleType;
use crate::signal::{ChannelInfo, StreamInfo, StreamKey};

/// Whole numbers up to this size are written as integers.
const MAX_WHOLE: f64 = 4_294_967_296.0;

/// The payload for a stream, without checksum.
pub(super) fn encode(info: &StreamInfo) -> Result<Vec<u8>, PacketError> {
    check(info).map_err(PacketError::invalid)?;
    let mut out = Vec::new();
    put(&mut out, info.key.as_str())?;
    put_number(&mut out, info.sample_rate_hz)?;
    put(&mut out, info.sample_type.code())?;
    put(&mut out, info.stored_bits)?;
    put(&mut out, info.channels.len() as u64)?;
    for channel in &info.channels {
        put(&mut out, channel.name.as_str())?;
        put(&mut out, channel.unit.as_str())?;
        put_number(&mut out, channel.gain)?;
        put_number(&mut out, channel.baseline)?;
    }
    Ok(out)
}

/// The inverse of [`encode`]. Fields that a newer writer adds at the end are ignored.
pub(super) fn decode(payload: &[u8]) -> Result<StreamInfo, PacketError> {
    let mut fields = Fields::new(payload, "stream record");
    let key = StreamKey::new(take_text(&mut fields, "key")?);
    let sample_rate_hz = take_number(&mut fields, "sample rate")?;
    let code: u8 = fields.take("sample type")?;
    let sample_type = SampleType::of_code(code).ok_or_else(|| {
        PacketError::unsupported(format!("stream record: sample type {code} needs a newer version"))
    })?;
    let stored_bits = fields.take("stored bits")?;
    let count: u64 = fields.take("number of channels")?;
    if count > u64::from(MAX_CHANNELS) {
        return Err(PacketError::corruption(format!(
            "stream record: {count} channels; at most {MAX_CHANNELS} are possible"
        )));
    }
    let mut channels = Vec::new();
    for _ in 0..count {
        channels.push(ChannelInfo {
            name: take_text(&mut fields, "channel name")?.to_owned(),
            unit: take_text(&mut fields, "unit")?.to_owned(),
            gain: take_number(&mut fields, "gain")?,
            baseline: take_number(&mut fields, "baseline")?,
        });
    }
    let info = StreamInfo { key, sample_rate_hz, sample_type, stored_bits, channels };
    check(&info).map_err(PacketError::corruption)?;
    Ok(info)
}

/// A whole number as its zigzag code plus one, others as zero and their eight bytes.
fn put_number(out: &mut Vec<u8>, value: f64) -> Result<(), PacketError> {
    let whole = value as i64;
    if value.abs() <= MAX_WHOLE && (whole as f64).to_bits() == value.to_bits() {
        put(out, zigzag(whole) + 1)
    } else {
        put(out, 0_u64)?;
        put(out, value)
    }
}

fn take_number(fields: &mut Fields<'_>, name: &str) -> Result<f64, PacketError> {
    match fields.take::<u64>(name)? {
        0 => fields.take(name),
        code => Ok(unzigzag(code - 1) as f64),
    }
}

fn take_text<'a>(fields: &mut Fields<'a>, name: &str) -> Result<&'a str, PacketError> {
    let length: u64 = fields.take(name)?;
    let bytes = fields.take_bytes(usize::try_from(length).unwrap_or(usize::MAX), name)?;
    std::str::from_utf8(bytes)
        .map_err(|error| PacketError::corruption(format!("stream record: its {name} is not UTF-8: {error}")))
}

/// Why no stream can be described so.
fn check(info: &StreamInfo) -> Result<(), String> {
    let StreamInfo { key, sample_rate_hz, stored_bits, channels, .. } = info;
    if !(sample_rate_hz.is_finite() && *sample_rate_hz > 0.0) {
        return Err(format!("stream {key}: a sample rate of {sample_rate_hz} Hz is not possible"));
    }
    if !(1..=64).contains(stored_bits) {
        return Err(format!("stream {key}: {stored_bits} bits for a sample; 1 to 64 are possible"));
    }
    if !(1..=usize::from(MAX_CHANNELS)).contains(&channels.len()) {
        return Err(format!("stream {key}: {} channels; 1 to {MAX_CHANNELS} are possible", channels.len()));
    }
    for ChannelInfo { name, gain, baseline, .. } in channels {
        if !(gain.is_finite() && *gain != 0.0 && baseline.is_finite()) {
            return Err(format!(
                "stream {key}, channel '{name}': gain {gain} and baseline {baseline} give no physical values"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::signal::SampleType;
    use proptest::prelude::*;

    /// One channel of an ECG recording.
    pub(in super::super) fn ecg(name: &str) -> StreamInfo {
        StreamInfo {
            key: StreamKey::new(name),
            sample_rate_hz: 360.0,
            sample_type: SampleType::I16,
            stored_bits: 12,
            channels: vec![ChannelInfo {
                name: "MLII".into(),
                unit: "mV".into(),
                gain: 200.0,
                baseline: 1024.0,
            }],
        }
    }

    proptest! {
        #[test]
        fn streams_come_back(
            key in ".{0,20}",
            rate in prop_oneof![1e-3..1e9, (1..100_000_u32).prop_map(f64::from)],
            sample_type in prop::sample::select(SampleType::ALL.to_vec()),
            stored_bits in 1..=64_u8,
            channels in prop::collection::vec((".{0,5}", ".{0,5}", -1e3..-1e-3, -1e12..1e12), 1..5),
        ) {
            let channels = channels.into_iter()
                .map(|(name, unit, gain, baseline)| ChannelInfo { name, unit, gain, baseline: f64::round(baseline) })
                .collect();
            let info = StreamInfo {
                key: StreamKey::new(key), sample_rate_hz: rate, sample_type, stored_bits, channels,
            };
            prop_assert_eq!(decode(&encode(&info).unwrap()).unwrap(), info);
        }

        #[test]
        fn any_bytes_are_safe(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            if let Ok(info) = decode(&bytes) {
                prop_assert!(info.channels.len() * 4 <= bytes.len());
            }
        }
    }

    #[test]
    fn a_stream_of_an_ecg_is_small() {
        assert_eq!(encode(&ecg("mitdb_100/MLII")).unwrap().len(), 35);
    }

    #[test]
    fn impossible_streams_are_refused() {
        let channel = ChannelInfo { gain: 0.0, ..ChannelInfo::unscaled("x") };
        for info in [
            StreamInfo { sample_rate_hz: f64::NAN, ..ecg("x") },
            StreamInfo { stored_bits: 0, ..ecg("x") },
            StreamInfo { channels: vec![], ..ecg("x") },
            StreamInfo { channels: vec![channel], ..ecg("x") },
        ] {
            assert!(encode(&info).is_err(), "{info:?}");
        }
    }
}
