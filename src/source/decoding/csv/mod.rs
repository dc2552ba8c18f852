//! Messages of delimited text: one or more lines, each a row.

use std::fmt;

use super::number::sample_of_text;
use super::rows::Rows;
use super::{DecodeError, Place, TimeField};
use crate::signal::SampleType;
use crate::source::cells::{DECIMAL_COMMA, cells, has_decimal_comma, quoted, without_byte_order_mark};

/// What the columns of delimited text hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CsvColumns {
    /// A column for each channel; where `None`, all that hold neither the time nor the key.
    pub samples: Option<Vec<Column>>,
    /// The column with the time of the row.
    pub time: Option<TimeField<Column>>,
    /// The column with the key.
    pub key: Option<Column>,
    /// What stands between cells, in ASCII.
    pub delimiter: u8,
    /// Whether the first line of each message names the columns.
    pub header: bool,
}

/// A column of delimited text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Column {
    /// Its place, counted from 0.
    Place(usize),
    /// Its name in the header.
    Name(String),
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Place(place) => write!(f, "column {place}"),
            Self::Name(name) => write!(f, "column {}", quoted(name.as_bytes())),
        }
    }
}

const DECIMAL_COMMAS: &str = " (numbers with a decimal comma? write them with a point)";

pub(super) fn decode(
    payload: &[u8],
    columns: &CsvColumns,
    sample_type: SampleType,
    samples: &mut Vec<f64>,
    rows: &mut Rows<'_>,
) -> Result<(), DecodeError> {
    let payload = without_byte_order_mark(payload);
    let lines = payload.split(|byte| *byte == b'\n').zip(1..);
    let mut lines = lines
        .map(|(text, line)| (text.strip_suffix(b"\r").unwrap_or(text), line))
        .filter(|(text, _)| !text.trim_ascii().is_empty())
        .peekable();
    let Some((first, line)) = lines.peek().copied() else {
        return Err(DecodeError::new(Place::Message, "has no line"));
    };
    let table = Table::new(first, line, columns, rows.channels())?;
    if columns.header {
        lines.next();
    }
    if lines.peek().is_none() {
        return Err(DecodeError::new(Place::Message, "has a header, but no row"));
    }
    let mut row = Vec::with_capacity(table.cells);
    for (text, line) in lines {
        row.clear();
        row.extend(cells(text, columns.delimiter));
        let row = Row { cells: &row, line, table: &table };
        row.check_length(columns.delimiter)?;
        samples.clear();
        for (place, column) in &table.samples {
            samples.push(row.sample(*place, column, sample_type)?);
        }
        let time_ns = match (&columns.time, table.time) {
            (Some(time), Some(place)) => Some(row.time_ns(place, time)?),
            _ => None,
        };
        let key = match (&columns.key, table.key) {
            (Some(column), Some(place)) => Some(row.key(place, column)?),
            _ => None,
        };
        rows.push(key, time_ns, samples)?;
    }
    Ok(())
}

/// Where the columns of one message are.
struct Table {
    /// Cells in each line.
    cells: usize,
    samples: Vec<(usize, Column)>,
    time: Option<usize>,
    key: Option<usize>,
}

impl Table {
    /// Finds the columns in the first line of a message.
    fn new(first: &[u8], line: usize, columns: &CsvColumns, channels: usize) -> Result<Self, DecodeError> {
        let first: Vec<_> = cells(first, columns.delimiter).collect();
        let find = |column: &Column| {
            find(&first, column, columns.header)
                .map_err(|reason| DecodeError::new(Place::Line(line), format_args!("{column} {reason}")))
        };
        let time = columns.time.as_ref().map(|time| find(&time.at)).transpose()?;
        let key = columns.key.as_ref().map(&find).transpose()?;
        let samples: Vec<_> = match &columns.samples {
            Some(chosen) => chosen
                .iter()
                .map(|column| Ok((find(column)?, column.clone())))
                .collect::<Result<_, DecodeError>>()?,
            None => (0..first.len())
                .filter(|place| time != Some(*place) && key != Some(*place))
                .map(|place| (place, Column::Place(place)))
                .collect(),
        };
        if samples.len() != channels {
            let comma = columns.delimiter == b',' && samples.len() == 2 * channels;
            let hint = if comma { DECIMAL_COMMAS } else { "" };
            let reason = format!("{} columns of samples for {channels} channels{hint}", samples.len());
            return Err(DecodeError::new(Place::Line(line), reason));
        }
        Ok(Self { cells: first.len(), samples, time, key })
    }
}

/// The place of a column among the cells of the first line, or why it has none.
fn find(first: &[&[u8]], column: &Column, header: bool) -> Result<usize, String> {
    match column {
        Column::Place(place) if *place < first.len() => Ok(*place),
        Column::Place(_) => Err(format!("is not among its {}, counted from 0", first.len())),
        Column::Name(_) if !header => Err("is a name, but no header names columns".to_owned()),
        Column::Name(name) => {
            let mut places = first.iter().enumerate().filter(|(_, cell)| **cell == name.as_bytes());
            match (places.next(), places.next()) {
                (Some((place, _)), None) => Ok(place),
                (None, _) => Err("is not in the header".to_owned()),
                (Some(_), Some(_)) => Err("is in the header more than once".to_owned()),
            }
        }
    }
}

/// One row of a message.
struct Row<'r> {
    cells: &'r [&'r [u8]],
    line: usize,
    table: &'r Table,
}

impl<'r> Row<'r> {
    fn check_length(&self, delimiter: u8) -> Result<(), DecodeError> {
        let (count, expected) = (self.cells.len(), self.table.cells);
        if count == expected {
            return Ok(());
        }
        let hint = if delimiter == b',' && count == 2 * expected { DECIMAL_COMMAS } else { "" };
        let reason = format!("{count} cells where the first line has {expected}{hint}");
        Err(DecodeError::new(Place::Line(self.line), reason))
    }

    fn cell(&self, place: usize) -> &'r [u8] {
        self.cells.get(place).copied().unwrap_or_default()
    }

    fn sample(&self, place: usize, column: &Column, sample_type: SampleType) -> Result<f64, DecodeError> {
        let cell = self.cell(place);
        let text = std::str::from_utf8(cell).map_err(|_| "a finite number");
        text.and_then(|text| sample_of_text(text, sample_type)).map_err(|expected| {
            if has_decimal_comma(cell) {
                return self.refuse(column, format!("{} {DECIMAL_COMMA}", quoted(cell)));
            }
            self.refuse(column, format!("{} is not {expected}", quoted(cell)))
        })
    }

    fn time_ns(&self, place: usize, time: &TimeField<Column>) -> Result<i64, DecodeError> {
        let cell = self.cell(place);
        let text = std::str::from_utf8(cell).map_err(|_| "a time");
        text.and_then(|text| time.unit.ns_of(text))
            .map_err(|expected| self.refuse(&time.at, format!("{} is not {expected}", quoted(cell))))
    }

    fn key(&self, place: usize, column: &Column) -> Result<&'r str, DecodeError> {
        match std::str::from_utf8(self.cell(place)) {
            Ok("") => Err(self.refuse(column, "an empty cell is no key")),
            Ok(key) => Ok(key),
            Err(_) => Err(self.refuse(column, format!("{} is not UTF-8 text", quoted(self.cell(place))))),
        }
    }

    fn refuse(&self, column: &Column, reason: impl fmt::Display) -> DecodeError {
        DecodeError::new(Place::Cell { line: self.line, column: column.clone() }, reason)
    }
}

#[cfg(test)]
mod tests;
