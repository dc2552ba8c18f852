//! What every codec keeps to, and raw messages.

use proptest::prelude::*;

use super::*;

pub(super) fn options(codec: Codec, sample_type: SampleType, channels: usize) -> DecodingOptions {
    let channels = vec![ChannelInfo::unscaled(""); channels];
    DecodingOptions { sample_rate_hz: 100.0, sample_type, channels, codec }
}

pub(super) fn decode(
    options: &DecodingOptions,
    payload: impl AsRef<[u8]>,
) -> Result<Vec<Record>, DecodeError> {
    let mut records = Vec::new();
    MessageDecoder::new(options.clone()).decode(payload.as_ref(), &mut records)?;
    Ok(records)
}

pub(super) fn refusal(options: &DecodingOptions, payload: impl AsRef<[u8]>) -> String {
    decode(options, payload).unwrap_err().to_string()
}

pub(super) fn record(key: Option<&str>, time_ns: Option<i64>, samples: &[f64]) -> Record {
    Record { key: key.map(str::to_owned), time_ns, samples: samples.to_vec() }
}

fn raw(sample_type: SampleType, endian: Endian, channels: usize) -> DecodingOptions {
    options(Codec::Raw { endian }, sample_type, channels)
}

/// A sample as a message has it.
fn bytes_of(sample: f64, sample_type: SampleType, endian: Endian) -> Vec<u8> {
    let mut bytes = match sample_type {
        SampleType::I16 => (sample as i16).to_le_bytes().to_vec(),
        SampleType::I24 => (sample as i32).to_le_bytes()[..3].to_vec(),
        SampleType::I32 => (sample as i32).to_le_bytes().to_vec(),
        SampleType::F32 => (sample as f32).to_le_bytes().to_vec(),
        SampleType::F64 => sample.to_le_bytes().to_vec(),
    };
    if endian == Endian::Big {
        bytes.reverse();
    }
    bytes
}

/// A number of which every sample type holds the nearest.
pub(super) fn any_sample() -> impl Strategy<Value = f64> {
    prop_oneof![-40_000.0..40_000.0, (-9_000_000..9_000_000).prop_map(f64::from), -1e38..1e38]
}

pub(super) fn any_sample_type() -> impl Strategy<Value = SampleType> {
    prop::sample::select(SampleType::ALL.to_vec())
}

#[test]
fn raw_messages_are_whole_rows() {
    let stereo = raw(SampleType::I16, Endian::Little, 2);
    let samples = decode(&stereo, [1, 0, 0xff, 0xff, 0, 0x80, 0, 1]).unwrap();
    assert_eq!(samples, [record(None, None, &[1.0, -1.0, -32_768.0, 256.0])]);
    assert_eq!(
        refusal(&stereo, [0; 6]),
        "message: 6 bytes are not whole rows: one i16 sample of each of 2 channels takes 4, and 2 are left over"
    );
    assert_eq!(refusal(&stereo, []), "message: empty");
}

#[test]
fn raw_samples_that_are_not_finite_are_refused_with_their_byte() {
    let single = raw(SampleType::F32, Endian::Big, 1);
    let payload: Vec<u8> = [1.0, 2.0, f32::NAN].iter().flat_map(|sample| sample.to_be_bytes()).collect();
    let error = decode(&single, payload).unwrap_err();
    assert_eq!(error.place(), &Place::Byte(8));
    let double = raw(SampleType::F64, Endian::Little, 1);
    assert_eq!(
        refusal(&double, f64::INFINITY.to_le_bytes()),
        "byte 0: not a finite number (NaN or infinite)"
    );
}

#[test]
fn a_message_that_is_refused_leaves_nothing() {
    let columns = CsvColumns { samples: None, time: None, key: None, delimiter: b',', header: false };
    let mut decoder = MessageDecoder::new(options(Codec::Csv(columns), SampleType::I16, 1));
    let mut records = Vec::new();
    decoder.decode(b"1\n2", &mut records).unwrap();
    decoder.decode(b"3\nx", &mut records).unwrap_err();
    decoder.decode(b"4", &mut records).unwrap();
    assert_eq!(records, [record(None, None, &[1.0, 2.0]), record(None, None, &[4.0])]);
}

#[test]
fn options_that_contradict_themselves_are_refused_with_the_message() {
    let path = |text: &str| text.parse::<JsonPath>().unwrap();
    let json =
        JsonFields { samples: vec![path("a"), path("b")], layout: JsonLayout::Rows, time: None, key: None };
    let influx = InfluxFields {
        measurement: None,
        fields: vec!["a".to_owned(), "b".to_owned()],
        tags: None,
        time_unit: TimeUnit::Nanoseconds,
    };
    let columns = vec![Column::Place(0), Column::Place(1)];
    let csv = CsvColumns { samples: Some(columns), time: None, key: None, delimiter: b',', header: false };
    for (codec, payload) in [
        (Codec::Json(json), r#"{"a": 1, "b": 2}"#),
        (Codec::Influx(influx), "m a=1,b=2"),
        (Codec::Csv(csv), "1,2"),
    ] {
        for channels in [0, 1, 3] {
            let refusal = refusal(&options(codec.clone(), SampleType::F64, channels), payload);
            assert!(refusal.contains("channels"), "{refusal}");
        }
    }
}

#[test]
fn a_stream_is_what_the_options_say() {
    let options = raw(SampleType::I24, Endian::Little, 3);
    let info = options.stream_info(StreamKey::new("k"));
    assert_eq!((info.key.as_str(), info.sample_rate_hz, info.sample_type), ("k", 100.0, SampleType::I24));
    assert_eq!((info.stored_bits, info.channels), (24, options.channels));
}

/// Options of every codec, with all that a codec can read besides the samples or with none of it.
fn any_options() -> impl Strategy<Value = DecodingOptions> {
    let path = |text: &str| text.parse::<JsonPath>().unwrap();
    let name = |text: &str| text.to_owned();
    let json = move |all: bool, channels: usize, layout| {
        let several = ["a", "b", "c"].map(path)[..channels].to_vec();
        Codec::Json(JsonFields {
            samples: if all { several } else { vec![path("a")] },
            layout,
            time: all.then(|| TimeField { at: path("t"), unit: TimeUnit::Milliseconds }),
            key: all.then(|| path("k")),
        })
    };
    let csv = move |all: bool, channels: usize, header| {
        Codec::Csv(CsvColumns {
            samples: (all && header)
                .then(|| ["a", "b", "c"].map(|n| Column::Name(name(n)))[..channels].to_vec()),
            time: all.then_some(TimeField { at: Column::Place(1), unit: TimeUnit::Rfc3339 }),
            key: all.then_some(Column::Place(0)),
            delimiter: b',',
            header,
        })
    };
    let influx = move |all: bool, channels: usize, measured: bool| {
        Codec::Influx(InfluxFields {
            measurement: measured.then(|| name("a")),
            fields: ["a", "b", "c"].map(name)[..channels].to_vec(),
            tags: all.then(|| vec![name("k")]),
            time_unit: TimeUnit::Seconds,
        })
    };
    let packed = |channels: usize, other| {
        let text = format!("u8 seq, {channels}*s16le samples{}", if other { ", u32le time" } else { "" });
        Codec::Packed(text.parse().unwrap())
    };
    (0..5, any_sample_type(), 1..4_usize, any::<bool>(), any::<bool>()).prop_map(
        move |(codec, sample_type, channels, all, other)| {
            let codec = match codec {
                0 => Codec::Raw { endian: if other { Endian::Big } else { Endian::Little } },
                1 => json(all, channels, if other { JsonLayout::Channels } else { JsonLayout::Rows }),
                2 => csv(all, channels, other),
                3 => packed(channels, other),
                _ => influx(all, channels, other),
            };
            options(codec, sample_type, channels)
        },
    )
}

/// Bytes: any, made of what messages are made of, or a message of the codec with a byte changed or not.
fn any_payload(options: &DecodingOptions) -> impl Strategy<Value = Vec<u8>> + use<> {
    let damage = prop::option::of((any::<prop::sample::Index>(), any::<u8>()));
    let damaged = (any_message(options), damage).prop_map(|(mut message, damage)| {
        if let Some((at, byte)) = damage {
            *at.get_mut(&mut message[..]) = byte;
        }
        message
    });
    prop_oneof![
        1 => prop::collection::vec(any::<u8>(), 0..64),
        1 => "[-a-ckt0-9.,:\\[\\]{}\"\n =iu#\\\\é]{0,60}".prop_map(String::into_bytes),
        4 => damaged,
    ]
}

/// A message of the codec, if its numbers suit the sample type.
fn any_message(options: &DecodingOptions) -> BoxedStrategy<Vec<u8>> {
    let names = ["a", "b", "c"][..options.channels.len()].to_vec();
    let number = || prop_oneof!["-?[0-9]{1,4}", "-?[0-9]{1,2}\\.[05]", "[0-9]{1,12}"];
    let numbers = prop::collection::vec(number(), names.len());
    let lines = |line: BoxedStrategy<String>| {
        prop::collection::vec(line, 1..5).prop_map(|lines| lines.join("\n").into_bytes()).boxed()
    };
    match &options.codec {
        Codec::Raw { .. } => {
            let row_bytes = names.len() * usize::from(options.sample_type.bits() / 8);
            (1..6_usize)
                .prop_flat_map(move |rows| prop::collection::vec(any::<u8>(), rows * row_bytes))
                .boxed()
        }
        Codec::Packed(fields) => prop::collection::vec(any::<u8>(), fields.length_bytes()).boxed(),
        Codec::Json(_) => {
            let shapes = (numbers, 0..4_usize).prop_map(|(numbers, shape)| match shape {
                0 => numbers[0].clone(),
                1 => format!("[{}]", numbers.join(",")),
                2 => format!("[[{0}],[{0}]]", numbers.join(",")),
                _ => format!("[{}]", vec![format!("[{0},{0}]", numbers[0]); numbers.len()].join(",")),
            });
            let object = (shapes, "[0-9]{1,4}", "[0-9]|\"[a-c]\"").prop_map(move |(shape, time, key)| {
                let fields: String = names.iter().map(|name| format!("\"{name}\":{shape},")).collect();
                format!("{{{fields}\"t\":{time},\"k\":{key}}}")
            });
            lines(object.boxed())
        }
        Codec::Csv(columns) => {
            let (all, header) = (columns.key.is_some(), columns.header);
            let row = (numbers, "[a-c],2024-01-01T00:00:0[0-9]Z,").prop_map(move |(numbers, start)| {
                format!("{}{}", if all { &start } else { "" }, numbers.join(","))
            });
            let start = if all { "k,t," } else { "" };
            let header = if header { format!("{start}{}\n", names.join(",")) } else { String::new() };
            lines(row.boxed()).prop_map(move |rows| [header.as_bytes(), &rows[..]].concat()).boxed()
        }
        Codec::Influx(_) => {
            let line =
                (numbers, "[ab](,k=[a-c])? ", "( [0-9]{1,12})?").prop_map(move |(numbers, start, end)| {
                    let fields: Vec<_> =
                        names.iter().zip(numbers).map(|(name, n)| format!("{name}={n}")).collect();
                    format!("{start}{}{end}", fields.join(","))
                });
            lines(line.boxed())
        }
    }
}

/// Options and a payload for them.
fn any_case() -> impl Strategy<Value = (DecodingOptions, Vec<u8>)> {
    any_options().prop_flat_map(|options| {
        let payload = any_payload(&options);
        (Just(options), payload)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn any_bytes_give_samples_or_one_short_line((options, payload) in any_case()) {
        match decode(&options, &payload) {
            Ok(records) => {
                let may_leave_out_lines =
                    matches!(&options.codec, Codec::Influx(fields) if fields.measurement.is_some());
                prop_assert!(!records.is_empty() || may_leave_out_lines);
                let samples = records.iter().flat_map(|record| &record.samples);
                prop_assert!(samples.clone().all(|sample| options.sample_type.holds(*sample)));
                prop_assert!(samples.count() <= payload.len());
                for record in &records {
                    prop_assert!(!record.samples.is_empty());
                    prop_assert_eq!(record.samples.len() % options.channels.len(), 0);
                }
            }
            Err(error) => {
                let text = error.to_string();
                prop_assert!(!error.reason().is_empty());
                prop_assert!(text.chars().count() < 600 && !text.contains(char::is_control), "{}", text);
            }
        }
    }
}

proptest! {
    #[test]
    fn raw_samples_come_back(
        rows in prop::collection::vec(any_sample(), 1..40),
        sample_type in any_sample_type(),
        channels in 1..4_usize,
        big: bool,
    ) {
        let endian = if big { Endian::Big } else { Endian::Little };
        let samples: Vec<f64> = rows.iter().flat_map(|s| vec![sample_type.nearest(*s); channels]).collect();
        let payload: Vec<u8> = samples.iter().flat_map(|s| bytes_of(*s, sample_type, endian)).collect();
        let records = decode(&raw(sample_type, endian, channels), payload).unwrap();
        prop_assert_eq!(records, [record(None, None, &samples)]);
    }

    #[test]
    fn reasons_are_short_however_long_the_payload(garbage in "[\\PC\n]{1,4}", times in 1000..5000_usize) {
        let garbage = garbage.repeat(times);
        for payload in [
            garbage.clone(),
            format!("{garbage},{garbage}"),
            format!("m a={garbage}"),
            serde_json::json!({"a": garbage, "b": {garbage.clone(): 1}}).to_string(),
        ] {
            for codec in [
                Codec::Json(JsonFields {
                    samples: vec!["a".parse().unwrap()],
                    layout: JsonLayout::Rows,
                    time: None,
                    key: None,
                }),
                Codec::Csv(CsvColumns { samples: None, time: None, key: None, delimiter: b',', header: false }),
                Codec::Influx(InfluxFields {
                    measurement: None,
                    fields: vec!["a".to_owned()],
                    tags: None,
                    time_unit: TimeUnit::Nanoseconds,
                }),
            ] {
                if let Err(error) = decode(&options(codec, SampleType::F64, 1), &payload) {
                    let text = error.to_string();
                    prop_assert!(text.chars().count() < 600 && !text.contains(char::is_control), "{}", text);
                }
            }
        }
    }
}
