//! Several pipeline files at once, and the rules across them.

use std::path::{Path, PathBuf};

use super::rules::plain;
use super::source::reads;
use super::{DeadLetterConfig, PipelineConfig, Problem, SinkConfig, SourceConfig, StateStore};
use crate::sink::PathTemplate;

impl PipelineConfig {
    /// Reads every pipeline of `paths`: a file is one pipeline, a directory holds one in each of its `*.toml`
    /// files, which come in the order of their names.
    ///
    /// # Errors
    /// Every problem of every file at once, and what no two pipelines of a process may share.
    pub fn load_all(paths: &[PathBuf]) -> Result<Vec<Self>, Vec<Problem>> {
        let mut configs = Vec::new();
        let mut problems = Vec::new();
        for path in paths {
            match files(path) {
                Err(reason) => problems.push(Problem::of_file(&path.display().to_string(), reason)),
                Ok(files) => {
                    for file in files {
                        match Self::load(&file) {
                            Ok(config) => configs.push(config),
                            Err(error) => problems.extend_from_slice(error.problems()),
                        }
                    }
                }
            }
        }
        problems.extend(shared(&configs));
        if problems.is_empty() { Ok(configs) } else { Err(problems) }
    }
}

fn files(path: &Path) -> Result<Vec<PathBuf>, String> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = std::fs::read_dir(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let entries = entries.map_err(|error| format!("cannot be read: {error}"))?;
    let is_pipeline = |file: &PathBuf| file.extension().is_some_and(|extension| extension == "toml");
    let mut files: Vec<_> = entries.iter().map(|entry| entry.path()).filter(is_pipeline).collect();
    files.sort();
    if files.is_empty() { Err("holds no *.toml file".to_owned()) } else { Ok(files) }
}

/// What only one pipeline of a process may have.
enum Own {
    Name(String),
    StandardInput,
    StandardOutput,
    File(PathTemplate),
    Port(PathBuf),
}

impl Own {
    fn of_file(path: &Path) -> Self {
        Self::File(PathTemplate::of_path(&plain(path)))
    }

    /// True if both claim the same.
    fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Name(one), Self::Name(other)) => one == other,
            (Self::StandardInput, Self::StandardInput) | (Self::StandardOutput, Self::StandardOutput) => true,
            (Self::Port(one), Self::Port(other)) => one == other,
            (Self::File(one), Self::File(other)) => one.overlaps(other),
            _ => false,
        }
    }

    fn refusal(&self, owner: &PipelineConfig) -> String {
        let PipelineConfig { name, .. } = owner;
        let file = owner.problem("name", "").file;
        match self {
            Self::Name(_) => format!("{file} has the same name: give each pipeline its own"),
            Self::StandardInput => format!("{name} ({file}) already reads standard input"),
            Self::StandardOutput => format!("{name} ({file}) already writes to standard output"),
            Self::Port(_) => format!("{name} ({file}) reads the same port: each would get a part of it"),
            Self::File(_) => format!("{name} ({file}) writes the same file: it would be overwritten"),
        }
    }
}

/// What more than one of `configs` claims for itself, or one writes and another reads.
fn shared(configs: &[PipelineConfig]) -> Vec<Problem> {
    let mut owners: Vec<(Own, &PipelineConfig)> = Vec::new();
    let mut problems = Vec::new();
    for config in configs {
        for (key, own) in claims(config) {
            match owners.iter().find(|(owned, _)| owned.meets(&own)) {
                Some((owned, owner)) => problems.push(config.problem(&key, owned.refusal(owner))),
                None => owners.push((own, config)),
            }
        }
    }
    for config in configs {
        // A pipeline that reads what it writes itself was refused before.
        let written = owners.iter().find(|(own, _)| match (own, &config.source) {
            (Own::File(path), SourceConfig::File(source)) => source.reads(path),
            (Own::File(path), SourceConfig::Follow(source)) => reads(&source.path, path),
            _ => false,
        });
        if let Some((own, owner)) = written {
            problems.push(config.problem("source.path", own.refusal(owner)));
        }
    }
    problems
}

fn claims(config: &PipelineConfig) -> Vec<(String, Own)> {
    let mut claims = vec![("name".to_owned(), Own::Name(config.name.clone()))];
    if matches!(&config.source, SourceConfig::File(source) if source.reads_stdin()) {
        claims.push(("source.path".to_owned(), Own::StandardInput));
    }
    if let SourceConfig::Serial(source) = &config.source {
        claims.push(("source.path".to_owned(), Own::Port(plain(&source.port.path))));
    }
    for (i, sink) in config.sinks.iter().enumerate() {
        match sink {
            SinkConfig::File(file) => {
                claims.push((format!("sinks[{i}].path"), Own::File(file.path.of_pipeline(&config.name))));
            }
            SinkConfig::Stdout(_) => claims.push((format!("sinks[{i}].type"), Own::StandardOutput)),
            SinkConfig::Mirror(_) | SinkConfig::Kafka(_) => {}
        }
    }
    if let Some(DeadLetterConfig::File { path }) = &config.dead_letters {
        claims.push(("dead_letters.path".to_owned(), Own::of_file(path)));
    }
    if let StateStore::File { path } = &config.delivery.state {
        claims.push(("delivery.state_path".to_owned(), Own::of_file(path)));
    }
    claims
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, file: &str, name: &str, source: &str, rest: &str) -> PathBuf {
        let text = format!(
            "name = \"{name}\"\nsource = {{ type = \"file\", path = \"{source}\" }}\n\
             encoder = {{ type = \"rvq\", model = \"m\" }}\n{rest}\n"
        );
        let path = folder.join(file);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn file_sink(path: &str) -> String {
        format!("sinks = [{{ type = \"file\", path = \"{path}\" }}]")
    }

    /// `FILE:LINE: key: message`, the folder left out.
    fn refused(folder: &Path, paths: &[PathBuf]) -> Vec<String> {
        let problems = PipelineConfig::load_all(paths).unwrap_err();
        let prefix = format!("{}/", folder.display());
        problems.iter().map(|problem| problem.to_string().replace(&prefix, "")).collect()
    }

    #[test]
    fn a_directory_is_its_toml_files_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        for name in ["b", "a", "c"] {
            write(at, &format!("{name}.toml"), name, "in.hea", &file_sink(&format!("{name}.rvl")));
        }
        std::fs::write(at.join("notes.txt"), "not a pipeline").unwrap();
        let other = tempfile::tempdir().unwrap();
        let single = write(other.path(), "z", "z", "in.hea", &file_sink("z.rvl"));
        let configs = PipelineConfig::load_all(&[single, at.to_owned()]).unwrap();
        assert_eq!(
            configs.iter().map(|config| config.name.as_str()).collect::<Vec<_>>(),
            ["z", "a", "b", "c"]
        );
    }

    #[test]
    fn every_problem_of_every_file_is_told_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        write(at, "a.toml", "a", "in.hea", "sinks = []");
        write(at, "b.toml", "b", "in.hea", &(file_sink("b.rvl") + "\nsurplus = 1"));
        let empty = at.join("empty");
        std::fs::create_dir(&empty).unwrap();
        assert_eq!(
            refused(at, &[at.to_owned(), empty, at.join("missing.toml")]),
            [
                "a.toml:4: sinks: a pipeline needs at least one sink",
                "b.toml:5: surplus: unknown key",
                "empty: holds no *.toml file",
                "missing.toml: cannot be read: No such file or directory (os error 2)",
            ]
        );
    }

    #[test]
    fn what_two_pipelines_may_not_share_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        write(at, "a.toml", "a", "in.hea", &(file_sink("out.rvl") + "\ndead_letters.path = \"letters\""));
        write(at, "b.toml", "a", "in.hea", &file_sink("./out.rvl"));
        write(at, "c.toml", "c", "letters", "sinks = [{ type = \"stdout\" }]");
        write(at, "d.toml", "d", "in.hea", "sinks = [{ type = \"stdout\" }]");
        assert_eq!(
            refused(at, &[at.to_owned()]),
            [
                "b.toml:1: name: a.toml has the same name: give each pipeline its own",
                "b.toml:4: sinks[0].path: a (a.toml) writes the same file: it would be overwritten",
                "d.toml:4: sinks[0].type: c (c.toml) already writes to standard output",
                "c.toml:2: source.path: a (a.toml) writes the same file: it would be overwritten",
            ]
        );
        let twice = at.join("d.toml");
        assert_eq!(refused(at, &[twice.clone(), twice]).len(), 2, "its name and standard output");
    }
}
