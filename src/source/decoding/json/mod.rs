//! JSON messages: an object, an array of objects, or objects one after the other.

mod path;

use std::borrow::Cow;

use serde_json::{Deserializer, Number, Value};

pub use path::{JsonPath, JsonPathError};

use super::number::sample_of_whole;
use super::rows::Rows;
use super::{DecodeError, Place, TimeField};
use crate::signal::SampleType;
use crate::source::cells::{fit, quoted, without_byte_order_mark};

/// Where a JSON object has what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonFields {
    /// The samples: one path to those of all channels, or a path for each channel.
    ///
    /// What is at the one path of all channels is read as
    /// - a number: one row of the only channel;
    /// - an array of numbers: rows of the only channel, or one row of several channels;
    /// - an array of arrays: as [`layout`](Self::layout) says.
    ///
    /// What is at the path of one of several channels is a number or an array of numbers, one for each row.
    pub samples: Vec<JsonPath>,
    /// What the inner arrays of an array of arrays are.
    pub layout: JsonLayout,
    /// The time of the first row.
    pub time: Option<TimeField<JsonPath>>,
    /// The key, a text or a whole number.
    pub key: Option<JsonPath>,
}

/// What the inner arrays of an array of arrays are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JsonLayout {
    /// Rows: a sample of each channel.
    #[default]
    Rows,
    /// Channels: their samples, equally many.
    Channels,
}

pub(super) fn decode(
    payload: &[u8],
    fields: &JsonFields,
    sample_type: SampleType,
    samples: &mut Vec<f64>,
    rows: &mut Rows<'_>,
) -> Result<(), DecodeError> {
    let mut number = 0;
    let mut read = |value: &Value| {
        number += 1;
        let object = Object { value, number };
        object.read(fields, sample_type, samples, rows)
    };
    for value in Deserializer::from_slice(without_byte_order_mark(payload)).into_iter::<Value>() {
        match value.map_err(|error| syntax_error(&error))? {
            Value::Array(values) => values.iter().try_for_each(&mut read)?,
            value => read(&value)?,
        }
    }
    if number == 0 {
        return Err(DecodeError::new(Place::Message, "has no JSON object"));
    }
    Ok(())
}

fn syntax_error(error: &serde_json::Error) -> DecodeError {
    let text = error.to_string();
    // The place that ends the text is given apart.
    let reason = text.rfind(" at line ").and_then(|end| text.get(..end)).unwrap_or(&text);
    let place = Place::Character { line: error.line(), column: error.column() };
    DecodeError::new(place, format_args!("not JSON: {reason}"))
}

/// One object of a message.
struct Object<'v> {
    value: &'v Value,
    /// Counted from 1.
    number: usize,
}

impl Object<'_> {
    fn read(
        &self,
        fields: &JsonFields,
        sample_type: SampleType,
        samples: &mut Vec<f64>,
        rows: &mut Rows<'_>,
    ) -> Result<(), DecodeError> {
        if !self.value.is_object() {
            let reason = format!("{} is not an object", describe(self.value));
            let place = match self.number {
                1 => Place::Message,
                number => Place::Path { object: number, path: "value".to_owned() },
            };
            return Err(DecodeError::new(place, reason));
        }
        samples.clear();
        match fields.samples.as_slice() {
            [path] => self.read_all_channels(path, fields.layout, sample_type, rows.channels(), samples)?,
            paths => self.read_each_channel(paths, sample_type, rows.channels(), samples)?,
        }
        let time_ns = fields.time.as_ref().map(|time| self.time_ns(time)).transpose()?;
        let key = fields.key.as_ref().map(|path| self.key(path)).transpose()?;
        rows.push(key.as_deref(), time_ns, samples)
    }

    fn read_all_channels(
        &self,
        path: &JsonPath,
        layout: JsonLayout,
        sample_type: SampleType,
        channels: usize,
        samples: &mut Vec<f64>,
    ) -> Result<(), DecodeError> {
        let value = self.get(path)?;
        let refuse = |element: &[usize], reason: String| Err(self.refuse(path, element, reason));
        let Value::Array(items) = value else {
            if channels != 1 {
                return refuse(&[], format!("{} where {channels} channels need an array", describe(value)));
            }
            samples.push(self.sample(path, &[], value, sample_type)?);
            return Ok(());
        };
        if !matches!(items.first(), Some(Value::Array(_))) {
            if channels != 1 && items.len() != channels {
                let reason =
                    format!("an array of {} is not one row of {channels} channels", numbers(items.len()));
                return refuse(&[], reason);
            }
            return self.read_numbers(path, None, value, sample_type, samples).map(drop);
        }
        match layout {
            JsonLayout::Rows => {
                for (i, row) in items.iter().enumerate() {
                    let read = self.read_numbers(path, Some(i), row, sample_type, samples)?;
                    if read != channels {
                        return refuse(&[i], format!("a row of {} for {channels} channels", numbers(read)));
                    }
                }
                Ok(())
            }
            JsonLayout::Channels if items.len() != channels => {
                refuse(&[], format!("arrays of {} channels, but there are {channels}", items.len()))
            }
            JsonLayout::Channels => {
                let parts = items.iter().enumerate().map(|(i, item)| (path, Some(i), item));
                self.interleave(parts, channels, sample_type, samples)
            }
        }
    }

    fn read_each_channel(
        &self,
        paths: &[JsonPath],
        sample_type: SampleType,
        channels: usize,
        samples: &mut Vec<f64>,
    ) -> Result<(), DecodeError> {
        if paths.len() != channels {
            let reason = format!("{} paths for {channels} channels", paths.len());
            return Err(DecodeError::new(Place::Message, reason));
        }
        let values =
            paths.iter().map(|path| Ok((path, None, self.get(path)?))).collect::<Result<Vec<_>, _>>()?;
        self.interleave(values.into_iter(), channels, sample_type, samples)
    }

    /// Reads one number or array of numbers for each channel.
    fn interleave<'p>(
        &self,
        parts: impl Iterator<Item = (&'p JsonPath, Option<usize>, &'p Value)>,
        channels: usize,
        sample_type: SampleType,
        samples: &mut Vec<f64>,
    ) -> Result<(), DecodeError> {
        let mut rows = None;
        let mut of_channel = Vec::new();
        for (channel, (path, element, value)) in parts.enumerate() {
            of_channel.clear();
            let read = self.read_numbers(path, element, value, sample_type, &mut of_channel)?;
            let rows = *rows.get_or_insert(read);
            if read != rows {
                let reason = format!("{}, but the first channel has {rows}", numbers(read));
                return Err(self.refuse(path, element.as_slice(), reason));
            }
            samples.resize(rows.saturating_mul(channels), 0.0);
            let places = samples.iter_mut().skip(channel).step_by(channels);
            places.zip(&of_channel).for_each(|(place, sample)| *place = *sample);
        }
        Ok(())
    }

    /// Appends the number or the numbers at an element of a path and returns how many they are.
    fn read_numbers(
        &self,
        path: &JsonPath,
        element: Option<usize>,
        value: &Value,
        sample_type: SampleType,
        samples: &mut Vec<f64>,
    ) -> Result<usize, DecodeError> {
        let at = |i| element.into_iter().chain([i]).collect::<Vec<_>>();
        match value {
            Value::Array(items) if items.is_empty() => {
                Err(self.refuse(path, element.as_slice(), "an empty array: there is no sample in it"))
            }
            Value::Array(items) => {
                samples.reserve(items.len());
                for (i, item) in items.iter().enumerate() {
                    let sample = match item {
                        Value::Number(number) => sample(number, sample_type),
                        _ => Err("a number"),
                    };
                    samples
                        .push(sample.map_err(|expected| self.refuse(path, &at(i), is_not(item, expected)))?);
                }
                Ok(items.len())
            }
            value if element.is_some() => {
                Err(self.refuse(path, element.as_slice(), is_not(value, "an array")))
            }
            value => {
                samples.push(self.sample(path, &[], value, sample_type)?);
                Ok(1)
            }
        }
    }

    fn sample(
        &self,
        path: &JsonPath,
        element: &[usize],
        value: &Value,
        sample_type: SampleType,
    ) -> Result<f64, DecodeError> {
        let sample = match value {
            Value::Number(number) => sample(number, sample_type),
            _ => Err("a number or an array of numbers"),
        };
        sample.map_err(|expected| self.refuse(path, element, is_not(value, expected)))
    }

    fn time_ns(&self, time: &TimeField<JsonPath>) -> Result<i64, DecodeError> {
        let value = self.get(&time.at)?;
        let time_ns = match value {
            Value::String(text) => time.unit.ns_of(text),
            Value::Number(number) => time.unit.ns_of(&number.to_string()),
            _ => Err("a number or a text"),
        };
        time_ns.map_err(|expected| self.refuse(&time.at, &[], is_not(value, expected)))
    }

    fn key(&self, path: &JsonPath) -> Result<Cow<'_, str>, DecodeError> {
        match self.get(path)? {
            Value::String(text) if text.is_empty() => Err(self.refuse(path, &[], "an empty text is no key")),
            Value::String(text) => Ok(Cow::Borrowed(text)),
            Value::Number(number) if !number.is_f64() => Ok(Cow::Owned(number.to_string())),
            other => Err(self.refuse(path, &[], is_not(other, "a text or a whole number of 64 bits"))),
        }
    }

    fn get(&self, path: &JsonPath) -> Result<&Value, DecodeError> {
        path.of(self.value).ok_or_else(|| self.refuse(path, &[], "missing"))
    }

    fn refuse(&self, path: &JsonPath, element: &[usize], reason: impl std::fmt::Display) -> DecodeError {
        let indices: String = element.iter().map(|i| format!("[{i}]")).collect();
        DecodeError::new(Place::Path { object: self.number, path: format!("{path}{indices}") }, reason)
    }
}

/// The sample that a number stands for, or what it should be.
fn sample(number: &Number, sample_type: SampleType) -> Result<f64, &'static str> {
    if let Some(whole) = number.as_i128() {
        return sample_of_whole(whole, sample_type);
    }
    number.as_f64().ok_or("a finite number").and_then(|value| fit(value, sample_type))
}

fn is_not(value: &Value, expected: &str) -> String {
    format!("{} is not {expected}", describe(value))
}

fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => format!("the text {}", quoted(text.as_bytes())),
        Value::Array(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

fn numbers(count: usize) -> String {
    if count == 1 { "1 number".to_owned() } else { format!("{count} numbers") }
}

#[cfg(test)]
mod tests;
