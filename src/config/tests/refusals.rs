//! What is refused, with what words and at which place.

use super::*;

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
            "p.toml:6: source.delimiter: expected one character such as \",\", \";\" or \"\\t\", found the text \"ab\"",
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
        ("type = \"mirror\"\n", "", "p.toml:14: sinks[1].type: missing; one of file, mirror, stdout, kafka"),
        ("type = \"rvq\"\n", "", "p.toml:8: encoder.type: missing; one of rvq"),
        (
            "name = \"ecg\"",
            "name = \"ecg\"\n[dead_letters]",
            "p.toml:2: dead_letters: says not where: give 'path', a file, or 'topic', a Kafka topic",
        ),
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
            "p.toml:5: source.format: expected one of wfdb, csv, raw, edf, wav, jsonl, rvl, found the text \"cvs\" (did you mean 'csv'?)",
        ),
        (
            "type = \"rvq\"",
            "type = \"rqv\"",
            "p.toml:9: encoder.type: expected one of rvq, found the text \"rqv\" (did you mean 'rvq'?)",
        ),
        (
            "type = \"mirror\"",
            "type = \"miror\"",
            "p.toml:15: sinks[1].type: expected one of file, mirror, stdout, kafka, found the text \"miror\" (did you mean 'mirror'?)",
        ),
        (
            "max_prd_percent = 25",
            "max_prd_percent = 25\non_violation = \"abort\"",
            "p.toml:17: sinks[1].on_violation: expected one of log, fail, found the text \"abort\"",
        ),
        (
            "sample_rate_hz = 250",
            "sample_rate_hz = 250\nsample_type = \"f46\"",
            "p.toml:6: source.sample_type: expected one of i16, i24, i32, f32, f64, found the text \"f46\" (did you mean 'f64'?)",
        ),
    ];
    for (old, new, expected) in cases {
        assert_eq!(problem(old, new), expected);
    }
}

#[test]
fn options_of_another_format_are_refused() {
    let with_format = |format: &str, option: &str| {
        problems(&with("path = \"in.csv\"", &format!("path = \"in\"\nformat = {format:?}\n{option}")))
    };
    let csv = ["time_column = \"t\"", "delimiter = \",\"", "header = true"];
    for (format, options, home) in [
        ("wfdb", &csv[..], "csv"),
        ("raw", &csv[..], "csv"),
        ("wfdb", &["endian = \"big\""], "raw"),
        ("csv", &["endian = \"big\""], "raw"),
    ] {
        for option in options {
            let key = option.split(' ').next().unwrap();
            let expected = format!("p.toml:6: source.{key}: only for format = \"{home}\"");
            assert_eq!(with_format(format, option), [expected]);
        }
    }
}

#[test]
fn recordings_are_paths_that_fit_their_format() {
    let path = "path = \"in.csv\"\nsample_rate_hz = 250";
    let found = |source: &str| problems(&VALID.replace(path, source));
    assert!(VALID.contains(path));
    let decoding =
        "decoding = { codec = \"json\", sample_type = \"i16\", sample_rate_hz = 1, samples = \"v\" }";
    for (source, problem) in [
        ("path = []", "p.toml:4: source.path: is empty: name a recording"),
        ("path = [\"a.csv\", 7]", "p.toml:4: source.path[1]: expected a path, found the number 7"),
        ("path = [\"a.csv\", \"-\"]", "p.toml:4: source.path[1]: standard input is read alone"),
        ("path = \"-\"", "p.toml:2: source.format: missing: standard input has no extension that says it"),
        (
            "path = \"a.jsonl\"",
            "p.toml:2: source.decoding: missing: JSON lines need a table with codec = \"json\"",
        ),
        (
            &format!("path = \"a.jsonl\"\nchannels = 2\n{decoding}"),
            "p.toml:5: source.channels: goes into source.decoding",
        ),
        (
            &format!("path = \"a.csv\"\n{decoding}"),
            "p.toml:5: source.decoding: only for format = \"jsonl\", or with follow = true",
        ),
        (
            "path = \"a.jsonl\"\ndecoding = { codec = \"raw\", sample_type = \"s16le\", sample_rate_hz = 1 }",
            "p.toml:5: source.decoding.codec: lines of a file are decoded as \"json\"",
        ),
        (
            "path = \"a.rvl\"\nsample_rate_hz = 1",
            "p.toml:5: source.sample_rate_hz: packets say it themselves: leave it out",
        ),
        ("path = \"a.wav\"\nmodels = [\"m\"]", "p.toml:5: source.models: only for format = \"rvl\""),
        ("path = \"a.rvl\"\nmodels = []", "p.toml:5: source.models: is empty: name a directory"),
        (
            "path = \"*.rvl\"",
            "p.toml:12: sinks[0].path: the same file as source.path: it would be overwritten",
        ),
    ] {
        assert_eq!(found(source), [problem], "{source}");
    }
    let config = parse(&VALID.replace(path, "path = [\"a/*.wav\", \"b.edf\"]")).unwrap();
    let SourceConfig::File(source) = config.source else { panic!("{:?}", config.source) };
    assert_eq!(source.paths, ["a/*.wav", "b.edf"].map(PathBuf::from));
    let reads = |path: &str| source.reads(&PathTemplate::parse(path).unwrap());
    assert!(reads("./a/x.wav") && reads("b.edf") && !reads("a/x.edf"));
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
    assert_eq!(refusal(&file), "p.toml: is larger than 65536 bytes: not a pipeline file");
}

#[test]
fn long_texts_and_keys_are_shown_by_their_beginning() {
    let found = problem("frame_size = 512", &format!("frame_size = {:?}", "x".repeat(1000)));
    assert!(found.ends_with(&format!("found a text that starts with {:?}", "x".repeat(60))), "{found}");
    let found = problem("frame_size = 512", &format!("{} = 1", "k".repeat(1000)));
    let key = format!("window.{}...", "k".repeat(33));
    assert_eq!(found, format!("p.toml:7: {key}: no key is as long or nested as deeply as this one"));
}

#[test]
fn segments_have_names_of_their_own() {
    let rolled = |path: &str, more: &str| with("path = \"out.rvl\"", &format!("path = \"{path}\"\n{more}"));
    for path in ["{pipeline}/{start:%Y}.rvl", "{key}-{number:03}.rvl", "{start}.rvl"] {
        parse(&rolled(path, "roll_bytes = 1000000\nroll_secs = 60\nroll_packets = 7\nsync = \"never\""))
            .unwrap();
    }
    for path in ["out.rvl", "{pipeline}.rvl", "{key}.rvl"] {
        let found = problems(&rolled(path, "roll_secs = 60"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with("p.toml:13: sinks[0].path: gives every segment the same name"),
            "{found:?}"
        );
    }
    let found = problems(&rolled("{kye}.rvl", ""));
    assert!(found[0].starts_with("p.toml:13: sinks[0].path: braces hold pipeline, key,"), "{found:?}");
    let other = "\n[[sinks]]\ntype = \"file\"\npath = \"./{pipeline}-7.rvl\"\n";
    let found = problems(&(rolled("{pipeline}-{number}.rvl", "") + other));
    assert!(found[0].contains("the same file as sinks[0].path"), "{found:?}");
    parse(&(rolled("{pipeline}/{number}.rvl", "") + other)).unwrap();
}
