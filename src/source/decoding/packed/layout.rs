//! The language that says what stands in a packed record: `u16le seq, 3*s16le samples, u8 status`.

use std::str::FromStr;

use super::TimeUnit;
use crate::signal::SampleType;

/// Bytes of a record, at most: far more than a wire's record has.
const MAX_LENGTH_BYTES: usize = 1 << 16;

/// The fields of a packed record.
///
/// Fields stand between commas, each a type and a name, `N*` before the type for several of them. `samples`, which
/// may come more than once, holds samples, channels interleaved; `seq` counts records; `time` is that of the first
/// row. What has another name is passed over, and so is `pad` (a byte) or `N*pad`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedFields {
    fields: Vec<Field>,
    length_bytes: usize,
    time_unit: TimeUnit,
}

/// What is wrong with a text that should name fields.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("character {character}: {reason}")]
pub struct PackedError {
    /// Where, counted from 1.
    pub character: usize,
    /// What is wrong and what to do.
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) number: NumberType,
    pub(super) count: usize,
    pub(super) role: Role,
    /// Of its first byte in the record.
    pub(super) offset: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Samples,
    Sequence,
    Time,
    Ignored,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Unsigned,
    Signed,
    Float,
}

/// A number of fixed width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NumberType {
    kind: Kind,
    bytes: usize,
    big: bool,
}

const fn number(kind: Kind, bytes: usize, big: bool) -> NumberType {
    NumberType { kind, bytes, big }
}

const TYPES: [(&str, NumberType); 20] = [
    ("u8", number(Kind::Unsigned, 1, false)),
    ("s8", number(Kind::Signed, 1, false)),
    ("u16le", number(Kind::Unsigned, 2, false)),
    ("u16be", number(Kind::Unsigned, 2, true)),
    ("s16le", number(Kind::Signed, 2, false)),
    ("s16be", number(Kind::Signed, 2, true)),
    ("u24le", number(Kind::Unsigned, 3, false)),
    ("u24be", number(Kind::Unsigned, 3, true)),
    ("s24le", number(Kind::Signed, 3, false)),
    ("s24be", number(Kind::Signed, 3, true)),
    ("u32le", number(Kind::Unsigned, 4, false)),
    ("u32be", number(Kind::Unsigned, 4, true)),
    ("s32le", number(Kind::Signed, 4, false)),
    ("s32be", number(Kind::Signed, 4, true)),
    ("u64le", number(Kind::Unsigned, 8, false)),
    ("u64be", number(Kind::Unsigned, 8, true)),
    ("f32le", number(Kind::Float, 4, false)),
    ("f32be", number(Kind::Float, 4, true)),
    ("f64le", number(Kind::Float, 8, false)),
    ("f64be", number(Kind::Float, 8, true)),
];

impl NumberType {
    pub(super) fn bytes(self) -> usize {
        self.bytes
    }

    /// The bits of the number, lowest first.
    pub(super) fn unsigned(self, bytes: &[u8]) -> u64 {
        let shift = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        match self.big {
            true => bytes.iter().fold(0, shift),
            false => bytes.iter().rev().fold(0, shift),
        }
    }

    pub(super) fn value(self, bytes: &[u8]) -> f64 {
        let bits = self.unsigned(bytes);
        match self.kind {
            Kind::Unsigned => bits as f64,
            Kind::Signed => self.signed(bits) as f64,
            Kind::Float if self.bytes == 4 => f64::from(f32::from_bits(bits as u32)),
            Kind::Float => f64::from_bits(bits),
        }
    }

    fn signed(self, bits: u64) -> i64 {
        // The shift back brings the sign down.
        let unused = 64 - 8 * self.bytes as u32;
        (bits << unused) as i64 >> unused
    }

    /// Nanoseconds of so many units.
    pub(super) fn ns(self, bytes: &[u8], unit_ns: i64) -> Option<i64> {
        let bits = self.unsigned(bytes);
        let whole = match self.kind {
            Kind::Unsigned => i128::from(bits),
            Kind::Signed => i128::from(self.signed(bits)),
            Kind::Float => {
                let ns = self.value(bytes) * unit_ns as f64;
                // The bound is the first value that does not fit.
                return (ns.abs() < 9_223_372_036_854_775_808.0).then_some(ns as i64);
            }
        };
        i64::try_from(whole * i128::from(unit_ns)).ok()
    }

    /// The narrowest type that holds every such number; none where no type does.
    fn sample_type(self) -> Option<SampleType> {
        match (self.kind, self.bytes) {
            (Kind::Unsigned, 1) | (Kind::Signed, 1 | 2) => Some(SampleType::I16),
            (Kind::Unsigned, 2) | (Kind::Signed, 3) => Some(SampleType::I24),
            (Kind::Unsigned, 3) | (Kind::Signed, 4) => Some(SampleType::I32),
            (Kind::Float, 4) => Some(SampleType::F32),
            (Kind::Unsigned, 4) | (Kind::Float, 8) => Some(SampleType::F64),
            _ => None,
        }
    }
}

impl PackedFields {
    pub(super) fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Bytes of a record.
    pub fn length_bytes(&self) -> usize {
        self.length_bytes
    }

    /// Samples of all channels in a record.
    pub fn samples(&self) -> usize {
        self.sample_fields().map(|field| field.count).sum()
    }

    /// Bits of a sample as the record has it; of the widest.
    pub fn sample_bits(&self) -> u8 {
        let widest = self.sample_fields().map(|field| field.number.bytes).max();
        u8::try_from(widest.unwrap_or(1) * 8).unwrap_or(u8::MAX)
    }

    /// The narrowest sample type that holds whatever the samples are.
    pub fn sample_type(&self) -> SampleType {
        let types = self.sample_fields().filter_map(|field| field.number.sample_type());
        types.reduce(wider).unwrap_or(SampleType::F64)
    }

    /// Bits of the field that counts records, where there is one.
    pub fn sequence_bits(&self) -> Option<u32> {
        let field = self.fields.iter().find(|field| field.role == Role::Sequence)?;
        Some(8 * field.number.bytes as u32)
    }

    /// True if a field holds the time.
    pub fn has_time(&self) -> bool {
        self.fields.iter().any(|field| field.role == Role::Time)
    }

    pub(super) fn time_unit(&self) -> TimeUnit {
        self.time_unit
    }

    /// The same with times of this unit; without it they are nanoseconds.
    pub fn with_time_unit(self, time_unit: TimeUnit) -> Self {
        Self { time_unit, ..self }
    }

    fn sample_fields(&self) -> impl Iterator<Item = &Field> {
        self.fields.iter().filter(|field| field.role == Role::Samples)
    }
}

/// A type that holds what both hold.
fn wider(a: SampleType, b: SampleType) -> SampleType {
    let order = |sample_type| SampleType::ALL.iter().position(|known| *known == sample_type);
    let (low, high) = if order(a) <= order(b) { (a, b) } else { (b, a) };
    match (low, high) {
        (SampleType::I32, SampleType::F32) => SampleType::F64,
        (_, high) => high,
    }
}

impl FromStr for PackedFields {
    type Err = PackedError;

    fn from_str(text: &str) -> Result<Self, PackedError> {
        let mut fields: Vec<Field> = Vec::new();
        let mut length_bytes = 0_usize;
        let mut at = 0;
        for part in text.split(',') {
            let field = Word { text: part, at }.trimmed();
            at += part.chars().count() + 1;
            let mut parsed = field.parse()?;
            if parsed.role != Role::Samples
                && parsed.role != Role::Ignored
                && fields.iter().any(|before| before.role == parsed.role)
            {
                return Err(field.refuse(format!("'{}' is there before", field.name().text)));
            }
            parsed.offset = length_bytes;
            length_bytes = length_bytes.saturating_add(parsed.count.saturating_mul(parsed.number.bytes));
            if length_bytes > MAX_LENGTH_BYTES {
                return Err(field.refuse(format!("a record may have at most {MAX_LENGTH_BYTES} bytes")));
            }
            fields.push(parsed);
        }
        if !fields.iter().any(|field| field.role == Role::Samples) {
            let reason = "no field is named 'samples'".to_owned();
            return Err(PackedError { character: 1, reason });
        }
        Ok(Self { fields, length_bytes, time_unit: TimeUnit::Nanoseconds })
    }
}

/// A part of the text and the characters before it.
#[derive(Clone, Copy)]
struct Word<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Word<'t> {
    fn trimmed(self) -> Self {
        let text = self.text.trim_start();
        let at = self.at + self.text.chars().count() - text.chars().count();
        Self { text: text.trim_end(), at }
    }

    /// What stands before and behind the first of `characters`.
    fn split_once(self, splits: impl Fn(char) -> bool) -> Option<(Self, Self)> {
        let (place, character) = self.text.char_indices().find(|(_, character)| splits(*character))?;
        let (before, behind) = self.text.split_at_checked(place)?;
        let at = self.at + before.chars().count() + 1;
        let behind = behind.strip_prefix(character).unwrap_or(behind);
        Some((Self { text: before, at: self.at }.trimmed(), Self { text: behind, at }.trimmed()))
    }

    fn refuse(self, reason: String) -> PackedError {
        PackedError { character: self.at + 1, reason }
    }

    /// The last word, which names the field.
    fn name(self) -> Self {
        let (_, rest) = self.split_once(|c| c == '*').unwrap_or((self, self));
        rest.split_once(char::is_whitespace).map_or(rest, |(_, name)| name)
    }

    fn parse(self) -> Result<Field, PackedError> {
        if self.text.is_empty() {
            return Err(self.refuse("a field is missing: between commas stand a type and a name".to_owned()));
        }
        let (count, rest) = match self.split_once(|c| c == '*') {
            Some((count, rest)) => (count.count()?, rest),
            None => (1, self),
        };
        let pad = Field { number: number(Kind::Unsigned, 1, false), count, role: Role::Ignored, offset: 0 };
        let Some((kind, name)) = rest.split_once(char::is_whitespace) else {
            if rest.text == "pad" {
                return Ok(pad);
            }
            rest.number_type()?;
            return Err(rest.refuse(format!("'{}' has no name: samples, seq, time, _ or another", rest.text)));
        };
        let number = kind.number_type()?;
        if !name.text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
            return Err(name.refuse(format!("{:?} is no name: letters, digits, '_' and '-'", name.text)));
        }
        let role = match name.text {
            "samples" => Role::Samples,
            "seq" => Role::Sequence,
            "time" => Role::Time,
            _ => Role::Ignored,
        };
        match role {
            Role::Sequence if number.kind != Kind::Unsigned => {
                Err(kind.refuse(format!("'{}' cannot count records: take an unsigned type", kind.text)))
            }
            Role::Sequence | Role::Time if count > 1 => {
                Err(self.refuse(format!("'{}' is one number", name.text)))
            }
            Role::Samples if number.sample_type().is_none() => {
                Err(kind.refuse(format!("no sample type holds a '{}'", kind.text)))
            }
            _ => Ok(Field { number, role, ..pad }),
        }
    }

    fn count(self) -> Result<usize, PackedError> {
        let count = self.text.parse().ok().filter(|count| (1..=MAX_LENGTH_BYTES).contains(count));
        count.ok_or_else(|| {
            self.refuse(format!("{:?} is no number from 1 to {MAX_LENGTH_BYTES} before '*'", self.text))
        })
    }

    fn number_type(self) -> Result<NumberType, PackedError> {
        if let Some((_, found)) = TYPES.iter().find(|(name, _)| *name == self.text) {
            return Ok(*found);
        }
        let both = TYPES.iter().any(|(name, _)| name.strip_suffix("le") == Some(self.text));
        if both {
            let name = self.text;
            return Err(self.refuse(format!(
                "'{name}' does not say which byte comes first: '{name}le' the lowest, '{name}be' the highest"
            )));
        }
        // What other languages call i16 is s16 here.
        let signed = self.text.strip_prefix('i').map(|rest| format!("s{rest}"));
        let meant = signed.as_deref().unwrap_or(self.text);
        let begins = TYPES.iter().map(|(name, _)| *name).find(|name| name.starts_with(meant));
        let nearest = TYPES.iter().map(|(name, _)| (strsim::damerau_levenshtein(meant, name), *name));
        let nearest = nearest.min_by_key(|(distance, _)| *distance).filter(|(distance, _)| *distance <= 2);
        let nearest = begins.filter(|_| !meant.is_empty()).or(nearest.map(|(_, name)| name));
        let suggestion = nearest.map_or_else(
            || "one of u8, s8, and u16, s16, u24, s24, u32, s32, u64, f32, f64 with le or be".to_owned(),
            |name| format!("did you mean '{name}'?"),
        );
        Err(self.refuse(format!("{:?} is no type ({suggestion})", self.text)))
    }
}
