//! Writing WAVE files.

use super::header::{IEEE_FLOAT, PCM, UNKNOWN_LENGTH};
use crate::signal::SampleType;
use crate::source::file::write::{DoesNotFit, RowWriter, WrittenColumn};

/// Writes samples as they are stored: PCM with 16, 24 or 32 bits, floats with 32 or 64. Lost samples are 0 for counts
/// and NaN for floats. A file beyond 4 GiB becomes RF64.
pub(crate) struct WavWriter {
    sample_type: SampleType,
    channels: u16,
    sample_rate_hz: u32,
    /// Rows, once they are all there.
    rows: u64,
    ended: bool,
}

impl WavWriter {
    pub(crate) fn new(columns: &[WrittenColumn], sample_rate_hz: f64) -> Result<Self, DoesNotFit> {
        let fits = |fits: bool, reason: String| if fits { Ok(()) } else { Err(DoesNotFit(reason)) };
        fits(
            sample_rate_hz.fract() == 0.0 && (1.0..=f64::from(u32::MAX)).contains(&sample_rate_hz),
            format!(
                "a WAVE file has a whole number of samples per second, and there are {sample_rate_hz}: write csv, edf or wfdb"
            ),
        )?;
        let sample_type = columns.first().map_or(SampleType::I16, |column| column.sample_type);
        if let Some(other) = columns.iter().find(|column| column.sample_type != sample_type) {
            return Err(DoesNotFit(format!(
                "the columns of a WAVE file have one sample type, and there are {sample_type} and {}: write csv, or choose \
                 one with --stream",
                other.sample_type
            )));
        }
        let channels = u16::try_from(columns.len())
            .ok()
            .filter(|_| columns.len() * usize::from(sample_type.bits() / 8) <= 0xffff);
        let channels = channels.ok_or_else(|| {
            DoesNotFit(format!(
                "a WAVE file takes 65535 bytes in a row, and {} columns are more",
                columns.len()
            ))
        })?;
        Ok(Self { sample_type, channels, sample_rate_hz: sample_rate_hz as u32, rows: 0, ended: false })
    }

    fn row_bytes(&self) -> u16 {
        self.channels * u16::from(self.sample_type.bits() / 8)
    }

    fn data_bytes(&self) -> u64 {
        self.rows.saturating_mul(u64::from(self.row_bytes()))
    }
}

impl RowWriter for WavWriter {
    fn front(&self) -> Vec<u8> {
        let mut format = Vec::new();
        let tag = if self.sample_type.is_integer() { PCM } else { IEEE_FLOAT };
        format.extend(tag.to_le_bytes());
        format.extend(self.channels.to_le_bytes());
        format.extend(self.sample_rate_hz.to_le_bytes());
        format.extend(self.sample_rate_hz.saturating_mul(u32::from(self.row_bytes())).to_le_bytes());
        format.extend(self.row_bytes().to_le_bytes());
        format.extend(u16::from(self.sample_type.bits()).to_le_bytes());

        // The ids and the sizes of RIFF, ds64, fmt and data, and what is in the two between.
        let front_bytes = 12 + (8 + 28) + (8 + format.len()) + 8;
        let data_bytes = self.data_bytes();
        let riff_bytes = data_bytes.saturating_add(data_bytes % 2).saturating_add(front_bytes as u64 - 8);
        let short = u32::try_from(riff_bytes).ok().filter(|bytes| self.ended && *bytes != UNKNOWN_LENGTH);
        let long = self.ended && short.is_none();
        let mut front = Vec::with_capacity(front_bytes);
        front.extend(if long { b"RF64" } else { b"RIFF" });
        front.extend(short.unwrap_or(UNKNOWN_LENGTH).to_le_bytes());
        front.extend(b"WAVE");
        // A chunk that nobody reads keeps the room.
        front.extend(if long { b"ds64" } else { b"JUNK" });
        front.extend(28_u32.to_le_bytes());
        for size in [riff_bytes, data_bytes, self.rows] {
            front.extend(if long { size } else { 0 }.to_le_bytes());
        }
        front.extend([0; 4]);
        front.extend(b"fmt ");
        front.extend((format.len() as u32).to_le_bytes());
        front.extend(format);
        front.extend(b"data");
        front.extend(short.map_or(UNKNOWN_LENGTH, |_| data_bytes as u32).to_le_bytes());
        front
    }

    fn row(&mut self, row: &[Option<f64>], bytes: &mut Vec<u8>) {
        let lost = if self.sample_type.is_integer() { 0.0 } else { f64::NAN };
        self.sample_type.extend_le(row.iter().map(|sample| sample.unwrap_or(lost)), bytes);
        self.rows += 1;
    }

    fn end(&mut self, bytes: &mut Vec<u8>) {
        self.ended = true;
        if self.data_bytes() % 2 == 1 {
            bytes.push(0);
        }
    }

    fn changes_front(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;
    use crate::signal::ChannelInfo;
    use crate::source::file::FileOptions;
    use crate::source::file::tests::read;
    use crate::source::file::write::tests::written;

    fn columns(sample_type: SampleType, count: usize) -> Vec<WrittenColumn> {
        let column =
            |i| WrittenColumn { name: format!("c{i}"), sample_type, channel: ChannelInfo::unscaled("") };
        (0..count).map(column).collect()
    }

    #[test]
    fn another_reader_reads_what_is_written() {
        let rows = [[Some(-32_768.0), Some(1.0)], [None, Some(32_767.0)], [Some(7.0), None]];
        let mut writer = WavWriter::new(&columns(SampleType::I16, 2), 360.0).unwrap();
        let file = written(&mut writer, rows.iter().map(|row| &row[..]));
        let mut reader = hound::WavReader::new(Cursor::new(file)).unwrap();
        assert_eq!((reader.spec().sample_rate, reader.spec().channels), (360, 2));
        let samples: Vec<i32> = reader.samples().map(Result::unwrap).collect();
        assert_eq!(samples, [-32_768, 1, 0, 32_767, 7, 0]);

        let mut writer = WavWriter::new(&columns(SampleType::F32, 1), 1.0).unwrap();
        let file = written(&mut writer, [[Some(0.1_f32.into())], [None]].iter().map(|row| &row[..]));
        let mut reader = hound::WavReader::new(Cursor::new(file)).unwrap();
        let samples: Vec<f32> = reader.samples().map(Result::unwrap).collect();
        assert!(samples[0] == 0.1 && samples[1].is_nan());
    }

    #[test]
    fn files_beyond_four_gibibytes_have_long_lengths() {
        let mut writer = WavWriter::new(&columns(SampleType::I16, 1), 1.0).unwrap();
        assert_eq!(writer.front()[..8], *b"RIFF\xff\xff\xff\xff");
        writer.rows = 1 << 31;
        writer.end(&mut Vec::new());
        let front = writer.front();
        assert_eq!((&front[..4], &front[12..16]), (&b"RF64"[..], &b"ds64"[..]));
        let header = super::super::header::read(front.as_slice()).unwrap();
        assert_eq!((header.data_bytes, header.data_offset), (Some(1 << 32), front.len() as u64));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let refusal =
            |columns: &[WrittenColumn], rate| WavWriter::new(columns, rate).err().unwrap().to_string();
        assert!(refusal(&columns(SampleType::I16, 1), 0.5).contains("a whole number of samples per second"));
        let mixed = [columns(SampleType::I16, 1), columns(SampleType::F32, 1)].concat();
        assert!(refusal(&mixed, 1.0).contains("there are i16 and f32"));
        assert!(refusal(&columns(SampleType::F64, 9000), 1.0).contains("9000 columns"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            sample_type in prop::sample::select(SampleType::ALL.to_vec()),
            channels in 1_usize..4,
            values in prop::collection::vec(-3e9_f64..3e9, 3..90),
            rate in 1_u32..100_000,
        ) {
            let samples: Vec<f64> = values.iter().map(|value| sample_type.nearest(*value)).collect();
            let rows = samples.chunks_exact(channels);
            let rows: Vec<Vec<Option<f64>>> = rows.map(|row| row.iter().copied().map(Some).collect()).collect();
            let mut writer = WavWriter::new(&columns(sample_type, channels), rate.into()).unwrap();
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a.wav");
            std::fs::write(&path, written(&mut writer, rows.iter().map(Vec::as_slice))).unwrap();
            let read = read(&path, &FileOptions::default()).unwrap();
            prop_assert_eq!(read.samples(), &samples[..rows.len() * channels]);
            prop_assert_eq!((read.info.sample_type, read.info.sample_rate_hz), (sample_type, f64::from(rate)));
            prop_assert!(read.dead_letters.is_empty());
        }
    }
}
