//! `rivulet validate`

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{CliError, exit, print, warn};
use crate::config::{FileSourceConfig, PipelineConfig, Problem, SinkConfig, SourceConfig, SourceDecoding};
use crate::kafka;
use crate::pipeline::{BuildError, load_model};
use crate::source::file::expand;
use crate::source::follow::is_pattern;
use crate::source::serial::is_port;

/// How long brokers have to answer.
const BROKER_PATIENCE: Duration = Duration::from_secs(5);

/// Arguments of `rivulet validate`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Pipeline files.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Check the files alone, not whether what they name exists.
    #[arg(long)]
    no_environment: bool,
    /// Print the problems as a JSON array.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: Arguments) -> Result<(), CliError> {
    let checked: Vec<_> =
        arguments.files.iter().map(|file| (file, problems(file, !arguments.no_environment))).collect();
    for note in arguments.files.iter().filter_map(|file| note(file)) {
        warn(&note);
    }
    print(&if arguments.json { as_json(&checked)? } else { as_text(&checked) })?;
    let refused = checked.iter().filter(|(_, problems)| !problems.is_empty()).count();
    if refused == 0 {
        return Ok(());
    }
    let files = checked.len();
    Err(CliError::new(exit::CONFIG, format_args!("{refused} of {files} pipeline files cannot be run")))
}

fn as_text(checked: &[(&PathBuf, Vec<Problem>)]) -> String {
    let mut text = String::new();
    for (file, problems) in checked {
        if problems.is_empty() {
            let _ = writeln!(text, "{}: ok", file.display());
        }
        for problem in problems {
            let _ = writeln!(text, "{problem}");
        }
    }
    text
}

fn as_json(checked: &[(&PathBuf, Vec<Problem>)]) -> Result<String, CliError> {
    let problems: Vec<_> = checked.iter().flat_map(|(_, problems)| problems).collect();
    let json =
        serde_json::to_string_pretty(&problems).map_err(|error| CliError::new(exit::INTERNAL, error))?;
    Ok(json + "\n")
}

/// What is no problem, and its user should know.
fn note(file: &Path) -> Option<String> {
    let config = PipelineConfig::load(file).ok()?;
    let SourceConfig::Serial(source) = &config.source else { return None };
    let note = config.problem(
        "source.type",
        format!(
            "note: what {} sends cannot be read again: what comes while it is unplugged or Rivulet is down is lost, and so \
             is what has not left when Rivulet is killed",
            source.port.path.display()
        ),
    );
    Some(note.to_string())
}

fn problems(file: &Path, environment: bool) -> Vec<Problem> {
    let config = match PipelineConfig::load(file) {
        Ok(config) => config,
        Err(error) => return error.problems().to_vec(),
    };
    let mut problems = kafka::check::problems(&config);
    if environment {
        problems.extend(missing_inputs(&config));
        // Without options that librdkafka takes there is nothing to ask the brokers with.
        if problems.iter().all(|problem| !is_about_a_client(problem)) {
            problems.extend(kafka::probe::problems(&config, BROKER_PATIENCE));
        }
    }
    problems
}

fn is_about_a_client(problem: &Problem) -> bool {
    let parts = [".client_options", ".tls", ".sasl"];
    problem.key.as_deref().is_some_and(|key| parts.iter().any(|part| key.contains(part)))
}

/// What the pipeline reads and is not there, is damaged, or does not fit.
fn missing_inputs(config: &PipelineConfig) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let SourceConfig::File(source) = &config.source {
        let missing = missing_recordings(source).into_iter();
        problems.extend(missing.map(|reason| config.problem("source.path", reason)));
    }
    if let SourceConfig::Serial(source) = &config.source
        && let Err(reason) = is_port(&source.port.path)
    {
        problems.push(config.problem("source.path", reason.to_string()));
    }
    if let SourceConfig::Follow(source) = &config.source
        && let Err(reason) = followable(&source.path)
    {
        problems.push(config.problem("source.path", reason));
    }
    if let SourceConfig::Kafka(source) = &config.source
        && let SourceDecoding::Packets(packets) = &source.decoding
        // With a topic of models directories need not be there.
        && packets.model_topic.is_none()
    {
        for (i, path) in packets.models.iter().enumerate().filter(|(_, path)| !path.is_dir()) {
            let message = format!("{} is no directory", path.display());
            problems.push(config.problem(&format!("source.decoding.models[{i}]"), message));
        }
    }
    problems.extend(missing_certificates(config));
    problems.extend(model_problems(config));
    problems
}

/// OpenSSL does not say which file it is that it cannot read.
fn missing_certificates(config: &PipelineConfig) -> Vec<Problem> {
    let mut clients = Vec::new();
    if let SourceConfig::Kafka(source) = &config.source {
        clients.push(("source".to_owned(), &source.client));
    }
    for (i, sink) in config.sinks.iter().enumerate() {
        if let SinkConfig::Kafka(sink) = sink {
            clients.push((format!("sinks[{i}]"), &sink.client));
        }
    }
    let mut problems = Vec::new();
    for (place, client) in clients {
        let Some(tls) = &client.tls else { continue };
        let identity = tls.identity.as_ref();
        // Authorities may be a directory of certificates.
        if let Some(path) = &tls.ca_file
            && let Err(error) = std::fs::metadata(path)
        {
            let reason = format!("{}: {error}", path.display());
            problems.push(config.problem(&format!("{place}.tls.ca_file"), reason));
        }
        let files =
            identity.map(|identity| [("cert_file", &identity.cert_file), ("key_file", &identity.key_file)]);
        for (key, path) in files.into_iter().flatten() {
            if let Err(reason) = readable_file(path) {
                problems.push(config.problem(&format!("{place}.tls.{key}"), reason));
            }
        }
    }
    problems
}

/// Why the pipeline's model cannot be used, or not by this pipeline.
pub(super) fn model_problems(config: &PipelineConfig) -> Vec<Problem> {
    if config.encoder.is_none() {
        return Vec::new();
    }
    match load_model(config) {
        Ok(_) => Vec::new(),
        Err(BuildError::Config(error)) => error.problems().to_vec(),
        Err(error) => vec![config.problem("encoder.model", error.to_string())],
    }
}

/// A followed file may come later, but not into a folder that is not there.
fn followable(path: &Path) -> Result<(), String> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    match folder.filter(|folder| !is_pattern(path) && !folder.is_dir()) {
        Some(folder) => Err(format!(
            "{} is no directory: the file is waited for, but nothing makes its folder",
            folder.display()
        )),
        None if path.exists() => readable_file(path),
        None => Ok(()),
    }
}

/// What of a source's recordings is not there.
fn missing_recordings(source: &FileSourceConfig) -> Vec<String> {
    if source.reads_stdin() {
        return Vec::new();
    }
    match expand(&source.paths) {
        Ok(paths) => paths.iter().filter_map(|path| readable_file(path).err()).collect(),
        Err(error) => vec![error.to_string()],
    }
}

fn readable_file(path: &Path) -> Result<(), String> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Err(format!("{} is a directory", path.display())),
        Ok(_) => Ok(()),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::directory::Existing;
    use crate::model::{
        Architecture, GoldenVectors, ModelDirectory, ModelMetadata, Normalisation, build_rvq_autoencoder,
    };

    fn pipeline(folder: &Path) -> PathBuf {
        let text = format!(
            "name = \"t\"\nsource.type = \"file\"\nsource.path = {:?}\nencoder.type = \"rvq\"\n\
             encoder.model = {:?}\n[[sinks]]\ntype = \"mirror\"\n",
            folder.join("a.hea"),
            folder.join("model"),
        );
        let file = folder.join("t.toml");
        std::fs::write(&file, text).unwrap();
        file
    }

    fn arguments(file: &Path, no_environment: bool) -> Arguments {
        Arguments { files: vec![file.to_owned()], no_environment, json: false }
    }

    #[test]
    fn what_is_missing_is_found_with_its_line_unless_not_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let file = pipeline(folder.path());
        let found = problems(&file, true);
        let places: Vec<_> = found.iter().map(|problem| (problem.line, problem.key.as_deref())).collect();
        assert_eq!(places, [(Some(3), Some("source.path")), (Some(5), Some("encoder.model"))]);
        assert_eq!(run(arguments(&file, false)).unwrap_err().code, exit::CONFIG);
        run(arguments(&file, true)).unwrap();

        std::fs::write(folder.path().join("a.hea"), "").unwrap();
        let model =
            build_rvq_autoencoder(&Architecture { base_filters: 8, ..Architecture::new(64) }, 1).unwrap();
        let golden = GoldenVectors::synthetic(&model).unwrap();
        let metadata =
            ModelMetadata { name: "m".into(), modality: "ecg".into(), sample_rate_hz: None, unit: None };
        let path = folder.path().join("model");
        let normalisation = Normalisation::default();
        ModelDirectory::write(&path, &model, &normalisation, &metadata, &golden, "", Existing::Keep).unwrap();
        run(arguments(&file, false)).unwrap();

        std::fs::write(path.join("decoder.onnx"), "changed").unwrap();
        let found = problems(&file, true);
        assert_eq!(found[0].key.as_deref(), Some("encoder.model"));
        assert!(found[0].message.contains("decoder.onnx"), "{}", found[0]);
    }

    #[test]
    fn client_options_are_checked_without_the_brokers() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("k.toml");
        let text = "name = 'k'\ndelivery.guarantee = 'exactly_once'\n[source]\ntype = 'kafka'\nbrokers = 'localhost:1'\n\
                    topics = ['t']\ngroup_id = 'g'\n\
                    decoding = { codec = 'packets', models = ['/no/such/models'] }\n\
                    client_options.fetch.min.byte = 1\n\
                    [[sinks]]\ntype = 'kafka'\nbrokers = 'localhost:1'\ntopic = 'u'\nencoding = 'raw'\n";
        std::fs::write(&file, text).unwrap();
        let found = problems(&file, false);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].message.contains("fetch.min.byte"), "{found:?}");
        let found = problems(&file, true);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[1].key.as_deref(), Some("source.decoding.models[0]"));
    }

    #[test]
    fn certificates_that_are_not_there_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("k.toml");
        let text = "name = 'k'\n[source]\ntype = 'kafka'\nbrokers = 'localhost:1'\ntopics = ['t']\ngroup_id = 'g'\n\
                    decoding = { codec = 'packets', models = ['models'] }\n[source.tls]\nca_file = '/no/ca.pem'\n\
                    cert_file = '/no/c.pem'\nkey_file = '/no/k.pem'\n\
                    [[sinks]]\ntype = 'kafka'\nbrokers = 'localhost:1'\ntopic = 'u'\nencoding = 'raw'\n";
        std::fs::write(&file, text).unwrap();
        let found = problems(&file, true);
        let keys: Vec<_> = found.iter().filter_map(|problem| problem.key.as_deref()).collect();
        assert_eq!(keys, ["source.tls.ca_file", "source.tls.cert_file", "source.tls.key_file"], "{found:?}");
    }

    #[test]
    fn a_directory_is_no_recording() {
        let folder = tempfile::tempdir().unwrap();
        let file = pipeline(folder.path());
        std::fs::create_dir(folder.path().join("a.hea")).unwrap();
        assert!(problems(&file, true)[0].message.ends_with("is a directory"));
    }

    #[test]
    fn a_missing_pipeline_file_is_a_problem_too() {
        let file = Path::new("no/such/pipeline.toml");
        assert_eq!(run(arguments(file, false)).unwrap_err().code, exit::CONFIG);
        let found = problems(file, false);
        assert!(found[0].to_string().starts_with("no/such/pipeline.toml: cannot be read: "), "{}", found[0]);
        assert_eq!(as_text(&[(&file.to_owned(), found)]).lines().count(), 1);
    }

    #[test]
    fn json_has_every_field_and_is_an_array_where_all_is_well() {
        let file = PathBuf::from("p.toml");
        assert_eq!(as_json(&[(&file, Vec::new())]).unwrap(), "[]\n");
        let error = PipelineConfig::parse("nam = 1", "p.toml", &|_| None).unwrap_err();
        let json = as_json(&[(&file, error.problems().to_vec())]).unwrap();
        let found: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
        let unknown = found.iter().find(|problem| problem["key"] == "nam").unwrap();
        assert_eq!(
            *unknown,
            serde_json::json!({
                "file": "p.toml", "line": 1, "key": "nam", "problem": "unknown key", "suggestion": "name",
            })
        );
    }
}
