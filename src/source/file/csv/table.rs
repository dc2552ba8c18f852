//! The lines of a CSV file and the numbers in them.

use std::path::Path;

use crate::signal::SampleType;
use crate::source::SourceError;
use crate::source::cells::{DECIMAL_COMMA, cells, fit, has_decimal_comma, number, quoted};
use crate::source::file::lines::Lines;
use crate::source::file::{FileOptions, channel_names, check_channels, check_option, format_error};
use crate::source::time::{decimal_ns, timestamp_ns};

/// A CSV file, read row by row.
pub(super) struct Table {
    lines: Lines,
    delimiter: u8,
    columns: Vec<Column>,
    sample_type: Option<SampleType>,
    samples: Vec<f64>,
    /// True while the first line, which is data, was not yet given.
    first_line_waits: bool,
}

enum Column {
    Time {
        /// Nanoseconds of one unit of a number.
        unit_ns: i64,
    },
    Channel {
        name: String,
    },
}

impl Table {
    /// Opens the file and finds out its columns. Samples are held to `sample_type` where it is given.
    pub(super) fn open(
        path: &Path,
        options: &FileOptions,
        sample_type: Option<SampleType>,
    ) -> Result<Self, SourceError> {
        let mut lines = Lines::open(path, "a CSV file")?;
        if !lines.next()? {
            return Err(format_error(path, "file", "has no row of samples"));
        }
        let delimiter = match options.csv.delimiter {
            Some(delimiter) => given_delimiter(path, delimiter)?,
            None => likely_delimiter(&lines.text),
        };
        let first: Vec<String> =
            cells(&lines.text, delimiter).map(|cell| String::from_utf8_lossy(cell).into_owned()).collect();
        let is_name =
            |cell: &String| !cell.is_empty() && number(cell).is_none() && timestamp_ns(cell).is_none();
        let has_header = options.csv.header.unwrap_or_else(|| first.iter().any(is_name));
        let names = if has_header { first } else { vec![String::new(); first.len()] };
        let columns = columns(path, names, options.csv.time_column.as_deref())?;
        let channels = columns.iter().filter(|column| matches!(column, Column::Channel { .. })).count();
        check_channels(path, format_args!("line {}", lines.number), channels)?;
        check_option(path, "channels", options.channels, channels)?;
        Ok(Self {
            lines,
            delimiter,
            columns,
            sample_type,
            samples: Vec::new(),
            first_line_waits: !has_header,
        })
    }

    /// The names of the channels, in the order of their columns.
    pub(super) fn channel_names(&self) -> Vec<String> {
        let given: Vec<String> = self
            .columns
            .iter()
            .filter_map(|column| match column {
                Column::Channel { name } => Some(name.clone()),
                Column::Time { .. } => None,
            })
            .collect();
        channel_names(&given)
    }

    /// Reads the next row: its time, or why it cannot be used; `None` at the end of the file.
    pub(super) fn next_row(&mut self) -> Result<Option<Result<Option<i64>, String>>, SourceError> {
        if !std::mem::take(&mut self.first_line_waits) && !self.lines.next()? {
            return Ok(None);
        }
        self.samples.clear();
        let mut time_ns = None;
        let mut refused = None;
        let mut count = 0;
        for cell in cells(&self.lines.text, self.delimiter) {
            let parsed = match self.columns.get(count) {
                Some(Column::Time { unit_ns }) => {
                    time_ns = std::str::from_utf8(cell).ok().and_then(|cell| time(cell, *unit_ns));
                    if time_ns.is_some() { Ok(()) } else { Err("a time") }
                }
                Some(Column::Channel { .. }) => {
                    sample(cell, self.sample_type).map(|sample| self.samples.push(sample))
                }
                None => Ok(()),
            };
            if let Err(expected) = parsed {
                self.refuse_decimal_comma(cell)?;
                refused.get_or_insert_with(|| {
                    format!("column {}: {} is not {expected}", count + 1, quoted(cell))
                });
            }
            count += 1;
        }
        let columns = self.columns.len();
        if count != columns {
            let hint = match self.delimiter {
                b',' if count == 2 * columns => " (numbers with a decimal comma? write them with a point)",
                _ => "",
            };
            refused = Some(format!("{count} cells, but there are {columns} columns{hint}"));
        }
        Ok(Some(match refused {
            Some(reason) => Err(reason),
            None => Ok(time_ns),
        }))
    }

    fn refuse_decimal_comma(&self, cell: &[u8]) -> Result<(), SourceError> {
        if !has_decimal_comma(cell) {
            return Ok(());
        }
        let reason = format!("{} {DECIMAL_COMMA}", quoted(cell));
        Err(format_error(&self.lines.path, format_args!("line {}", self.line()), reason))
    }

    /// The samples of the row that was read last.
    pub(super) fn samples(&self) -> &[f64] {
        &self.samples
    }

    /// Why the file ended before its time, where it did.
    pub(super) fn damage(&self) -> Option<String> {
        self.lines.damage()
    }

    /// The line that was read last, counted from 1.
    pub(super) fn line(&self) -> u64 {
        self.lines.number
    }

    /// The byte at which that line starts.
    pub(super) fn start_byte(&self) -> u64 {
        self.lines.start_byte
    }

    /// The byte after that line.
    pub(super) fn end_byte(&self) -> u64 {
        self.lines.end_byte
    }
}

/// Tells the time column from the channels.
fn columns(path: &Path, names: Vec<String>, time_column: Option<&str>) -> Result<Vec<Column>, SourceError> {
    let time = match time_column {
        Some(name) => {
            let place = names.iter().position(|other| other == name);
            let place = place.or_else(|| name.parse().ok().filter(|place| *place < names.len()));
            Some(place.ok_or_else(|| {
                let reason =
                    format!("{name:?} is neither the name of a column nor its place, counted from 0");
                format_error(path, "time_column", reason)
            })?)
        }
        None => names.iter().position(|name| is_time_name(name)),
    };
    Ok(names
        .into_iter()
        .enumerate()
        .map(|(place, name)| match time {
            Some(time) if time == place => Column::Time { unit_ns: unit_ns(&name) },
            _ => Column::Channel { name },
        })
        .collect())
}

fn is_time_name(name: &str) -> bool {
    let name = name.to_lowercase();
    let rest = name.strip_prefix("timestamp").or_else(|| name.strip_prefix("time"));
    rest.is_some_and(|rest| !rest.starts_with(char::is_alphabetic))
}

/// Nanoseconds of the unit at the end of a column's name, seconds where there is none.
fn unit_ns(name: &str) -> i64 {
    let name = name.to_lowercase();
    match name.split(|c: char| !c.is_alphanumeric()).rfind(|word| !word.is_empty()) {
        Some("ms") => 1_000_000,
        Some("us" | "µs" | "μs") => 1_000,
        Some("ns") => 1,
        _ => 1_000_000_000,
    }
}

fn time(cell: &str, unit_ns: i64) -> Option<i64> {
    decimal_ns(cell, unit_ns).or_else(|| timestamp_ns(cell))
}

/// The sample in a cell, or what it should be.
fn sample(cell: &[u8], sample_type: Option<SampleType>) -> Result<f64, &'static str> {
    let sample = std::str::from_utf8(cell).ok().and_then(number).filter(|sample| sample.is_finite());
    let sample = sample.ok_or("a finite number")?;
    sample_type.map_or(Ok(sample), |sample_type| fit(sample, sample_type))
}

fn given_delimiter(path: &Path, delimiter: char) -> Result<u8, SourceError> {
    let byte = u8::try_from(delimiter).ok().filter(|byte| byte.is_ascii());
    byte.filter(|byte| !byte.is_ascii_alphanumeric() && !b"\"\n\r.+-".contains(byte)).ok_or_else(|| {
        format_error(
            path,
            "delimiter",
            format_args!("{delimiter:?} cannot stand between numbers: try ',' or ';'"),
        )
    })
}

/// A tab or a semicolon if the line has one: commas may then be parts of names or numbers.
fn likely_delimiter(line: &[u8]) -> u8 {
    [b'\t', b';'].into_iter().find(|delimiter| line.contains(delimiter)).unwrap_or(b',')
}
