//! Models as their users make, take elsewhere and train them.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use integration_tests::{Workplace, root};
use serde_json::json;

#[test]
fn the_shipped_model_gives_its_golden_vectors_and_comes_back_from_an_export() {
    let workplace = Workplace::new();
    let verified = workplace.rivulet(&["model", "verify", "models/ecg-16x", "--json"]).ok().json();
    assert_eq!(verified["code_mismatches"], 0);
    assert!(verified["max_output_error"].as_f64().unwrap() < 1e-4, "{verified}");

    workplace.rivulet(&["model", "export", "models/ecg-16x", "-o", "weights.npz"]).ok();
    workplace.rivulet(&["model", "import", "weights.npz", "-o", "copy"]).ok();
    workplace.rivulet(&["model", "verify", "copy", "--vectors", "weights.npz"]).ok();
    let encoder = |folder: &str| std::fs::read(workplace.path(folder).join("encoder.onnx")).unwrap();
    assert!(encoder("models/ecg-16x") == encoder("copy"));
}

#[test]
fn vectors_of_whole_models_are_met() {
    let folder = root().join("../shared/vectors");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        println!("skipped: there are no vectors beside the project");
        return;
    };
    let workplace = Workplace::new();
    for (index, entry) in entries.flatten().enumerate() {
        let (file, model) = (entry.path().display().to_string(), format!("model-{index}"));
        workplace.rivulet(&["model", "import", &file, "-o", &model]).ok();
        workplace.rivulet(&["model", "verify", &model, "--vectors", &file]).ok();
    }
}

#[test]
fn stats_are_those_of_the_published_family() {
    let workplace = Workplace::new();
    let stats = workplace.rivulet(&["model", "stats", "models/ecg-16x", "--json"]).ok().json();
    assert_eq!(stats["compression_ratio"], 16.0);
    assert_eq!(stats["encoder"]["parameters"], 40_168);
    assert_eq!(stats["decoder"]["multiply_adds"], 31_703_040);
    workplace.rivulet(&["model", "stats", "--frame-size", "500"]).fails(64, "500");
}

/// Described recordings of four subjects, split for training, and a recipe for a model of a few thousand parameters.
fn recordings(workplace: &Workplace) {
    for (kind, (name, split)) in
        [("a", "train"), ("b", "train"), ("c", "valid"), ("d", "test")].into_iter().enumerate()
    {
        let pitch = 0.2 + 0.05 * kind as f64;
        let bytes: Vec<u8> = (0..4_000)
            .flat_map(|i| {
                let phase = pitch * f64::from(i);
                ((1_000.0 * (phase.sin() + 0.3 * (2.0 * phase).sin())) as i16).to_le_bytes()
            })
            .collect();
        workplace.write(&format!("data/{name}.i16"), bytes);
        let description = json!({
            "name": name, "modality": "test", "subject": name, "split": split, "sample_rate_hz": 100, "channels": 1,
            "dtype": "int16le", "file": format!("{name}.i16"), "dataset": "made", "licence": "MIT",
            "licence_class": "open", "source_repo": "here", "lsb": 1.0, "offset": 0, "unit": "counts", "adc_bits": 16,
            "n_samples": 4_000, "channel_names": ["a"],
        });
        workplace.write(&format!("data/{name}.json"), description.to_string());
    }
    workplace.write(
        "tiny.toml",
        "name = \"tiny\"\nsample_rate_hz = 100\nseed = 7\n\
         [architecture]\nframe_size = 64\nbase_filters = 8\nnum_stages = 2\nlatent_width = 16\nembedding_dim = 4\n\
         [data]\nfolder = \"data\"\n\
         [training]\nsteps = 1500\nbatch_size = 16\nwarmup_steps = 10\nvalidate_every = 100\ncheckpoint_every = 20\n",
    );
}

fn checkpointed(work: &Path) -> bool {
    work.join("checkpoint.bin").exists()
}

#[test]
fn a_killed_training_resumes_to_the_model_of_an_undisturbed_one() {
    let workplace = Workplace::new();
    recordings(&workplace);
    let train = |tag: &str, more: &[&str]| {
        let (out, work) = (format!("{tag}/model"), format!("{tag}/work"));
        let mut arguments: Vec<String> =
            ["train", "tiny.toml", "--out", &out, "--work", &work].map(str::to_owned).into();
        arguments.extend(more.iter().map(|text| (*text).to_owned()));
        arguments
    };
    let run =
        |arguments: Vec<String>| workplace.rivulet(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    run(train("whole", &["--threads", "1"])).ok();

    let arguments = train("killed", &["--threads", "2"]);
    let mut child = workplace
        .command(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let started = Instant::now();
    while !checkpointed(&workplace.path("killed/work")) {
        assert!(started.elapsed() < Duration::from_secs(120), "no checkpoint was written");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!workplace.path("killed/model").exists());
    run(train("killed", &["--resume"])).ok();

    for name in ["model.toml", "encoder.onnx", "decoder.onnx", "codebooks.npz", "golden.npz", "weights.npz"] {
        let read = |tag: &str| std::fs::read(workplace.path(tag).join("model").join(name)).unwrap();
        assert!(read("whole") == read("killed"), "{name} differs");
    }
    workplace.rivulet(&["model", "verify", "whole/model"]).ok();

    // What was trained is used like what is shipped.
    workplace.write(
        "tiny-pipeline.toml",
        "name = \"tiny\"\n[source]\ntype = \"file\"\npath = \"data/d.i16\"\n[encoder]\ntype = \"rvq\"\n\
         model = \"whole/model\"\n[[sinks]]\ntype = \"file\"\npath = \"d.rvl\"\n[[sinks]]\ntype = \"mirror\"\n",
    );
    let summary = workplace.rivulet(&["run", "tiny-pipeline.toml", "--json"]).ok().json();
    assert_eq!(summary["samples"], 4_000);
    assert!(summary["prd_percent"].as_f64().unwrap() < 60.0, "{summary}");
}

#[test]
fn a_recipe_that_leaks_is_refused() {
    let workplace = Workplace::new();
    recordings(&workplace);
    let description = std::fs::read_to_string(workplace.path("data/c.json")).unwrap();
    workplace.write("data/c.json", description.replace("\"subject\":\"c\"", "\"subject\":\"a\""));
    let outcome = workplace.rivulet(&["train", "tiny.toml", "--out", "model", "--work", "work"]);
    assert!(outcome.code == Some(65) || outcome.code == Some(78), "{outcome:?}");
    assert!(outcome.stderr.contains("both") || outcome.stderr.contains("split"), "{outcome:?}");
    assert!(!workplace.path("model").exists());
}
