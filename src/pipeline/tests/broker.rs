//! Brokers in memory: one topic that is read, one of packets, a changelog, a group, and transactions that a newer
//! process of the same name fences; and what can go wrong with every call.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use super::{Frame, Frames, Kept, Message, StreamKey, by_key};
use crate::kafka::transaction::{Fault, TransactionLog};

/// What happens to one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accident {
    None,
    Fails(Failure),
    /// The call has its effect, but its caller does not get to know.
    ReplyLost,
    /// The process is killed before the call has an effect.
    CrashBefore,
    /// The process is killed after that.
    CrashAfter,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    Retriable,
    Abortable,
    Fenced,
    Fatal,
}

impl Failure {
    fn fault(self) -> Fault {
        let reason = "an accident".to_owned();
        match self {
            Self::Retriable => Fault::Retriable(reason),
            Self::Abortable => Fault::Abortable(reason),
            Self::Fenced => Fault::Fenced(reason),
            Self::Fatal => Fault::Fatal(reason),
        }
    }
}

/// The accidents of the calls to come; when they are used up all goes well.
#[derive(Clone, Default)]
pub(super) struct Accidents {
    left: Rc<RefCell<VecDeque<Accident>>>,
    calls: Rc<RefCell<usize>>,
}

impl Accidents {
    pub(super) fn new(accidents: impl IntoIterator<Item = Accident>) -> Self {
        Self { left: Rc::new(RefCell::new(accidents.into_iter().collect())), calls: Rc::default() }
    }

    /// Calls so far.
    pub(super) fn calls(&self) -> usize {
        *self.calls.borrow()
    }

    /// All goes well from here on.
    pub(super) fn end(&self) {
        self.left.borrow_mut().clear();
    }

    fn next(&self) -> Accident {
        *self.calls.borrow_mut() += 1;
        self.left.borrow_mut().pop_front().unwrap_or(Accident::None)
    }
}

/// The place of a worker: its transactional id, and its name in the group.
pub(super) type Slot = usize;
type Transaction = usize;
/// Records with the transaction that they belong to, if any.
type Records<T> = Vec<(Option<Transaction>, StreamKey, T)>;

#[derive(Default)]
pub(super) struct Broker {
    /// What is read, by partition.
    pub(super) partitions: Vec<Vec<Message>>,
    /// Who is to read each partition, since the generation that the group is in.
    pub(super) owners: Vec<Slot>,
    pub(super) generation: u32,
    offsets: Vec<i64>,
    packets: Records<Frame>,
    /// By partition.
    changelog: Vec<Records<Vec<u8>>>,
    transactions: Vec<Outcome>,
    producers: BTreeMap<Slot, Producer>,
}

#[derive(Clone, Debug, PartialEq)]
enum Outcome {
    /// With the offsets that will be committed.
    Open(Vec<(usize, i64)>),
    Committed,
    Aborted,
}

#[derive(Default)]
struct Producer {
    epoch: u32,
    open: Option<Transaction>,
}

/// A record of a topic.
#[derive(Clone)]
pub(super) enum Record {
    Packet(StreamKey, Frame),
    Window(usize, StreamKey, Vec<u8>),
}

/// Positions, and the generation of the group in which they were read.
pub(super) struct Offsets {
    pub(super) generation: u32,
    pub(super) positions: Vec<(usize, i64)>,
}

impl Broker {
    pub(super) fn new(partitions: Vec<Vec<Message>>, owners: Vec<Slot>) -> Rc<RefCell<Self>> {
        let (offsets, changelog) = (vec![0; partitions.len()], vec![Vec::new(); partitions.len()]);
        Rc::new(RefCell::new(Self { partitions, owners, offsets, changelog, ..Self::default() }))
    }

    /// A new process has the transactional id: what the one before left open is aborted.
    pub(super) fn init(&mut self, slot: Slot) -> u32 {
        self.time_out(slot);
        self.producers.entry(slot).or_default().epoch
    }

    /// The open transaction has taken too long: it is aborted, and who began it is fenced.
    pub(super) fn time_out(&mut self, slot: Slot) {
        let producer = self.producers.entry(slot).or_default();
        producer.epoch += 1;
        if let Some(open) = producer.open.take() {
            self.transactions[open] = Outcome::Aborted;
        }
    }

    /// A partition as it is taken up; none as long as a transaction is open that may change that.
    pub(super) fn take_up(&self, partition: usize) -> Option<Kept> {
        let is_open = |transaction: Option<Transaction>| {
            transaction.is_some_and(|number| matches!(self.transactions[number], Outcome::Open(_)))
        };
        let pending = |outcome: &Outcome| match outcome {
            Outcome::Open(offsets) => offsets.iter().any(|(of, _)| *of == partition),
            _ => false,
        };
        let changelog = &self.changelog[partition];
        if self.transactions.iter().any(pending)
            || changelog.iter().any(|(transaction, ..)| is_open(*transaction))
        {
            return None;
        }
        let windows = changelog.iter().filter(|(transaction, ..)| self.is_visible(*transaction));
        Some(Kept {
            next: self.offsets[partition],
            note: None,
            windows: windows.map(|(_, key, window)| (key.clone(), window.clone())).collect(),
        })
    }

    fn is_visible(&self, transaction: Option<Transaction>) -> bool {
        transaction.is_none_or(|number| self.transactions[number] == Outcome::Committed)
    }

    /// What a reader of committed packets sees.
    pub(super) fn committed_packets(&self) -> Frames {
        let visible = self.packets.iter().filter(|(transaction, ..)| self.is_visible(*transaction));
        by_key(visible.map(|(_, key, frame)| (key.clone(), frame.clone())))
    }

    /// Records that belong to transactions that were aborted.
    pub(super) fn void_records(&self) -> usize {
        let void = |transaction: &Option<Transaction>| !self.is_visible(*transaction);
        self.packets.iter().filter(|(transaction, ..)| void(transaction)).count()
    }

    pub(super) fn offset(&self, partition: usize) -> i64 {
        self.offsets[partition]
    }

    fn append(&mut self, transaction: Option<Transaction>, record: Record) {
        match record {
            Record::Packet(key, frame) => self.packets.push((transaction, key, frame)),
            Record::Window(partition, key, window) => {
                self.changelog[partition].push((transaction, key, window));
            }
        }
    }

    fn commit_offsets(&mut self, positions: &[(usize, i64)]) {
        for (partition, next) in positions {
            assert!(self.offsets[*partition] <= *next, "offsets of partition {partition} go backwards");
            self.offsets[*partition] = *next;
        }
    }

    /// The producer, as long as it is not fenced.
    fn admit(&mut self, slot: Slot, epoch: u32) -> Result<&mut Producer, Fault> {
        let producer = self.producers.entry(slot).or_default();
        match producer.epoch == epoch {
            true => Ok(producer),
            false => Err(Fault::Fenced("a newer process has the id".to_owned())),
        }
    }

    /// Its open transaction.
    fn transaction(&mut self, slot: Slot, epoch: u32) -> Result<Transaction, Fault> {
        let next = self.transactions.len();
        let transaction = *self.admit(slot, epoch)?.open.get_or_insert(next);
        if transaction == next {
            self.transactions.push(Outcome::Open(Vec::new()));
        }
        Ok(transaction)
    }
}

/// A process as the brokers see it, with the accidents of its calls.
struct Process {
    broker: Rc<RefCell<Broker>>,
    accidents: Accidents,
    /// It was told that it can go no further, or was killed.
    ended: bool,
}

impl Process {
    /// Makes a call. What a lost reply means is that the same call may be made again.
    fn call(
        &mut self,
        accident: Accident,
        effect: impl FnOnce(&mut Broker) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        assert!(!self.ended, "a call of a process that has ended");
        let mut broker = self.broker.borrow_mut();
        let answer = match accident {
            Accident::None => effect(&mut broker),
            Accident::Fails(failure) => Err(failure.fault()),
            Accident::ReplyLost => effect(&mut broker).and(Err(Failure::Retriable.fault())),
            Accident::CrashBefore => Err(Failure::Fatal.fault()),
            Accident::CrashAfter => {
                // Nobody is there to hear what the broker says.
                let _ = effect(&mut broker);
                Err(Failure::Fatal.fault())
            }
        };
        self.ended = matches!(answer, Err(Fault::Fenced(_) | Fault::Fatal(_)));
        answer
    }
}

/// The transactional producer of a process.
pub(super) struct ModelLog {
    process: Process,
    slot: Slot,
    epoch: u32,
    /// The commit or abort of the transaction has had its effect, whoever knows.
    settled: bool,
}

impl ModelLog {
    /// Takes over the transactional id of a slot.
    pub(super) fn init(broker: &Rc<RefCell<Broker>>, slot: Slot, accidents: &Accidents) -> Self {
        let epoch = broker.borrow_mut().init(slot);
        let process = Process { broker: Rc::clone(broker), accidents: accidents.clone(), ended: false };
        Self { process, slot, epoch, settled: false }
    }

    /// Ends the transaction. Asked again, the broker says the same again.
    fn settle(&mut self, outcome: &Outcome) -> Result<(), Fault> {
        let accident = match self.process.accidents.next() {
            Accident::Fails(Failure::Abortable) if self.settled => Accident::None,
            accident => accident,
        };
        let Self { process, slot, epoch, settled } = self;
        process.call(accident, |broker| {
            if std::mem::replace(settled, true) {
                return broker.admit(*slot, *epoch).map(|_| ());
            }
            let transaction = broker.transaction(*slot, *epoch)?;
            broker.admit(*slot, *epoch)?.open = None;
            let ended = std::mem::replace(&mut broker.transactions[transaction], outcome.clone());
            if let (Outcome::Open(offsets), Outcome::Committed) = (ended, outcome) {
                broker.commit_offsets(&offsets);
            }
            Ok(())
        })
    }
}

impl TransactionLog for ModelLog {
    type Record<'a> = Record;
    type Offsets = Offsets;

    fn begin(&mut self) -> Result<(), Fault> {
        let accident = self.process.accidents.next();
        // The brokers hear of a transaction with its first record.
        let settled = &mut self.settled;
        self.process.call(accident, |_| {
            *settled = false;
            Ok(())
        })
    }

    fn send(&mut self, record: Record) -> Result<(), Fault> {
        // A record that may have been taken is never asked for again: the producer numbers what it sends.
        let accident = match self.process.accidents.next() {
            Accident::ReplyLost => Accident::Fails(Failure::Retriable),
            accident => accident,
        };
        let (slot, epoch) = (self.slot, self.epoch);
        self.process.call(accident, |broker| {
            let transaction = broker.transaction(slot, epoch)?;
            broker.append(Some(transaction), record);
            Ok(())
        })
    }

    fn send_offsets(&mut self, offsets: &Offsets) -> Result<(), Fault> {
        let accident = self.process.accidents.next();
        let (slot, epoch) = (self.slot, self.epoch);
        self.process.call(accident, |broker| {
            let transaction = broker.transaction(slot, epoch)?;
            if offsets.generation != broker.generation {
                return Err(Fault::Abortable("the group has gone on".to_owned()));
            }
            if let Outcome::Open(pending) = &mut broker.transactions[transaction] {
                pending.extend_from_slice(&offsets.positions);
            }
            Ok(())
        })
    }

    fn commit(&mut self) -> Result<(), Fault> {
        self.settle(&Outcome::Committed)
    }

    fn abort(&mut self) -> Result<(), Fault> {
        self.settle(&Outcome::Aborted)
    }
}

/// A process that writes without transactions. Any accident ends it.
pub(super) struct DirectLog(Process);

impl DirectLog {
    pub(super) fn new(broker: &Rc<RefCell<Broker>>, accidents: &Accidents) -> Self {
        Self(Process { broker: Rc::clone(broker), accidents: accidents.clone(), ended: false })
    }

    fn call(&mut self, effect: impl FnOnce(&mut Broker)) -> Result<(), Fault> {
        let accident = match self.0.accidents.next() {
            Accident::None => Accident::None,
            Accident::Fails(_) | Accident::CrashBefore => Accident::CrashBefore,
            Accident::ReplyLost | Accident::CrashAfter => Accident::CrashAfter,
        };
        self.0.call(accident, |broker| {
            effect(broker);
            Ok(())
        })
    }

    pub(super) fn send(&mut self, record: Record) -> Result<(), Fault> {
        self.call(|broker| broker.append(None, record))
    }

    pub(super) fn commit(&mut self, offsets: &Offsets) -> Result<(), Fault> {
        self.call(|broker| {
            // Partitions that are somebody else's by now are read again by them.
            if offsets.generation == broker.generation {
                broker.commit_offsets(&offsets.positions);
            }
        })
    }
}
