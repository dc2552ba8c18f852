use proptest::prelude::*;

use super::*;
use crate::source::decoding::tests::{any_sample, any_sample_type, decode, options, record, refusal};
use crate::source::decoding::{Codec, DecodingOptions, Record};

fn fields(names: &[&str]) -> InfluxFields {
    InfluxFields {
        measurement: None,
        fields: names.iter().map(|name| (*name).to_owned()).collect(),
        tags: None,
        time_unit: TimeUnit::Nanoseconds,
    }
}

fn i16s(fields: InfluxFields) -> DecodingOptions {
    let channels = fields.fields.len();
    options(Codec::Influx(fields), SampleType::I16, channels)
}

fn lines(text: &str) -> Vec<Line<'_>> {
    let mut lines = Lines::of(text);
    std::iter::from_fn(|| lines.next().unwrap()).collect()
}

#[test]
fn fields_become_channels() {
    let payload = "\u{feff}# two beats\r\necg,ward=A\\ 1,bed=4 II=2i,I=1,note=\"a, \\\"b\\\" = c\" 1000000000\r\n\
                   ecg,bed=4,ward=A\\ 1 I=3u,II=-4.0,ok=t 1010000000\n\necg,bed=5,ward=A\\ 1 I=5,II=6";
    let expected = [
        record(Some("ecg,bed=4,ward=A\\ 1"), Some(1_000_000_000), &[1.0, 2.0, 3.0, -4.0]),
        record(Some("ecg,bed=5,ward=A\\ 1"), None, &[5.0, 6.0]),
    ];
    assert_eq!(decode(&i16s(fields(&["I", "II"])), payload).unwrap(), expected);
}

#[test]
fn chosen_tags_and_measurements_make_the_key() {
    let payload = "ecg,bed=4,host=x v=1\nspo2,bed=4,host=x w=1\necg,host=y,bed=4 v=2\n";
    let chosen = InfluxFields {
        measurement: Some("ecg".to_owned()),
        tags: Some(vec!["bed".to_owned()]),
        ..fields(&["v"])
    };
    assert_eq!(
        decode(&i16s(chosen.clone()), payload).unwrap(),
        [record(Some("ecg,bed=4"), None, &[1.0, 2.0])]
    );
    let none = InfluxFields { tags: Some(Vec::new()), ..chosen.clone() };
    assert_eq!(decode(&i16s(none), payload).unwrap(), [record(Some("ecg"), None, &[1.0, 2.0])]);
    assert_eq!(decode(&i16s(chosen.clone()), "spo2,bed=4 w=1").unwrap(), [] as [Record; 0]);
    assert_eq!(refusal(&i16s(chosen), "ecg,host=x v=1"), "line 1: tag \"bed\": missing");
}

#[test]
fn escapes_are_those_of_the_protocol() {
    let text = r#"a\,b\ c\d=e\=,t\ \=\,x=\\y\z,u="q" f\ g="1 \\",h=1 5"#;
    let [line] = &lines(text)[..] else { panic!("one line") };
    assert_eq!(line.measurement, r"a,b c\d=e\=");
    assert_eq!(line.tags, [("t =,x".into(), r"\\y\z".into()), ("u".into(), "\"q\"".into())]);
    assert_eq!(line.fields, [("f g".into(), FieldValue::Text), ("h".into(), FieldValue::Number("1"))]);
    assert_eq!(line.time, Some("5"));
}

#[test]
fn texts_may_hold_line_breaks() {
    let found = lines("m a=\"1\n2\",b=1i\nm b=2");
    assert_eq!(found.iter().map(|line| line.number).collect::<Vec<_>>(), [1, 3]);
    let error = decode(&i16s(fields(&["b"])), "m a=\"1\n2\",b=1i\nm b=x").unwrap_err();
    assert_eq!(error.place(), &Place::Line(3));
}

#[test]
fn times_have_the_unit_that_is_given() {
    for (unit, ns) in [
        (TimeUnit::Seconds, -7_000_000_000),
        (TimeUnit::Milliseconds, -7_000_000),
        (TimeUnit::Microseconds, -7_000),
        (TimeUnit::Nanoseconds, -7),
    ] {
        let records = decode(&i16s(InfluxFields { time_unit: unit, ..fields(&["v"]) }), "m v=1 -7").unwrap();
        assert_eq!(records[0].time_ns, Some(ns));
    }
    let seconds = i16s(InfluxFields { time_unit: TimeUnit::Seconds, ..fields(&["v"]) });
    let says = "line 1: the time \"9223372036854775807\" is not a number of seconds";
    assert!(refusal(&seconds, "m v=1 9223372036854775807").starts_with(says));
}

#[test]
fn what_is_no_line_is_refused_with_its_number() {
    let one = i16s(fields(&["v"]));
    for (payload, says) in [
        ("m v=1\nm", "line 2: a line needs fields behind its measurement and tags"),
        ("m,t=1\nm v=1", "line 1: a line needs fields behind its measurement and tags"),
        ("m,t=1=2 v=1", "line 1: an equals sign in the value of a tag needs a backslash"),
        (",t=1 v=1", "line 1: the measurement is missing"),
        ("m,=1 v=1", "line 1: the name of a tag is missing"),
        ("m,t= v=1", "line 1: the value of a tag is missing"),
        ("m,t v=1", "line 1: an equals sign and a value must follow \"t\""),
        ("m,t=1,t=2 v=1", "line 1: tag \"t\": given more than once"),
        ("m =1", "line 1: the name of a field is missing"),
        ("m v", "line 1: an equals sign and a value must follow \"v\""),
        ("m v=", "line 1: field \"v\": \"\" is neither a finite number, true, false nor a text in quotes"),
        ("m v=NaN", "line 1: field \"v\": \"NaN\" is neither"),
        ("m v=1.0i", "line 1: field \"v\": \"1.0i\" is neither"),
        ("m v=9223372036854775808i", "line 1: field \"v\": \"9223372036854775808i\" is neither"),
        ("m v=-1u", "line 1: field \"v\": \"-1u\" is neither"),
        ("m v=\"1", "line 1: field \"v\": a text without its last quote"),
        ("m v=\"1\"x", "line 1: a comma or a space must follow the value of a field"),
        ("m v=1,", "line 1: the name of a field is missing"),
        ("m v=1 1.5", "line 1: the time \"1.5\" is not a whole number"),
        ("m v=1 1 2", "line 1: nothing may follow the time"),
        ("m w=1", "line 1: field \"v\": missing"),
        ("m v=1,v=2", "line 1: field \"v\": given more than once"),
        ("m v=t", "line 1: field \"v\": true or false is not a number"),
        ("m v=\"1\"", "line 1: field \"v\": a text is not a number"),
        ("m v=1.5", "line 1: field \"v\": \"1.5\" is not a whole number that fits i16"),
        ("m v=40000i", "line 1: field \"v\": \"40000\" is not a whole number that fits i16"),
        ("# nothing\n\n", "message: has no line"),
    ] {
        let refusal = refusal(&one, payload);
        assert!(refusal.starts_with(says), "{payload}: {refusal}");
    }
    assert_eq!(refusal(&one, b"\xef\xbb\xbfm v=\xff"), "byte 7: not UTF-8 text");
}

/// A name that the protocol can write: not empty, no line break, no backslash at its end.
fn any_name() -> impl Strategy<Value = String> {
    "[a-c ,=\"é\\\\#]{0,6}[a-c ,=\"é#]"
}

fn escaped(name: &str) -> String {
    let mut out = String::new();
    line::push_name(&mut out, name);
    out
}

proptest! {
    #[test]
    fn lines_come_back(
        measurement in any_name().prop_filter("no comment, no space", |name| !name.starts_with(['#', ' '])),
        tags in prop::collection::btree_map(any_name(), any_name(), 0..4),
        names in prop::collection::btree_set(any_name(), 1..4),
        numbers in prop::collection::vec(any_sample(), 1..10),
        note in "[\\PC\n\"\\\\]{0,8}",
        sample_type in any_sample_type(),
        start_ns in -1_000_000_000_000_000_000_i64..1_000_000_000_000_000_000,
        backwards: bool,
    ) {
        let mut key = String::new();
        line::push_measurement(&mut key, &measurement);
        let head = key.clone();
        for (name, value) in &tags {
            key += &format!(",{}={}", escaped(name), escaped(value));
        }
        let mut unsorted: Vec<String> =
            tags.iter().map(|(name, value)| format!(",{}={}", escaped(name), escaped(value))).collect();
        if backwards {
            unsorted.reverse();
        }
        let note = note.replace('\\', "\\\\").replace('"', "\\\"");
        let mut payload = String::new();
        let mut expected = Vec::new();
        for (i, number) in numbers.iter().enumerate() {
            let samples: Vec<f64> =
                (0..names.len()).map(|field| sample_type.nearest(number / (1.0 + field as f64))).collect();
            let values = names.iter().zip(&samples).map(|(name, sample)| match sample_type.is_integer() {
                true => format!("{}={}i", escaped(name), *sample as i64),
                false => format!("{}={sample:?}", escaped(name)),
            });
            let mut values: Vec<String> = values.collect();
            values.push(format!("zz=\"{note}\""));
            if backwards {
                values.reverse();
            }
            let time = start_ns + 10_000_000 * i as i64;
            payload += &format!("{head}{} {} {time}\n", unsorted.concat(), values.join(","));
            expected.extend(samples);
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let channels = names.len();
        let records = decode(&options(Codec::Influx(fields(&names)), sample_type, channels), &payload);
        prop_assert_eq!(records, Ok(vec![record(Some(&key), Some(start_ns), &expected)]), "{}", payload);
    }

    #[test]
    fn different_tags_make_different_keys(
        a in prop::collection::btree_map(any_name(), any_name(), 0..3),
        b in prop::collection::btree_map(any_name(), any_name(), 0..3),
    ) {
        let key = |tags: &std::collections::BTreeMap<String, String>| {
            let tags: String =
                tags.iter().map(|(name, value)| format!(",{}={}", escaped(name), escaped(value))).collect();
            decode(&i16s(fields(&["v"])), format!("m{tags} v=1")).unwrap()[0].key.clone()
        };
        prop_assert_eq!(key(&a) == key(&b), a == b);
    }
}
