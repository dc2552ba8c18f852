//! The life of transactions, without Kafka in it.
//!
//! ```text
//!            first record            commit
//!    Idle  ---------------->  Open  -------->  Idle
//!                              | fault that only costs the transaction
//!                              v
//!                           aborted: everything since the last commit has to come again
//! ```
//!
//! Records, windows and offsets are visible together or not at all. Whoever was fenced by a newer process of the
//! same name never writes again.

/// What a transactional producer does. Each call may block for as long as the producer allows.
pub(crate) trait TransactionLog {
    /// A record of the log.
    type Record<'a>;
    /// Consumed positions.
    type Offsets;

    /// Begins a transaction.
    fn begin(&mut self) -> Result<(), Fault>;
    /// Adds a record to it.
    fn send(&mut self, record: Self::Record<'_>) -> Result<(), Fault>;
    /// Adds consumed positions to it.
    fn send_offsets(&mut self, offsets: &Self::Offsets) -> Result<(), Fault>;
    /// Makes it visible.
    fn commit(&mut self) -> Result<(), Fault>;
    /// Makes it void.
    fn abort(&mut self) -> Result<(), Fault>;
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The same call may succeed later; the state of the transaction is not known until then.
    Retriable(String),
    /// The transaction is lost, the next one may succeed.
    Abortable(String),
    /// A newer process has taken this one's name.
    Fenced(String),
    /// The producer cannot go on.
    Fatal(String),
}

/// Why transactions cannot go on as they were.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TransactionError {
    /// Everything since the last commit is void and has to come again.
    #[error("{0}")]
    Aborted(String),
    /// A newer process has taken this one's name.
    #[error("{0}")]
    Fenced(String),
    /// The producer cannot go on; what was in the open transaction is void or visible as a whole, which only the
    /// log knows.
    #[error("{0}")]
    Broken(String),
}

/// Calls of the same kind that may fail one after the other for a reason that passes.
const MAX_RETRIES: usize = 10;

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Open,
    /// No call is made any more.
    Ended(TransactionError),
}

/// Puts records into transactions.
#[derive(Debug)]
pub(crate) struct Transactions<L> {
    log: L,
    state: State,
}

impl<L: TransactionLog> Transactions<L> {
    /// Over a log whose earlier transactions have ended.
    pub(crate) fn new(log: L) -> Self {
        Self { log, state: State::Idle }
    }

    pub(crate) fn log(&self) -> &L {
        &self.log
    }

    pub(crate) fn log_mut(&mut self) -> &mut L {
        &mut self.log
    }

    /// Adds a record; the first one opens a transaction.
    ///
    /// # Errors
    /// The transaction was aborted, or nothing can be written any more.
    pub(crate) fn send<'a>(&mut self, record: impl Fn() -> L::Record<'a>) -> Result<(), TransactionError> {
        self.begin()?;
        let sent = retry(|| self.log.send(record()));
        self.settle(sent)
    }

    /// Commits what was sent, together with the consumed positions.
    ///
    /// # Errors
    /// The transaction was aborted, or nothing can be written any more.
    pub(crate) fn commit(&mut self, offsets: Option<&L::Offsets>) -> Result<(), TransactionError> {
        match (&self.state, offsets) {
            (State::Idle, None) => return Ok(()),
            (State::Ended(error), _) => return Err(error.clone()),
            (State::Idle, Some(_)) => self.begin()?,
            (State::Open, _) => {}
        }
        if let Some(offsets) = offsets {
            let sent = retry(|| self.log.send_offsets(offsets));
            self.settle(sent)?;
        }
        let committed = retry(|| self.log.commit());
        self.settle(committed)?;
        self.state = State::Idle;
        Ok(())
    }

    /// Makes void what was sent since the last commit.
    ///
    /// # Errors
    /// Nothing can be written any more.
    pub(crate) fn abort(&mut self) -> Result<(), TransactionError> {
        match &self.state {
            State::Idle => Ok(()),
            State::Ended(error) => Err(error.clone()),
            State::Open => match retry(|| self.log.abort()) {
                Ok(()) => {
                    self.state = State::Idle;
                    Ok(())
                }
                Err(Fault::Fenced(reason)) => Err(self.end(TransactionError::Fenced(reason))),
                Err(fault) => Err(self.end(TransactionError::Broken(fault.reason()))),
            },
        }
    }

    fn begin(&mut self) -> Result<(), TransactionError> {
        match &self.state {
            State::Open => Ok(()),
            State::Ended(error) => Err(error.clone()),
            State::Idle => {
                let begun = retry(|| self.log.begin());
                if begun.is_ok() {
                    self.state = State::Open;
                }
                self.settle(begun)
            }
        }
    }

    /// Draws the consequence of a fault.
    fn settle(&mut self, done: Result<(), Fault>) -> Result<(), TransactionError> {
        match done {
            Ok(()) => Ok(()),
            Err(Fault::Abortable(reason)) => {
                self.abort()?;
                Err(TransactionError::Aborted(reason))
            }
            Err(Fault::Fenced(reason)) => Err(self.end(TransactionError::Fenced(reason))),
            Err(Fault::Retriable(reason) | Fault::Fatal(reason)) => {
                Err(self.end(TransactionError::Broken(reason)))
            }
        }
    }

    fn end(&mut self, error: TransactionError) -> TransactionError {
        self.state = State::Ended(error.clone());
        error
    }
}

impl Fault {
    pub(crate) fn reason(self) -> String {
        match self {
            Self::Retriable(reason)
            | Self::Abortable(reason)
            | Self::Fenced(reason)
            | Self::Fatal(reason) => reason,
        }
    }
}

fn retry(mut call: impl FnMut() -> Result<(), Fault>) -> Result<(), Fault> {
    let mut result = call();
    for _ in 0..MAX_RETRIES {
        match result {
            Err(Fault::Retriable(_)) => result = call(),
            _ => break,
        }
    }
    result
}

#[cfg(test)]
mod tests;
