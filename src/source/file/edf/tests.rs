use std::path::{Path, PathBuf};

use proptest::prelude::*;

use crate::signal::{DeadLetter, Position, SampleType, StreamInfo};
use crate::source::file::{FileOptions, open};
use crate::source::{Source, SourceError, SourceEvent};

/// Files that pyEDFlib 0.1.42 has written: two signals at 20 Hz and one at 4 Hz, three records, annotations, and a
/// beginning a quarter of a second behind 2024-02-29 12:30:15.
const EDF: &[u8] = include_bytes!("testdata/plus.edf");
const BDF: &[u8] = include_bytes!("testdata/plus.bdf");
const HEADER_BYTES: usize = 256 * 5;
const START_NS: i64 = 1_709_209_815_250_000_000;

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) info: StreamInfo,
    pub(super) samples: Vec<f64>,
    /// Rows before each gap.
    pub(super) gaps: Vec<usize>,
    pub(super) times: Vec<Option<i64>>,
}

fn read_all(mut source: Box<dyn Source>) -> Result<(Vec<Stream>, Vec<DeadLetter>), SourceError> {
    let (mut streams, mut letters): (Vec<Stream>, _) = (Vec::new(), Vec::new());
    loop {
        match source.next_event()? {
            SourceEvent::Stream { info, .. } => {
                streams.push(Stream { info, samples: Vec::new(), gaps: Vec::new(), times: Vec::new() });
            }
            SourceEvent::Chunk(chunk) => {
                let stream = &mut streams[chunk.stream];
                assert!(!chunk.samples.is_empty());
                assert_eq!(chunk.samples.len() % stream.info.channels.len(), 0);
                assert!(chunk.samples.iter().all(|sample| stream.info.sample_type.holds(*sample)));
                if chunk.after_gap {
                    stream.gaps.push(stream.samples.len() / stream.info.channels.len());
                }
                stream.times.push(chunk.time_ns);
                stream.samples.extend(chunk.samples);
            }
            SourceEvent::DeadLetter { letter, .. } => letters.push(letter),
            SourceEvent::End => return Ok((streams, letters)),
            other => panic!("{other:?}"),
        }
    }
}

fn write(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn read_with(bytes: &[u8], options: &FileOptions) -> Result<(Vec<Stream>, Vec<DeadLetter>), SourceError> {
    let (_folder, path) = write("a.edf", bytes);
    read_all(open(&path, options)?)
}

pub(super) fn read(bytes: &[u8]) -> (Vec<Stream>, Vec<DeadLetter>) {
    read_with(bytes, &FileOptions::default()).unwrap()
}

fn refusal(bytes: &[u8]) -> String {
    let message = read_with(bytes, &FileOptions::default()).err().unwrap().to_string();
    assert!(!message.contains('\n'), "{message}");
    message
}

/// `bytes` with another text at a place.
fn with(bytes: &[u8], at: usize, text: &str) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at..at + text.len()].copy_from_slice(text.as_bytes());
    bytes
}

/// What pyEDFlib was given: each signal's counts by a formula.
fn golden(top: i64) -> [Vec<f64>; 3] {
    let mut first: Vec<i64> = (0..60).map(|i| i * 7919 * 11 % (2 * top) - top).collect();
    first[..2].copy_from_slice(&[-top - 1, top]);
    let second = (0..60).map(|i| i * 37 % 4096 - 2048).collect();
    let third = (0..12).map(|i| i * 99_991 % (2 * top) - top).collect();
    [first, second, third].map(|counts: Vec<i64>| counts.into_iter().map(|count| count as f64).collect())
}

fn interleave(columns: &[&Vec<f64>]) -> Vec<f64> {
    (0..columns[0].len()).flat_map(|row| columns.iter().map(move |column| column[row])).collect()
}

#[test]
fn files_of_another_writer_are_read_exactly() {
    for (bytes, top, sample_type) in [(EDF, 32_767, SampleType::I16), (BDF, 8_388_607, SampleType::I24)] {
        let [first, second, third] = golden(top);
        for chunk_samples in [1, 7, 20, 4096] {
            let options = FileOptions { chunk_samples, ..FileOptions::default() };
            let (streams, letters) = read_with(bytes, &options).unwrap();
            assert!(letters.is_empty(), "{letters:?}");
            let [fast, slow] = &streams[..] else { panic!("{streams:?}") };
            assert_eq!((fast.info.key.as_str(), slow.info.key.as_str()), ("a/20Hz", "a/4Hz"));
            assert_eq!((fast.info.sample_rate_hz, slow.info.sample_rate_hz), (20.0, 4.0));
            assert_eq!((fast.info.sample_type, fast.info.stored_bits), (sample_type, sample_type.bits()));
            assert_eq!(fast.samples, interleave(&[&first, &second]));
            assert_eq!(slow.samples, third);
            assert_eq!(fast.times[0], Some(START_NS));
            assert!(fast.gaps.is_empty());
            let channels: Vec<_> =
                fast.info.channels.iter().map(|c| (c.name.as_str(), c.unit.as_str(), c.baseline)).collect();
            assert_eq!(channels[1], ("ECG II", "mV", -0.5));
            assert_eq!(fast.info.channels[1].gain, 409.5);
        }
        let (_folder, path) = write("a.edf", bytes);
        assert_eq!(open(&path, &FileOptions::default()).unwrap().total_samples(), Some(132));
    }
}

#[test]
fn physical_ranges_become_gain_and_baseline_without_loss() {
    let (streams, _) = read(EDF);
    let first = &streams[0].info.channels[0];
    assert_eq!((first.gain, first.baseline, first.name.as_str()), (10_000.0, 0.0, "ECG I"));
    let third = &streams[1].info.channels[0];
    assert_eq!((third.gain, third.baseline), (-16_383.75, -0.5), "a range that is upside down");
}

#[test]
fn records_that_lie_apart_leave_a_gap() {
    let apart = with(EDF, 192, "EDF+D");
    let (streams, _) = read(&apart);
    assert!(streams[0].gaps.is_empty(), "they follow each other");
    // The third record begins 5 s later than it would.
    let record = (20 + 20 + 4) * 2 + 114;
    assert_eq!(EDF.len(), HEADER_BYTES + 3 * record, "the layout that this test knows");
    let third = HEADER_BYTES + 2 * record + 88;
    assert!(EDF[third..].starts_with(b"+2.25"), "{:?}", &EDF[third..third + 12]);
    let late = with(&apart, third, "+7.25");
    let (streams, letters) = read(&late);
    assert!(letters.is_empty());
    assert_eq!((&streams[0].gaps[..], &streams[1].gaps[..]), (&[40][..], &[8][..]));
    assert_eq!(streams[0].times, [Some(START_NS), Some(START_NS + 7_000_000_000)]);
    // Where a file says that it has no gaps, the times do not make one.
    let (streams, _) = read(&with(EDF, third, "+7.25"));
    assert!(streams[0].gaps.is_empty());
}

#[test]
fn files_that_end_early_say_what_is_missing() {
    let record = (EDF.len() - HEADER_BYTES) / 3;
    let cut = &EDF[..EDF.len() - record - 5];
    let (streams, letters) = read(cut);
    assert_eq!(streams[0].samples.len(), 40);
    let [letter] = &letters[..] else { panic!("{letters:?}") };
    assert_eq!(letter.reason, "the header says 3 records, the file holds 1");
    assert_eq!((letter.samples, letter.position), (88, Position::Byte((HEADER_BYTES + record) as u64)));
    // Where the header does not know, only the torn record is missing.
    for unknown in ["-1      ", "0       "] {
        let (streams, letters) = read(&with(cut, 236, unknown));
        assert_eq!(streams[0].samples.len(), 40);
        let [letter] = &letters[..] else { panic!("{letters:?}") };
        assert!(letter.reason.contains("ends within a record"), "{}", letter.reason);
        assert_eq!(letter.samples, 44);
        let (streams, letters) = read(&with(EDF, 236, unknown));
        assert_eq!((streams[0].samples.len(), letters.len()), (120, 0));
    }
    for end in [0, 100, 256, 600, HEADER_BYTES - 1] {
        assert!(
            refusal(&EDF[..end]).contains(if end == 0 { "is empty" } else { "within its header" }),
            "{end}"
        );
    }
}

#[test]
fn files_longer_than_their_header_says_keep_the_rest_apart() {
    let (streams, letters) = read(&with(EDF, 236, "1       "));
    assert_eq!(streams[0].samples.len(), 40);
    let [letter] = &letters[..] else { panic!("{letters:?}") };
    assert!(letter.reason.starts_with("the header says 1 records, behind which"), "{}", letter.reason);
    assert_eq!(letter.samples, 88);
}

#[test]
fn headers_that_lie_are_refused_with_the_field() {
    let cases = [
        (with(EDF, 0, "RIFF"), "byte 0: begins with"),
        (with(EDF, 252, "0   "), "number of signals: 0 channels"),
        (with(EDF, 252, "9999"), "number of signals: 9999"),
        (with(EDF, 252, "-1  "), "is not a whole number"),
        (with(EDF, 184, "512     "), "says that the header has 512 bytes"),
        (with(EDF, 236, "-7      "), "-7 records"),
        (with(EDF, 236, "many    "), "\"many\" is not a whole number"),
        (with(EDF, 244, "0       "), "is not above 0"),
        (with(EDF, 244, "-1      "), "is not above 0"),
        (with(EDF, 244, "1,5     "), "EDF has decimal points"),
        (with(EDF, 244, "1e300   "), "is not a number"),
        // Samples per record of the first signal.
        (with(EDF, 256 + 4 * 216, "0       "), "signal 1 has no samples"),
        (with(EDF, 256 + 4 * 216, "99999999"), "a record of"),
        (with(EDF, 256 + 4 * 104, "low     "), "physical minimum: \"low\" is not a number"),
    ];
    for (bytes, reason) in cases {
        let refusal = refusal(&bytes);
        assert!(refusal.contains(reason), "{reason}: {refusal}");
    }
    let options = |options: FileOptions| read_with(EDF, &options).err().unwrap().to_string();
    assert!(options(FileOptions { channels: Some(2), ..FileOptions::default() }).contains("the file has 3"));
    let i24 = FileOptions { sample_type: Some(SampleType::I24), ..FileOptions::default() };
    assert!(options(i24).contains("the file has i16"));
    let rate = FileOptions { sample_rate_hz: Some(1.0), ..FileOptions::default() };
    assert!(options(rate).contains("signals at 20, 4 Hz"));
}

#[test]
fn a_range_without_extent_is_no_scale() {
    let (streams, _) = read(&with(EDF, 256 + 4 * 104, "3.2767  "));
    assert_eq!((streams[0].info.channels[0].gain, streams[0].info.channels[0].baseline), (1.0, 0.0));
}

#[test]
fn compressed_files_are_the_same() {
    let (_folder, path) = write("a.edf.zst", &zstd::stream::encode_all(EDF, 3).unwrap());
    let source = open(&path, &FileOptions::default()).unwrap();
    assert_eq!(source.total_samples(), Some(132), "the header says it");
    let (streams, letters) = read_all(source).unwrap();
    assert_eq!((streams[0].samples.clone(), letters.len()), (read(EDF).0[0].samples.clone(), 0));
    assert_eq!(streams[0].info.key.as_str(), "a/20Hz");
    let missing = open(Path::new("absent.edf"), &FileOptions::default()).err().unwrap().to_string();
    assert!(missing.contains("absent.edf"), "{missing}");
}

proptest! {
    #[test]
    fn changed_bytes_are_read_or_refused(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        cut in any::<prop::sample::Index>(),
        bdf in any::<bool>(),
    ) {
        let mut bytes = if bdf { BDF } else { EDF }.to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(bytes.len() - cut.index(bytes.len() / 2));
        if let Ok((streams, _)) = read_with(&bytes, &FileOptions::default()) {
            let samples: usize = streams.iter().map(|stream| stream.samples.len()).sum();
            prop_assert!(samples <= bytes.len());
        }
    }
}
