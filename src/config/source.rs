//! `[source]`: where samples come from.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use super::section::{Kind, Positive, Refused, Report, Section, read_kind};
use super::value::Value;
use crate::signal::SampleType;

const MAX_CHANNELS: usize = 4096;

/// The source's type and its options.
#[derive(Clone, Debug, PartialEq)]
pub enum SourceConfig {
    /// `file`: a recording.
    File(FileSourceConfig),
}

/// A recording on disk.
#[derive(Clone, Debug, PartialEq)]
pub struct FileSourceConfig {
    /// The recording; for WFDB its header.
    pub path: PathBuf,
    /// How to read it.
    pub format: RecordingFormat,
}

/// The format of a recording, with what the recording does not say of itself.
#[derive(Clone, Debug, PartialEq)]
pub enum RecordingFormat {
    /// `wfdb`: a PhysioNet header beside its signal files; says everything of itself.
    Wfdb,
    /// `csv`: a text table, one row per sample and one column per channel.
    Csv(CsvFormat),
    /// `raw`: samples without a header, channels interleaved.
    Raw(RawFormat),
}

/// What a CSV file does not say of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct CsvFormat {
    /// Samples per second and channel; none only where there is a time column to tell it.
    pub sample_rate_hz: Option<Positive>,
    /// Columns with samples, where their number is to be checked.
    pub channels: Option<NonZeroUsize>,
    /// The type whose bits count as the input's size and to which decoded samples are rounded.
    pub sample_type: SampleType,
    /// The header of the column with times; the other columns are channels.
    pub time_column: Option<String>,
    /// The ASCII character between columns.
    pub delimiter: u8,
}

/// What a raw file does not say of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct RawFormat {
    /// Samples per second and channel.
    pub sample_rate_hz: Positive,
    /// Channels, interleaved sample by sample.
    pub channels: NonZeroUsize,
    /// How a sample is stored.
    pub sample_type: SampleType,
    /// The order of a sample's bytes.
    pub endian: Endian,
}

/// The order of the bytes of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endian {
    /// The lowest byte first.
    Little,
    /// The highest byte first.
    Big,
}

pub(super) const KINDS: &[Kind<SourceConfig>] = &[Kind {
    name: "file",
    keys: &[
        "type",
        "path",
        "format",
        "sample_rate_hz",
        "channels",
        "sample_type",
        "endian",
        "time_column",
        "delimiter",
    ],
    read: |section| read_file(section).map(SourceConfig::File),
}];

pub(super) fn read(value: Value, report: &Report<'_>) -> Result<SourceConfig, Refused> {
    read_kind("source", value, KINDS, report)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FormatName {
    Wfdb,
    Csv,
    Raw,
}

impl FormatName {
    fn as_str(self) -> &'static str {
        match self {
            Self::Wfdb => "wfdb",
            Self::Csv => "csv",
            Self::Raw => "raw",
        }
    }

    /// The format that the end of a file's name tells.
    fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "hea" => Some(Self::Wfdb),
            "csv" => Some(Self::Csv),
            _ => None,
        }
    }
}

fn read_file(section: &mut Section<'_>) -> Result<FileSourceConfig, Refused> {
    let formats = [FormatName::Wfdb, FormatName::Csv, FormatName::Raw].map(|name| (name.as_str(), name));
    let path = section.path("path");
    let path = section.required("path", path);
    let named = section.choice("format", &formats);
    let options = Options::read(section);
    let path = path?;
    let Some(name) = named?.or_else(|| FormatName::of(&path)) else {
        return Err(section.refuse(
            "format",
            "missing: the name of the file does not tell it (.hea, .csv); one of wfdb, csv, raw",
        ));
    };
    let format = options.of_format(name, section)?;
    Ok(FileSourceConfig { path, format })
}

type Given<T> = Result<Option<T>, Refused>;

/// The options of all formats, as far as they are given.
struct Options {
    sample_rate_hz: Given<Positive>,
    channels: Given<NonZeroUsize>,
    sample_type: Given<SampleType>,
    endian: Given<Endian>,
    time_column: Given<String>,
    delimiter: Given<u8>,
}

impl Options {
    fn read(section: &mut Section<'_>) -> Self {
        let sample_types = [
            ("i16", SampleType::I16),
            ("i24", SampleType::I24),
            ("i32", SampleType::I32),
            ("f32", SampleType::F32),
            ("f64", SampleType::F64),
        ];
        Self {
            sample_rate_hz: section.positive("sample_rate_hz"),
            channels: section.count("channels", 1..=MAX_CHANNELS),
            sample_type: section.choice("sample_type", &sample_types),
            endian: section.choice("endian", &[("little", Endian::Little), ("big", Endian::Big)]),
            time_column: section.text("time_column"),
            delimiter: read_delimiter(section),
        }
    }

    fn of_format(self, name: FormatName, section: &Section<'_>) -> Result<RecordingFormat, Refused> {
        let Self { sample_rate_hz, channels, sample_type, endian, time_column, delimiter } = self;
        match name {
            FormatName::Wfdb => {
                let why = "a WFDB header says it itself";
                let foreign = [
                    unused(&sample_rate_hz, "sample_rate_hz", why, section),
                    unused(&channels, "channels", why, section),
                    unused(&sample_type, "sample_type", why, section),
                    unused(&endian, "endian", why, section),
                    unused(&time_column, "time_column", "only for format = \"csv\"", section),
                    unused(&delimiter, "delimiter", "only for format = \"csv\"", section),
                ];
                foreign.into_iter().collect::<Result<(), _>>()?;
                Ok(RecordingFormat::Wfdb)
            }
            FormatName::Csv => {
                let foreign = unused(&endian, "endian", "only for format = \"raw\"", section);
                let timed = !matches!(time_column, Ok(None));
                let rate = match sample_rate_hz {
                    Ok(None) if !timed => Err(section.refuse(
                        "sample_rate_hz",
                        "missing: a CSV file needs it, or a time_column that tells it",
                    )),
                    given => given,
                };
                let csv = CsvFormat {
                    sample_rate_hz: rate?,
                    channels: channels?,
                    sample_type: sample_type?.unwrap_or(SampleType::F64),
                    time_column: time_column?,
                    delimiter: delimiter?.unwrap_or(b','),
                };
                foreign.map(|()| RecordingFormat::Csv(csv))
            }
            FormatName::Raw => {
                let foreign = [
                    unused(&time_column, "time_column", "only for format = \"csv\"", section),
                    unused(&delimiter, "delimiter", "only for format = \"csv\"", section),
                ];
                let rate = section.required("sample_rate_hz", sample_rate_hz);
                let sample_type = section.required("sample_type", sample_type);
                foreign.into_iter().collect::<Result<(), _>>()?;
                Ok(RecordingFormat::Raw(RawFormat {
                    sample_rate_hz: rate?,
                    channels: channels?.unwrap_or(NonZeroUsize::MIN),
                    sample_type: sample_type?,
                    endian: endian?.unwrap_or(Endian::Little),
                }))
            }
        }
    }
}

/// Refuses an option that the format does not have.
fn unused<T>(given: &Given<T>, key: &str, why: &str, section: &Section<'_>) -> Result<(), Refused> {
    match given {
        Ok(None) => Ok(()),
        Ok(Some(_)) => Err(section.refuse(key, format!("not an option here: {why}"))),
        Err(refused) => Err(*refused),
    }
}

fn read_delimiter(section: &mut Section<'_>) -> Given<u8> {
    let Some(text) = section.text("delimiter")? else { return Ok(None) };
    match text.as_bytes() {
        [byte]
            if byte.is_ascii()
                && !matches!(byte, b'"' | b'\n' | b'\r' | 0)
                && !byte.is_ascii_alphanumeric() =>
        {
            Ok(Some(*byte))
        }
        _ => Err(section.refuse(
            "delimiter",
            format!("expected one ASCII character such as \",\", \";\" or \"\\t\", found the text {text:?}"),
        )),
    }
}
