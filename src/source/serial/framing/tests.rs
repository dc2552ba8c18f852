use proptest::prelude::*;

use super::*;

const MAX: usize = 40;

fn check(kind: CheckKind, endian: Endian) -> Check {
    Check { kind, endian, covers: Covers::Record }
}

fn options(method: Method, check: Option<Check>) -> FramingOptions {
    FramingOptions { method, check }
}

fn length_delimited(sync: &[u8], bytes: usize, endian: Endian, counts: LengthCounts) -> Method {
    let field = LengthField { bytes, endian };
    Method::LengthDelimited { sync: sync.to_vec(), field, counts, max_length: MAX }
}

/// Every method, each with and without what it may have. A fixed record has 10 bytes.
fn all() -> Vec<FramingOptions> {
    let ccitt = Some(check(CheckKind::Crc16Ccitt, Endian::Little));
    let crc32 = Some(check(CheckKind::Crc32, Endian::Big));
    let over_all = |kind| Some(Check { kind, endian: Endian::Big, covers: Covers::Sync });
    let over_length =
        Some(Check { kind: CheckKind::Crc16Modbus, endian: Endian::Little, covers: Covers::Length });
    let hdlc = Some(Escape { byte: 0x7d, xor: 0x20 });
    let literal = Some(Escape { byte: 0x10, xor: 0 });
    let start_end = |start, end, escape| Method::StartEnd { start, end, escape, max_length: MAX };
    let fixed = |length, sync: &[u8]| Method::Fixed { length, sync: sync.to_vec() };
    vec![
        options(Method::NewlineDelimited { max_length: MAX }, None),
        options(Method::Cobs { max_length: MAX }, None),
        options(Method::Cobs { max_length: MAX }, ccitt),
        options(Method::Slip { max_length: MAX }, None),
        options(Method::Slip { max_length: MAX }, crc32),
        options(start_end(0x02, 0x03, literal), None),
        options(start_end(0x7e, 0x7e, hdlc), ccitt),
        options(start_end(b'<', b'>', hdlc), Some(check(CheckKind::Sum8, Endian::Little))),
        options(fixed(12, &[0xa5, 0x5a]), None),
        options(fixed(12, &[]), ccitt),
        options(fixed(16, &[0xa5, 0x5a]), over_all(CheckKind::Crc32)),
        options(length_delimited(&[0xa5, 0x5a], 1, Endian::Little, LengthCounts::Record), None),
        options(length_delimited(&[0xb5], 2, Endian::Big, LengthCounts::All), over_all(CheckKind::Crc32)),
        options(length_delimited(&[], 2, Endian::Little, LengthCounts::RecordAndCheck), over_length),
        options(length_delimited(&[0xa5, 0x5a], 4, Endian::Big, LengthCounts::Record), ccitt),
    ]
}

/// The bytes of a record on the wire.
fn encode(options: &FramingOptions, record: &[u8], wire: &mut Vec<u8>) {
    let stored = |covered: &[u8]| -> Vec<u8> {
        let Some(check) = options.check else { return Vec::new() };
        let little = check.kind.of(covered).to_le_bytes();
        let mut bytes = little[..check.kind.width()].to_vec();
        if check.endian == Endian::Big {
            bytes.reverse();
        }
        bytes
    };
    let mut body = record.to_vec();
    body.extend(stored(record));
    match &options.method {
        Method::NewlineDelimited { .. } => {
            wire.extend_from_slice(record);
            wire.extend_from_slice(if record.len().is_multiple_of(2) { b"\r\n" } else { b"\n" });
        }
        Method::Cobs { .. } => {
            wire.extend(::cobs::encode_vec(&body));
            wire.push(0);
        }
        Method::Slip { .. } => {
            for byte in body {
                match byte {
                    0xc0 => wire.extend([0xdb, 0xdc]),
                    0xdb => wire.extend([0xdb, 0xdd]),
                    byte => wire.push(byte),
                }
            }
            wire.push(0xc0);
        }
        Method::StartEnd { start, end, escape, .. } => {
            wire.push(*start);
            for byte in body {
                match escape {
                    Some(escape) if [*start, *end, escape.byte].contains(&byte) => {
                        wire.extend([escape.byte, byte ^ escape.xor]);
                    }
                    _ => wire.push(byte),
                }
            }
            wire.push(*end);
        }
        Method::Fixed { sync, .. } => {
            let from = wire.len();
            wire.extend_from_slice(sync);
            wire.extend_from_slice(record);
            let covers = options.check.map(|check| check.covers);
            let stored = stored(if covers == Some(Covers::Sync) { &wire[from..] } else { record });
            wire.extend(stored);
        }
        Method::LengthDelimited { sync, field, counts, .. } => {
            let from = wire.len();
            wire.extend_from_slice(sync);
            let width = options.check.map_or(0, |check| check.kind.width());
            let counted = record.len()
                + match counts {
                    LengthCounts::Record => 0,
                    LengthCounts::RecordAndCheck => width,
                    LengthCounts::All => sync.len() + field.bytes + width,
                };
            let mut length = (counted as u64).to_le_bytes()[..field.bytes].to_vec();
            if field.endian == Endian::Big {
                length.reverse();
            }
            wire.extend(length);
            wire.extend_from_slice(record);
            let covered = match options.check.map(|check| check.covers) {
                Some(Covers::Sync) => &wire[from..],
                Some(Covers::Length) => &wire[from + sync.len()..],
                _ => record,
            };
            let stored = stored(covered);
            wire.extend(stored);
        }
    }
}

/// A record that the method can carry, made of any bytes.
fn fitting(options: &FramingOptions, mut record: Vec<u8>) -> Vec<u8> {
    match options.method {
        Method::Fixed { .. } => record.resize(10, 7),
        Method::NewlineDelimited { .. } => {
            record.iter_mut().filter(|byte| b"\r\n".contains(byte)).for_each(|byte| *byte = b' ');
        }
        _ => {}
    }
    record
}

/// Brings a decoder without check to where it knows where a record begins.
fn delimiter(options: &FramingOptions) -> &'static [u8] {
    match (&options.method, options.check) {
        (Method::NewlineDelimited { .. }, None) => b"\n",
        (Method::Cobs { .. }, None) => &[0],
        (Method::Slip { .. }, None) => &[0xc0],
        _ => &[],
    }
}

struct Found {
    records: Vec<Vec<u8>>,
    corrupt: Vec<Fault>,
    wire_bytes: usize,
    left: usize,
}

/// Feeds the bytes in pieces, whose lengths are drawn from `pieces` in turn.
fn decode(options: &FramingOptions, wire: &[u8], pieces: &[usize]) -> Found {
    let mut framing = Framing::new(options);
    let mut buffer = BytesMut::new();
    let mut found = Found { records: Vec::new(), corrupt: Vec::new(), wire_bytes: 0, left: 0 };
    let mut take = |frame| match frame {
        Frame::Whole { record, wire_bytes } => {
            found.records.push(record.to_vec());
            found.wire_bytes += wire_bytes;
        }
        Frame::Corrupt { fault, bytes, wire_bytes } => {
            assert!(bytes.len() <= wire_bytes.min(KEPT_BYTES) && wire_bytes > 0);
            found.corrupt.push(fault);
            found.wire_bytes += wire_bytes;
        }
    };
    let mut rest = wire;
    let mut lengths = pieces.iter().cycle();
    while !rest.is_empty() {
        let (piece, later) = rest.split_at((*lengths.next().unwrap()).clamp(1, rest.len()));
        buffer.extend_from_slice(piece);
        rest = later;
        while let Some(frame) = framing.decode(&mut buffer).unwrap() {
            take(frame);
        }
        assert!(buffer.len() <= 2 * MAX + 32, "{} bytes are held", buffer.len());
    }
    while let Some(frame) = framing.decode_eof(&mut buffer).unwrap() {
        take(frame);
    }
    found.left = buffer.len() + framing.between;
    found
}

fn records() -> impl Strategy<Value = Vec<Vec<u8>>> {
    // Bytes that mean something to some method come often.
    let byte = prop_oneof![
        3 => any::<u8>(),
        1 => prop::sample::select(vec![0_u8, 0x02, 0x03, 0x0a, 0x0d, 0x10, 0x7d, 0x7e, 0xa5, 0x5a, 0xb5, 0xc0, 0xdb]),
    ];
    prop::collection::vec(prop::collection::vec(byte, 1..MAX), 1..12)
}

proptest! {
    #[test]
    fn records_come_back_however_they_are_cut(
        records in records(), which in 0_usize..15, pieces in prop::collection::vec(1_usize..50, 1..8),
    ) {
        let options = &all()[which];
        let records: Vec<_> = records.into_iter().map(|record| fitting(options, record)).collect();
        let mut wire = delimiter(options).to_vec();
        records.iter().for_each(|record| encode(options, record, &mut wire));
        // Without a check the last record is believed once another one follows.
        let has_lock = options.check.is_none()
            && matches!(options.method, Method::Fixed { .. } | Method::LengthDelimited { .. });
        let found = decode(options, &wire, &pieces);
        if !has_lock || records.len() > 1 {
            prop_assert_eq!(&found.records, &records);
        }
        prop_assert_eq!(found.wire_bytes + found.left, wire.len());
    }

    #[test]
    fn what_is_no_record_is_the_same_however_it_is_cut(
        wire in prop::collection::vec(prop::sample::select(vec![0_u8, 1, 2, 3, 9, 10, 0x7d, 0x7e, 0xa5, 0x5a, 0xc0, 0xdb]), 0..400),
        which in 0_usize..15,
        pieces in prop::collection::vec(1_usize..50, 1..8),
    ) {
        let options = &all()[which];
        let (cut, whole) = (decode(options, &wire, &pieces), decode(options, &wire, &[usize::MAX]));
        prop_assert_eq!(&cut.records, &whole.records);
        prop_assert_eq!(&cut.corrupt, &whole.corrupt);
        prop_assert_eq!(cut.wire_bytes + cut.left, wire.len(), "every byte is accounted for");
        prop_assert_eq!(whole.wire_bytes + whole.left, wire.len());
    }

    #[test]
    fn records_are_found_again_after_garbage(
        before in records(), after in records(), garbage in prop::collection::vec(any::<u8>(), 1..300),
        which in 0_usize..15, pieces in prop::collection::vec(1_usize..50, 1..8),
    ) {
        let options = &all()[which];
        let fit = |records: Vec<Vec<u8>>| -> Vec<Vec<u8>> {
            records.into_iter().map(|record| fitting(options, record)).collect()
        };
        let (before, after) = (fit(before), fit(after));
        let mut wire = delimiter(options).to_vec();
        before.iter().for_each(|record| encode(options, record, &mut wire));
        wire.extend_from_slice(&garbage);
        // Garbage may claim to be the beginning of one record, or two where no check tells.
        let filler = fitting(options, vec![0x55; MAX]);
        (0..12).for_each(|_| encode(options, &filler, &mut wire));
        after.iter().for_each(|record| encode(options, record, &mut wire));
        encode(options, &filler, &mut wire);
        let found = decode(options, &wire, &pieces);
        let mut expected = after.clone();
        expected.push(filler);
        // The last one may wait for what follows, if there was no other before it.
        let tail = found.records.len().saturating_sub(expected.len());
        prop_assert_eq!(&found.records[tail..], &expected[..]);
        prop_assert_eq!(found.wire_bytes + found.left, wire.len());
    }
}

fn faults(options: &FramingOptions, wire: &[u8]) -> (Vec<Vec<u8>>, Vec<Fault>) {
    let found = decode(options, wire, &[3]);
    (found.records, found.corrupt)
}

#[test]
fn a_sync_within_the_data_does_not_hold_for_long() {
    let options = options(Method::Fixed { length: 4, sync: vec![0xa5] }, None);
    // Begins with a sync that is data, at a record's distance from another one.
    let mut wire = vec![0xa5, 0x01, 0xa5, 0x02, 0xa5, 0x01, 0xa5, 0x02];
    let records: Vec<[u8; 3]> = (0..20).map(|i| [i, 0x11, 0x22]).collect();
    for record in &records {
        wire.push(0xa5);
        wire.extend_from_slice(record);
    }
    let (found, _) = faults(&options, &wire);
    assert!(found.ends_with(&records[2..].iter().map(|record| record.to_vec()).collect::<Vec<_>>()));
}

#[test]
fn each_fault_has_its_name() {
    let all = all();
    let of = |which: usize, wire: &[u8]| faults(&all[which], wire).1;
    assert_eq!(of(0, b"tail of a line\nnext\n"), [Fault::CutShort]);
    assert_eq!(of(0, &[b"\n".as_slice(), &[b'x'; 200], b"\nnext\n"].concat()), [Fault::TooLong]);
    assert_eq!(of(1, &[0, 9, 1, 2, 0]), [Fault::Encoding]);
    assert_eq!(of(2, &[4, 1, 2, 3, 0]), [Fault::Check]);
    assert_eq!(of(3, &[0xc0, 0xdb, 1, 0xc0]), [Fault::Encoding]);
    assert_eq!(of(5, &[1, 2, 65, 2, 66, 3]), [Fault::NoStart]);
    assert_eq!(of(5, &[2, 65, 2, 66, 3]), [Fault::CutShort]);
    assert_eq!(of(11, &[0xa5, 0x5a, 200, 1]), [Fault::Length]);
    assert_eq!(of(8, &[1, 2, 3]), [Fault::NoStart]);
}

#[test]
fn a_wire_of_garbage_is_heard_of_before_its_end() {
    let mut framing = Framing::new(&all()[8]);
    let mut buffer = BytesMut::from(&[0x11; 3 * MAX_RUN_BYTES][..]);
    assert!(matches!(
        framing.decode(&mut buffer).unwrap(),
        Some(Frame::Corrupt { fault: Fault::NoStart, wire_bytes: MAX_RUN_BYTES.., .. })
    ));
}
