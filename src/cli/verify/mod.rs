//! `rivulet verify`: checks that packet files are whole.

mod check;
mod report;

use std::path::PathBuf;

use self::check::Check;
use self::report::Report;
use super::segments::{Contents, Segment, files};
use super::{CliError, exit};
use crate::model::ModelLibrary;
use crate::pipeline::Decoders;

/// Arguments of `rivulet verify`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// .rvl files, or folders of them, which are checked as one recording.
    #[arg(value_name = "FILE|DIR", required = true)]
    inputs: Vec<PathBuf>,
    /// Decode every packet, too, with this model directory or a folder of them; may be repeated.
    #[arg(long = "model", value_name = "DIR")]
    models: Vec<PathBuf>,
    /// Print one JSON object instead of lines.
    #[arg(long)]
    json: bool,
}

/// Reads every record, holds the index against the packets and follows the frames of each stream over all files.
/// Whatever is wrong is told with its place, and ends with [`exit::DATA`].
pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let mut report = Report::new(arguments.json);
    let mut segments = Vec::new();
    for path in files(&arguments.inputs)? {
        match Segment::look(&path) {
            Ok(segment) => segments.push(segment),
            Err(error) if error.code == exit::DATA => {
                report.files += 1;
                let prefix = format!("{}: ", path.display());
                let problem = error.message.strip_prefix(&prefix).unwrap_or(&error.message);
                report.trouble(&path, None, problem)?;
            }
            Err(error) => return Err(error),
        }
    }
    let contents = Contents { segments };
    let ordered = contents.in_order(&|_| true);
    // Those without packets have no place in the order.
    let empty =
        contents.segments.iter().filter(|segment| !ordered.iter().any(|other| other.path == segment.path));
    let decoders = (!arguments.models.is_empty())
        .then(|| Decoders::new(ModelLibrary::new(arguments.models.clone()), None));
    let mut check = Check::new(decoders);
    for segment in empty.chain(ordered.iter().copied()) {
        check.file(&segment.path, &mut report)?;
    }
    report.finish(check.streams())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::rvl::{Event, Reader};

    /// A file of three packets of one stream, and where their records are.
    fn file() -> (Vec<u8>, Vec<usize>) {
        let bytes = crate::cli::inspect::example_file();
        let mut reader = Reader::new(&bytes[..]);
        let mut places = Vec::new();
        loop {
            match reader.next_event().unwrap() {
                Event::Packet { offset, .. } => places.push(offset as usize),
                Event::End { .. } => return (bytes, places),
                _ => {}
            }
        }
    }

    fn verify(bytes: &[u8]) -> Vec<(Option<u64>, String)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.rvl");
        std::fs::write(&path, bytes).unwrap();
        let mut report = Report::new(true);
        Check::new(None).file(&path, &mut report).unwrap();
        report.troubles.into_iter().map(|trouble| (trouble.offset, trouble.problem)).collect()
    }

    #[test]
    fn every_changed_byte_is_found() {
        let (good, _) = file();
        let before = verify(&good);
        assert!(before.iter().all(|(_, problem)| problem.contains("missing")), "{before:?}");
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 0x55;
            let found = verify(&bytes);
            assert!(found.iter().any(|(_, problem)| !problem.contains("missing")), "byte {at}: {found:?}");
        }
        for cut in 1..good.len() {
            let found = verify(&good[..cut]);
            let whole = found.iter().all(|(_, problem)| problem.contains("missing"));
            // Cut between two records, a file is one that was not closed.
            let mut reader = Reader::new(&good[..cut]);
            let torn_bytes = loop {
                if let Event::End { torn_bytes, .. } = reader.next_event().unwrap() {
                    break torn_bytes;
                }
            };
            assert_eq!(whole, torn_bytes == 0, "{cut}: {found:?}");
        }
    }

    #[test]
    fn an_index_that_lies_is_found() {
        let (good, places) = file();
        // A record that was copied over another one of its length: both are whole.
        let length = places[3] - places[2];
        let mut bytes = good.clone();
        let record = good[places[3]..places[3] + length].to_vec();
        bytes.splice(places[2]..places[3], record);
        let found = verify(&bytes);
        assert!(found.iter().any(|(_, problem)| problem.contains("index")), "{found:?}");
    }
}
