use std::path::PathBuf;

use clap::Parser;

use super::*;

/// A folder to work in, with a model `m` of 64-sample frames.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.run("new --frame-size 64 --base-filters 8 --num-levels 1 -o @/m").unwrap();
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs `rivulet model` with `arguments`, `@` standing for the folder.
    fn run(&self, arguments: &str) -> Result<(), CliError> {
        #[derive(Parser)]
        struct Model {
            #[command(flatten)]
            arguments: Arguments,
        }
        let folder = self.0.path().to_str().unwrap();
        let words = arguments.split(' ').map(|word| word.replace('@', folder));
        run(Model::try_parse_from(std::iter::once("model".to_owned()).chain(words)).unwrap().arguments)
    }

    fn fails(&self, arguments: &str) -> (u8, String) {
        let error = self.run(arguments).unwrap_err();
        assert!(!error.message.contains('\n'), "{}", error.message);
        (error.code, error.message)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[test]
fn a_model_goes_out_and_comes_back() {
    let folder = Folder::new();
    folder.run("verify @/m").unwrap();
    folder.run("info @/m --json").unwrap();
    folder.run("info @/m").unwrap();
    folder.run("export @/m -o @/m.npz").unwrap();
    folder.run("import @/m.npz -o @/back").unwrap();
    folder.run("verify @/back --json").unwrap();
    folder.run("verify @/back --vectors @/m.npz").unwrap();
    let (there, back) = (load(&folder.path("m")).unwrap(), load(&folder.path("back")).unwrap());
    assert_eq!(there.architecture(), back.architecture());
    assert_eq!(there.encoder_onnx(), back.encoder_onnx());
    assert_eq!(there.decoder_onnx(), back.decoder_onnx());
    assert_eq!(there.golden(), back.golden());
    folder.run("export @/m --part encoder -o @/encoder.onnx").unwrap();
    assert_eq!(fs::read(folder.path("encoder.onnx")).unwrap(), there.encoder_onnx());
    folder.run("export @/m --part decoder --batch 4 -o @/decoder.onnx").unwrap();
    assert_ne!(fs::read(folder.path("decoder.onnx")).unwrap(), there.decoder_onnx());
    assert_eq!(folder.names(), ["back", "decoder.onnx", "encoder.onnx", "m", "m.npz"]);
}

#[test]
fn a_seed_gives_the_same_id() {
    let folder = Folder::new();
    for (name, seed) in [("a", 7), ("b", 7), ("c", 8)] {
        folder
            .run(&format!("new --frame-size 16 --base-filters 8 --name n --seed {seed} -o @/{name}"))
            .unwrap();
    }
    let id = |name| load(&folder.path(name)).unwrap().id();
    assert_eq!(id("a"), id("b"));
    assert_ne!(id("a"), id("c"));
    assert!(load(&folder.path("a")).unwrap().card().contains("Untrained"));
}

#[test]
fn vectors_that_differ_fail_the_check() {
    let folder = Folder::new();
    folder.run("new --frame-size 64 --base-filters 8 --num-levels 1 --seed 1 -o @/other").unwrap();
    folder.run("export @/other -o @/other.npz").unwrap();
    let (code, text) = folder.fails("verify @/m --vectors @/other.npz");
    assert_eq!(code, exit::CHECK_FAILED, "{text}");
}

#[test]
fn stats_need_a_model_or_a_frame_size() {
    let folder = Folder::new();
    folder.run("stats @/m").unwrap();
    folder.run("stats --frame-size 512 --num-stages 5 --json").unwrap();
    assert_eq!(folder.fails("stats").0, exit::USAGE);
    let (code, text) = folder.fails("stats --frame-size 500");
    assert!(code == exit::USAGE && text.contains("500"), "{text}");
}

#[test]
fn bad_input_gets_one_line_and_its_code() {
    let folder = Folder::new();
    let before = folder.names();
    fs::write(folder.path("m/stray"), "").unwrap();
    for (arguments, code, words) in [
        ("new --frame-size 500 -o @/x", exit::USAGE, "500"),
        ("new -o @/m", exit::CANNOT_CREATE, "exists"),
        ("new -o @/none/x", exit::CANNOT_CREATE, "none"),
        ("new --epsilon 0 -o @/x", exit::USAGE, "epsilon"),
        ("new --sample-rate-hz NaN -o @/x", exit::USAGE, "sample_rate_hz"),
        ("import @/none.npz -o @/x", exit::NO_INPUT, "none.npz"),
        ("info @/none", exit::NO_INPUT, "none"),
        ("verify @/m --vectors @/none", exit::NO_INPUT, "none"),
        ("verify @/m --vectors @/m/stray", exit::DATA, "stray"),
        ("verify @/m --vectors @/m/codebooks.npz", exit::DATA, "'x'"),
        ("import @/m/golden.npz -o @/x", exit::DATA, "'enc_0'"),
        ("import @/m/weights.npz -o @/x", exit::DATA, "--frame-size"),
        ("import @/m/weights.npz --frame-size 63 -o @/x", exit::DATA, "63"),
        ("import @/m/weights.npz --frame-size 64 --num-levels 2 -o @/x", exit::DATA, "'cb_1'"),
        ("export @/m -o @/x.txt", exit::USAGE, ".npz or .onnx"),
        ("export @/m -o @/x.onnx", exit::USAGE, "--part"),
        ("export @/m --part encoder -o @/x.npz", exit::USAGE, "--part"),
        ("export @/m -o @/none/x.npz", exit::CANNOT_CREATE, "none"),
    ] {
        let (found, text) = folder.fails(arguments);
        assert_eq!(found, code, "{arguments}: {text}");
        assert!(text.contains(words), "{arguments}: {text}");
    }
    assert_eq!(folder.names(), before);
}

#[test]
fn a_model_with_a_foreign_network_is_refused() {
    let folder = Folder::new();
    folder.run("new --frame-size 32 --base-filters 8 --num-levels 1 -o @/short").unwrap();
    // The encoder of the other model, with hashes and id made right.
    let hash = |path: &str| {
        use sha2::{Digest, Sha256};
        let digest = Sha256::digest(fs::read(folder.path(path)).unwrap());
        digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let (old, new) = (hash("m/encoder.onnx"), hash("short/encoder.onnx"));
    fs::copy(folder.path("short/encoder.onnx"), folder.path("m/encoder.onnx")).unwrap();
    let text = fs::read_to_string(folder.path("m/model.toml")).unwrap().replace(&old, &new);
    let lines = text.lines().filter(|line| !line.starts_with("id = ")).map(|line| format!("{line}\n"));
    let text: String = lines.collect();
    fs::write(folder.path("m/model.toml"), &text).unwrap();
    let id = &hash("m/model.toml")[..16];
    fs::write(folder.path("m/model.toml"), text.replacen('\n', &format!("\nid = \"{id}\"\n"), 1)).unwrap();
    let (code, text) = folder.fails("verify @/m");
    assert_eq!(code, exit::DATA);
    assert!(
        text.contains("encoder.onnx") && text.contains("[?,1,32]") && text.contains("64 steps"),
        "{text}"
    );
}
