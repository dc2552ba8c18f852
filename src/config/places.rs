//! Where in the file each key stands.
//!
//! The `config` crate keeps no lines, so the text is parsed a second time with spans. The same pass refuses
//! the values that `config` would change (dates become text) or refuse without a place (numbers that do
//! not fit 64 bits).

use std::collections::BTreeMap;
use std::fmt;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{ConfigError, Problem};

/// Far longer than the path of any known key; keeps a file of long or deeply nested keys from growing when
/// each gets its whole path.
const MAX_PATH_BYTES: usize = 256;

/// Syntax errors that are worth reading: a file with more is not a pipeline file.
const MAX_SYNTAX_PROBLEMS: usize = 50;

/// The line of every key and table of a file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Places {
    file: String,
    lines: BTreeMap<String, usize>,
}

impl Places {
    /// Parses `text`.
    ///
    /// # Errors
    /// Syntax errors, and values that no key of a pipeline takes.
    pub(super) fn of(text: &str, file: &str) -> Result<Self, ConfigError> {
        let starts = line_starts(text);
        let (table, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            return Err(syntax_problems(text, &starts, file, &errors).into());
        }
        let mut places = Self { file: file.to_owned(), lines: BTreeMap::new() };
        let mut refused = Vec::new();
        places.walk_table("", table.get_ref(), &starts, &mut refused);
        if refused.is_empty() {
            return Ok(places);
        }
        let problems = refused.into_iter().map(|(key, message)| places.problem(&key, message));
        Err(ConfigError::from(problems.collect::<Vec<_>>()))
    }

    /// A problem at `key`: on its own line, or on that of the table which lacks it.
    pub(super) fn problem(&self, key: &str, message: impl Into<String>) -> Problem {
        let mut place = key;
        let line = loop {
            if let Some(line) = self.lines.get(place) {
                break Some(*line);
            }
            match place.rfind(['.', '[']).and_then(|end| place.get(..end)) {
                Some(parent) => place = parent,
                None => break None,
            }
        };
        Problem { line, key: Some(key.to_owned()), ..Problem::of_file(&self.file, message) }
    }

    fn walk_table(
        &mut self,
        path: &str,
        table: &DeTable<'_>,
        starts: &[usize],
        refused: &mut Vec<(String, String)>,
    ) {
        for (key, value) in table {
            let path = join(path, key.get_ref());
            if path.len() > MAX_PATH_BYTES {
                let start: String = path.chars().take(40).chain("...".chars()).collect();
                self.lines.insert(start.clone(), line_of(starts, key.span().start));
                refused.push((start, "no key is as long or nested as deeply as this one".to_owned()));
                continue;
            }
            self.lines.insert(path.clone(), line_of(starts, key.span().start));
            self.walk(&path, value, starts, refused);
        }
    }

    fn walk(
        &mut self,
        path: &str,
        value: &Spanned<DeValue<'_>>,
        starts: &[usize],
        refused: &mut Vec<(String, String)>,
    ) {
        // A password without its quotes is in no message.
        let shown = |kind: &str, value: &dyn fmt::Display| match path.contains("password") {
            true => "what stands here".to_owned(),
            false => format!("{kind}{value}"),
        };
        match value.get_ref() {
            DeValue::Table(table) => self.walk_table(path, table, starts, refused),
            DeValue::Array(array) => {
                for (i, item) in array.iter().enumerate() {
                    let path = format!("{path}[{i}]");
                    self.lines.insert(path.clone(), line_of(starts, item.span().start));
                    self.walk(&path, item, starts, refused);
                }
            }
            DeValue::Integer(number) => {
                if i64::from_str_radix(number.as_str(), number.radix()).is_err() {
                    refused.push((
                        path.to_owned(),
                        format!("{} does not fit 64 bits", shown("the number ", number)),
                    ));
                }
            }
            DeValue::Float(number) => {
                if !number.as_str().parse::<f64>().is_ok_and(f64::is_finite) {
                    refused.push((path.to_owned(), format!("{} is not a finite number", shown("", number))));
                }
            }
            DeValue::Datetime(date) => {
                let date = shown("", date);
                refused
                    .push((path.to_owned(), format!("no key takes a date; put {date} in quotes for a text")));
            }
            DeValue::String(_) | DeValue::Boolean(_) => {}
        }
    }
}

/// The path of `key` in the table at `path`; keys that TOML has to quote stay quoted.
pub(super) fn join(path: &str, key: &str) -> String {
    let bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    let key = if bare { key.to_owned() } else { format!("{key:?}") };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// The problem of a file whose bytes are no UTF-8 from `valid_up_to` on.
pub(super) fn not_utf8(file: &str, bytes: &[u8], valid_up_to: usize) -> Problem {
    let line = 1 + bytes.iter().take(valid_up_to).filter(|byte| **byte == b'\n').count();
    Problem { line: Some(line), ..Problem::of_file(file, "is not UTF-8 text from here on") }
}

/// The parser's errors, the first of each line: those that follow it on the line follow from it.
fn syntax_problems(text: &str, starts: &[usize], file: &str, errors: &[toml::de::Error]) -> Vec<Problem> {
    let mut first_on_line = BTreeMap::new();
    for error in errors {
        let offset = error.span().map_or(text.len(), |span| span.start.min(text.len()));
        let line = line_of(starts, offset);
        if first_on_line.contains_key(&line) {
            continue;
        }
        let start = starts.get(line - 1).copied().unwrap_or_default();
        let column = 1 + text.get(start..offset).map_or(0, |before| before.chars().count());
        let message = format!("not TOML: {}", error.message());
        let problem = Problem { line: Some(line), column: Some(column), ..Problem::of_file(file, message) };
        first_on_line.insert(line, problem);
    }
    first_on_line.into_values().take(MAX_SYNTAX_PROBLEMS).collect()
}

fn line_starts(text: &str) -> Vec<usize> {
    let after_breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(i, _)| i + 1);
    std::iter::once(0).chain(after_breaks).collect()
}

/// The line, from 1, on which the byte at `offset` stands.
fn line_of(starts: &[usize], offset: usize) -> usize {
    starts.partition_point(|start| *start <= offset)
}
