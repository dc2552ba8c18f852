use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::source::decoding::tests::{any_sample, any_sample_type, decode, options, record, refusal};
use crate::source::decoding::{Codec, DecodingOptions, TimeUnit};

fn path(text: &str) -> JsonPath {
    text.parse().unwrap()
}

fn fields(samples: &[&str]) -> JsonFields {
    let samples = samples.iter().map(|text| path(text)).collect();
    JsonFields { samples, layout: JsonLayout::Rows, time: None, key: None }
}

fn i16s(fields: JsonFields, channels: usize) -> DecodingOptions {
    options(Codec::Json(fields), SampleType::I16, channels)
}

fn samples(options: &DecodingOptions, payload: &str) -> Vec<f64> {
    let records = decode(options, payload).unwrap();
    assert_eq!(records.len(), 1);
    records[0].samples.clone()
}

#[test]
fn one_channel_is_a_number_or_an_array() {
    let one = i16s(fields(&["leads[1].v"]), 1);
    assert_eq!(samples(&one, r#"{"leads": [0, {"v": -5}]}"#), [-5.0]);
    assert_eq!(samples(&one, "\u{feff} {\"leads\": [0, {\"v\": [1, 2.0, 3e1]}]}\r\n"), [1.0, 2.0, 30.0]);
    assert_eq!(samples(&one, r#"{"leads": [0, {"v": [[1], [2], [3]]}]}"#), [1.0, 2.0, 3.0]);
    let channels = JsonFields { layout: JsonLayout::Channels, ..fields(&["v"]) };
    assert_eq!(samples(&i16s(channels, 1), r#"{"v": [[1, 2, 3]]}"#), [1.0, 2.0, 3.0]);
}

#[test]
fn several_channels_are_rows_or_channels() {
    let rows = i16s(fields(&["v"]), 2);
    assert_eq!(samples(&rows, r#"{"v": [1, 2]}"#), [1.0, 2.0]);
    assert_eq!(samples(&rows, r#"{"v": [[1, 2], [3, 4], [5, 6]]}"#), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let channels = i16s(JsonFields { layout: JsonLayout::Channels, ..fields(&["v"]) }, 2);
    assert_eq!(samples(&channels, r#"{"v": [1, 2]}"#), [1.0, 2.0]);
    assert_eq!(samples(&channels, r#"{"v": [[1, 3, 5], [2, 4, 6]]}"#), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let paths = i16s(fields(&["b", "a.x"]), 2);
    assert_eq!(samples(&paths, r#"{"a": {"x": [2, 4]}, "b": [1, 3]}"#), [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(samples(&paths, r#"{"a": {"x": 2}, "b": 1}"#), [1.0, 2.0]);
}

#[test]
fn time_and_key_are_read_exactly() {
    let with = |unit| {
        let time = Some(TimeField { at: path("t"), unit });
        i16s(JsonFields { time, key: Some(path("meta.id")), ..fields(&["v"]) }, 1)
    };
    for (unit, time, ns) in [
        (TimeUnit::Nanoseconds, "1700000000123456789", 1_700_000_000_123_456_789),
        (TimeUnit::Microseconds, "1700000000123456", 1_700_000_000_123_456_000),
        (TimeUnit::Milliseconds, "1700000000123.5", 1_700_000_000_123_500_000),
        (TimeUnit::Seconds, "1700000000.123456", 1_700_000_000_123_456_000),
        (TimeUnit::Seconds, "\"1700000000.123456789\"", 1_700_000_000_123_456_789),
        (TimeUnit::Rfc3339, "\"2024-02-29T13:00:00.25+01:00\"", 1_709_208_000_250_000_000),
    ] {
        let payload = format!(r#"{{"t": {time}, "v": 7, "meta": {{"id": 18446744073709551615}}}}"#);
        let expected = record(Some("18446744073709551615"), Some(ns), &[7.0]);
        assert_eq!(decode(&with(unit), payload).unwrap(), [expected], "{time}");
    }
    let payload = r#"{"t": 0, "v": 7, "meta": {"id": "bed \"4\""}}"#;
    let expected = record(Some("bed \"4\""), Some(0), &[7.0]);
    assert_eq!(decode(&with(TimeUnit::Seconds), payload).unwrap(), [expected]);
}

#[test]
fn a_message_may_hold_several_objects() {
    let time = Some(TimeField { at: path("t"), unit: TimeUnit::Milliseconds });
    let options = i16s(JsonFields { time, key: Some(path("k")), ..fields(&["v"]) }, 1);
    let objects = [
        r#"{"k": "a", "t": 0, "v": [1, 2]}"#,
        r#"{"k": "a", "t": 20, "v": 3}"#,
        r#"{"k": "b", "t": 30, "v": 4}"#,
        r#"{"k": "a", "t": 30, "v": 5}"#,
    ];
    let expected = [
        record(Some("a"), Some(0), &[1.0, 2.0, 3.0]),
        record(Some("b"), Some(30_000_000), &[4.0]),
        record(Some("a"), Some(30_000_000), &[5.0]),
    ];
    for payload in [objects.join("\n"), objects.join(""), format!("[{}]\n", objects.join(","))] {
        assert_eq!(decode(&options, payload).unwrap(), expected);
    }
}

#[test]
fn times_that_run_ahead_or_back_begin_another_record() {
    let time = Some(TimeField { at: path("t"), unit: TimeUnit::Milliseconds });
    let options = i16s(JsonFields { time, ..fields(&["v"]) }, 1);
    let starts = |times: &[u32]| {
        let objects: String = times.iter().map(|t| format!("{{\"t\": {t}, \"v\": 0}}\n")).collect();
        let records = decode(&options, objects).unwrap();
        records.iter().map(|record| record.time_ns.unwrap() / 1_000_000).collect::<Vec<_>>()
    };
    assert_eq!(starts(&[100, 110, 120, 130]), [100]);
    assert_eq!(starts(&[100, 114, 121, 134]), [100], "within half a sample");
    assert_eq!(starts(&[100, 116, 126]), [100, 116]);
    assert_eq!(starts(&[100, 100, 100, 131]), [100], "coarse stamps");
    assert_eq!(starts(&[100, 110, 109]), [100, 109]);
}

#[test]
fn what_does_not_fit_is_refused_with_its_path() {
    let time = Some(TimeField { at: path("t"), unit: TimeUnit::Milliseconds });
    let one = i16s(JsonFields { time, key: Some(path("k")), ..fields(&["d.v"]) }, 1);
    for (payload, says) in [
        (r#"{"d": {"v": 1.5}, "t": 0, "k": 0}"#, "d.v: 1.5 is not a whole number that fits i16"),
        (r#"{"d": {"v": [0, 40000]}, "t": 0, "k": 0}"#, "d.v[1]: 40000 is not a whole number that fits i16"),
        (r#"{"d": {"v": [0, null]}, "t": 0, "k": 0}"#, "d.v[1]: null is not a number"),
        (
            r#"{"d": {"v": "1"}, "t": 0, "k": 0}"#,
            "d.v: the text \"1\" is not a number or an array of numbers",
        ),
        (r#"{"d": {"v": []}, "t": 0, "k": 0}"#, "d.v: an empty array: there is no sample in it"),
        (r#"{"d": {"v": [[1], [2, 3]]}, "t": 0, "k": 0}"#, "d.v[1]: a row of 2 numbers for 1 channels"),
        (r#"{"d": {"v": [[1], 2]}, "t": 0, "k": 0}"#, "d.v[1]: 2 is not an array"),
        (r#"{"d": {"v": [[1], [[2]]]}, "t": 0, "k": 0}"#, "d.v[1][0]: an array is not a number"),
        (r#"{"d": {"w": 1}, "t": 0, "k": 0}"#, "d.v: missing"),
        (r#"{"d": {"v": 1}, "k": 0}"#, "t: missing"),
        (r#"{"d": {"v": 1}, "t": 0}"#, "k: missing"),
        (r#"{"d": {"v": 1}, "t": 1e300, "k": 0}"#, "t: 1e+300 is not a number of milliseconds"),
        (r#"{"d": {"v": 1}, "t": true, "k": 0}"#, "t: true is not a number or a text"),
        (r#"{"d": {"v": 1}, "t": 0, "k": 0.5}"#, "k: 0.5 is not a text or a whole number of 64 bits"),
        (r#"{"d": {"v": 1}, "t": 0, "k": ""}"#, "k: an empty text is no key"),
        ("7", "message: 7 is not an object"),
        (r#"{"d": {"v": 1}, "t": 0, "k": 0} 7"#, "object 2, value: 7 is not an object"),
        (r#"[{"d": {"v": 1}, "t": 0, "k": 0}, {}]"#, "object 2, d.v: missing"),
        ("{\"d\":\n nul}", "line 2, character 5: not JSON: expected ident"),
        (r#"{"d": {"v": 1}"#, "line 1, character 14: not JSON: EOF while parsing an object"),
        ("[]", "message: has no JSON object"),
        (" \n", "message: has no JSON object"),
    ] {
        let refusal = refusal(&one, payload);
        assert!(refusal.starts_with(says), "{payload}: {refusal}");
    }
    let two = i16s(fields(&["v"]), 2);
    for (payload, says) in [
        (r#"{"v": 1}"#, "v: 1 where 2 channels need an array"),
        (r#"{"v": [1, 2, 3]}"#, "v: an array of 3 numbers is not one row of 2 channels"),
        (r#"{"v": [[1, 2], [3]]}"#, "v[1]: a row of 1 number for 2 channels"),
    ] {
        assert_eq!(refusal(&two, payload), says);
    }
    let channels = i16s(JsonFields { layout: JsonLayout::Channels, ..fields(&["v"]) }, 2);
    assert_eq!(refusal(&channels, r#"{"v": [[1]]}"#), "v: arrays of 1 channels, but there are 2");
    assert_eq!(refusal(&channels, r#"{"v": [[1], [2, 3]]}"#), "v[1]: 2 numbers, but the first channel has 1");
    let paths = i16s(fields(&["a", "b"]), 2);
    assert_eq!(refusal(&paths, r#"{"a": [1], "b": [2, 3]}"#), "b: 2 numbers, but the first channel has 1");
    assert_eq!(refusal(&paths, r#"{"a": [1], "b": [[2]]}"#), "b[0]: an array is not a number");
}

#[test]
fn whole_numbers_that_floats_do_not_hold_are_refused() {
    let double = options(Codec::Json(fields(&["v"])), SampleType::F64, 1);
    assert_eq!(samples(&double, r#"{"v": 9007199254740992}"#), [9_007_199_254_740_992.0]);
    assert!(refusal(&double, r#"{"v": 9007199254740993}"#).contains("holds exactly"));
    let single = options(Codec::Json(fields(&["v"])), SampleType::F32, 1);
    assert_eq!(samples(&single, r#"{"v": 0.1}"#), [f64::from(0.1_f32)]);
    assert!(refusal(&single, r#"{"v": 16777217}"#).contains("holds exactly"));
    assert!(refusal(&single, r#"{"v": 1e39}"#).contains("fits f32"));
}

#[test]
fn deep_nesting_is_refused() {
    let one = i16s(fields(&["v"]), 1);
    assert!(refusal(&one, "[".repeat(1_000_000)).contains("recursion limit"));
    assert!(refusal(&one, r#"{"v":"#.repeat(1_000_000)).contains("recursion limit"));
}

proptest! {
    #[test]
    fn samples_come_back_in_every_shape(
        numbers in prop::collection::vec(any_sample(), 1..40),
        sample_type in any_sample_type(),
        channels in 1..4_usize,
        time_ns: i64,
        key in "\\PC{1,8}",
    ) {
        let rows: Vec<Vec<f64>> = numbers
            .iter()
            .map(|number| (0..channels).map(|i| sample_type.nearest(number / (1.0 + i as f64))).collect())
            .collect();
        let columns: Vec<Vec<f64>> =
            (0..channels).map(|channel| rows.iter().map(|row| row[channel]).collect()).collect();
        let payload = json!({
            "rows": &rows, "columns": &columns, "row": &rows[0], "one": &columns[0], "t": time_ns, "k": &key,
        });
        let flat: Vec<f64> = rows.concat();
        let paths: Vec<String> = (0..channels).map(|channel| format!("columns[{channel}]")).collect();
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        let mut cases = vec![
            (vec!["rows"], JsonLayout::Rows, channels, &flat[..]),
            (vec!["columns"], JsonLayout::Channels, channels, &flat),
            (paths, JsonLayout::Rows, channels, &flat),
            (vec!["one"], JsonLayout::Rows, 1, &columns[0]),
        ];
        if channels > 1 {
            cases.push((vec!["row"], JsonLayout::Rows, channels, &rows[0]));
        }
        for (paths, layout, channels, samples) in cases {
            let time = Some(TimeField { at: path("t"), unit: TimeUnit::Nanoseconds });
            let fields = JsonFields { layout, time, key: Some(path("k")), ..fields(&paths) };
            let records = decode(&options(Codec::Json(fields), sample_type, channels), payload.to_string());
            prop_assert_eq!(records, Ok(vec![record(Some(&key), Some(time_ns), samples)]));
        }
    }
}
