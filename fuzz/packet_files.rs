//! `.rvl` files for decoders to be fed with.

use std::io::Cursor;

use rivulet::packet::rvl::{Event, Part, Reader, recover};

/// Reads a file in every way there is; panics where that comes to no end.
pub(crate) fn read(bytes: &[u8]) {
    let mut reader = Reader::new(bytes);
    let mut events = 0;
    while let Ok(event) = reader.next_event() {
        events += 1;
        assert!(events <= bytes.len() + 1, "more events than bytes");
        if let Event::End { .. } = event {
            break;
        }
    }
    if let Ok(Some(mut part)) = Part::open(Cursor::new(bytes)) {
        while !matches!(part.next_event(&mut |_| true), Ok(Event::End { .. }) | Err(_)) {}
    }
    let _ = recover(bytes);
}

/// A record as `docs/packet-format.md` lays it down.
pub(crate) fn record(kind: u8, number: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32 + 4).to_le_bytes();
    let mut record = vec![0xB7, kind, length[0], length[1], length[2], number];
    let check = crc32c::crc32c(&record);
    record.extend_from_slice(&((check ^ (check >> 16)) as u16).to_le_bytes());
    record.extend_from_slice(payload);
    record.extend_from_slice(&crc32c::crc32c(payload).to_le_bytes());
    record
}
