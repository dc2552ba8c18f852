//! What is delivered, whatever happens to whoever delivers it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use proptest::prelude::*;

use super::broker::{Accident, Accidents, Broker, DirectLog, Failure, ModelLog, Offsets, Record, Slot};
use super::*;
use crate::kafka::transaction::{TransactionError, Transactions};

const SLOTS: usize = 2;
const PARTITIONS: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Guarantee {
    AtLeastOnce,
    ExactlyOnce,
}

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    /// A worker reads some messages of one of its partitions, and the packets leave.
    Read { worker: usize, partition: usize, messages: usize },
    /// A worker makes a checkpoint.
    Commit { worker: usize },
    /// A process is killed.
    Kill { worker: usize },
    /// A process starts; the one before, if it is still there, goes on with the same name.
    Start { slot: Slot },
    /// The group gives a partition to another worker, whose it was.
    Move { partition: usize, to: Slot },
    /// The same, but whose it was does not hear of it.
    Lose { partition: usize, to: Slot },
    /// The brokers abort a transaction that is open for too long.
    TimeOut { slot: Slot },
}

enum Writer {
    Direct(DirectLog),
    Transactions(Transactions<ModelLog>),
}

impl Writer {
    fn send(&mut self, record: Record) -> Result<(), TransactionError> {
        match self {
            Self::Direct(log) => {
                log.send(record).map_err(|fault| TransactionError::Broken(format!("{fault:?}")))
            }
            Self::Transactions(transactions) => transactions.send(|| record.clone()),
        }
    }

    fn commit(&mut self, offsets: &Offsets) -> Result<(), TransactionError> {
        match self {
            Self::Direct(log) => {
                log.commit(offsets).map_err(|fault| TransactionError::Broken(format!("{fault:?}")))
            }
            Self::Transactions(transactions) => {
                transactions.commit(Some(offsets).filter(|offsets| !offsets.positions.is_empty()))
            }
        }
    }

    fn abort(&mut self) -> Result<(), TransactionError> {
        match self {
            Self::Direct(_) => Ok(()),
            Self::Transactions(transactions) => transactions.abort(),
        }
    }
}

/// A process of the pipeline, one call after the other.
struct Worker {
    slot: Slot,
    broker: Rc<RefCell<Broker>>,
    reading: Reading,
    writer: Writer,
    /// The generation of the group that its partitions are of.
    generation: u32,
    /// Partitions that it was given, but cannot take up yet.
    assigned: BTreeSet<usize>,
    ended: bool,
}

impl Worker {
    fn start(
        shape: Shape,
        broker: &Rc<RefCell<Broker>>,
        slot: Slot,
        guarantee: Guarantee,
        accidents: &Accidents,
    ) -> Self {
        let writer = match guarantee {
            Guarantee::AtLeastOnce => Writer::Direct(DirectLog::new(broker, accidents)),
            Guarantee::ExactlyOnce => {
                Writer::Transactions(Transactions::new(ModelLog::init(broker, slot, accidents)))
            }
        };
        let mut worker = Self {
            slot,
            broker: Rc::clone(broker),
            reading: Reading::new(shape),
            writer,
            generation: 0,
            assigned: BTreeSet::new(),
            ended: false,
        };
        worker.take_up_all();
        worker
    }

    /// Takes up what the group gives, as of now.
    fn take_up_all(&mut self) {
        self.reading.close_all();
        let broker = self.broker.borrow();
        self.generation = broker.generation;
        let owned = broker.owners.iter().enumerate().filter(|(_, owner)| **owner == self.slot);
        self.assigned = owned.map(|(partition, _)| partition).collect();
    }

    fn open_assigned(&mut self) {
        let Self { broker, reading, assigned, .. } = self;
        let broker = broker.borrow();
        assigned.retain(|partition| match broker.take_up(*partition) {
            Some(kept) => {
                reading.open(*partition, &kept, kept.next).unwrap();
                false
            }
            None => true,
        });
    }

    fn read(&mut self, partition: usize, messages: usize) {
        self.open_assigned();
        let open: Vec<usize> = self.reading.partitions.keys().copied().collect();
        if open.is_empty() || self.ended {
            return;
        }
        let partition = open[partition % open.len()];
        for _ in 0..messages {
            self.reading.read(partition, &self.broker.borrow().partitions[partition]).unwrap();
        }
        let frames = self.reading.encoded();
        let sent = self.send(frames);
        self.go_on(sent);
    }

    fn send(&mut self, frames: Vec<(StreamKey, Frame)>) -> Result<(), TransactionError> {
        frames.into_iter().try_for_each(|(key, frame)| self.writer.send(Record::Packet(key, frame)))
    }

    /// Packets, then windows, then offsets.
    fn commit(&mut self) {
        if self.ended {
            return;
        }
        let (frames, checkpoint) = self.reading.checkpoint();
        let committed = self.send(frames).and_then(|()| {
            let mut positions = Vec::new();
            for origin in checkpoint.origins {
                let Origin::Partition { partition, .. } = origin.origin else { unreachable!() };
                let partition = partition as usize;
                positions.push((partition, origin.next));
                for (key, window) in origin.windows {
                    self.writer.send(Record::Window(partition, key, window))?;
                }
            }
            self.writer.commit(&Offsets { generation: self.generation, positions })
        });
        self.go_on(committed);
    }

    fn go_on(&mut self, done: Result<(), TransactionError>) {
        match done {
            Ok(()) => {}
            Err(TransactionError::Aborted(_)) => self.go_back(),
            Err(TransactionError::Fenced(_) | TransactionError::Broken(_)) => self.ended = true,
        }
    }

    fn go_back(&mut self) {
        self.ended |= self.writer.abort().is_err();
        self.take_up_all();
    }
}

/// Workers of one group, those of before that do not know that they are replaced, and the brokers.
struct Cluster {
    shape: Shape,
    guarantee: Guarantee,
    broker: Rc<RefCell<Broker>>,
    accidents: Accidents,
    /// The last of each slot is the one that the group knows.
    workers: Vec<Worker>,
}

impl Cluster {
    fn new(shape: Shape, guarantee: Guarantee, partitions: Vec<Vec<Message>>, accidents: Accidents) -> Self {
        let owners = (0..partitions.len()).map(|partition| partition % SLOTS).collect();
        let broker = Broker::new(partitions, owners);
        let mut cluster = Self { shape, guarantee, broker, accidents, workers: Vec::new() };
        (0..SLOTS).for_each(|slot| cluster.start(slot));
        cluster
    }

    fn start(&mut self, slot: Slot) {
        if self.guarantee == Guarantee::AtLeastOnce {
            // Nothing but transactions keeps an older process from writing older windows over newer ones.
            self.workers.retain(|worker| worker.slot != slot);
        }
        let worker = Worker::start(self.shape, &self.broker, slot, self.guarantee, &self.accidents);
        self.workers.push(worker);
    }

    fn current(&mut self, slot: Slot) -> Option<&mut Worker> {
        self.workers.iter_mut().rev().find(|worker| worker.slot == slot).filter(|worker| !worker.ended)
    }

    fn take(&mut self, step: &Step) {
        let alive: Vec<usize> =
            (0..self.workers.len()).filter(|worker| !self.workers[*worker].ended).collect();
        let worker = |of: &usize| (!alive.is_empty()).then(|| alive[of % alive.len()]);
        match step {
            Step::Read { worker: of, partition, messages } => {
                if let Some(worker) = worker(of) {
                    self.workers[worker].read(*partition, *messages);
                }
            }
            Step::Commit { worker: of } => {
                if let Some(worker) = worker(of) {
                    self.workers[worker].commit();
                }
            }
            Step::Kill { worker: of } => {
                if let Some(worker) = worker(of) {
                    self.workers[worker].ended = true;
                }
            }
            Step::Start { slot } => self.start(*slot),
            Step::Move { partition, to } => self.hand_over(*partition, *to, true),
            Step::Lose { partition, to } => {
                self.hand_over(*partition, *to, self.guarantee == Guarantee::AtLeastOnce);
            }
            Step::TimeOut { slot } => self.broker.borrow_mut().time_out(*slot),
        }
    }

    fn hand_over(&mut self, partition: usize, to: Slot, is_told: bool) {
        let from = self.broker.borrow().owners[partition];
        if from == to {
            return;
        }
        if is_told && let Some(worker) = self.current(from) {
            worker.commit();
            if worker.generation == worker.broker.borrow().generation {
                worker.reading.close(partition);
                worker.assigned.remove(&partition);
            }
        }
        let before = self.broker.borrow().generation;
        self.broker.borrow_mut().owners[partition] = to;
        self.broker.borrow_mut().generation += 1;
        // Who has heard of all that went before keeps its other partitions.
        for slot in (0..SLOTS).filter(|slot| is_told || *slot != from) {
            if let Some(worker) = self.current(slot).filter(|worker| worker.generation == before) {
                worker.generation += 1;
                if slot == to {
                    worker.assigned.insert(partition);
                }
            }
        }
    }

    /// Everything that was left open ends, and one worker reads the rest.
    fn end(&mut self) {
        self.accidents.end();
        self.workers.clear();
        let partitions = self.broker.borrow().partitions.len();
        (0..SLOTS).for_each(|slot| self.broker.borrow_mut().time_out(slot));
        self.broker.borrow_mut().owners = vec![0; partitions];
        self.start(0);
        let worker = &mut self.workers[0];
        worker.open_assigned();
        for partition in 0..partitions {
            let log = worker.broker.borrow().partitions[partition].clone();
            worker.reading.read_to(partition, &log, log.len());
        }
        worker.commit();
        assert!(!worker.ended && worker.assigned.is_empty());
        for (partition, log) in self.broker.borrow().partitions.iter().enumerate() {
            assert_eq!(self.broker.borrow().offset(partition), log.len() as i64);
        }
    }

    fn expected(&self) -> Frames {
        let broker = self.broker.borrow();
        broker.partitions.iter().flat_map(|log| undisturbed(self.shape, log)).collect()
    }

    /// Holds what is visible to the guarantee; returns how many frames are there more than once.
    fn check(&self) -> usize {
        let (found, expected) = (self.broker.borrow().committed_packets(), self.expected());
        assert!(found.keys().eq(expected.keys()), "{:?} of {:?}", found.keys(), expected.keys());
        let mut repeated = 0;
        for (key, frames) in found {
            let expected = &expected[&key];
            match self.guarantee {
                Guarantee::ExactlyOnce => assert_eq!(&frames, expected, "{key}"),
                Guarantee::AtLeastOnce => {
                    let mut first_times = Vec::new();
                    for frame in frames {
                        assert_eq!(frame, expected[frame.number as usize], "{key}");
                        if frame.number == first_times.len() as u64 {
                            first_times.push(frame);
                        } else {
                            assert!(frame.number < first_times.len() as u64, "{key} leaves frames out");
                            repeated += 1;
                        }
                    }
                    assert_eq!(&first_times, expected, "{key}");
                }
            }
        }
        repeated
    }
}

fn logs(shape: Shape) -> impl Strategy<Value = Vec<Vec<Message>>> {
    let [a, b, c] = ["a", "b", "c"].map(|name| messages(shape, name, 3));
    (a, b, c).prop_map(|(a, b, c)| vec![a, b, c])
}

fn step() -> impl Strategy<Value = Step> {
    let index = || 0..12_usize;
    let (slot, partition) = (0..SLOTS, 0..PARTITIONS);
    prop_oneof![
        12 => (index(), index(), 1..6_usize)
            .prop_map(|(worker, partition, messages)| Step::Read { worker, partition, messages }),
        6 => index().prop_map(|worker| Step::Commit { worker }),
        1 => index().prop_map(|worker| Step::Kill { worker }),
        2 => slot.clone().prop_map(|slot| Step::Start { slot }),
        1 => (partition.clone(), slot.clone()).prop_map(|(partition, to)| Step::Move { partition, to }),
        1 => (partition, slot.clone()).prop_map(|(partition, to)| Step::Lose { partition, to }),
        1 => slot.prop_map(|slot| Step::TimeOut { slot }),
    ]
}

fn accident() -> impl Strategy<Value = Accident> {
    prop_oneof![
        60 => Just(Accident::None),
        4 => Just(Accident::Fails(Failure::Retriable)),
        3 => Just(Accident::Fails(Failure::Abortable)),
        1 => Just(Accident::Fails(Failure::Fenced)),
        1 => Just(Accident::Fails(Failure::Fatal)),
        3 => Just(Accident::ReplyLost),
        1 => Just(Accident::CrashBefore),
        1 => Just(Accident::CrashAfter),
    ]
}

fn disturbed(
    guarantee: Guarantee,
    shape: Shape,
    partitions: Vec<Vec<Message>>,
    steps: &[Step],
    accidents: Accidents,
) -> Cluster {
    let mut cluster = Cluster::new(shape, guarantee, partitions, accidents);
    steps.iter().for_each(|step| cluster.take(step));
    cluster.end();
    cluster
}

fn any_run() -> impl Strategy<Value = (Shape, Vec<Vec<Message>>, Vec<Step>, Vec<Accident>)> {
    any_shape(StateKept::Windows).prop_flat_map(|shape| {
        let steps = prop::collection::vec(step(), 0..60);
        (Just(shape), logs(shape), steps, prop::collection::vec(accident(), 0..400))
    })
}

proptest! {
    #[test]
    fn every_frame_is_committed_exactly_once((shape, partitions, steps, accidents) in any_run()) {
        disturbed(Guarantee::ExactlyOnce, shape, partitions, &steps, Accidents::new(accidents)).check();
    }

    #[test]
    fn without_transactions_no_frame_is_lost_and_repeats_are_the_same(
        (shape, partitions, steps, accidents) in any_run(),
    ) {
        disturbed(Guarantee::AtLeastOnce, shape, partitions, &steps, Accidents::new(accidents)).check();
    }
}

/// Two workers that read, commit and hand a partition over; whoever has ended is started again.
fn scenario() -> (Vec<Vec<Message>>, Vec<Step>) {
    let partitions = ["a", "b", "c"].map(|name| {
        let sizes = (0..14_u32).map(|n| (n % 3, n * 5 % 7));
        let mut written = [0; 3];
        let log = sizes.map(|(key, rows)| {
            let first = written[key as usize];
            written[key as usize] += rows;
            message(&format!("{name}{key}"), first..first + rows)
        });
        log.collect()
    });
    let (first, second) = (0, 1);
    let read = |worker, partition| Step::Read { worker, partition, messages: 3 };
    let round = [
        read(first, first),
        read(second, first),
        Step::Start { slot: 0 },
        read(first, second),
        Step::Commit { worker: first },
        Step::Start { slot: 1 },
        read(second, first),
        Step::Commit { worker: second },
        Step::Commit { worker: first },
        Step::Move { partition: 2, to: 1 },
        read(second, second),
        Step::Lose { partition: 0, to: 1 },
        read(first, first),
        read(second, first),
        Step::Commit { worker: second },
        Step::Commit { worker: first },
        Step::Start { slot: 0 },
        Step::Lose { partition: 0, to: 0 },
    ];
    (partitions.to_vec(), round.iter().cycle().take(3 * round.len()).cloned().collect())
}

const ACCIDENTS: [Accident; 7] = [
    Accident::Fails(Failure::Retriable),
    Accident::Fails(Failure::Abortable),
    Accident::Fails(Failure::Fenced),
    Accident::Fails(Failure::Fatal),
    Accident::ReplyLost,
    Accident::CrashBefore,
    Accident::CrashAfter,
];

/// One accident, at each of the calls that a run makes.
fn one_accident_at_every_call(guarantee: Guarantee) -> (usize, usize) {
    let (partitions, steps) = scenario();
    let run = |accidents| disturbed(guarantee, Shape::SMALL, partitions.clone(), &steps, accidents);
    let calls = run(Accidents::default()).accidents.calls();
    assert!(calls > 60, "{calls}");
    let (mut repeated, mut void) = (0, 0);
    for accident in ACCIDENTS {
        for before in 0..calls {
            let accidents = std::iter::repeat_n(Accident::None, before).chain([accident]);
            let cluster = run(Accidents::new(accidents));
            repeated += cluster.check();
            void += cluster.broker.borrow().void_records();
        }
    }
    (repeated, void)
}

#[test]
fn an_accident_at_any_call_neither_loses_nor_repeats_a_frame() {
    let (_, void) = one_accident_at_every_call(Guarantee::ExactlyOnce);
    assert!(void > 0, "transactions were aborted");
}

#[test]
fn an_accident_at_any_call_without_transactions_repeats_frames_but_loses_none() {
    let (repeated, _) = one_accident_at_every_call(Guarantee::AtLeastOnce);
    assert!(repeated > 0, "frames were repeated");
}

#[test]
fn a_process_that_cannot_learn_what_became_of_its_commit_leaves_that_to_the_next() {
    let (partitions, steps) = scenario();
    let commits = [
        Accident::CrashAfter,
        Accident::CrashBefore,
        Accident::Fails(Failure::Retriable),
        Accident::ReplyLost,
    ];
    let calls =
        disturbed(Guarantee::ExactlyOnce, Shape::SMALL, partitions.clone(), &steps, Accidents::default())
            .accidents
            .calls();
    for accident in commits {
        for before in 0..calls {
            let stuck = std::iter::repeat_n(Accident::Fails(Failure::Retriable), 20);
            let accidents = std::iter::repeat_n(Accident::None, before).chain([accident]).chain(stuck);
            disturbed(
                Guarantee::ExactlyOnce,
                Shape::SMALL,
                partitions.clone(),
                &steps,
                Accidents::new(accidents),
            )
            .check();
        }
    }
}
