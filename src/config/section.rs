//! Reading the typed values of one table, keeping count of every problem.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::interpolate::Expanded;
use super::places::{Places, join};
use super::problem::Problem;
use super::secret::Secret;
use super::value::{Table, Value, describe_text};

/// A finite number above zero.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Positive(f64);

impl Positive {
    /// `value`, if it is finite and above zero.
    pub fn new(value: f64) -> Option<Self> {
        (value.is_finite() && value > 0.0).then_some(Self(value))
    }

    /// The number.
    pub fn get(self) -> f64 {
        self.0
    }
}

/// What [`is_label`] asks for.
pub(super) const NOT_A_LABEL: &str = "a name is 1 to 64 letters, digits, '-', '_' or '.' (ASCII)";

/// True for a text that may be part of the names of topics, groups and files.
pub(super) fn is_label(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=64).contains(&text.len()) && text.chars().all(allowed)
}

/// A value that cannot be used; the report already has the reason.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refused;

/// The problems found so far.
pub(super) struct Report<'a> {
    places: &'a Places,
    problems: RefCell<Vec<Problem>>,
}

impl<'a> Report<'a> {
    pub(super) fn new(places: &'a Places) -> Self {
        Self { places, problems: RefCell::default() }
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems.into_inner()
    }

    /// Notes a problem with `key`.
    pub(super) fn refuse(&self, key: &str, message: impl Into<String>) -> Refused {
        self.refuse_suggesting(key, message, None)
    }

    fn refuse_suggesting(&self, key: &str, message: impl Into<String>, suggestion: Option<&str>) -> Refused {
        let problem = self.places.problem(key, message).suggesting(suggestion);
        self.problems.borrow_mut().push(problem);
        Refused
    }
}

/// One table of the file, read key by key. Each reader gives `None` for a key that is not there and
/// [`Refused`] for one that cannot be used, so that a section reads all its keys before it gives up.
pub(super) struct Section<'a> {
    path: String,
    entries: Table,
    report: &'a Report<'a>,
}

impl<'a> Section<'a> {
    /// Opens the table at `path`, which may have `keys`; any other is reported.
    pub(super) fn new(path: String, entries: Table, keys: &[&'static str], report: &'a Report<'a>) -> Self {
        let section = Self { path, entries, report };
        for key in section.entries.keys().filter(|key| !keys.contains(&key.as_str())) {
            report.refuse_suggesting(&section.key(key), "unknown key", nearest(key, keys));
        }
        section
    }

    /// Opens `value` as a table.
    pub(super) fn open(
        path: &str,
        value: Value,
        keys: &[&'static str],
        report: &'a Report<'a>,
    ) -> Result<Self, Refused> {
        Ok(Self::new(path.to_owned(), table(path, value, report)?, keys, report))
    }

    /// The path of one of the section's keys.
    pub(super) fn key(&self, key: &str) -> String {
        join(&self.path, key)
    }

    /// Notes a problem with one of the section's keys.
    pub(super) fn refuse(&self, key: &str, message: impl Into<String>) -> Refused {
        self.report.refuse(&self.key(key), message)
    }

    /// Notes a problem with an item of the array at one of the section's keys.
    pub(super) fn refuse_item(&self, key: &str, item: usize, message: impl Into<String>) -> Refused {
        self.report.refuse(&format!("{}[{item}]", self.key(key)), message)
    }

    /// Where problems go.
    pub(super) fn report(&self) -> &'a Report<'a> {
        self.report
    }

    /// What was read of a key that has to be there.
    pub(super) fn required<T>(&self, key: &str, read: Result<Option<T>, Refused>) -> Result<T, Refused> {
        read?.ok_or_else(|| self.refuse(key, "missing"))
    }

    /// The value of a key as it stands.
    pub(super) fn value(&mut self, key: &str) -> Result<Option<Value>, Refused> {
        match self.entries.remove(key) {
            Some(Value::Refused) => Err(Refused),
            value => Ok(value),
        }
    }

    /// A text; the environment may give it.
    pub(super) fn text(&mut self, key: &str) -> Result<Option<String>, Refused> {
        self.convert(key, "a text", |value| match value {
            Value::Text(Expanded { text, .. }) => Some(text.clone()),
            _ => None,
        })
    }

    /// A text with something in it and without control characters.
    pub(super) fn word(&mut self, key: &str) -> Result<Option<String>, Refused> {
        self.convert(key, "a text that is not empty", |value| match value {
            Value::Text(Expanded { text, .. }) if !text.is_empty() && !text.contains(char::is_control) => {
                Some(text.clone())
            }
            _ => None,
        })
    }

    /// A text that may be part of a name in Kafka.
    pub(super) fn label(&mut self, key: &str) -> Result<Option<String>, Refused> {
        match self.text(key)? {
            Some(text) if !is_label(&text) => Err(self.refuse(key, NOT_A_LABEL)),
            text => Ok(text),
        }
    }

    /// A text that no message shows.
    pub(super) fn secret(&mut self, key: &str) -> Result<Option<Secret>, Refused> {
        match self.value(key)? {
            None => Ok(None),
            Some(Value::Text(Expanded { text, .. })) if !text.is_empty() && !text.contains('\0') => {
                Ok(Some(Secret::new(text)))
            }
            Some(_) => Err(self.refuse(key, "expected a text that is not empty")),
        }
    }

    /// An array of texts that are not empty.
    pub(super) fn texts(&mut self, key: &str) -> Result<Option<Vec<String>>, Refused> {
        self.items(key, "an array of texts", text_of_item)
    }

    /// An array whose items `convert` reads, or says what is wrong with them.
    pub(super) fn items<T>(
        &mut self,
        key: &str,
        expected: &str,
        convert: impl Fn(&Value) -> Result<T, String>,
    ) -> Result<Option<Vec<T>>, Refused> {
        let items = match self.value(key)? {
            None => return Ok(None),
            Some(Value::Array(items)) => items,
            Some(other) => {
                return Err(self.refuse(key, format!("expected {expected}, found {}", other.describe())));
            }
        };
        let items = items.iter().enumerate().map(|(i, item)| match item {
            Value::Refused => Err(Refused),
            item => convert(item).map_err(|message| self.refuse_item(key, i, message)),
        });
        // Every item is read before the first problem ends it.
        items.collect::<Vec<_>>().into_iter().collect::<Result<_, _>>().map(Some)
    }

    /// A table within the section, which may have `keys`.
    pub(super) fn table(&mut self, key: &str, keys: &[&'static str]) -> Result<Option<Section<'a>>, Refused> {
        let Some(value) = self.value(key)? else { return Ok(None) };
        Section::open(&self.key(key), value, keys, self.report).map(Some)
    }

    /// A table of any keys, whose values are texts.
    pub(super) fn table_of_texts(&mut self, key: &str) -> Result<Option<BTreeMap<String, String>>, Refused> {
        let Some(value) = self.value(key)? else { return Ok(None) };
        let path = self.key(key);
        let entries = table(&path, value, self.report)?.into_iter().map(|(name, value)| match value {
            Value::Text(Expanded { text, .. }) if !text.contains('\0') => Ok((name, text)),
            Value::Refused => Err(Refused),
            other => {
                let message = format!("expected a text, found {}", other.describe());
                Err(self.report.refuse(&join(&path, &name), message))
            }
        });
        let entries: Vec<_> = entries.collect();
        entries.into_iter().collect::<Result<_, _>>().map(Some)
    }

    /// A path that is not empty.
    pub(super) fn path(&mut self, key: &str) -> Result<Option<PathBuf>, Refused> {
        self.convert(key, "a path", |value| match value {
            Value::Text(Expanded { text, .. }) if !text.is_empty() && !text.contains('\0') => {
                Some(PathBuf::from(text))
            }
            _ => None,
        })
    }

    /// A path that is not empty, or an array of such.
    pub(super) fn paths(&mut self, key: &str) -> Result<Option<Vec<PathBuf>>, Refused> {
        match self.entries.get(key) {
            Some(Value::Array(_)) => self.items(key, "an array of paths", |item| match item {
                Value::Text(Expanded { text, .. }) if !text.is_empty() && !text.contains('\0') => {
                    Ok(PathBuf::from(text))
                }
                other => Err(format!("expected a path, found {}", other.describe())),
            }),
            _ => self.path(key).map(|path| path.map(|path| vec![path])),
        }
    }

    /// A whole number in `range`.
    pub(super) fn count(
        &mut self,
        key: &str,
        range: RangeInclusive<usize>,
    ) -> Result<Option<NonZeroUsize>, Refused> {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        self.convert(key, &expected, |value| {
            let number = match value {
                Value::Integer(number) => *number,
                Value::Text(Expanded { text, whole: true }) => text.parse().ok()?,
                _ => return None,
            };
            let number = usize::try_from(number).ok().filter(|number| range.contains(number))?;
            NonZeroUsize::new(number)
        })
    }

    /// A whole number in `range`, `default` where the key is not there.
    pub(super) fn count_or(
        &mut self,
        key: &str,
        range: RangeInclusive<usize>,
        default: usize,
    ) -> Result<NonZeroUsize, Refused> {
        Ok(self.count(key, range)?.or(NonZeroUsize::new(default)).unwrap_or(NonZeroUsize::MIN))
    }

    /// A whole number from 0 to 255.
    pub(super) fn byte(&mut self, key: &str) -> Result<Option<u8>, Refused> {
        self.convert(key, "a byte, 0 to 255", |value| match value {
            Value::Integer(number) => u8::try_from(*number).ok(),
            Value::Text(Expanded { text, whole: true }) => text.parse().ok(),
            _ => None,
        })
    }

    /// A number above zero.
    pub(super) fn positive(&mut self, key: &str) -> Result<Option<Positive>, Refused> {
        self.convert(key, "a number above 0", |value| match value {
            Value::Integer(number) => Positive::new(*number as f64),
            Value::Float(number) => Positive::new(*number),
            Value::Text(Expanded { text, whole: true }) => Positive::new(text.parse().ok()?),
            _ => None,
        })
    }

    /// A finite number.
    pub(super) fn number(&mut self, key: &str) -> Result<Option<f64>, Refused> {
        self.convert(key, "a number", |value| match value {
            Value::Integer(number) => Some(*number as f64),
            Value::Float(number) => Some(*number),
            Value::Text(Expanded { text, whole: true }) => {
                text.parse().ok().filter(|number: &f64| number.is_finite())
            }
            _ => None,
        })
    }

    /// A text, or an array of texts that are not empty.
    pub(super) fn text_or_texts(&mut self, key: &str) -> Result<Option<Vec<String>>, Refused> {
        match self.entries.get(key) {
            Some(Value::Text(_)) => self.text(key).map(|text| text.map(|text| vec![text])),
            _ => self.items(key, "a text or an array of texts", text_of_item),
        }
    }

    /// True or false.
    pub(super) fn flag(&mut self, key: &str) -> Result<Option<bool>, Refused> {
        self.convert(key, "true or false", |value| match value {
            Value::Boolean(flag) => Some(*flag),
            Value::Text(Expanded { text, whole: true }) => text.parse().ok(),
            _ => None,
        })
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &str,
        choices: &[(&'static str, T)],
    ) -> Result<Option<T>, Refused> {
        let Some(text) = self.text(key)? else { return Ok(None) };
        if let Some((_, chosen)) = choices.iter().find(|(word, _)| *word == text) {
            return Ok(Some(*chosen));
        }
        let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
        let message = format!("expected one of {}, found {}", words.join(", "), describe_text(&text));
        Err(self.report.refuse_suggesting(&self.key(key), message, nearest(&text, &words)))
    }

    fn convert<T>(
        &mut self,
        key: &str,
        expected: &str,
        convert: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>, Refused> {
        let Some(value) = self.value(key)? else { return Ok(None) };
        match convert(&value) {
            Some(converted) => Ok(Some(converted)),
            None => Err(self.refuse(key, format!("expected {expected}, found {}", value.describe()))),
        }
    }
}

fn text_of_item(item: &Value) -> Result<String, String> {
    match item {
        Value::Text(Expanded { text, .. }) if !text.is_empty() => Ok(text.clone()),
        other => Err(format!("expected a text that is not empty, found {}", other.describe())),
    }
}

/// One of the types that a section's `type` may name.
pub(super) struct Kind<T> {
    /// The value of `type`.
    pub(super) name: &'static str,
    /// The keys of a section of this type.
    pub(super) keys: &'static [&'static str],
    /// Reads the section's keys.
    pub(super) read: fn(&mut Section<'_>) -> Result<T, Refused>,
}

/// Reads the table at `path` as the one of `kinds` that its `type` names. Where that is none of them, the
/// other keys are not looked at.
pub(super) fn read_kind<T>(
    path: &str,
    value: Value,
    kinds: &[Kind<T>],
    report: &Report<'_>,
) -> Result<T, Refused> {
    read_kind_by("type", path, value, kinds, report)
}

/// As [`read_kind`], where the key `word` names the kind.
pub(super) fn read_kind_by<T>(
    word: &str,
    path: &str,
    value: Value,
    kinds: &[Kind<T>],
    report: &Report<'_>,
) -> Result<T, Refused> {
    let table = table(path, value, report)?;
    let mut section = Section { path: path.to_owned(), entries: table, report };
    let choices: Vec<_> = kinds.iter().map(|kind| (kind.name, kind)).collect();
    let kind = section.choice(word, &choices)?;
    let Some(kind) = kind else {
        let names: Vec<_> = kinds.iter().map(|kind| kind.name).collect();
        return Err(section.refuse(word, format!("missing; one of {}", names.join(", "))));
    };
    let mut section = Section::new(section.path, section.entries, kind.keys, report);
    (kind.read)(&mut section)
}

fn table(path: &str, value: Value, report: &Report<'_>) -> Result<Table, Refused> {
    match value {
        Value::Table(table) => Ok(table),
        Value::Refused => Err(Refused),
        other => Err(report.refuse(path, format!("expected a table, found {}", other.describe()))),
    }
}

/// The one of `known` that `word` looks most like, if it does at all.
fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    // Jaro-Winkler alone misses a single slip in a short word (`cvs`).
    let likeness = |known: &str| match strsim::damerau_levenshtein(word, known) {
        0..=1 => 1.0,
        _ => strsim::jaro_winkler(word, known),
    };
    let scored = known.iter().map(|known| (likeness(known), *known));
    scored.filter(|(score, _)| *score >= 0.8).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, known)| known)
}
