//! Devices on pseudo-terminals, and what has to come out of what they send.
//!
//! A [`Device`] is a pseudo-terminal behind a link, as udev has links to devices by their names: it can be unplugged
//! and plugged in again. [`Sender`] writes to it as fast as a wire of 921,600 baud carries it, in pieces of any
//! length. [`decoded`] says, by the library and without the daemon, which samples come out of runs of samples.

mod device;
mod expected;
mod records;

pub use device::{Device, Sender};
pub use expected::{decoded, excerpt, recording_folder};
pub use records::{cobs, crc16_ccitt, length_delimited, patch_record};
