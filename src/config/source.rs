//! `[source]`: where samples come from.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use super::section::{Kind, Positive, Refused, Report, Section, read_kind};
use super::value::{Value, describe_text};
use crate::signal::SampleType;

const MAX_CHANNELS: usize = 4096;

/// The source's type and its options.
#[derive(Clone, Debug, PartialEq)]
pub enum SourceConfig {
    /// `file`: a recording.
    File(FileSourceConfig),
}

/// A recording on disk. What is `None` is read off the recording.
#[derive(Clone, Debug, PartialEq)]
pub struct FileSourceConfig {
    /// The recording; for WFDB its header.
    pub path: PathBuf,
    /// How to read it.
    pub format: Option<RecordingFormat>,
    /// Samples per second and channel.
    pub sample_rate_hz: Option<Positive>,
    /// Channels in the recording.
    pub channels: Option<NonZeroUsize>,
    /// How a sample is stored, and what decoded samples are rounded to.
    pub sample_type: Option<SampleType>,
    /// The order of a sample's bytes; none where `format` is not raw.
    pub endian: Option<Endian>,
    /// What only CSV files need; empty where `format` is another.
    pub csv: CsvConfig,
}

/// The format of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordingFormat {
    /// `wfdb`: a PhysioNet header beside its signal files.
    Wfdb,
    /// `csv`: a text table, one row per instant and one column per channel.
    Csv,
    /// `raw`: samples without a header, channels interleaved.
    Raw,
}

/// How to read a CSV file. What is `None` is read off its first line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CsvConfig {
    /// The column with times: its name, or its place counted from 0. Not empty.
    pub time_column: Option<String>,
    /// The character between columns: ASCII, and none that a number or a quoted text may have.
    pub delimiter: Option<char>,
    /// Whether the first line names the columns.
    pub header: Option<bool>,
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
        "header",
    ],
    read: |section| read_file(section).map(SourceConfig::File),
}];

pub(super) fn read(value: Value, report: &Report<'_>) -> Result<SourceConfig, Refused> {
    read_kind("source", value, KINDS, report)
}

fn read_file(section: &mut Section<'_>) -> Result<FileSourceConfig, Refused> {
    let formats =
        [("wfdb", RecordingFormat::Wfdb), ("csv", RecordingFormat::Csv), ("raw", RecordingFormat::Raw)];
    let path = section.path("path");
    let path = section.required("path", path);
    let format = section.choice("format", &formats);
    let sample_rate_hz = section.positive("sample_rate_hz");
    let channels = section.count("channels", 1..=MAX_CHANNELS);
    let sample_type = section.choice("sample_type", &SampleType::ALL.map(|kind| (name_of(kind), kind)));
    let endian = section.choice("endian", &[("little", Endian::Little), ("big", Endian::Big)]);
    let time_column = read_time_column(section);
    let delimiter = read_delimiter(section);
    let header = section.flag("header");

    if let Ok(Some(format)) = format {
        let refuse_unless = |wanted, key, given: bool| {
            if given && format != wanted {
                let name = formats.iter().find(|(_, format)| *format == wanted).map_or("", |(name, _)| name);
                section.refuse(key, format!("only for format = \"{name}\""));
            }
        };
        refuse_unless(RecordingFormat::Raw, "endian", matches!(endian, Ok(Some(_))));
        refuse_unless(RecordingFormat::Csv, "time_column", matches!(time_column, Ok(Some(_))));
        refuse_unless(RecordingFormat::Csv, "delimiter", matches!(delimiter, Ok(Some(_))));
        refuse_unless(RecordingFormat::Csv, "header", matches!(header, Ok(Some(_))));
    }
    Ok(FileSourceConfig {
        path: path?,
        format: format?,
        sample_rate_hz: sample_rate_hz?,
        channels: channels?,
        sample_type: sample_type?,
        endian: endian?,
        csv: CsvConfig { time_column: time_column?, delimiter: delimiter?, header: header? },
    })
}

fn name_of(sample_type: SampleType) -> &'static str {
    match sample_type {
        SampleType::I16 => "i16",
        SampleType::I24 => "i24",
        SampleType::I32 => "i32",
        SampleType::F32 => "f32",
        SampleType::F64 => "f64",
    }
}

fn read_time_column(section: &mut Section<'_>) -> Result<Option<String>, Refused> {
    match section.text("time_column")? {
        Some(name) if name.is_empty() => Err(section.refuse("time_column", "is empty: name the column")),
        name => Ok(name),
    }
}

fn read_delimiter(section: &mut Section<'_>) -> Result<Option<char>, Refused> {
    let Some(text) = section.text("delimiter")? else { return Ok(None) };
    let mut characters = text.chars();
    match (characters.next(), characters.next()) {
        (Some(character), None) if separates(character) => Ok(Some(character)),
        _ => Err(section.refuse(
            "delimiter",
            format!("expected one character such as \",\", \";\" or \"\\t\", found {}", describe_text(&text)),
        )),
    }
}

/// True for a character that stands neither in a number nor in the quotes or the end of a line.
fn separates(character: char) -> bool {
    character == '\t'
        || character == ' '
        || (character.is_ascii_punctuation() && !matches!(character, '"' | '.' | '+' | '-'))
}
