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
