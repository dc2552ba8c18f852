//! The header of a WFDB record, as `header(5)` of the WFDB Applications Guide lays it down.

use std::path::Path;

use crate::source::SourceError;
use crate::source::file::{check_channels, check_rate, format_error};
use crate::source::time::{Civil, NANOS_PER_SECOND};

/// What a header says.
#[derive(Debug, PartialEq)]
pub(super) struct Header {
    /// Frames per second; each signal has one or more samples in a frame.
    pub(super) frame_rate_hz: f64,
    /// Frames in the record, where the header says it.
    pub(super) frames: Option<u64>,
    /// Time of the first sample in nanoseconds since the Unix epoch, where the header has a date. WFDB knows
    /// no time zones: it is taken as UTC.
    pub(super) start_ns: Option<i64>,
    pub(super) signals: Vec<Signal>,
}

/// One signal of a record.
#[derive(Debug, PartialEq)]
pub(super) struct Signal {
    pub(super) file: String,
    pub(super) encoding: Encoding,
    pub(super) samples_per_frame: usize,
    /// Bytes before the first sample in the file.
    pub(super) byte_offset: u64,
    /// Counts per physical unit.
    pub(super) gain: f64,
    /// The count that stands for zero in physical units.
    pub(super) baseline: f64,
    pub(super) unit: String,
    /// Sum of all samples modulo 2^16.
    pub(super) checksum: Option<u16>,
    pub(super) description: String,
}

/// How the samples of a signal file are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// Format 212: two 12-bit two's complement samples in three bytes.
    Packed12,
    /// Format 16: 16-bit two's complement samples, lowest byte first.
    Little16,
    /// Format 24: 24-bit two's complement samples, lowest byte first.
    Little24,
    /// Format 32: 32-bit two's complement samples, lowest byte first.
    Little32,
}

/// What the standard lets a header leave out.
const DEFAULT_FRAME_RATE_HZ: f64 = 250.0;
const DEFAULT_GAIN: f64 = 200.0;
const DEFAULT_UNIT: &str = "mV";
/// What stands for no unit.
pub(super) const NO_UNIT: &str = "NU";

/// A line of the header, for its errors.
struct Line<'a> {
    path: &'a Path,
    number: usize,
}

impl Line<'_> {
    fn error(&self, reason: impl std::fmt::Display) -> SourceError {
        format_error(self.path, format_args!("line {}", self.number), reason)
    }

    fn number<T: std::str::FromStr>(&self, what: &str, text: &str) -> Result<T, SourceError> {
        text.parse().map_err(|_| self.error(format_args!("{what} {text:?} is not a number that fits")))
    }
}

/// Parses the header at `path`.
pub(super) fn parse(path: &Path, text: &str) -> Result<Header, SourceError> {
    let mut lines = text
        .lines()
        .enumerate()
        .map(|(i, text)| (Line { path, number: i + 1 }, text.trim()))
        .filter(|(_, text)| !text.is_empty() && !text.starts_with('#'));
    let Some((line, record)) = lines.next() else {
        return Err(format_error(path, "header", "has no record line"));
    };
    let (mut header, signal_count) = parse_record(&line, record)?;
    for (line, text) in lines.by_ref().take(signal_count) {
        header.signals.push(parse_signal(&line, text)?);
    }
    if header.signals.len() < signal_count {
        let reason = format!("says {signal_count} signals, but describes {}", header.signals.len());
        return Err(line.error(reason));
    }
    if let Some((line, text)) = lines.next() {
        return Err(line.error(format_args!("{text:?} comes after the last of {signal_count} signals")));
    }
    Ok(header)
}

/// `name[/segments] signals [frequency[/counter[(base)]] [samples [time [date]]]]`.
fn parse_record(line: &Line<'_>, text: &str) -> Result<(Header, usize), SourceError> {
    let mut fields = text.split_ascii_whitespace();
    if fields.next().is_some_and(|name| name.contains('/')) {
        return Err(line.error("is a record of several segments: open the segments one by one"));
    }
    let signals = fields.next().ok_or_else(|| line.error("does not say how many signals there are"))?;
    let signals = line.number("the number of signals", signals)?;
    if signals == 0 {
        return Err(line.error("is a record without signals"));
    }
    check_channels(line.path, format_args!("line {}", line.number), signals)?;
    let frame_rate_hz = match fields.next().and_then(|field| field.split('/').next()) {
        Some(rate) => line.number("the sampling frequency", rate)?,
        None => DEFAULT_FRAME_RATE_HZ,
    };
    check_rate(line.path, format_args!("line {}", line.number), frame_rate_hz)?;
    let frames = match fields.next() {
        Some(samples) => Some(line.number("the number of samples", samples)?).filter(|samples| *samples > 0),
        None => None,
    };
    let since_midnight_ns = match fields.next() {
        Some(time) => {
            parse_time(time).ok_or_else(|| line.error(format_args!("{time:?} is no time of day")))?
        }
        None => 0,
    };
    let midnight_ns = match fields.next() {
        Some(date) => Some(
            parse_date(date).ok_or_else(|| line.error(format_args!("{date:?} is no date as DD/MM/YYYY")))?,
        ),
        None => None,
    };
    let start_ns = midnight_ns.map(|midnight| midnight.saturating_add(since_midnight_ns));
    Ok((Header { frame_rate_hz, frames, start_ns, signals: Vec::new() }, signals))
}

/// `HH:MM:SS[.fraction]`; hours and minutes may be left out.
fn parse_time(text: &str) -> Option<i64> {
    let mut parts = text.rsplit(':');
    let seconds: f64 = parts.next()?.parse().ok()?;
    let minutes: i64 = parts.next().map_or(Some(0), |part| part.parse().ok())?;
    let hours: i64 = parts.next().map_or(Some(0), |part| part.parse().ok())?;
    let valid = (0.0..60.0).contains(&seconds) && (0..60).contains(&minutes) && (0..24).contains(&hours);
    (valid && parts.next().is_none())
        .then(|| (hours * 60 + minutes) * 60 * NANOS_PER_SECOND + (seconds * 1e9).round() as i64)
}

/// Midnight of `DD/MM/YYYY`.
fn parse_date(text: &str) -> Option<i64> {
    let mut parts = text.split('/');
    let day = parts.next()?.parse().ok()?;
    let month = parts.next()?.parse().ok()?;
    let year = parts.next()?.parse().ok()?;
    Civil { year, month, day, ..Civil::default() }.unix_ns().filter(|_| parts.next().is_none())
}

/// `file format[xN][:skew][+offset] [gain[(baseline)][/unit] [resolution [zero [initial [checksum [block
/// [description]]]]]]]`.
fn parse_signal(line: &Line<'_>, text: &str) -> Result<Signal, SourceError> {
    let mut rest = text;
    let mut field = || {
        let (field, after) = rest.split_once(|c: char| c.is_ascii_whitespace()).unwrap_or((rest, ""));
        rest = after.trim_start();
        (!field.is_empty()).then_some(field)
    };
    let file = field().unwrap_or_default();
    if file.contains(['/', '\\', '\0']) || ["", "-", "~", ".", ".."].contains(&file) {
        return Err(line.error(format_args!("{file:?} is not the name of a file beside the header")));
    }
    let format = field().ok_or_else(|| line.error("does not say the format of the signal"))?;
    let (encoding, samples_per_frame, byte_offset) = parse_format(line, format)?;
    let gain = field();
    let _resolution = field();
    let zero = match field() {
        Some(zero) => line.number::<i32>("the ADC zero", zero)?,
        None => 0,
    };
    let _initial_value = field();
    let checksum = match field() {
        // Written signed by some programs and unsigned by others.
        Some(checksum) => Some(line.number::<i64>("the checksum", checksum)? as u16),
        None => None,
    };
    let _block_size = field();
    let (gain, baseline, unit) = parse_gain(line, gain.unwrap_or_default(), zero)?;
    Ok(Signal {
        file: file.to_owned(),
        encoding,
        samples_per_frame,
        byte_offset,
        gain,
        baseline,
        unit,
        checksum,
        description: rest.trim().to_owned(),
    })
}

/// `format[xN][:skew][+offset]`.
fn parse_format(line: &Line<'_>, text: &str) -> Result<(Encoding, usize, u64), SourceError> {
    let (text, byte_offset) = match text.split_once('+') {
        Some((text, offset)) => (text, line.number("the byte offset", offset)?),
        None => (text, 0),
    };
    let (text, skew) = match text.split_once(':') {
        Some((text, skew)) => (text, line.number::<i64>("the skew", skew)?),
        None => (text, 0),
    };
    if skew != 0 {
        return Err(line.error("has a skew between signals, which is not read: remove it with WFDB's xform"));
    }
    let (format, samples_per_frame) = match text.split_once('x') {
        Some((format, samples)) => (format, line.number("the number of samples per frame", samples)?),
        None => (text, 1),
    };
    check_channels(line.path, format_args!("line {}: samples per frame", line.number), samples_per_frame)?;
    let encoding = Encoding::of(format).ok_or_else(|| {
        line.error(format_args!("format {format:?} is not read: known are 212, 16, 24 and 32"))
    })?;
    Ok((encoding, samples_per_frame, byte_offset))
}

/// `gain[(baseline)][/unit]`; a signal that is not calibrated has the standard's gain.
fn parse_gain(line: &Line<'_>, text: &str, zero: i32) -> Result<(f64, f64, String), SourceError> {
    let (text, unit) = text.split_once('/').unwrap_or((text, DEFAULT_UNIT));
    let (gain, baseline) = match text.split_once('(') {
        Some((gain, baseline)) => (gain, line.number("the baseline", baseline.trim_end_matches(')'))?),
        None => (text, zero),
    };
    let gain = if gain.is_empty() { 0.0 } else { line.number("the gain", gain)? };
    if !f64::is_finite(gain) {
        return Err(line.error(format_args!("a gain of {gain} is not finite")));
    }
    let gain = if gain == 0.0 { DEFAULT_GAIN } else { gain };
    let unit = if unit == NO_UNIT { "" } else { unit };
    Ok((gain, baseline.into(), unit.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_text(text: &str) -> Result<Header, String> {
        parse(Path::new("r.hea"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn every_field_is_read() {
        let header = parse_text(
            "# made by hand\n\
             r 2 360/720(10.5) 650000 12:30:15.250 29/02/2024\r\n\
             r.dat 212x2+512 100(-5)/uV 11 1024 995 -22131 0 MLII modified  lead\n\
             r.dat 212x2+512\n\
             # 69 M\n",
        )
        .unwrap();
        assert_eq!(header.frame_rate_hz, 360.0);
        assert_eq!(header.frames, Some(650_000));
        assert_eq!(header.start_ns, Some(1_709_209_815_250_000_000));
        let described = Signal {
            file: "r.dat".into(),
            encoding: Encoding::Packed12,
            samples_per_frame: 2,
            byte_offset: 512,
            gain: 100.0,
            baseline: -5.0,
            unit: "uV".into(),
            checksum: Some(43405),
            description: "MLII modified  lead".into(),
        };
        let bare = Signal {
            gain: 200.0,
            baseline: 0.0,
            unit: "mV".into(),
            checksum: None,
            description: String::new(),
            ..parse_text("r 1\nr.dat 212x2+512").unwrap().signals.remove(0)
        };
        assert_eq!(header.signals, [described, bare]);
    }

    #[test]
    fn what_is_left_out_has_the_standards_values() {
        let header = parse_text("r 1\nr.dat 16 0/mmHg 12 7").unwrap();
        assert_eq!((header.frame_rate_hz, header.frames, header.start_ns), (250.0, None, None));
        let signal = &header.signals[0];
        assert_eq!((signal.gain, signal.baseline, signal.unit.as_str()), (200.0, 7.0, "mmHg"));
        assert_eq!(parse_text("r 1 250 0\nr.dat 16").unwrap().frames, None);
        assert_eq!(parse_text("r 1 250 0 10:00:00\nr.dat 16").unwrap().start_ns, None);
    }

    #[test]
    fn nonsense_is_refused_with_its_line() {
        for (text, reason) in [
            ("", "has no record line"),
            ("# only\n\n", "has no record line"),
            ("r", "line 1: does not say how many signals"),
            ("r 0", "line 1: is a record without signals"),
            ("r -1", "line 1: the number of signals \"-1\" is not a number"),
            ("r 99999999999", "line 1"),
            ("r 5000", "5000 channels are not between 1 and 4096"),
            ("r/3 2", "several segments"),
            ("r 1 0\nr.dat 16", "line 1: a sample rate of 0 Hz"),
            ("r 1 NaN\nr.dat 16", "line 1: a sample rate of NaN Hz"),
            ("r 1 1e300\nr.dat 16", "is not between"),
            ("r 1 360 -4\nr.dat 16", "the number of samples"),
            ("r 1 360 10 25:00:00\nr.dat 16", "is no time of day"),
            ("r 1 360 10 1:00:00 31/02/2020\nr.dat 16", "is no date"),
            ("r 2\nr.dat 16", "line 1: says 2 signals, but describes 1"),
            ("r 1\nr.dat 16\nr.dat 16", "line 3: \"r.dat 16\" comes after the last"),
            ("r 1\nr.dat", "line 2: does not say the format"),
            ("r 1\nr.dat 80", "line 2: format \"80\" is not read: known are 212, 16, 24 and 32"),
            ("r 1\nr.dat 16:3", "skew"),
            ("r 1\nr.dat 16x0", "0 channels"),
            ("r 1\n../r.dat 16", "line 2: \"../r.dat\" is not the name of a file beside the header"),
            ("r 1\n/etc/passwd 16", "is not the name of a file"),
            ("r 1\n.. 16", "is not the name of a file"),
            ("r 1\n- 16", "is not the name of a file"),
            ("r 1\nr.dat 16 fast", "the gain"),
            ("r 1\nr.dat 16 inf", "is not finite"),
            ("r 1\nr.dat 16 200(x)", "the baseline"),
            ("r 1\nr.dat 16 200 12 zero", "the ADC zero"),
        ] {
            let error = parse_text(text).unwrap_err();
            assert!(error.contains(reason), "{text:?}: {error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[ -~\n]{0,200}") {
            let _ = parse_text(&text);
        }

        #[test]
        fn any_fields_are_read_or_refused(
            record in "r [0-3] [0-9/().e-]{1,8} [0-9]{1,20} [0-9:.]{1,12} [0-9/]{1,12}",
            signal in "a [0-9]{1,3}x?[0-9:+]{0,9} [0-9().e/m-]{0,12} [0-9-]{1,12} [0-9-]{1,12} 0 [0-9-]{1,20}",
        ) {
            let _ = parse_text(&format!("{record}\n{signal}"));
        }
    }
}
