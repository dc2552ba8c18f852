//! Why a message cannot be decoded.

use std::fmt;

use super::csv::Column;

/// The most characters of a reason or of a path; a payload can be megabytes long.
const MAX_CHARS: usize = 240;

/// Why a message cannot be decoded: one line of text, short however long the message is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {reason}")]
pub struct DecodeError {
    place: Place,
    reason: String,
}

/// Where in a message something is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The message as a whole.
    Message,
    /// A byte, counted from 0.
    Byte(usize),
    /// A line, counted from 1.
    Line(usize),
    /// A character of a line, both counted from 1.
    Character {
        /// The line.
        line: usize,
        /// The character.
        column: usize,
    },
    /// A cell of a line of delimited text.
    Cell {
        /// The line, counted from 1.
        line: usize,
        /// The column, as the options name it.
        column: Column,
    },
    /// A value in a JSON object.
    Path {
        /// The object, counted from 1.
        object: usize,
        /// The path of the value (`leads[0].v[17]`).
        path: String,
    },
}

impl DecodeError {
    pub(super) fn new(place: Place, reason: impl fmt::Display) -> Self {
        let place = match place {
            Place::Path { object, path } => Place::Path { object, path: one_short_line(&path) },
            other => other,
        };
        Self { place, reason: one_short_line(&reason.to_string()) }
    }

    /// Where in the message.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// What is wrong there.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message => f.write_str("message"),
            Self::Byte(byte) => write!(f, "byte {byte}"),
            Self::Line(line) => write!(f, "line {line}"),
            Self::Character { line, column } => write!(f, "line {line}, character {column}"),
            Self::Cell { line, column } => write!(f, "line {line}, {column}"),
            Self::Path { object: 0..=1, path } => f.write_str(path),
            Self::Path { object, path } => write!(f, "object {object}, {path}"),
        }
    }
}

fn one_short_line(text: &str) -> String {
    let mut line: String =
        text.chars().take(MAX_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.len() < text.len() {
        line.push_str("...");
    }
    line
}
