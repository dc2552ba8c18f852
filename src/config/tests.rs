use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::signal::SampleType;

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

fn problems(text: &str) -> Vec<String> {
    parse(text).unwrap_err().problems().iter().map(ToString::to_string).collect()
}

/// The one problem of the valid pipeline with `old` replaced.
fn problem(old: &str, new: &str) -> String {
    let found = problems(&with(old, new));
    assert_eq!(found.len(), 1, "{found:#?}");
    found[0].clone()
}

fn count(number: usize) -> NonZeroUsize {
    NonZeroUsize::new(number).unwrap()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_shipped_pipeline_is_valid() {
    let files = std::fs::read_dir(root().join("pipelines")).unwrap().map(|entry| entry.unwrap().path());
    let pipelines: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "toml")).collect();
    assert!(!pipelines.is_empty());
    for path in pipelines {
        PipelineConfig::load(&path).unwrap();
    }
}

#[test]
fn what_is_left_out_has_its_default() {
    let config = parse(&with("[window]\nframe_size = 512\n", "")).unwrap();
    assert_eq!(config.name, "ecg");
    assert_eq!(config.window, WindowConfig { frame_size: None, max_gap: None, max_streams: count(10_000) });
    let csv = CsvFormat {
        sample_rate_hz: Positive::new(250.0),
        channels: None,
        sample_type: SampleType::F64,
        time_column: None,
        delimiter: b',',
    };
    let source = FileSourceConfig { path: PathBuf::from("in.csv"), format: RecordingFormat::Csv(csv) };
    assert_eq!(config.source, SourceConfig::File(source));
    let encoder = RvqEncoderConfig {
        model: PathBuf::from("models/m"),
        frames_per_packet: count(16),
        batch_size: count(32),
        threads: count(1),
    };
    assert_eq!(config.encoder, EncoderConfig::Rvq(encoder));
    let sinks = [
        SinkConfig::File(FileSinkConfig { path: PathBuf::from("out.rvl") }),
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
        [encoder]
        type = "rvq"
        model = "m"
        frames_per_packet = 4096
        batch_size = 8
        threads = 2
        "#,
    )
    .unwrap();
    let raw = RawFormat {
        sample_rate_hz: Positive::new(0.5).unwrap(),
        channels: count(2),
        sample_type: SampleType::I24,
        endian: Endian::Big,
    };
    let source = FileSourceConfig { path: PathBuf::from("in.i24"), format: RecordingFormat::Raw(raw) };
    assert_eq!(config.source, SourceConfig::File(source));
    assert_eq!(
        config.window,
        WindowConfig {
            frame_size: Some(count(256)),
            max_gap: Some(Duration::from_millis(1500)),
            max_streams: count(7)
        }
    );
    let encoder = RvqEncoderConfig {
        model: PathBuf::from("m"),
        frames_per_packet: count(4096),
        batch_size: count(8),
        threads: count(2),
    };
    assert_eq!(config.encoder, EncoderConfig::Rvq(encoder));
    let sinks = [
        SinkConfig::Stdout(StdoutSinkConfig { format: StdoutFormat::Json }),
        SinkConfig::Mirror(MirrorSinkConfig {
            max_prd_percent: Positive::new(9.5),
            on_violation: OnViolation::Fail,
        }),
    ];
    assert_eq!(config.sinks, sinks);
    assert_eq!(config.dead_letters, Some(DeadLetterConfig { path: PathBuf::from("refused.jsonl") }));
}

#[test]
fn csv_options_arrive() {
    let options =
        "format = \"csv\"\ntime_column = \"t\"\ndelimiter = \"\\t\"\nsample_type = \"i16\"\nchannels = 3";
    let config = parse(&with("sample_rate_hz = 250", options)).unwrap();
    let SourceConfig::File(source) = config.source;
    let csv = CsvFormat {
        sample_rate_hz: None,
        channels: Some(count(3)),
        sample_type: SampleType::I16,
        time_column: Some("t".to_owned()),
        delimiter: b'\t',
    };
    assert_eq!(source.format, RecordingFormat::Csv(csv));
}

#[test]
fn unknown_keys_are_refused_at_every_level() {
    let cases = [
        ("name = \"ecg\"", "name = \"ecg\"\nnmae = 1", "p.toml:2: nmae: unknown key (did you mean 'name'?)"),
        (
            "frame_size = 512",
            "frame_sise = 512",
            "p.toml:7: window.frame_sise: unknown key (did you mean 'frame_size'?)",
        ),
        (
            "sample_rate_hz = 250",
            "sample_rate_hz = 250\nchanels = 1",
            "p.toml:6: source.chanels: unknown key (did you mean 'channels'?)",
        ),
        (
            "model = \"models/m\"",
            "model = \"models/m\"\nthread = 1",
            "p.toml:11: encoder.thread: unknown key (did you mean 'threads'?)",
        ),
        (
            "max_prd_percent = 25",
            "max_prd = 25",
            "p.toml:16: sinks[1].max_prd: unknown key (did you mean 'max_prd_percent'?)",
        ),
        (
            "name = \"ecg\"",
            "name = \"ecg\"\n[dead_letters]\npath = \"d\"\nzzz = 1",
            "p.toml:4: dead_letters.zzz: unknown key",
        ),
        (
            "frame_size = 512",
            "\"frame.size\" = { a = 1 }",
            "p.toml:7: window.\"frame.size\": unknown key (did you mean 'frame_size'?)",
        ),
    ];
    for (old, new, expected) in cases {
        assert_eq!(problem(old, new), expected);
    }
}

#[test]
fn keys_that_look_like_paths_are_keys() {
    let found = problems(&format!("\"a[4000000000]\" = 1\n\"source.path\" = 2\n{VALID}"));
    assert_eq!(
        found,
        [
            "p.toml:1: \"a[4000000000]\": unknown key",
            "p.toml:2: \"source.path\": unknown key (did you mean 'source'?)"
        ]
    );
}

#[test]
fn wrong_types_are_refused_and_never_converted() {
    let size = "a whole number from 1 to 1048576";
    let cases = [
        ("\"12\"", "the text \"12\""),
        ("12.0", "the number 12.0"),
        ("true", "true"),
        ("0", "the number 0"),
        ("-1", "the number -1"),
        ("1048577", "the number 1048577"),
        ("[512]", "an array"),
        ("{ a = 1 }", "a table"),
    ];
    for (value, found) in cases {
        assert_eq!(
            problem("frame_size = 512", &format!("frame_size = {value}")),
            format!("p.toml:7: window.frame_size: expected {size}, found {found}")
        );
    }
    let cases = [
        ("name = \"ecg\"", "name = 5", "p.toml:1: name: expected a text, found the number 5"),
        ("path = \"in.csv\"", "path = \"\"", "p.toml:4: source.path: expected a path, found the text \"\""),
        (
            "sample_rate_hz = 250",
            "sample_rate_hz = 0",
            "p.toml:5: source.sample_rate_hz: expected a number above 0, found the number 0",
        ),
        (
            "max_prd_percent = 25",
            "max_prd_percent = \"25\"",
            "p.toml:16: sinks[1].max_prd_percent: expected a number above 0, found the text \"25\"",
        ),
        (
            "name = \"ecg\"",
            "name = \"e c g\"",
            "p.toml:1: name: a name is 1 to 64 letters, digits, '-', '_' or '.' (ASCII)",
        ),
        (
            "name = \"ecg\"",
            "name = \"ecg\"\ndead_letters = \"d\"",
            "p.toml:2: dead_letters: expected a table, found the text \"d\"",
        ),
        (
            "sample_rate_hz = 250",
            "sample_rate_hz = 250\ndelimiter = \"ab\"",
            "p.toml:6: source.delimiter: expected one ASCII character such as \",\", \";\" or \"\\t\", found the text \"ab\"",
        ),
    ];
    for (old, new, expected) in cases {
        assert_eq!(problem(old, new), expected);
    }
}

#[test]
fn values_no_key_takes_are_refused_with_their_line() {
    let cases = [
        ("2026-01-01", "no key takes a date; put 2026-01-01 in quotes for a text"),
        ("99999999999999999999", "the number 99999999999999999999 does not fit 64 bits"),
        ("1e999", "1e999 is not a finite number"),
        ("nan", "nan is not a finite number"),
    ];
    for (value, message) in cases {
        assert_eq!(
            problem("frame_size = 512", &format!("frame_size = {value}")),
            format!("p.toml:7: window.frame_size: {message}")
        );
    }
}

#[test]
fn missing_keys_stand_at_the_table_that_lacks_them() {
    let cases = [
        ("name = \"ecg\"\n", "", "p.toml: name: missing"),
        ("path = \"in.csv\"\n", "", "p.toml:2: source.path: missing"),
        ("model = \"models/m\"\n", "", "p.toml:8: encoder.model: missing"),
        ("path = \"out.rvl\"\n", "", "p.toml:11: sinks[0].path: missing"),
        ("type = \"mirror\"\n", "", "p.toml:14: sinks[1].type: missing; one of file, mirror, stdout"),
        ("type = \"rvq\"\n", "", "p.toml:8: encoder.type: missing; one of rvq"),
        ("name = \"ecg\"", "name = \"ecg\"\n[dead_letters]", "p.toml:2: dead_letters.path: missing"),
    ];
    for (old, new, expected) in cases {
        assert_eq!(problem(old, new), expected);
    }
    let found = problems("");
    assert_eq!(found, ["encoder", "name", "sinks", "source"].map(|key| format!("p.toml: {key}: missing")));
}

#[test]
fn words_are_checked_against_the_known_ones() {
    let cases = [
        (
            "path = \"in.csv\"",
            "path = \"in.csv\"\nformat = \"cvs\"",
            "p.toml:5: source.format: expected one of wfdb, csv, raw, found the text \"cvs\" (did you mean 'csv'?)",
        ),
        (
            "type = \"rvq\"",
            "type = \"rqv\"",
            "p.toml:9: encoder.type: expected one of rvq, found the text \"rqv\" (did you mean 'rvq'?)",
        ),
        (
            "type = \"mirror\"",
            "type = \"miror\"",
            "p.toml:15: sinks[1].type: expected one of file, mirror, stdout, found the text \"miror\" (did you mean 'mirror'?)",
        ),
        (
            "max_prd_percent = 25",
            "max_prd_percent = 25\non_violation = \"abort\"",
            "p.toml:17: sinks[1].on_violation: expected one of log, fail, found the text \"abort\"",
        ),
        (
            "sample_rate_hz = 250",
            "sample_rate_hz = 250\nsample_type = \"int16\"",
            "p.toml:6: source.sample_type: expected one of i16, i24, i32, f32, f64, found the text \"int16\" (did you mean 'i16'?)",
        ),
    ];
    for (old, new, expected) in cases {
        assert_eq!(problem(old, new), expected);
    }
}

#[test]
fn sources_need_what_their_format_does_not_say() {
    let cases = [
        (
            "sample_rate_hz = 250\n",
            "",
            "p.toml:2: source.sample_rate_hz: missing: a CSV file needs it, or a time_column that tells it",
        ),
        (
            "path = \"in.csv\"",
            "path = \"in.hea\"",
            "p.toml:5: source.sample_rate_hz: not an option here: a WFDB header says it itself",
        ),
        (
            "path = \"in.csv\"",
            "path = \"in.dat\"",
            "p.toml:2: source.format: missing: the name of the file does not tell it (.hea, .csv); one of wfdb, csv, raw",
        ),
        ("path = \"in.csv\"", "path = \"in\"\nformat = \"raw\"", "p.toml:2: source.sample_type: missing"),
        (
            "sample_rate_hz = 250",
            "sample_rate_hz = 250\nendian = \"big\"",
            "p.toml:6: source.endian: not an option here: only for format = \"raw\"",
        ),
    ];
    for (old, new, expected) in cases {
        assert_eq!(problem(old, new), expected);
    }
}

#[test]
fn sinks_are_a_list_with_something_in_it() {
    let head = VALID.split("[[sinks]]").next().unwrap();
    let rest = |sinks: &str| problems(&format!("{sinks}\n{head}"));
    assert_eq!(rest("sinks = []"), ["p.toml:1: sinks: a pipeline needs at least one sink"]);
    assert_eq!(rest("sinks = 5"), ["p.toml:1: sinks: expected [[sinks]] tables, found the number 5"]);
    assert_eq!(rest("sinks = [\n5]"), ["p.toml:2: sinks[0]: expected a table, found the number 5"]);
    assert_eq!(
        problems(&format!("{head}[sinks]\ntype = \"mirror\"")),
        ["p.toml:11: sinks: expected [[sinks]] tables, found a table"]
    );
}

#[test]
fn no_file_is_used_twice() {
    let cases = [
        (
            "type = \"mirror\"\nmax_prd_percent = 25",
            "type = \"file\"\npath = \"./out.rvl\"",
            "p.toml:16: sinks[1].path: the same file as sinks[0].path: it would be overwritten",
        ),
        (
            "path = \"out.rvl\"",
            "path = \"in.csv\"",
            "p.toml:13: sinks[0].path: the same file as source.path: it would be overwritten",
        ),
        (
            "[window]",
            "[dead_letters]\npath = \"out.rvl\"\n[window]",
            "p.toml:7: dead_letters.path: the same file as sinks[0].path: it would be overwritten",
        ),
        (
            "type = \"file\"\npath = \"out.rvl\"",
            "type = \"stdout\"\n[[sinks]]\ntype = \"stdout\"",
            "p.toml:14: sinks[1].type: sinks[0] already writes to standard output",
        ),
        (
            "max_prd_percent = 25",
            "on_violation = \"fail\"",
            "p.toml:16: sinks[1].on_violation: means nothing without max_prd_percent",
        ),
    ];
    for (old, new, expected) in cases {
        assert_eq!(problem(old, new), expected);
    }
}

#[test]
fn variables_stand_for_values_of_the_declared_type() {
    let config = parse(&with("frame_size = 512", "frame_size = \"${SIZE}\"")).unwrap();
    assert_eq!(config.window.frame_size, Some(count(128)));
    let config = parse(&with("sample_rate_hz = 250", "sample_rate_hz = \"${RATE:-0.5}\"")).unwrap();
    let SourceConfig::File(FileSourceConfig { format: RecordingFormat::Csv(csv), .. }) = config.source else {
        panic!("a CSV file")
    };
    assert_eq!(csv.sample_rate_hz, Positive::new(0.5));
    let config = parse(&with("path = \"out.rvl\"", "path = \"${DIR:-out}/${SIZE}.rvl\"")).unwrap();
    assert_eq!(config.sinks[0], SinkConfig::File(FileSinkConfig { path: PathBuf::from("out/128.rvl") }));

    let size = "p.toml:7: window.frame_size: expected a whole number from 1 to 1048576, found the text";
    let cases = [("${WORD}", "\"many\""), ("${EMPTY}", "\"\""), ("1${SIZE}", "\"1128\""), ("$$", "\"$\"")];
    for (text, found) in cases {
        assert_eq!(problem("frame_size = 512", &format!("frame_size = {text:?}")), format!("{size} {found}"));
    }
}

#[test]
fn variables_that_are_not_set_are_named_with_their_key() {
    assert_eq!(
        problem("path = \"out.rvl\"", "path = \"${OUT:?where to}\""),
        "p.toml:13: sinks[0].path: the environment variable OUT is not set: where to"
    );
    assert_eq!(
        problem("name = \"ecg\"", "name = \"${NAME}\""),
        "p.toml:1: name: the environment variable NAME is not set; set it, or give a default: ${NAME:-...}"
    );
    assert_eq!(
        problem("[window]", "[[sinks]]\ntype = \"${TYPE:?which}\"\n[window]"),
        "p.toml:7: sinks[0].type: the environment variable TYPE is not set: which"
    );
    let found = problems(&with("frame_size", "\"${SIZE}\""));
    assert_eq!(found, ["p.toml:7: window.\"${SIZE}\": unknown key"]);
}

#[test]
fn all_problems_are_reported_at_once_in_the_order_of_lines() {
    let text = r#"nmae = "ecg"
[source]
type = "file"
path = 7
format = "cvs"
chanels = 2
[window]
frame_size = "512"
max_gap_ms = 0
[encoder]
type = "rvq"
model = "${MODEL}"
threads = 0
batch_size = 5000
[[sinks]]
type = "file"
path = "a.rvl"
[[sinks]]
type = "fil"
pth = "ignored for want of a type"
[[sinks]]
type = "file"
path = "a.rvl"
[[sinks]]
type = "mirror"
max_prd_percent = -1
on_violation = "fale"
"#;
    let keys: Vec<_> = parse(text)
        .unwrap_err()
        .problems()
        .iter()
        .map(|problem| (problem.line, problem.key.clone().unwrap_or_default()))
        .collect();
    let expected = [
        (None, "name"),
        (Some(1), "nmae"),
        (Some(4), "source.path"),
        (Some(5), "source.format"),
        (Some(6), "source.chanels"),
        (Some(8), "window.frame_size"),
        (Some(9), "window.max_gap_ms"),
        (Some(12), "encoder.model"),
        (Some(13), "encoder.threads"),
        (Some(14), "encoder.batch_size"),
        (Some(19), "sinks[1].type"),
        (Some(23), "sinks[2].path"),
        (Some(26), "sinks[3].max_prd_percent"),
        (Some(27), "sinks[3].on_violation"),
    ];
    assert_eq!(keys, expected.map(|(line, key)| (line, key.to_owned())));
}

#[test]
fn syntax_errors_have_line_and_column() {
    let found = problems("name = \"ecg\"\n[source\ntype = = 1\n");
    assert!(found[0].starts_with("p.toml:2:8: not TOML: "), "{found:?}");
    assert!(found[1].starts_with("p.toml:3:"), "{found:?}");
    let found = problems("name = 1\n  name = 2\n");
    assert_eq!(found, ["p.toml:2:3: not TOML: duplicate key"]);
    let found = problems("é = 1");
    assert!(found[0].starts_with("p.toml:1:1: not TOML: "), "{found:?}");
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

#[test]
fn files_that_are_no_text_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refusal = |path: &Path| {
        let error = PipelineConfig::load(path).unwrap_err();
        assert_eq!(error.problems().len(), 1);
        error.to_string().replace(&path.display().to_string(), "p.toml")
    };
    assert!(refusal(folder.path()).starts_with("p.toml: cannot be read: "));
    assert!(refusal(&folder.path().join("none.toml")).starts_with("p.toml: cannot be read: "));
    let file = folder.path().join("p.toml");
    std::fs::write(&file, b"name = \"a\"\n# \xff\n").unwrap();
    assert_eq!(refusal(&file), "p.toml:2: is not UTF-8 text from here on");
    std::fs::write(&file, vec![b'\n'; 1 + MAX_FILE_BYTES as usize]).unwrap();
    assert_eq!(refusal(&file), "p.toml: is larger than 1048576 bytes: not a pipeline file");
}

/// Every section with the keys it may have, as `section` or `section type`.
fn all_keys() -> Vec<(String, &'static [&'static str])> {
    let mut all = vec![
        (String::new(), TOP_LEVEL_KEYS),
        ("window".to_owned(), window::KEYS),
        ("dead_letters".to_owned(), sink::DEAD_LETTER_KEYS),
    ];
    all.extend(source::KINDS.iter().map(|kind| (format!("source {}", kind.name), kind.keys)));
    all.extend(encoder::KINDS.iter().map(|kind| (format!("encoder {}", kind.name), kind.keys)));
    all.extend(sink::KINDS.iter().map(|kind| (format!("sinks {}", kind.name), kind.keys)));
    all
}

#[test]
fn every_known_key_is_read() {
    for (section, keys) in all_keys() {
        for key in keys.iter().filter(|key| **key != "type") {
            let (path, text) = match section.split_once(' ') {
                Some(("sinks", kind)) => {
                    ("sinks[0].".to_owned(), format!("[[sinks]]\ntype = {kind:?}\n{key} = {{}}"))
                }
                Some((section, kind)) => {
                    (format!("{section}."), format!("[{section}]\ntype = {kind:?}\n{key} = {{}}"))
                }
                None if section.is_empty() => (String::new(), format!("{key} = 0")),
                None => (format!("{section}."), format!("[{section}]\n{key} = {{}}")),
            };
            let path = format!("{path}{key}: expected ");
            let found = problems(&text);
            assert!(found.iter().any(|problem| problem.contains(&path)), "{section} {key}: {found:#?}");
        }
    }
}

#[test]
fn every_known_key_is_documented() {
    let document = std::fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    let mut sections: Vec<(&str, &str)> = Vec::new();
    for section in document.split("\n## ").skip(1) {
        let (title, text) = section.split_once('\n').unwrap();
        sections.push((title, text));
    }
    for (section, keys) in all_keys() {
        let title = match section.split_once(' ') {
            Some(("sinks", kind)) => format!("`[[sinks]]`, type `{kind}`"),
            Some((section, kind)) => format!("`[{section}]`, type `{kind}`"),
            None if section.is_empty() => "Top level".to_owned(),
            None => format!("`[{section}]`"),
        };
        let text = sections.iter().find(|(found, _)| *found == title);
        let (_, text) = text.unwrap_or_else(|| panic!("no section {title:?}"));
        let rows: Vec<_> =
            text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
        assert_eq!(rows, keys, "{title}");
    }
}

#[test]
fn every_example_in_the_document_is_valid() {
    let document = std::fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    let examples: Vec<_> =
        document.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(!examples.is_empty());
    for example in examples {
        parse(example).unwrap();
    }
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "\\PC*") {
        let _ = parse(&text);
    }

    #[test]
    fn damaged_pipelines_never_panic(at in 0..VALID.len(), length in 0..40_usize, new in "[\\PC\n\\[\\]{}=\"$.#,]{0,12}") {
        let mut text = VALID.to_owned();
        text.replace_range(at..(at + length).min(VALID.len()), &new);
        if let Err(error) = parse(&text) {
            let lines = 1 + text.matches('\n').count();
            prop_assert!(!error.problems().is_empty());
            prop_assert!(error.problems().iter().all(|problem| problem.line.is_none_or(|line| (1..=lines).contains(&line))));
        }
    }

    #[test]
    fn any_value_at_any_key_is_read_or_refused_at_its_key(
        key in prop::sample::select(vec!["frame_size", "max_gap_ms", "max_streams"]),
        value in prop_oneof![any::<i64>().prop_map(|v| v.to_string()), any::<f64>().prop_map(|v| format!("{v:?}")), "\"[a-z0-9]{0,9}\""],
    ) {
        let text = with("frame_size = 512", &format!("{key} = {value}"));
        if let Err(error) = parse(&text) {
            prop_assert_eq!(error.problems()[0].key.clone(), Some(format!("window.{key}")));
            prop_assert_eq!(error.problems()[0].line, Some(7));
        }
    }
}
