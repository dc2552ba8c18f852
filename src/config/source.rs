//! `[source]`: where samples come from.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use super::follow::{self, FollowSourceConfig};
use super::kafka::{self, KafkaSourceConfig};
use super::section::{Kind, Positive, Refused, Report, Section, read_kind};
use super::serial;
use super::value::{Value, describe_text};
use crate::signal::SampleType;
use crate::source::file::{CsvOptions, Endian, FileOptions, Format};
use crate::source::serial::SerialOptions;

pub(super) const MAX_CHANNELS: usize = 4096;

/// The source's type and its options.
#[derive(Clone, Debug, PartialEq)]
pub enum SourceConfig {
    /// `file`: a recording.
    File(FileSourceConfig),
    /// `file` with `follow = true`: files that grow.
    Follow(Box<FollowSourceConfig>),
    /// `kafka`: topics.
    Kafka(Box<KafkaSourceConfig>),
    /// `serial`: a serial port.
    Serial(Box<SerialOptions>),
}

/// A recording on disk.
#[derive(Clone, Debug, PartialEq)]
pub struct FileSourceConfig {
    /// The recording; for WFDB its header.
    pub path: PathBuf,
    /// How to read it. The sample rate is positive, the channels at least 1; the delimiter is ASCII, and none
    /// that a number or a quoted text may have.
    pub options: FileOptions,
}

pub(super) const KINDS: &[Kind<SourceConfig>] = &[
    Kind {
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
            "follow",
            "start",
            "decoding",
        ],
        read: |section| match section.flag("follow")?.unwrap_or(false) {
            true => follow::read(section).map(|source| SourceConfig::Follow(Box::new(source))),
            false => {
                follow::refuse_keys(section);
                read_file(section).map(SourceConfig::File)
            }
        },
    },
    Kind {
        name: "kafka",
        keys: kafka::SOURCE_KEYS,
        read: |section| kafka::read_source(section).map(|source| SourceConfig::Kafka(Box::new(source))),
    },
    Kind {
        name: "serial",
        keys: serial::SOURCE_KEYS,
        read: |section| serial::read_source(section).map(|source| SourceConfig::Serial(Box::new(source))),
    },
];

pub(super) fn read(value: Value, report: &Report<'_>) -> Result<SourceConfig, Refused> {
    read_kind("source", value, KINDS, report)
}

fn read_file(section: &mut Section<'_>) -> Result<FileSourceConfig, Refused> {
    let formats = [("wfdb", Format::Wfdb), ("csv", Format::Csv), ("raw", Format::Raw)];
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
        refuse_unless(Format::Raw, "endian", matches!(endian, Ok(Some(_))));
        refuse_unless(Format::Csv, "time_column", matches!(time_column, Ok(Some(_))));
        refuse_unless(Format::Csv, "delimiter", matches!(delimiter, Ok(Some(_))));
        refuse_unless(Format::Csv, "header", matches!(header, Ok(Some(_))));
    }
    Ok(FileSourceConfig {
        path: path?,
        options: FileOptions {
            format: format?,
            sample_rate_hz: sample_rate_hz?.map(Positive::get),
            channels: channels?.map(NonZeroUsize::get),
            sample_type: sample_type?,
            endian: endian?,
            csv: CsvOptions { time_column: time_column?, delimiter: delimiter?, header: header? },
            ..FileOptions::default()
        },
    })
}

pub(super) fn name_of(sample_type: SampleType) -> &'static str {
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

pub(super) fn read_delimiter(section: &mut Section<'_>) -> Result<Option<char>, Refused> {
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
