//! Appends what packets add to their streams.

use std::ops::Range;

use super::super::{CliError, warn};
use super::decoders_error;
use super::output::Output;
use super::troubles::Troubles;
use crate::codec::Decoder;
use crate::packet::{Continuity, Packet};
use crate::pipeline::Decoders;

/// A hole of more rows is told and not filled: a damaged writer could fill the disk with it.
pub(super) const MAX_FILLED_ROWS: u64 = 1 << 28;

/// A stream's columns in an output.
#[derive(Clone, Copy, Debug)]
pub(super) struct Columns {
    pub(super) first: usize,
    pub(super) channels: usize,
}

/// What a packet goes through.
pub(super) struct Appending<'a> {
    pub(super) decoders: &'a mut Decoders,
    pub(super) troubles: &'a mut Troubles,
}

impl Appending<'_> {
    /// Appends the frames of `packet` that `continuity` does not know, and rows without values for those that are
    /// missing before it; returns the number of new frames. Of the packet's samples per channel only `kept` are wanted.
    /// `place` says where the packet stood.
    ///
    /// # Errors
    /// The output cannot be written, or the packet's model is not to be had.
    pub(super) fn append(
        &mut self,
        packet: &Packet,
        continuity: &mut Continuity,
        output: &mut Output,
        columns: Columns,
        kept: Range<u64>,
        place: &dyn Fn() -> String,
    ) -> Result<u64, CliError> {
        let header = &packet.header;
        let channels = columns.channels as u64;
        let step = continuity.step(header);
        self.troubles.repeated_frames += u64::from(step.repeated_frames);
        continuity.advance(header);
        if step.new_frames == 0 {
            return Ok(0);
        }
        if step.new_count {
            warn(&format!(
                "{}: frames are counted anew from here; samples may be missing before it",
                place()
            ));
        }
        if step.missing_frames > 0 {
            // Lost frames were full ones, as far as anyone can tell.
            let rows = step.missing_frames.saturating_mul(u64::from(header.frame_size));
            self.lose(rows.saturating_mul(channels));
            if rows <= MAX_FILLED_ROWS {
                output.skip(columns.first, columns.channels, rows)?;
            } else {
                self.troubles.tell(&format!(
                    "{}: {} frames are missing before frame {}: too many to leave room for",
                    place(),
                    step.missing_frames,
                    header.first_frame
                ));
            }
        }
        let repeated = step.repeated_samples(header) as u64 / channels.max(1);
        let rows = kept.start.max(repeated)..kept.end.max(repeated).max(kept.start);
        if let Some(time_ns) = header.time_ns.filter(|_| {
            let anew = header.after_gap || step.new_count;
            output.is_new(columns.first) || anew && rows.start == 0
        }) {
            let lead = crate::signal::duration_ns(header.sample_rate_hz, rows.start);
            output.at(columns.first, time_ns.saturating_add(lead));
        }
        let decoder = self.decoders.get(header.model).map_err(|error| decoders_error(&error))?;
        match decoder.decode(packet) {
            Ok(samples) => {
                let at = |row: u64| usize::try_from(row.saturating_mul(channels)).unwrap_or(usize::MAX);
                let new = samples.get(at(rows.start)..at(rows.end)).unwrap_or_default();
                output.push(columns.first, columns.channels, new)?;
            }
            Err(error) => {
                let rows = rows.end - rows.start;
                self.lose(rows.saturating_mul(channels));
                self.troubles.tell(&format!("{}: frame {}: {error}", place(), header.first_frame));
                output.skip(columns.first, columns.channels, rows)?;
            }
        }
        Ok(u64::from(step.new_frames))
    }

    fn lose(&mut self, samples: u64) {
        self.troubles.lost_samples = self.troubles.lost_samples.saturating_add(samples);
    }
}
