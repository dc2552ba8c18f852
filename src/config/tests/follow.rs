//! Sources that follow files.

use super::*;
use crate::source::follow::Start;

const FOLLOW: &str = r#"name = "ecg"
[source]
type = "file"
path = "logs/ecg.csv"
follow = true
[source.decoding]
codec = "csv"
sample_type = "i16"
sample_rate_hz = 250
[encoder]
type = "rvq"
model = "models/m"
[[sinks]]
type = "file"
path = "out.rvl"
"#;

/// The one problem of the pipeline with `old` replaced.
fn refused(old: &str, new: &str) -> String {
    assert_eq!(FOLLOW.matches(old).count(), 1, "{old}");
    let found = problems(&FOLLOW.replace(old, new));
    assert_eq!(found.len(), 1, "{found:#?}");
    found[0].clone()
}

fn follow(text: &str) -> (FollowSourceConfig, PipelineConfig) {
    let config = parse(text).unwrap();
    match config.source.clone() {
        SourceConfig::Follow(source) => (*source, config),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_left_out_has_its_default() {
    let (source, config) = follow(FOLLOW);
    assert_eq!((source.path, source.start), (PathBuf::from("logs/ecg.csv"), Start::Beginning));
    assert_eq!(source.decoding.sample_rate_hz, 250.0);
    assert_eq!(config.delivery.state, StateStore::File { path: PathBuf::from("state/ecg.state") });
    assert_eq!(config.delivery.commit_interval, Duration::from_millis(500));
}

#[test]
fn what_is_given_arrives() {
    let given = "follow = \"${FOLLOW:-true}\"\nstart = \"end\"";
    let text = FOLLOW.replace("follow = true", given).replace("ecg.csv", "*.csv")
        + "[delivery]\nstate = \"file\"\nstate_path = \"s\"\ncommit_frames = 7\n";
    let (source, config) = follow(&text);
    assert_eq!((source.path, source.start), (PathBuf::from("logs/*.csv"), Start::End));
    assert_eq!(config.delivery.state, StateStore::File { path: PathBuf::from("s") });
}

#[test]
fn a_file_that_is_not_followed_has_nothing_of_one_that_is() {
    assert_eq!(
        problem("path = \"in.csv\"", "path = \"in.csv\"\nstart = \"end\""),
        "p.toml:5: source.start: only with follow = true"
    );
    assert_eq!(
        problem(
            "path = \"in.csv\"",
            "path = \"in.csv\"\ndecoding = { codec = \"json\", sample_type = \"i16\", sample_rate_hz = 1, samples = \"a\" }"
        ),
        "p.toml:5: source.decoding: only for format = \"jsonl\", or with follow = true"
    );
    let with_state = |state: &str| problems(&format!("{VALID}[delivery]\n{state}"));
    assert_eq!(
        with_state("state_path = \"s\""),
        [
            "p.toml:18: delivery.state_path: only for a source of type \"file\" with follow = true; state_topic names the topic"
        ]
    );
    assert_eq!(
        with_state("state = \"file\""),
        [
            "p.toml:18: delivery.state: \"file\" is for a source of type \"file\" with follow = true; \"changelog\" or \"none\""
        ]
    );
}

#[test]
fn what_a_followed_file_cannot_have_is_refused() {
    let path = |path: &str| refused("\"logs/ecg.csv\"", &format!("{path:?}"));
    assert_eq!(
        path("-"),
        "p.toml:4: source.path: standard input cannot be followed: what was read of it cannot be read again"
    );
    assert_eq!(
        path("a.csv.gz"),
        "p.toml:4: source.path: a compressed file cannot be followed: name the one that is written"
    );
    assert!(path("a[.csv").starts_with("p.toml:4: source.path: is no pattern: "), "{}", path("a[.csv"));
    assert_eq!(
        path("./out.rvl"),
        "p.toml:15: sinks[0].path: the same file as source.path: it would be overwritten"
    );
    assert_eq!(
        refused("follow = true", "follow = true\nformat = \"csv\""),
        "p.toml:6: source.format: with follow = true the table source.decoding says how lines are read; leave it out"
    );
    let without = FOLLOW.split("[source.decoding]").next().unwrap().to_owned()
        + FOLLOW.split("sample_rate_hz = 250\n").nth(1).unwrap();
    assert_eq!(problems(&without), ["p.toml:2: source.decoding: missing"]);
}

#[test]
fn its_state_is_a_file_and_its_delivery_no_transaction() {
    let delivery = |lines: &str| {
        let found = problems(&format!("{FOLLOW}[delivery]\n{lines}"));
        assert_eq!(found.len(), 1, "{found:#?}");
        found[0].clone()
    };
    assert_eq!(
        delivery("guarantee = \"exactly_once\""),
        "p.toml:17: delivery.guarantee: exactly_once needs a source of type \"kafka\", whose positions are part of the \
         transaction; leave it out: a sink of type \"file\" gets every frame once even so, one of type \"kafka\" at least \
         once"
    );
    assert_eq!(
        delivery("state = \"changelog\""),
        "p.toml:17: delivery.state: a source that follows files keeps its state in a file: \"file\", or leave it out"
    );
    assert_eq!(
        delivery("state_topic = \"t\""),
        "p.toml:17: delivery.state_topic: only for a source of type \"kafka\"; state_path names the file"
    );
    assert_eq!(
        delivery("instance = \"a\""),
        "p.toml:17: delivery.instance: only for a source of type \"kafka\": a state file is one process's alone"
    );
    assert_eq!(
        delivery("state_path = \"out.rvl\""),
        "p.toml:17: delivery.state_path: the same file as sinks[0].path: it would be overwritten"
    );
}
