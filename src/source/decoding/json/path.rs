//! Paths into JSON values.

use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value};

/// The way to a value in a JSON object: `data.ecg`, `leads[0].v`, `["a.b"].c`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonPath {
    text: String,
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Name(String),
    Index(usize),
}

/// What is made has no element behind this one, so that a path does not fill the memory.
const MAX_INDEX: usize = 4096;

impl Step {
    /// The place that the step leads to, made where it is missing; what else stands there is replaced.
    fn enter<'v>(&self, value: &'v mut Value) -> &'v mut Value {
        match self {
            Self::Name(name) => {
                if !value.is_object() {
                    *value = Value::Object(Map::new());
                }
                &mut value[name.as_str()]
            }
            Self::Index(index) => {
                if !value.is_array() {
                    *value = Value::Array(Vec::new());
                }
                let index = (*index).min(MAX_INDEX);
                if let Value::Array(items) = value
                    && items.len() <= index
                {
                    items.resize(index + 1, Value::Null);
                }
                &mut value[index]
            }
        }
    }
}

impl JsonPath {
    /// The path as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The value at the path, where there is one.
    pub(super) fn of<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        self.steps.iter().try_fold(value, |value, step| match step {
            Step::Name(name) => value.get(name),
            Step::Index(index) => value.get(index),
        })
    }

    /// Puts a value at the path, with the objects and arrays on the way to it.
    pub(in crate::source::decoding) fn put(&self, root: &mut Value, value: Value) {
        *self.steps.iter().fold(root, |at, step| step.enter(at)) = value;
    }
}

impl fmt::Display for JsonPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Why a text is no [`JsonPath`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a path such as \"data.ecg\", \"leads[0].v\" or \"[\\\"a.b\\\"].c\"")]
pub struct JsonPathError;

impl FromStr for JsonPath {
    type Err = JsonPathError;

    fn from_str(text: &str) -> Result<Self, JsonPathError> {
        let mut steps = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let step;
            (step, rest) = match rest.strip_prefix('[') {
                Some(inner) => in_brackets(inner)?,
                None => name(rest, steps.is_empty())?,
            };
            steps.push(step);
        }
        if steps.is_empty() {
            return Err(JsonPathError);
        }
        Ok(Self { text: text.to_owned(), steps })
    }
}

/// The name at the start of a path and what follows it. Between steps it stands behind a dot.
fn name(text: &str, first: bool) -> Result<(Step, &str), JsonPathError> {
    let text = if first { text } else { text.strip_prefix('.').ok_or(JsonPathError)? };
    let end = text.find(['.', '[', ']', '"']).unwrap_or(text.len());
    match text.split_at_checked(end) {
        Some((name, rest)) if !name.is_empty() && !rest.starts_with([']', '"']) => {
            Ok((Step::Name(name.to_owned()), rest))
        }
        _ => Err(JsonPathError),
    }
}

/// The index or the quoted name that `]` ends, and what follows it.
fn in_brackets(text: &str) -> Result<(Step, &str), JsonPathError> {
    if text.starts_with('"') {
        let mut names = serde_json::Deserializer::from_str(text).into_iter::<String>();
        let name = names.next().and_then(Result::ok).ok_or(JsonPathError)?;
        let rest = text.get(names.byte_offset()..).and_then(|rest| rest.strip_prefix(']'));
        return Ok((Step::Name(name), rest.ok_or(JsonPathError)?));
    }
    let (index, rest) = text.split_once(']').ok_or(JsonPathError)?;
    let is_index = index.bytes().all(|byte| byte.is_ascii_digit());
    let index = index.parse().ok().filter(|_| is_index).ok_or(JsonPathError)?;
    Ok((Step::Index(index), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn paths_lead_to_values() {
        let value = json!({"a": {"b": [1, {"c d": 2}], "": 3}, "a.b": {"x\"]": 4}, "0": 5});
        for (path, found) in [
            ("a.b[0]", 1),
            ("a.b[1].c d", 2),
            (r#"a[""]"#, 3),
            (r#"["a"]["b"][0]"#, 1),
            (r#"["a.b"]["x\"]"]"#, 4),
            ("0", 5),
        ] {
            assert_eq!(path.parse::<JsonPath>().unwrap().of(&value), Some(&json!(found)), "{path}");
        }
        for path in ["b", "a.b[2]", "a.b.c", "a[0]", "0[0]"] {
            assert_eq!(path.parse::<JsonPath>().unwrap().of(&value), None, "{path}");
        }
    }

    #[test]
    fn other_texts_are_no_paths() {
        let huge = format!("a[{}]", "9".repeat(40));
        for text in [
            "", ".", "a.", ".a", "a..b", "a[", "a[]", "a[-1]", "a[+1]", "a[x]", "a]", "a[0]b", "a[\"b]",
            "a\"b", "[\"a\"b", &huge,
        ] {
            assert_eq!(text.parse::<JsonPath>(), Err(JsonPathError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_name_can_be_quoted(names in prop::collection::vec(any::<String>(), 1..4)) {
            let path: String = names.iter().map(|name| format!("[{}]", json!(name))).collect();
            let value = names.iter().rev().fold(json!(7), |value, name| json!({ name: value }));
            prop_assert_eq!(path.parse::<JsonPath>().unwrap().of(&value), Some(&json!(7)));
        }

        #[test]
        fn any_text_is_a_path_or_none(text in "[a.\\[\\]\"0-9é\\\\]{0,12}") {
            if let Ok(path) = text.parse::<JsonPath>() {
                prop_assert_eq!(path.as_str(), &text);
            }
        }
    }
}
