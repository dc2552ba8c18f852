//! `[source.framing]`: where records begin and end on a wire.

use std::fmt::Display;

use super::section::{Kind, Refused, Report, Section, read_kind_by};
use super::serial::bytes;
use super::value::Value;
use crate::source::decoding::{Codec, DecodingOptions};
use crate::source::file::Endian;
use crate::source::serial::framing::{
    Check, CheckKind, Covers, Escape, FramingOptions, LengthCounts, LengthField, Method,
};

const MAX_LENGTH: usize = 1 << 16;
const DEFAULT_MAX_LENGTH: usize = 4096;
const MAX_SYNC_BYTES: usize = 16;
/// What HDLC and PPP take.
const DEFAULT_ESCAPE_XOR: u8 = 0x20;

pub(super) const METHODS: &[Kind<FramingOptions>] = &[
    Kind { name: "newline_delimited", keys: &["method", "max_length"], read: read_newline_delimited },
    Kind {
        name: "fixed",
        keys: &["method", "length", "sync", "check", "check_endian", "check_from"],
        read: read_fixed,
    },
    Kind {
        name: "length_delimited",
        keys: &[
            "method",
            "sync",
            "length_type",
            "length_counts",
            "max_length",
            "check",
            "check_endian",
            "check_from",
        ],
        read: read_length_delimited,
    },
    Kind {
        name: "cobs",
        keys: &["method", "max_length", "check", "check_endian"],
        read: |section| read_encoded(section, |max_length| Method::Cobs { max_length }),
    },
    Kind {
        name: "slip",
        keys: &["method", "max_length", "check", "check_endian"],
        read: |section| read_encoded(section, |max_length| Method::Slip { max_length }),
    },
    Kind {
        name: "start_end",
        keys: &["method", "start", "end", "escape", "escape_xor", "max_length", "check", "check_endian"],
        read: read_start_end,
    },
];

const CHECKS: [(&str, CheckKind); 6] = [
    ("crc16-ccitt", CheckKind::Crc16Ccitt),
    ("crc16-xmodem", CheckKind::Crc16Xmodem),
    ("crc16-modbus", CheckKind::Crc16Modbus),
    ("crc32", CheckKind::Crc32),
    ("xor8", CheckKind::Xor8),
    ("sum8", CheckKind::Sum8),
];

/// Reads the table at `path`.
pub(super) fn read(path: &str, value: Value, report: &Report<'_>) -> Result<FramingOptions, Refused> {
    read_kind_by("method", path, value, METHODS, report)
}

fn read_newline_delimited(section: &mut Section<'_>) -> Result<FramingOptions, Refused> {
    let max_length = read_max_length(section)?;
    Ok(FramingOptions { method: Method::NewlineDelimited { max_length }, check: None })
}

fn read_fixed(section: &mut Section<'_>) -> Result<FramingOptions, Refused> {
    let length = section.count("length", 1..=MAX_LENGTH);
    let length = section.required("length", length);
    let sync = read_sync(section);
    let froms = [("record", Covers::Record), ("sync", Covers::Sync)];
    let check = read_check(section, Some(&froms));
    let (length, sync, check) = (length?.get(), sync?, check?);
    let others = sync.len() + width(check);
    if length <= others {
        let reason =
            format!("is {length}, and sync and check alone take {others}: it counts the whole record");
        return Err(section.refuse("length", reason));
    }
    needs_a_mark(section, &sync, check)?;
    Ok(FramingOptions { method: Method::Fixed { length, sync }, check })
}

fn read_length_delimited(section: &mut Section<'_>) -> Result<FramingOptions, Refused> {
    let sync = read_sync(section);
    let types = [
        ("u8", (1, Endian::Little)),
        ("u16le", (2, Endian::Little)),
        ("u16be", (2, Endian::Big)),
        ("u32le", (4, Endian::Little)),
        ("u32be", (4, Endian::Big)),
    ];
    let length_type = section.choice("length_type", &types);
    let length_type = section.required("length_type", length_type);
    let counts = [
        ("record", LengthCounts::Record),
        ("record_and_check", LengthCounts::RecordAndCheck),
        ("all", LengthCounts::All),
    ];
    let counts = section.choice("length_counts", &counts);
    let max_length = read_max_length(section);
    let froms = [("record", Covers::Record), ("length", Covers::Length), ("sync", Covers::Sync)];
    let check = read_check(section, Some(&froms));
    let ((bytes, endian), sync, check) = (length_type?, sync?, check?);
    let counts = counts?.unwrap_or(LengthCounts::Record);
    if counts == LengthCounts::RecordAndCheck && check.is_none() {
        return Err(section.refuse("length_counts", "counts a check, but there is none: give check"));
    }
    needs_a_mark(section, &sync, check)?;
    let method = Method::LengthDelimited {
        sync,
        field: LengthField { bytes, endian },
        counts,
        max_length: max_length?,
    };
    Ok(FramingOptions { method, check })
}

fn read_encoded(
    section: &mut Section<'_>,
    method: impl Fn(usize) -> Method,
) -> Result<FramingOptions, Refused> {
    let max_length = read_max_length(section);
    let check = read_check(section, None);
    Ok(FramingOptions { method: method(max_length?), check: check? })
}

fn read_start_end(section: &mut Section<'_>) -> Result<FramingOptions, Refused> {
    let start = section.byte("start");
    let start = section.required("start", start);
    let end = section.byte("end");
    let end = section.required("end", end);
    let escape = section.byte("escape");
    let xor = section.byte("escape_xor");
    let max_length = read_max_length(section);
    let check = read_check(section, None);
    let (start, end) = (start?, end?);
    let escape = match (escape?, xor?) {
        (Some(byte), xor) => Some(Escape { byte, xor: xor.unwrap_or(DEFAULT_ESCAPE_XOR) }),
        (None, Some(_)) => return Err(section.refuse("escape_xor", "means nothing without escape")),
        (None, None) => None,
    };
    let check = check?;
    match escape {
        Some(Escape { byte, .. }) if byte == start || byte == end => {
            return Err(section.refuse("escape", "has to be another byte than start and end"));
        }
        Some(Escape { xor: 0, .. }) if start == end => {
            return Err(section.refuse("escape_xor", "may not be 0 where start and end are the same byte"));
        }
        Some(Escape { byte, xor }) if xor != 0 => {
            let marks = [start, end, byte];
            if marks.iter().any(|mark| marks.contains(&(mark ^ xor))) {
                let reason = format!("{xor:#04x} makes one of start, end and escape of another of them");
                return Err(section.refuse("escape_xor", reason));
            }
        }
        None if check.is_some() => {
            let reason = "is bytes, which may be those of start and end: give escape";
            return Err(section.refuse("check", reason));
        }
        _ => {}
    }
    let method = Method::StartEnd { start, end, escape, max_length: max_length? };
    Ok(FramingOptions { method, check })
}

fn read_max_length(section: &mut Section<'_>) -> Result<usize, Refused> {
    Ok(bytes(section.count("max_length", 1..=MAX_LENGTH)?, DEFAULT_MAX_LENGTH))
}

fn read_sync(section: &mut Section<'_>) -> Result<Vec<u8>, Refused> {
    let sync = section.items("sync", "an array of bytes", |value| match value {
        Value::Integer(byte) => u8::try_from(*byte).map_err(|_| format!("{byte} is no byte: 0 to 255")),
        other => Err(format!("expected a byte, 0 to 255, found {}", other.describe())),
    })?;
    match sync {
        Some(sync) if sync.is_empty() || sync.len() > MAX_SYNC_BYTES => {
            Err(section.refuse("sync", format!("has {} bytes: give 1 to {MAX_SYNC_BYTES}", sync.len())))
        }
        sync => Ok(sync.unwrap_or_default()),
    }
}

/// The check; where it may begin elsewhere than with the record, `froms` says where.
fn read_check(
    section: &mut Section<'_>,
    froms: Option<&[(&'static str, Covers)]>,
) -> Result<Option<Check>, Refused> {
    let kind = section.choice("check", &CHECKS);
    let endian = section.choice("check_endian", &[("little", Endian::Little), ("big", Endian::Big)]);
    let covers = froms.map_or(Ok(None), |froms| section.choice("check_from", froms));
    let (kind, endian, covers) = (kind?, endian?, covers?);
    let Some(kind) = kind else {
        let given = [("check_endian", endian.is_some()), ("check_from", covers.is_some())];
        return match given.iter().find(|(_, given)| *given) {
            Some((key, _)) => Err(section.refuse(key, "means nothing without check")),
            None => Ok(None),
        };
    };
    if endian.is_some() && kind.width() == 1 {
        return Err(section.refuse("check_endian", "means nothing for a check of one byte"));
    }
    let endian = match endian {
        None if kind.width() > 1 => {
            return Err(section.refuse("check_endian", "missing beside check; one of little, big"));
        }
        endian => endian.unwrap_or(Endian::Little),
    };
    Ok(Some(Check { kind, endian, covers: covers.unwrap_or(Covers::Record) }))
}

fn width(check: Option<Check>) -> usize {
    check.map_or(0, |check| check.kind.width())
}

fn needs_a_mark(section: &Section<'_>, sync: &[u8], check: Option<Check>) -> Result<(), Refused> {
    if sync.is_empty() && check.is_none() {
        let reason = "needs sync or check: without both nothing tells where a record begins";
        return Err(section.refuse("method", reason));
    }
    Ok(())
}

/// Refuses framing and decoding of the source that do not go together.
pub(super) fn check(
    source: &Section<'_>,
    framing: &FramingOptions,
    decoding: &DecodingOptions,
) -> Result<(), Refused> {
    let path = source.key("framing");
    let refuse = |key: &str, reason: &dyn Display| {
        Err(source.report().refuse(&format!("{path}.{key}"), reason.to_string()))
    };
    let binary = matches!(decoding.codec, Codec::Raw { .. } | Codec::Packed(_));
    match &framing.method {
        Method::NewlineDelimited { .. } if binary => refuse(
            "method",
            &"ends records at a byte that binary samples may hold, too: take \"cobs\" or \"length_delimited\", or a \
              codec of text",
        ),
        Method::StartEnd { escape: None, .. } if binary => refuse(
            "escape",
            &"missing: binary samples may hold the bytes of start and end, too; or take a codec of text",
        ),
        Method::Fixed { length, sync } => {
            let left = length - sync.len() - width(framing.check);
            let row_bytes = usize::from(decoding.sample_type.bits() / 8) * decoding.channels.len();
            match &decoding.codec {
                Codec::Packed(fields) if fields.length_bytes() != left => refuse(
                    "length",
                    &format_args!(
                        "{length} bytes leave {left} for the record, but the fields of decoding take {}",
                        fields.length_bytes()
                    ),
                ),
                Codec::Raw { .. } if !left.is_multiple_of(row_bytes.max(1)) => refuse(
                    "length",
                    &format_args!(
                        "{length} bytes leave {left} for the record, which are not whole rows of {row_bytes} bytes"
                    ),
                ),
                _ => Ok(()),
            }
        }
        Method::LengthDelimited { max_length, .. }
        | Method::Cobs { max_length }
        | Method::Slip { max_length }
        | Method::StartEnd { max_length, .. } => match &decoding.codec {
            Codec::Packed(fields) if fields.length_bytes() > *max_length => refuse(
                "max_length",
                &format_args!("is {max_length}, but the fields of decoding take {}", fields.length_bytes()),
            ),
            _ => Ok(()),
        },
        Method::NewlineDelimited { .. } => Ok(()),
    }
}
