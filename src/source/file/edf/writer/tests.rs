use proptest::prelude::*;

use super::*;
use crate::signal::ChannelInfo;
use crate::source::file::edf::tests::{Stream, read};

fn column(name: &str, sample_type: SampleType, gain: f64, baseline: f64) -> WrittenColumn {
    let channel = ChannelInfo { name: name.into(), unit: "mV".into(), gain, baseline };
    WrittenColumn { name: format!("r/{name}"), sample_type, channel }
}

fn i16_columns() -> [WrittenColumn; 2] {
    [column("I", SampleType::I16, 200.0, 1024.0), column("II", SampleType::I16, 10_000.0, 0.0)]
}

/// What the reader makes of a file, after `write` has written its rows.
fn read_back(writer: &mut EdfWriter, write: impl FnOnce(&mut EdfWriter, &mut Vec<u8>)) -> Stream {
    let mut bytes = writer.front();
    let front_bytes = bytes.len();
    write(writer, &mut bytes);
    // As it is where the writer does not come to its end.
    let (streams, letters) = read(&bytes);
    assert!(letters.is_empty() && streams.len() == 1, "{letters:?}");
    writer.end(&mut bytes);
    let front = writer.front();
    assert_eq!(front.len(), front_bytes);
    bytes[..front_bytes].copy_from_slice(&front);
    let (mut streams, letters) = read(&bytes);
    assert!(letters.is_empty(), "{letters:?}");
    assert_eq!(streams.len(), 1);
    streams.remove(0)
}

const START_NS: i64 = 1_709_209_815_250_000_000;

#[test]
fn counts_units_and_time_come_back() {
    let mut writer = EdfWriter::new(&i16_columns(), 20.0, SampleType::I16).unwrap();
    let stream = read_back(&mut writer, |writer, bytes| {
        writer.at(START_NS, bytes);
        for i in 0..50 {
            writer.row(&[Some(f64::from(i) - 32_768.0), Some(32_767.0 - f64::from(i))], bytes);
        }
    });
    assert_eq!(stream.info.sample_rate_hz, 20.0);
    let channels: Vec<ChannelInfo> = i16_columns().iter().map(|column| column.channel.clone()).collect();
    assert_eq!(stream.info.channels, channels);
    assert_eq!(stream.times[0], Some(START_NS));
    let rows: Vec<&[f64]> = stream.samples.chunks(2).collect();
    assert_eq!(
        (rows.len(), rows[49], rows[59]),
        (60, &[-32_719.0, 32_718.0][..], &[-32_719.0, 32_718.0][..])
    );
    let notes = writer.notes();
    assert!(notes.len() == 1 && notes[0].starts_with("10 rows"), "{notes:?}");
}

#[test]
fn lost_samples_repeat_the_last_one_and_are_told() {
    let mut writer = EdfWriter::new(&i16_columns(), 4.0, SampleType::I16).unwrap();
    let mut file = Vec::new();
    let stream = read_back(&mut writer, |writer, bytes| {
        for row in
            [[None, Some(1.0)], [Some(5.0), Some(2.0)], [None, None], [None, None], [Some(6.0), Some(3.0)]]
        {
            writer.row(&row, bytes);
        }
        file = bytes.clone();
    });
    let expected =
        [[1024.0, 1.0], [5.0, 2.0], [5.0, 2.0], [5.0, 2.0], [6.0, 3.0], [6.0, 3.0], [6.0, 3.0], [6.0, 3.0]];
    assert_eq!(stream.samples, expected.as_flattened());
    let text = String::from_utf8_lossy(&file);
    assert!(text.contains("+0\x150.25\x14samples lost\x14"), "{text:?}");
    assert!(text.contains("+0.5\x150.5\x14samples lost\x14"), "{text:?}");
}

#[test]
fn gaps_in_time_begin_records() {
    let mut writer = EdfWriter::new(&i16_columns(), 4.0, SampleType::I16).unwrap();
    let second = NANOS_PER_SECOND;
    let stream = read_back(&mut writer, |writer, bytes| {
        let row = |value: f64| [Some(value), Some(-value)];
        writer.at(START_NS, bytes);
        writer.row(&row(1.0), bytes);
        // Half a second is filled; ten are a gap, behind which a record begins.
        writer.at(START_NS + 3 * second / 4, bytes);
        writer.row(&row(2.0), bytes);
        writer.row(&row(3.0), bytes);
        writer.at(START_NS + 10 * second, bytes);
        (0..4).for_each(|i| writer.row(&row(f64::from(i)), bytes));
    });
    let first: Vec<f64> = stream.samples.iter().step_by(2).copied().collect();
    assert_eq!(first, [1.0, 1.0, 1.0, 2.0, 3.0, 3.0, 3.0, 3.0, 0.0, 1.0, 2.0, 3.0]);
    assert_eq!(stream.gaps, [8]);
    assert_eq!(stream.times, [Some(START_NS), Some(START_NS + 10 * second)]);
}

#[test]
fn records_hold_whole_numbers_of_samples() {
    for (rate, rows, seconds) in [
        (360.0, 360, "1"),
        (250.5, 501, "2"),
        (0.1, 1, "10"),
        (1000.0 / 3.0, 1000, "3"),
        (100_000.0, 25_000, "0.25"),
        (1.0 / 3600.0, 1, "3600"),
    ] {
        let record = super::record(rate, 2);
        assert_eq!(record, Record { rows, seconds: seconds.to_owned(), exact: true }, "{rate}");
    }
    let odd = super::record(256.000_31, 2);
    let said = odd.rows as f64 / odd.seconds.parse::<f64>().unwrap();
    assert!(!odd.exact && (said / 256.000_31 - 1.0).abs() < 1e-8, "{odd:?}");
}

#[test]
fn what_does_not_fit_is_refused() {
    let refusal =
        |kind, target| EdfWriter::new(&[column("x", kind, 1.0, 0.0)], 1.0, target).err().unwrap().to_string();
    assert!(refusal(SampleType::I24, SampleType::I16).contains("write bdf"));
    assert!(refusal(SampleType::I32, SampleType::I24).contains("'r/x' has i32"));
    assert!(refusal(SampleType::F32, SampleType::I16).contains("write wav, csv or raw"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_written_is_read(
        bdf in any::<bool>(),
        values in prop::collection::vec(-9e6_f64..9e6, 2..80),
        gain in prop_oneof![Just(200.0), Just(4095.0 / 6553.5), 0.001_f64..1e6, -1e3_f64..-0.1],
        baseline in prop_oneof![Just(0.0), Just(1024.0), -40_000_f64..40_000.0],
        rate in prop_oneof![Just(360.0), Just(7.0), 0.01_f64..1e4],
    ) {
        let sample_type = if bdf { SampleType::I24 } else { SampleType::I16 };
        let samples: Vec<f64> = values.iter().map(|value| sample_type.nearest(*value)).collect();
        let columns = [column("a", sample_type, gain, baseline), column("b", sample_type, 1.0, 0.0)];
        let mut writer = EdfWriter::new(&columns, rate, sample_type).unwrap();
        let rows: Vec<[Option<f64>; 2]> =
            samples.chunks_exact(2).map(|row| [Some(row[0]), Some(row[1])]).collect();
        let stream = read_back(&mut writer, |writer, bytes| {
            rows.iter().for_each(|row| writer.row(row, bytes));
        });
        prop_assert_eq!(&stream.samples[..rows.len() * 2], &samples[..rows.len() * 2]);
        prop_assert!((stream.info.sample_rate_hz / rate - 1.0).abs() < 1e-4, "{} {}", stream.info.sample_rate_hz, rate);
        let read = &stream.info.channels[0];
        // Within the eight characters of a range of the type's whole width, where it is in bounds of such a field.
        let ends = [sample_type.nearest(f64::MIN), sample_type.nearest(f64::MAX)];
        if ends.iter().all(|end| ((end - baseline) / gain).abs() < 9e6) {
            for end in ends {
                let physical = |gain: f64, baseline: f64| (end - baseline) / gain;
                let (was, is) = (physical(gain, baseline), physical(read.gain, read.baseline));
                let widest = ends.iter().map(|end| ((end - baseline) / gain).abs()).fold(0.0, f64::max);
                prop_assert!((was - is).abs() <= widest * 1e-4 + 5.1e-6, "{was} {is}");
            }
        }
    }
}
