use proptest::prelude::*;

use super::*;
use crate::source::decoding::tests::{any_sample, any_sample_type, decode, options, record, refusal};
use crate::source::decoding::{Codec, DecodingOptions, TimeUnit};

const PLAIN: CsvColumns = CsvColumns { samples: None, time: None, key: None, delimiter: b',', header: false };

fn name(text: &str) -> Column {
    Column::Name(text.to_owned())
}

fn i16s(columns: CsvColumns, channels: usize) -> DecodingOptions {
    options(Codec::Csv(columns), SampleType::I16, channels)
}

#[test]
fn lines_are_rows() {
    for payload in ["1,2\n3,4", "\u{feff}1,2\r\n\r\n 3 , \"4\" \r\n", "\n1,+2\n3,4.0\n"] {
        let records = decode(&i16s(PLAIN, 2), payload).unwrap();
        assert_eq!(records, [record(None, None, &[1.0, 2.0, 3.0, 4.0])], "{payload}");
    }
    let tabs = CsvColumns { delimiter: b'\t', ..PLAIN };
    assert_eq!(decode(&i16s(tabs, 2), "1\t2").unwrap(), [record(None, None, &[1.0, 2.0])]);
}

#[test]
fn columns_are_found_by_place_or_name() {
    let expected = [record(Some("bed, 4"), Some(1_500_000), &[3.0, 1.0])];
    let columns = CsvColumns {
        samples: Some(vec![Column::Place(3), Column::Place(0)]),
        time: Some(TimeField { at: Column::Place(2), unit: TimeUnit::Milliseconds }),
        key: Some(Column::Place(1)),
        ..PLAIN
    };
    assert_eq!(decode(&i16s(columns, 2), "1,\"bed, 4\",1.5,3,x\n").unwrap(), expected);
    let named = CsvColumns {
        samples: Some(vec![name("II"), Column::Place(0)]),
        time: Some(TimeField { at: name("time"), unit: TimeUnit::Milliseconds }),
        key: Some(name("the bed")),
        header: true,
        ..PLAIN
    };
    let payload = "I,\"the bed\",time,II,other\n1,\"bed, 4\",1.5,3,x\n";
    assert_eq!(decode(&i16s(named, 2), payload).unwrap(), expected);
    let rest = CsvColumns {
        time: Some(TimeField { at: name("time"), unit: TimeUnit::Rfc3339 }),
        key: Some(name("bed")),
        header: true,
        ..PLAIN
    };
    let payload = "I,bed,time,II\n1,b,1970-01-01T00:00:01Z,2\n3,b,1970-01-01 00:00:01.01,4\n5,c,1970-01-01,6";
    let expected = [
        record(Some("b"), Some(1_000_000_000), &[1.0, 2.0, 3.0, 4.0]),
        record(Some("c"), Some(0), &[5.0, 6.0]),
    ];
    assert_eq!(decode(&i16s(rest, 2), payload).unwrap(), expected);
}

#[test]
fn what_does_not_fit_is_refused_with_its_line() {
    for (payload, says) in [
        ("1,2\n3,x", "line 2, column 1: \"x\" is not a finite number"),
        ("1,2\n3,1.5", "line 2, column 1: \"1.5\" is not a whole number that fits i16"),
        ("1,2\n3,40000", "line 2, column 1: \"40000\" is not a whole number that fits i16"),
        ("1,2\n3,nan", "line 2, column 1: \"nan\" is not a finite number"),
        ("1,2\n3,", "line 2, column 1: \"\" is not a finite number"),
        ("1,2\n\n3", "line 3: 1 cells where the first line has 2"),
        ("1,2\n3,4,5", "line 2: 3 cells where the first line has 2"),
        ("1", "line 1: 1 columns of samples for 2 channels"),
        ("1,5,2,5", "line 1: 4 columns of samples for 2 channels (numbers with a decimal comma?"),
        ("1,2\n1,5,2,5", "line 2: 4 cells where the first line has 2 (numbers with a decimal comma?"),
        ("\r\n \n", "message: has no line"),
    ] {
        let refusal = refusal(&i16s(PLAIN, 2), payload);
        assert!(refusal.starts_with(says), "{payload}: {refusal}");
    }
    let semicolons = CsvColumns { delimiter: b';', ..PLAIN };
    assert_eq!(
        refusal(&i16s(semicolons, 2), "1;2\n1,5;2"),
        "line 2, column 0: \"1,5\" has a decimal comma: write numbers with a decimal point"
    );
    assert!(refusal(&i16s(PLAIN, 1), b"\xff").starts_with("line 1, column 0: \"\u{fffd}\" is not"));
}

#[test]
fn columns_that_are_not_there_are_refused() {
    let with =
        |samples: Column, header| i16s(CsvColumns { samples: Some(vec![samples]), header, ..PLAIN }, 1);
    for (options, payload, says) in [
        (with(Column::Place(2), false), "1,2", "line 1: column 2 is not among its 2, counted from 0"),
        (with(name("c"), true), "\na,b\n1,2", "line 2: column \"c\" is not in the header"),
        (with(name("a"), true), "a,a\n1,2", "line 1: column \"a\" is in the header more than once"),
        (with(name("a"), false), "a\n1", "line 1: column \"a\" is a name, but no header names columns"),
        (with(name("a"), true), "a,b\n", "message: has a header, but no row"),
        (with(name("a"), true), "a,b\n1", "line 2: 1 cells where the first line has 2"),
        (with(name("a"), true), "a\n1\nx", "line 3, column \"a\": \"x\" is not a finite number"),
    ] {
        assert_eq!(refusal(&options, payload), says);
    }
    let columns = CsvColumns {
        time: Some(TimeField { at: Column::Place(0), unit: TimeUnit::Seconds }),
        key: Some(Column::Place(1)),
        ..PLAIN
    };
    let options = i16s(columns, 1);
    assert!(
        refusal(&options, "x,k,1").starts_with("line 1, column 0: \"x\" is not a number of seconds between")
    );
    assert_eq!(refusal(&options, "0,,1"), "line 1, column 1: an empty cell is no key");
    assert_eq!(refusal(&options, b"0,\xff,1"), "line 1, column 1: \"\u{fffd}\" is not UTF-8 text");
}

proptest! {
    #[test]
    fn rows_come_back(
        numbers in prop::collection::vec(any_sample(), 1..30),
        sample_type in any_sample_type(),
        channels in 1..4_usize,
        delimiter in prop::sample::select(b",;\t|".to_vec()),
        header: bool,
        break_ in prop::sample::select(vec!["\n", "\r\n"]),
        key in "[a-zé ,;|]{0,5}[a-z]",
        start_ns in -1_000_000_000_000_000_000_i64..1_000_000_000_000_000_000,
    ) {
        let key = key.trim();
        let between = char::from(delimiter).to_string();
        let rows: Vec<Vec<f64>> =
            numbers.iter().map(|number| vec![sample_type.nearest(*number); channels]).collect();
        let mut lines: Vec<String> = rows.iter().enumerate().map(|(i, row)| {
            // 10 ms a row at 100 Hz.
            let mut cells = vec![(start_ns + 10_000_000 * i as i64).to_string()];
            cells.extend(row.iter().map(|sample| format!("{sample:?}")));
            cells.push(format!("\"{key}\""));
            cells.join(&between)
        }).collect();
        if header {
            let names: Vec<String> = (0..channels).map(|channel| format!("c{channel}")).collect();
            lines.insert(0, format!("at{between}{}{between}who", names.join(&between)));
        }
        let columns = CsvColumns {
            samples: header.then(|| (0..channels).map(|channel| name(&format!("c{channel}"))).collect()),
            time: Some(TimeField { at: Column::Place(0), unit: TimeUnit::Nanoseconds }),
            key: Some(if header { name("who") } else { Column::Place(1 + channels) }),
            delimiter,
            header,
        };
        let records = decode(&options(Codec::Csv(columns), sample_type, channels), lines.join(break_));
        prop_assert_eq!(records, Ok(vec![record(Some(key), Some(start_ns), &rows.concat())]));
    }
}
