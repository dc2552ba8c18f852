use proptest::prelude::*;

use super::*;
use crate::signal::{ChannelInfo, SampleType};
use crate::source::decoding::{Codec, Column, CsvColumns, DecodingOptions, TimeField, TimeUnit};

const START: i64 = 1_700_000_000_000_000_000;
const MS: i64 = 1_000_000;

fn records(codec: Codec) -> Records {
    let options = DecodingOptions {
        sample_rate_hz: 100.0,
        sample_type: SampleType::I16,
        channels: vec![ChannelInfo::unscaled("")],
        codec,
    };
    Records::new(MessageDecoder::new(options), "port".to_owned(), 2, 1_000 * MS)
}

fn packed() -> Records {
    records(Codec::Packed("u8 seq, 2*u8 samples".parse().unwrap()))
}

fn csv(time: bool) -> Records {
    let time = time.then_some(TimeField { at: Column::Place(1), unit: TimeUnit::Milliseconds });
    records(Codec::Csv(CsvColumns {
        samples: None,
        time,
        key: Some(Column::Place(0)),
        delimiter: b',',
        header: false,
    }))
}

/// The chunks of what was pushed so far: stream, time from the start in milliseconds, gap, samples.
fn chunks(records: &mut Records, mut events: VecDeque<SourceEvent>) -> Vec<(usize, i64, bool, Vec<f64>)> {
    records.flush(&mut events);
    let chunk = |event| match event {
        SourceEvent::Chunk(chunk) => {
            Some((chunk.stream, (chunk.time_ns.unwrap() - START) / MS, chunk.after_gap, chunk.samples))
        }
        _ => None,
    };
    events.into_iter().filter_map(chunk).collect()
}

#[test]
fn numbers_tell_of_records_that_are_missing() {
    let (mut records, mut events) = (packed(), VecDeque::new());
    let mut take =
        |record: &[u8], arrival_ms: i64| records.take(record, START + arrival_ms * MS, &mut events).0;
    assert_eq!(take(&[254, 1, 2], 10), Lost::default());
    assert_eq!(take(&[255, 3, 4], 30), Lost::default());
    assert_eq!(take(&[2, 5, 6], 90), Lost { records: 2, samples: 4 });
    assert_eq!(take(&[3, 7, 8], 110), Lost::default());
    assert_eq!(
        chunks(&mut records, events),
        [(0, 0, false, vec![1.0, 2.0, 3.0, 4.0]), (0, 80, true, vec![5.0, 6.0, 7.0, 8.0])]
    );
}

#[test]
fn a_device_that_begins_again_at_a_high_number_has_lost_nothing_that_can_be_counted() {
    let mut records = records(Codec::Packed("u16le seq, 2*u8 samples".parse().unwrap()));
    let mut events = VecDeque::new();
    let mut take = |number: u16, arrival_ms: i64| {
        let [low, high] = number.to_le_bytes();
        records.take(&[low, high, 1, 2], START + arrival_ms * MS, &mut events).0
    };
    take(40_179, 10);
    assert_eq!(take(0, 30), Lost::default());
    assert_eq!(take(1, 50), Lost::default());
    assert_eq!(take(52, 1_070), Lost { records: 50, samples: 100 }, "as many as there was time for");
    let times: Vec<_> = chunks(&mut records, events).into_iter().map(|(_, ms, gap, _)| (ms, gap)).collect();
    assert_eq!(times, [(0, false), (20, true), (1_060, true)]);
}

#[test]
fn losses_before_a_record_that_cannot_be_used_are_counted() {
    let mut records = records(Codec::Packed("u8 seq, 2*f32le samples".parse().unwrap()));
    let mut events = VecDeque::new();
    let record =
        |number: u8, sample: f32| [&[number][..], &[sample, 1.0].map(f32::to_le_bytes).concat()].concat();
    records.take(&record(0, 1.0), START, &mut events).1.unwrap();
    let (lost, taken) = records.take(&record(4, f32::NAN), START + 80 * MS, &mut events);
    assert!(taken.is_err());
    assert_eq!(lost.records, 3);
}

#[test]
fn damage_in_a_burst_does_not_take_times_back() {
    let (mut records, mut events) = (csv(false), VecDeque::new());
    for line in ["a,1", "a,2", "a,3"] {
        records.take(line.as_bytes(), START + 30 * MS, &mut events).1.unwrap();
    }
    records.damaged();
    for line in ["a,4", "a,5"] {
        records.take(line.as_bytes(), START + 30 * MS, &mut events).1.unwrap();
    }
    let times: Vec<_> = chunks(&mut records, events).into_iter().map(|(_, ms, gap, _)| (ms, gap)).collect();
    assert_eq!(times, [(30, false), (60, true)]);
}

#[test]
fn garbage_between_numbered_records_is_no_gap() {
    let (mut records, mut events) = (packed(), VecDeque::new());
    records.take(&[0, 1, 2], START, &mut events).1.unwrap();
    records.damaged();
    assert!(records.take(&[1, 3], START, &mut events).1.is_err(), "too short to be numbered");
    records.take(&[1, 3, 4], START, &mut events).1.unwrap();
    assert_eq!(chunks(&mut records, events), [(0, -10, false, vec![1.0, 2.0, 3.0, 4.0])]);
}

#[test]
fn garbage_between_records_without_numbers_is_a_gap() {
    let (mut records, mut events) = (csv(false), VecDeque::new());
    let mut take = |records: &mut Records, record: &str, arrival_ms: i64| {
        records.take(record.as_bytes(), START + arrival_ms * MS, &mut events).1
    };
    take(&mut records, "a,1", 0).unwrap();
    take(&mut records, "a,2", 10).unwrap();
    records.damaged();
    take(&mut records, "a,3", 500).unwrap();
    assert!(take(&mut records, "a,x", 510).unwrap_err().contains("\"x\" is not"));
    take(&mut records, "a,4", 520).unwrap();
    assert_eq!(
        chunks(&mut records, events),
        [(0, 0, false, vec![1.0, 2.0]), (0, 500, true, vec![3.0]), (0, 520, true, vec![4.0])]
    );
}

#[test]
fn records_that_did_not_fit_leave_a_gap_of_their_length() {
    let (mut records, mut events) = (packed(), VecDeque::new());
    records.take(&[0, 1, 2], START + 10 * MS, &mut events).1.unwrap();
    records.dropped(Dropped { records: 3, samples: 6, damaged: false });
    let (lost, _) = records.take(&[4, 3, 4], START + 90 * MS, &mut events);
    assert_eq!(lost, Lost::default(), "they are counted elsewhere");
    assert_eq!(chunks(&mut records, events), [(0, 0, false, vec![1.0, 2.0]), (0, 80, true, vec![3.0, 4.0])]);
    assert_eq!(records.samples_of(&[9, 1, 2]), 2);
    assert_eq!(records.samples_of(&[9]), 0);
}

#[test]
fn a_wire_that_was_opened_anew_leaves_a_gap() {
    let (mut records, mut events) = (packed(), VecDeque::new());
    records.opened();
    records.take(&[7, 1, 2], START + 10 * MS, &mut events).1.unwrap();
    records.opened();
    let (lost, _) = records.take(&[90, 3, 4], START + 5_010 * MS, &mut events);
    assert_eq!(lost, Lost::default());
    assert_eq!(
        chunks(&mut records, events),
        [(0, 0, false, vec![1.0, 2.0]), (0, 5_000, true, vec![3.0, 4.0])]
    );
}

#[test]
fn a_records_own_time_is_taken_instead() {
    let (mut records, mut events) = (csv(true), VecDeque::new());
    let start_ms = START / MS;
    for (time_ms, sample) in [(0, 1), (10, 2), (24, 3), (5_000, 4)] {
        let line = format!("a,{},{sample}", start_ms + time_ms);
        records.take(line.as_bytes(), START + 9_999 * MS, &mut events).1.unwrap();
    }
    assert_eq!(
        chunks(&mut records, events),
        [(0, 0, false, vec![1.0, 2.0, 3.0]), (0, 5_000, false, vec![4.0])]
    );
}

#[test]
fn keys_make_streams_as_long_as_there_is_room() {
    let (mut records, mut events) = (csv(false), VecDeque::new());
    for line in ["a,1", "b,2", "a,3"] {
        records.take(line.as_bytes(), START, &mut events).1.unwrap();
    }
    let reason = records.take(b"c,4", START, &mut events).1.unwrap_err();
    assert!(reason.contains("window.max_streams is 2"), "{reason}");
    let keys: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            SourceEvent::Stream { info, .. } => Some(info.key.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(keys, ["a", "b"]);
    assert_eq!(chunks(&mut records, events).len(), 3);
}

proptest! {
    #[test]
    fn any_records_at_any_time_give_whole_rows_of_known_streams(
        which in 0_usize..3,
        steps in prop::collection::vec(
            (prop::collection::vec(any::<u8>(), 0..4), "[a-d],[0-9]{1,3}(,[0-9]{1,2})?", any::<bool>(), any::<i64>(), 0_u8..6),
            1..40,
        ),
    ) {
        let mut records = match which {
            0 => packed(),
            1 => csv(false),
            _ => csv(true),
        };
        let mut events = VecDeque::new();
        for (bytes, line, is_line, arrival_ns, what) in steps {
            match what {
                0 => records.opened(),
                1 => records.damaged(),
                2 => records.dropped(Dropped { records: 300, samples: 7, damaged: is_line }),
                _ => {
                    let record = if is_line { line.as_bytes() } else { &bytes };
                    let _ = records.take(record, arrival_ns, &mut events);
                }
            }
        }
        records.flush(&mut events);
        let mut streams = 0;
        for event in events {
            match event {
                SourceEvent::Stream { .. } => streams += 1,
                SourceEvent::Chunk(chunk) => {
                    prop_assert!(chunk.stream < streams && streams <= 2 && !chunk.samples.is_empty());
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
