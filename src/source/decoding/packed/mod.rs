//! Packed records: numbers of fixed width one behind the other, as firmware sends a C struct.

mod layout;

pub use layout::{PackedError, PackedFields};

use layout::{Field, Role};

use super::rows::Rows;
use super::{DecodeError, Place, TimeUnit};
use crate::signal::SampleType;
use crate::source::cells::fit;

pub(super) fn decode(
    payload: &[u8],
    fields: &PackedFields,
    sample_type: SampleType,
    samples: &mut Vec<f64>,
    rows: &mut Rows<'_>,
) -> Result<(), DecodeError> {
    let (found, expected) = (payload.len(), fields.length_bytes());
    if found != expected {
        return Err(DecodeError::new(
            Place::Message,
            format!("{found} bytes, but the fields take {expected}{}", hint(payload, expected)),
        ));
    }
    samples.clear();
    let mut time_ns = None;
    for field in fields.fields() {
        match field.role {
            Role::Samples => read_samples(payload, field, sample_type, samples)?,
            Role::Time => {
                let (place, bytes) = (field.offset, number_at(payload, field, 0));
                let unit_ns = unit_ns(fields.time_unit());
                let ns = field.number.ns(bytes, unit_ns);
                let refusal =
                    || DecodeError::new(Place::Byte(place), "no time between the years 1678 and 2262");
                time_ns = Some(ns.ok_or_else(refusal)?);
            }
            Role::Sequence | Role::Ignored => {}
        }
    }
    rows.push(None, time_ns, samples)
}

/// The number of the record, where a field holds it and the record has the length that it should have.
pub(super) fn sequence(payload: &[u8], fields: &PackedFields) -> Option<u64> {
    let field = fields.fields().iter().find(|field| field.role == Role::Sequence)?;
    (payload.len() == fields.length_bytes()).then(|| field.number.unsigned(number_at(payload, field, 0)))
}

fn read_samples(
    payload: &[u8],
    field: &Field,
    sample_type: SampleType,
    samples: &mut Vec<f64>,
) -> Result<(), DecodeError> {
    for place in 0..field.count {
        let value = field.number.value(number_at(payload, field, place));
        let sample = fit(value, sample_type).map_err(|expected| {
            let place = field.offset + place * field.number.bytes();
            DecodeError::new(Place::Byte(place), format!("{value} is not {expected}"))
        })?;
        samples.push(sample);
    }
    Ok(())
}

fn number_at<'p>(payload: &'p [u8], field: &Field, place: usize) -> &'p [u8] {
    let from = field.offset + place * field.number.bytes();
    payload.get(from..from + field.number.bytes()).unwrap_or_default()
}

fn unit_ns(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Seconds => 1_000_000_000,
        TimeUnit::Milliseconds => 1_000_000,
        TimeUnit::Microseconds => 1_000,
        // A date is no number, and is refused before.
        TimeUnit::Nanoseconds | TimeUnit::Rfc3339 => 1,
    }
}

/// What else the bytes may be.
fn hint(payload: &[u8], expected: usize) -> &'static str {
    let is_text = payload.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace());
    match is_text && payload.len() > 1 {
        true => "; they are text: is it a codec such as \"csv\"?",
        false if payload.len() > expected => "; does a check or a sync still stand in the record?",
        false => "",
    }
}

#[cfg(test)]
mod tests;
