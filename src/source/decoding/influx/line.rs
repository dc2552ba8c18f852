//! Lines of InfluxDB's line protocol: `measurement,tag=value field=1,other=2i 1700000000000000000`.
//!
//! A backslash takes its meaning from a comma or a space in a measurement, and from an equals sign too in the
//! names and values of tags and the names of fields; before anything else it stands for itself. Texts are in
//! quotes, with `\"` and `\\`, and may hold line breaks. Lines that start with `#` are comments.

use std::borrow::Cow;

use super::super::{DecodeError, Place};
use crate::source::cells::{number, quoted};

/// What a backslash escapes in a measurement, and what ends one.
const MEASUREMENT: &[u8] = b", ";
/// The same in the names and values of tags and the names of fields.
const NAME: &[u8] = b",= ";

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line<'p> {
    /// Its number in the message, from 1.
    pub(super) number: usize,
    pub(super) measurement: Cow<'p, str>,
    /// Names and values, as the line has them.
    pub(super) tags: Vec<(Cow<'p, str>, Cow<'p, str>)>,
    /// Names and values, as the line has them; at least one.
    pub(super) fields: Vec<(Cow<'p, str>, FieldValue<'p>)>,
    /// A whole number.
    pub(super) time: Option<&'p str>,
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum FieldValue<'p> {
    /// A finite number, without the letter that marks whole ones.
    Number(&'p str),
    Boolean,
    Text,
}

/// The lines of a message.
pub(super) struct Lines<'p> {
    rest: &'p str,
    number: usize,
}

impl<'p> Lines<'p> {
    pub(super) fn of(text: &'p str) -> Self {
        Self { rest: text, number: 1 }
    }

    /// The next line that is neither blank nor a comment.
    pub(super) fn next(&mut self) -> Result<Option<Line<'p>>, DecodeError> {
        loop {
            self.rest = self.rest.trim_start_matches([' ', '\t', '\r']);
            let skipped = match self.rest.as_bytes().first() {
                None => return Ok(None),
                Some(b'\n') => 1,
                Some(b'#') => self.rest.find('\n').unwrap_or(self.rest.len()),
                Some(_) => return self.line().map(Some),
            };
            self.skip(skipped);
        }
    }

    fn line(&mut self) -> Result<Line<'p>, DecodeError> {
        let number = self.number;
        let measurement = self.name(MEASUREMENT, "measurement")?;
        let mut tags = Vec::new();
        while self.take(b',') {
            let name = self.name(NAME, "name of a tag")?;
            self.expect_equals(&name)?;
            tags.push((name, self.name(NAME, "value of a tag")?));
        }
        if !self.take(b' ') {
            let reason = match self.rest.as_bytes().first() {
                Some(b'=') => "an equals sign in the value of a tag needs a backslash",
                _ => "a line needs fields behind its measurement and tags",
            };
            return Err(self.refuse(reason));
        }
        self.skip_spaces();
        let mut fields = Vec::new();
        loop {
            let name = self.name(NAME, "name of a field")?;
            self.expect_equals(&name)?;
            let value = self.field_value(&name)?;
            fields.push((name, value));
            if !self.take(b',') {
                break;
            }
        }
        let time = self.time()?;
        Ok(Line { number, measurement, tags, fields, time })
    }

    /// A name up to the next of `special` without a backslash, or the end of the line.
    fn name(&mut self, special: &[u8], what: &str) -> Result<Cow<'p, str>, DecodeError> {
        let bytes = self.rest.as_bytes();
        let mut unescaped = String::new();
        let (mut copied, mut end) = (0, 0);
        while let Some(byte) = bytes.get(end).filter(|byte| **byte != b'\n' && !special.contains(byte)) {
            let escapes = *byte == b'\\' && bytes.get(end + 1).is_some_and(|next| special.contains(next));
            if escapes {
                unescaped.push_str(self.rest.get(copied..end).unwrap_or_default());
                copied = end + 1;
                end += 1;
            }
            end += 1;
        }
        if end == 0 {
            return Err(self.refuse(format!("the {what} is missing")));
        }
        let last = self.rest.get(copied..end).unwrap_or_default();
        self.skip(end);
        Ok(if copied == 0 {
            Cow::Borrowed(last)
        } else {
            unescaped.push_str(last);
            Cow::Owned(unescaped)
        })
    }

    fn field_value(&mut self, field: &str) -> Result<FieldValue<'p>, DecodeError> {
        if self.take(b'"') {
            return self.text(field);
        }
        let end = self.rest.find([',', ' ', '\r', '\n']).unwrap_or(self.rest.len());
        let text = self.skip(end);
        let value = match text {
            "t" | "T" | "true" | "True" | "TRUE" | "f" | "F" | "false" | "False" | "FALSE" => {
                Some(FieldValue::Boolean)
            }
            _ => number_of(text).map(FieldValue::Number),
        };
        value.ok_or_else(|| {
            let reason = format!(
                "field {}: {} is neither a finite number, true, false nor a text in quotes",
                quoted(field.as_bytes()),
                quoted(text.as_bytes())
            );
            self.refuse(reason)
        })
    }

    /// A text whose first quote has been taken.
    fn text(&mut self, field: &str) -> Result<FieldValue<'p>, DecodeError> {
        let mut escaped = false;
        let end = self.rest.bytes().position(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        });
        match end {
            Some(end) => {
                self.skip(end + 1);
                Ok(FieldValue::Text)
            }
            None => {
                Err(self.refuse(format!("field {}: a text without its last quote", quoted(field.as_bytes()))))
            }
        }
    }

    /// The time that may end a line.
    fn time(&mut self) -> Result<Option<&'p str>, DecodeError> {
        if !self.rest.is_empty() && !self.rest.starts_with([' ', '\r', '\n']) {
            return Err(self.refuse("a comma or a space must follow the value of a field"));
        }
        self.skip_spaces();
        let end = self.rest.find([' ', '\r', '\n']).unwrap_or(self.rest.len());
        let text = self.skip(end);
        self.skip_spaces();
        self.take(b'\r');
        if !self.rest.is_empty() && !self.rest.starts_with('\n') {
            return Err(self.refuse("nothing may follow the time"));
        }
        match text {
            "" => Ok(None),
            _ if is_whole(text) => Ok(Some(text)),
            _ => Err(self.refuse(format!("the time {} is not a whole number", quoted(text.as_bytes())))),
        }
    }

    fn expect_equals(&mut self, name: &str) -> Result<(), DecodeError> {
        if self.take(b'=') {
            return Ok(());
        }
        Err(self.refuse(format!("an equals sign and a value must follow {}", quoted(name.as_bytes()))))
    }

    fn skip_spaces(&mut self) {
        self.rest = self.rest.trim_start_matches(' ');
    }

    /// Takes `byte` if it is the next one.
    fn take(&mut self, byte: u8) -> bool {
        let is_next = self.rest.as_bytes().first() == Some(&byte);
        if is_next {
            self.skip(1);
        }
        is_next
    }

    /// Goes on by `bytes`, at most to the end, and returns what they are.
    fn skip(&mut self, bytes: usize) -> &'p str {
        let (skipped, rest) = self.rest.split_at_checked(bytes).unwrap_or((self.rest, ""));
        self.number += skipped.bytes().filter(|byte| *byte == b'\n').count();
        self.rest = rest;
        skipped
    }

    fn refuse(&self, reason: impl std::fmt::Display) -> DecodeError {
        DecodeError::new(Place::Line(self.number), reason)
    }
}

/// The number in a field's value, without the letter that marks whole ones.
fn number_of(text: &str) -> Option<&str> {
    if let Some(whole) = text.strip_suffix('i') {
        return (is_whole(whole) && whole.parse::<i64>().is_ok()).then_some(whole);
    }
    if let Some(whole) = text.strip_suffix('u') {
        return (is_whole(whole) && whole.parse::<u64>().is_ok()).then_some(whole);
    }
    number(text).is_some_and(f64::is_finite).then_some(text)
}

/// True for digits behind at most a minus sign.
fn is_whole(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Appends a measurement as a line has it.
pub(super) fn push_measurement(out: &mut String, measurement: &str) {
    push_escaped(out, measurement, MEASUREMENT);
}

/// Appends the name or the value of a tag or the name of a field as a line has it.
pub(super) fn push_name(out: &mut String, name: &str) {
    push_escaped(out, name, NAME);
}

fn push_escaped(out: &mut String, text: &str, special: &[u8]) {
    for character in text.chars() {
        if u8::try_from(character).is_ok_and(|byte| special.contains(&byte)) {
            out.push('\\');
        }
        out.push(character);
    }
}
