//! The document, the examples and the code say the same.

use super::super::kafka as kafka_keys;
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

/// A table with the keys it may have.
struct Keys {
    /// Its title in the document.
    title: String,
    /// Its path in problems.
    path: &'static str,
    /// A pipeline file that ends within it.
    opening: String,
    keys: &'static [&'static str],
}

fn all_keys() -> Vec<Keys> {
    let section = |title: &str, path, opening: &str, keys| Keys {
        title: title.to_owned(),
        path,
        opening: opening.to_owned(),
        keys,
    };
    let kind = |section: &str, path, opening: &str, name: &str, keys| Keys {
        title: format!("`{section}`, type `{name}`"),
        path,
        opening: format!("{opening}\ntype = {name:?}"),
        keys,
    };
    let kafka = "[source]\ntype = \"kafka\"\n";
    let mut all = vec![
        section("Top level", "", "", TOP_LEVEL_KEYS),
        section("`[window]`", "window.", "[window]", window::KEYS),
        section("`[delivery]`", "delivery.", "[delivery]", delivery::KEYS),
        section("`[dead_letters]`", "dead_letters.", "[dead_letters]", sink::DEAD_LETTER_KEYS),
        section("`tls`", "source.tls.", &format!("{kafka}[source.tls]"), kafka_keys::TLS_KEYS),
        section("`sasl`", "source.sasl.", &format!("{kafka}[source.sasl]"), kafka_keys::SASL_KEYS),
        section(
            "`create_topic`",
            "sinks[0].create_topic.",
            "[[sinks]]\ntype = \"kafka\"\n[sinks.create_topic]",
            kafka_keys::CREATE_TOPIC_KEYS,
        ),
        section(
            "`[source.decoding]`, codec `packets`",
            "source.decoding.",
            &format!("{kafka}[source.decoding]\ncodec = \"packets\""),
            kafka_keys::PACKETS_KEYS,
        ),
    ];
    all.extend(framing::METHODS.iter().map(|found| Keys {
        title: format!("`[source.framing]`, method `{}`", found.name),
        path: "source.framing.",
        opening: format!("[source]\ntype = \"serial\"\n[source.framing]\nmethod = {:?}", found.name),
        keys: found.keys,
    }));
    all.extend(
        source::KINDS.iter().map(|found| kind("[source]", "source.", "[source]", found.name, found.keys)),
    );
    all.extend(
        encoder::KINDS.iter().map(|found| kind("[encoder]", "encoder.", "[encoder]", found.name, found.keys)),
    );
    all.extend(
        sink::KINDS.iter().map(|found| kind("[[sinks]]", "sinks[0].", "[[sinks]]", found.name, found.keys)),
    );
    all
}

#[test]
fn every_known_key_is_read() {
    for Keys { title, path, opening, keys } in all_keys() {
        for key in keys.iter().filter(|key| !matches!(**key, "type" | "codec" | "method")) {
            let expected = format!("{path}{key}: expected ");
            // A key takes no table or no number.
            let found = ["{}", "0"].map(|value| problems(&format!("{opening}\n{key} = {value}"))).concat();
            assert!(found.iter().any(|problem| problem.contains(&expected)), "{title} {key}: {found:#?}");
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
    for Keys { title, keys, .. } in all_keys() {
        let text = sections.iter().find(|(found, _)| *found == title);
        let (_, text) = text.unwrap_or_else(|| panic!("no section {title:?}"));
        let rows: Vec<_> =
            text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
        assert_eq!(rows, keys, "{title}");
    }
}

#[test]
fn every_example_in_the_documents_is_valid() {
    for document in ["docs/configuration.md", "docs/formats.md"] {
        let document = std::fs::read_to_string(root().join(document)).unwrap();
        let examples: Vec<_> =
            document.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
        assert!(!examples.is_empty());
        for example in examples {
            parse(example).unwrap();
        }
    }
}

#[test]
fn every_format_is_documented() {
    let document = std::fs::read_to_string(root().join("docs/formats.md")).unwrap();
    for (name, _) in crate::source::file::Format::ALL {
        assert!(document.contains(&format!("\n| `{name}` |")), "{name}");
    }
}
