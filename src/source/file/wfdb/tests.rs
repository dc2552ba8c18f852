use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use crate::signal::{Position, SampleType};
use crate::source::file::tests::{read, refusal};
use crate::source::file::{FileOptions, Format};

/// A record in a folder of its own.
struct Record {
    folder: tempfile::TempDir,
}

impl Record {
    fn new(header: &str, files: &[(&str, &[u8])]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("r.hea"), header).unwrap();
        for (name, bytes) in files {
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        Self { folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("r.hea")
    }

    fn refusal(&self) -> String {
        refusal(&self.path(), &FileOptions::default())
    }
}

/// Format 212 by its definition.
fn encode_212(counts: &[i16]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for pair in counts.chunks(2) {
        let first = pair[0] as u16;
        let second = pair.get(1).map_or(0, |second| *second as u16);
        bytes.extend([first as u8, (first >> 8 & 0x0f | second >> 4 & 0xf0) as u8]);
        if pair.len() == 2 {
            bytes.push(second as u8);
        }
    }
    bytes
}

fn encode_16(counts: &[i16]) -> Vec<u8> {
    counts.iter().flat_map(|count| count.to_le_bytes()).collect()
}

fn floats(counts: &[i16]) -> Vec<f64> {
    counts.iter().map(|count| f64::from(*count)).collect()
}

#[test]
fn format_212_is_unpacked() {
    // 0x123, 0xfff = -1 | 0x801 = -2047, 0x7ff = 2047
    let bytes = [0x23, 0xf1, 0xff, 0x01, 0x78, 0xff];
    let record = Record::new("r 2 360 2\nr.dat 212\nr.dat 212\n", &[("r.dat", &bytes)]);
    let read = read(&record.path(), &FileOptions::default()).unwrap();
    assert_eq!(read.samples(), [291.0, -1.0, -2047.0, 2047.0]);
    assert_eq!(read.total, Some(4));
    assert_eq!(read.info.stored_bits, 12);
    assert_eq!(read.info.sample_type, SampleType::I16);
    assert!(read.dead_letters.is_empty());
}

#[test]
fn the_excerpt_reads_as_its_header_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/data/mitdb_100_60s.hea");
    let by_header = read(&path, &FileOptions::default()).unwrap();
    assert_eq!(by_header.info.key.as_str(), "mitdb_100_60s");
    assert_eq!(by_header.info.sample_rate_hz, 360.0);
    let channels = &by_header.info.channels;
    assert_eq!(channels.iter().map(|channel| channel.name.as_str()).collect::<Vec<_>>(), ["MLII", "V5"]);
    assert!(
        channels.iter().all(|channel| {
            (channel.gain, channel.baseline, channel.unit.as_str()) == (200.0, 1024.0, "mV")
        })
    );
    assert!(by_header.dead_letters.is_empty());
    assert_eq!(by_header.total, Some(43_200));

    let samples = by_header.samples();
    assert_eq!(samples.len(), 43_200);
    assert_eq!(samples[..2], [995.0, 1011.0], "the header's initial values");
    let header = super::header::parse(&path, &fs::read_to_string(&path).unwrap()).unwrap();
    for (channel, signal) in header.signals.iter().enumerate() {
        let sum: f64 = samples.iter().skip(channel).step_by(2).sum();
        assert_eq!(signal.checksum, Some(sum as i64 as u16));
    }
    assert_eq!(by_header.chunks.last().unwrap().position, Position::Byte(64_800));

    let by_signal_file = read(&path.with_extension("dat"), &FileOptions::default()).unwrap();
    assert_eq!(by_signal_file.samples(), samples);
    let options = FileOptions { format: Some(Format::Wfdb), ..FileOptions::default() };
    assert_eq!(read(&path.with_extension(""), &options).unwrap().samples(), samples);
}

/// Records that wfdb-python 4.3.1 has written.
#[test]
fn records_of_another_writer_are_read_exactly() {
    for (name, highest, sample_type) in
        [("python24", 8_388_607, SampleType::I24), ("python32", i64::from(i32::MAX), SampleType::I32)]
    {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/source/file/wfdb/testdata");
        let read = read(&folder.join(name).with_extension("hea"), &FileOptions::default()).unwrap();
        let row = |i: i64| [i * i * i * 7919 % (2 * highest) - highest, -(i * 104_729 % highest)];
        let mut counts: Vec<i64> = (0..20).flat_map(row).collect();
        counts[..2].copy_from_slice(&[-highest, highest]);
        assert_eq!(read.samples(), counts.iter().map(|count| *count as f64).collect::<Vec<_>>(), "{name}");
        assert_eq!((read.info.sample_type, read.info.stored_bits), (sample_type, sample_type.bits()));
        assert_eq!((read.info.sample_rate_hz, read.dead_letters.len()), (250.5, 0));
        assert_eq!(read.chunks[0].time_ns, Some(1_709_209_815_250_000_000));
        let [lead, other] = &read.info.channels[..] else { panic!("{:?}", read.info) };
        assert_eq!(
            (lead.name.as_str(), lead.unit.as_str(), lead.gain, lead.baseline),
            ("I lead", "mV", 200.5, -7.0)
        );
        assert_eq!((other.unit.as_str(), other.gain), ("", 1.0), "NU is no unit");
    }
}

/// A signal file that is compressed beside its header.
#[test]
fn compressed_signal_files_are_found() {
    let counts: Vec<i16> = (0..50).collect();
    let compressed = zstd::stream::encode_all(encode_16(&counts).as_slice(), 3).unwrap();
    let record = Record::new("r 1 10 50\nr.dat 16\n", &[("r.dat.zst", &compressed)]);
    let read = read(&record.path(), &FileOptions::default()).unwrap();
    assert_eq!((read.samples(), read.total, read.dead_letters.len()), (floats(&counts), Some(50), 0));
}

#[test]
fn chunks_carry_time_and_position() {
    let counts: Vec<i16> = (0..10).collect();
    let header = "r 1 4 10 00:00:01 01/01/1970\nr.dat 16+6 1 16 0 0 0 0 ECG\n";
    let mut bytes = vec![0xff; 6];
    bytes.extend(encode_16(&counts));
    let record = Record::new(header, &[("r.dat", &bytes)]);
    let options = FileOptions { chunk_samples: 4, ..FileOptions::default() };
    let read = read(&record.path(), &options).unwrap();
    assert_eq!(read.samples(), floats(&counts));
    assert_eq!(read.info.stored_bits, 16);
    let places: Vec<_> = read.chunks.iter().map(|chunk| (chunk.time_ns, chunk.position)).collect();
    assert_eq!(
        places,
        [
            (Some(1_000_000_000), Position::Byte(14)),
            (Some(2_000_000_000), Position::Byte(22)),
            (Some(3_000_000_000), Position::Byte(26)),
        ]
    );
}

#[test]
fn samples_marked_as_missing_leave_a_gap() {
    let counts = [1, 2, 3, 4, -2048, 6, 7, -2048, 9, 10];
    let header = "r 2 1 5 0:0:0 01/01/1970\nr.dat 212\nr.dat 212\n";
    let record = Record::new(header, &[("r.dat", &encode_212(&counts))]);
    for chunk_samples in [1, 2, 3, 100] {
        let read = read(&record.path(), &FileOptions { chunk_samples, ..FileOptions::default() }).unwrap();
        assert_eq!(read.samples(), [1.0, 2.0, 3.0, 4.0, 9.0, 10.0]);
        let gaps: Vec<_> = read.chunks.iter().filter(|chunk| chunk.after_gap).collect();
        assert_eq!(gaps.len(), 1);
        assert_eq!((gaps[0].time_ns, gaps[0].samples[0]), (Some(4_000_000_000), 9.0));
        assert_eq!(read.dead_letters.len(), 1);
        assert_eq!(read.dead_letters[0].samples, 4);
        assert_eq!(read.dead_letters[0].position, Position::Byte(6));
        assert!(read.dead_letters[0].reason.contains("-2048"), "{}", read.dead_letters[0].reason);
    }
}

#[test]
fn several_files_are_read_side_by_side() {
    let header = "r 3 100 3\na.dat 16\na.dat 16\nb.dat 16 1(0)/mmHg 12 0 0 0 0 ABP\n";
    let files: [(&str, &[u8]); 2] =
        [("a.dat", &encode_16(&[1, 2, 4, 5, 7, 8])), ("b.dat", &encode_16(&[3, 6, 9]))];
    let record = Record::new(header, &files);
    let read = read(&record.path(), &FileOptions { chunk_samples: 2, ..FileOptions::default() }).unwrap();
    assert_eq!(read.samples(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]);
    assert_eq!(read.info.channels[2].unit, "mmHg");
    let names: Vec<_> = read.info.channels.iter().map(|channel| channel.name.as_str()).collect();
    assert_eq!(names, ["ch0", "ch1", "ABP"]);
}

#[test]
fn samples_of_a_frame_are_put_in_order() {
    // Each frame: two samples of the first signal, then two of the second.
    let counts = [1, 3, 2, 4, 5, 7, 6, 8];
    let record = Record::new("r 2 100 2\nr.dat 212x2\nr.dat 212x2\n", &[("r.dat", &encode_212(&counts))]);
    let read = read(&record.path(), &FileOptions::default()).unwrap();
    assert_eq!(read.info.sample_rate_hz, 200.0);
    assert_eq!(read.samples(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
    assert_eq!(read.total, Some(8));
    assert!(read.dead_letters.is_empty());
}

#[test]
fn a_signal_file_that_is_too_short_says_what_is_missing() {
    let bytes = encode_212(&[1, 2, 3, 4, 5]);
    let record = Record::new("r 2 360 10\nr.dat 212\nr.dat 212\n", &[("r.dat", &bytes)]);
    let read = read(&record.path(), &FileOptions::default()).unwrap();
    assert_eq!(read.samples(), [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(read.total, Some(4));
    let [letter] = &read.dead_letters[..] else { panic!("{:?}", read.dead_letters) };
    assert_eq!((letter.samples, letter.position), (16, Position::Byte(6)));
    assert!(letter.reason.contains("says 10 samples per signal, the signal file holds 2"));
}

#[test]
fn a_signal_file_that_is_too_long_is_read_as_far_as_its_header_says() {
    let record = Record::new("r 1 360 2\nr.dat 16\n", &[("r.dat", &encode_16(&[1, 2, 3, 4, 5]))]);
    let read = read(&record.path(), &FileOptions::default()).unwrap();
    assert_eq!(read.samples(), [1.0, 2.0]);
    assert_eq!(read.dead_letters.iter().map(|letter| letter.samples).collect::<Vec<_>>(), [3]);
}

#[test]
fn a_length_that_the_header_leaves_open_is_that_of_the_file() {
    let mut bytes = encode_16(&[1, 2, 3]);
    bytes.push(0);
    let record = Record::new("r 2\nr.dat 16\nr.dat 16\n", &[("r.dat", &bytes)]);
    let read = read(&record.path(), &FileOptions::default()).unwrap();
    assert_eq!((read.samples(), read.total), (vec![1.0, 2.0], Some(2)));
    assert_eq!(read.dead_letters.iter().map(|letter| letter.samples).collect::<Vec<_>>(), [2]);
}

#[test]
fn an_odd_number_of_packed_samples_may_be_padded() {
    for padding in [&[][..], &[0]] {
        let mut bytes = encode_212(&[1, 2, 3]);
        bytes.extend(padding);
        let record = Record::new("r 1 360 3\nr.dat 212\n", &[("r.dat", &bytes)]);
        let read = read(&record.path(), &FileOptions::default()).unwrap();
        assert_eq!(read.samples(), [1.0, 2.0, 3.0]);
        assert!(read.dead_letters.is_empty());
    }
}

#[test]
fn a_checksum_that_does_not_fit_costs_nothing() {
    let header = "r 1 360 2\nr.dat 16 200 16 0 1 999 0 ECG\n";
    let record = Record::new(header, &[("r.dat", &encode_16(&[1, 2]))]);
    let read = read(&record.path(), &FileOptions::default()).unwrap();
    assert_eq!(read.samples(), [1.0, 2.0]);
    assert!(read.dead_letters.is_empty());
}

#[test]
fn what_cannot_be_read_is_refused_in_one_line() {
    let two_samples = encode_16(&[1, 2]);
    let refuse = |header: &str| Record::new(header, &[("r.dat", &two_samples)]).refusal();
    assert!(refuse("r 1 360 2\nmissing.dat 16\n").contains("missing.dat"));
    assert!(refuse("r 2\nr.dat 16\nr.dat 212\n").contains("formats 16 and 212 in one record"));
    assert!(refuse("r 2\nr.dat 16\nr.dat 16x2\n").contains("different rates"));
    assert!(refuse("r 2\nr.dat 16\nr.dat 16+4\n").contains("byte offset"));
    assert!(refuse("r 3\nr.dat 16\nr.hea 16\nr.dat 16\n").contains("do not stand together"));
    assert!(refuse("r 1\nr.dat 16+100\n").contains("holds no samples"));
    assert!(refuse("r 3\nr.dat 16\nr.dat 16\nr.dat 16\n").contains("holds no samples"));
    assert!(refuse("r 1\n../r.dat 16\n").contains("not the name of a file beside the header"));

    assert!(Record::new("r 1\nr.dat 16\n", &[("r.dat", &[])]).refusal().contains("r.dat: file: is empty"));
    let record = Record::new("r 1\nr.dat 16\n", &[]);
    fs::create_dir(record.folder.path().join("r.dat")).unwrap();
    assert!(record.refusal().contains("is a directory"));
    fs::write(record.path(), b"r 1 360\n\xff\xfe").unwrap();
    assert!(record.refusal().contains("byte 8: is not UTF-8 text"));
    fs::write(record.path(), vec![b'#'; (1 << 20) + 1]).unwrap();
    assert!(record.refusal().contains("longer than 1 MiB"));
    fs::remove_file(record.path()).unwrap();
    assert!(record.refusal().contains("r.hea"));
    fs::create_dir(record.path()).unwrap();
    assert!(record.refusal().contains("is a directory"));
}

#[test]
fn options_that_contradict_the_header_are_refused() {
    let record = Record::new("r 1 360 2\nr.dat 16\n", &[("r.dat", &encode_16(&[1, 2]))]);
    let channels = FileOptions { channels: Some(2), ..FileOptions::default() };
    assert!(refusal(&record.path(), &channels).contains("channels: is given as 2, but the file has 1"));
    let sample_type = FileOptions { sample_type: Some(SampleType::F32), ..FileOptions::default() };
    assert!(refusal(&record.path(), &sample_type).contains("sample_type: is given as f32"));
    let rate = FileOptions { sample_rate_hz: Some(100.0), ..FileOptions::default() };
    assert_eq!(read(&record.path(), &rate).unwrap().info.sample_rate_hz, 100.0);
}

#[test]
fn the_recordings_beside_the_project_are_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    if !folder.exists() {
        println!("skipped: the recordings beside the project are not here");
        return;
    }
    let mut recordings = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if Format::of(&path).is_none() || path.extension().is_some_and(|extension| extension == "hea") {
            continue;
        }
        let read = read(&path, &FileOptions::default()).unwrap();
        assert!(read.dead_letters.is_empty(), "{}: {:?}", path.display(), read.dead_letters);
        assert_eq!(Some(read.samples().len() as u64), read.total);
        recordings += 1;
    }
    assert!(recordings > 0);
}

proptest! {
    #[test]
    fn what_was_encoded_is_read(
        frames in prop::collection::vec([-2047_i16..2048, -2047_i16..2048, -2047_i16..2048], 1..200),
        channels in 1_usize..4,
        packed in any::<bool>(),
        chunk_samples in 1_usize..300,
    ) {
        let counts: Vec<i16> = frames.iter().flat_map(|frame| frame[..channels].iter().copied()).collect();
        let (format, bytes) = if packed { (212, encode_212(&counts)) } else { (16, encode_16(&counts)) };
        let header = format!("r {channels} 360 {}\n{}", frames.len(), format!("r.dat {format}\n").repeat(channels));
        let record = Record::new(&header, &[("r.dat", &bytes)]);
        let read = read(&record.path(), &FileOptions { chunk_samples, ..FileOptions::default() }).unwrap();
        prop_assert_eq!(read.samples(), floats(&counts));
        prop_assert!(read.dead_letters.is_empty());
        prop_assert!(read.chunks.iter().all(|chunk| chunk.samples.len() <= chunk_samples * channels));
    }
}
