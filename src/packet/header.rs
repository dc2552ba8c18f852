//! The header of a packet as bytes.

use super::error::PacketError;
use super::fields::{Fields, put};
use super::{Header, MAX_CHANNELS, MAX_FRAMES, MAX_PACKET_SAMPLES, PACKET_VERSION};
use crate::model::ModelId;
use crate::signal::SampleType;

/// The only index coding so far: a fixed number of bits for each code.
const PACKED: u8 = 0;

/// What holds for the packet, one bit each.
mod flag {
    pub(super) const KEY_PACKET: u8 = 1;
    pub(super) const AFTER_GAP: u8 = 1 << 1;
    pub(super) const HAS_TIME: u8 = 1 << 2;
    pub(super) const SHORT_LAST: u8 = 1 << 3;
    pub(super) const WHOLE_RATE: u8 = 1 << 4;
    pub(super) const CONSTANTS: u8 = 1 << 5;
    pub(super) const KNOWN: u8 = (1 << 6) - 1;
}

/// Appends the header; `constants` says whether the side information marks constants.
pub(super) fn write(out: &mut Vec<u8>, header: &Header, constants: bool) -> Result<(), PacketError> {
    check(header).map_err(PacketError::invalid)?;
    let whole_rate = whole_rate(header.sample_rate_hz);
    let short_last = header.last_valid < header.frame_size;
    let flags = [
        (header.key_packet, flag::KEY_PACKET),
        (header.after_gap, flag::AFTER_GAP),
        (header.time_ns.is_some(), flag::HAS_TIME),
        (short_last, flag::SHORT_LAST),
        (whole_rate.is_some(), flag::WHOLE_RATE),
        (constants, flag::CONSTANTS),
    ];
    put(out, PACKET_VERSION)?;
    out.extend_from_slice(&header.model.0);
    put(out, flags.iter().filter(|(set, _)| *set).fold(0, |all, (_, bit)| all | bit))?;
    put(out, header.sample_type.code() | PACKED << 3)?;
    put(out, header.channels)?;
    match whole_rate {
        Some(rate) => put(out, rate)?,
        None => put(out, header.sample_rate_hz)?,
    }
    put(out, header.frame_size)?;
    put(out, header.frames)?;
    put(out, header.first_frame)?;
    if let Some(time) = header.time_ns {
        put(out, time)?;
    }
    if short_last {
        put(out, header.last_valid)?;
    }
    Ok(())
}

/// Takes the header; also whether the side information marks constants.
pub(super) fn read(fields: &mut Fields<'_>) -> Result<(Header, bool), PacketError> {
    let version: u8 = fields.take("version")?;
    if version > PACKET_VERSION {
        return Err(PacketError::unsupported(format!(
            "packet: needs version {version}; this build reads up to version {PACKET_VERSION}"
        )));
    }
    if version == 0 {
        return Err(PacketError::corruption("packet: version 0 does not exist"));
    }
    let model = ModelId(fields.take("model id")?);
    let flags: u8 = fields.take("flags")?;
    if flags & !flag::KNOWN != 0 {
        return Err(PacketError::unsupported(format!("packet: flags {flags:#04x} need a newer version")));
    }
    let has = |bit| flags & bit != 0;
    let format: u8 = fields.take("sample type")?;
    let (code, index_coding) = (format & 7, format >> 3);
    if index_coding != PACKED {
        return Err(PacketError::unsupported(format!(
            "packet: index coding {index_coding} needs a newer version; this build reads coding {PACKED} (packed)"
        )));
    }
    let sample_type = SampleType::of_code(code).ok_or_else(|| {
        PacketError::unsupported(format!("packet: sample type {code} needs a newer version"))
    })?;
    let channels = fields.take("channels")?;
    let sample_rate_hz = match has(flag::WHOLE_RATE) {
        true => f64::from(fields.take::<u32>("sample rate")?),
        false => fields.take("sample rate")?,
    };
    let frame_size = fields.take("frame size")?;
    let frames = fields.take("number of frames")?;
    let first_frame = fields.take("first frame")?;
    let time_ns = if has(flag::HAS_TIME) { Some(fields.take("time")?) } else { None };
    let last_valid = if has(flag::SHORT_LAST) { fields.take("valid samples")? } else { frame_size };
    let header = Header {
        model,
        key_packet: has(flag::KEY_PACKET),
        after_gap: has(flag::AFTER_GAP),
        sample_type,
        channels,
        sample_rate_hz,
        frame_size,
        first_frame,
        time_ns,
        frames,
        last_valid,
    };
    check(&header).map_err(PacketError::corruption)?;
    Ok((header, has(flag::CONSTANTS)))
}

/// The rate if it is a whole number that fits.
fn whole_rate(rate: f64) -> Option<u32> {
    let whole = rate as u32;
    (f64::from(whole) == rate).then_some(whole)
}

/// Why no packet can have this header.
fn check(header: &Header) -> Result<(), String> {
    let Header { channels, frames, frame_size, first_frame, last_valid, sample_rate_hz, .. } = *header;
    if !(1..=MAX_CHANNELS).contains(&channels) {
        return Err(format!("packet: {channels} channels; 1 to {MAX_CHANNELS} are possible"));
    }
    if !(1..=MAX_FRAMES).contains(&frames) {
        return Err(format!("packet: {frames} frames; 1 to {MAX_FRAMES} are possible"));
    }
    let samples = u64::from(frames) * u64::from(channels);
    let samples = samples.saturating_mul(u64::from(frame_size));
    if samples == 0 || samples > MAX_PACKET_SAMPLES {
        return Err(format!(
            "packet: {frames} frames of {frame_size} samples and {channels} channels; \
             1 to {MAX_PACKET_SAMPLES} samples are possible"
        ));
    }
    if !(1..=frame_size).contains(&last_valid) {
        return Err(format!("packet: {last_valid} valid samples in a frame of {frame_size}"));
    }
    if !(sample_rate_hz.is_finite() && sample_rate_hz > 0.0) {
        return Err(format!("packet: a sample rate of {sample_rate_hz} Hz is not possible"));
    }
    if first_frame.checked_add(u64::from(frames)).is_none() {
        return Err(format!("packet: no {frames} frames can follow number {first_frame}"));
    }
    Ok(())
}
