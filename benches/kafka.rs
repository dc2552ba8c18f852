//! Kafka to Kafka, beside a bare loop that reads every message and writes it as it is: same broker, same messages,
//! same run.
//!
//! ```text
//! KAFKA_BROKERS=127.0.0.1:9092 cargo bench --bench kafka -- [raw|json|memory]
//! ```
//!
//! Topics of its own are made on that broker, with names that tell the process. Each row is the rate between the
//! first commit and the last, so that starting up and joining the group count for nobody. `memory` runs the daemon
//! over many keys, each with a frame that is almost full, and reads how much memory it holds in the end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::io::Write as _;
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};
use rivulet::codec::{Encoder, FrameRun, RvqEncoder};
use rivulet::model::ModelDirectory;
use rivulet::signal::{ChannelInfo, Frame, SampleType, StreamInfo, StreamKey};

const PARTITIONS: i32 = 8;
const FRAME_SIZE: usize = 512;
const ANSWER: Duration = Duration::from_secs(10);

struct Load {
    name: &'static str,
    decoding: &'static str,
    messages: usize,
    keys: usize,
    samples: usize,
    message: fn(&[i16]) -> Vec<u8>,
}

const LOADS: [Load; 2] = [
    Load {
        name: "raw",
        decoding: "codec = \"raw\"\nsample_type = \"s16le\"\nchannels = 1\nsample_rate_hz = 360\n",
        messages: 120_000,
        keys: 64,
        samples: 512,
        message: |samples| samples.iter().flat_map(|sample| sample.to_le_bytes()).collect(),
    },
    Load {
        name: "json",
        decoding: "codec = \"json\"\nsamples = \"ecg\"\nsample_type = \"i16\"\nchannels = 1\nsample_rate_hz = 360\n",
        messages: 1_000_000,
        keys: 64,
        samples: 12,
        message: |samples| format!("{{\"unit\":\"adu\",\"ecg\":{samples:?}}}").into_bytes(),
    },
];

fn main() {
    let Ok(brokers) = std::env::var("KAFKA_BROKERS") else {
        println!("skipped: set KAFKA_BROKERS to a broker for measurements");
        return;
    };
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    if is_wanted("memory") {
        memory(&brokers);
    }
    let alone = encoder_alone();
    println!("{:<6} {:<34} {:>12} {:>14} {:>8}", "load", "what", "messages/s", "samples/s", "of bare");
    for load in LOADS.iter().filter(|load| is_wanted(load.name)) {
        let bench = Bench::new(&brokers, load);
        let row = |what: &str, rate: f64, bare: f64| {
            let samples = rate * load.samples as f64;
            println!("{:<6} {what:<34} {rate:>12.0} {samples:>14.0} {:>8.3}", load.name, rate / bare);
            std::io::stdout().flush().unwrap();
        };
        let bare = bench.bare_loop();
        row("bare loop", bare, bare);
        row("encoder alone, one thread, no broker", alone / load.samples as f64, bare);
        for guarantee in ["at_least_once", "exactly_once"] {
            let (_daemon, rate) = bench.rivulet(guarantee);
            row(guarantee, rate, bare);
        }
    }
}

/// What the daemon holds with so many keys, each with 488 of 512 samples in its open frame.
fn memory(brokers: &str) {
    println!("{:<16} {:>8} {:>12} {:>12}", "guarantee", "keys", "memory", "a key");
    for guarantee in ["at_least_once", "exactly_once"] {
        let mut few = None;
        for keys in [100, 10_000, 100_000] {
            let load = Load { messages: 2 * keys, keys, samples: 500, ..LOADS[0] };
            let bench = Bench::new(brokers, &load);
            let (daemon, _) = bench.rivulet(guarantee);
            let bytes = daemon.memory_bytes();
            let few = *few.get_or_insert(bytes);
            let key = bytes.saturating_sub(few) / keys;
            println!("{guarantee:<16} {keys:>8} {:>8} MiB {key:>6} bytes", bytes >> 20);
        }
    }
}

/// Samples a second through the encoder of the shipped model.
fn encoder_alone() -> f64 {
    let model = ModelDirectory::load(Path::new("models/ecg-16x")).unwrap();
    let mut encoder = RvqEncoder::new(&model, NonZeroUsize::MIN).unwrap();
    let info = StreamInfo {
        key: StreamKey::new("bench"),
        sample_rate_hz: 360.0,
        sample_type: SampleType::I16,
        stored_bits: 16,
        channels: vec![ChannelInfo::unscaled("")],
    };
    let frames: Vec<Frame> = (0..64)
        .map(|number| Frame {
            stream: 0,
            number,
            time_ns: None,
            valid: FRAME_SIZE as u32,
            after_gap: false,
            arrival_ns: None,
            samples: signal(number as usize * FRAME_SIZE, FRAME_SIZE).into_iter().map(f64::from).collect(),
        })
        .collect();
    let runs: Vec<_> = frames.chunks(16).map(|frames| FrameRun { stream: &info, frames }).collect();
    let started = Instant::now();
    let mut samples = 0;
    while started.elapsed() < Duration::from_secs(3) {
        encoder.encode(&runs).unwrap();
        samples += frames.len() * FRAME_SIZE;
    }
    samples as f64 / started.elapsed().as_secs_f64()
}

/// Something like a heart.
fn signal(from: usize, count: usize) -> Vec<i16> {
    let sample = |i: usize| {
        let beat = (i % 290) as f64 - 100.0;
        (120.0 * (i as f64 / 57.0).sin() + 900.0 * (-beat * beat / 40.0).exp()) as i16
    };
    (from..from + count).map(sample).collect()
}

struct Bench<'a> {
    brokers: &'a str,
    load: &'a Load,
    input: String,
    folder: tempfile::TempDir,
}

impl<'a> Bench<'a> {
    fn new(brokers: &'a str, load: &'a Load) -> Self {
        let input = format!("bench-{}-{}-{}", load.name, load.keys, std::process::id());
        let bench = Self { brokers, load, input, folder: tempfile::tempdir().unwrap() };
        bench.create(&bench.input);
        bench.fill();
        bench
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.brokers);
        config
    }

    fn create(&self, topic: &str) {
        let admin: AdminClient<_> = self.client().create().unwrap();
        let topic = NewTopic::new(topic, PARTITIONS, TopicReplication::Fixed(1));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(admin.create_topics([&topic], &AdminOptions::new())).unwrap();
    }

    fn producer(&self) -> ThreadedProducer<DefaultProducerContext> {
        let mut config = self.client();
        config.set("enable.idempotence", "true").set("linger.ms", "5");
        config.set("queue.buffering.max.messages", "200000").create().unwrap()
    }

    fn fill(&self) {
        let producer = self.producer();
        let samples = signal(0, 290 * 64);
        for number in 0..self.load.messages {
            let key = number % self.load.keys;
            let from = (number / self.load.keys * self.load.samples + key * 31)
                % (samples.len() - self.load.samples);
            let message = (self.load.message)(&samples[from..from + self.load.samples]);
            send(&producer, &self.input, (key as i32) % PARTITIONS, &key.to_string(), &message);
        }
        producer.flush(Duration::from_secs(120)).unwrap();
    }

    /// Reads every message and writes it, with a commit twice a second.
    fn bare_loop(&self) -> f64 {
        let output = format!("{}-bare", self.input);
        self.create(&output);
        let consumer: BaseConsumer = self
            .client()
            .set("group.id", &output)
            .set("auto.offset.reset", "earliest")
            .set("enable.auto.commit", "false")
            .set("queued.max.messages.kbytes", "16384")
            .set("fetch.queue.backoff.ms", "10")
            .create()
            .unwrap();
        consumer.subscribe(&[&self.input]).unwrap();
        let producer = self.producer();
        let (mut read, mut first) = (0, None::<Instant>);
        let mut committed = Instant::now();
        while read < self.load.messages {
            let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
            let message = message.unwrap();
            let started = *first.get_or_insert_with(Instant::now);
            let key = std::str::from_utf8(message.key().unwrap()).unwrap();
            send(&producer, &output, message.partition(), key, message.payload().unwrap());
            read += 1;
            if committed.elapsed() > Duration::from_millis(500) || read == self.load.messages {
                producer.flush(Duration::from_secs(60)).unwrap();
                consumer.commit_consumer_state(CommitMode::Sync).unwrap_or_default();
                committed = Instant::now();
            }
            if read == self.load.messages {
                return read as f64 / started.elapsed().as_secs_f64();
            }
        }
        unreachable!("the loop ends with the last message");
    }

    /// The built daemon over the same messages.
    fn rivulet(&self, guarantee: &str) -> (Daemon, f64) {
        let name = format!("{}-{guarantee}", self.input);
        self.create(&format!("{name}-out"));
        let file = self.folder.path().join(format!("{guarantee}.toml"));
        let (brokers, input, decoding) = (self.brokers, &self.input, self.load.decoding);
        let text = format!(
            "name = \"{name}\"\n[source]\ntype = \"kafka\"\nbrokers = \"{brokers}\"\ntopics = [\"{input}\"]\n\
             group_id = \"{name}\"\n[source.decoding]\n{decoding}[encoder]\ntype = \"rvq\"\nmodel = \"models/ecg-16x\"\n\
             [delivery]\nguarantee = \"{guarantee}\"\n[[sinks]]\ntype = \"kafka\"\nbrokers = \"{brokers}\"\n\
             topic = \"{name}-out\"\n[window]\nmax_streams = 200000\n"
        );
        std::fs::write(&file, text).unwrap();
        let binary = Path::new(env!("CARGO_BIN_EXE_rivulet"));
        let child =
            Command::new(binary).arg("run").arg(&file).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let daemon = Daemon(child.unwrap());
        let reader: BaseConsumer = self.client().set("group.id", &name).create().unwrap();
        let (mut first, started) = (None, Instant::now());
        loop {
            assert!(started.elapsed() < Duration::from_secs(300), "{guarantee}: not done in five minutes");
            let committed = self.committed(&reader);
            let (since, before) = *first.get_or_insert((Instant::now(), committed));
            if committed >= self.load.messages {
                let rate = (committed - before) as f64 / since.elapsed().as_secs_f64();
                return (daemon, rate);
            }
            if committed == 0 {
                first = None;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn committed(&self, reader: &BaseConsumer) -> usize {
        let mut partitions = TopicPartitionList::new();
        partitions.add_partition_range(&self.input, 0, PARTITIONS - 1);
        let Ok(committed) = reader.committed_offsets(partitions, ANSWER) else { return 0 };
        let offset = |offset| if let Offset::Offset(offset) = offset { offset as usize } else { 0 };
        committed.elements().iter().map(|place| offset(place.offset())).sum()
    }
}

/// Stopped when dropped.
struct Daemon(Child);

impl Daemon {
    fn memory_bytes(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn send(
    producer: &ThreadedProducer<DefaultProducerContext>,
    topic: &str,
    partition: i32,
    key: &str,
    payload: &[u8],
) {
    loop {
        let record = BaseRecord::to(topic).partition(partition).key(key).payload(payload);
        match producer.send(record) {
            Ok(()) => return,
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err((error, _)) => panic!("{error}"),
        }
    }
}
