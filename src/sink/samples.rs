//! Decoded samples as the values of messages.

use std::io::Write;
use std::sync::Arc;

use crate::config::KafkaEncoding;
use crate::packet::Header;
use crate::signal::{SampleType, StreamIndex, StreamKey, duration_ns};

/// Larger values are cut between frames: brokers refuse messages above a megabyte.
pub(crate) const MAX_VALUE_BYTES: usize = 900_000;

/// Samples of consecutive frames on their way out.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleMessage {
    /// The stream.
    pub stream: StreamIndex,
    /// How they stand in `value`; a sink takes those in its own encoding.
    pub encoding: KafkaEncoding,
    /// Number of the first frame.
    pub first_frame: u64,
    /// Frames.
    pub frames: u32,
    /// Time of the first sample in nanoseconds since the Unix epoch, where known.
    pub time_ns: Option<i64>,
    /// How the source of the packets stored the samples.
    pub sample_type: SampleType,
    /// Channels.
    pub channels: u16,
    /// Samples per second and channel.
    pub sample_rate_hz: f64,
    /// Where the packets say that their samples come from.
    pub source: Arc<str>,
    /// When the packet came, in nanoseconds since the Unix epoch.
    pub arrival_ns: Option<i64>,
    /// The samples.
    pub value: Vec<u8>,
}

/// Consecutive frames that were decoded.
#[derive(Clone, Debug)]
pub(crate) struct DecodedFrames<'a> {
    pub(crate) stream: StreamIndex,
    pub(crate) key: &'a StreamKey,
    /// Of the packet that they were in.
    pub(crate) header: &'a Header,
    pub(crate) source: Arc<str>,
    pub(crate) arrival_ns: Option<i64>,
    /// Frames of the packet before these.
    pub(crate) left_out: u32,
    /// Finite or not, channels interleaved.
    pub(crate) samples: &'a [f64],
}

/// A frame whose samples no message can hold.
#[derive(Debug, thiserror::Error)]
#[error("frame {frame} takes {bytes} bytes as {encoding}; a message holds {MAX_VALUE_BYTES}")]
pub(crate) struct FrameTooLarge {
    frame: u64,
    bytes: usize,
    encoding: &'static str,
}

impl DecodedFrames<'_> {
    /// The frames as one message, or as several where one would be too large.
    ///
    /// # Errors
    /// A frame alone is too large.
    pub(crate) fn messages(&self, encoding: KafkaEncoding) -> Result<Vec<SampleMessage>, FrameTooLarge> {
        let mut messages = Vec::new();
        self.cut(encoding, self.left_out, self.header.frames, &mut messages)?;
        Ok(messages)
    }

    /// Appends the messages of the packet's frames `from..to`.
    fn cut(
        &self,
        encoding: KafkaEncoding,
        from: u32,
        to: u32,
        messages: &mut Vec<SampleMessage>,
    ) -> Result<(), FrameTooLarge> {
        let message = self.message(encoding, from, to);
        if message.value.len() <= MAX_VALUE_BYTES {
            messages.push(message);
            return Ok(());
        }
        if to - from <= 1 {
            return Err(FrameTooLarge {
                frame: message.first_frame,
                bytes: message.value.len(),
                encoding: word(encoding),
            });
        }
        drop(message);
        let middle = from + (to - from) / 2;
        self.cut(encoding, from, middle, messages)?;
        self.cut(encoding, middle, to, messages)
    }

    fn message(&self, encoding: KafkaEncoding, from: u32, to: u32) -> SampleMessage {
        let header = self.header;
        let row = usize::from(header.channels).max(1);
        let place = |frame: u32| {
            ((frame - self.left_out) as usize * header.frame_size as usize * row).min(self.samples.len())
        };
        let samples = self.samples.get(place(from)..place(to)).unwrap_or_default();
        let skipped_ns = duration_ns(header.sample_rate_hz, u64::from(from) * u64::from(header.frame_size));
        let mut message = SampleMessage {
            stream: self.stream,
            encoding,
            first_frame: header.first_frame + u64::from(from),
            frames: to - from,
            time_ns: header.time_ns.map(|time_ns| time_ns.saturating_add(skipped_ns)),
            sample_type: header.sample_type,
            channels: header.channels,
            sample_rate_hz: header.sample_rate_hz,
            source: Arc::clone(&self.source),
            arrival_ns: self.arrival_ns,
            value: Vec::new(),
        };
        message.value = match encoding {
            KafkaEncoding::Json => json(self.key, &message, samples),
            KafkaEncoding::Raw | KafkaEncoding::Packets => raw(header.sample_type, samples),
        };
        message
    }
}

fn word(encoding: KafkaEncoding) -> &'static str {
    match encoding {
        KafkaEncoding::Packets => "packets",
        KafkaEncoding::Raw => "raw",
        KafkaEncoding::Json => "json",
    }
}

fn raw(sample_type: SampleType, samples: &[f64]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(samples.len() * usize::from(sample_type.bits() / 8));
    samples.iter().for_each(|sample| sample_type.push_le(*sample, &mut bytes));
    bytes
}

fn json(key: &StreamKey, message: &SampleMessage, samples: &[f64]) -> Vec<u8> {
    let mut text = Vec::with_capacity(samples.len() * 6 + 128);
    // Writing to memory does not fail.
    let _ = write_json(&mut text, key, message, samples);
    text
}

fn write_json(
    text: &mut Vec<u8>,
    key: &StreamKey,
    message: &SampleMessage,
    samples: &[f64],
) -> std::io::Result<()> {
    text.extend_from_slice(b"{\"key\":");
    serde_json::to_writer(&mut *text, key.as_str())?;
    write!(text, ",\"first_frame\":{}", message.first_frame)?;
    if let Some(time_ns) = message.time_ns {
        write!(text, ",\"time_ns\":{time_ns}")?;
    }
    text.extend_from_slice(b",\"sample_rate_hz\":");
    serde_json::to_writer(&mut *text, &message.sample_rate_hz)?;
    text.extend_from_slice(b",\"samples\":[");
    let channels = usize::from(message.channels).max(1);
    for (row, values) in samples.chunks(channels).enumerate() {
        if row > 0 {
            text.push(b',');
        }
        if channels > 1 {
            text.push(b'[');
        }
        for (channel, value) in values.iter().enumerate() {
            if channel > 0 {
                text.push(b',');
            }
            // The shortest text that reads back as the same number; what is none is null.
            match message.sample_type {
                SampleType::F32 => serde_json::to_writer(&mut *text, &(*value as f32))?,
                SampleType::F64 => serde_json::to_writer(&mut *text, value)?,
                SampleType::I16 | SampleType::I24 | SampleType::I32 => write!(text, "{}", *value as i64)?,
            }
        }
        if channels > 1 {
            text.push(b']');
        }
    }
    text.extend_from_slice(b"]}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::ModelId;

    fn header(
        sample_type: SampleType,
        channels: u16,
        frame_size: u32,
        frames: u32,
        last_valid: u32,
    ) -> Header {
        Header {
            model: ModelId([0; 8]),
            key_packet: true,
            after_gap: false,
            sample_type,
            channels,
            sample_rate_hz: 100.0,
            frame_size,
            first_frame: 40,
            time_ns: Some(1_000_000_000),
            frames,
            last_valid,
        }
    }

    fn messages(
        header: &Header,
        left_out: u32,
        samples: &[f64],
        encoding: KafkaEncoding,
    ) -> Result<Vec<SampleMessage>, FrameTooLarge> {
        let key = StreamKey::new("bed \"4\"");
        let source = Arc::from("ward/3");
        DecodedFrames { stream: 7, key: &key, header, source, arrival_ns: None, left_out, samples }
            .messages(encoding)
    }

    fn text(message: &SampleMessage) -> &str {
        std::str::from_utf8(&message.value).unwrap()
    }

    #[test]
    fn json_holds_numbers_as_they_were() {
        let one = header(SampleType::I16, 1, 2, 2, 1);
        let found = messages(&one, 0, &[1.0, -2.0, 3.0], KafkaEncoding::Json).unwrap();
        assert_eq!(
            text(&found[0]),
            r#"{"key":"bed \"4\"","first_frame":40,"time_ns":1000000000,"sample_rate_hz":100.0,"samples":[1,-2,3]}"#
        );
        let two = Header { time_ns: None, ..header(SampleType::F32, 2, 2, 1, 2) };
        let samples = [f64::from(0.1_f32), -0.5, 1e30_f32.into(), f64::INFINITY];
        let found = messages(&two, 0, &samples, KafkaEncoding::Json).unwrap();
        assert!(text(&found[0]).ends_with(r#""samples":[[0.1,-0.5],[1e+30,null]]}"#), "{}", text(&found[0]));
        assert!(!text(&found[0]).contains("time_ns"));
    }

    #[test]
    fn frames_that_are_left_out_move_number_and_time() {
        let header = header(SampleType::I16, 1, 50, 3, 50);
        let found = messages(&header, 2, &[5.0; 50], KafkaEncoding::Raw).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].first_frame, found[0].frames, found[0].time_ns), (42, 1, Some(2_000_000_000)));
        assert_eq!(found[0].value, [5, 0].repeat(50));
    }

    #[test]
    fn a_frame_that_no_message_holds_is_refused() {
        let header = header(SampleType::F64, 1, 1 << 20, 2, 3);
        let error = messages(&header, 0, &vec![0.25; (1 << 20) + 3], KafkaEncoding::Raw).unwrap_err();
        assert!(error.to_string().contains("frame 40 takes 8388608 bytes as raw"), "{error}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn messages_are_the_samples_in_order(
            channels in 1..3_u16, frames in 1..40_u32, left in any::<prop::sample::Index>(), last in any::<prop::sample::Index>(),
        ) {
            let frame_size = 20_000;
            let last_valid = 1 + last.index(frame_size as usize) as u32;
            let left_out = left.index(frames as usize) as u32;
            let header = header(SampleType::I24, channels, frame_size, frames, last_valid);
            let rows = header.valid_samples() - u64::from(left_out * frame_size);
            let samples: Vec<f64> = (0..rows * u64::from(channels)).map(|k| (k % 8_000_000) as f64).collect();
            let found = messages(&header, left_out, &samples, KafkaEncoding::Raw).unwrap();
            let mut bytes = Vec::new();
            let mut next = header.first_frame + u64::from(left_out);
            for message in &found {
                prop_assert!(message.value.len() <= MAX_VALUE_BYTES);
                prop_assert_eq!(message.first_frame, next);
                next += u64::from(message.frames);
                bytes.extend_from_slice(&message.value);
            }
            prop_assert_eq!(next, header.first_frame + u64::from(frames));
            prop_assert_eq!(bytes, raw(SampleType::I24, &samples));
        }
    }
}
