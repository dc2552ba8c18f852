//! `[source]`: where samples come from.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use super::decoding;
use super::follow::{self, FollowSourceConfig};
use super::kafka::{self, KafkaSourceConfig};
use super::rules::plain;
use super::section::{Kind, Positive, Refused, Report, Section, read_kind};
use super::serial;
use super::value::{Value, describe_text};
use crate::signal::SampleType;
use crate::sink::PathTemplate;
use crate::source::decoding::{Codec, DecodingOptions};
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

/// Recordings in files.
#[derive(Clone, Debug, PartialEq)]
pub struct FileSourceConfig {
    /// The recordings, at least one: paths and patterns, for WFDB of headers; `-`, which stands alone, is standard
    /// input.
    pub paths: Vec<PathBuf>,
    /// How to read it. The sample rate is positive, the channels at least 1; the delimiter is ASCII, and none
    /// that a number or a quoted text may have.
    pub options: FileOptions,
}

/// True if what is written to `written` is the file or one that the pattern matches.
pub(super) fn reads(path: &Path, written: &PathTemplate) -> bool {
    let path = plain(path);
    written.overlaps(&PathTemplate::of_path(&path)) || written.overlaps_pattern(&path)
}

impl FileSourceConfig {
    /// True if what is written to `written` is one of the recordings, or would be if it were there.
    pub(crate) fn reads(&self, written: &PathTemplate) -> bool {
        self.paths.iter().any(|own| reads(own, written))
    }

    /// True if the recording comes over standard input.
    pub(crate) fn reads_stdin(&self) -> bool {
        self.paths.iter().any(|path| path.as_os_str() == "-")
    }
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
            "models",
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
    let paths = read_paths(section);
    let format = section.choice("format", &Format::ALL);
    let sample_rate_hz = section.positive("sample_rate_hz");
    let channels = section.count("channels", 1..=MAX_CHANNELS);
    let sample_type = section.choice("sample_type", &SampleType::ALL.map(|kind| (name_of(kind), kind)));
    let endian = section.choice("endian", &[("little", Endian::Little), ("big", Endian::Big)]);
    let time_column = read_time_column(section);
    let delimiter = read_delimiter(section);
    let header = section.flag("header");

    let decoding = read_decoding(section);
    let models = read_models(section);

    // What the options are for is known where the format is given, or one extension says it.
    let known = match (&format, &paths) {
        (Ok(Some(format)), _) => Some(*format),
        (Ok(None), Ok(paths)) => {
            let mut formats = paths.iter().map(|path| Format::of(path));
            let first = formats.next().flatten();
            first.filter(|first| formats.all(|format| format == Some(*first)))
        }
        _ => None,
    };
    if let Some(format) = known {
        let refuse_unless = |wanted, key, given: bool| {
            if given && format != wanted {
                section.refuse(key, format!("only for format = \"{}\"", name_of_format(wanted)));
            }
        };
        refuse_unless(Format::Raw, "endian", matches!(endian, Ok(Some(_))));
        refuse_unless(Format::Csv, "time_column", matches!(time_column, Ok(Some(_))));
        refuse_unless(Format::Csv, "delimiter", matches!(delimiter, Ok(Some(_))));
        refuse_unless(Format::Csv, "header", matches!(header, Ok(Some(_))));
        if matches!(decoding, Ok(Some(_))) && format != Format::Jsonl {
            section.refuse("decoding", "only for format = \"jsonl\", or with follow = true");
        }
        refuse_unless(Format::Rvl, "models", matches!(models, Ok(Some(_))));
        let given = [
            ("sample_rate_hz", matches!(sample_rate_hz, Ok(Some(_)))),
            ("channels", matches!(channels, Ok(Some(_)))),
            ("sample_type", matches!(sample_type, Ok(Some(_)))),
        ];
        for (key, _) in given.iter().filter(|(_, given)| *given) {
            match format {
                Format::Jsonl => drop(section.refuse(key, "goes into source.decoding")),
                Format::Rvl => drop(section.refuse(key, "packets say it themselves: leave it out")),
                _ => {}
            }
        }
        if format == Format::Jsonl && matches!(decoding, Ok(None)) {
            section.refuse("decoding", "missing: JSON lines need a table with codec = \"json\"");
        }
    }
    if let (Ok(paths), Ok(None)) = (&paths, &format)
        && paths.iter().any(|path| path.as_os_str() == "-")
    {
        section.refuse("format", "missing: standard input has no extension that says it");
    }
    Ok(FileSourceConfig {
        paths: paths?,
        options: FileOptions {
            format: format?,
            sample_rate_hz: sample_rate_hz?.map(Positive::get),
            channels: channels?.map(NonZeroUsize::get),
            sample_type: sample_type?,
            endian: endian?,
            csv: CsvOptions { time_column: time_column?, delimiter: delimiter?, header: header? },
            decoding: decoding?,
            models: models?.unwrap_or(FileOptions::default().models),
            ..FileOptions::default()
        },
    })
}

fn read_paths(section: &mut Section<'_>) -> Result<Vec<PathBuf>, Refused> {
    let paths = section.paths("path");
    let paths = section.required("path", paths)?;
    if paths.is_empty() {
        return Err(section.refuse("path", "is empty: name a recording"));
    }
    let stdin = paths.iter().position(|path| path.as_os_str() == "-");
    if let (Some(stdin), 2..) = (stdin, paths.len()) {
        return Err(section.refuse_item("path", stdin, "standard input is read alone"));
    }
    Ok(paths)
}

/// `[source.decoding]` of JSON lines.
fn read_decoding(section: &mut Section<'_>) -> Result<Option<Box<DecodingOptions>>, Refused> {
    let Some(value) = section.value("decoding")? else { return Ok(None) };
    let path = section.key("decoding");
    let decoding = decoding::read(&path, value, section.report())?;
    match decoding.codec {
        Codec::Json(_) => Ok(Some(Box::new(decoding))),
        _ => {
            Err(section.report().refuse(&format!("{path}.codec"), "lines of a file are decoded as \"json\""))
        }
    }
}

fn read_models(section: &mut Section<'_>) -> Result<Option<Vec<PathBuf>>, Refused> {
    match section.texts("models")? {
        Some(models) if models.is_empty() => Err(section.refuse("models", "is empty: name a directory")),
        models => Ok(models.map(|models| models.into_iter().map(PathBuf::from).collect())),
    }
}

fn name_of_format(format: Format) -> &'static str {
    Format::ALL.iter().find(|(_, other)| *other == format).map_or("", |(name, _)| name)
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
