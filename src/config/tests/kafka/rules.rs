//! What the sections of a Kafka pipeline may not have together.

use super::*;

#[test]
fn exactly_once_is_one_transaction_of_one_cluster() {
    assert_eq!(
        refused_in_sink("[[sinks]]\ntype = \"file\"\npath = \"f\""),
        "p.toml:23: sinks[1].type: what goes to a file is no part of the transaction of exactly_once; leave the sink \
         out, or give it a pipeline of its own with another group_id"
    );
    let beside = "[[sinks]]\ntype = \"mirror\"\n[[sinks]]\ntype = \"stdout\"\n";
    parse(&format!("{KAFKA}{beside}")).unwrap();
    assert_eq!(
        refused_in_sink("[[sinks]]\ntype = \"kafka\"\nbrokers = \"a:9092\"\ntopic = \"other\""),
        "p.toml:23: sinks[1].type: exactly_once takes one sink of type \"kafka\"; give the others a pipeline of their \
         own with another group_id"
    );
    let other = replaced(KAFKA, "brokers = \"a:9092\"\ntopic = \"tel", "brokers = \"b:9092\"\ntopic = \"tel");
    assert_eq!(
        problems(&other),
        [
            "p.toml:20: sinks[0].brokers: exactly_once is a transaction of one cluster: has to be source.brokers, \
          \"a:9092\""
        ]
    );
    let head = KAFKA.split("[[sinks]]").next().unwrap();
    assert_eq!(
        problems(&format!("{head}[[sinks]]\ntype = \"mirror\"")),
        [
            "p.toml:17: delivery.guarantee: exactly_once needs a sink of type \"kafka\"; add one, or leave it out"
        ]
    );
    // What a refused sink would have been is not guessed.
    assert_eq!(problems(&format!("{head}[[sinks]]\ntype = \"kafka\"\nbrokers = \"a:9092\"")).len(), 1);
    // At least once takes them all.
    let at_least_once = KAFKA.replace("exactly_once", "at_least_once");
    let all = "[[sinks]]\ntype = \"file\"\npath = \"f\"\n[[sinks]]\ntype = \"kafka\"\nbrokers = \"b\"\ntopic = \"c\"";
    parse(&format!("{at_least_once}{all}")).unwrap();
}

#[test]
fn commits_fit_their_timeouts() {
    let delivery = |lines: &str| {
        refused("guarantee = \"exactly_once\"", &format!("guarantee = \"exactly_once\"\n{lines}"))
    };
    assert_eq!(
        delivery("commit_interval_ms = 5001"),
        "p.toml:18: delivery.commit_interval_ms: is 5001, but may be at most half of delivery.transaction_timeout_ms, \
         which is 10000"
    );
    assert_eq!(
        refused("guarantee = \"exactly_once\"", "commit_interval_ms = 200000"),
        "p.toml:17: delivery.commit_interval_ms: is 200000, but may be at most half of the source's \
         max.poll.interval.ms, which is 300000"
    );
    assert_eq!(
        refused("guarantee = \"exactly_once\"", "transaction_timeout_ms = 20000"),
        "p.toml:17: delivery.transaction_timeout_ms: means nothing without guarantee = \"exactly_once\": nothing else \
         is written in transactions"
    );
    assert_eq!(
        delivery("state = \"none\"\nstate_topic = \"s\""),
        "p.toml:19: delivery.state_topic: means nothing with state = \"none\": leave one of them out"
    );
    let none = parse(&replaced(KAFKA, "[[sinks]]", "state = \"none\"\n[[sinks]]")).unwrap();
    assert_eq!(none.delivery.state, StateStore::None);
    assert_eq!(
        refused_in_sink("client_options = { \"socket.timeout.ms\" = 60000 }"),
        "p.toml:22: sinks[0].client_options: socket.timeout.ms is 60000, but may be at most \
         delivery.transaction_timeout_ms, which is 10000"
    );
}

#[test]
fn no_topic_has_two_uses() {
    let cases = [
        (
            "topic = \"telemetry.packets\"",
            "topic = \"telemetry\"",
            "p.toml:21: sinks[0].topic: the same topic as source.topics[0]: give it one of its own",
        ),
        (
            "topic = \"telemetry.packets\"",
            "topic = \"{topic}\"",
            "p.toml:21: sinks[0].topic: would be written to the topic that is read; give it a name of its own: \
             \"{topic}.packets\"",
        ),
        (
            "topic = \"telemetry.packets\"",
            "topic = \"u\"\nmodel_topic = \"telemetry\"",
            "p.toml:22: sinks[0].model_topic: the same topic as source.topics[0]: give it one of its own",
        ),
        (
            "topic = \"telemetry.packets\"",
            "topic = \"telemetry-windows\"",
            "p.toml:16: delivery.state_topic: the same topic as sinks[0].topic: give it one of its own",
        ),
        (
            "topic = \"telemetry.packets\"",
            "topic = \"u\"\n[dead_letters]\ntopic = \"u\"",
            "p.toml:23: dead_letters.topic: the same topic as sinks[0].topic: give it one of its own",
        ),
    ];
    for (old, new, expected) in cases {
        assert_eq!(refused(old, new), expected);
    }
    // Another cluster's topics are others.
    let other = KAFKA.replace("exactly_once", "at_least_once");
    let other = other.replace(
        "brokers = \"a:9092\"\ntopic = \"telemetry.packets\"",
        "brokers = \"b\"\ntopic = \"telemetry\"",
    );
    parse(&other).unwrap();
    // Sinks may publish to one topic of models.
    let sink = "[[sinks]]\ntype = \"kafka\"\nbrokers = \"a:9092\"\nmodel_topic = \"models\"\ntopic = ";
    let head = KAFKA.split("[delivery]").next().unwrap();
    parse(&format!("{head}{sink}\"u\"\n{sink}\"v\"")).unwrap();
}

#[test]
fn packets_are_turned_into_samples_only() {
    let encoder = "[encoder]\ntype = \"rvq\"\nmodel = \"m\"\n[[sinks]]";
    let cases = [
        (
            "[[sinks]]",
            encoder,
            "p.toml:8: encoder: the source holds packets, which are decoded: leave it out",
        ),
        (
            "encoding = \"json\"\n",
            "",
            "p.toml:8: sinks[0].encoding: has to be \"raw\" or \"json\": the source holds packets, and this pipeline \
             turns them into samples",
        ),
        (
            "encoding = \"json\"",
            "encoding = \"json\"\nmodel_topic = \"models\"",
            "p.toml:13: sinks[0].model_topic: this pipeline has no model to publish: leave it out",
        ),
        (
            "encoding = \"json\"",
            "encoding = \"json\"\n[window]\nframe_size = 512",
            "p.toml:14: window.frame_size: the source holds packets, whose frames are cut already: leave it out",
        ),
        (
            "encoding = \"json\"",
            "encoding = \"json\"\n[delivery]\nstate_topic = \"w\"",
            "p.toml:14: delivery.state_topic: the source holds packets, of which no windows are open: leave it out",
        ),
    ];
    for (old, new, expected) in cases {
        assert_eq!(problem_of(PACKETS, old, new), expected);
    }
    for (kind, keys) in [("mirror", ""), ("stdout", ""), ("file", "path = \"f\"")] {
        let found = problems(&format!("{PACKETS}[[sinks]]\ntype = {kind:?}\n{keys}"));
        let expected = format!(
            "p.toml:14: sinks[1].type: a {kind} sink takes packets, and this pipeline turns packets into samples; \
             use type \"kafka\""
        );
        assert_eq!(found, [expected]);
    }
    assert_eq!(
        refused_in_sink("encoding = \"json\""),
        "p.toml:22: sinks[0].encoding: only for a source with decoding = \"packets\": leave it out, a message holds a \
         packet"
    );
    assert_eq!(refused("[encoder]\ntype = \"rvq\"\nmodel = \"m\"\n", ""), "p.toml: encoder: missing");
}

#[test]
fn a_file_source_has_neither_topics_nor_positions_to_commit() {
    let sink = "[[sinks]]\ntype = \"kafka\"\nbrokers = \"a\"\ntopic = ";
    parse(&format!("{VALID}{sink}\"u.{{key}}\"")).unwrap();
    let cases = [
        (
            format!("{sink}\"{{topic}}\""),
            "p.toml:20: sinks[2].topic: {topic} is the topic that samples come from, and a file has none; write the \
             name itself, or {key}",
        ),
        (
            "[delivery]\nguarantee = \"exactly_once\"".to_owned(),
            "p.toml:18: delivery.guarantee: exactly_once needs a source of type \"kafka\", whose positions are part of \
             the transaction; leave it out",
        ),
        (
            "[delivery]\ncommit_frames = 7".to_owned(),
            "p.toml:18: delivery.commit_frames: only for a source of type \"kafka\", or one that follows files: a file is read \
             from its beginning",
        ),
        (
            "[dead_letters]\ntopic = \"t\"".to_owned(),
            "p.toml:18: dead_letters.topic: lies with the brokers of the source, which has to be of type \"kafka\"; use \
             'path'",
        ),
        (
            "[dead_letters]\ntopic = \"t\"\npath = \"f\"".to_owned(),
            "p.toml:18: dead_letters.topic: they go to one place: leave 'path' or 'topic' out",
        ),
    ];
    for (lines, expected) in cases {
        assert_eq!(problems(&format!("{VALID}{lines}")), [expected]);
    }
    parse(&format!("{VALID}[delivery]\nguarantee = \"at_least_once\"")).unwrap();
}
