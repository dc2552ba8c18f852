//! Raw messages: nothing but samples, channels interleaved.

use super::{DecodeError, Place, Record};
use crate::signal::SampleType;
use crate::source::sample_bytes::{self, Endian};

/// The samples of one message, all in one record.
pub(super) fn decode(
    payload: &[u8],
    sample_type: SampleType,
    endian: Endian,
    channels: usize,
) -> Result<Record, DecodeError> {
    let sample_bytes = usize::from(sample_type.bits() / 8);
    let row_bytes = sample_bytes.saturating_mul(channels);
    let left_over = payload.len() % row_bytes;
    if left_over != 0 {
        let reason = format!(
            "{} bytes are not whole rows: one {sample_type} sample of each of {channels} channels takes {row_bytes}, \
             and {left_over} are left over",
            payload.len()
        );
        return Err(DecodeError::new(Place::Message, reason));
    }
    let mut samples = Vec::with_capacity(payload.len() / sample_bytes);
    sample_bytes::decode(payload, sample_type, endian, &mut samples);
    if !sample_type.is_integer()
        && let Some(place) = samples.iter().position(|sample| !sample.is_finite())
    {
        let reason = "not a finite number (NaN or infinite)";
        return Err(DecodeError::new(Place::Byte(place * sample_bytes), reason));
    }
    Ok(Record { key: None, time_ns: None, samples })
}
