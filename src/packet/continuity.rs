//! Which frames of a packet follow on those before, which came before, and which are missing.

use super::Header;

/// How far a stream has come. A file or topic that was written at least once may hold frames twice, and after
/// damage not all of them; what a packet adds is told by the numbers of its frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Continuity {
    next_frame: Option<u64>,
    /// When the last packet ended.
    end_ns: Option<i64>,
    /// True if the next packet is the first one of a stream of the same key, which may count its frames anew.
    is_other: bool,
}

/// What a packet adds to its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Frames between those before and this packet that did not come.
    pub missing_frames: u64,
    /// Frames at the packet's beginning that came before: they are to be left out.
    pub repeated_frames: u32,
    /// Frames behind those that are new.
    pub new_frames: u32,
    /// True if the frames are counted anew from this packet on: nobody knows how many are missing before it.
    pub new_count: bool,
}

impl Step {
    /// Samples (of all channels) at the packet's beginning that are to be left out.
    pub fn repeated_samples(self, header: &Header) -> usize {
        let frame = u64::from(header.frame_size) * u64::from(header.channels);
        let all = header.valid_samples() * u64::from(header.channels);
        // The last frame may be a short one.
        usize::try_from((frame * u64::from(self.repeated_frames)).min(all)).unwrap_or(usize::MAX)
    }
}

impl Continuity {
    /// A stream of which nothing is known: it may begin with any frame.
    pub fn new() -> Self {
        Self::default()
    }

    /// A stream that begins with frame `first_frame`.
    pub fn from_frame(first_frame: u64) -> Self {
        Self { next_frame: Some(first_frame), ..Self::default() }
    }

    /// What follows is another stream of the same key, in the same file or another one. It goes on with the frames,
    /// repeats some, or counts them anew: that is so if its first packet has a number that was there and a time that
    /// was not.
    pub fn go_on_with_other(&mut self) {
        self.is_other = true;
    }

    /// What the packet with this header adds. The stream's end does not move before [`Continuity::advance`].
    pub fn step(&self, header: &Header) -> Step {
        let new_count = self.counts_anew(header);
        let expected = self.next_frame.filter(|_| !new_count).unwrap_or(header.first_frame);
        let repeated = expected.saturating_sub(header.first_frame).min(u64::from(header.frames));
        let repeated_frames = u32::try_from(repeated).unwrap_or(header.frames);
        Step {
            missing_frames: header.first_frame.saturating_sub(expected),
            repeated_frames,
            new_frames: header.frames - repeated_frames,
            new_count,
        }
    }

    fn counts_anew(&self, header: &Header) -> bool {
        let is_new = |(time, end)| time >= end;
        self.is_other
            && self.next_frame.is_some_and(|next| header.first_frame < next)
            && header.time_ns.zip(self.end_ns).is_some_and(is_new)
    }

    /// Takes the packet with this header for read.
    pub fn advance(&mut self, header: &Header) {
        let end = header.first_frame.saturating_add(u64::from(header.frames));
        let before = self.next_frame.filter(|_| !self.counts_anew(header));
        self.is_other = false;
        self.next_frame = Some(before.map_or(end, |next| next.max(end)));
        let end_ns = header.end_ns();
        if before.is_none_or(|before| before < end) && end_ns.is_some() {
            self.end_ns = end_ns;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::packet::samples::ecg;

    fn header(first_frame: u64, frames: u32) -> Header {
        ecg(first_frame, frames).header
    }

    fn step(missing_frames: u64, repeated_frames: u32, new_frames: u32) -> Step {
        Step { missing_frames, repeated_frames, new_frames, new_count: false }
    }

    #[test]
    fn repeats_overlaps_and_holes_are_told_apart() {
        let mut stream = Continuity::from_frame(0);
        assert_eq!(stream.step(&header(2, 4)), step(2, 0, 4));
        stream.advance(&header(2, 4));
        assert_eq!(stream.step(&header(2, 4)), step(0, 4, 0));
        assert_eq!(stream.step(&header(0, 1)), step(0, 1, 0));
        assert_eq!(stream.step(&header(4, 5)), step(0, 2, 3));
        assert_eq!(stream.step(&header(6, 1)), step(0, 0, 1));
        stream.advance(&header(3, 1));
        assert_eq!(stream.step(&header(6, 1)), step(0, 0, 1), "a repeat does not take it back");
    }

    #[test]
    fn another_stream_of_the_key_goes_on_repeats_or_counts_anew() {
        let at = |first_frame, seconds: i64| Header {
            time_ns: Some(seconds * 1_000_000_000),
            ..header(first_frame, 4)
        };
        let mut stream = Continuity::from_frame(0);
        stream.advance(&at(0, 0));
        assert_eq!(stream.step(&at(0, 900)), step(0, 4, 0), "clocks may be set");
        stream.go_on_with_other();
        assert_eq!(stream.step(&at(4, 900)), step(0, 0, 4));
        assert_eq!(stream.step(&at(5, 6)), step(1, 0, 4));
        assert_eq!(stream.step(&at(2, 3)), step(0, 2, 2));
        assert_eq!(stream.step(&header(0, 4)), step(0, 4, 0));
        assert_eq!(stream.step(&at(0, 6)), Step { new_count: true, ..step(0, 0, 4) });
        stream.advance(&at(0, 6));
        assert_eq!(stream.step(&at(4, 12)), step(0, 0, 4));
        assert_eq!(stream.step(&at(0, 900)), step(0, 4, 0));
        stream.go_on_with_other();
        stream.advance(&at(0, 6));
        assert_eq!(stream.step(&at(0, 900)), step(0, 4, 0), "the repeat showed what the count is");
    }

    #[test]
    fn a_stream_of_which_nothing_is_known_begins_anywhere() {
        assert_eq!(Continuity::new().step(&header(1 << 40, 3)), step(0, 0, 3));
    }

    #[test]
    fn samples_of_repeats_are_counted_up_to_a_short_end() {
        let mut short = header(8, 2);
        short.channels = 3;
        short.last_valid = 10;
        assert_eq!(step(0, 0, 2).repeated_samples(&short), 0);
        assert_eq!(step(0, 1, 1).repeated_samples(&short), 512 * 3);
        assert_eq!(step(0, 2, 0).repeated_samples(&short), 522 * 3);
    }

    proptest! {
        #[test]
        fn each_frame_is_new_once(packets in prop::collection::vec((0_u64..60, 1_u32..9), 1..60)) {
            let mut stream = Continuity::from_frame(0);
            let mut read = BTreeSet::new();
            let mut end = 0;
            for (first_frame, frames) in packets {
                let header = header(first_frame, frames);
                let found = stream.step(&header);
                stream.advance(&header);
                prop_assert_eq!(found.repeated_frames + found.new_frames, frames);
                prop_assert_eq!(found.missing_frames, first_frame.saturating_sub(end));
                for number in (first_frame..).take(frames as usize).skip(found.repeated_frames as usize) {
                    prop_assert!(number >= end && read.insert(number));
                }
                end = end.max(first_frame + u64::from(frames));
            }
        }
    }
}
