//! Writing EDF+ and BDF+ files.

use super::header::{FIXED_BYTES, Header, SIGNAL_FIELDS};
use super::range::{Range, nearest};
use crate::signal::{SampleType, duration_ns};
use crate::source::file::write::{DoesNotFit, RowWriter, WrittenColumn, labels, rows_between};
use crate::source::time::{Civil, NANOS_PER_SECOND, civil};

/// Bytes of a record, about: what the standard advises.
const RECORD_BYTES: f64 = 61_440.0;
/// Bytes of annotations in a record; a multiple of two and of three.
const ANNOTATION_BYTES: usize = 120;
/// Runs of lost samples that wait for a record with room; what is lost beyond belongs to the last of them.
const MAX_WAITING: usize = 64;

/// Writes counts of 16 bits (EDF+) or 24 (BDF+), with a physical range that gives gain and baseline.
///
/// Records last a second where the rate lets them. Lost samples repeat the last one, and an annotation says where; a gap
/// in time begins a new record (EDF+D) where it is longer than what is left of the last one, and is filled otherwise.
/// The last record is filled up by repeating the last row.
pub(crate) struct EdfWriter {
    sample_type: SampleType,
    sample_rate_hz: f64,
    signals: Vec<Signal>,
    record: Record,
    /// Rows of the open record.
    rows: usize,
    records: u64,
    start_ns: Option<i64>,
    /// Where the open record begins, from the first one on: a time, and rows since then.
    run_onset_ns: i64,
    run_rows: u64,
    discontinuous: bool,
    lost: Vec<Lost>,
    filled_rows: u64,
}

struct Signal {
    column: WrittenColumn,
    label: String,
    /// Of the open record.
    counts: Vec<i32>,
    /// What a lost sample repeats.
    last: i32,
    lowest: i32,
    highest: i32,
}

/// Rows of a record and its duration as it is written.
#[derive(Debug, PartialEq)]
struct Record {
    rows: usize,
    seconds: String,
    exact: bool,
}

/// A run of rows in which samples are lost.
struct Lost {
    onset_ns: i64,
    rows: u64,
}

impl EdfWriter {
    /// A writer of EDF+ for `I16`, of BDF+ for `I24`.
    pub(crate) fn new(
        columns: &[WrittenColumn],
        sample_rate_hz: f64,
        sample_type: SampleType,
    ) -> Result<Self, DoesNotFit> {
        for column in columns {
            let (name, own) = (&column.name, column.sample_type);
            if own == SampleType::I24 && sample_type == SampleType::I16 {
                return Err(DoesNotFit(format!(
                    "EDF holds counts of 16 bits, and '{name}' has {own} samples: write bdf"
                )));
            }
            if !matches!(own, SampleType::I16 | SampleType::I24) {
                return Err(DoesNotFit(format!(
                    "EDF holds counts of 16 bits and BDF of 24, and '{name}' has {own} samples: write wav, csv or raw"
                )));
            }
        }
        let signals = columns.iter().zip(labels(columns)).map(|(column, label)| Signal {
            column: column.clone(),
            label,
            counts: Vec::new(),
            // Nothing to repeat yet: what is physically nothing stands for it.
            last: sample_type.nearest(column.channel.baseline) as i32,
            lowest: i32::MAX,
            highest: i32::MIN,
        });
        let row_bytes = columns.len() * usize::from(sample_type.bits() / 8);
        Ok(Self {
            sample_type,
            sample_rate_hz,
            signals: signals.collect(),
            record: record(sample_rate_hz, row_bytes),
            rows: 0,
            records: 0,
            start_ns: None,
            run_onset_ns: 0,
            run_rows: 0,
            discontinuous: false,
            lost: Vec::new(),
            filled_rows: 0,
        })
    }

    /// Where the next row is, from the first record on.
    fn onset_ns(&self) -> i64 {
        self.run_onset_ns.saturating_add(duration_ns(self.sample_rate_hz, self.run_rows))
    }

    fn lose(&mut self) {
        let onset_ns = self.onset_ns();
        let full = self.lost.len() >= MAX_WAITING;
        match self.lost.last_mut() {
            Some(last)
                if last.onset_ns.saturating_add(duration_ns(self.sample_rate_hz, last.rows)) >= onset_ns =>
            {
                last.rows += 1;
            }
            Some(last) if full => {
                last.rows = rows_between(last.onset_ns, onset_ns, self.sample_rate_hz) + 1;
            }
            _ => self.lost.push(Lost { onset_ns, rows: 1 }),
        }
    }

    /// Repeats the last row to the end of the open record.
    fn fill(&mut self, bytes: &mut Vec<u8>) {
        let row = vec![None; self.signals.len()];
        while self.rows > 0 {
            self.filled_rows += 1;
            self.push(&row, bytes);
        }
    }

    fn push(&mut self, row: &[Option<f64>], bytes: &mut Vec<u8>) {
        for (signal, sample) in self.signals.iter_mut().zip(row) {
            if let Some(sample) = sample {
                signal.last = *sample as i32;
            }
            signal.lowest = signal.lowest.min(signal.last);
            signal.highest = signal.highest.max(signal.last);
            signal.counts.push(signal.last);
        }
        self.rows += 1;
        self.run_rows += 1;
        if self.rows >= self.record.rows {
            self.write_record(bytes);
        }
    }

    fn write_record(&mut self, bytes: &mut Vec<u8>) {
        let count_bytes = usize::from(self.sample_type.bits() / 8);
        for signal in &mut self.signals {
            for count in &signal.counts {
                bytes.extend(count.to_le_bytes().iter().take(count_bytes));
            }
            signal.counts.clear();
        }
        let begins = self.run_rows.saturating_sub(self.rows as u64);
        let onset_ns = self.run_onset_ns.saturating_add(duration_ns(self.sample_rate_hz, begins));
        let mut annotations = format!("{}\x14\x14\0", seconds(onset_ns, true)).into_bytes();
        while let Some(lost) = self.lost.first() {
            let length_ns = duration_ns(self.sample_rate_hz, lost.rows);
            let text = format!(
                "{}\x15{}\x14samples lost\x14\0",
                seconds(lost.onset_ns, true),
                seconds(length_ns, false)
            );
            if annotations.len() + text.len() > ANNOTATION_BYTES {
                break;
            }
            annotations.extend(text.as_bytes());
            self.lost.remove(0);
        }
        annotations.resize(ANNOTATION_BYTES, 0);
        bytes.extend(annotations);
        self.rows = 0;
        self.records += 1;
    }
}

impl RowWriter for EdfWriter {
    fn front(&self) -> Vec<u8> {
        let name = if self.sample_type == SampleType::I16 { "EDF" } else { "BDF" };
        let start = self.start_ns.map(civil);
        let mut front = Front(Vec::new());
        match name {
            "EDF" => front.text("0", 8),
            _ => front.0.extend(b"\xffBIOSEMI"),
        }
        front.text("X X X X", 80);
        front.text(&recording(start), 80);
        let (date, time) = date_and_time(start);
        front.text(&date, 8);
        front.text(&time, 8);
        front.text(&Header::bytes(self.signals.len() + 1).to_string(), 8);
        front.text(&format!("{name}+{}", if self.discontinuous { 'D' } else { 'C' }), 44);
        let records = match self.records {
            0 => "-1".to_owned(),
            records if records > 99_999_999 => "-1".to_owned(),
            records => records.to_string(),
        };
        front.text(&records, 8);
        front.text(&self.record.seconds, 8);
        front.text(&(self.signals.len() + 1).to_string(), 4);
        debug_assert_eq!(front.0.len(), FIXED_BYTES);

        let mut described: Vec<[String; 10]> =
            self.signals.iter().map(|signal| self.describe(signal)).collect();
        described.push(self.describe_annotations(name));
        for (field, width) in SIGNAL_FIELDS.iter().enumerate() {
            for signal in &described {
                front.text(signal.get(field).map_or("", String::as_str), *width);
            }
        }
        front.0
    }

    fn at(&mut self, time_ns: i64, bytes: &mut Vec<u8>) {
        let Some(start_ns) = self.start_ns else {
            if self.records == 0 && self.rows == 0 {
                // The header has whole seconds; the first record has the rest.
                self.start_ns = Some(time_ns);
                self.run_onset_ns = time_ns.rem_euclid(NANOS_PER_SECOND);
            }
            return;
        };
        let onset_ns = time_ns.saturating_sub(start_ns - start_ns.rem_euclid(NANOS_PER_SECOND));
        let missing = rows_between(self.onset_ns(), onset_ns, self.sample_rate_hz);
        if missing == 0 {
            return;
        }
        let open = if self.rows == 0 { 0 } else { self.record.rows - self.rows };
        if missing < open as u64 {
            let row = vec![None; self.signals.len()];
            (0..missing).for_each(|_| self.row(&row, bytes));
            return;
        }
        self.fill(bytes);
        self.discontinuous = true;
        self.run_onset_ns = onset_ns;
        self.run_rows = 0;
    }

    fn row(&mut self, row: &[Option<f64>], bytes: &mut Vec<u8>) {
        if row.iter().any(Option::is_none) {
            self.lose();
        }
        self.push(row, bytes);
    }

    fn end(&mut self, bytes: &mut Vec<u8>) {
        self.fill(bytes);
    }

    fn changes_front(&self) -> bool {
        true
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.filled_rows > 0 {
            notes.push(format!(
                "{} rows at the ends of records repeat the row before: EDF has whole records of {} s",
                self.filled_rows, self.record.seconds
            ));
        }
        if !self.record.exact {
            notes.push(format!(
                "the sample rate, {} Hz, is {} samples in {} s: EDF cannot say it better",
                self.sample_rate_hz, self.record.rows, self.record.seconds
            ));
        }
        for signal in self.signals.iter().filter(|signal| !self.range(signal).exact) {
            notes.push(format!(
                "the physical range of '{}' is rounded to the eight characters that EDF has for it; counts are exact",
                signal.label
            ));
        }
        notes
    }
}

impl EdfWriter {
    fn range(&self, signal: &Signal) -> Range {
        Range::of(&signal.column.channel, self.sample_type, signal.lowest, signal.highest)
    }

    fn describe(&self, signal: &Signal) -> [String; 10] {
        let Range { digital: [low, high], physical: [physical_low, physical_high], .. } = self.range(signal);
        // The standard writes `uV`.
        let unit = signal.column.channel.unit.replace(['µ', 'μ'], "u");
        [
            signal.label.clone(),
            String::new(),
            unit,
            physical_low,
            physical_high,
            low.to_string(),
            high.to_string(),
            String::new(),
            self.record.rows.to_string(),
            String::new(),
        ]
    }

    fn describe_annotations(&self, name: &str) -> [String; 10] {
        let bits = u32::from(self.sample_type.bits());
        let samples = ANNOTATION_BYTES / usize::from(self.sample_type.bits() / 8);
        [
            format!("{name} Annotations"),
            String::new(),
            String::new(),
            "-1".to_owned(),
            "1".to_owned(),
            (i32::MIN >> (32 - bits)).to_string(),
            (i32::MAX >> (32 - bits)).to_string(),
            String::new(),
            samples.to_string(),
            String::new(),
        ]
    }
}

/// Fields of a header.
struct Front(Vec<u8>);

impl Front {
    /// Appends a text in a field of so many bytes.
    fn text(&mut self, text: &str, width: usize) {
        let ascii = text.chars().map(|c| if (' '..='~').contains(&c) { c as u8 } else { b'?' });
        let end = self.0.len() + width;
        self.0.extend(ascii.take(width));
        self.0.resize(end, b' ');
    }
}

/// Records of a second, or of the shortest whole number of seconds that holds a whole number of samples, of less than a
/// second where those would be too large; else those whose duration in eight characters says the rate best.
fn record(sample_rate_hz: f64, row_bytes: usize) -> Record {
    const PARTS: [f64; 12] = [0.5, 0.25, 0.2, 0.125, 0.1, 0.05, 0.04, 0.02, 0.01, 0.005, 0.002, 0.001];
    let most = (RECORD_BYTES / row_bytes.max(1) as f64).clamp(1.0, 61_440.0);
    let seconds = (1..=86_400_u32).map(f64::from).take_while(|seconds| sample_rate_hz * seconds <= most);
    let whole = |seconds: f64| {
        let rows = (sample_rate_hz * seconds).round();
        let fits = rows >= 1.0 && rows <= most && (rows - sample_rate_hz * seconds).abs() <= rows * 1e-12;
        fits.then(|| Record { rows: rows as usize, seconds: nearest(seconds), exact: true })
    };
    if let Some(record) = seconds.chain(PARTS).find_map(whole) {
        return record;
    }
    let said = |rows: usize| {
        let seconds = nearest(rows as f64 / sample_rate_hz);
        let rate_hz = rows as f64 / seconds.parse().unwrap_or(0.0);
        ((rate_hz / sample_rate_hz - 1.0).abs(), rows, seconds)
    };
    // More to try than that is not worth the time.
    let tried = (1..=most as usize).take(8192).map(said);
    let best = tried.min_by(|a, b| a.0.total_cmp(&b.0));
    let (error, rows, seconds) = best.unwrap_or_else(|| said(1));
    Record { rows, seconds, exact: error <= 1e-12 }
}

/// Seconds without loss, with a sign where one has to be.
fn seconds(ns: i64, sign: bool) -> String {
    let sign = match (ns < 0, sign) {
        (true, _) => "-",
        (false, true) => "+",
        (false, false) => "",
    };
    let ns = ns.unsigned_abs();
    let (whole, rest) = (ns / 1_000_000_000, ns % 1_000_000_000);
    match rest {
        0 => format!("{sign}{whole}"),
        rest => format!("{sign}{whole}.{}", format!("{rest:09}").trim_end_matches('0')),
    }
}

fn recording(start: Option<Civil>) -> String {
    const MONTHS: [&str; 12] =
        ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
    let date = start.and_then(|start| {
        let month = MONTHS.get(usize::try_from(start.month).ok()?.checked_sub(1)?)?;
        Some(format!("{:02}-{month}-{:04}", start.day, start.year))
    });
    format!("Startdate {} X X X", date.as_deref().unwrap_or("X"))
}

/// The header's fields; a time that is not known is the first that EDF has.
fn date_and_time(start: Option<Civil>) -> (String, String) {
    let Some(start) = start else { return ("01.01.85".to_owned(), "00.00.00".to_owned()) };
    let year = match start.year {
        1985..=2084 => format!("{:02}", start.year % 100),
        _ => "yy".to_owned(),
    };
    (
        format!("{:02}.{:02}.{year}", start.day, start.month),
        format!("{:02}.{:02}.{:02}", start.hour, start.minute, start.second),
    )
}

#[cfg(test)]
mod tests;
