//! An input of which the next bytes can be seen before they are consumed.

use std::io::{self, Read};

/// The bytes of an input from a place on, as many as were asked for. The place moves forward.
#[derive(Debug)]
pub(super) struct Lookahead<R> {
    input: R,
    buffer: Vec<u8>,
    /// The place in the buffer.
    start: usize,
    /// The place in the input.
    offset: u64,
    ended: bool,
}

impl<R: Read> Lookahead<R> {
    /// The least that is read at once.
    const STEP: usize = 1 << 16;

    pub(super) fn new(input: R) -> Self {
        Self { input, buffer: Vec::new(), start: 0, offset: 0, ended: false }
    }

    /// The input itself.
    pub(super) fn input(&self) -> &R {
        &self.input
    }

    /// What has been read from the place on.
    pub(super) fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    /// The place in the input.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads until there are `wanted` bytes from the place on, or the input ends. The buffer grows with what
    /// was really read.
    pub(super) fn fill(&mut self, wanted: usize) -> io::Result<()> {
        let missing = wanted.saturating_sub(self.bytes().len());
        if missing == 0 || self.ended {
            return Ok(());
        }
        // Moving no more bytes than were stepped over keeps the work linear.
        if self.start >= self.bytes().len() {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        let asked = missing.max(Self::STEP) as u64;
        let read = self.input.by_ref().take(asked).read_to_end(&mut self.buffer)?;
        self.ended = (read as u64) < asked;
        Ok(())
    }

    /// Moves the place forward, at most to the end of what has been read.
    pub(super) fn advance(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes().len());
        self.start += bytes;
        self.offset += bytes as u64;
    }
}
