//! Messages of InfluxDB's line protocol: one or more lines, each a row.

mod line;

use std::borrow::Cow;
use std::fmt;

use line::{FieldValue, Line, Lines};

use super::number::sample_of_text;
use super::rows::Rows;
use super::{DecodeError, Place, TimeUnit};
use crate::signal::SampleType;
use crate::source::cells::{quoted, without_byte_order_mark};

/// What of a line is read.
///
/// The key of a line is its series key: the measurement, and for each tag a comma, its name, an equals sign and
/// its value, in the order of the names (by bytes) and escaped as in the line: `ecg,bed=4,ward=A\ 1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InfluxFields {
    /// The only measurement whose lines are read; others are left out. Where `None`, all are.
    pub measurement: Option<String>,
    /// The field of each channel.
    pub fields: Vec<String>,
    /// The tags in the key, which each line must have; where `None`, all that a line has.
    pub tags: Option<Vec<String>>,
    /// What times are counted in.
    pub time_unit: TimeUnit,
}

pub(super) fn decode(
    payload: &[u8],
    chosen: &InfluxFields,
    sample_type: SampleType,
    samples: &mut Vec<f64>,
    rows: &mut Rows<'_>,
) -> Result<(), DecodeError> {
    let text = without_byte_order_mark(payload);
    let text = std::str::from_utf8(text).map_err(|error| {
        let byte = payload.len() - text.len() + error.valid_up_to();
        DecodeError::new(Place::Byte(byte), "not UTF-8 text")
    })?;
    if chosen.fields.len() != rows.channels() {
        let reason = format!("{} fields for {} channels", chosen.fields.len(), rows.channels());
        return Err(DecodeError::new(Place::Message, reason));
    }
    let mut lines = Lines::of(text);
    let mut is_empty = true;
    let mut key = String::new();
    while let Some(mut line) = lines.next()? {
        is_empty = false;
        if chosen.measurement.as_ref().is_some_and(|measurement| *measurement != line.measurement) {
            continue;
        }
        read_samples(&line, &chosen.fields, sample_type, samples)?;
        let time_ns = line.time.map(|time| {
            let ns = chosen.time_unit.ns_of(time);
            ns.map_err(|expected| {
                refuse(&line, format_args!("the time {} is not {expected}", quoted(time.as_bytes())))
            })
        });
        let time_ns = time_ns.transpose()?;
        write_key(&mut key, &mut line, chosen.tags.as_deref())?;
        rows.push(Some(&key), time_ns, samples)?;
    }
    if is_empty {
        return Err(DecodeError::new(Place::Message, "has no line"));
    }
    Ok(())
}

/// Reads the chosen fields of a line, in the order in which they were chosen.
fn read_samples(
    line: &Line<'_>,
    chosen: &[String],
    sample_type: SampleType,
    samples: &mut Vec<f64>,
) -> Result<(), DecodeError> {
    samples.clear();
    for name in chosen {
        let refuse =
            |reason: String| refuse(line, format_args!("field {}: {reason}", quoted(name.as_bytes())));
        let mut values = line.fields.iter().filter(|(field, _)| field == name).map(|(_, value)| value);
        let sample = match (values.next(), values.next()) {
            (None, _) => return Err(refuse("missing".to_owned())),
            (Some(_), Some(_)) => return Err(refuse("given more than once".to_owned())),
            (Some(FieldValue::Number(text)), None) => sample_of_text(text, sample_type)
                .map_err(|expected| refuse(format!("{} is not {expected}", quoted(text.as_bytes()))))?,
            (Some(FieldValue::Boolean), None) => {
                return Err(refuse("true or false is not a number".to_owned()));
            }
            (Some(FieldValue::Text), None) => return Err(refuse("a text is not a number".to_owned())),
        };
        samples.push(sample);
    }
    Ok(())
}

/// Writes the key of a line, whose tags it sorts.
fn write_key(key: &mut String, line: &mut Line<'_>, chosen: Option<&[String]>) -> Result<(), DecodeError> {
    line.tags.sort();
    let mut pairs = line.tags.iter().zip(line.tags.iter().skip(1));
    if let Some(((twice, _), _)) = pairs.find(|((name, _), (next, _))| name == next) {
        return Err(refuse(line, format_args!("tag {}: given more than once", quoted(twice.as_bytes()))));
    }
    let is_there =
        |name: &&String| line.tags.binary_search_by(|(tag, _)| Cow::as_ref(tag).cmp(name.as_str())).is_ok();
    if let Some(missing) = chosen.unwrap_or_default().iter().find(|name| !is_there(name)) {
        return Err(refuse(line, format_args!("tag {}: missing", quoted(missing.as_bytes()))));
    }
    key.clear();
    line::push_measurement(key, &line.measurement);
    for (name, value) in &line.tags {
        if chosen.is_none_or(|chosen| chosen.iter().any(|chosen| chosen == name)) {
            key.push(',');
            line::push_name(key, name);
            key.push('=');
            line::push_name(key, value);
        }
    }
    Ok(())
}

fn refuse(line: &Line<'_>, reason: impl fmt::Display) -> DecodeError {
    DecodeError::new(Place::Line(line.number), reason)
}

#[cfg(test)]
mod tests;
