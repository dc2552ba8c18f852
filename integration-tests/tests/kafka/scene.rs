//! What the tests have in common: topics, a pipeline file, a daemon, and the comparison at the end.

use std::slice::from_mut;
use std::time::Duration;

use integration_tests::Workplace;
use integration_tests::kafka::{Broker, Client, Daemon, Frames, Tail, Workload, wait_for};

/// For everything to come out that was put in.
pub(crate) const ALL_OUT: Duration = Duration::from_secs(180);
/// For the first packets of a daemon: it joins its group, which may first have to notice that a member is gone.
pub(crate) const FIRST_OUT: Duration = Duration::from_secs(60);

/// What is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guarantee {
    AtLeastOnce,
    ExactlyOnce,
}

/// A pipeline from one topic to another.
#[derive(Clone, Debug)]
pub(crate) struct Pipeline {
    /// Names the pipeline and its group.
    pub(crate) name: String,
    pub(crate) brokers: String,
    pub(crate) input: String,
    pub(crate) output: String,
    pub(crate) guarantee: Guarantee,
    pub(crate) assignors: &'static str,
    /// The lines of `[source.decoding]`.
    pub(crate) decoding: &'static str,
    /// Tables that go below `source` and below the sink, such as `tls`, each with `SECTION` for its parent.
    pub(crate) tables: String,
    /// Lines at the end.
    pub(crate) more: String,
}

pub(crate) const RAW: &str = "codec = \"raw\"\nsample_type = \"s16le\"\nchannels = 1\nsample_rate_hz = 360\n";

impl Pipeline {
    /// The pipeline file. `${INSTANCE}` names the process.
    pub(crate) fn text(&self) -> String {
        let Self { name, brokers, input, output, assignors, decoding, tables, more, .. } = self;
        let delivery = match self.guarantee {
            Guarantee::AtLeastOnce => "guarantee = \"at_least_once\"\n",
            Guarantee::ExactlyOnce => "guarantee = \"exactly_once\"\ntransaction_timeout_ms = 5000\n",
        };
        // The group notices within two seconds that a member was killed.
        format!(
            "name = \"{name}\"\n\
             [source]\n\
             type = \"kafka\"\n\
             brokers = \"{brokers}\"\n\
             topics = [\"{input}\"]\n\
             group_id = \"{name}\"\n\
             auto_offset_reset = \"earliest\"\n\
             partition_assignment_strategy = \"{assignors}\"\n\
             [source.client_options]\n\
             \"session.timeout.ms\" = \"2000\"\n\
             \"heartbeat.interval.ms\" = \"500\"\n\
             \"topic.metadata.refresh.interval.ms\" = \"1000\"\n\
             {source_tables}\
             [source.decoding]\n\
             {decoding}\
             [encoder]\n\
             type = \"rvq\"\n\
             model = \"models/ecg-16x\"\n\
             [delivery]\n\
             {delivery}\
             commit_interval_ms = 100\n\
             instance = \"${{INSTANCE:-0}}\"\n\
             [[sinks]]\n\
             type = \"kafka\"\n\
             brokers = \"{brokers}\"\n\
             topic = \"{output}\"\n\
             {sink_tables}\
             {more}",
            source_tables = tables.replace("SECTION", "source"),
            sink_tables = tables.replace("SECTION", "sinks"),
        )
    }
}

/// A workload on its way through a pipeline: topics, the pipeline's file, the frames that have to come out.
pub(crate) struct Scene {
    pub(crate) client: Client,
    pub(crate) workplace: Workplace,
    pub(crate) pipeline: Pipeline,
    pub(crate) expected: Frames,
}

impl Scene {
    /// Creates the topics `NAME.in` and `NAME.out` and writes the pipeline file.
    pub(crate) fn new(broker: &Broker, name: &str, workload: Workload, guarantee: Guarantee) -> Self {
        let pipeline = Pipeline {
            name: name.to_owned(),
            brokers: broker.address(),
            input: format!("{name}.in"),
            output: format!("{name}.out"),
            guarantee,
            assignors: "range,roundrobin",
            decoding: RAW,
            tables: String::new(),
            more: String::new(),
        };
        let client = broker.client();
        client.create_topic(&pipeline.input, workload.partitions);
        client.create_topic(&pipeline.output, 4);
        let expected = Frames::expected(&workload, &pipeline.input);
        assert!(!expected.is_empty(), "the workload is too small for a frame");
        let scene = Self { client, workplace: Workplace::new(), pipeline, expected };
        scene.write();
        scene
    }

    /// Writes the pipeline file, again if the pipeline was changed.
    pub(crate) fn write(&self) {
        self.workplace.write("pipeline.toml", self.pipeline.text());
    }

    /// A daemon that runs it.
    pub(crate) fn daemon(&self) -> Daemon {
        Daemon::run(&self.workplace, "daemon", &["pipeline.toml"])
    }

    /// A daemon that runs it under another instance name, with a log of its own.
    pub(crate) fn instance(&self, instance: &str) -> Daemon {
        let log = format!("daemon-{instance}");
        Daemon::run_with(&self.workplace, &log, &["pipeline.toml"], &[("INSTANCE", instance)])
    }

    /// A reader of the packets.
    pub(crate) fn tail(&self) -> Tail {
        self.client.tail(&self.pipeline.output)
    }

    /// Waits until every expected frame has come out, while `daemons` run.
    #[track_caller]
    pub(crate) fn await_all_frames(&self, tail: &mut Tail, daemons: &mut [Daemon]) {
        let mut packets = usize::MAX;
        let mut frames = 0;
        wait_for("every frame", ALL_OUT, || {
            daemons.iter_mut().for_each(Daemon::assert_running);
            let now = tail.poll();
            if now != packets {
                (packets, frames) = (now, Frames::count_distinct(tail.records()));
            }
            let expected = self.expected.len();
            if frames >= expected {
                Ok(())
            } else {
                Err(format!("{frames} of {expected} frames in {packets} packets"))
            }
        });
    }

    /// The frames of the packets that are there now.
    #[track_caller]
    pub(crate) fn output(&self) -> Frames {
        Frames::of_packets(&self.client.read(&self.pipeline.output))
    }

    /// The frames that the same input gives a daemon that nothing happens to.
    #[track_caller]
    pub(crate) fn undisturbed(&self) -> Frames {
        let pipeline = Pipeline {
            name: format!("{}-undisturbed", self.pipeline.name),
            output: format!("{}.undisturbed", self.pipeline.name),
            ..self.pipeline.clone()
        };
        self.client.create_topic(&pipeline.output, 4);
        self.workplace.write("undisturbed.toml", pipeline.text());
        let mut daemon = Daemon::run(&self.workplace, "undisturbed", &["undisturbed.toml"]);
        let mut tail = self.client.tail(&pipeline.output);
        self.await_all_frames(&mut tail, from_mut(&mut daemon));
        daemon.terminate();
        Frames::of_packets(&self.client.read(&pipeline.output))
    }
}

/// Waits until more packets are there than `before`, while `daemon` runs.
#[track_caller]
pub(crate) fn await_progress(daemon: &mut Daemon, tail: &mut Tail, before: usize) {
    wait_for("more packets", FIRST_OUT, || {
        daemon.assert_running();
        let now = tail.poll();
        if now > before { Ok(()) } else { Err(format!("{now} packets, as before")) }
    });
}

/// 8 partitions of `messages` messages; of fewer messages and keys in a build without optimisation, so that a
/// share of them fills as many frames of a key.
pub(crate) fn load(seed: u64, messages: usize) -> Workload {
    let (messages, keys) = if cfg!(debug_assertions) { (messages / 20, 8) } else { (messages, 64) };
    Workload { seed, messages, keys, partitions: 8, max_samples: 120 }
}
