//! `[source.decoding]`, and the document on it.

use proptest::prelude::*;

use super::value::{Value, expand_table};
use super::*;
use crate::config::decoding::{self, CODECS, COMMON_KEYS};
use crate::signal::ChannelInfo;
use crate::source::decoding::{
    Codec, Column, CsvColumns, DecodingOptions, InfluxFields, JsonFields, JsonLayout, JsonPath,
    MessageDecoder, Record, TimeField, TimeUnit,
};

/// Reads the table in a text whose only section is `[source.decoding]`, from line 1 on.
fn read(text: &str) -> Result<DecodingOptions, ConfigError> {
    let places = Places::of(text, "p.toml")?;
    let table = config::File::from_str(text, FileFormat::Toml).collect().unwrap();
    let report = Report::new(&places);
    let mut table = expand_table(table, "", &|_| None, &report);
    let Some(Value::Table(mut source)) = table.remove("source") else { panic!("no source") };
    let options = decoding::read("source.decoding", source.remove("decoding").unwrap(), &report);
    let problems = report.into_problems();
    match options {
        Ok(options) if problems.is_empty() => Ok(options),
        _ => Err(ConfigError::from(problems)),
    }
}

fn options(keys: &str) -> DecodingOptions {
    read(&format!("[source.decoding]\n{keys}")).unwrap()
}

/// The problems of these keys, of which the first is on line 2.
fn refusals(keys: &str) -> Vec<String> {
    let error = read(&format!("[source.decoding]\n{keys}")).unwrap_err();
    error.problems().iter().map(|problem| problem.to_string().replace("source.decoding", "d")).collect()
}

fn path(text: &str) -> JsonPath {
    text.parse().unwrap()
}

fn names(options: &DecodingOptions) -> Vec<&str> {
    options.channels.iter().map(|channel| channel.name.as_str()).collect()
}

#[test]
fn the_shortest_table_is_enough() {
    let read = options("codec = \"raw\"\nsample_type = \"s16le\"\nchannels = 1\nsample_rate_hz = 360");
    let expected = DecodingOptions {
        sample_rate_hz: 360.0,
        sample_type: SampleType::I16,
        channels: vec![ChannelInfo::unscaled("")],
        codec: Codec::Raw { endian: Endian::Little },
    };
    assert_eq!(read, expected);
    assert_eq!(options("codec = \"raw\"\nsample_type = \"s16le\"\nsample_rate_hz = 360"), expected);
}

#[test]
fn every_raw_sample_type_says_its_bytes() {
    for (sample_type, word) in SampleType::ALL.into_iter().zip(["s16", "s24", "s32", "f32", "f64"]) {
        for (endian, end) in [(Endian::Little, "le"), (Endian::Big, "be")] {
            let read =
                options(&format!("codec = \"raw\"\nsample_type = \"{word}{end}\"\nsample_rate_hz = 1"));
            assert_eq!((read.sample_type, read.codec), (sample_type, Codec::Raw { endian }));
        }
    }
}

#[test]
fn channels_have_names_and_a_scale() {
    let read = options(
        "codec = \"raw\"\nsample_type = \"f32be\"\nsample_rate_hz = 0.5\nchannel_names = [\"I\", \"II\"]\n\
         unit = \"mV\"\ngain = -200\nbaseline = 1024.5",
    );
    let channel = |name: &str| ChannelInfo {
        name: name.to_owned(),
        unit: "mV".to_owned(),
        gain: -200.0,
        baseline: 1024.5,
    };
    assert_eq!(read.channels, [channel("I"), channel("II")]);
}

#[test]
fn json_keys_arrive() {
    let read = options(
        "codec = \"json\"\nsample_type = \"i24\"\nsample_rate_hz = 250\nchannels = 3\nsamples = \"d[0].v\"\n\
         layout = \"channels\"\ntime = \"t\"\ntime_unit = \"us\"\nkey = '[\"a.b\"].id'",
    );
    let fields = JsonFields {
        samples: vec![path("d[0].v")],
        layout: JsonLayout::Channels,
        time: Some(TimeField { at: path("t"), unit: TimeUnit::Microseconds }),
        key: Some(path("[\"a.b\"].id")),
    };
    assert_eq!((read.sample_type, &read.codec), (SampleType::I24, &Codec::Json(fields)));
    assert_eq!(names(&read), ["", "", ""]);
    let several =
        options("codec = \"json\"\nsample_type = \"f64\"\nsample_rate_hz = 1\nsamples = [\"a\", \"b.c\"]");
    assert_eq!(names(&several), ["a", "b.c"]);
}

#[test]
fn csv_keys_arrive() {
    let head = "codec = \"csv\"\nsample_type = \"f32\"\nsample_rate_hz = 1\n";
    let read = options(&format!(
        "{head}columns = [\"I\", 3]\ndelimiter = \";\"\nheader = true\ntime = \"t\"\ntime_unit = \"rfc3339\"\nkey = 0"
    ));
    let columns = CsvColumns {
        samples: Some(vec![Column::Name("I".to_owned()), Column::Place(3)]),
        time: Some(TimeField { at: Column::Name("t".to_owned()), unit: TimeUnit::Rfc3339 }),
        key: Some(Column::Place(0)),
        delimiter: b';',
        header: true,
    };
    assert_eq!(read.codec, Codec::Csv(columns));
    assert_eq!(names(&read), ["I", ""]);
    let plain = CsvColumns { samples: None, time: None, key: None, delimiter: b',', header: false };
    assert_eq!(options(head).codec, Codec::Csv(plain));
}

#[test]
fn influx_keys_arrive() {
    let head = "codec = \"influx\"\nsample_type = \"i32\"\nsample_rate_hz = 1\n";
    let fields = InfluxFields {
        measurement: None,
        fields: vec!["v".to_owned()],
        tags: None,
        time_unit: TimeUnit::Nanoseconds,
    };
    let read = options(&format!("{head}fields = \"v\""));
    assert_eq!((names(&read), &read.codec), (vec![""], &Codec::Influx(fields)));
    let read = options(&format!(
        "{head}fields = [\"I\", \"II\"]\nchannel_names = [\"a\", \"b\"]\nmeasurement = \"ecg\"\ntags = []\ntime_unit = \"s\""
    ));
    let fields = InfluxFields {
        measurement: Some("ecg".to_owned()),
        fields: vec!["I".to_owned(), "II".to_owned()],
        tags: Some(Vec::new()),
        time_unit: TimeUnit::Seconds,
    };
    assert_eq!((names(&read), &read.codec), (vec!["a", "b"], &Codec::Influx(fields)));
}

#[test]
fn what_does_not_fit_is_refused_at_its_key() {
    let raw = "codec = \"raw\"\nsample_type = \"s16le\"\nsample_rate_hz = 360\n";
    let json = "codec = \"json\"\nsample_type = \"i16\"\nsample_rate_hz = 360\n";
    let csv = "codec = \"csv\"\nsample_type = \"i16\"\nsample_rate_hz = 360\n";
    let influx = "codec = \"influx\"\nsample_type = \"i16\"\nsample_rate_hz = 360\nfields = [\"a\", \"b\"]\n";
    let packed = "codec = \"packed\"\nsample_rate_hz = 360\n";
    let json_v = &format!("{json}samples = \"v\"\n");
    for (head, keys, says) in [
        (raw, "chanels = 1", "5: d.chanels: unknown key (did you mean 'channels'?)"),
        (raw, "channels = 0", "5: d.channels: expected a whole number from 1 to 4096, found the number 0"),
        (raw, "channel_names = []", "5: d.channel_names: 0 channels are not between 1 and 4096"),
        (
            raw,
            "channel_names = \"I\"",
            "5: d.channel_names: expected an array of texts, found the text \"I\"",
        ),
        (
            raw,
            "channel_names = [\"I\", \"\"]",
            "5: d.channel_names[1]: expected a text that is not empty, found the text \"\"",
        ),
        (raw, "channel_names = [\"I\", \"I\"]", "5: d.channel_names[1]: is there before"),
        (raw, "channels = 2\nchannel_names = [\"I\"]", "6: d.channel_names: 1 names for 2 channels"),
        (raw, "gain = 0", "5: d.gain: is 0: give the counts of one physical unit"),
        (raw, "baseline = \"1\"", "5: d.baseline: expected a number, found the text \"1\""),
        (raw, "unit = 1", "5: d.unit: expected a text, found the number 1"),
        (raw, "samples = \"v\"", "5: d.samples: only for codec = \"json\""),
        (raw, "time = \"t\"", "5: d.time: only for codec = \"json\" or \"csv\""),
        (
            raw,
            "time_unit = \"s\"",
            "5: d.time_unit: only for codec = \"json\" or \"csv\" or \"influx\" or \"packed\"",
        ),
        (json_v, "tags = []", "6: d.tags: only for codec = \"influx\""),
        (json, "", "1: d.samples: missing"),
        (json, "samples = []", "5: d.samples: is empty"),
        (json, "samples = \"\"", "5: d.samples: is empty"),
        (json, "samples = 5", "5: d.samples: expected a text or an array of texts, found the number 5"),
        (json, "samples = \"a[\"", "5: d.samples: \"a[\" is not a path such as"),
        (json, "samples = [\"a\", \"a\"]", "5: d.samples[1]: is there before"),
        (json, "samples = [\"a\", \"b\"]\nchannels = 3", "5: d.samples: 2 samples for 3 channels"),
        (
            json,
            "samples = [\"a\", \"b\"]\nlayout = \"rows\"",
            "6: d.layout: means nothing with a path for each channel",
        ),
        (json_v, "time = \"t\"", "1: d.time_unit: missing beside time; one of s, ms, us, ns, rfc3339"),
        (json_v, "time_unit = \"s\"", "6: d.time_unit: means nothing without time"),
        (json_v, "time = \".\"\ntime_unit = \"s\"", "6: d.time: \".\" is not a path such as"),
        (json_v, "key = 5", "6: d.key: expected a text, found the number 5"),
        (csv, "columns = [0, \"a\"]", "5: d.columns: a name needs header = true; or give the place, from 0"),
        (csv, "key = \"a\"", "5: d.key: a name needs header = true; or give the place, from 0"),
        (
            csv,
            "columns = [-1]",
            "5: d.columns[0]: expected a column, by its place from 0 or by its name, found the number -1",
        ),
        (csv, "columns = [1, 1]", "5: d.columns[1]: is there before"),
        (csv, "columns = []", "5: d.columns: is empty: name a column"),
        (csv, "columns = [1, 2]\nchannels = 3", "5: d.columns: 2 columns for 3 channels"),
        (csv, "delimiter = \"ab\"", "5: d.delimiter: expected one character such as"),
        (influx, "channels = 1", "5: d.fields: 2 fields for 1 channels"),
        (
            influx,
            "time_unit = \"rfc3339\"",
            "6: d.time_unit: expected one of s, ms, us, ns, found the text \"rfc3339\"",
        ),
        (influx, "measurement = \"\"", "6: d.measurement: is empty: name the measurement"),
        (packed, "", "1: d.fields: missing"),
        (
            packed,
            "fields = \"s16 samples\"",
            "4: d.fields: character 1: 's16' does not say which byte comes first",
        ),
        (
            packed,
            "fields = \"s16le samples\"\ntime_unit = \"s\"",
            "5: d.time_unit: means nothing without a field 'time'",
        ),
        (packed, "fields = \"u32le time, s8 samples\"", "1: d.time_unit: missing beside a field 'time'"),
        (
            packed,
            "fields = \"3*s16le samples\"\nchannels = 2",
            "4: d.fields: hold 3 samples, which are not whole rows of 2 channels",
        ),
        (packed, "fields = [\"a\"]", "4: d.fields: expected a text, found an array"),
        (influx, "tags = [\"a\", \"a\"]", "6: d.tags[1]: is there before"),
    ] {
        let found = refusals(&format!("{head}{keys}"));
        assert_eq!(found.len(), 1, "{keys}: {found:#?}");
        assert!(found[0].starts_with(&format!("p.toml:{says}")), "{keys}: {}", found[0]);
    }
    for (keys, says) in [
        ("sample_type = \"s16le\"", "p.toml:1: d.codec: missing; one of raw, json, csv, influx, packed"),
        (
            "codec = \"jsn\"",
            "p.toml:2: d.codec: expected one of raw, json, csv, influx, packed, found the text \"jsn\" (did you mean 'json'?)",
        ),
    ] {
        assert_eq!(refusals(keys), [says]);
    }
    assert_eq!(
        refusals("codec = \"raw\"\nsample_type = \"i16\"\nsample_rate_hz = 1e12"),
        [
            "p.toml:3: d.sample_type: expected one of s16le, s24le, s32le, f32le, f64le, s16be, s24be, s32be, f32be, f64be, found the text \"i16\"",
            "p.toml:4: d.sample_rate_hz: 1000000000000 Hz is not between 0.000001 and 1000000000",
        ]
    );
}

#[test]
fn all_problems_are_reported_at_once() {
    let found = refusals(
        "codec = \"csv\"\nsample_tipe = \"i16\"\nsample_rate_hz = -1\nchannels = 0\ngain = 0\ncolumns = [true, 1, {}]\n\
         delimiter = \"\"\nheader = 1\ntime = 1.5\nkey = []\nlayout = 1",
    );
    let keys: Vec<_> = found.iter().map(|problem| problem.split(':').nth(2).unwrap().trim()).collect();
    let expected = [
        "d.sample_type",
        "d.sample_tipe",
        "d.sample_rate_hz",
        "d.channels",
        "d.gain",
        "d.columns[0]",
        "d.columns[2]",
        "d.delimiter",
        "d.header",
        "d.time",
        "d.key",
        "d.layout",
    ];
    assert_eq!(keys, expected);
}

#[test]
fn every_known_key_is_read() {
    for (codec, _, own) in CODECS {
        for key in COMMON_KEYS.iter().chain(*own).filter(|key| **key != "codec") {
            let found = refusals(&format!("codec = {codec:?}\n{key} = {{}}"));
            let expected = format!("p.toml:3: d.{key}: expected ");
            assert!(found.iter().any(|problem| problem.starts_with(&expected)), "{codec} {key}: {found:#?}");
        }
    }
}

fn document() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/decoding.md");
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn every_known_key_is_documented() {
    let document = document();
    let sections: Vec<(&str, &str)> =
        document.split("\n## ").skip(1).map(|section| section.split_once('\n').unwrap()).collect();
    let mut expected = vec![("Every codec".to_owned(), COMMON_KEYS)];
    expected.extend(CODECS.iter().map(|(codec, _, own)| (format!("`{codec}`"), *own)));
    for (title, keys) in expected {
        let (_, text) = sections.iter().find(|(found, _)| *found == title).unwrap();
        let rows: Vec<_> =
            text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
        assert_eq!(rows, keys, "{title}");
    }
}

/// The fenced blocks of the document, as (language, text).
fn blocks(document: &str) -> Vec<(&str, &str)> {
    let fenced = document.split("```").skip(1).step_by(2);
    fenced.map(|block| block.split_once('\n').unwrap()).collect()
}

#[test]
fn every_example_in_the_document_decodes_to_what_it_says() {
    let document = document();
    let mut examples = 0;
    for three in blocks(&document).windows(3) {
        let [("toml", table), (language, message), ("text", says)] = three else { continue };
        let payload = match *language {
            "hex" => message.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect(),
            _ => message.as_bytes().to_vec(),
        };
        let mut records = Vec::new();
        MessageDecoder::new(read(table).unwrap()).decode(&payload, &mut records).unwrap();
        let lines: Vec<String> = records.iter().map(described).collect();
        assert_eq!(lines, says.lines().collect::<Vec<_>>(), "{message}");
        examples += 1;
    }
    let tables = blocks(&document).iter().filter(|(language, _)| *language == "toml").count();
    assert_eq!(examples, tables, "a table without its message and its records");
    assert!(examples >= CODECS.len());
}

fn described(record: &Record) -> String {
    let key = record.key.as_deref().unwrap_or("-");
    let time = record.time_ns.map_or("-".to_owned(), |ns| ns.to_string());
    let samples: Vec<_> = record.samples.iter().map(ToString::to_string).collect();
    format!("key {key}, time {time}, samples {}", samples.join(" "))
}

proptest! {
    #[test]
    fn damaged_tables_never_panic(
        codec in prop::sample::select(vec!["raw", "json", "csv", "influx", "packed"]),
        keys in prop::collection::btree_map(
            prop::sample::select(CODECS.iter().flat_map(|(.., keys)| *keys).chain(COMMON_KEYS).copied().collect::<Vec<_>>()),
            prop::sample::select(vec!["1", "-1", "0.5", "true", "[]", "[1]", "[\"a\"]", "\"a\"", "\"s\"", "\"f32\"", "\"\"", "{}"]),
            0..8,
        ),
    ) {
        let keys = keys.iter().filter(|(key, _)| **key != "codec").map(|(key, value)| format!("{key} = {value}\n"));
        match read(&format!("[source.decoding]\ncodec = {codec:?}\n{}", keys.collect::<String>())) {
            Ok(options) => prop_assert!(!options.channels.is_empty()),
            Err(error) => prop_assert!(error.problems().iter().all(|problem| problem.line.is_some())),
        }
    }
}
