//! Files far larger than memory: what it takes to read one does not grow with it.

#![allow(unsafe_code, clippy::unwrap_used)]

mod counting;

use std::io::{self, Read};

use counting::peak_of;
use rivulet::model::ModelId;
use rivulet::packet::rvl::{Event, Index, Part, Reader, Writer, recover};
use rivulet::packet::{ChannelSide, Header, Layer, LayerId, Packet};
use rivulet::signal::{ChannelInfo, SampleType, StreamInfo, StreamKey};

fn info() -> StreamInfo {
    StreamInfo {
        key: StreamKey::new("a"),
        sample_rate_hz: 360.0,
        sample_type: SampleType::I16,
        stored_bits: 12,
        channels: vec![ChannelInfo::unscaled("")],
    }
}

fn packet(number: u64) -> Packet {
    Packet {
        header: Header {
            model: ModelId(*b"a model!"),
            key_packet: true,
            after_gap: false,
            sample_type: SampleType::I16,
            channels: 1,
            sample_rate_hz: 360.0,
            frame_size: 512,
            first_frame: number * 8,
            time_ns: Some(number as i64 * 11_377_777_778),
            frames: 8,
            last_valid: 512,
        },
        side: vec![ChannelSide::nearest(10.0, 50.0); 8],
        layers: vec![Layer { id: LayerId::PackedCodes, payload: vec![7; 512] }],
    }
}

/// A file of so many packets that is made while it is read.
struct Made {
    writer: Option<Writer<Vec<u8>>>,
    next: u64,
    packets: u64,
    ready: Vec<u8>,
    read: usize,
}

impl Made {
    fn new(packets: u64) -> Self {
        let mut writer = Writer::new(Vec::new()).unwrap();
        writer.add_stream(&info()).unwrap();
        Self { writer: Some(writer), next: 0, packets, ready: Vec::new(), read: 0 }
    }
}

impl Read for Made {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.read == self.ready.len() {
            self.ready.clear();
            self.read = 0;
            if self.next < self.packets {
                let writer = self.writer.as_mut().unwrap();
                writer.write_packet(0, &packet(self.next).to_bytes().unwrap()).unwrap();
                self.ready.append(writer.get_mut());
                self.next += 1;
            } else if let Some(writer) = self.writer.take() {
                self.ready = writer.finish().unwrap().0;
            }
        }
        let count = (self.ready.len() - self.read).min(buffer.len());
        buffer[..count].copy_from_slice(&self.ready[self.read..self.read + count]);
        self.read += count;
        Ok(count)
    }
}

const SHORT: u64 = 5_000;
const LONG: u64 = 100_000;

/// Memory that may come with a file 20 times as long.
const MORE: usize = 16 << 10;

#[test]
fn reading_from_front_to_back_takes_no_more_memory_for_more_packets() {
    let read = |packets| {
        peak_of(|| {
            let mut reader = Reader::new(Made::new(packets));
            let mut found = 0;
            loop {
                match reader.next_event().unwrap() {
                    Event::Packet { .. } => found += 1,
                    Event::Damage { error, .. } => panic!("{error}"),
                    Event::Stream { .. } => {}
                    Event::End { closed, .. } => break assert!(closed),
                }
            }
            assert_eq!(found, packets);
        })
    };
    let (short, long) = (read(SHORT), read(LONG));
    assert!(long <= short + MORE, "{long} after {short}");
    assert!(long < 1 << 20, "{long}");
}

#[test]
fn going_on_with_a_file_takes_no_more_memory_for_more_packets() {
    let recovered = |packets| peak_of(|| assert!(recover(Made::new(packets)).unwrap().closed));
    let (short, long) = (recovered(SHORT), recovered(LONG));
    assert!(long <= short + MORE, "{long} after {short}");
}

#[test]
fn an_index_takes_a_few_bytes_for_a_thousand_packets() {
    let mut file = tempfile::tempfile().unwrap();
    io::copy(&mut Made::new(LONG), &mut file).unwrap();
    let blocks = LONG as usize / 1024 + 1;
    let mut index = None;
    let peak = peak_of(|| index = Some(Index::open(&mut file).unwrap()));
    assert_eq!(index.unwrap().blocks(), blocks);
    assert!(peak <= 256 * blocks + (32 << 10), "{peak} for {blocks} blocks");
    let peak = peak_of(|| {
        let mut part = Part::open(&mut file).unwrap().unwrap();
        let mut found = 0;
        while !matches!(
            part.next_event(&mut |_| {
                found += 1;
                found % 500 == 0
            })
            .unwrap(),
            Event::End { .. }
        ) {}
        assert_eq!(found, LONG);
    });
    assert!(peak <= 256 * blocks + (256 << 10), "{peak} for {blocks} blocks");
}
