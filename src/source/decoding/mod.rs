//! How the bytes of one message become samples.
//!
//! A message is a Kafka message value, a serial record or a line of a file. [`MessageDecoder`] turns it into
//! [`Record`]s, whole or not at all:
//!
//! - `raw`: nothing but samples;
//! - `json`: one or more objects, with [paths](JsonPath) to the samples, the time and the key;
//! - `csv`: one or more lines of delimited text;
//! - `influx`: InfluxDB's line protocol;
//! - `packed`: numbers of fixed width one behind the other.
//!
//! Rows of the same key that follow each other in a message share a record. Another one begins where the time
//! of a row runs ahead of the sample count by more than half a sample, or goes back, so that gaps stay visible.
//!
//! Samples of counts have to be whole numbers in the range of the [`SampleType`]; decimal fractions are rounded
//! to the precision of floats, whole numbers that floats do not hold exactly are refused.

mod csv;
mod error;
mod influx;
mod json;
mod number;
mod packed;
mod raw;
mod rows;
mod time_unit;
mod write;

pub use csv::{Column, CsvColumns};
pub use error::{DecodeError, Place};
pub use influx::InfluxFields;
pub use json::{JsonFields, JsonLayout, JsonPath, JsonPathError};
pub use packed::{PackedError, PackedFields};
pub use time_unit::{TimeField, TimeUnit};
pub(crate) use write::MessageWriter;

use rows::Rows;

use super::sample_bytes::Endian;
use crate::signal::{ChannelInfo, SampleType, StreamInfo, StreamKey};

/// How messages become samples.
#[derive(Clone, Debug, PartialEq)]
pub struct DecodingOptions {
    /// Samples per second and channel.
    pub sample_rate_hz: f64,
    /// How samples are stored; for text, what they are counted as.
    pub sample_type: SampleType,
    /// The channels, at least one, in the order in which their samples are interleaved.
    pub channels: Vec<ChannelInfo>,
    /// The format of a message.
    pub codec: Codec,
}

/// The format of a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Codec {
    /// Samples of the sample type and nothing else, channels interleaved.
    Raw {
        /// The order of a sample's bytes.
        endian: Endian,
    },
    /// JSON objects.
    Json(JsonFields),
    /// Lines of delimited text.
    Csv(CsvColumns),
    /// Lines of InfluxDB's line protocol.
    Influx(InfluxFields),
    /// Numbers of fixed width.
    Packed(PackedFields),
}

impl DecodingOptions {
    /// What is known of a stream whose samples come in such messages.
    pub fn stream_info(&self, key: StreamKey) -> StreamInfo {
        StreamInfo {
            key,
            sample_rate_hz: self.sample_rate_hz,
            sample_type: self.sample_type,
            stored_bits: match &self.codec {
                Codec::Packed(fields) => fields.sample_bits(),
                _ => self.sample_type.bits(),
            },
            channels: self.channels.clone(),
        }
    }
}

/// Consecutive samples of one key in a message.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The key that the message names; where `None`, that of the message itself.
    pub key: Option<String>,
    /// Time of the first row in nanoseconds since the Unix epoch; where `None`, that of the message itself.
    pub time_ns: Option<i64>,
    /// Whole rows, at least one, channels interleaved; finite, and each exactly as the sample type holds it.
    pub samples: Vec<f64>,
}

/// Turns messages into samples.
#[derive(Clone, Debug)]
pub struct MessageDecoder {
    options: DecodingOptions,
    /// The rows that are read at a time.
    samples: Vec<f64>,
}

impl MessageDecoder {
    /// A decoder of such messages.
    pub fn new(options: DecodingOptions) -> Self {
        Self { options, samples: Vec::new() }
    }

    /// How it decodes.
    pub fn options(&self) -> &DecodingOptions {
        &self.options
    }

    /// Appends the records of one message to `records`, in the order in which the message has them. There are
    /// none where [`InfluxFields::measurement`] leaves out every line of the message.
    ///
    /// # Errors
    /// The message is not what the options say; nothing was appended.
    pub fn decode(&mut self, payload: &[u8], records: &mut Vec<Record>) -> Result<(), DecodeError> {
        let before = records.len();
        let decoded = self.decode_whole(payload, records);
        if decoded.is_err() {
            records.truncate(before);
        }
        decoded
    }

    fn decode_whole(&mut self, payload: &[u8], records: &mut Vec<Record>) -> Result<(), DecodeError> {
        if payload.is_empty() {
            return Err(DecodeError::new(Place::Message, "empty"));
        }
        let DecodingOptions { sample_rate_hz, sample_type, .. } = self.options;
        let channels = self.options.channels.len().max(1);
        let mut rows = Rows::new(records, channels, sample_rate_hz);
        match &self.options.codec {
            Codec::Raw { endian } => {
                let record = raw::decode(payload, sample_type, *endian, channels)?;
                records.push(record);
                Ok(())
            }
            Codec::Json(fields) => json::decode(payload, fields, sample_type, &mut self.samples, &mut rows),
            Codec::Csv(columns) => csv::decode(payload, columns, sample_type, &mut self.samples, &mut rows),
            Codec::Influx(fields) => {
                influx::decode(payload, fields, sample_type, &mut self.samples, &mut rows)
            }
            Codec::Packed(fields) => {
                packed::decode(payload, fields, sample_type, &mut self.samples, &mut rows)
            }
        }
    }

    /// The number that a message has in the series of all, where it holds one.
    pub fn sequence(&self, payload: &[u8]) -> Option<u64> {
        match &self.options.codec {
            Codec::Packed(fields) => packed::sequence(payload, fields),
            _ => None,
        }
    }

    /// Bits of such a number, behind whose highest 0 comes.
    pub fn sequence_bits(&self) -> Option<u32> {
        match &self.options.codec {
            Codec::Packed(fields) => fields.sequence_bits(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
