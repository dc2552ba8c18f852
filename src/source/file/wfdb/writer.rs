//! Writing WFDB records.

use std::fmt::Write;

use super::header::{Encoding, NO_UNIT};
use crate::signal::SampleType;
use crate::source::file::write::{DoesNotFit, RowWriter, WrittenColumn, labels, rows_between};
use crate::source::time::civil;

/// A gap of more rows is told and not filled: a wrong clock could fill the disk with it.
const MAX_FILLED_ROWS: u64 = 1 << 28;

/// Writes counts in format 16, 24 or 32, with gain, baseline, unit and name of each signal in the header. Lost samples,
/// and those that a gap in time has room for, are the format's mark for missing ones.
pub(crate) struct WfdbWriter {
    encoding: Encoding,
    sample_rate_hz: f64,
    signals: Vec<Signal>,
    start_ns: Option<i64>,
    /// Time of a row, and its number.
    known: Option<(i64, u64)>,
    rows: u64,
    /// Samples that are the mark for missing ones.
    clashes: u64,
    unfilled_gaps: u64,
}

struct Signal {
    column: WrittenColumn,
    label: String,
    first: Option<i32>,
    sum: u16,
}

impl WfdbWriter {
    pub(crate) fn new(columns: &[WrittenColumn], sample_rate_hz: f64) -> Result<Self, DoesNotFit> {
        let mut encoding = Encoding::Little16;
        for column in columns {
            let own = match column.sample_type {
                SampleType::I16 => Encoding::Little16,
                SampleType::I24 => Encoding::Little24,
                SampleType::I32 => Encoding::Little32,
                floats => {
                    return Err(DoesNotFit(format!(
                        "a WFDB record holds counts, and '{}' has {floats} samples: write wav, csv or raw",
                        column.name
                    )));
                }
            };
            if own.bits() > encoding.bits() {
                encoding = own;
            }
        }
        let signals = columns.iter().zip(labels(columns)).map(|(column, label)| Signal {
            column: column.clone(),
            label,
            first: None,
            sum: 0,
        });
        Ok(Self {
            encoding,
            sample_rate_hz,
            signals: signals.collect(),
            start_ns: None,
            known: None,
            rows: 0,
            clashes: 0,
            unfilled_gaps: 0,
        })
    }
}

impl RowWriter for WfdbWriter {
    fn front(&self) -> Vec<u8> {
        Vec::new()
    }

    fn at(&mut self, time_ns: i64, bytes: &mut Vec<u8>) {
        if let Some((known_ns, row)) = self.known {
            let end_ns =
                known_ns.saturating_add(crate::signal::duration_ns(self.sample_rate_hz, self.rows - row));
            let missing = rows_between(end_ns, time_ns, self.sample_rate_hz);
            if missing > MAX_FILLED_ROWS {
                self.unfilled_gaps += 1;
            } else {
                let row = vec![None; self.signals.len()];
                (0..missing).for_each(|_| self.row(&row, bytes));
            }
        } else if self.rows == 0 {
            self.start_ns = Some(time_ns);
        }
        self.known = Some((time_ns, self.rows));
    }

    fn row(&mut self, row: &[Option<f64>], bytes: &mut Vec<u8>) {
        let missing = self.encoding.missing();
        let count_bytes = usize::from(self.encoding.bits() / 8);
        for (signal, sample) in self.signals.iter_mut().zip(row) {
            let count = sample.map_or(missing, |sample| sample as i32);
            self.clashes += u64::from(sample.is_some() && count == missing);
            signal.first.get_or_insert(count);
            signal.sum = signal.sum.wrapping_add(count as u16);
            bytes.extend(count.to_le_bytes().iter().take(count_bytes));
        }
        self.rows += 1;
    }

    fn header(&self, data_file: &str) -> Option<String> {
        let record = data_file.strip_suffix(".dat").unwrap_or(data_file);
        let mut header = format!("{record} {} {} {}", self.signals.len(), self.sample_rate_hz, self.rows);
        if let Some(start_ns) = self.start_ns {
            let time = civil(start_ns);
            let micros = time.nanosecond / 1_000;
            let _ = write!(header, " {:02}:{:02}:{:02}", time.hour, time.minute, time.second);
            if micros > 0 {
                let _ = write!(header, "{}", format!(".{micros:06}").trim_end_matches('0'));
            }
            let _ = write!(header, " {:02}/{:02}/{:04}", time.day, time.month, time.year);
        }
        header.push('\n');
        for Signal { column, label, first, sum } in &self.signals {
            let channel = &column.channel;
            let unit: String = channel.unit.split_whitespace().collect::<Vec<_>>().join("_");
            let unit = if unit.is_empty() { NO_UNIT } else { &unit };
            let description: String = label.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            let _ = writeln!(
                header,
                "{data_file} {} {}({})/{unit} {} 0 {} {} 0 {description}",
                self.encoding.format(),
                channel.gain,
                channel.baseline.round() as i32,
                column.sample_type.bits(),
                first.unwrap_or(0),
                sum.cast_signed(),
            );
        }
        Some(header)
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.clashes > 0 {
            notes.push(format!(
                "{} samples are {}, which WFDB takes for missing ones",
                self.clashes,
                self.encoding.missing()
            ));
        }
        for signal in &self.signals {
            let baseline = signal.column.channel.baseline;
            if f64::from(baseline.round() as i32) != baseline {
                notes.push(format!(
                    "the baseline of '{}', {baseline}, is rounded: WFDB has whole ones",
                    signal.label
                ));
            }
        }
        if self.unfilled_gaps > 0 {
            notes.push(format!("{} gaps in time are too long to be filled", self.unfilled_gaps));
        }
        notes
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use proptest::prelude::*;

    use super::*;
    use crate::signal::ChannelInfo;
    use crate::source::file::FileOptions;
    use crate::source::file::tests::read;
    use crate::source::file::write::tests::written;

    fn column(name: &str, sample_type: SampleType, gain: f64, baseline: f64) -> WrittenColumn {
        let channel = ChannelInfo { name: name.into(), unit: "mV".into(), gain, baseline };
        WrittenColumn { name: format!("r/{name}"), sample_type, channel }
    }

    fn record(writer: &WfdbWriter, data: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("r.dat"), data).unwrap();
        let header = folder.path().join("r.hea");
        std::fs::write(&header, writer.header("r.dat").unwrap()).unwrap();
        (folder, header)
    }

    #[test]
    fn headers_say_what_is_known() {
        let columns = [
            column("MLII", SampleType::I16, 200.0, 1024.0),
            WrittenColumn { channel: ChannelInfo::unscaled(""), ..column("x", SampleType::I16, 1.0, 0.0) },
        ];
        let mut writer = WfdbWriter::new(&columns, 360.0).unwrap();
        let mut bytes = Vec::new();
        writer.at(1_709_209_815_250_000_000, &mut bytes);
        writer.row(&[Some(995.0), Some(-3.0)], &mut bytes);
        writer.row(&[None, Some(4.0)], &mut bytes);
        // A gap of two rows, told by its time.
        writer.at(1_709_209_815_250_000_000 + 11_111_111, &mut bytes);
        writer.row(&[Some(7.0), Some(-32_768.0)], &mut bytes);
        assert_eq!(
            writer.header("r.dat").unwrap(),
            "r 2 360 5 12:30:15.25 29/02/2024\n\
             r.dat 16 200(1024)/mV 16 0 995 -31766 0 r/MLII\n\
             r.dat 16 1(0)/NU 16 0 -3 -32767 0 r/x\n"
        );
        assert!(writer.notes()[0].starts_with("1 samples are -32768"), "{:?}", writer.notes());
        let (_folder, path) = record(&writer, &bytes);
        let read = read(&path, &FileOptions::default()).unwrap();
        assert_eq!(read.samples(), [995.0, -3.0], "then samples are missing");
        assert_eq!(read.chunks[0].time_ns, Some(1_709_209_815_250_000_000));
        assert_eq!(read.info.channels[1].unit, "");
    }

    #[test]
    fn what_does_not_fit_is_refused_or_told() {
        let float = column("x", SampleType::F32, 1.0, 0.0);
        assert!(WfdbWriter::new(&[float], 1.0).err().unwrap().to_string().contains("'r/x' has f32"));
        let writer = WfdbWriter::new(&[column("x", SampleType::I16, 1.0, 0.5)], 1.0).unwrap();
        assert!(writer.notes()[0].contains("0.5, is rounded"), "{:?}", writer.notes());
        let mut writer = WfdbWriter::new(&[column("x", SampleType::I16, 1.0, 0.0)], 1e6).unwrap();
        let mut bytes = Vec::new();
        writer.at(0, &mut bytes);
        writer.at(i64::MAX, &mut bytes);
        assert!(bytes.is_empty() && writer.notes()[0].contains("too long"), "{:?}", writer.notes());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            sample_type in prop::sample::select(vec![SampleType::I16, SampleType::I24, SampleType::I32]),
            values in prop::collection::vec(-2e9_f64..2e9, 2..60),
            gain in prop_oneof![Just(200.0), 0.001_f64..1e6, -1e3_f64..-0.1],
            baseline in -40_000_i32..40_000,
            rate in prop_oneof![Just(360.0), 0.01_f64..1e5],
        ) {
            let low = sample_type.nearest(f64::MIN);
            let samples: Vec<f64> = values.iter().map(|value| sample_type.nearest(*value).max(low + 1.0)).collect();
            let columns = [
                column("a", sample_type, gain, baseline.into()),
                column("b", sample_type, 1.0, 0.0),
            ];
            let rows: Vec<[Option<f64>; 2]> =
                samples.chunks_exact(2).map(|row| [Some(row[0]), Some(row[1])]).collect();
            let mut writer = WfdbWriter::new(&columns, rate).unwrap();
            let bytes = written(&mut writer, rows.iter().map(|row| &row[..]));
            let (_folder, path) = record(&writer, &bytes);
            let read = read(&path, &FileOptions::default()).unwrap();
            prop_assert_eq!(read.samples(), &samples[..rows.len() * 2]);
            prop_assert_eq!(read.info.sample_rate_hz, rate);
            let channels: Vec<ChannelInfo> = columns.iter().map(|column| column.channel.clone()).collect();
            prop_assert_eq!(read.info.channels, channels);
        }
    }
}
