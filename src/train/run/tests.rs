use super::*;
use crate::train::step::Snapshot;
use crate::train::testing::{recipe, tones, write_four, write_recording};

struct Place {
    folder: tempfile::TempDir,
    recipe: Recipe,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let recordings = folder.path().join("recordings");
        std::fs::create_dir(&recordings).unwrap();
        write_four(&recordings);
        Self { recipe: recipe(&recordings), folder }
    }

    fn options(&self, name: &str) -> Options {
        Options {
            out: self.folder.path().join(name).join("model"),
            work: self.folder.path().join(name).join("work"),
            threads: 2,
            resume: false,
            overwrite: false,
            command: "rivulet train".to_owned(),
        }
    }

    fn end(&self, options: &Options) -> (Snapshot, Best, Vec<Point>) {
        let digest = Dataset::read(&self.recipe).unwrap().digest();
        let checkpoint = Checkpoint::read(&options.checkpoint(), &self.recipe, digest).unwrap();
        (checkpoint.state, checkpoint.best.unwrap(), checkpoint.curve)
    }
}

#[test]
fn stopping_and_going_on_gives_the_same_bits() {
    let place = Place::new();
    let whole = place.options("whole");
    train(&place.recipe, &whole, |_| false).unwrap();

    let mut parts = place.options("parts");
    for until in [3, 5, 13, 14] {
        let outcome = train(&place.recipe, &parts, |step| step == until).unwrap();
        assert_eq!((outcome.steps, outcome.stopped), (until, true));
        assert_eq!(outcome.model.is_some(), until >= 5, "kept the best, once there is one");
        assert_eq!(parts.out.join("README.md").exists(), until >= 5);
        parts.resume = true;
        parts.threads = 1;
    }
    let outcome = train(&place.recipe, &parts, |_| false).unwrap();
    assert_eq!((outcome.steps, outcome.stopped), (20, false));
    assert_eq!(place.end(&parts), place.end(&whole));

    let steps = |options: &Options| -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(options.work.join("train.jsonl")).unwrap();
        text.lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["step"].clone())
            .collect()
    };
    assert_eq!(steps(&parts), steps(&whole));
    assert_eq!(steps(&whole), [3, 5, 6, 9, 10, 12, 15, 18, 20]);
}

#[test]
fn a_seed_gives_the_same_model() {
    let mut place = Place::new();
    let run = |place: &Place, name| {
        let options = place.options(name);
        train(&place.recipe, &options, |_| false).unwrap();
        place.end(&options)
    };
    let first = run(&place, "first");
    assert_eq!(run(&place, "second"), first);
    place.recipe.seed += 1;
    assert_ne!(run(&place, "third"), first);
}

#[test]
fn the_best_model_is_the_one_that_is_written() {
    let mut place = Place::new();
    place.recipe.training =
        crate::train::Training { steps: 400, validate_every: 20, ..place.recipe.training };
    let options = place.options("run");
    let outcome = train(&place.recipe, &options, |_| false).unwrap();
    let (_, best, curve) = place.end(&options);
    let lowest = curve.iter().map(|point| point.prd_percent).fold(f64::INFINITY, f64::min);
    let model = outcome.model.unwrap();
    assert_eq!(model.valid_prd_percent, lowest);
    assert_eq!(best.point.prd_percent, lowest);
    assert!(lowest < 0.5 * curve[0].prd_percent, "it learns: {curve:?}");
    let test = model.test.unwrap();

    let directory = ModelDirectory::load(&options.out).unwrap();
    assert_eq!(directory.metadata().sample_rate_hz, Some(100.0));
    assert_eq!(directory.normalisation(), &place.recipe.normalisation);
    let written = directory.autoencoder().unwrap();
    let mut trainer = Trainer::new(&written, settings(&place.recipe, &options)).unwrap();
    let golden = directory.golden();
    assert_eq!(golden.frames(), 2, "a frame of each validation stream");
    let agrees = |trainer: &Trainer| {
        let outputs = trainer.reconstruct(golden.input()).unwrap();
        outputs.iter().zip(golden.quantised_output().unwrap()).all(|(x, y)| (x - y).abs() < 1e-4)
    };
    assert!(agrees(&trainer), "what was written computes what the golden vectors say");
    trainer.restore(best.state).unwrap();
    assert!(agrees(&trainer), "and so does the model that was trained");

    let card = directory.card();
    for expected in [
        "# tiny",
        "A model for tests.",
        "`rivulet train`",
        "| d | test | d | made | MIT | here |",
        &format!("the model is that of step {}", model.step),
        &format!("| test | {:.3} |", test.prd_percent.unwrap()),
        "base_filters = 8",
    ] {
        assert!(card.contains(expected), "{expected} in {card}");
    }
}

#[test]
fn an_earlier_result_is_not_overwritten_unasked() {
    let place = Place::new();
    let mut options = place.options("run");
    train(&place.recipe, &options, |step| step == 3).unwrap();
    let error = train(&place.recipe, &options, |_| false).unwrap_err();
    assert!(matches!(&error, TrainError::Exists { path } if *path == options.checkpoint()), "{error}");
    options.overwrite = true;
    train(&place.recipe, &options, |_| false).unwrap();
    options.work = place.folder.path().join("elsewhere");
    options.overwrite = false;
    let error = train(&place.recipe, &options, |_| false).unwrap_err();
    assert!(matches!(&error, TrainError::Exists { path } if *path == options.out), "{error}");
    options.resume = true;
    let error = train(&place.recipe, &options, |_| false).unwrap_err();
    assert!(matches!(error, TrainError::Checkpoint(CheckpointError::Io { .. })), "{error}");

    let other = Recipe { name: "other".to_owned(), ..place.recipe.clone() };
    let error = train(&other, &options, |_| false).unwrap_err();
    assert!(matches!(&error, TrainError::Exists { path } if *path == options.out), "{error}");
}

#[test]
fn what_is_not_a_model_is_never_replaced() {
    let place = Place::new();
    let mut options = place.options("run");
    options.overwrite = true;
    std::fs::create_dir_all(&options.out).unwrap();
    let thesis = options.out.join("thesis.tex");
    std::fs::write(&thesis, "years of work").unwrap();
    let error = train(&place.recipe, &options, |_| false).unwrap_err();
    assert!(matches!(error, TrainError::NotAModel { .. }), "{error}");
    assert_eq!(std::fs::read_to_string(&thesis).unwrap(), "years of work");
}

#[test]
fn bad_input_is_refused_before_anything_is_written() {
    let place = Place::new();
    let options = place.options("run");
    let untouched = || !options.work.exists() && !options.out.exists();
    let refused = |recipe: &Recipe| train(recipe, &options, |_| false).unwrap_err();

    let mut recipe = place.recipe.clone();
    recipe.training.batch_size = 0;
    assert!(matches!(refused(&recipe), TrainError::Recipe(_)) && untouched());

    let folder = place.folder.path().join("recordings");
    write_recording(&folder, "c", "c", "valid", &[5; 400]);
    assert!(matches!(refused(&place.recipe), TrainError::Flat { split: Split::Valid, .. }) && untouched());

    write_recording(&folder, "c", "a", "valid", &tones(2, 500));
    assert!(matches!(refused(&place.recipe), TrainError::Data(DataError::Leak { .. })) && untouched());
}

#[test]
fn a_loss_that_diverges_says_where() {
    let mut place = Place::new();
    place.recipe.training.learning_rate = 1.0;
    place.recipe.training.steps = 2000;
    place.recipe.architecture.beta = 3e38;
    let error = train(&place.recipe, &place.options("run"), |_| false).unwrap_err();
    assert!(matches!(error, TrainError::Diverged { .. } | TrainError::Trainer(_)), "{error}");
    assert!(error.to_string().contains("diverged"), "{error}");
}
