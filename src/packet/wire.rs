//! Packets as bytes.

use std::ops::AddAssign;

use super::bits::BitWriter;
use super::error::PacketError;
use super::fields::{Fields, put};
use super::side_code::{self, SideShape};
use super::{ChannelSide, Header, Layer, LayerId, MAX_PACKET_BYTES, Packet, header};

/// Bytes of the checksum at the end.
pub(super) const CHECKSUM_BYTES: usize = 4;
/// Scales that stay within doubles.
const SCALE_STEPS: std::ops::RangeInclusive<i32> = -17_000..=16_000;

/// Where the bytes of packets go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketParts {
    /// Version, model, flags, shape, frame number and time.
    pub header: u64,
    /// Scaling of frames and channels.
    pub side: u64,
    /// Layers, with their ids and lengths.
    pub indices: u64,
    /// The checksum.
    pub checksum: u64,
}

impl PacketParts {
    /// All bytes of the packets.
    pub fn total(&self) -> u64 {
        self.header + self.side + self.indices + self.checksum
    }
}

impl AddAssign for PacketParts {
    fn add_assign(&mut self, other: Self) {
        self.header += other.header;
        self.side += other.side;
        self.indices += other.indices;
        self.checksum += other.checksum;
    }
}

impl Header {
    /// Reads the header at the start of a packet's bytes without checking the checksum.
    ///
    /// # Errors
    /// As for [`Packet::from_bytes`].
    pub fn read(bytes: &[u8]) -> Result<Self, PacketError> {
        header::read(&mut Fields::new(bytes, "packet")).map(|(header, _)| header)
    }
}

impl Packet {
    /// The packet as bytes, in the lowest version that can hold it.
    ///
    /// # Errors
    /// The packet contradicts itself or exceeds a limit of the format.
    pub fn to_bytes(&self) -> Result<Vec<u8>, PacketError> {
        self.to_bytes_and_parts().map(|(bytes, _)| bytes)
    }

    /// As [`Packet::to_bytes`], and where the bytes go.
    ///
    /// # Errors
    /// The same.
    pub fn to_bytes_and_parts(&self) -> Result<(Vec<u8>, PacketParts), PacketError> {
        let shape = SideShape {
            channels: usize::from(self.header.channels),
            sample_type: self.header.sample_type,
            constants: self.side.iter().any(|entry| entry.is_constant()),
        };
        let mut bytes = Vec::new();
        header::write(&mut bytes, &self.header, shape.constants)?;
        let header_end = bytes.len();

        let entries = self.header.frames as usize * shape.channels;
        if self.side.len() != entries {
            return Err(PacketError::invalid(format!(
                "packet: {} entries of side information for {} frames of {} channels",
                self.side.len(),
                self.header.frames,
                self.header.channels
            )));
        }
        check_side(&self.side, shape).map_err(PacketError::invalid)?;
        let mut bits = BitWriter::after(bytes);
        side_code::encode(&mut bits, &self.side, shape);
        let mut bytes = bits.finish();
        let side_end = bytes.len();

        check_layers(&self.layers).map_err(PacketError::invalid)?;
        for layer in &self.layers {
            put(&mut bytes, layer.id.code())?;
            put(&mut bytes, layer.payload.len() as u64)?;
            bytes.extend_from_slice(&layer.payload);
        }
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        if bytes.len() > MAX_PACKET_BYTES {
            return Err(PacketError::invalid(format!(
                "packet: {} bytes; at most {MAX_PACKET_BYTES} are possible",
                bytes.len()
            )));
        }
        let parts = parts(header_end, side_end, bytes.len());
        Ok((bytes, parts))
    }

    /// The packet that `bytes` are, all of them.
    ///
    /// What it allocates is bounded by the number of bytes: 64 for each of them.
    ///
    /// # Errors
    /// [`ErrorKind::Corruption`](super::ErrorKind::Corruption),
    /// [`InsufficientData`](super::ErrorKind::InsufficientData) or
    /// [`UnsupportedVersion`](super::ErrorKind::UnsupportedVersion).
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PacketError> {
        Self::from_bytes_and_parts(bytes).map(|(packet, _)| packet)
    }

    /// As [`Packet::from_bytes`], and where the bytes go.
    ///
    /// # Errors
    /// The same.
    pub fn from_bytes_and_parts(bytes: &[u8]) -> Result<(Self, PacketParts), PacketError> {
        if bytes.len() > MAX_PACKET_BYTES {
            return Err(PacketError::corruption(format!(
                "packet: {} bytes; at most {MAX_PACKET_BYTES} are possible",
                bytes.len()
            )));
        }
        let content = checked(bytes, "packet")?;
        let mut fields = Fields::new(content, "packet");
        let (header, constants) = header::read(&mut fields)?;
        let header_end = fields.position();

        let shape =
            SideShape { channels: usize::from(header.channels), sample_type: header.sample_type, constants };
        let (side, side_bytes) = side_code::decode(fields.rest(), header.frames as usize, shape)?;
        check_side(&side, shape).map_err(PacketError::corruption)?;
        fields.take_bytes(side_bytes, "side information")?;
        let side_end = fields.position();

        let mut layers = Vec::new();
        while !fields.rest().is_empty() {
            let code: u32 = fields.take("layer id")?;
            let id = LayerId::of(code).ok_or_else(|| {
                PacketError::unsupported(format!("packet: layer {code} needs a newer version"))
            })?;
            let length: u64 = fields.take("layer length")?;
            let payload = fields.take_bytes(usize::try_from(length).unwrap_or(usize::MAX), "layer")?.to_vec();
            layers.push(Layer { id, payload });
            check_layers(&layers).map_err(PacketError::corruption)?;
        }
        Ok((Self { header, side, layers }, parts(header_end, side_end, bytes.len())))
    }
}

impl LayerId {
    /// The id of the layer in a packet.
    fn code(self) -> u32 {
        match self {
            Self::PackedCodes => 1,
        }
    }

    /// The inverse of [`LayerId::code`].
    fn of(code: u32) -> Option<Self> {
        (code == 1).then_some(Self::PackedCodes)
    }
}

/// `bytes` without the CRC32C at their end, which must be that of the rest; `what` is their name.
pub(super) fn checked<'a>(bytes: &'a [u8], what: &str) -> Result<&'a [u8], PacketError> {
    let Some((content, checksum)) = bytes.split_last_chunk::<CHECKSUM_BYTES>() else {
        return Err(PacketError::insufficient(format!(
            "{what}: {} bytes do not even hold a checksum",
            bytes.len()
        )));
    };
    let (stored, computed) = (u32::from_le_bytes(*checksum), crc32c::crc32c(content));
    if stored != computed {
        return Err(PacketError::corruption(format!(
            "{what}: its {} bytes have checksum {computed:08x}, not {stored:08x} as written: damaged or cut",
            bytes.len()
        )));
    }
    Ok(content)
}

/// Why side information cannot be that of such a packet.
fn check_side(side: &[ChannelSide], shape: SideShape) -> Result<(), String> {
    let SideShape { channels, sample_type, .. } = shape;
    for (index, &entry) in side.iter().enumerate() {
        let fits = match entry {
            ChannelSide::Constant(value) => sample_type.holds(value),
            ChannelSide::Scaled { scale_steps, .. } => {
                SCALE_STEPS.contains(&scale_steps) && entry.offset_and_scale().0.is_finite()
            }
        };
        if !fits {
            let (frame, channel) = (index / channels.max(1), index % channels.max(1));
            return Err(format!(
                "packet: frame {frame}, channel {channel} cannot be {entry:?} with samples of {sample_type}"
            ));
        }
    }
    Ok(())
}

/// Why layers cannot be those of a packet.
fn check_layers(layers: &[Layer]) -> Result<(), String> {
    match layers {
        [before @ .., last] if before.iter().any(|layer| layer.id == last.id) => {
            Err(format!("packet: a second layer of {:?}", last.id))
        }
        _ => Ok(()),
    }
}

fn parts(header_end: usize, side_end: usize, total: usize) -> PacketParts {
    PacketParts {
        header: header_end as u64,
        side: (side_end - header_end) as u64,
        indices: (total - CHECKSUM_BYTES - side_end) as u64,
        checksum: CHECKSUM_BYTES as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{any_packet, ecg};
    use super::super::{ErrorKind, MAX_PACKET_SAMPLES};
    use super::*;
    use proptest::prelude::*;

    /// `bytes` with the right checksum for them.
    fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
        bytes.truncate(bytes.len() - CHECKSUM_BYTES);
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    proptest! {
        #[test]
        fn packets_come_back(packet in any_packet()) {
            let (bytes, parts) = packet.to_bytes_and_parts().unwrap();
            prop_assert_eq!(parts.total(), bytes.len() as u64);
            prop_assert_eq!(Header::read(&bytes).unwrap(), packet.header.clone());
            prop_assert_eq!(Packet::from_bytes_and_parts(&bytes).unwrap(), (packet, parts));
        }

        #[test]
        fn a_changed_byte_is_refused(packet in any_packet(), at: prop::sample::Index, change in 1..=255_u8) {
            let mut bytes = packet.to_bytes().unwrap();
            *at.get_mut(&mut bytes[..]) ^= change;
            prop_assert_eq!(Packet::from_bytes(&bytes).unwrap_err().kind(), ErrorKind::Corruption);
        }

        /// A writer gone wrong may seal anything.
        #[test]
        fn a_sealed_change_is_safe(packet in any_packet(), at: prop::sample::Index, byte: u8) {
            let mut bytes = packet.to_bytes().unwrap();
            *at.get_mut(&mut bytes[..]) = byte;
            if let Ok(packet) = Packet::from_bytes(&sealed(bytes)) {
                prop_assert!(packet.to_bytes().is_ok());
            }
        }
    }

    #[test]
    fn a_cut_packet_is_refused() {
        let bytes = ecg(5, 3).to_bytes().unwrap();
        for cut in 0..bytes.len() {
            assert!(Packet::from_bytes(&bytes[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn the_header_of_an_ecg_takes_twenty_bytes() {
        let (_, parts) = ecg(100, 16).to_bytes_and_parts().unwrap();
        assert_eq!(parts, PacketParts { header: 20, side: 25, indices: 1028, checksum: 4 });
    }

    #[test]
    fn what_a_newer_writer_may_add_is_named() {
        let bytes = ecg(5, 1).to_bytes().unwrap();
        let layer = bytes.len() - CHECKSUM_BYTES - 64 - 2;
        assert_eq!(bytes[layer..layer + 2], [1, 64]);
        for (at, value, says) in [
            (0, 2, "needs version 2"),
            (9, 0x40, "flags"),
            (10, 1 << 3, "index coding 1"),
            (10, 5, "sample type 5"),
            (layer, 9, "layer 9"),
        ] {
            let mut bytes = bytes.clone();
            bytes[at] = value;
            let error = Packet::from_bytes(&sealed(bytes)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnsupportedVersion, "{error}");
            assert!(error.to_string().contains(says), "{error}");
        }
    }

    #[test]
    fn impossible_packets_are_not_written() {
        let good = ecg(0, 2);
        let header = |change: fn(&mut Header)| {
            let mut packet = ecg(0, 2);
            change(&mut packet.header);
            packet
        };
        let first = |entry| Packet { side: vec![entry, good.side[1]], ..good.clone() };
        let layers = [good.layers.clone(), good.layers.clone()].concat();
        for packet in [
            header(|h| h.frames = 0),
            header(|h| h.channels = 0),
            header(|h| h.channels = 2),
            header(|h| h.frame_size = 0),
            header(|h| h.frame_size = MAX_PACKET_SAMPLES as u32),
            header(|h| h.last_valid = 513),
            header(|h| h.last_valid = 0),
            header(|h| h.sample_rate_hz = f64::INFINITY),
            header(|h| h.first_frame = u64::MAX - 1),
            first(ChannelSide::Constant(0.5)),
            first(ChannelSide::Constant(40_000.0)),
            first(ChannelSide::Constant(f64::NAN)),
            first(ChannelSide::Scaled { scale_steps: 20_000, offset_steps: 0 }),
            first(ChannelSide::Scaled { scale_steps: 16_000, offset_steps: i64::MAX }),
            Packet { side: vec![], ..good.clone() },
            Packet { layers, ..good.clone() },
        ] {
            assert_eq!(packet.to_bytes().unwrap_err().kind(), ErrorKind::InvalidArgument, "{packet:?}");
        }
    }

    #[test]
    fn constants_cannot_stand_for_more_than_the_limit() {
        let silent = |frames| Packet {
            header: Header { frame_size: 1024, last_valid: 1024, ..ecg(0, frames).header },
            side: vec![ChannelSide::Constant(0.0); frames as usize],
            layers: vec![],
        };
        let bytes = silent(4096).to_bytes().unwrap();
        assert_eq!(Packet::from_bytes(&bytes).unwrap().header.valid_samples(), MAX_PACKET_SAMPLES);
        assert!(silent(4097).to_bytes().is_err());
    }
}
