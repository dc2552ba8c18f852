//! SLIP (RFC 1055).

use bytes::Bytes;

use super::delimiter::Delimiter;
use super::{Check, Fault, Step, check};

const END: u8 = 0xc0;
const ESC: u8 = 0xdb;
const ESC_END: u8 = 0xdc;
const ESC_ESC: u8 = 0xdd;

pub(super) struct Slip {
    packets: Delimiter,
    max_length: usize,
    check: Option<Check>,
}

impl Slip {
    pub(super) fn new(max_length: usize, check: Option<Check>) -> Self {
        let max_length = max_length.saturating_add(check.map_or(0, |check| check.kind.width()));
        // Every byte may be two on the wire.
        let packets = Delimiter::new(END, max_length.saturating_mul(2), check.is_none());
        Self { packets, max_length, check }
    }

    pub(super) fn step(&mut self, bytes: &[u8]) -> Step {
        match self.packets.next(bytes) {
            Ok(body) => Step::of(body.len() + 1, self.record(body)),
            Err(step) => step,
        }
    }

    fn record(&self, body: &[u8]) -> Result<Bytes, Fault> {
        match unescaped(body) {
            Some(record) if record.len() > self.max_length => Err(Fault::TooLong),
            Some(record) => check::checked(record.into(), self.check),
            None => Err(Fault::Encoding),
        }
    }
}

fn unescaped(body: &[u8]) -> Option<Vec<u8>> {
    let mut record = Vec::with_capacity(body.len());
    let mut bytes = body.iter();
    while let Some(byte) = bytes.next() {
        record.push(match *byte {
            ESC => match *bytes.next()? {
                ESC_END => END,
                ESC_ESC => ESC,
                _ => return None,
            },
            byte => byte,
        });
    }
    Some(record)
}
