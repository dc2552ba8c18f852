//! What users get wrong: one clear line, the right exit code, nothing half-written.

#![allow(clippy::unwrap_used)]

use integration_tests::{Workplace, pipeline, root};

const EXCERPT: &str = "path = \"pipelines/data/mitdb_100_60s.hea\"";

/// A copy of the shipped model that may be damaged.
fn copy_model(workplace: &Workplace) -> std::path::PathBuf {
    for entry in std::fs::read_dir(root().join("models/ecg-16x")).unwrap().flatten() {
        if entry.path().is_file() {
            workplace.write(
                &format!("model/{}", entry.file_name().to_string_lossy()),
                std::fs::read(entry.path()).unwrap(),
            );
        }
    }
    workplace.write("test.toml", pipeline(EXCERPT).replace("models/ecg-16x", "model"));
    workplace.path("model")
}

#[test]
fn configurations_are_refused_with_key_line_and_suggestion() {
    let workplace = Workplace::new();
    workplace.write("test.toml", pipeline("pth = \"x.hea\"").replace("model =", "modle ="));
    for verb in ["run", "validate"] {
        let outcome = workplace.rivulet(&[verb, "test.toml"]).fails(78, "");
        let said = outcome.stdout + &outcome.stderr;
        assert!(said.contains("test.toml:4: source.pth: unknown key (did you mean 'path'?)"), "{said}");
        assert!(said.contains("did you mean 'model'"), "all problems at once: {said}");
    }
    assert_eq!(workplace.files(), ["test.toml"]);
    workplace.rivulet(&["run", "absent.toml"]).fails(78, "absent.toml");
    workplace.rivulet(&["run"]).fails(64, "Usage");
}

#[test]
fn a_frame_size_that_is_not_the_models_names_both() {
    let workplace = Workplace::new();
    workplace.write("test.toml", pipeline(&format!("{EXCERPT}\n[window]\nframe_size = 500")));
    let outcome = workplace.rivulet(&["run", "test.toml"]).fails(78, "window.frame_size");
    assert!(outcome.stderr.contains("500") && outcome.stderr.contains("512"), "{outcome:?}");
}

#[test]
fn damaged_models_are_refused() {
    let workplace = Workplace::new();
    let model = copy_model(&workplace);
    workplace.rivulet(&["run", "test.toml"]).ok();
    std::fs::remove_file(workplace.path("out.rvl")).unwrap();
    for name in ["model.toml", "encoder.onnx", "decoder.onnx", "codebooks.npz", "golden.npz"] {
        let path = model.join(name);
        let whole = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        workplace.rivulet(&["run", "test.toml"]).fails(78, name);
        let mut changed = whole.clone();
        let middle = changed.len() / 2;
        changed[middle] ^= 1;
        std::fs::write(&path, changed).unwrap();
        workplace.rivulet(&["run", "test.toml"]).fails(78, name);
        std::fs::write(&path, whole).unwrap();
    }
    let text = std::fs::read_to_string(model.join("model.toml")).unwrap();
    std::fs::write(model.join("model.toml"), text.replace("format_version = 1", "format_version = 99"))
        .unwrap();
    workplace.rivulet(&["run", "test.toml"]).fails(78, "99");
    assert!(!workplace.files().iter().any(|name| name.starts_with("out")));
}

#[test]
fn recordings_that_lie_are_told_apart() {
    let workplace = Workplace::new();
    workplace.write("test.toml", pipeline("path = \"bad.hea\""));
    workplace.rivulet(&["run", "test.toml"]).fails(66, "bad.hea");
    workplace.write("bad.hea", "");
    workplace.rivulet(&["run", "test.toml"]).fails(65, "bad.hea");
    workplace.write("bad.hea", "bad 1 360 100\nbad.dat 999 200 11 1024\n");
    workplace.rivulet(&["run", "test.toml"]).fails(65, "999");
    workplace.write("bad.hea", "bad 1 360 100\n../bad.dat 212 200 11 1024\n");
    workplace.rivulet(&["run", "test.toml"]).fails(65, "bad.dat");
    workplace.write("bad.hea", "bad 2 360 1000\nbad.dat 212 200 11 1024\nbad.dat 212 200 11 1024\n");
    workplace.rivulet(&["run", "test.toml"]).fails(66, "bad.dat");
    assert!(!workplace.files().iter().any(|name| name.starts_with("out")), "{:?}", workplace.files());

    // A header that promises 1000 samples where 600 are there: what is there is encoded, the rest is told.
    workplace.write("bad.dat", (0..1800).map(|i| (i % 251) as u8).collect::<Vec<_>>());
    let outcome = workplace.rivulet(&["run", "test.toml", "--json"]).ok();
    let summary = outcome.json();
    assert_eq!(summary["samples"], 1_200);
    assert_eq!(summary["dead_letter_samples"], 800, "{summary}");
}

/// A source's lines in the test's pipeline, with a file of dead letters.
fn reading(source: &str) -> String {
    pipeline(source) + "[dead_letters]\npath = \"letters.jsonl\"\n"
}

/// The dead letters of the last run.
fn letters(workplace: &Workplace) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(workplace.path("letters.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A WAVE file of 16 bits at 360 Hz whose header says that there are so many bytes of samples.
fn wav(samples: &[i16], says_bytes: u32) -> Vec<u8> {
    let mut bytes =
        b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\x01\0\x01\0\x68\x01\0\0\xd0\x02\0\0\x02\0\x10\0data"
            .to_vec();
    bytes.extend(says_bytes.to_le_bytes());
    bytes.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    bytes
}

/// An EDF file of one signal at 360 Hz, whose header says that there are so many records of a second.
fn edf(seconds: usize, says_records: i32) -> Vec<u8> {
    let fields: [(&str, usize); 20] = [
        ("0", 8),
        ("X X X X", 80),
        ("X", 80),
        ("29.02.24", 8),
        ("12.30.15", 8),
        ("512", 8),
        ("", 44),
        (&says_records.to_string(), 8),
        ("1", 8),
        ("1", 4),
        ("ECG", 16),
        ("", 80),
        ("mV", 8),
        ("-5", 8),
        ("5", 8),
        ("-2048", 8),
        ("2047", 8),
        ("", 80),
        ("360", 8),
        ("", 32),
    ];
    let mut bytes: Vec<u8> =
        fields.iter().flat_map(|(text, width)| format!("{text:width$}").into_bytes()).collect();
    bytes.extend((0..360 * seconds).flat_map(|i| (i as i16 % 97).to_le_bytes()));
    bytes
}

#[test]
fn recordings_that_are_cut_give_what_is_there_and_say_what_is_missing() {
    let workplace = Workplace::new();
    let samples: Vec<i16> = (0..1000).map(|i| i % 97).collect();
    let whole_edf = edf(3, 3);
    let cases: [(&str, Vec<u8>, u64, u64, &str); 6] = [
        (
            "cut.wav",
            wav(&samples, 4000),
            1000,
            1000,
            "the header says 4000 bytes of samples, the file holds 2000",
        ),
        ("odd.wav", wav(&samples, u32::MAX)[..2043].to_vec(), 999, 1, "1 bytes are left over"),
        (
            "cut.edf",
            whole_edf[..whole_edf.len() - 9].to_vec(),
            720,
            360,
            "the header says 3 records, the file holds 2",
        ),
        ("short.edf", edf(3, 5), 1080, 720, "the header says 5 records, the file holds 3"),
        (
            "long.edf",
            edf(3, 2),
            720,
            360,
            "the header says 2 records, behind which the file has 720 bytes more",
        ),
        ("torn.edf", whole_edf[..whole_edf.len() - 9].to_vec(), 720, 360, "file holds 2"),
    ];
    for (name, bytes, read, lost, reason) in cases {
        workplace.write(name, bytes);
        workplace.write("test.toml", reading(&format!("path = \"{name}\"")));
        let outcome = workplace.rivulet(&["run", "test.toml", "--json"]).ok();
        let summary = outcome.json();
        assert_eq!(
            (summary["samples"].as_u64(), summary["dead_letter_samples"].as_u64()),
            (Some(read), Some(lost)),
            "{name}"
        );
        let letters = letters(&workplace);
        let [letter] = &letters[..] else { panic!("{name}: {letters:?}") };
        assert!(letter["reason"].as_str().unwrap().contains(reason), "{name}: {letter}");
        assert!(letter["origin"] == name && letter["byte"].as_u64().unwrap() > 44, "{name}: {letter}");
    }
}

#[test]
fn rows_that_cannot_be_used_are_dead_letters_with_their_line() {
    let workplace = Workplace::new();
    let source = "path = \"a.csv\"\nsample_rate_hz = 360\nsample_type = \"i16\"";
    workplace.write("test.toml", reading(source));
    // A mark of byte order, Windows' ends of lines, a ragged row, what is no number, and what no i16 holds.
    workplace.write("a.csv", "\u{feff}x,y\r\n1,2\r\n3\r\n4,NaN\r\ninf,5\r\n6,40000\r\n7,1.5\r\n8,9\r\n");
    let summary = workplace.rivulet(&["run", "test.toml", "--json"]).ok().json();
    assert_eq!(
        (summary["samples"].as_u64(), summary["dead_letters"].as_u64()),
        (Some(4), Some(5)),
        "{summary}"
    );
    let reasons: Vec<String> =
        letters(&workplace).iter().map(|letter| letter["reason"].as_str().unwrap().to_owned()).collect();
    for (reason, expected) in reasons.iter().zip([
        "line 3: 1 cells, but there are 2 columns",
        "line 4: column 2: \"NaN\" is not a finite number",
        "line 5: column 1: \"inf\" is not a finite number",
        "line 6: column 2: \"40000\" is not a whole number that fits i16",
        "line 7: column 2: \"1.5\" is not a whole number that fits i16",
    ]) {
        assert_eq!(reason, expected);
    }
    let decoding =
        "decoding = { codec = \"json\", sample_type = \"i16\", sample_rate_hz = 360, samples = \"v\" }";
    workplace.write("test.toml", reading(&format!("path = \"a.jsonl\"\n{decoding}")));
    workplace.write("a.jsonl", "{\"v\":[1,2]}\n{\"v\":[1,NaN]}\n{\"v\":40000}\n{\"w\":1}\n{\"v\":3}\n");
    let summary = workplace.rivulet(&["run", "test.toml", "--json"]).ok().json();
    assert_eq!(
        (summary["samples"].as_u64(), summary["dead_letters"].as_u64()),
        (Some(3), Some(3)),
        "{summary}"
    );
    let lines = letters(&workplace);
    for (letter, line) in lines.iter().zip(["line 2, character", "line 3, v", "line 4, v"]) {
        assert!(letter["reason"].as_str().unwrap().starts_with(line), "{letter}");
    }
}

#[test]
fn files_that_are_something_else_are_told_in_one_line() {
    let workplace = Workplace::new();
    let noise: Vec<u8> = (0..3000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let table = b"x;y\n1,5;2\n3,5;4\n".to_vec();
    let cases: [(&str, &[u8], &str); 9] = [
        ("a.csv", &[0, 1, 2, b'\n', 3], "line 1: has bytes of 0: a binary file, not a CSV file"),
        ("b.csv", &table, "line 2: \"1,5\" has a decimal comma"),
        ("c.csv", b"x\n3,14\n2,71\n", "decimal comma?"),
        ("a.i16", b"100,200\n300,400\n500,600\n", "byte 0: is a text of numbers"),
        ("a.wav", &table, "byte 0: begins with \"x;y"),
        ("a.edf", &[&table[..], &[b' '; 300]].concat(), "byte 0: begins with \"x;y"),
        ("a.rvl", &noise, "a.rvl"),
        ("a.hea", &noise, "is not UTF-8 text"),
        ("a.csv.gz", &table, "byte 0: is not compressed with gzip"),
    ];
    for (name, bytes, reason) in cases {
        workplace.write(name, bytes);
        let options = if name.ends_with("hea")
            || name.ends_with("rvl")
            || name.ends_with("edf")
            || name.ends_with("wav")
        {
            ""
        } else {
            "sample_rate_hz = 360"
        };
        workplace.write("test.toml", reading(&format!("path = \"{name}\"\n{options}")));
        let outcome = workplace.rivulet(&["run", "test.toml"]).fails(65, reason);
        assert!(outcome.stderr.contains(name) && outcome.stderr.trim().lines().count() == 1, "{outcome:?}");
    }
    workplace.write("test.toml", reading("path = \"*.flac\""));
    for verb in ["run", "validate"] {
        let outcome = workplace.rivulet(&[verb, "test.toml"]);
        let said = outcome.stdout + &outcome.stderr;
        assert!(outcome.code != Some(0) && said.contains("*.flac: path: no file matches"), "{verb}: {said}");
    }
    workplace.write("test.toml", reading("path = \"-\""));
    workplace
        .rivulet(&["run", "test.toml"])
        .fails(78, "source.format: missing: standard input has no extension");
}

#[test]
fn one_of_many_that_cannot_be_read_costs_itself() {
    let workplace = Workplace::new();
    let samples: Vec<i16> = (0..1000).map(|i| i % 97).collect();
    workplace.write("night/1.wav", wav(&samples, 2000));
    workplace.write("night/2.wav", b"RIFF");
    workplace.write("night/3.wav", wav(&samples, 2000));
    workplace.write("test.toml", reading("path = \"night/*.wav\""));
    let summary = workplace.rivulet(&["run", "test.toml", "--json"]).ok().json();
    assert_eq!(
        (summary["samples"].as_u64(), summary["streams"].as_u64()),
        (Some(2000), Some(2)),
        "{summary}"
    );
    let letters = letters(&workplace);
    assert_eq!((letters.len(), letters[0]["origin"].as_str()), (1, Some("night/2.wav")));
    assert!(letters[0]["reason"].as_str().unwrap().contains("ends within the first 12 bytes"), "{letters:?}");
}

#[test]
fn outputs_that_cannot_be_written_leave_nothing() {
    let workplace = Workplace::new();
    let to = |path: &str| pipeline(EXCERPT).replace("out.rvl", path);
    // No folder can be made below a file, for root neither.
    workplace.write("file", "");
    workplace.write("test.toml", to("file/out.rvl"));
    workplace.rivulet(&["run", "test.toml"]).fails(73, "file");
    workplace.write("test.toml", to("/proc/out.rvl"));
    workplace.rivulet(&["run", "test.toml"]).fails(73, "/proc/out.rvl");
    workplace.write("test.toml", to("/dev/full"));
    workplace.rivulet(&["run", "test.toml"]).fails(74, "/dev/full");
    workplace.write("test.toml", to("made/on/the/way/out.rvl"));
    workplace.rivulet(&["run", "test.toml"]).ok();
    assert_eq!(workplace.files(), ["file", "made/on/the/way/out.rvl", "test.toml"]);
    workplace
        .rivulet(&["decode", "made/on/the/way/out.rvl", "-o", "/dev/full", "--format", "csv"])
        .fails(74, "/dev/full");
}

#[test]
fn damaged_packet_files_give_what_is_whole() {
    let workplace = Workplace::new();
    workplace.write("test.toml", pipeline(EXCERPT).replace("model = ", "frames_per_packet = 4\nmodel = "));
    workplace.rivulet(&["run", "test.toml"]).ok();
    let whole = std::fs::read(workplace.path("out.rvl")).unwrap();
    let packets = workplace.rivulet(&["inspect", "out.rvl", "--json"]).ok().json()["total"]["packets"]
        .as_u64()
        .unwrap();

    workplace.write("torn.rvl", &whole[..whole.len() / 2]);
    workplace.rivulet(&["inspect", "torn.rvl"]).fails(65, "torn");
    let outcome = workplace.rivulet(&["decode", "torn.rvl", "-o", "torn.csv"]).fails(65, "torn");
    assert!(!outcome.stderr.is_empty());

    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 0x10;
    workplace.write("flipped.rvl", &flipped);
    let inspected = workplace.rivulet(&["inspect", "flipped.rvl", "--json"]);
    assert_eq!(inspected.code, Some(65));
    assert_eq!(inspected.json()["total"]["packets"].as_u64().unwrap(), packets - 1);
    workplace.rivulet(&["decode", "flipped.rvl", "-o", "flipped.csv"]).fails(65, "damaged");
    let rows = std::fs::read_to_string(workplace.path("flipped.csv")).unwrap().lines().count();
    assert_eq!(rows, 1 + 21_600, "lost samples keep their place");

    workplace.write("empty.rvl", "");
    workplace.rivulet(&["inspect", "empty.rvl"]).fails(65, "empty.rvl");
    workplace.write(
        "noise.rvl",
        (0..5000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect::<Vec<_>>(),
    );
    workplace.rivulet(&["inspect", "noise.rvl"]).fails(65, "noise.rvl");
    workplace.rivulet(&["decode", "noise.rvl", "-o", "noise.csv"]).fails(65, "noise.rvl");
}

#[test]
fn packets_of_an_unknown_model_say_so() {
    let workplace = Workplace::new();
    workplace.rivulet(&["run", "pipelines/ecg.toml"]).ok();
    std::fs::remove_file(workplace.path("models")).unwrap();
    workplace.rivulet(&["decode", "out/ecg.rvl", "-o", "out/ecg.csv"]).fails(78, "no model with id");
    let model = root().join("models/ecg-16x");
    workplace
        .rivulet(&["decode", "out/ecg.rvl", "-o", "out/ecg.csv", "--model", &model.to_string_lossy()])
        .ok();
}
