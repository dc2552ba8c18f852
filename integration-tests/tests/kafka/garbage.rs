//! Input that cannot be used, and input that is hard to use.

use std::collections::{BTreeMap, BTreeSet};
use std::slice::from_mut;
use std::time::Duration;

use integration_tests::kafka::{
    Daemon, Frames, Producer, Random, Workload, free_port, json_lines, metric_sum, shared_broker, wait_for,
};

use crate::scene::{Guarantee, RAW, Scene};

/// What is sent to a topic, and what has to become of it.
struct Input {
    producer: Producer,
    topic: String,
    encode: fn(&[i16]) -> Vec<u8>,
    /// The next offset of each partition.
    next: BTreeMap<usize, i64>,
    /// By partition and stream key.
    good: BTreeMap<(usize, String), Vec<i16>>,
    /// Partition as `topic/partition` and offset of what cannot be used.
    bad: BTreeSet<(String, i64)>,
}

impl Input {
    fn send(&mut self, partition: usize, key: Option<&[u8]>, value: Option<&[u8]>) -> (String, i64) {
        self.producer.send(&self.topic, partition, key, value);
        let next = self.next.entry(partition).or_default();
        *next += 1;
        (format!("{}/{partition}", self.topic), *next - 1)
    }

    fn good(&mut self, partition: usize, key: Option<&str>, samples: &[i16]) {
        let value = (self.encode)(samples);
        let (origin, _) = self.send(partition, key.map(str::as_bytes), Some(&value));
        let stream = key.map_or(origin, str::to_owned);
        self.good.entry((partition, stream)).or_default().extend(samples);
    }

    fn bad(&mut self, partition: usize, key: Option<&[u8]>, value: Option<&[u8]>) {
        let place = self.send(partition, key, value);
        self.bad.insert(place);
    }

    fn expected(&self) -> Frames {
        Frames::of_samples(self.good.iter().map(|((partition, key), samples)| {
            (format!("{}/{partition}", self.topic), key.clone(), samples.clone())
        }))
    }
}

fn as_raw(samples: &[i16]) -> Vec<u8> {
    samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
}

fn as_json(samples: &[i16]) -> Vec<u8> {
    serde_json::to_vec(&serde_json::json!({ "unit": "adu", "ecg": samples })).unwrap()
}

/// Runs the pipeline of `scene` over two batches of input, the second after the topic has grown from 2 to 4
/// partitions, and accounts for every message.
fn account(mut scene: Scene, encode: fn(&[i16]) -> Vec<u8>, mut batch: impl FnMut(&mut Input, &[usize])) {
    let mut input = Input {
        producer: scene.client.producer(),
        topic: scene.pipeline.input.clone(),
        encode,
        next: BTreeMap::new(),
        good: BTreeMap::new(),
        bad: BTreeSet::new(),
    };
    let metrics = format!("127.0.0.1:{}", free_port());
    let letters = scene.workplace.path("dead.jsonl");
    let mut tail = scene.tail();
    let mut daemon = Daemon::run(&scene.workplace, "daemon", &["pipeline.toml", "--metrics", &metrics]);
    for partitions in [&[0, 1][..], &[0, 1, 2, 3]] {
        if partitions.len() > 2 {
            scene.client.grow_topic(&input.topic, partitions.len());
        }
        batch(&mut input, partitions);
        input.producer.flush();
        scene.expected = input.expected();
        scene.await_all_frames(&mut tail, from_mut(&mut daemon));
        daemon.assert_running();
    }
    let found = wait_for("every dead letter", Duration::from_secs(30), || {
        let lines = json_lines(&letters);
        let places: BTreeSet<(String, i64)> = lines
            .iter()
            .map(|line| (line["origin"].as_str().unwrap().to_owned(), line["offset"].as_i64().unwrap()))
            .collect();
        if places.len() >= input.bad.len() { Ok((lines, places)) } else { Err(format!("{places:?}")) }
    });
    let (lines, places) = found;
    assert!(places == input.bad, "unlike what was sent: {:?}", places.symmetric_difference(&input.bad));
    for line in &lines {
        assert_eq!(line["stage"], "source", "{line}");
        assert!(!line["reason"].as_str().unwrap().is_empty(), "{line}");
    }
    // A rebalance may make it read a message twice, and count and keep the letter twice.
    assert_eq!(metric_sum(&metrics, "rivulet_dead_letters_total"), Some(lines.len() as f64));
    let messages: i64 = input.next.values().sum();
    let received = metric_sum(&metrics, "rivulet_messages_in_total").unwrap();
    assert!(received >= messages as f64, "{received} of {messages} messages were counted");
    scene.client.await_no_lag(&scene.pipeline.name, &input.topic, Duration::from_secs(30));
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
    daemon.terminate();
    scene.output().assert_exactly(&scene.expected);
}

fn scene(name: &str, seed: u64, decoding: &'static str) -> Option<(Scene, Vec<Vec<i16>>)> {
    let broker = shared_broker(name)?;
    let workload = Workload { seed, messages: 3_000, keys: 4, partitions: 2, max_samples: 100 };
    let samples = workload.samples().into_iter().map(|(_, samples)| samples).collect();
    let mut scene = Scene::new(broker, name, workload, Guarantee::ExactlyOnce);
    scene.pipeline.decoding = decoding;
    scene.pipeline.more = "[dead_letters]\npath = \"dead.jsonl\"\n".to_owned();
    scene.write();
    Some((scene, samples))
}

#[test]
fn raw_garbage_is_accounted_for() {
    let name = "garbage-raw";
    let seed = Random::seed(name);
    let Some((scene, samples)) = scene(name, seed, RAW) else { return };
    let mut random = Random::new(seed ^ 5);
    let megabyte = 1_000_000;
    account(scene, as_raw, |input, partitions| {
        for (round, piece) in samples[0].chunks(61).take(200).enumerate() {
            let partition = partitions[round % partitions.len()];
            input.good(partition, Some(&format!("steady-{partition}")), piece);
            input.good(partition, None, &piece[..piece.len() / 2]);
            match round % 8 {
                // Whole samples, if not of a heart.
                0 => {
                    let noise: Vec<i16> = (0..50).map(|_| random.next() as i16).collect();
                    input.good(partition, Some(&format!("noise-{partition}")), &noise);
                }
                1 => {
                    let length = 2 * random.within(0..50) as usize + 1;
                    input.bad(partition, Some(b"half a sample"), Some(&random.bytes(length)));
                }
                2 => input.bad(partition, Some(format!("steady-{partition}").as_bytes()), Some(b"")),
                3 => input.bad(partition, Some(b"tombstone"), None),
                4 => input.bad(partition, None, Some(&random.bytes(7))),
                // A key that is no text is told in hexadecimal.
                5 => {
                    input.send(partition, Some(&[0xff, 0xfe]), Some(&as_raw(piece)));
                    input.good.entry((partition, "hex:fffe".to_owned())).or_default().extend(piece);
                }
                _ => {}
            }
        }
        for &partition in partitions {
            let big: Vec<i16> = samples[1].iter().copied().cycle().take(megabyte / 2).collect();
            input.good(partition, Some(&format!("big-{partition}")), &big);
            input.bad(partition, Some(b"big"), Some(&random.bytes(megabyte - 1)));
        }
    });
}

#[test]
fn json_garbage_is_accounted_for() {
    let name = "garbage-json";
    let seed = Random::seed(name);
    let decoding =
        "codec = \"json\"\nsamples = \"ecg\"\nsample_type = \"i16\"\nchannels = 1\nsample_rate_hz = 360\n";
    let Some((scene, samples)) = scene(name, seed, decoding) else { return };
    let mut random = Random::new(seed ^ 6);
    account(scene, as_json, |input, partitions| {
        for (round, piece) in samples[2].chunks(53).take(200).enumerate() {
            let partition = partitions[round % partitions.len()];
            input.good(partition, Some(&format!("steady-{partition}")), piece);
            let whole = as_json(piece);
            let key = format!("steady-{partition}");
            let key = Some(key.as_bytes());
            match round % 8 {
                0 => {
                    let length = random.within(1..whole.len() as u64) as usize;
                    input.bad(partition, key, Some(&whole[..length]));
                }
                // No text in UTF-8 begins so.
                1 => input.bad(partition, key, Some(&[&[0x80][..], &random.bytes(30)].concat())),
                2 => input.bad(partition, key, Some(b"")),
                3 => input.bad(partition, key, Some(br#"{"ecg": [1, "two", 3]}"#)),
                4 => input.bad(partition, key, Some(br#"{"eeg": [1, 2, 3]}"#)),
                5 => input.bad(partition, key, Some("[".repeat(100_000).as_bytes())),
                6 => input.bad(partition, key, Some(br#"{"ecg": [1, 1e999]}"#)),
                _ => {}
            }
        }
    });
}
