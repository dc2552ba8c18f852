//! A path is followed while its files are written, rotated and cut, and the process is killed in between: every
//! sample comes once and in order, and gaps are where lines were bad.

mod cases;
mod source;

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::time::SystemTime;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::signal::{ChannelInfo, Checkpoint, Origin, OriginCheckpoint, Position, SampleType, StreamKey};
use crate::source::Committer;
use crate::source::decoding::{Codec, Column, CsvColumns, JsonFields, JsonLayout, TimeField, TimeUnit};
use crate::telemetry::Telemetry;

const HEADER: &str = "t,v\n";

/// A row, and whether it stands behind a gap.
type Row = (f64, bool);

fn options(codec: Codec) -> DecodingOptions {
    DecodingOptions {
        sample_rate_hz: 1.0,
        sample_type: SampleType::I32,
        channels: vec![ChannelInfo::unscaled("")],
        codec,
    }
}

/// Each row is a chunk of its own, as it has a time.
fn csv() -> DecodingOptions {
    let time = Some(TimeField { at: Column::Place(0), unit: TimeUnit::Seconds });
    let samples = Some(vec![Column::Name("v".to_owned())]);
    options(Codec::Csv(CsvColumns { samples, time, key: None, delimiter: b',', header: true }))
}

/// A writer of a file, and a process that follows it.
struct Case {
    folder: TempDir,
    decoding: DecodingOptions,
    /// When files are written; all of it lies in the past, so that nothing counts as just written.
    clock: SystemTime,
    now: Instant,
    process: Option<(Follower, Shared)>,
    /// Lines so far, true for good ones.
    lines: Vec<bool>,
    /// What of the last line has not been written yet.
    unwritten: String,
    rotations: usize,
    /// True if a row of the file that has the name is committed: before that it cannot be told from the next one that
    /// begins with the same header.
    known: bool,
    seen: Vec<Row>,
    letters: Vec<String>,
    /// How many rows were seen, and the position, at the last checkpoint.
    committed: (usize, i64),
    next: i64,
}

impl Case {
    fn new(decoding: DecodingOptions) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            decoding,
            clock: SystemTime::now() - Duration::from_secs(1_000_000),
            now: Instant::now(),
            process: None,
            lines: Vec::new(),
            unwritten: String::new(),
            rotations: 0,
            known: false,
            seen: Vec::new(),
            letters: Vec::new(),
            committed: (0, 0),
            next: 0,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn current(&self) -> PathBuf {
        self.path("a.csv")
    }

    fn tick(&mut self) {
        self.clock += Duration::from_secs(1);
        self.now += Duration::from_secs(2);
    }

    fn append(&mut self, text: &str) {
        self.tick();
        let path = self.current();
        let is_new = !path.is_file() || path.metadata().unwrap().len() == 0;
        let mut file = OpenOptions::new().create(true).append(true).open(&path).unwrap();
        if is_new {
            file.write_all(HEADER.as_bytes()).unwrap();
        }
        file.write_all(text.as_bytes()).unwrap();
        file.set_modified(self.clock).unwrap();
    }

    /// Writes `lines` more, bad ones where they are false, and leaves the last `left` bytes for later.
    fn write(&mut self, lines: &[bool], left: usize) {
        let mut text = std::mem::take(&mut self.unwritten);
        for good in lines {
            let number = self.lines.len();
            text.push_str(&if *good { format!("{number},{number}\n") } else { format!("{number},-\n") });
            self.lines.push(*good);
        }
        let at = text.len() - left.min(text.len());
        self.unwritten = text.split_off(at);
        if !text.is_empty() {
            self.append(&text);
        }
    }

    fn finish_line(&mut self) {
        self.write(&[], 0);
    }

    fn shift_names(&mut self) {
        for number in (1..=self.rotations).rev() {
            let (from, to) =
                (self.path(&format!("a.csv.{number}")), self.path(&format!("a.csv.{}", number + 1)));
            std::fs::rename(from, to).unwrap();
        }
        self.rotations += 1;
    }

    fn rename(&mut self) {
        self.finish_line();
        if self.current().is_file() {
            self.shift_names();
            std::fs::rename(self.current(), self.path("a.csv.1")).unwrap();
            self.known = false;
        }
    }

    fn copy_and_truncate(&mut self) {
        self.finish_line();
        if !self.current().is_file() {
            return;
        }
        if !self.known {
            self.write(&[true], 0);
            self.look_until_quiet();
            self.commit();
        }
        self.tick();
        self.shift_names();
        std::fs::copy(self.current(), self.path("a.csv.1")).unwrap();
        for (name, length) in [("a.csv.1", None), ("a.csv", Some(0))] {
            let file = OpenOptions::new().write(true).open(self.path(name)).unwrap();
            length.map_or(Ok(()), |length| file.set_len(length)).unwrap();
            file.set_modified(self.clock).unwrap();
        }
        self.known = false;
    }

    fn start(&mut self) {
        let store = Store::open(&self.path("p.state")).unwrap();
        let shared = Shared {
            store,
            telemetry: Telemetry::new().pipeline("p"),
            parser: Parser::new(self.decoding.clone()),
            ready: VecDeque::new(),
            opened: 0,
            streams: 0,
            max_streams: 10,
        };
        let follower = Follower::new(self.current(), "a".to_owned(), false, Start::Beginning, &shared);
        self.process = Some((follower, shared));
    }

    fn look(&mut self) -> Looked {
        if self.process.is_none() {
            self.start();
        }
        self.tick();
        let (follower, shared) = self.process.as_mut().unwrap();
        let looked = follower.look(shared, self.now).unwrap();
        let events: Vec<_> = shared.ready.drain(..).collect();
        for event in events {
            self.take(event);
        }
        looked
    }

    fn take(&mut self, event: SourceEvent) {
        let position = match event {
            SourceEvent::Open(opened) => {
                assert_eq!(opened.next, self.committed.1, "it goes on where it was");
                let seen: Vec<_> = opened.windows.iter().map(|window| window[0] as usize).collect();
                let expected = if self.committed.0 == 0 { vec![] } else { vec![self.committed.0 % 256] };
                assert_eq!(seen, expected, "the window is that of the checkpoint");
                return;
            }
            SourceEvent::Chunk(chunk) => {
                let first = chunk.after_gap;
                let rows = chunk.samples.iter().enumerate().map(|(i, sample)| (*sample, first && i == 0));
                self.seen.extend(rows);
                chunk.position
            }
            SourceEvent::DeadLetter { letter, .. } => {
                self.letters.push(letter.reason);
                letter.position
            }
            SourceEvent::Passed { position, .. } => position,
            SourceEvent::Stream { .. } => return,
            other => panic!("{other:?}"),
        };
        let Position::Offset(offset) = position else { panic!("{position:?}") };
        assert!(offset + 1 >= self.next, "positions go back: {offset} after {}", self.next);
        self.next = offset + 1;
    }

    fn look_until_quiet(&mut self) {
        let mut quiet = 0;
        while quiet < 4 {
            quiet = if self.look() == Looked::Nothing { quiet + 1 } else { 0 };
        }
    }

    fn commit(&mut self) {
        let Some((_, shared)) = &self.process else { return };
        let windows = match self.seen.len() {
            0 => Vec::new(),
            rows => vec![(StreamKey::new("a"), vec![(rows % 256) as u8])],
        };
        let origin = OriginCheckpoint {
            origin: Origin::File { path: self.current().display().to_string().into() },
            next: self.next,
            note: None,
            windows,
        };
        let mut committer = StateCommitter(Arc::clone(&shared.store));
        committer.commit(&Checkpoint { origins: vec![origin], closed: Vec::new() }).unwrap();
        self.committed = (self.seen.len(), self.next);
        let entry = shared.store.entry(&self.current().display().to_string());
        self.known = entry.is_some_and(|entry| {
            let Ok(file) = File::open(self.current()) else { return false };
            let metadata = file.metadata().unwrap();
            let read = (entry.next - entry.base) as u64;
            entry.identity.is_entry(&metadata)
                && entry.identity.begins(&file).unwrap()
                && (HEADER.len() as u64 + 1..=metadata.len()).contains(&read)
        });
    }

    fn kill(&mut self) {
        self.process = None;
        self.seen.truncate(self.committed.0);
        self.next = self.committed.1;
    }

    fn expected(&self) -> Vec<Row> {
        let mut rows: Vec<Row> = Vec::new();
        for (number, good) in self.lines.iter().enumerate() {
            if *good {
                let behind_gap = number > 0 && !self.lines[number - 1] && !rows.is_empty();
                rows.push((number as f64, behind_gap));
            }
        }
        rows
    }
}

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<bool>, usize),
    Rename,
    CopyAndTruncate,
    Look(usize),
    Commit,
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    let line = prop_oneof![9 => Just(true), 1 => Just(false)];
    prop_oneof![
        6 => (prop::collection::vec(line, 0..30), 0_usize..8).prop_map(|(lines, left)| Step::Write(lines, left)),
        2 => Just(Step::Rename),
        1 => Just(Step::CopyAndTruncate),
        6 => (1_usize..4).prop_map(Step::Look),
        3 => Just(Step::Commit),
        2 => Just(Step::Kill),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_row_comes_once_and_in_order(steps in prop::collection::vec(step(), 1..40)) {
        let mut case = Case::new(csv());
        // What has lost its name before anybody followed it is not looked for.
        case.append("");
        case.look();
        for step in steps {
            match step {
                Step::Write(lines, left) => case.write(&lines, left),
                Step::Rename => case.rename(),
                Step::CopyAndTruncate => case.copy_and_truncate(),
                Step::Look(times) => for _ in 0..times { case.look(); },
                Step::Commit => case.commit(),
                Step::Kill => case.kill(),
            }
        }
        case.finish_line();
        case.write(&[true], 0);
        case.look_until_quiet();
        prop_assert_eq!(&case.seen, &case.expected());
    }
}
