//! The document, the examples and the code say the same.

use super::*;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_shipped_pipeline_is_valid() {
    let files = std::fs::read_dir(root().join("pipelines")).unwrap().map(|entry| entry.unwrap().path());
    let pipelines: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "toml")).collect();
    assert!(!pipelines.is_empty());
    for path in pipelines {
        PipelineConfig::load(&path).unwrap();
    }
}

/// Every section with the keys it may have, as `section` or `section type`.
fn all_keys() -> Vec<(String, &'static [&'static str])> {
    let mut all = vec![
        (String::new(), TOP_LEVEL_KEYS),
        ("window".to_owned(), window::KEYS),
        ("dead_letters".to_owned(), sink::DEAD_LETTER_KEYS),
    ];
    all.extend(source::KINDS.iter().map(|kind| (format!("source {}", kind.name), kind.keys)));
    all.extend(encoder::KINDS.iter().map(|kind| (format!("encoder {}", kind.name), kind.keys)));
    all.extend(sink::KINDS.iter().map(|kind| (format!("sinks {}", kind.name), kind.keys)));
    all
}

#[test]
fn every_known_key_is_read() {
    for (section, keys) in all_keys() {
        for key in keys.iter().filter(|key| **key != "type") {
            let (path, text) = match section.split_once(' ') {
                Some(("sinks", kind)) => {
                    ("sinks[0].".to_owned(), format!("[[sinks]]\ntype = {kind:?}\n{key} = {{}}"))
                }
                Some((section, kind)) => {
                    (format!("{section}."), format!("[{section}]\ntype = {kind:?}\n{key} = {{}}"))
                }
                None if section.is_empty() => (String::new(), format!("{key} = 0")),
                None => (format!("{section}."), format!("[{section}]\n{key} = {{}}")),
            };
            let path = format!("{path}{key}: expected ");
            let found = problems(&text);
            assert!(found.iter().any(|problem| problem.contains(&path)), "{section} {key}: {found:#?}");
        }
    }
}

#[test]
fn every_known_key_is_documented() {
    let document = std::fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    let mut sections: Vec<(&str, &str)> = Vec::new();
    for section in document.split("\n## ").skip(1) {
        let (title, text) = section.split_once('\n').unwrap();
        sections.push((title, text));
    }
    for (section, keys) in all_keys() {
        let title = match section.split_once(' ') {
            Some(("sinks", kind)) => format!("`[[sinks]]`, type `{kind}`"),
            Some((section, kind)) => format!("`[{section}]`, type `{kind}`"),
            None if section.is_empty() => "Top level".to_owned(),
            None => format!("`[{section}]`"),
        };
        let text = sections.iter().find(|(found, _)| *found == title);
        let (_, text) = text.unwrap_or_else(|| panic!("no section {title:?}"));
        let rows: Vec<_> =
            text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
        assert_eq!(rows, keys, "{title}");
    }
}

#[test]
fn every_example_in_the_document_is_valid() {
    let document = std::fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    let examples: Vec<_> =
        document.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(!examples.is_empty());
    for example in examples {
        parse(example).unwrap();
    }
}
