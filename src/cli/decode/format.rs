//! The formats that `rivulet decode` writes.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::output::Column;
use super::usage;
use crate::cli::CliError;
use crate::signal::SampleType;
use crate::source::file::write::{DoesNotFit, EdfWriter, RowWriter, WavWriter, WfdbWriter, WrittenColumn};

/// How samples are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// A header with the columns' names, then a row a sample; lost samples are empty.
    Csv,
    /// Little endian, columns interleaved, in the stream's sample type; lost samples are 0 for counts and NaN
    /// for floats.
    Raw,
    /// A WAVE file in the stream's sample type; lost samples as in raw.
    Wav,
    /// An EDF+ file of 16-bit counts with their physical range; lost samples repeat the last one.
    Edf,
    /// A BDF+ file of 24-bit counts, as edf.
    Bdf,
    /// A WFDB record of counts with gain and baseline: FILE.hea and FILE.dat; lost samples are marked as missing.
    Wfdb,
}

impl Format {
    /// The format that an output's extension stands for.
    pub(super) fn of(path: &Path) -> Result<Self, CliError> {
        let text = path.as_os_str().to_string_lossy();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("csv") => Ok(Self::Csv),
            Some("raw" | "bin" | "dat") => Ok(Self::Raw),
            Some("wav") => Ok(Self::Wav),
            Some("edf") => Ok(Self::Edf),
            Some("bdf") => Ok(Self::Bdf),
            Some("hea") => Ok(Self::Wfdb),
            _ if path.is_dir() || text.ends_with('/') || text == "-" => Ok(Self::Csv),
            _ => Err(usage(format_args!(
                "{text}: the extension does not say how to write; name it .csv, .raw, .wav, .edf, .bdf or .hea, or give \
                 --format"
            ))),
        }
    }

    pub(super) fn extension(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Raw => "raw",
            Self::Wav => "wav",
            Self::Edf => "edf",
            Self::Bdf => "bdf",
            Self::Wfdb => "hea",
        }
    }

    /// The file that holds the samples.
    pub(super) fn data_path(self, path: &Path) -> PathBuf {
        match self {
            Self::Wfdb => path.with_extension("dat"),
            _ => path.to_owned(),
        }
    }

    /// Why an output in this format cannot have this path, or physical values.
    pub(super) fn misfit(self, path: &Path, physical: bool) -> Option<String> {
        let name = self.extension();
        let counts = matches!(self, Self::Edf | Self::Bdf | Self::Wfdb);
        let stem = || path.file_stem().unwrap_or_default().to_string_lossy();
        if path.as_os_str() == "-" && (counts || self == Self::Wav) {
            Some(format!("{name} says in front how much there is: write it to a file"))
        } else if counts && physical {
            Some(format!("{name} holds counts with their physical range beside them: leave --physical out"))
        } else if self == Self::Wfdb && path.extension().is_none_or(|extension| extension != "hea") {
            Some(format!("{}: a WFDB record is named by its header: FILE.hea", path.display()))
        } else if self == Self::Wfdb && stem().contains(char::is_whitespace) {
            Some(format!("{}: the name of a WFDB record has no spaces", path.display()))
        } else {
            None
        }
    }

    /// What writes rows of these columns.
    pub(super) fn writer(self, columns: &[Column]) -> Result<Box<dyn RowWriter>, DoesNotFit> {
        let rate_hz = columns.first().map_or(1.0, |column| column.sample_rate_hz);
        let written: Vec<WrittenColumn> = columns.iter().map(Column::written).collect();
        Ok(match self {
            Self::Csv => Box::new(CsvWriter { columns: written }),
            Self::Raw => Box::new(RawWriter { columns: written }),
            Self::Wav => Box::new(WavWriter::new(&written, rate_hz)?),
            Self::Edf => Box::new(EdfWriter::new(&written, rate_hz, SampleType::I16)?),
            Self::Bdf => Box::new(EdfWriter::new(&written, rate_hz, SampleType::I24)?),
            Self::Wfdb => Box::new(WfdbWriter::new(&written, rate_hz)?),
        })
    }
}

struct CsvWriter {
    columns: Vec<WrittenColumn>,
}

impl RowWriter for CsvWriter {
    fn front(&self) -> Vec<u8> {
        let names: Vec<String> = self.columns.iter().map(|column| quoted(&column.name)).collect();
        (names.join(",") + "\n").into_bytes()
    }

    fn row(&mut self, row: &[Option<f64>], bytes: &mut Vec<u8>) {
        for (index, (column, value)) in self.columns.iter().zip(row).enumerate() {
            if index > 0 {
                bytes.push(b',');
            }
            if let Some(value) = value {
                // The shortest text that reads back as the same number; counts have no point. Writing to memory does
                // not fail.
                let _ = match column.sample_type {
                    SampleType::F32 => write!(bytes, "{}", *value as f32),
                    _ => write!(bytes, "{value}"),
                };
            }
        }
        bytes.push(b'\n');
    }
}

struct RawWriter {
    columns: Vec<WrittenColumn>,
}

impl RowWriter for RawWriter {
    fn front(&self) -> Vec<u8> {
        Vec::new()
    }

    fn row(&mut self, row: &[Option<f64>], bytes: &mut Vec<u8>) {
        for (column, value) in self.columns.iter().zip(row) {
            let lost = if column.sample_type.is_integer() { 0.0 } else { f64::NAN };
            column.sample_type.push_le(value.unwrap_or(lost), bytes);
        }
    }
}

/// A CSV cell, quoted where it must be (RFC 4180).
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}
