//! `[source.decoding]`: how messages become samples.

use std::num::NonZeroUsize;

use super::interpolate::Expanded;
use super::section::{Refused, Report, Section};
use super::source::{MAX_CHANNELS, name_of, read_delimiter};
use super::value::Value;
use crate::signal::{ChannelInfo, SampleType};
use crate::source::decoding::{
    Codec, Column, CsvColumns, DecodingOptions, InfluxFields, JsonFields, JsonLayout, JsonPath, PackedFields,
    TimeField, TimeUnit,
};
use crate::source::file::Endian;

/// The keys that every codec has.
pub(super) const COMMON_KEYS: &[&str] =
    &["codec", "sample_type", "sample_rate_hz", "channels", "channel_names", "unit", "gain", "baseline"];

/// The codecs and the keys that each has besides.
pub(super) const CODECS: &[(&str, CodecName, &[&str])] = &[
    ("raw", CodecName::Raw, &[]),
    ("json", CodecName::Json, &["samples", "layout", "time", "time_unit", "key"]),
    ("csv", CodecName::Csv, &["columns", "delimiter", "header", "time", "time_unit", "key"]),
    ("influx", CodecName::Influx, &["fields", "measurement", "tags", "time_unit"]),
    ("packed", CodecName::Packed, &["fields", "time_unit"]),
];

#[derive(Clone, Copy, PartialEq)]
pub(super) enum CodecName {
    Raw,
    Json,
    Csv,
    Influx,
    Packed,
}

const RAW_TYPES: [(&str, (SampleType, Endian)); 10] = [
    ("s16le", (SampleType::I16, Endian::Little)),
    ("s24le", (SampleType::I24, Endian::Little)),
    ("s32le", (SampleType::I32, Endian::Little)),
    ("f32le", (SampleType::F32, Endian::Little)),
    ("f64le", (SampleType::F64, Endian::Little)),
    ("s16be", (SampleType::I16, Endian::Big)),
    ("s24be", (SampleType::I24, Endian::Big)),
    ("s32be", (SampleType::I32, Endian::Big)),
    ("f32be", (SampleType::F32, Endian::Big)),
    ("f64be", (SampleType::F64, Endian::Big)),
];

const TIME_UNITS: [(&str, TimeUnit); 5] = [
    ("s", TimeUnit::Seconds),
    ("ms", TimeUnit::Milliseconds),
    ("us", TimeUnit::Microseconds),
    ("ns", TimeUnit::Nanoseconds),
    ("rfc3339", TimeUnit::Rfc3339),
];

/// A codec as it is declared.
struct Declared {
    codec: Codec,
    sample_type: SampleType,
    /// The key that says what each channel is read from, and their names; none where one says all.
    parts: Option<(&'static str, Vec<String>)>,
}

/// Reads the table at `path`.
pub(super) fn read(path: &str, value: Value, report: &Report<'_>) -> Result<DecodingOptions, Refused> {
    let all: Vec<_> = CODECS.iter().flat_map(|(_, _, keys)| *keys).chain(COMMON_KEYS).copied().collect();
    let mut section = Section::open(path, value, &all, report)?;
    let codecs: Vec<_> = CODECS.iter().map(|(word, name, _)| (*word, *name)).collect();
    let Some(codec) = section.choice("codec", &codecs)? else {
        let words: Vec<_> = CODECS.iter().map(|(word, ..)| *word).collect();
        return Err(section.refuse("codec", format!("missing; one of {}", words.join(", "))));
    };
    refuse_keys_of_others(&mut section, codec);
    let sample_rate_hz = read_sample_rate(&mut section);
    let channels = section.count("channels", 1..=MAX_CHANNELS);
    let names = read_channel_names(&mut section);
    let unit = section.text("unit");
    let gain = section.number("gain").and_then(|gain| match gain {
        Some(0.0) => Err(section.refuse("gain", "is 0: give the counts of one physical unit")),
        gain => Ok(gain),
    });
    let baseline = section.number("baseline");
    let declared = match codec {
        CodecName::Raw => read_raw(&mut section),
        CodecName::Json => read_json(&mut section),
        CodecName::Csv => read_csv(&mut section),
        CodecName::Influx => read_influx(&mut section),
        CodecName::Packed => read_packed(&mut section),
    };
    let names = channel_names(&section, channels, names, declared.as_ref().ok());
    let (unit, gain, baseline) = (unit?.unwrap_or_default(), gain?.unwrap_or(1.0), baseline?.unwrap_or(0.0));
    let channel = |name| ChannelInfo { name, unit: unit.clone(), gain, baseline };
    let Declared { codec, sample_type, .. } = declared?;
    let names = names?;
    if let Codec::Packed(fields) = &codec {
        rows_are_whole(&section, fields, names.len())?;
    }
    Ok(DecodingOptions {
        sample_rate_hz: sample_rate_hz?,
        sample_type,
        channels: names.into_iter().map(channel).collect(),
        codec,
    })
}

fn refuse_keys_of_others(section: &mut Section<'_>, codec: CodecName) {
    let own = CODECS.iter().filter(|(_, name, _)| *name == codec).flat_map(|(.., keys)| *keys);
    let own: Vec<_> = own.collect();
    let mut others: Vec<_> = CODECS.iter().flat_map(|(.., keys)| *keys).collect();
    others.sort_unstable();
    others.dedup();
    for key in others.into_iter().filter(|key| !own.contains(key)) {
        if let Ok(Some(_)) = section.value(key) {
            let homes = CODECS.iter().filter(|(.., keys)| keys.contains(key));
            let homes: Vec<_> = homes.map(|(word, ..)| format!("{word:?}")).collect();
            section.refuse(key, format!("only for codec = {}", homes.join(" or ")));
        }
    }
}

fn read_sample_rate(section: &mut Section<'_>) -> Result<f64, Refused> {
    let rate_hz = section.positive("sample_rate_hz");
    let rate_hz = section.required("sample_rate_hz", rate_hz)?.get();
    if (1e-6..=1e9).contains(&rate_hz) {
        return Ok(rate_hz);
    }
    Err(section.refuse("sample_rate_hz", format!("{rate_hz} Hz is not between 0.000001 and 1000000000")))
}

fn read_channel_names(section: &mut Section<'_>) -> Result<Option<Vec<String>>, Refused> {
    let names = section.texts("channel_names")?;
    refuse_repeats(section, "channel_names", names.as_deref().unwrap_or_default())?;
    match names {
        Some(names) if !(1..=MAX_CHANNELS).contains(&names.len()) => {
            let reason = format!("{} channels are not between 1 and {MAX_CHANNELS}", names.len());
            Err(section.refuse("channel_names", reason))
        }
        names => Ok(names),
    }
}

/// The name of each channel, once all that says how many there are agrees.
fn channel_names(
    section: &Section<'_>,
    channels: Result<Option<NonZeroUsize>, Refused>,
    names: Result<Option<Vec<String>>, Refused>,
    declared: Option<&Declared>,
) -> Result<Vec<String>, Refused> {
    let (channels, names) = (channels?.map(NonZeroUsize::get), names?);
    if let (Some(channels), Some(names)) = (channels, &names)
        && names.len() != channels
    {
        return Err(section.refuse("channel_names", format!("{} names for {channels} channels", names.len())));
    }
    let channels = channels.or(names.as_ref().map(Vec::len));
    match (names, channels, declared.and_then(|declared| declared.parts.as_ref())) {
        (_, Some(channels), Some((key, parts))) if parts.len() != channels => {
            Err(section.refuse(key, format!("{} {key} for {channels} channels", parts.len())))
        }
        (Some(names), ..) => Ok(names),
        (None, _, Some((_, parts))) if parts.len() > 1 => Ok(parts.clone()),
        (None, channels, _) => Ok(vec![String::new(); channels.unwrap_or(1)]),
    }
}

fn read_raw(section: &mut Section<'_>) -> Result<Declared, Refused> {
    let stored = section.choice("sample_type", &RAW_TYPES);
    let (sample_type, endian) = section.required("sample_type", stored)?;
    Ok(Declared { codec: Codec::Raw { endian }, sample_type, parts: None })
}

fn read_json(section: &mut Section<'_>) -> Result<Declared, Refused> {
    let sample_type = read_sample_type(section);
    let samples = one_or_more_texts(section, "samples");
    let samples = samples.and_then(|samples| {
        let paths = samples.iter().map(|text| json_path(section, "samples", text)).collect::<Vec<_>>();
        Ok((paths.into_iter().collect::<Result<Vec<_>, _>>()?, samples))
    });
    let layout = section.choice("layout", &[("rows", JsonLayout::Rows), ("channels", JsonLayout::Channels)]);
    let layout = layout.and_then(|layout| match (layout, &samples) {
        (Some(_), Ok((paths, _))) if paths.len() > 1 => {
            Err(section.refuse("layout", "means nothing with a path for each channel"))
        }
        (layout, _) => Ok(layout.unwrap_or_default()),
    });
    let time =
        section.text("time").and_then(|text| text.map(|text| json_path(section, "time", &text)).transpose());
    let time = read_time(section, time);
    let key =
        section.text("key").and_then(|text| text.map(|text| json_path(section, "key", &text)).transpose());
    let (samples, texts) = samples?;
    let parts = (samples.len() > 1).then_some(("samples", texts));
    let fields = JsonFields { samples, layout: layout?, time: time?, key: key? };
    Ok(Declared { codec: Codec::Json(fields), sample_type: sample_type?, parts })
}

fn read_csv(section: &mut Section<'_>) -> Result<Declared, Refused> {
    let sample_type = read_sample_type(section);
    let header = section.flag("header").map(Option::unwrap_or_default);
    let delimiter = read_delimiter(section).map(|character| {
        // Only ASCII was let through.
        character.and_then(|character| u8::try_from(character).ok()).unwrap_or(b',')
    });
    let columns = section.items("columns", "an array of columns", column);
    let columns = columns.and_then(|columns| {
        let named = columns.as_ref().is_some_and(|columns| columns.iter().any(is_name));
        refuse_names(section, "columns", named, header)?;
        refuse_repeats(section, "columns", columns.as_deref().unwrap_or_default())?;
        match columns {
            Some(columns) if columns.is_empty() => Err(section.refuse("columns", "is empty: name a column")),
            columns => Ok(columns),
        }
    });
    let mut one = |key| {
        let value = section.value(key)?;
        let column = value.map(|value| column(&value).map_err(|message| section.refuse(key, message)));
        let column = column.transpose()?;
        refuse_names(section, key, column.as_ref().is_some_and(is_name), header)?;
        Ok(column)
    };
    let (time, key) = (one("time"), one("key"));
    let time = read_time(section, time);
    let samples = columns?;
    let parts = samples.as_ref().map(|columns| {
        let names = columns.iter().map(|column| match column {
            Column::Name(name) => name.clone(),
            Column::Place(_) => String::new(),
        });
        ("columns", names.collect())
    });
    let columns = CsvColumns { samples, time: time?, key: key?, delimiter: delimiter?, header: header? };
    Ok(Declared { codec: Codec::Csv(columns), sample_type: sample_type?, parts })
}

fn read_influx(section: &mut Section<'_>) -> Result<Declared, Refused> {
    let sample_type = read_sample_type(section);
    let fields = one_or_more_texts(section, "fields");
    let measurement = section.text("measurement").and_then(|measurement| match measurement {
        Some(name) if name.is_empty() => Err(section.refuse("measurement", "is empty: name the measurement")),
        name => Ok(name),
    });
    let tags = section.texts("tags").and_then(|tags| {
        refuse_repeats(section, "tags", tags.as_deref().unwrap_or_default())?;
        Ok(tags)
    });
    let [units @ .., _rfc3339] = TIME_UNITS;
    let time_unit = section.choice("time_unit", &units);
    let fields = fields?;
    let parts = Some(("fields", fields.clone()));
    let time_unit = time_unit?.unwrap_or(TimeUnit::Nanoseconds);
    let codec = Codec::Influx(InfluxFields { measurement: measurement?, fields, tags: tags?, time_unit });
    Ok(Declared { codec, sample_type: sample_type?, parts })
}

fn read_packed(section: &mut Section<'_>) -> Result<Declared, Refused> {
    let sample_type = section.choice("sample_type", &SampleType::ALL.map(|kind| (name_of(kind), kind)));
    let fields = section.text("fields");
    let fields = section.required("fields", fields).and_then(|text| {
        text.parse::<PackedFields>().map_err(|error| section.refuse("fields", error.to_string()))
    });
    let [units @ .., _rfc3339] = TIME_UNITS;
    let time_unit = section.choice("time_unit", &units);
    let fields = fields?;
    let fields = match (time_unit?, fields.has_time()) {
        (Some(unit), true) => fields.with_time_unit(unit),
        (None, true) => {
            return Err(section.refuse("time_unit", "missing beside a field 'time'; one of s, ms, us, ns"));
        }
        (Some(_), false) => {
            return Err(section.refuse("time_unit", "means nothing without a field 'time'"));
        }
        (None, false) => fields,
    };
    let sample_type = sample_type?.unwrap_or(fields.sample_type());
    Ok(Declared { codec: Codec::Packed(fields), sample_type, parts: None })
}

fn rows_are_whole(section: &Section<'_>, fields: &PackedFields, channels: usize) -> Result<(), Refused> {
    let samples = fields.samples();
    if samples.is_multiple_of(channels.max(1)) {
        return Ok(());
    }
    let reason = format!("hold {samples} samples, which are not whole rows of {channels} channels");
    Err(section.refuse("fields", reason))
}

/// What samples in texts are counted as.
fn read_sample_type(section: &mut Section<'_>) -> Result<SampleType, Refused> {
    let sample_type = section.choice("sample_type", &SampleType::ALL.map(|kind| (name_of(kind), kind)));
    section.required("sample_type", sample_type)
}

/// A place of times with the unit that it needs.
fn read_time<P>(
    section: &mut Section<'_>,
    at: Result<Option<P>, Refused>,
) -> Result<Option<TimeField<P>>, Refused> {
    let unit = section.choice("time_unit", &TIME_UNITS);
    match (at?, unit?) {
        (Some(at), Some(unit)) => Ok(Some(TimeField { at, unit })),
        (Some(_), None) => {
            Err(section.refuse("time_unit", "missing beside time; one of s, ms, us, ns, rfc3339"))
        }
        (None, Some(_)) => Err(section.refuse("time_unit", "means nothing without time")),
        (None, None) => Ok(None),
    }
}

/// A text, or an array of at least one, none of them twice.
fn one_or_more_texts(section: &mut Section<'_>, key: &str) -> Result<Vec<String>, Refused> {
    let texts = section.text_or_texts(key);
    let texts = section.required(key, texts)?;
    if texts.is_empty() || texts.iter().any(String::is_empty) {
        return Err(section.refuse(key, "is empty"));
    }
    refuse_repeats(section, key, &texts)?;
    Ok(texts)
}

fn refuse_repeats<T: PartialEq>(section: &Section<'_>, key: &str, items: &[T]) -> Result<(), Refused> {
    let repeats = |(i, item): &(usize, &T)| items.iter().take(*i).any(|before| before == *item);
    match items.iter().enumerate().find(repeats) {
        Some((i, _)) => Err(section.refuse_item(key, i, "is there before")),
        None => Ok(()),
    }
}

fn json_path(section: &Section<'_>, key: &str, text: &str) -> Result<JsonPath, Refused> {
    text.parse().map_err(|error| section.refuse(key, format!("{text:?} is {error}")))
}

fn column(value: &Value) -> Result<Column, String> {
    let column = match value {
        Value::Integer(place) => usize::try_from(*place).ok().map(Column::Place),
        Value::Text(Expanded { text, .. }) if !text.is_empty() => Some(Column::Name(text.clone())),
        _ => None,
    };
    column.ok_or_else(|| {
        format!("expected a column, by its place from 0 or by its name, found {}", value.describe())
    })
}

fn is_name(column: &Column) -> bool {
    matches!(column, Column::Name(_))
}

/// Refuses names of columns that no header gives.
fn refuse_names(
    section: &Section<'_>,
    key: &str,
    named: bool,
    header: Result<bool, Refused>,
) -> Result<(), Refused> {
    match header {
        Ok(false) if named => {
            Err(section.refuse(key, "a name needs header = true; or give the place, from 0"))
        }
        _ => Ok(()),
    }
}
