//! `[source]`, type `serial`.

use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use super::section::{Refused, Section};
use super::{decoding, framing};
use crate::source::serial::{CharSize, FlowControl, Parity, PortOptions, SerialOptions, StopBits};

const MIN_BAUD_RATE: usize = 50;
/// Faster than any adapter.
const MAX_BAUD_RATE: usize = 50_000_000;
const DAY_MS: usize = 24 * 60 * 60 * 1000;
const MIN_BUFFER_BYTES: usize = 1 << 12;
const MAX_BUFFER_BYTES: usize = 1 << 30;
/// Eleven seconds at 921,600 baud.
const DEFAULT_BUFFER_BYTES: usize = 1 << 20;

pub(super) const SOURCE_KEYS: &[&str] = &[
    "type",
    "path",
    "baud_rate",
    "data_bits",
    "parity",
    "stop_bits",
    "flow_control",
    "exclusive",
    "idle_timeout_ms",
    "buffer_bytes",
    "key",
    "framing",
    "decoding",
];

pub(super) fn read_source(section: &mut Section<'_>) -> Result<SerialOptions, Refused> {
    let port = read_port(section);
    let idle_timeout_ms = section.count("idle_timeout_ms", 1..=DAY_MS);
    let buffer_bytes =
        section.count_or("buffer_bytes", MIN_BUFFER_BYTES..=MAX_BUFFER_BYTES, DEFAULT_BUFFER_BYTES);
    let key = section.word("key");
    let framing = section.value("framing");
    let framing = section
        .required("framing", framing)
        .and_then(|value| framing::read(&section.key("framing"), value, section.report()));
    let decoding = section.value("decoding");
    let decoding = section
        .required("decoding", decoding)
        .and_then(|value| decoding::read(&section.key("decoding"), value, section.report()));
    if let (Ok(framing), Ok(decoding)) = (&framing, &decoding) {
        framing::check(section, framing, decoding)?;
    }
    let port = port?;
    let key = key?.unwrap_or_else(|| default_key(&port.path));
    Ok(SerialOptions {
        port,
        framing: framing?,
        decoding: decoding?,
        key,
        idle_timeout: idle_timeout_ms?.map(|ms| Duration::from_millis(ms.get() as u64)),
        buffer_bytes: buffer_bytes?.get(),
    })
}

fn read_port(section: &mut Section<'_>) -> Result<PortOptions, Refused> {
    let path = section.path("path");
    let path = section.required("path", path);
    let baud_rate = section.count("baud_rate", MIN_BAUD_RATE..=MAX_BAUD_RATE);
    let baud_rate = section.required("baud_rate", baud_rate);
    let data_bits = section.count_or("data_bits", 5..=8, 8);
    let parities = [("none", Parity::None), ("odd", Parity::Odd), ("even", Parity::Even)];
    let parity = section.choice("parity", &parities);
    let stop_bits = section.count_or("stop_bits", 1..=2, 1);
    let flow_controls =
        [("none", FlowControl::None), ("rts_cts", FlowControl::RtsCts), ("xon_xoff", FlowControl::XonXoff)];
    let flow_control = section.choice("flow_control", &flow_controls);
    let exclusive = section.flag("exclusive");
    Ok(PortOptions {
        path: path?,
        baud_rate: u32::try_from(baud_rate?.get()).unwrap_or(u32::MAX),
        data_bits: match data_bits?.get() {
            5 => CharSize::Bits5,
            6 => CharSize::Bits6,
            7 => CharSize::Bits7,
            _ => CharSize::Bits8,
        },
        parity: parity?.unwrap_or(Parity::None),
        stop_bits: if stop_bits?.get() == 2 { StopBits::Two } else { StopBits::One },
        flow_control: flow_control?.unwrap_or(FlowControl::None),
        exclusive: exclusive?.unwrap_or(true),
    })
}

/// The last part of the path, which names the device where it is a link of udev's.
fn default_key(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// A length in bytes; none where it is not given.
pub(super) fn bytes(count: Option<NonZeroUsize>, default: usize) -> usize {
    count.map_or(default, NonZeroUsize::get)
}
