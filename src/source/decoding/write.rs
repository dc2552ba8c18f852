//! Samples become messages: what a producer would send to whoever decodes by the same options.

use std::fmt::Write;

use serde_json::{Map, Number, Value};

use super::{Codec, Column, CsvColumns, DecodingOptions, JsonFields, JsonLayout, MessageDecoder, TimeUnit};
use crate::signal::{SampleType, duration_ns};
use crate::source::sample_bytes::Endian;

/// Writes messages that a [`MessageDecoder`] of the same options reads back.
#[derive(Clone, Debug)]
pub(crate) struct MessageWriter {
    options: DecodingOptions,
}

/// Why there is no such message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WriteError {
    /// A format that is not written.
    #[error("messages of codec = \"influx\" are not written; use \"raw\", \"json\" or \"csv\"")]
    Influx,
    /// Another one.
    #[error("messages of codec = \"packed\" are not written; use \"raw\", \"json\" or \"csv\"")]
    Packed,
    /// What was written does not come back.
    #[error("the options of source.decoding do not read back what is written by them: {0}")]
    NotReadBack(String),
}

impl MessageWriter {
    /// # Errors
    /// Line protocol and packed records are not written.
    pub(crate) fn new(options: DecodingOptions) -> Result<Self, WriteError> {
        match options.codec {
            Codec::Influx(_) => Err(WriteError::Influx),
            Codec::Packed(_) => Err(WriteError::Packed),
            _ => Ok(Self { options }),
        }
    }

    /// Replaces `message` by one with `samples` of the stream `key`, channels interleaved, the first at `time_ns`
    /// since the Unix epoch. Each sample is one that the sample type holds.
    pub(crate) fn write(&self, key: &str, time_ns: i64, samples: &[f64], message: &mut Vec<u8>) {
        message.clear();
        let DecodingOptions { sample_type, .. } = self.options;
        match &self.options.codec {
            Codec::Raw { endian } => raw(samples, sample_type, *endian, message),
            Codec::Json(fields) => {
                let object = self.json(fields, key, time_ns, samples);
                message.extend_from_slice(object.to_string().as_bytes());
            }
            Codec::Csv(columns) => {
                message.extend_from_slice(self.csv(columns, key, time_ns, samples).as_bytes());
            }
            Codec::Influx(_) | Codec::Packed(_) => {}
        }
    }

    /// Holds that such a message comes back as it went in.
    ///
    /// # Errors
    /// It does not, for what the options or the key are.
    pub(crate) fn check(&self, key: &str, time_ns: i64, samples: &[f64]) -> Result<(), WriteError> {
        let (mut message, mut records) = (Vec::new(), Vec::new());
        self.write(key, time_ns, samples, &mut message);
        let failed = |reason: String| Err(WriteError::NotReadBack(reason));
        if let Err(error) = MessageDecoder::new(self.options.clone()).decode(&message, &mut records) {
            return failed(error.to_string());
        }
        let read_back: Vec<f64> = records.iter().flat_map(|record| record.samples.iter().copied()).collect();
        match records.as_slice() {
            [record] if record.key.as_deref().is_some_and(|read| read != key) => failed(format!(
                "the key {key:?} comes back as {:?}",
                record.key.as_deref().unwrap_or_default()
            )),
            [_] if read_back == samples => Ok(()),
            [_] => failed("the samples come back changed".to_owned()),
            records => failed(format!("one message comes back as {} runs of samples", records.len())),
        }
    }

    fn channels(&self) -> usize {
        self.options.channels.len().max(1)
    }

    fn number(&self, sample: f64) -> Value {
        match self.options.sample_type.is_integer() {
            true => Value::from(sample as i64),
            false => Number::from_f64(sample).map_or(Value::Null, Value::Number),
        }
    }

    fn json(&self, fields: &JsonFields, key: &str, time_ns: i64, samples: &[f64]) -> Value {
        let channels = self.channels();
        let of_channel = |channel: usize| -> Value {
            samples.iter().skip(channel).step_by(channels).map(|sample| self.number(*sample)).collect()
        };
        let mut object = Value::Object(Map::new());
        match fields.samples.as_slice() {
            [path] if channels == 1 => path.put(&mut object, of_channel(0)),
            [path] => {
                let array: Value = match fields.layout {
                    JsonLayout::Channels => (0..channels).map(of_channel).collect(),
                    JsonLayout::Rows => samples
                        .chunks(channels)
                        .map(|row| row.iter().map(|sample| self.number(*sample)).collect::<Value>())
                        .collect(),
                };
                path.put(&mut object, array);
            }
            paths => {
                paths.iter().enumerate().for_each(|(i, path)| path.put(&mut object, of_channel(i)));
            }
        }
        if let Some(time) = &fields.time {
            let text = time_text(time.unit, time_ns);
            // Most producers write times as numbers, and so does this one where there is such a number.
            let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
            time.at.put(&mut object, value);
        }
        if let Some(path) = &fields.key {
            path.put(&mut object, Value::from(key));
        }
        object
    }

    fn csv(&self, columns: &CsvColumns, key: &str, time_ns: i64, samples: &[f64]) -> String {
        let layout = CsvLayout::of(columns, self.channels());
        let delimiter = char::from(columns.delimiter);
        let mut text = String::new();
        if columns.header {
            text.push_str(&layout.header(delimiter));
        }
        for (row, samples) in samples.chunks(self.channels()).enumerate() {
            let row_ns = time_ns.saturating_add(duration_ns(self.options.sample_rate_hz, row as u64));
            let cells = layout.cells.iter().map(|(content, _)| match content {
                Content::Sample(channel) => {
                    samples.get(*channel).map_or(Value::Null, |x| self.number(*x)).to_string()
                }
                Content::Time(unit) => time_text(*unit, row_ns),
                Content::Key => quoted(key, columns.delimiter),
                Content::Nothing => "0".to_owned(),
            });
            push_line(&mut text, cells, delimiter);
        }
        text
    }
}

fn raw(samples: &[f64], sample_type: SampleType, endian: Endian, message: &mut Vec<u8>) {
    let mut bytes = Vec::with_capacity(8);
    for sample in samples {
        bytes.clear();
        sample_type.push_le(*sample, &mut bytes);
        if endian == Endian::Big {
            bytes.reverse();
        }
        message.extend_from_slice(&bytes);
    }
}

/// A time without loss: a decimal number, or a date.
fn time_text(unit: TimeUnit, time_ns: i64) -> String {
    let in_units =
        |unit_ns: i64, digits: usize| match (time_ns.div_euclid(unit_ns), time_ns.rem_euclid(unit_ns)) {
            (whole, 0) => whole.to_string(),
            (whole, rest) => format!("{whole}.{rest:0digits$}"),
        };
    match unit {
        TimeUnit::Seconds => in_units(1_000_000_000, 9),
        TimeUnit::Milliseconds => in_units(1_000_000, 6),
        TimeUnit::Microseconds => in_units(1_000, 3),
        TimeUnit::Nanoseconds => time_ns.to_string(),
        TimeUnit::Rfc3339 => crate::source::time::rfc3339(time_ns),
    }
}

/// A cell's text, in quotes where it would end the cell.
fn quoted(text: &str, delimiter: u8) -> String {
    match text.as_bytes().contains(&delimiter) {
        true => format!("\"{text}\""),
        false => text.to_owned(),
    }
}

fn push_line(text: &mut String, cells: impl Iterator<Item = String>, delimiter: char) {
    for (place, cell) in cells.enumerate() {
        if place > 0 {
            text.push(delimiter);
        }
        // Writing to a string does not fail.
        let _ = write!(text, "{cell}");
    }
    text.push('\n');
}

#[derive(Clone, Copy)]
enum Content {
    Sample(usize),
    Time(TimeUnit),
    Key,
    Nothing,
}

/// What each column holds, and its name.
struct CsvLayout {
    cells: Vec<(Content, String)>,
}

impl CsvLayout {
    /// Columns that are known by their places stand there; the others follow in the gaps and at the end.
    fn of(columns: &CsvColumns, channels: usize) -> Self {
        let mut wanted: Vec<(Option<&Column>, Content, String)> = Vec::new();
        if let Some(time) = &columns.time {
            wanted.push((Some(&time.at), Content::Time(time.unit), "time".to_owned()));
        }
        if let Some(key) = &columns.key {
            wanted.push((Some(key), Content::Key, "key".to_owned()));
        }
        for channel in 0..channels {
            let column = columns.samples.as_ref().and_then(|samples| samples.get(channel));
            wanted.push((column, Content::Sample(channel), format!("ch{channel}")));
        }
        let mut places: Vec<Option<(Content, String)>> = Vec::new();
        let (fixed, free): (Vec<_>, Vec<_>) =
            wanted.into_iter().partition(|(column, ..)| matches!(column, Some(Column::Place(_))));
        for (column, content, name) in fixed {
            let Some(Column::Place(place)) = column else { continue };
            if places.len() <= *place {
                places.resize_with(place + 1, || None);
            }
            if let Some(cell) = places.get_mut(*place) {
                *cell = Some((content, name));
            }
        }
        for (column, content, name) in free {
            let name = match column {
                Some(Column::Name(name)) => name.clone(),
                _ => name,
            };
            match places.iter_mut().find(|cell| cell.is_none()) {
                Some(cell) => *cell = Some((content, name)),
                None => places.push(Some((content, name))),
            }
        }
        let filled = places.into_iter().enumerate();
        let cells = filled.map(|(place, cell)| cell.unwrap_or((Content::Nothing, format!("column{place}"))));
        Self { cells: cells.collect() }
    }

    fn header(&self, delimiter: char) -> String {
        let mut text = String::new();
        let delimiter_byte = u8::try_from(delimiter).unwrap_or(b',');
        push_line(&mut text, self.cells.iter().map(|(_, name)| quoted(name, delimiter_byte)), delimiter);
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{InfluxFields, JsonPath, TimeField};
    use super::*;
    use crate::signal::ChannelInfo;

    const TIME_NS: i64 = 1_767_225_600_123_456_789;

    fn options(codec: Codec, sample_type: SampleType, channels: usize) -> DecodingOptions {
        DecodingOptions {
            sample_rate_hz: 1_000.0,
            sample_type,
            channels: vec![ChannelInfo::unscaled(""); channels],
            codec,
        }
    }

    fn path(text: &str) -> JsonPath {
        text.parse().unwrap()
    }

    fn text(codec: Codec, channels: usize, samples: &[f64]) -> String {
        let writer = MessageWriter::new(options(codec, SampleType::I16, channels)).unwrap();
        writer.check("a#0", TIME_NS, samples).unwrap();
        let mut message = Vec::new();
        writer.write("a#0", TIME_NS, samples, &mut message);
        String::from_utf8(message).unwrap()
    }

    #[test]
    fn messages_are_as_a_producer_would_write_them() {
        let json = |samples: &[&str], layout| {
            Codec::Json(JsonFields {
                samples: samples.iter().map(|text| path(text)).collect(),
                layout,
                time: Some(TimeField { at: path("at[1]"), unit: TimeUnit::Nanoseconds }),
                key: Some(path("device.id")),
            })
        };
        let start = "{\"at\":[null,1767225600123456789],\"device\":{\"id\":\"a#0\"},";
        assert_eq!(text(json(&["v"], JsonLayout::Rows), 1, &[1.0, -2.0]), format!("{start}\"v\":[1,-2]}}"));
        let two = [1.0, 2.0, 3.0, 4.0];
        assert_eq!(text(json(&["v"], JsonLayout::Rows), 2, &two), format!("{start}\"v\":[[1,2],[3,4]]}}"));
        assert_eq!(
            text(json(&["v"], JsonLayout::Channels), 2, &two),
            format!("{start}\"v\":[[1,3],[2,4]]}}")
        );
        assert_eq!(
            text(json(&["x", "y"], JsonLayout::Rows), 2, &two),
            format!("{start}\"x\":[1,3],\"y\":[2,4]}}")
        );

        let csv = |samples, time, header| {
            Codec::Csv(CsvColumns { samples, time, key: None, delimiter: b';', header })
        };
        assert_eq!(text(csv(None, None, false), 2, &two), "1;2\n3;4\n");
        let seconds = TimeField { at: Column::Place(0), unit: TimeUnit::Seconds };
        assert_eq!(
            text(csv(Some(vec![Column::Place(2)]), Some(seconds), false), 1, &[7.0, 8.0]),
            "1767225600.123456789;0;7\n1767225600.124456789;0;8\n"
        );
        let named = TimeField { at: Column::Name("t".into()), unit: TimeUnit::Rfc3339 };
        assert_eq!(
            text(csv(Some(vec![Column::Name("lead".into())]), Some(named), true), 1, &[7.0]),
            "t;lead\n2026-01-01T00:00:00.123456789Z;7\n"
        );
    }

    #[test]
    fn what_does_not_come_back_is_refused() {
        let influx = Codec::Influx(InfluxFields {
            measurement: None,
            fields: vec!["v".into()],
            tags: None,
            time_unit: TimeUnit::Nanoseconds,
        });
        assert_eq!(MessageWriter::new(options(influx, SampleType::I16, 1)).unwrap_err(), WriteError::Influx);
        // The samples stand where the key has to stand, too.
        let clash = Codec::Json(JsonFields {
            samples: vec![path("v")],
            layout: JsonLayout::Rows,
            time: None,
            key: Some(path("v.key")),
        });
        let writer = MessageWriter::new(options(clash, SampleType::I16, 1)).unwrap();
        assert!(matches!(writer.check("k", TIME_NS, &[1.0]), Err(WriteError::NotReadBack(_))));
        let columns = CsvColumns {
            samples: None,
            time: None,
            key: Some(Column::Place(0)),
            delimiter: b',',
            header: false,
        };
        let writer = MessageWriter::new(options(Codec::Csv(columns), SampleType::I16, 1)).unwrap();
        assert_eq!(writer.check("a,b", TIME_NS, &[1.0, 2.0]), Ok(()));
        assert!(matches!(writer.check("\"a", TIME_NS, &[1.0]), Err(WriteError::NotReadBack(_))));
    }

    proptest! {
        #[test]
        fn every_message_comes_back(
            values in prop::collection::vec(-8_388_608.0_f64..8_388_607.0, 1..40),
            sample_type in prop::sample::select(SampleType::ALL.to_vec()),
            channels in 1_usize..4,
            form in 0_usize..5,
            unit in prop::sample::select(vec![
                TimeUnit::Seconds, TimeUnit::Milliseconds, TimeUnit::Microseconds, TimeUnit::Nanoseconds,
                TimeUnit::Rfc3339,
            ]),
            big in any::<bool>(),
            time_ns in 0_i64..4_000_000_000_000_000_000,
        ) {
            let mut samples: Vec<f64> = values.iter().map(|value| sample_type.nearest(*value)).collect();
            samples.truncate((samples.len() / channels).max(1) * channels);
            samples.resize(samples.len().next_multiple_of(channels), 0.0);
            let codec = match form {
                0 => Codec::Raw { endian: if big { Endian::Big } else { Endian::Little } },
                1 | 2 => Codec::Json(JsonFields {
                    samples: vec![path("data.v")],
                    layout: if form == 1 { JsonLayout::Rows } else { JsonLayout::Channels },
                    time: Some(TimeField { at: path("data.time"), unit }),
                    key: Some(path("key")),
                }),
                3 => Codec::Csv(CsvColumns {
                    samples: None,
                    time: Some(TimeField { at: Column::Name("time".into()), unit }),
                    key: Some(Column::Name("id".into())),
                    delimiter: b'\t',
                    header: true,
                }),
                _ => Codec::Csv(CsvColumns {
                    samples: None, time: None, key: None, delimiter: b',', header: false,
                }),
            };
            let writer = MessageWriter::new(options(codec, sample_type, channels)).unwrap();
            prop_assert_eq!(writer.check("bed 7#3", time_ns, &samples), Ok(()));
        }
    }
}
