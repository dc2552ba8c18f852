//! How far the streams of packet files have come.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::packet::{Continuity, Header, Step};
use crate::signal::{StreamInfo, StreamKey};

/// How far each stream came in the packet files that were read before: the files of a sequence share it.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Progress(Arc<Mutex<HashMap<StreamKey, (StreamInfo, Track)>>>);

/// How far one stream has come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Track {
    pub(super) continuity: Continuity,
    /// The first frame of the present count.
    begins: Option<u64>,
    /// True if a packet had no time.
    untimed: bool,
    /// True until a repeat of another stream of the key is told that no time shows to be one.
    tells_repeats: bool,
}

/// Frames of a packet that are left out and may not have been read before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeftOut {
    /// So many stand before the first that was read.
    Earlier(u64),
    /// They have numbers that were there, and no time.
    Untimed,
}

impl Progress {
    /// Where the stream stands. One that is not known may begin with any frame: a file can be a part of a recording.
    pub(super) fn of(&self, info: &StreamInfo) -> Track {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut track = known.get(&info.key).filter(|(known, _)| known == info).map(|(_, track)| *track);
        if let Some(track) = &mut track {
            track.go_on_with_other();
        }
        track.unwrap_or_default()
    }

    /// Keeps where the stream stands. The first stream of a key is the one that goes on.
    pub(super) fn keep(&self, info: &StreamInfo, track: Track) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (first, kept) = known.entry(info.key.clone()).or_insert_with(|| (info.clone(), track));
        if first == info {
            *kept = track;
        }
    }
}

impl Track {
    pub(super) fn go_on_with_other(&mut self) {
        self.continuity.go_on_with_other();
        self.tells_repeats = true;
    }

    /// What the packet with this header adds, and what of it is left out that may be new. Takes the packet for read.
    pub(super) fn take(&mut self, header: &Header) -> (Step, Option<LeftOut>) {
        let step = self.continuity.step(header);
        self.continuity.advance(header);
        if step.new_count {
            self.begins = None;
        }
        self.untimed |= header.time_ns.is_none();
        let begins = *self.begins.get_or_insert(header.first_frame);
        let earlier = begins.saturating_sub(header.first_frame).min(u64::from(step.repeated_frames));
        let left_out = if earlier > 0 {
            Some(LeftOut::Earlier(earlier))
        } else if step.repeated_frames > 0 && self.untimed && self.tells_repeats {
            self.tells_repeats = false;
            Some(LeftOut::Untimed)
        } else {
            None
        };
        (step, left_out)
    }
}
