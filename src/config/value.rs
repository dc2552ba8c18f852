//! A value of a pipeline file with its variables expanded, before it has a type.

use std::collections::BTreeMap;

use config::ValueKind;

use super::interpolate::{Expanded, expand};
use super::places::join;
use super::section::Report;

pub(super) type Table = BTreeMap<String, Value>;

/// A value as the file has it. Nothing is converted: `"12"` stays a text.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Boolean(bool),
    Integer(i64),
    Float(f64),
    Text(Expanded),
    Array(Vec<Value>),
    Table(Table),
    /// A text whose expansion has been reported as a problem.
    Refused,
}

impl Value {
    /// The value in the words of a message.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Boolean(value) => format!("{value}"),
            Self::Integer(value) => format!("the number {value}"),
            Self::Float(value) => format!("the number {value:?}"),
            Self::Text(Expanded { text, .. }) => describe_text(text),
            Self::Array(_) => "an array".to_owned(),
            Self::Table(_) => "a table".to_owned(),
            Self::Refused => "a text".to_owned(),
        }
    }
}

/// The keys of a table, none of anything else.
pub(super) fn keys_of(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::Table(table)) => table.keys().cloned().collect(),
        _ => Vec::new(),
    }
}

/// A text in the words of a message, a long one by its beginning.
pub(super) fn describe_text(text: &str) -> String {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        None => format!("the text {text:?}"),
        Some((end, _)) => format!("a text that starts with {:?}", text.get(..end).unwrap_or_default()),
    }
}

/// Expands the variables in every text of the table at `path`; what cannot be expanded is reported.
pub(super) fn expand_table(
    table: impl IntoIterator<Item = (String, config::Value)>,
    path: &str,
    environment: &dyn Fn(&str) -> Option<String>,
    report: &Report<'_>,
) -> Table {
    let expanded = table.into_iter().map(|(key, value)| {
        let value = expand_value(value, &join(path, &key), environment, report);
        (key, value)
    });
    expanded.collect()
}

fn expand_value(
    value: config::Value,
    path: &str,
    environment: &dyn Fn(&str) -> Option<String>,
    report: &Report<'_>,
) -> Value {
    match value.kind {
        ValueKind::Boolean(value) => Value::Boolean(value),
        ValueKind::I64(value) => Value::Integer(value),
        ValueKind::Float(value) => Value::Float(value),
        ValueKind::String(text) => match expand(&text, environment) {
            Ok(expanded) => Value::Text(expanded),
            Err(message) => {
                report.refuse(path, message);
                Value::Refused
            }
        },
        ValueKind::Array(items) => {
            let items = items.into_iter().enumerate();
            Value::Array(
                items
                    .map(|(i, item)| expand_value(item, &format!("{path}[{i}]"), environment, report))
                    .collect(),
            )
        }
        ValueKind::Table(table) => Value::Table(expand_table(table, path, environment, report)),
        // TOML has neither; they belong to the crate's other formats.
        ValueKind::Nil | ValueKind::I128(_) | ValueKind::U64(_) | ValueKind::U128(_) => {
            report.refuse(path, "not a value of TOML");
            Value::Refused
        }
    }
}
