mod decoding;
mod document;
mod follow;
mod kafka;
mod refusals;
mod robustness;
mod serial;

use crate::source::file::{CsvOptions, Endian, FileOptions, Format};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::signal::SampleType;
use crate::sink::{PathTemplate, Roll};

/// A valid pipeline, one key on each line from line 1 on.
const VALID: &str = r#"name = "ecg"
[source]
type = "file"
path = "in.csv"
sample_rate_hz = 250
[window]
frame_size = 512
[encoder]
type = "rvq"
model = "models/m"
[[sinks]]
type = "file"
path = "out.rvl"
[[sinks]]
type = "mirror"
max_prd_percent = 25
"#;

fn parse(text: &str) -> Result<PipelineConfig, ConfigError> {
    PipelineConfig::parse(text, "p.toml", &|name| match name {
        "SIZE" => Some("128".to_owned()),
        "WORD" => Some("many".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    })
}

/// The valid pipeline with `old`, which it has once, replaced.
fn with(old: &str, new: &str) -> String {
    assert_eq!(VALID.matches(old).count(), 1, "{old}");
    VALID.replace(old, new)
}

fn file_source(text: &str) -> FileSourceConfig {
    match parse(text).unwrap().source {
        SourceConfig::File(source) => source,
        other => panic!("{other:?}"),
    }
}

fn problems(text: &str) -> Vec<String> {
    parse(text).unwrap_err().problems().iter().map(ToString::to_string).collect()
}

/// The one problem of the valid pipeline with `old` replaced.
fn problem(old: &str, new: &str) -> String {
    let found = problems(&with(old, new));
    assert_eq!(found.len(), 1, "{found:#?}");
    found[0].clone()
}

/// A sink of one file, with defaults.
fn file_sink(path: &str) -> FileSinkConfig {
    FileSinkConfig {
        path: PathTemplate::parse(path).unwrap(),
        roll: Roll::default(),
        sync: None,
        max_open_segments: count(256),
    }
}

fn count(number: usize) -> NonZeroUsize {
    NonZeroUsize::new(number).unwrap()
}

#[test]
fn what_is_left_out_has_its_default() {
    let config = parse(&with("[window]\nframe_size = 512\n", "")).unwrap();
    assert_eq!(config.name, "ecg");
    let window =
        WindowConfig { frame_size: None, max_gap: None, max_streams: count(10_000), idle_timeout: None };
    assert_eq!(config.window, window);
    let source = FileSourceConfig {
        paths: vec![PathBuf::from("in.csv")],
        options: FileOptions { sample_rate_hz: Some(250.0), ..FileOptions::default() },
    };
    assert_eq!(config.source, SourceConfig::File(source));
    let encoder = RvqEncoderConfig {
        model: PathBuf::from("models/m"),
        frames_per_packet: count(16),
        max_packet_delay: None,
        batch_size: count(32),
        threads: count(1),
    };
    assert_eq!(config.encoder, Some(EncoderConfig::Rvq(encoder)));
    let sinks = [
        SinkConfig::File(file_sink("out.rvl")),
        SinkConfig::Mirror(MirrorSinkConfig {
            max_prd_percent: Positive::new(25.0),
            on_violation: OnViolation::Log,
        }),
    ];
    assert_eq!(config.sinks, sinks);
    assert_eq!(config.dead_letters, None);
}

#[test]
fn what_is_given_arrives() {
    let config = parse(
        r#"
        name = "all"
        dead_letters.path = "refused.jsonl"
        sinks = [{ type = "stdout", format = "json" }, { type = "mirror", max_prd_percent = 9.5, on_violation = "fail" }]
        [source]
        type = "file"
        path = "in.i24"
        format = "raw"
        sample_rate_hz = 0.5
        channels = 2
        sample_type = "i24"
        endian = "big"
        [window]
        frame_size = 256
        max_gap_ms = 1500
        max_streams = 7
        idle_timeout_secs = 30
        [encoder]
        type = "rvq"
        model = "m"
        frames_per_packet = 4096
        max_packet_delay_ms = 250
        batch_size = 8
        threads = 2
        "#,
    )
    .unwrap();
    let source = FileSourceConfig {
        paths: vec![PathBuf::from("in.i24")],
        options: FileOptions {
            format: Some(Format::Raw),
            sample_rate_hz: Some(0.5),
            channels: Some(2),
            sample_type: Some(SampleType::I24),
            endian: Some(Endian::Big),
            ..FileOptions::default()
        },
    };
    assert_eq!(config.source, SourceConfig::File(source));
    assert_eq!(
        config.window,
        WindowConfig {
            frame_size: Some(count(256)),
            max_gap: Some(Duration::from_millis(1500)),
            max_streams: count(7),
            idle_timeout: Some(Duration::from_secs(30)),
        }
    );
    let encoder = RvqEncoderConfig {
        model: PathBuf::from("m"),
        frames_per_packet: count(4096),
        max_packet_delay: Some(Duration::from_millis(250)),
        batch_size: count(8),
        threads: count(2),
    };
    assert_eq!(config.encoder, Some(EncoderConfig::Rvq(encoder)));
    let sinks = [
        SinkConfig::Stdout(StdoutSinkConfig { format: StdoutFormat::Json }),
        SinkConfig::Mirror(MirrorSinkConfig {
            max_prd_percent: Positive::new(9.5),
            on_violation: OnViolation::Fail,
        }),
    ];
    assert_eq!(config.sinks, sinks);
    assert_eq!(config.dead_letters, Some(DeadLetterConfig::File { path: PathBuf::from("refused.jsonl") }));
}

#[test]
fn csv_options_arrive() {
    let options = "time_column = \"t\"\ndelimiter = \"\\t\"\nheader = true";
    let source = file_source(&with("sample_rate_hz = 250", options));
    let csv = CsvOptions { time_column: Some("t".to_owned()), delimiter: Some('\t'), header: Some(true) };
    assert_eq!(source.options.csv, csv);
}

#[test]
fn every_sample_type_goes_by_its_own_name() {
    for sample_type in SampleType::ALL {
        let text = with("sample_rate_hz = 250", &format!("sample_type = \"{sample_type}\""));
        let source = file_source(&text);
        assert_eq!(source.options.sample_type, Some(sample_type));
    }
}

#[test]
fn variables_stand_for_values_of_the_declared_type() {
    let config = parse(&with("frame_size = 512", "frame_size = \"${SIZE}\"")).unwrap();
    assert_eq!(config.window.frame_size, Some(count(128)));
    let source = file_source(&with("sample_rate_hz = 250", "sample_rate_hz = \"${RATE:-0.5}\""));
    assert_eq!(source.options.sample_rate_hz, Some(0.5));
    let source = file_source(&with("sample_rate_hz = 250", "header = \"${HEADER:-false}\""));
    assert_eq!(source.options.csv.header, Some(false));
    let config = parse(&with("path = \"out.rvl\"", "path = \"${DIR:-out}/${SIZE}.rvl\"")).unwrap();
    assert_eq!(config.sinks[0], SinkConfig::File(file_sink("out/128.rvl")));

    let size = "p.toml:7: window.frame_size: expected a whole number from 1 to 1048576, found the text";
    let cases = [("${WORD}", "\"many\""), ("${EMPTY}", "\"\""), ("1${SIZE}", "\"1128\""), ("$$", "\"$\"")];
    for (text, found) in cases {
        assert_eq!(problem("frame_size = 512", &format!("frame_size = {text:?}")), format!("{size} {found}"));
    }
}

#[test]
fn problems_found_later_have_the_line_of_their_key() {
    let config = parse(VALID).unwrap();
    let line = |key: &str| config.problem(key, "does not fit").line;
    assert_eq!(line("window.frame_size"), Some(7));
    assert_eq!(line("window.max_gap_ms"), Some(6));
    assert_eq!(line("sinks[1].on_violation"), Some(14));
    assert_eq!(line("dead_letters.path"), None);
    assert_eq!(
        config.problem("encoder.model", "takes 2 channels").to_string(),
        "p.toml:10: encoder.model: takes 2 channels"
    );
}
