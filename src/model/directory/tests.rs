use super::*;
use crate::model::formula::formula_model;

fn model() -> VQAutoencoder {
    formula_model(&Architecture { base_filters: 8, latent_width: 16, num_stages: 2, ..Architecture::new(32) })
}

fn metadata() -> ModelMetadata {
    ModelMetadata {
        name: "a \"quoted\" name".to_owned(),
        modality: "ecg".to_owned(),
        sample_rate_hz: Some(360.0),
        unit: None,
    }
}

fn write(path: &Path, existing: Existing) -> Result<ModelId, DirectoryError> {
    let model = model();
    let golden = GoldenVectors::synthetic(&model).unwrap();
    ModelDirectory::write(
        path,
        &model,
        &Normalisation::default(),
        &metadata(),
        &golden,
        "# A card\n",
        existing,
    )
}

/// A folder with a model named `m` in it.
pub(super) fn written() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m");
    write(&path, Existing::Keep).unwrap();
    (folder, path)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The kind of error after `model.toml` was changed, with its id made right again.
fn after_edit(edit: impl Fn(String) -> String) -> DirectoryErrorKind {
    let (_folder, path) = written();
    let text = fs::read_to_string(path.join(MODEL_TOML)).unwrap();
    let edited =
        edit(text.lines().filter(|line| !line.starts_with("id = ")).map(|l| format!("{l}\n")).collect());
    let hash = sha256(edited.as_bytes());
    let (first, rest) = edited.split_once('\n').unwrap();
    fs::write(path.join(MODEL_TOML), format!("{first}\nid = \"{}\"\n{rest}", &hash[..16])).unwrap();
    ModelDirectory::load(&path).unwrap_err().kind
}

#[test]
fn what_was_written_is_read() {
    let (folder, path) = written();
    let read = ModelDirectory::load(&path).unwrap();
    let model = model();
    assert_eq!(read.metadata(), metadata());
    assert_eq!(read.architecture(), model.architecture());
    assert_eq!(*read.normalisation(), Normalisation::default());
    assert_eq!(read.encoder_onnx(), write_onnx(model.encoder(), None));
    assert_eq!(read.golden(), &GoldenVectors::synthetic(&model).unwrap());
    assert!(read.quantizer().codebooks().eq(model.quantizer().codebooks()));
    assert_eq!(read.card(), "# A card\n");
    let weights = read.autoencoder().unwrap();
    assert_eq!((weights.encoder(), weights.decoder()), (model.encoder(), model.decoder()));
    assert_eq!(read.files().count(), 5);
    assert_eq!(names(folder.path()), ["m"]);
}

#[test]
fn the_id_is_that_of_the_content() {
    let (_first, a) = written();
    let (_second, b) = written();
    let id = ModelDirectory::load(&a).unwrap().id();
    assert_eq!(id, ModelDirectory::load(&b).unwrap().id());
    fs::write(a.join(CARD), "another card").unwrap();
    assert_eq!(ModelDirectory::load(&a).unwrap().id(), id);
}

#[test]
fn a_missing_file_is_named() {
    for file in [MODEL_TOML, ENCODER, DECODER, CODEBOOKS, GOLDEN, WEIGHTS] {
        let (_folder, path) = written();
        fs::remove_file(path.join(file)).unwrap();
        let error = ModelDirectory::load(&path).unwrap_err();
        assert!(
            matches!(&error.kind, DirectoryErrorKind::Missing { file: found } if found == file),
            "{error}"
        );
    }
    let error = ModelDirectory::load(Path::new("no/such/model")).unwrap_err();
    assert!(matches!(error.kind, DirectoryErrorKind::NoDirectory), "{error}");
}

#[test]
fn a_changed_byte_is_found_and_its_file_named() {
    let (_folder, path) = written();
    for file in [ENCODER, DECODER, CODEBOOKS, GOLDEN, WEIGHTS] {
        let good = fs::read(path.join(file)).unwrap();
        for at in [0, good.len() / 2, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(path.join(file), bad).unwrap();
            let error = ModelDirectory::load(&path).unwrap_err();
            assert!(
                matches!(&error.kind, DirectoryErrorKind::Changed { file: found } if found == file),
                "{error}"
            );
        }
        fs::write(path.join(file), good).unwrap();
    }
    let good = fs::read(path.join(MODEL_TOML)).unwrap();
    for at in 0..good.len() {
        for flip in [1, 0x20] {
            let mut bad = good.clone();
            bad[at] ^= flip;
            fs::write(path.join(MODEL_TOML), bad).unwrap();
            let error = ModelDirectory::load(&path).unwrap_err();
            assert!(
                error.to_string().contains(MODEL_TOML) || error.to_string().contains("newer"),
                "{at} {error}"
            );
        }
    }
}

#[test]
fn later_formats_and_unknown_keys_are_refused_as_such() {
    let newer = after_edit(|text| text.replace("format_version = 1", "format_version = 2\nshape = \"new\""));
    assert!(matches!(newer, DirectoryErrorKind::NewerFormat { version: 2 }), "{newer}");
    assert!(newer.to_string().contains("newer rivulet"));
    for (edit, key) in [
        (("modality", "model_colour = 1\nmodality"), "model_colour"),
        (("[architecture]", "[architecture]\nwidth = 1"), "architecture.width"),
        (("[normalisation]", "[normalisation]\nscale = 1"), "normalisation.scale"),
    ] {
        let kind = after_edit(|text| text.replace(edit.0, edit.1));
        assert!(matches!(&kind, DirectoryErrorKind::UnknownKey { key: found } if found == key), "{kind}");
    }
}

#[test]
fn values_that_make_no_model_are_refused() {
    for (from, to, reason) in [
        ("frame_size = 32", "frame_size = 33", "multiple of 2^num_stages"),
        ("epsilon = 0.00000000000001", "epsilon = 0.0", "epsilon"),
        ("latent_width = 16", "latent_width = 32", "level_0"),
        ("num_levels = 2", "num_levels = 1", "codebooks.npz"),
        ("num_levels = 2", "num_levels = 3", "level_2"),
        ("\"encoder.onnx\"", "\"../encoder.onnx\"", "does not list encoder.onnx"),
        ("\"weights.npz\"", "\"../weights.npz\"", "plain file name"),
    ] {
        let kind = after_edit(|text| {
            assert!(text.contains(from), "{text}");
            text.replace(from, to)
        });
        assert!(matches!(kind, DirectoryErrorKind::Malformed { .. }), "{kind}");
        assert!(kind.to_string().contains(reason), "{kind}");
    }
}

#[test]
fn nothing_is_overwritten_unasked() {
    let (folder, path) = written();
    let error = write(&path, Existing::Keep).unwrap_err();
    assert!(matches!(error.kind, DirectoryErrorKind::Exists), "{error}");
    fs::write(path.join("stray"), "").unwrap();
    write(&path, Existing::Replace).unwrap();
    assert!(!path.join("stray").exists());
    let other = folder.path().join("precious");
    fs::create_dir(&other).unwrap();
    let error = write(&other, Existing::Replace).unwrap_err();
    assert!(matches!(error.kind, DirectoryErrorKind::NotAModel), "{error}");
    assert_eq!(names(folder.path()), ["m", "precious"]);
}

#[test]
fn a_failure_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let error = write(&folder.path().join("none").join("m"), Existing::Keep).unwrap_err();
    assert!(matches!(error.kind, DirectoryErrorKind::Io { .. }), "{error}");
    fs::write(folder.path().join("file"), "").unwrap();
    write(&folder.path().join("file"), Existing::Keep).unwrap_err();
    write(&folder.path().join("file").join("m"), Existing::Keep).unwrap_err();
    assert_eq!(names(folder.path()), ["file"]);
}
