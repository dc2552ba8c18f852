//! Numbers and cells as texts have them.

use crate::signal::SampleType;

/// What to do about a cell that [`has_decimal_comma`].
pub(super) const DECIMAL_COMMA: &str = "has a decimal comma: write numbers with a decimal point";

/// The cells of a line, without the space and the quotes around them.
pub(super) fn cells(line: &[u8], delimiter: u8) -> impl Iterator<Item = &[u8]> {
    let mut in_quotes = false;
    let ends_cell = move |byte: &u8| {
        in_quotes ^= *byte == b'"';
        *byte == delimiter && !in_quotes
    };
    line.split(ends_cell).map(|cell| {
        let cell = cell.trim_ascii();
        cell.strip_prefix(b"\"").and_then(|cell| cell.strip_suffix(b"\"")).unwrap_or(cell)
    })
}

/// The number in a cell, finite or not.
pub(super) fn number(cell: &str) -> Option<f64> {
    cell.parse().ok()
}

/// `value` as `sample_type` holds it, or what it should be: counts have to be held exactly, floats are rounded
/// to their precision.
pub(super) fn fit(value: f64, sample_type: SampleType) -> Result<f64, &'static str> {
    let sample = match sample_type {
        SampleType::F32 => SampleType::F32.nearest(value),
        _ => value,
    };
    if sample_type.holds(sample) {
        return Ok(sample);
    }
    Err(match sample_type {
        SampleType::I16 => "a whole number that fits i16",
        SampleType::I24 => "a whole number that fits i24",
        SampleType::I32 => "a whole number that fits i32",
        SampleType::F32 => "a finite number that fits f32",
        SampleType::F64 => "a finite number",
    })
}

/// True for a number whose decimal point is a comma.
pub(super) fn has_decimal_comma(cell: &[u8]) -> bool {
    let cell = String::from_utf8_lossy(cell);
    cell.matches(',').count() == 1 && number(&cell.replace(',', ".")).is_some()
}

/// A text without the mark that some editors put at its start.
pub(super) fn without_byte_order_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)
}

/// A cell as it can stand in a message of one line.
pub(super) fn quoted(cell: &[u8]) -> String {
    const MAX_CHARS: usize = 40;
    let text = String::from_utf8_lossy(cell);
    let start: String = text.chars().take(MAX_CHARS).collect();
    let more = if start.len() < text.len() { "..." } else { "" };
    format!("{start:?}{more}")
}
