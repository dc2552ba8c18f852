//! The far end: packets in a topic become samples again.

use std::collections::{BTreeMap, BTreeSet};
use std::slice::from_mut;

use integration_tests::kafka::{
    Daemon, Feed, Random, Record, Workload, shared_broker, through_the_codec, wait_for,
};
use integration_tests::{prd_percent, read_csv};
use rivulet::packet::Header;

use crate::scene::{ALL_OUT, Guarantee, Pipeline, Scene};

/// The noise of the workload is a part of it that no codec can keep.
const MAX_PRD_PERCENT: f64 = 20.0;

#[test]
fn a_packet_topic_decodes_to_one_csv_per_key() {
    let name = "decode";
    let Some(broker) = shared_broker(name) else { return };
    let seed = Random::seed(name);
    let workload = Workload { seed, messages: 4_000, keys: 8, partitions: 4, max_samples: 100 };
    let scene = Scene::new(broker, name, workload, Guarantee::ExactlyOnce);
    Feed::start(&scene.client, &scene.pipeline.input, workload).finish();
    let mut daemon = scene.daemon();
    scene.await_all_frames(&mut scene.tail(), from_mut(&mut daemon));
    daemon.terminate();

    let url = format!("kafka://{}/{}", broker.address(), scene.pipeline.output);
    scene.workplace.rivulet(&["decode", &url, "-o", "decoded/", "--model", "models"]).ok();
    let found: BTreeSet<String> = std::fs::read_dir(scene.workplace.path("decoded"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let files: BTreeSet<String> =
        (0..workload.keys).map(|key| format!("{}.csv", workload.key(key))).collect();
    assert_eq!(found, files);
    for (key, samples) in workload.samples() {
        let (_, columns) = read_csv(&scene.workplace.path(&format!("decoded/{key}.csv")));
        let decoded = columns.last().unwrap();
        let original: Vec<f64> = samples.iter().map(|sample| f64::from(*sample)).collect();
        assert_eq!(decoded.len(), original.len() / 512 * 512, "{key}: the samples of its whole frames");
        // The decoder may have been given the frames in other company; counts are rounded.
        let reference = through_the_codec(&key, &samples);
        assert!(decoded.iter().zip(&reference).all(|(a, b)| (a - b).abs() <= 1.0), "{key}");
        let prd = prd_percent(&original[..decoded.len()], decoded);
        assert!(prd < MAX_PRD_PERCENT, "{key}: {prd} %");
    }
}

/// The samples of each key, frame after frame, as messages of raw samples hold them.
fn raw_samples(records: &[Record]) -> BTreeMap<String, Vec<f64>> {
    let mut frames: BTreeMap<(String, u64), &[u8]> = BTreeMap::new();
    for record in records {
        assert_eq!(record.header("content-type"), Some("application/vnd.rivulet.samples"));
        assert_eq!(record.header("rivulet-sample-type"), Some("i16"));
        let key = String::from_utf8(record.key.clone().unwrap()).unwrap();
        let first = record.header("rivulet-first-frame").unwrap().parse().unwrap();
        let value = record.value.as_deref().unwrap();
        assert!(frames.insert((key, first), value).is_none(), "a frame came twice");
    }
    let mut samples: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for ((key, _), value) in frames {
        let counts = value.chunks_exact(2).map(|bytes| f64::from(i16::from_le_bytes([bytes[0], bytes[1]])));
        samples.entry(key).or_default().extend(counts);
    }
    samples
}

#[test]
fn the_far_end_needs_nothing_but_the_brokers() {
    let name = "far-end";
    let Some(broker) = shared_broker(name) else { return };
    let seed = Random::seed(name);
    let workload = Workload { seed, messages: 3_000, keys: 6, partitions: 3, max_samples: 100 };
    let mut scene = Scene::new(broker, name, workload, Guarantee::ExactlyOnce);
    scene.pipeline.more = "model_topic = \"far-end.models\"\n".to_owned();
    scene.write();
    Feed::start(&scene.client, &scene.pipeline.input, workload).finish();
    let mut daemon = scene.daemon();
    scene.await_all_frames(&mut scene.tail(), from_mut(&mut daemon));
    daemon.terminate();
    // Another group of the same pipeline writes every frame again.
    let again = Pipeline { name: "far-end-again".to_owned(), ..scene.pipeline.clone() };
    scene.workplace.write("again.toml", again.text());
    let mut daemon = Daemon::run(&scene.workplace, "again", &["again.toml"]);
    let expected = scene.expected.len();
    let mut twice = scene.tail();
    wait_for("every frame twice", ALL_OUT, || {
        daemon.assert_running();
        twice.poll();
        let values = twice.records().iter().filter_map(|record| record.value.as_deref());
        let frames: usize = values.map(|value| Header::read(value).unwrap().frames as usize).sum();
        if frames == 2 * expected {
            Ok(())
        } else {
            Err(format!("{frames} frames, {expected} expected twice"))
        }
    });
    daemon.terminate();
    let last = twice.records().iter().fold(BTreeMap::new(), |mut last, record| {
        last.insert(record.partition as usize, record.offset);
        last
    });
    let models = scene.client.read("far-end.models");
    assert_eq!(models.len(), 3, "the second daemon found the model there");

    // From here on nobody has the model but the topic.
    std::fs::remove_file(scene.workplace.path("models")).unwrap();
    let (brokers, packets) = (broker.address(), &scene.pipeline.output);
    scene.client.create_topic("far-end.samples", 3);
    scene.workplace.write(
        "back.toml",
        format!(
            "name = \"back\"\n[source]\ntype = \"kafka\"\nbrokers = \"{brokers}\"\ntopics = [\"{packets}\"]\n\
             group_id = \"back\"\ndecoding = {{ codec = \"packets\", model_topic = \"far-end.models\" }}\n\
             [delivery]\nguarantee = \"exactly_once\"\ncommit_interval_ms = 100\n\
             [[sinks]]\ntype = \"kafka\"\nbrokers = \"{brokers}\"\ntopic = \"far-end.samples\"\nencoding = \"raw\"\n"
        ),
    );
    let mut back = Daemon::run(&scene.workplace, "back", &["back.toml"]);
    wait_for("every packet to be decoded", ALL_OUT, || {
        back.assert_running();
        let committed = scene.client.committed("back", packets)?;
        let behind =
            last.iter().find(|(partition, last)| committed[**partition].is_none_or(|next| next <= **last));
        if behind.is_none() { Ok(()) } else { Err(format!("{committed:?} of {last:?}")) }
    });
    back.terminate();
    let samples = raw_samples(&scene.client.read("far-end.samples"));
    assert_eq!(samples.values().map(Vec::len).sum::<usize>(), expected * 512);

    let url = format!("kafka://{brokers}/{packets}");
    scene.workplace.rivulet(&["decode", &url, "-o", "no/"]).fails(78, "no model with id");
    let decoded =
        scene.workplace.rivulet(&["decode", &url, "-o", "all/", "--model-topic", "far-end.models"]).ok();
    for text in [
        format!("6 streams, {expected} frames"),
        format!("{expected} repeated frames left out, 0 samples lost"),
    ] {
        assert!(decoded.stdout.contains(&text), "{decoded:?}");
    }
    for (key, samples) in &samples {
        let (_, columns) = read_csv(&scene.workplace.path(&format!("all/{key}.csv")));
        assert_eq!(columns.last().unwrap(), samples, "{key}: the same by both ways");
    }
    let one = samples.keys().next().unwrap();
    let into_one = |more: &[&str]| {
        let arguments = ["decode", &url, "-o", "one.csv", "--model-topic", "far-end.models"];
        scene.workplace.rivulet(&[&arguments, more].concat())
    };
    into_one(&[]).fails(64, "more than one stream");
    into_one(&["--stream", "nobody"]).fails(64, "no stream 'nobody'");
    into_one(&["--stream", one]).ok();
    let (_, columns) = read_csv(&scene.workplace.path("one.csv"));
    assert_eq!(columns.last().unwrap(), &samples[one]);
    scene
        .workplace
        .rivulet(&["decode", &format!("kafka://{brokers}/no-such-topic"), "-o", "no/"])
        .fails(66, "does not exist");
}
