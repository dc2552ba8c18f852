//! The header of an EDF or BDF file: Kemp et al., "A simple format for exchange of digitized polygraphic
//! recordings" (1992), and Kemp and Olivan, "European data format 'plus' (EDF+)" (2003). BDF differs in its first
//! byte and in samples of three bytes.

use std::path::Path;

use super::super::{check_channels, format_error};
use crate::signal::SampleType;
use crate::source::SourceError;
use crate::source::cells::{has_decimal_comma, quoted};
use crate::source::time::{Civil, NANOS_PER_SECOND};

/// Bytes of the part that every file has, and of the part for each signal.
pub(super) const FIXED_BYTES: usize = 256;
pub(super) const SIGNAL_BYTES: usize = 256;

/// Widths of the fields of a signal, in their order; each field of all signals comes before the next one.
pub(super) const SIGNAL_FIELDS: [usize; 10] = [16, 80, 8, 8, 8, 8, 8, 80, 8, 32];

/// Bytes of a record, at most: a hundred times what the standard advises.
const MAX_RECORD_BYTES: u64 = 1 << 23;

/// What a header says.
#[derive(Debug, PartialEq)]
pub(super) struct Header {
    pub(super) sample_type: SampleType,
    /// True if records may lie apart in time.
    pub(super) discontinuous: bool,
    /// Time of the first record in nanoseconds since the Unix epoch, where the header has a date. EDF knows no time
    /// zones: it is taken as UTC.
    pub(super) start_ns: Option<i64>,
    /// Records in the file, where the header says it.
    pub(super) records: Option<u64>,
    pub(super) record_seconds: Decimal,
    pub(super) signals: Vec<Signal>,
}

/// One signal of a file.
#[derive(Debug, PartialEq)]
pub(super) struct Signal {
    pub(super) label: String,
    pub(super) unit: String,
    /// Counts per physical unit, and the count that stands for zero in physical units.
    pub(super) gain: f64,
    pub(super) baseline: f64,
    pub(super) samples_per_record: usize,
    /// True if it holds texts with times instead of samples.
    pub(super) annotations: bool,
}

impl Header {
    /// Bytes of the header of a file with so many signals.
    pub(super) fn bytes(signals: usize) -> usize {
        FIXED_BYTES + SIGNAL_BYTES * signals
    }

    /// Bytes of a sample.
    pub(super) fn sample_bytes(&self) -> usize {
        usize::from(self.sample_type.bits() / 8)
    }

    /// Bytes of a record.
    pub(super) fn record_bytes(&self) -> usize {
        let samples: usize = self.signals.iter().map(|signal| signal.samples_per_record).sum();
        samples * self.sample_bytes()
    }
}

/// How many signals a file has, by the part of its header that every file has.
pub(super) fn signal_count(path: &Path, fixed: &[u8; FIXED_BYTES]) -> Result<usize, SourceError> {
    if !fixed.starts_with(b"0       ") && !fixed.starts_with(b"\xffBIOSEMI") {
        let reason = format!("begins with {}: not an EDF or BDF file", quoted(&fixed[..8]));
        return Err(format_error(path, "byte 0", reason));
    }
    let signals: usize = Field { path, name: "number of signals", bytes: &fixed[252..256] }.whole()?;
    check_channels(path, "number of signals", signals)?;
    Ok(signals)
}

/// Parses a header of [`Header::bytes`] bytes.
pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Header, SourceError> {
    let Some((fixed, described)) = bytes.split_first_chunk::<FIXED_BYTES>() else {
        return Err(format_error(path, "header", "ends within its first 256 bytes"));
    };
    let signal_count = signal_count(path, fixed)?;
    let field = |name, from, to| Field { path, name, bytes: fixed.get(from..to).unwrap_or_default() };
    let says: usize = field("bytes in the header", 184, 192).whole()?;
    if says != Header::bytes(signal_count) {
        let reason = format!(
            "says that the header has {says} bytes, but that of {signal_count} signals has {}",
            Header::bytes(signal_count)
        );
        return Err(format_error(path, "byte 184", reason));
    }
    let sample_type = if fixed[0] == 0xff { SampleType::I24 } else { SampleType::I16 };
    let reserved = field("reserved", 192, 236).text();
    let records = match field("number of records", 236, 244).whole::<i64>()? {
        // A file whose writer did not come to its end says -1, or 0.
        -1 | 0 => None,
        records => Some(u64::try_from(records).map_err(|_| {
            let reason = format!("{records} records are neither a number of them nor -1 for unknown");
            format_error(path, "number of records", reason)
        })?),
    };
    let record_seconds = field("duration of a record", 244, 252).decimal()?;
    let plus = reserved.starts_with("EDF+") || reserved.starts_with("BDF+");
    let header = Header {
        sample_type,
        discontinuous: plus && reserved.get(4..5) == Some("D"),
        start_ns: start_ns(
            &field("date", 168, 176).text(),
            &field("time", 176, 184).text(),
            &field("recording", 88, 168).text(),
        ),
        records,
        record_seconds,
        signals: signals(path, described, signal_count, plus)?,
    };
    let record_bytes: u64 = header.signals.iter().map(|signal| signal.samples_per_record as u64).sum::<u64>()
        * header.sample_bytes() as u64;
    if record_bytes == 0 || record_bytes > MAX_RECORD_BYTES {
        let reason = format!("a record of {record_bytes} bytes is not between 1 and {MAX_RECORD_BYTES}");
        return Err(format_error(path, "samples per record", reason));
    }
    let samples = header.signals.iter().any(|signal| !signal.annotations);
    if samples && record_seconds.units <= 0 {
        let reason = "is not above 0: the sample rate is not known";
        return Err(format_error(path, "duration of a record", reason));
    }
    Ok(header)
}

fn signals(path: &Path, described: &[u8], count: usize, plus: bool) -> Result<Vec<Signal>, SourceError> {
    let mut starts = [0; SIGNAL_FIELDS.len()];
    let mut start = 0;
    for (place, width) in starts.iter_mut().zip(SIGNAL_FIELDS) {
        *place = start;
        start += width * count;
    }
    let signal = |number: usize| {
        let field = |place: usize, name| {
            let width = SIGNAL_FIELDS[place];
            let from = starts[place] + number * width;
            Field { path, name, bytes: described.get(from..from + width).unwrap_or_default() }
        };
        let label = field(0, "label").text();
        let annotations = plus && (label == "EDF Annotations" || label == "BDF Annotations");
        let samples_per_record: usize = field(8, "samples per record").whole()?;
        if samples_per_record == 0 {
            let reason = format!("signal {} has no samples in a record", number + 1);
            return Err(format_error(path, "samples per record", reason));
        }
        let (gain, baseline) = match annotations {
            true => (1.0, 0.0),
            false => scale(
                [field(3, "physical minimum").decimal()?, field(4, "physical maximum").decimal()?],
                [field(5, "digital minimum").whole()?, field(6, "digital maximum").whole()?],
            )
            .unwrap_or_else(|| {
                tracing::warn!(
                    file = %path.display(),
                    signal = label,
                    "has an empty physical or digital range: its counts are taken for physical values"
                );
                (1.0, 0.0)
            }),
        };
        Ok(Signal { label, unit: field(2, "unit").text(), gain, baseline, samples_per_record, annotations })
    };
    (0..count).map(signal).collect()
}

/// Gain and baseline of a signal whose physical range stands for its digital range; none where one of them is empty.
fn scale([low, high]: [Decimal; 2], [digital_low, digital_high]: [i32; 2]) -> Option<(f64, f64)> {
    // In whole numbers, so that a range of decimal fractions gives the number it was made of.
    let scale = low.scale.max(high.scale);
    let (low, high) = (low.at_scale(scale)?, high.at_scale(scale)?);
    let (digital_low, digital_high) = (i128::from(digital_low), i128::from(digital_high));
    if low == high || digital_low == digital_high {
        return None;
    }
    let range = (high - low) as f64;
    let gain = ((digital_high - digital_low) * 10_i128.checked_pow(scale)?) as f64 / range;
    let baseline = (digital_low * high - digital_high * low) as f64 / range;
    (gain.is_finite() && baseline.is_finite()).then_some((gain, baseline))
}

/// A decimal number as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decimal {
    units: i64,
    /// Digits behind the point.
    scale: u32,
}

impl Decimal {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let units: i64 = format!("{whole}{fraction}").parse().ok()?;
        let scale = i32::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
        match u32::try_from(scale) {
            Ok(scale) if scale <= 18 => Some(Self { units, scale }),
            Ok(_) => None,
            Err(_) => {
                let units = units.checked_mul(10_i64.checked_pow(scale.unsigned_abs())?)?;
                Some(Self { units, scale: 0 })
            }
        }
    }

    fn at_scale(self, scale: u32) -> Option<i128> {
        i128::from(self.units).checked_mul(10_i128.checked_pow(scale.checked_sub(self.scale)?)?)
    }

    /// `count` of something in this many seconds, per second.
    pub(super) fn rate_hz(self, count: usize) -> f64 {
        (count as f64) * 10_f64.powi(self.scale as i32) / self.units as f64
    }

    /// Nanoseconds of `count` times this many seconds, saturating.
    pub(super) fn ns(self, count: u64) -> i64 {
        let ns = i128::from(self.units)
            .saturating_mul(i128::from(count))
            .saturating_mul(i128::from(NANOS_PER_SECOND))
            / 10_i128.pow(self.scale);
        i64::try_from(ns).unwrap_or(i64::MAX)
    }
}

/// A field of a header.
struct Field<'a> {
    path: &'a Path,
    name: &'static str,
    bytes: &'a [u8],
}

impl Field<'_> {
    fn text(&self) -> String {
        let padding = |byte: &u8| *byte == 0 || byte.is_ascii_whitespace();
        let end = self.bytes.iter().rposition(|byte| !padding(byte)).map_or(0, |last| last + 1);
        let start = self.bytes.iter().position(|byte| !padding(byte)).unwrap_or(0).min(end);
        let text = self.bytes.get(start..end).unwrap_or_default();
        // The standard has ASCII; others write UTF-8 or Latin-1 (`µV`).
        match std::str::from_utf8(text) {
            Ok(text) => text.to_owned(),
            Err(_) => text.iter().map(|byte| char::from(*byte)).collect(),
        }
    }

    fn whole<T: std::str::FromStr>(&self) -> Result<T, SourceError> {
        self.text().parse().map_err(|_| self.refuse("a whole number that fits"))
    }

    fn decimal(&self) -> Result<Decimal, SourceError> {
        Decimal::parse(&self.text()).ok_or_else(|| self.refuse("a number"))
    }

    fn refuse(&self, expected: &str) -> SourceError {
        let hint = if has_decimal_comma(self.text().as_bytes()) { " (EDF has decimal points)" } else { "" };
        format_error(
            self.path,
            self.name,
            format_args!("{} is not {expected}{hint}", quoted(self.bytes.trim_ascii())),
        )
    }
}

/// `dd.mm.yy` and `hh.mm.ss`. Two digits of a year are 1985 to 2084; `Startdate dd-MMM-yyyy` at the beginning of an
/// EDF+ recording's description has all four.
fn start_ns(date: &str, time: &str, recording: &str) -> Option<i64> {
    // What EDF+ has where the date is not known.
    if date == "01.01.85" && recording.starts_with("Startdate X") {
        return None;
    }
    let numbers = |text: &str| -> Option<[u32; 3]> {
        let parts: Vec<u32> =
            text.split(['.', ':', '/']).map(|part| part.trim().parse().ok()).collect::<Option<_>>()?;
        parts.try_into().ok()
    };
    let [hour, minute, second] = numbers(time)?;
    let [day, month, year] = full_date(recording).or_else(|| {
        let [day, month, year] = numbers(date)?;
        Some([day, month, if year < 85 { 2000 + year } else { 1900 + year }])
    })?;
    Civil { year: i32::try_from(year).ok()?, month, day, hour, minute, second, nanosecond: 0 }.unix_ns()
}

fn full_date(recording: &str) -> Option<[u32; 3]> {
    const MONTHS: [&str; 12] =
        ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
    let mut parts = recording.strip_prefix("Startdate ")?.split_ascii_whitespace().next()?.split('-');
    let day = parts.next()?.parse().ok()?;
    let month = parts.next()?.to_ascii_uppercase();
    let month = (1..).zip(MONTHS).find(|(_, name)| *name == month)?.0;
    let year = parts.next()?.parse().ok()?;
    Some([day, month, year])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn decimals_are_what_is_written() {
        let decimal = |text| Decimal::parse(text).map(|decimal| (decimal.units, decimal.scale));
        assert_eq!(decimal("-3.2768"), Some((-32_768, 4)));
        assert_eq!(decimal("+1"), Some((1, 0)));
        assert_eq!(decimal("1.5e-3"), Some((15, 4)));
        assert_eq!(decimal("2E3"), Some((2_000, 0)));
        for nonsense in ["", "-", ".", "1,5", "1e99", "1e-99", "NaN", "inf", "1.2.3", "0x1"] {
            assert_eq!(decimal(nonsense), None, "{nonsense}");
        }
        let third = Decimal::parse("0.3").unwrap();
        assert_eq!(third.rate_hz(75), 250.0);
        assert_eq!(third.ns(10), 3_000_000_000);
        assert_eq!(third.ns(u64::MAX), i64::MAX);
    }

    #[test]
    fn ranges_give_the_gain_that_they_were_made_of() {
        let decimal = |text| Decimal::parse(text).unwrap();
        let scale = |low, high, digital| super::scale([decimal(low), decimal(high)], digital);
        assert_eq!(scale("-3.2768", "3.2767", [-32_768, 32_767]), Some((10_000.0, 0.0)));
        assert_eq!(scale("-163.84", "163.835", [-32_768, 32_767]), Some((200.0, 0.0)));
        assert_eq!(scale("-5", "5", [-2048, 2047]), Some((409.5, -0.5)));
        assert_eq!(scale("2", "-2", [-2048, 2048]), Some((-1024.0, 0.0)));
        assert_eq!(scale("1", "1", [-2048, 2048]), None);
        assert_eq!(scale("1", "2", [7, 7]), None);
    }

    #[test]
    fn dates_have_two_digits_or_four() {
        let noon = |days: i64| Some((days * 86_400 + 43_200) * NANOS_PER_SECOND);
        assert_eq!(start_ns("01.01.70", "12.00.00", ""), noon(36_525), "2070");
        assert_eq!(start_ns("01.01.85", "12.00.00", ""), noon(5_479));
        assert_eq!(start_ns("01.01.yy", "12.00.00", "Startdate 01-JAN-1985 X X X"), noon(5_479));
        assert_eq!(start_ns("01.01.85", "12.00.00", "Startdate X X X X"), None, "not known");
        assert_eq!(start_ns("", "12.00.00", ""), None);
        assert_eq!(start_ns("31.02.20", "12.00.00", ""), None);
    }

    proptest! {
        #[test]
        fn any_header_is_read_or_refused(
            bytes in prop::collection::vec(any::<u8>(), 0..1200),
            bdf in any::<bool>(),
            signals in 0_u8..5,
        ) {
            let mut bytes = bytes;
            let magic: &[u8] = if bdf { b"\xffBIOSEMI" } else { b"0       " };
            if bytes.len() >= 256 {
                bytes[..8].copy_from_slice(magic);
                bytes[252..256].copy_from_slice(&[b'0' + signals, b' ', b' ', b' ']);
            }
            let _ = parse(Path::new("a.edf"), &bytes);
        }
    }
}
