//! Whole files: written, read, cut, damaged and continued.

use std::collections::BTreeMap;
use std::io::Cursor;

use proptest::prelude::*;

use super::record::{Head, MARKER, kind, record};
use super::stream::tests::ecg as stream;
use super::*;
use crate::packet::samples::{any_packet, ecg};
use crate::packet::{ErrorKind, Packet, PacketError};

/// The packets in the index of a file.
fn read_index(bytes: &[u8]) -> Result<Vec<IndexEntry>, PacketError> {
    let mut file = Cursor::new(bytes);
    let index = Index::open(&mut file)?;
    assert!(index.can_seek());
    let blocks: Result<Vec<_>, _> = (0..index.blocks()).map(|block| index.read(&mut file, block)).collect();
    Ok(blocks?.concat())
}

/// A file of two streams, the second announced late, and what its packets are.
fn file(packets: u64) -> (Vec<u8>, Vec<(u32, Packet)>) {
    let mut writer = Writer::new(Vec::new()).unwrap();
    let mut written = Vec::new();
    writer.add_stream(&stream("100/MLII")).unwrap();
    for number in 0..packets {
        if number == 2 {
            writer.add_stream(&stream("100/V5")).unwrap();
        }
        let of = u32::from(number > 2 && number % 2 == 1);
        let packet = ecg(number * 3, 3);
        writer.write_packet(of, &packet.to_bytes().unwrap()).unwrap();
        written.push((of, packet));
    }
    let total = writer.bytes_written();
    let (bytes, parts) = writer.finish().unwrap();
    assert!(bytes.len() as u64 > total);
    assert_eq!(parts.total(), bytes.len() as u64);
    (bytes, written)
}

/// What a reader says of a file.
#[derive(Debug, Default, PartialEq)]
struct Read {
    streams: BTreeMap<u32, String>,
    recovered: usize,
    packets: Vec<(u32, Packet)>,
    damage: Vec<(u64, u64, ErrorKind)>,
    torn_bytes: u64,
    closed: bool,
    /// Bytes of everything that was reported.
    bytes: u64,
}

fn read(bytes: &[u8]) -> Result<Read, PacketError> {
    let mut reader = Reader::new(bytes);
    let mut read = Read::default();
    loop {
        match reader.next_event()? {
            Event::Stream { number, info, recovered } => {
                read.streams.insert(number, info.key.to_string());
                read.recovered += usize::from(recovered);
            }
            Event::Packet { stream, packet, offset, parts } => {
                assert_eq!(bytes[offset as usize], MARKER);
                assert!(read.streams.contains_key(&stream));
                read.packets.push((stream, packet));
                read.bytes += parts.total();
            }
            Event::Damage { offset, bytes, error } => {
                read.damage.push((offset, bytes, error.kind()));
                read.bytes += bytes;
            }
            Event::End { torn_bytes, closed } => {
                read.bytes += torn_bytes + reader.container().total();
                (read.torn_bytes, read.closed) = (torn_bytes, closed);
                assert_eq!(reader.next_event().unwrap(), Event::End { torn_bytes, closed });
                return Ok(read);
            }
        }
    }
}

/// Where each record starts, and where the last one ends.
fn record_starts(bytes: &[u8]) -> Vec<usize> {
    let mut starts = vec![FILE_HEADER_BYTES];
    while let record::Look::Head(head) = Head::look(&bytes[starts[starts.len() - 1]..]) {
        starts.push(starts[starts.len() - 1] + head.record_bytes());
    }
    assert_eq!(starts.last(), Some(&bytes.len()));
    starts
}

#[test]
fn a_file_comes_back() {
    let (bytes, packets) = file(9);
    let found = read(&bytes).unwrap();
    assert_eq!(found.packets, packets);
    assert_eq!(found.streams, BTreeMap::from([(0, "100/MLII".into()), (1, "100/V5".into())]));
    assert_eq!((found.damage, found.torn_bytes, found.closed), (vec![], 0, true));
    assert_eq!((found.recovered, found.bytes), (0, bytes.len() as u64));
}

#[test]
fn a_packet_costs_eight_bytes_and_its_place_in_the_index() {
    let (_, parts) = {
        let mut writer = Writer::new(Vec::new()).unwrap();
        writer.add_stream(&stream("x")).unwrap();
        for number in 0..100 {
            writer.write_packet(0, &ecg(number * 16, 16).to_bytes().unwrap()).unwrap();
        }
        writer.finish().unwrap()
    };
    assert_eq!(parts.container.record_heads, 800);
    assert!(parts.container.index < 175, "{parts:?}");
}

#[test]
fn a_cut_costs_the_record_that_it_hits() {
    let (bytes, packets) = file(5);
    let starts = record_starts(&bytes);
    assert_eq!(read(&[]).unwrap_err().kind(), ErrorKind::InsufficientData);
    for cut in 1..bytes.len() {
        let found = read(&bytes[..cut]).unwrap();
        let whole_end = starts.iter().copied().filter(|&start| start <= cut).max().unwrap_or(0);
        let whole = (0..starts.len() - 1)
            .filter(|&i| starts[i + 1] <= cut && bytes[starts[i] + 1] == kind::PACKET)
            .count();
        assert_eq!(found.packets, packets[..whole], "{cut}");
        assert_eq!(found.damage, [], "{cut}");
        assert_eq!(found.torn_bytes, (cut - whole_end) as u64, "{cut}");
        assert!(!found.closed, "{cut}");
        assert_eq!(found.bytes, cut as u64);
    }
}

#[test]
fn a_changed_byte_costs_the_record_that_it_hits() {
    let (good, packets) = file(5);
    let starts = record_starts(&good);
    for at in 0..good.len() {
        for change in [1, 0x80, 0xff] {
            let mut bytes = good.clone();
            bytes[at] ^= change;
            let found = read(&bytes).unwrap();
            let hit = starts.iter().rposition(|&start| start <= at);
            let hit_bytes = hit.map_or(0..FILE_HEADER_BYTES, |i| starts[i]..starts[i + 1]);
            let lost = hit
                .filter(|&i| good[starts[i] + 1] == kind::PACKET)
                .map(|hit| (0..hit).filter(|&i| good[starts[i] + 1] == kind::PACKET).count());
            let mut expected = packets.clone();
            lost.map(|packet| expected.remove(packet));
            assert_eq!(found.packets, expected, "{at} {change}");
            let torn = (found.torn_bytes > 0)
                .then(|| (bytes.len() as u64 - found.torn_bytes, found.torn_bytes, ErrorKind::Corruption));
            let damage: Vec<_> = found.damage.iter().copied().chain(torn).collect();
            let reported = (hit_bytes.start as u64, hit_bytes.len() as u64, ErrorKind::Corruption);
            assert_eq!(damage, [reported], "{at} {change}");
            assert_eq!(found.bytes, bytes.len() as u64, "{at} {change}");
            assert_eq!(found.closed, hit_bytes.end < bytes.len(), "{at} {change}");
            let lost_stream = hit.is_some_and(|i| good[starts[i] + 1] == kind::STREAM);
            assert_eq!(found.recovered, usize::from(lost_stream), "{at} {change}");
        }
    }
}

#[test]
fn what_follows_a_torn_record_is_read() {
    let (bytes, packets) = file(5);
    let starts = record_starts(&bytes);
    let packet = starts.iter().rposition(|&start| bytes.get(start + 1) == Some(&kind::PACKET)).unwrap();
    let torn = [&bytes[..starts[packet] + 100], &bytes[starts[packet]..]].concat();
    let found = read(&torn).unwrap();
    assert_eq!(found.packets, packets);
    assert_eq!(found.damage, [(starts[packet] as u64, 100, ErrorKind::Corruption)]);
    assert!(found.closed);
}

#[test]
fn records_of_newer_writers_are_skipped_or_named() {
    let (bytes, packets) = file(3);
    let starts = record_starts(&bytes);
    let with = |kind, bytes: &[u8]| {
        let (before, after) = bytes.split_at(starts[2]);
        [before, &record(kind, 5, b"from the future").unwrap(), after].concat()
    };
    let found = read(&with(kind::MAY_SKIP | 9, &bytes)).unwrap();
    assert_eq!((found.packets, found.damage), (packets.clone(), vec![]));
    let error = read(&with(9, &bytes)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnsupportedVersion);

    let mut newer = bytes.clone();
    newer[8] = 2;
    let check = header_check(&newer[..9]);
    newer[9..12].copy_from_slice(&check);
    assert_eq!(read(&newer).unwrap_err().kind(), ErrorKind::UnsupportedVersion);

    let mut packet = packets[0].1.to_bytes().unwrap();
    packet[0] = 7;
    let content = packet.len() - 4;
    let checksum = crc32c::crc32c(&packet[..content]);
    packet[content..].copy_from_slice(&checksum.to_le_bytes());
    let newer =
        [&bytes[..starts[2]], &record(kind::PACKET, 0, &packet[..content]).unwrap(), &bytes[starts[2]..]];
    let found = read(&newer.concat()).unwrap();
    assert_eq!(found.packets, packets);
    assert_eq!(found.damage, [(starts[2] as u64, packet.len() as u64 + 8, ErrorKind::UnsupportedVersion)]);
}

#[test]
fn packets_and_streams_that_contradict_each_other_are_damage() {
    let (bytes, packets) = file(3);
    let end = record_starts(&bytes)[2];
    let again = record(kind::STREAM, 0, &super::stream::encode(&stream("other")).unwrap()).unwrap();
    let found = read(&[&bytes[..end], &again, &bytes[end..]].concat()).unwrap();
    assert_eq!((found.packets.len(), found.damage.len()), (3, 1));

    let mut wide = packets[0].1.clone();
    wide.header.channels = 2;
    wide.side.extend(wide.side.clone());
    let wide = wide.to_bytes().unwrap();
    let wide = record(kind::PACKET, 0, &wide[..wide.len() - 4]).unwrap();
    let found = read(&[&bytes[..end], &wide, &bytes[end..]].concat()).unwrap();
    assert_eq!((found.packets.len(), found.damage.len()), (3, 1));
}

#[test]
fn other_files_are_refused() {
    for bytes in [&b"x"[..], b"time,value\n0,1\n", &[MARKER; 5000], &[0; 100_000]] {
        let error = read(bytes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corruption);
        assert!(error.to_string().contains("not an .rvl file"), "{error}");
    }
}

/// A file full of heads that each claim to start a large record must not be summed up once for each.
#[test]
fn a_file_made_to_annoy_is_read_in_linear_time() {
    let fake = record(kind::PACKET, 0, &vec![0; record::MAX_PAYLOAD_BYTES - 4]).unwrap();
    let mut bytes = file(3).0;
    // Nine bytes apart, so that no fake record ends where another one starts.
    bytes.extend(fake[..9].iter().cycle().take(24 << 20));
    let mut reader = Reader::new(&bytes[..]);
    let mut packets = 0;
    loop {
        match reader.next_event().unwrap() {
            Event::Packet { .. } => packets += 1,
            Event::End { .. } => break,
            _ => {}
        }
    }
    assert_eq!(packets, 3);
    assert!(reader.wasted > bytes.len() as u64, "the file is not annoying enough");
    let allowed = Reader::<&[u8]>::PATIENCE * bytes.len() as u64 + record::MAX_PAYLOAD_BYTES as u64;
    assert!(reader.wasted <= allowed, "{} of {allowed}", reader.wasted);
}

#[test]
fn the_index_finds_every_packet() {
    let packets = 2 * index::BLOCK_PACKETS as u64 + 10;
    let (bytes, written) = file(packets);
    let entries = read_index(&bytes).unwrap();
    assert_eq!(entries.len(), written.len());
    for (entry, (stream, packet)) in entries.iter().zip(&written) {
        assert_eq!(entry.stream, *stream);
        assert_eq!((entry.first_frame, entry.frames), (packet.header.first_frame, packet.header.frames));
        let record::Look::Head(head) = Head::look(&bytes[entry.offset as usize..]) else {
            panic!("no record")
        };
        assert_eq!((head.kind, head.number), (kind::PACKET, *stream));
    }
    let cut = read_index(&bytes[..bytes.len() - 1]).unwrap_err();
    assert_eq!(cut.kind(), ErrorKind::InsufficientData);
    let (empty, _) = Writer::new(Vec::new()).unwrap().finish().unwrap();
    assert_eq!(read_index(&empty).unwrap(), []);
}

/// An input that counts what is read of it.
struct Counting<'a> {
    bytes: Cursor<&'a [u8]>,
    read: u64,
}

impl std::io::Read for Counting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.bytes.read(buffer)?;
        self.read += read as u64;
        Ok(read)
    }
}

impl std::io::Seek for Counting<'_> {
    fn seek(&mut self, to: std::io::SeekFrom) -> std::io::Result<u64> {
        self.bytes.seek(to)
    }
}

/// A file of two streams of packets of 16 frames with times, or without.
fn long_file(packets: u64, timed: bool) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new()).unwrap();
    let (a, b) = (writer.add_stream(&stream("a")).unwrap(), writer.add_stream(&stream("b")).unwrap());
    for number in 0..packets {
        for stream in [a, b] {
            let mut packet = ecg(number * 16, 16);
            let time = crate::signal::duration_ns(360.0, number * 16 * 512) + 1_700_000_000_000_000_000;
            packet.header.time_ns = timed.then_some(time);
            writer.write_packet(stream, &packet.to_bytes().unwrap()).unwrap();
        }
    }
    writer.finish().unwrap().0
}

#[test]
fn a_part_of_a_file_is_read_without_the_rest() {
    let bytes = long_file(3000, true);
    let mut input = Counting { bytes: Cursor::new(&bytes), read: 0 };
    let mut part = Part::open(&mut input).unwrap().unwrap();
    let (from_ms, to_ms) = (1_700_030_000_000, 1_700_030_100_000);
    part.within(from_ms, to_ms);
    let mut events = Vec::new();
    let mut wanted = |placed: &Placed| {
        assert_eq!(placed.timing.frame_size, 512);
        let time_ms = placed.timing.time_ms.unwrap();
        time_ms > from_ms - 22_757 && time_ms < to_ms
    };
    loop {
        match part.next_event(&mut wanted).unwrap() {
            Event::End { .. } => break,
            event => events.push(event),
        }
    }
    let packets: Vec<u64> = events
        .iter()
        .filter_map(|event| match event {
            Event::Packet { stream: 0, packet, .. } => Some(packet.header.first_frame / 16),
            _ => None,
        })
        .collect();
    assert_eq!(packets, [1318, 1319, 1320, 1321, 1322]);
    assert_eq!(events.len(), 2 + 2 * packets.len());
    let packet_bytes = ecg(20_000, 16).to_bytes().unwrap().len() as u64 + 9 + 8;
    let index_bytes = 3 * bytes.len() as u64 / packet_bytes;
    assert!(input.read < 10 * packet_bytes + index_bytes, "{} of {}", input.read, bytes.len());
}

#[test]
fn a_file_without_times_can_be_read_in_parts_and_one_without_seek_records_cannot() {
    let bytes = long_file(40, false);
    let mut part = Part::open(Cursor::new(&bytes)).unwrap().unwrap();
    part.within(0, 1);
    let mut placed = 0;
    while let Some(packet) = part.next_placed().unwrap() {
        assert_eq!(packet.timing, Timing { frame_size: 512, time_ms: None });
        placed += 1;
    }
    assert_eq!(placed, 80);
    assert!(Part::open(Cursor::new(&bytes[..bytes.len() - 1])).unwrap().is_none());
    assert!(Part::open(Cursor::new(&without_seek_records(&bytes))).unwrap().is_none());
}

/// A file of one index block as it was written before there were seek records.
fn without_seek_records(bytes: &[u8]) -> Vec<u8> {
    let starts = record_starts(bytes);
    let records = starts.windows(2).filter(|record| bytes[record[0] + 1] != kind::SEEK);
    let records = records.flat_map(|record| &bytes[record[0]..record[1]]).copied();
    bytes[..FILE_HEADER_BYTES].iter().copied().chain(records).collect()
}

#[test]
fn a_file_without_seek_records_is_read_and_gets_them_when_it_is_continued() {
    let (bytes, packets) = file(5);
    let old = without_seek_records(&bytes);
    assert!(old.len() < bytes.len());
    assert_eq!(read(&old).unwrap(), Read { bytes: old.len() as u64, ..read(&bytes).unwrap() });
    let recovered = recover(&old[..]).unwrap();
    assert!(recovered.closed);
    let kept = old[..recovered.end as usize].to_vec();
    let (again, parts) = Writer::resume(kept, recovered).unwrap().finish().unwrap();
    assert_eq!(again, bytes);
    assert_eq!(parts.total(), bytes.len() as u64);
    assert_eq!(packets.len(), 5);
}

/// Files that were once written are readable for ever, and written in the same way as long as nothing is added.
#[test]
fn the_golden_files_stay_readable() {
    let written = {
        let mut writer = Writer::new(Vec::new()).unwrap();
        writer.add_stream(&stream("100/MLII")).unwrap();
        writer.add_stream(&stream("100/V5")).unwrap();
        for number in 0..4 {
            let mut packet = ecg(number / 2 * 3, 3);
            packet.header.time_ns =
                (number != 3).then_some(1_700_000_000_000_000_000 + number as i64 / 2 * 4_266_666_667);
            writer.write_packet(number as u32 % 2, &packet.to_bytes().unwrap()).unwrap();
        }
        writer.finish().unwrap().0
    };
    let golden = include_bytes!("../testdata/two_streams.v1.rvl");
    assert!(written == golden, "the writer's bytes have changed");
    let old = include_bytes!("../testdata/two_streams_unseekable.v1.rvl");
    assert!(without_seek_records(golden) == old);
    let (new, old) = (read(golden).unwrap(), read(old).unwrap());
    assert_eq!((new.packets.len(), new.damage.len(), new.closed), (4, 0, true));
    assert_eq!((new.packets, new.streams), (old.packets, old.streams));
}

#[test]
fn a_file_cut_anywhere_can_be_continued() {
    let (bytes, packets) = file(5);
    for cut in 0..=bytes.len() {
        let recovered = recover(&bytes[..cut]).unwrap();
        let kept = bytes[..recovered.end as usize].to_vec();
        let before = recovered.streams.iter().find(|stream| stream.number == 0).map_or(0, |s| s.next_frame);
        let of = recovered.streams.first().map(|stream| stream.number);
        let mut writer = Writer::resume(kept, recovered).unwrap();
        let of = of.unwrap_or_else(|| writer.add_stream(&stream("100/MLII")).unwrap());
        writer.write_packet(of, &ecg(before, 2).to_bytes().unwrap()).unwrap();
        let (bytes, parts) = writer.finish().unwrap();
        assert_eq!(parts.total(), bytes.len() as u64, "{cut}");

        let found = read(&bytes).unwrap();
        assert_eq!((found.damage, found.torn_bytes, found.closed), (vec![], 0, true), "{cut}");
        let (last, whole) = found.packets.split_last().unwrap();
        assert_eq!(last, &(0, ecg(before, 2)), "{cut}");
        assert_eq!(whole, &packets[..whole.len()], "{cut}");
        assert_eq!(read_index(&bytes).unwrap().len(), found.packets.len(), "{cut}");
    }
}

#[test]
fn what_cannot_be_written_is_refused() {
    let mut writer = Writer::new(Vec::new()).unwrap();
    let packet = ecg(0, 1).to_bytes().unwrap();
    assert_eq!(writer.write_packet(0, &packet).unwrap_err().kind(), ErrorKind::InvalidArgument);
    writer.add_stream(&stream("x")).unwrap();
    assert_eq!(writer.write_packet(0, &packet[1..]).unwrap_err().kind(), ErrorKind::Corruption);
    let mut full = Writer::new(Cursor::new([0; 64])).unwrap();
    full.add_stream(&stream("x")).unwrap();
    assert_eq!(full.write_packet(0, &packet).unwrap_err().kind(), ErrorKind::Io);
}

proptest! {
    #[test]
    fn any_packets_come_back(packets in prop::collection::vec(any_packet(), 0..6)) {
        let mut writer = Writer::new(Vec::new()).unwrap();
        for packet in &packets {
            let channels = vec![crate::signal::ChannelInfo::unscaled(""); usize::from(packet.header.channels)];
            let number = writer.add_stream(&crate::signal::StreamInfo { channels, ..stream("x") }).unwrap();
            writer.write_packet(number, &packet.to_bytes().unwrap()).unwrap();
        }
        let (bytes, _) = writer.finish().unwrap();
        let found = read(&bytes).unwrap();
        let found: Vec<_> = found.packets.into_iter().map(|(_, packet)| packet).collect();
        prop_assert_eq!(found, packets);
    }

    /// Whatever happens to a file, what is reported and what is read add up to it.
    #[test]
    fn every_byte_is_accounted_for(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..30),
        cut: prop::sample::Index,
    ) {
        let mut bytes = file(8).0;
        for (at, byte) in changes {
            *at.get_mut(&mut bytes[..]) = byte;
        }
        bytes.truncate(FILE_HEADER_BYTES + 100 + cut.index(bytes.len() - FILE_HEADER_BYTES - 99));
        if let Ok(found) = read(&bytes) {
            prop_assert_eq!(found.bytes, bytes.len() as u64);
        }
    }
}
