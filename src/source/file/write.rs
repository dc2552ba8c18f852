//! Recordings as files: rows of samples become bytes in the formats that recordings are read in.
//!
//! A [`RowWriter`] makes bytes and does no I/O. What goes to the front of a file is known only at its end (how long it
//! is), so it is asked for twice: the first time it says that the length is not known, which is what stays where the
//! writer does not come to its end.

pub(crate) use super::edf::EdfWriter;
pub(crate) use super::wav::WavWriter;
pub(crate) use super::wfdb::WfdbWriter;
use crate::signal::{ChannelInfo, SampleType};

/// Turns rows of samples into the bytes of a file.
pub(crate) trait RowWriter {
    /// What stands before the rows; as many bytes each time.
    fn front(&self) -> Vec<u8>;

    /// The next row is of this time, in nanoseconds since the Unix epoch: the first one, or one behind a gap.
    fn at(&mut self, _time_ns: i64, _bytes: &mut Vec<u8>) {}

    /// Appends a row: a sample for each column, none for those that are lost.
    fn row(&mut self, row: &[Option<f64>], bytes: &mut Vec<u8>);

    /// Appends what stands behind the rows.
    fn end(&mut self, _bytes: &mut Vec<u8>) {}

    /// True if [`RowWriter::front`] says something else at the end.
    fn changes_front(&self) -> bool {
        false
    }

    /// The text of a header in a file of its own, for data in a file of this name.
    fn header(&self, _data_file: &str) -> Option<String> {
        None
    }

    /// What did not go into the file as it was.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A column of a file.
#[derive(Clone, Debug)]
pub(crate) struct WrittenColumn {
    /// What it is called where columns of several streams stand side by side.
    pub(crate) name: String,
    /// How its samples are stored.
    pub(crate) sample_type: SampleType,
    /// What is known of the channel.
    pub(crate) channel: ChannelInfo,
}

/// Why a format does not take such samples.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct DoesNotFit(pub(crate) String);

/// Names for columns: those of the channels where they are there and differ, else the columns' own.
pub(super) fn labels(columns: &[WrittenColumn]) -> Vec<String> {
    let names: Vec<&str> = columns.iter().map(|column| column.channel.name.as_str()).collect();
    let differ = names.iter().enumerate().all(|(i, name)| !name.is_empty() && !names[..i].contains(name));
    match differ {
        true => names.into_iter().map(str::to_owned).collect(),
        false => columns.iter().map(|column| column.name.clone()).collect(),
    }
}

/// Rows that fit between the end of a run of rows and a later time.
pub(super) fn rows_between(end_ns: i64, time_ns: i64, sample_rate_hz: f64) -> u64 {
    let seconds = time_ns.saturating_sub(end_ns) as f64 / 1e9;
    (seconds * sample_rate_hz).round().max(0.0) as u64
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The bytes of a whole file.
    pub(in crate::source::file) fn written<'r>(
        writer: &mut dyn RowWriter,
        rows: impl IntoIterator<Item = &'r [Option<f64>]>,
    ) -> Vec<u8> {
        let mut bytes = writer.front();
        let front_bytes = bytes.len();
        for row in rows {
            writer.row(row, &mut bytes);
        }
        writer.end(&mut bytes);
        let front = writer.front();
        assert_eq!(front.len(), front_bytes, "as long as at the beginning");
        bytes[..front_bytes].copy_from_slice(&front);
        bytes
    }

    #[test]
    fn channels_give_their_names_where_they_differ() {
        let columns = |names: &[&str]| -> Vec<WrittenColumn> {
            let column = |(i, name): (usize, &&str)| WrittenColumn {
                name: format!("r/{i}"),
                sample_type: SampleType::I16,
                channel: ChannelInfo::unscaled(*name),
            };
            names.iter().enumerate().map(column).collect()
        };
        assert_eq!(labels(&columns(&["I", "II"])), ["I", "II"]);
        assert_eq!(labels(&columns(&["I", "I"])), ["r/0", "r/1"]);
        assert_eq!(labels(&columns(&["I", ""])), ["r/0", "r/1"]);
    }
}
