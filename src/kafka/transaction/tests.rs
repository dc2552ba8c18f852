use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Begin,
    Send(u32),
    SendOffsets(u32),
    Commit,
    Abort,
}

/// Answers as it was told to, then with success, and holds its caller to the order of calls.
#[derive(Debug, Default)]
struct Script {
    calls: Vec<Call>,
    answers: VecDeque<Result<(), Fault>>,
    open: bool,
    ended: bool,
}

impl Script {
    fn answer(&mut self, call: Call) -> Result<(), Fault> {
        assert!(!self.ended, "{call:?} after the end: {:?}", self.calls);
        assert_eq!(self.open, call != Call::Begin, "{call:?} after {:?}", self.calls);
        self.calls.push(call);
        let answer = self.answers.pop_front().unwrap_or(Ok(()));
        match &answer {
            Ok(()) => self.open = !matches!(call, Call::Commit | Call::Abort),
            Err(Fault::Fenced(_) | Fault::Fatal(_)) => self.ended = true,
            Err(Fault::Retriable(_) | Fault::Abortable(_)) => {}
        }
        answer
    }
}

impl TransactionLog for Script {
    type Record<'a> = u32;
    type Offsets = u32;

    fn begin(&mut self) -> Result<(), Fault> {
        self.answer(Call::Begin)
    }

    fn send(&mut self, record: u32) -> Result<(), Fault> {
        self.answer(Call::Send(record))
    }

    fn send_offsets(&mut self, offsets: &u32) -> Result<(), Fault> {
        self.answer(Call::SendOffsets(*offsets))
    }

    fn commit(&mut self) -> Result<(), Fault> {
        self.answer(Call::Commit)
    }

    fn abort(&mut self) -> Result<(), Fault> {
        self.answer(Call::Abort)
    }
}

fn answering(answers: impl IntoIterator<Item = Result<(), Fault>>) -> Transactions<Script> {
    Transactions::new(Script { answers: answers.into_iter().collect(), ..Script::default() })
}

fn retriable() -> Result<(), Fault> {
    Err(Fault::Retriable("again".to_owned()))
}

fn abortable() -> Result<(), Fault> {
    Err(Fault::Abortable("void".to_owned()))
}

fn fenced() -> Result<(), Fault> {
    Err(Fault::Fenced("taken".to_owned()))
}

fn fatal() -> Result<(), Fault> {
    Err(Fault::Fatal("dead".to_owned()))
}

fn aborted() -> Result<(), TransactionError> {
    Err(TransactionError::Aborted("void".to_owned()))
}

fn broken(reason: &str) -> Result<(), TransactionError> {
    Err(TransactionError::Broken(reason.to_owned()))
}

#[test]
fn the_first_record_begins_and_the_commit_ends() {
    let mut transactions = answering([]);
    for record in [1, 2] {
        transactions.send(|| record).unwrap();
    }
    transactions.commit(Some(&7)).unwrap();
    transactions.send(|| 3).unwrap();
    transactions.commit(None).unwrap();
    use Call::{Begin, Commit, Send, SendOffsets};
    let expected = [Begin, Send(1), Send(2), SendOffsets(7), Commit, Begin, Send(3), Commit];
    assert_eq!(transactions.log().calls, expected);
}

#[test]
fn without_records_only_offsets_are_worth_a_transaction() {
    let mut transactions = answering([]);
    transactions.commit(None).unwrap();
    transactions.abort().unwrap();
    assert_eq!(transactions.log().calls, []);
    transactions.commit(Some(&7)).unwrap();
    assert_eq!(transactions.log().calls, [Call::Begin, Call::SendOffsets(7), Call::Commit]);
}

#[test]
fn a_lost_transaction_is_aborted_once_and_another_can_begin() {
    use Call::{Abort, Begin, Commit, Send, SendOffsets};
    for (before, calls) in [
        (1, vec![Begin, Send(1), Abort]),
        (2, vec![Begin, Send(1), SendOffsets(7), Abort]),
        (3, vec![Begin, Send(1), SendOffsets(7), Commit, Abort]),
    ] {
        let mut transactions = answering((0..before).map(|_| Ok(())).chain([abortable()]));
        let done = transactions.send(|| 1).and_then(|()| transactions.commit(Some(&7)));
        assert_eq!(done, aborted());
        transactions.abort().unwrap();
        assert_eq!(transactions.log().calls, calls);
        transactions.send(|| 2).unwrap();
        transactions.commit(None).unwrap();
        assert_eq!(transactions.log().calls[calls.len()..], [Begin, Send(2), Commit]);
    }
}

#[test]
fn a_transaction_that_did_not_begin_needs_no_abort() {
    let mut transactions = answering([abortable()]);
    assert_eq!(transactions.send(|| 1), aborted());
    assert_eq!(transactions.log().calls, [Call::Begin]);
    transactions.send(|| 1).unwrap();
}

#[test]
fn whoever_is_fenced_makes_no_call_any_more() {
    for before in 0..4 {
        let mut transactions = answering((0..before).map(|_| Ok(())).chain([fenced()]));
        let taken = Err(TransactionError::Fenced("taken".to_owned()));
        assert_eq!(transactions.send(|| 1).and_then(|()| transactions.commit(Some(&7))), taken);
        let calls = transactions.log().calls.len();
        assert_eq!(calls, before + 1);
        assert_eq!(transactions.send(|| 2), taken);
        assert_eq!(transactions.commit(None), taken);
        assert_eq!(transactions.commit(Some(&8)), taken);
        assert_eq!(transactions.abort(), taken);
        assert_eq!(transactions.log().calls.len(), calls);
    }
}

#[test]
fn a_call_is_made_again_until_it_succeeds_but_not_for_ever() {
    let failing = |count| [Ok(()), Ok(())].into_iter().chain((0..count).map(|_| retriable()));
    let mut transactions = answering(failing(MAX_RETRIES));
    transactions.send(|| 1).unwrap();
    transactions.commit(None).unwrap();
    assert_eq!(transactions.log().calls[2..], [Call::Commit; MAX_RETRIES + 1]);

    let mut transactions = answering(failing(MAX_RETRIES + 1));
    transactions.send(|| 1).unwrap();
    assert_eq!(transactions.commit(None), broken("again"));
    assert_eq!(transactions.log().calls[2..], [Call::Commit; MAX_RETRIES + 1]);
    assert_eq!(transactions.abort(), broken("again"), "it may have been committed");
    assert_eq!(transactions.log().calls.len(), MAX_RETRIES + 3);
}

#[test]
fn an_abort_that_fails_is_the_end() {
    for (answer, error) in [
        (fatal(), broken("dead")),
        (abortable(), broken("void")),
        (fenced(), Err(TransactionError::Fenced("taken".to_owned()))),
    ] {
        let mut transactions = answering([Ok(()), abortable(), answer]);
        assert_eq!(transactions.send(|| 1), error);
        assert_eq!(transactions.send(|| 2), error);
        assert_eq!(transactions.log().calls, [Call::Begin, Call::Send(1), Call::Abort]);
    }
    let mut transactions = answering([Ok(()), abortable(), retriable()]);
    assert_eq!(transactions.send(|| 1), aborted(), "a second try succeeds");
}

proptest! {
    /// The script itself refuses calls out of order.
    #[test]
    fn whatever_is_answered_the_calls_keep_their_order_and_come_to_what_was_told(
        wanted in prop::collection::vec(0_u32..4, 0..30),
        answers in prop::collection::vec(
            prop_oneof![
                12 => Just(Ok(())),
                3 => Just(retriable()),
                2 => Just(abortable()),
                1 => Just(fenced()),
                1 => Just(fatal()),
            ],
            0..60,
        ),
    ) {
        let mut transactions = answering(answers);
        // What the calls that succeeded have made visible, and what is expected of them.
        let (mut visible, mut open): (Vec<u32>, Vec<u32>) = (Vec::new(), Vec::new());
        let mut end = None;
        for (number, wanted) in (0..).zip(wanted) {
            let (done, sent) = match wanted {
                0 | 1 => (transactions.send(|| number), true),
                2 => (transactions.commit((number % 2 == 0).then_some(&number)), false),
                _ => (transactions.abort(), false),
            };
            if let Some(end) = &end {
                prop_assert_eq!(done.as_ref(), Err(end));
            }
            match done {
                Ok(()) if sent => open.push(number),
                Ok(()) if wanted == 2 => visible.append(&mut open),
                Ok(()) | Err(TransactionError::Aborted(_)) => open.clear(),
                Err(error) => end = Some(error),
            }
        }
        let log = transactions.log();
        prop_assert_eq!(log.ended && end.is_none(), false, "an end that was told is passed on");
        let calls: Vec<_> = log.calls.iter().filter(|call| !matches!(call, Call::SendOffsets(_))).collect();
        let mut told = Vec::new();
        let mut pending = Vec::new();
        // The last of equal calls in a row is the one that succeeded, as long as there is another one behind it.
        for pair in calls.windows(2) {
            match (pair[0], pair[1]) {
                (before, after) if before == after => {}
                (Call::Send(record), after) if *after != Call::Abort => pending.push(*record),
                (Call::Commit, Call::Begin) => told.append(&mut pending),
                (Call::Abort, _) => pending.clear(),
                _ => {}
            }
        }
        prop_assert!(visible.starts_with(&told), "{visible:?} was told, {told:?} was done");
    }
}
