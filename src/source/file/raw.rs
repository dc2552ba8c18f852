//! Raw files: nothing but samples, channels interleaved.

use std::path::{Path, PathBuf};

use super::description::Description;
use super::input::{Input, uncompressed};
use super::rows::{Flaw, RowReader, RowSource};
use super::{
    Endian, FileOptions, Recording, Source, SourceError, check_channels, check_rate, extension, format_error,
    io_error, read_up_to,
};
use crate::signal::{SampleType, StreamInfo, StreamKey};
use crate::source::sample_bytes;

/// Opens a raw file. What `options` leave open, the [description](Description) beside the file says, and
/// the sample type after it the file's extension.
pub(super) fn open(recording: &Recording<'_>, options: &FileOptions) -> Result<Box<dyn Source>, SourceError> {
    let path = recording.path;
    let input = Input::open(path)?;
    let length = input.length();
    let description_path = uncompressed(path).with_extension("json");
    let description = Description::beside(path)?;
    let stored = description.stored(&description_path)?;
    let unknown = |field| {
        let reason = format!("is not known: give it, or describe it in {}", description_path.display());
        format_error(path, field, reason)
    };

    let sample_rate_hz =
        options.sample_rate_hz.or(description.sample_rate_hz).ok_or_else(|| unknown("sample_rate_hz"))?;
    check_rate(path, "sample_rate_hz", sample_rate_hz)?;
    let channels = options.channels.or(description.channels).unwrap_or(1);
    check_channels(path, "channels", channels)?;
    let sample_type = options
        .sample_type
        .or(stored.map(|(sample_type, _)| sample_type))
        .or_else(|| sample_type_of(path))
        .ok_or_else(|| unknown("sample_type"))?;
    let endian = options.endian.or(stored.map(|(_, endian)| endian)).unwrap_or(Endian::Little);

    let sample_bytes = usize::from(sample_type.bits() / 8);
    let row_bytes = sample_bytes * channels;
    match length {
        Some(0) => return Err(format_error(path, "file", "is empty")),
        Some(length) if length < row_bytes as u64 => {
            let reason = format!(
                "{length} bytes are too few: one {sample_type} sample of each of {channels} channels takes {row_bytes}"
            );
            return Err(format_error(path, "file", reason));
        }
        _ => {}
    }
    let info = StreamInfo {
        key: StreamKey::new(recording.name),
        sample_rate_hz,
        sample_type,
        stored_bits: sample_type.bits(),
        channels: description.channel_infos(&description_path, channels)?,
    };
    let reader = RawReader {
        path: path.to_owned(),
        input,
        sample_type,
        endian,
        channels,
        bytes: Vec::new(),
        rows_read: 0,
        rest_bytes: 0,
        rows_described: description.n_samples,
    };
    let total_rows = length.map(|length| length / row_bytes as u64);
    Ok(Box::new(RowSource::new(reader, recording.origin(), info, None, total_rows, options.chunk_samples)))
}

fn sample_type_of(path: &Path) -> Option<SampleType> {
    let extension = extension(path);
    SampleType::ALL.into_iter().find(|sample_type| sample_type.to_string() == extension)
}

/// True for bytes that are the digits of numbers and what stands between them, on lines: samples hardly are.
fn is_table_of_numbers(bytes: &[u8]) -> bool {
    const ENOUGH_BYTES: usize = 16;
    let start = bytes.get(..bytes.len().min(4096)).unwrap_or(bytes);
    let numeric = |byte: &u8| byte.is_ascii_digit() || b" \t\r\n,;.+-eE".contains(byte);
    start.len() >= ENOUGH_BYTES && start.contains(&b'\n') && start.iter().all(numeric)
}

struct RawReader {
    path: PathBuf,
    input: Input,
    sample_type: SampleType,
    endian: Endian,
    channels: usize,
    bytes: Vec<u8>,
    rows_read: u64,
    rest_bytes: usize,
    rows_described: Option<u64>,
}

impl RawReader {
    fn sample_bytes(&self) -> usize {
        usize::from(self.sample_type.bits() / 8)
    }

    fn row_bytes(&self) -> usize {
        self.sample_bytes() * self.channels
    }
}

impl RowReader for RawReader {
    fn read(&mut self, rows: usize, samples: &mut Vec<f64>) -> Result<usize, SourceError> {
        let row_bytes = self.row_bytes();
        self.bytes.resize(rows * row_bytes, 0);
        let filled =
            read_up_to(&mut self.input, &mut self.bytes).map_err(|error| io_error(&self.path, error))?;
        if self.rows_read == 0 && self.bytes.get(..filled).is_some_and(is_table_of_numbers) {
            let reason = "is a text of numbers, not raw samples: give format = \"csv\"";
            return Err(format_error(&self.path, "byte 0", reason));
        }
        let rows = filled / row_bytes;
        // Only the end of the file cuts a row off, and nothing is read after it.
        if filled > 0 {
            self.rest_bytes = filled % row_bytes;
        }
        self.rows_read += rows as u64;
        if let Some(bytes) = self.bytes.get(..rows * row_bytes) {
            sample_bytes::decode(bytes, self.sample_type, self.endian, samples);
        }
        Ok(rows)
    }

    fn byte_of(&self, row: u64) -> u64 {
        row.saturating_mul(self.row_bytes() as u64)
    }

    fn missing(&self) -> &'static str {
        "not a finite number (NaN or infinite)"
    }

    fn flaw(&mut self) -> Option<Flaw> {
        let channels = self.channels as u64;
        if let Some(reason) = self.input.damage() {
            return Some(Flaw { reason, samples: 0 });
        }
        if let Some(described) = self.rows_described.filter(|described| *described > self.rows_read) {
            let reason = format!(
                "the description says {described} samples per channel, the file holds {}",
                self.rows_read
            );
            let samples = (described - self.rows_read).saturating_mul(channels);
            return Some(Flaw { reason, samples });
        }
        (self.rest_bytes > 0).then(|| {
            let reason = format!(
                "the file ends within a row of {channels} {} samples: {} bytes are left over",
                self.sample_type, self.rest_bytes
            );
            Flaw { reason, samples: self.rest_bytes.div_ceil(self.sample_bytes()) as u64 }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;
    use crate::signal::Position;
    use crate::source::file::Format;
    use crate::source::file::tests::{read, refusal};

    fn options(sample_type: SampleType) -> FileOptions {
        FileOptions { sample_rate_hz: Some(100.0), sample_type: Some(sample_type), ..FileOptions::default() }
    }

    #[test]
    fn every_sample_type_is_read_in_both_byte_orders() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.raw");
        let cases: [(SampleType, Vec<u8>, f64); 6] = [
            (SampleType::I16, (-2_i16).to_le_bytes().to_vec(), -2.0),
            (SampleType::I24, vec![0x01, 0x00, 0x80], -8_388_607.0),
            (SampleType::I24, vec![0x03, 0x02, 0x01], 66_051.0),
            (SampleType::I32, i32::MIN.to_le_bytes().to_vec(), -2_147_483_648.0),
            (SampleType::F32, (-0.5_f32).to_le_bytes().to_vec(), -0.5),
            (SampleType::F64, 0.1_f64.to_le_bytes().to_vec(), 0.1),
        ];
        for (sample_type, mut bytes, sample) in cases {
            for endian in [Endian::Little, Endian::Big] {
                fs::write(&path, &bytes).unwrap();
                let options = FileOptions { endian: Some(endian), ..options(sample_type) };
                let read = read(&path, &options).unwrap();
                assert_eq!(read.samples(), [sample], "{sample_type} {endian:?}");
                assert_eq!(read.info.stored_bits, sample_type.bits());
                assert_eq!(read.chunks[0].time_ns, None);
                bytes.reverse();
            }
        }
    }

    #[test]
    fn samples_that_are_not_finite_leave_a_gap() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.f32");
        let samples = [f32::NAN, 1.0, 2.0, 3.0, 4.0, f32::INFINITY, 5.0, 6.0, 7.0, 8.0, f32::NAN, f32::NAN];
        fs::write(&path, samples.map(f32::to_le_bytes).as_flattened()).unwrap();
        for chunk_samples in 1..8 {
            let options = FileOptions {
                sample_rate_hz: Some(100.0),
                channels: Some(2),
                chunk_samples,
                ..FileOptions::default()
            };
            let read = read(&path, &options).unwrap();
            assert_eq!(read.samples(), [2.0, 3.0, 5.0, 6.0, 7.0, 8.0]);
            let gaps: Vec<f64> =
                read.chunks.iter().filter(|chunk| chunk.after_gap).map(|chunk| chunk.samples[0]).collect();
            assert_eq!(gaps, [2.0, 5.0]);
            let lost: Vec<_> =
                read.dead_letters.iter().map(|letter| (letter.position, letter.samples)).collect();
            let expected = [(Position::Byte(0), 2), (Position::Byte(16), 2), (Position::Byte(40), 2)];
            assert_eq!(lost, expected);
        }
    }

    #[test]
    fn a_file_that_ends_within_a_row_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.i16");
        fs::write(&path, [1, 0, 2, 0, 3, 0, 4]).unwrap();
        let options = FileOptions { channels: Some(2), ..options(SampleType::I16) };
        let read = read(&path, &options).unwrap();
        assert_eq!((read.samples(), read.total), (vec![1.0, 2.0], Some(2)));
        let [letter] = &read.dead_letters[..] else { panic!("{:?}", read.dead_letters) };
        assert_eq!((letter.samples, letter.position), (2, Position::Byte(4)));
        assert!(letter.reason.contains("3 bytes are left over"));
    }

    #[test]
    fn a_description_beside_the_file_says_what_options_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.i16");
        fs::write(&path, [0, 1, 0, 2, 0, 3, 0, 4]).unwrap();
        let description = r#"{"sample_rate_hz": 50, "channels": 2, "channel_names": ["x", "y"], "unit": "g",
            "lsb": 0.5, "offset": -10, "dtype": "int16be", "n_samples": 3, "adc_bits": 12, "notes": "worn"}"#;
        fs::write(folder.path().join("a.json"), description).unwrap();
        let described = read(&path, &FileOptions::default()).unwrap();
        assert_eq!(described.info.sample_rate_hz, 50.0);
        assert_eq!(described.samples(), [1.0, 2.0, 3.0, 4.0]);
        let y = &described.info.channels[1];
        assert_eq!((y.name.as_str(), y.unit.as_str(), y.gain, y.baseline), ("y", "g", 2.0, 10.0));
        let [letter] = &described.dead_letters[..] else { panic!("{:?}", described.dead_letters) };
        assert_eq!(letter.samples, 2);

        let options = FileOptions {
            sample_rate_hz: Some(10.0),
            endian: Some(Endian::Little),
            ..FileOptions::default()
        };
        let overridden = read(&path, &options).unwrap();
        assert_eq!(overridden.info.sample_rate_hz, 10.0);
        assert_eq!(overridden.samples()[0], 256.0);
        let options = FileOptions { channels: Some(1), ..FileOptions::default() };
        assert!(refusal(&path, &options).contains("2 names are given for 1 channels"));
    }

    #[test]
    fn a_description_that_is_none_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.i16");
        fs::write(&path, [0; 8]).unwrap();
        for (description, reason) in [
            ("[1, 2]", "does not describe"),
            ("{", "line 1: does not describe"),
            (r#"{"dtype": "wfdb212"}"#, "\"wfdb212\" is not read"),
            (r#"{"lsb": 0}"#, "lsb"),
            (r#"{"sample_rate_hz": 0}"#, "0 Hz"),
            (r#"{"sample_rate_hz": 1, "channels": 0}"#, "0 channels"),
            (r#"{"sample_rate_hz": 1, "channels": 1e300}"#, "does not describe"),
        ] {
            fs::write(folder.path().join("a.json"), description).unwrap();
            let refusal = refusal(&path, &FileOptions::default());
            assert!(refusal.contains(reason), "{description}: {refusal}");
        }
    }

    #[test]
    fn text_is_no_raw_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.i16");
        fs::write(&path, "1.5;-2\r\n3;4\r\n5;6e2\r\n").unwrap();
        assert!(refusal(&path, &options(SampleType::I16)).contains("byte 0: is a text of numbers"));
        // Two samples that happen to be characters.
        fs::write(&path, "1\n2\n").unwrap();
        assert_eq!(read(&path, &options(SampleType::I16)).unwrap().samples().len(), 2);
    }

    #[test]
    fn what_cannot_be_read_is_refused_in_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        let missing = refusal(&path, &options(SampleType::I16));
        assert!(missing.contains("a.bin"), "{missing}");
        fs::write(&path, []).unwrap();
        assert!(refusal(&path, &options(SampleType::I16)).contains("is empty"));
        fs::write(&path, [0; 3]).unwrap();
        assert!(refusal(&path, &FileOptions::default()).contains("sample_rate_hz: is not known"));
        let rate = FileOptions { sample_rate_hz: Some(1.0), ..FileOptions::default() };
        assert!(refusal(&path, &rate).contains("sample_type: is not known"));
        assert!(refusal(&path, &options(SampleType::F32)).contains("3 bytes are too few"));
        let channels = FileOptions { channels: Some(usize::MAX), ..options(SampleType::I16) };
        assert!(refusal(&path, &channels).contains("channels"));
        let directory = FileOptions { format: Some(Format::Raw), ..options(SampleType::I16) };
        assert!(refusal(folder.path(), &directory).contains("is a directory"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_accounted_for(
            bytes in prop::collection::vec(any::<u8>(), 1..400),
            sample_type in prop::sample::select(SampleType::ALL.to_vec()),
            channels in 1_usize..4,
            chunk_samples in 1_usize..50,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a.raw");
            fs::write(&path, &bytes).unwrap();
            let options = FileOptions { channels: Some(channels), chunk_samples, ..options(sample_type) };
            let sample_bytes = usize::from(sample_type.bits() / 8);
            if bytes.len() < sample_bytes * channels {
                refusal(&path, &options);
                return Ok(());
            }
            let read = read(&path, &options).unwrap();
            let lost: u64 = read.dead_letters.iter().map(|letter| letter.samples).sum();
            prop_assert_eq!(read.samples().len() as u64 + lost, bytes.len().div_ceil(sample_bytes) as u64);
        }
    }
}
