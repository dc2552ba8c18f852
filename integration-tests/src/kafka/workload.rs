//! Messages that follow from a seed.

use super::random::Random;
use crate::{read_wfdb_212, root};

/// One message: 16-bit little-endian samples of one channel.
#[derive(Clone, Debug)]
pub struct Message {
    /// The partition that it goes to, the same for all messages of a key.
    pub partition: usize,
    /// Its key.
    pub key: String,
    /// Its samples.
    pub samples: Vec<i16>,
}

impl Message {
    /// The samples as bytes.
    pub fn value(&self) -> Vec<u8> {
        self.samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
    }
}

/// A series of messages whose keys take turns at random and whose sizes are odd, so that frames straddle them.
///
/// A key's samples are an ECG with a level, a phase and noise of its own, so that no two frames are alike;
/// one key in eight stands still now and then, which makes frames without codes.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// What everything follows from.
    pub seed: u64,
    /// Messages in all.
    pub messages: usize,
    /// Keys in all.
    pub keys: usize,
    /// Partitions of the topic.
    pub partitions: usize,
    /// Samples of the largest message.
    pub max_samples: u64,
}

impl Workload {
    /// The name of a key.
    pub fn key(&self, number: usize) -> String {
        format!("device-{number:02}")
    }

    /// The messages, the same each time.
    pub fn messages(&self) -> impl Iterator<Item = Message> + use<> {
        let workload = *self;
        let recording: Vec<f64> = read_wfdb_212(&root().join("pipelines/data/mitdb_100_60s.dat")).concat();
        let mut random = Random::new(self.seed);
        let mut signals: Vec<Signal> = (0..self.keys)
            .map(|key| Signal {
                phase: random.within(0..recording.len() as u64) as usize,
                level: random.within(0..2_000) as f64 - 1_000.0,
                stands_still: key % 8 == 7,
                random: Random::new(random.next()),
            })
            .collect();
        (0..self.messages).map(move |_| {
            let key = random.within(0..workload.keys as u64) as usize;
            let length = random.within(1..workload.max_samples + 1);
            let samples = (0..length).map(|_| signals[key].next(&recording)).collect();
            Message { partition: key % workload.partitions, key: workload.key(key), samples }
        })
    }

    /// The samples of each key, in the order of keys.
    pub fn samples(&self) -> Vec<(String, Vec<i16>)> {
        let mut samples: Vec<(String, Vec<i16>)> =
            (0..self.keys).map(|key| (self.key(key), Vec::new())).collect();
        for message in self.messages() {
            if let Ok(place) = samples.binary_search_by(|(key, _)| key.cmp(&message.key)) {
                samples[place].1.extend(message.samples);
            }
        }
        samples
    }
}

struct Signal {
    phase: usize,
    level: f64,
    stands_still: bool,
    random: Random,
}

impl Signal {
    fn next(&mut self, recording: &[f64]) -> i16 {
        /// A key that stands still does so in every other stretch of this many samples.
        const STILL: usize = 3_000;
        self.phase += 1;
        if self.stands_still && self.phase / STILL % 2 == 1 {
            return self.level as i16;
        }
        let noise = self.random.within(0..5) as f64 - 2.0;
        (recording[self.phase % recording.len()] + self.level + noise) as i16
    }
}
