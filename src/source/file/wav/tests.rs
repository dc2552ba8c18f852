use std::io::Cursor;
use std::path::PathBuf;

use hound::{SampleFormat, WavSpec, WavWriter};
use proptest::prelude::*;

use crate::signal::{Position, SampleType};
use crate::source::file::tests::{Read, read, refusal};
use crate::source::file::{FileOptions, SourceError};

/// A file that `hound` writes: two channels at 8 kHz.
fn written(bits: u16, format: SampleFormat, rows: i32) -> (Vec<u8>, Vec<f64>) {
    let spec = WavSpec { channels: 2, sample_rate: 8000, bits_per_sample: bits, sample_format: format };
    let mut file = Cursor::new(Vec::new());
    let mut writer = WavWriter::new(&mut file, spec).unwrap();
    let mut samples = Vec::new();
    for i in 0..2 * rows {
        match format {
            SampleFormat::Int => {
                let low = i32::MIN >> (32 - bits);
                let sample = match i {
                    0 => low,
                    1 => -(low + 1),
                    i => i.wrapping_mul(0x9e37_79b9_u32 as i32) >> (32 - bits),
                };
                writer.write_sample(sample).unwrap();
                samples.push(f64::from(sample));
            }
            SampleFormat::Float => {
                writer.write_sample(i as f32 / 3.0).unwrap();
                samples.push(f64::from(i as f32 / 3.0));
            }
        }
    }
    writer.finalize().unwrap();
    (file.into_inner(), samples)
}

fn file(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.wav");
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn read_bytes(bytes: &[u8]) -> Result<Read, SourceError> {
    let (_folder, path) = file(bytes);
    read(&path, &FileOptions::default())
}

fn refusal_of(bytes: &[u8]) -> String {
    let (_folder, path) = file(bytes);
    refusal(&path, &FileOptions::default())
}

/// Where the samples begin.
fn data_at(bytes: &[u8]) -> usize {
    bytes.windows(4).position(|window| window == b"data").unwrap() + 8
}

/// `bytes` with other bytes at a place.
fn with(bytes: &[u8], at: usize, other: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at..at + other.len()].copy_from_slice(other);
    bytes
}

#[test]
fn files_of_another_writer_are_read_exactly() {
    let cases = [
        (8, SampleFormat::Int, SampleType::I16),
        (16, SampleFormat::Int, SampleType::I16),
        (24, SampleFormat::Int, SampleType::I24),
        (32, SampleFormat::Int, SampleType::I32),
        (32, SampleFormat::Float, SampleType::F32),
    ];
    for (bits, format, sample_type) in cases {
        let (bytes, samples) = written(bits, format, 5000);
        let read = read_bytes(&bytes).unwrap();
        assert!(read.samples() == samples, "{bits} {format:?}");
        assert_eq!((read.info.sample_type, read.info.stored_bits), (sample_type, bits as u8));
        assert_eq!((read.info.sample_rate_hz, read.total), (8000.0, Some(10_000)));
        assert_eq!(read.info.channels.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["ch0", "ch1"]);
        assert!(read.dead_letters.is_empty(), "{:?}", read.dead_letters);
        assert_eq!(read.chunks.last().unwrap().position, Position::Byte(bytes.len() as u64));
    }
}

/// Files that libsndfile 1.2.2 has written, by way of python-soundfile 0.14.
#[test]
fn long_and_extensible_files_of_another_writer_are_read_exactly() {
    let rows: Vec<[f64; 2]> =
        (0..12).map(|i| [f64::from(i) / 16.0 - 0.5, f64::from(11 - i) / 64.0]).collect();
    let double = read_bytes(include_bytes!("testdata/double_rf64.wav")).unwrap();
    assert_eq!((double.samples(), double.info.sample_type), (rows.as_flattened().to_vec(), SampleType::F64));
    let pcm = read_bytes(include_bytes!("testdata/pcm24_extensible.wav")).unwrap();
    let counts: Vec<f64> = rows.as_flattened().iter().map(|value| value * 8_388_608.0).collect();
    assert_eq!((pcm.samples(), pcm.info.sample_type), (counts, SampleType::I24));
    assert_eq!((double.total, pcm.total, pcm.dead_letters.len()), (Some(24), Some(24), 0));
}

#[test]
fn files_that_are_cut_say_what_is_missing() {
    let (bytes, samples) = written(16, SampleFormat::Int, 100);
    let read = read_bytes(&bytes[..bytes.len() - 7]).unwrap();
    assert_eq!(read.samples(), samples[..196]);
    let [letter] = &read.dead_letters[..] else { panic!("{:?}", read.dead_letters) };
    assert_eq!(letter.reason, "the header says 400 bytes of samples, the file holds 393");
    assert_eq!((letter.samples, letter.position), (4, Position::Byte((data_at(&bytes) + 392) as u64)));
    for end in 0..data_at(&bytes) {
        let expected = if end == 0 { "is empty" } else { "the file ends within" };
        assert!(refusal_of(&bytes[..end]).contains(expected), "{end}");
    }
    assert!(refusal_of(&bytes[..data_at(&bytes)]).contains("holds no samples"));
}

#[test]
fn lengths_that_were_never_set_mean_up_to_the_end() {
    let (bytes, samples) = written(16, SampleFormat::Int, 100);
    let length_at = data_at(&bytes) - 4;
    for unset in [0, u32::MAX] {
        let read = read_bytes(&with(&bytes, length_at, &unset.to_le_bytes())).unwrap();
        assert_eq!((read.samples(), read.dead_letters.len()), (samples.clone(), 0));
        let cut = read_bytes(&with(&bytes, length_at, &unset.to_le_bytes())[..bytes.len() - 1]).unwrap();
        assert_eq!(cut.dead_letters[0].samples, 2);
        assert!(cut.dead_letters[0].reason.contains("3 bytes are left over"));
    }
    // More than the file has, and less: then other chunks follow.
    let long = read_bytes(&with(&bytes, length_at, &4000_u32.to_le_bytes())).unwrap();
    assert_eq!((long.samples(), long.dead_letters[0].samples), (samples.clone(), 1800));
    let short = read_bytes(&with(&bytes, length_at, &40_u32.to_le_bytes())).unwrap();
    assert_eq!((short.samples(), short.dead_letters.len()), (samples[..20].to_vec(), 0));
}

#[test]
fn other_chunks_and_long_files_are_passed() {
    let (bytes, samples) = written(16, SampleFormat::Int, 10);
    let listed = [&bytes[..12], b"LIST\x05\0\0\0INFOx\0", &bytes[12..]].concat();
    assert_eq!(read_bytes(&listed).unwrap().samples(), samples);
    let tail = [&bytes[..], b"LIST\x04\0\0\0INFO"].concat();
    assert_eq!(read_bytes(&tail).unwrap().samples(), samples);
    // RF64: the lengths are in a chunk of their own.
    let mut sizes = b"ds64\x1c\0\0\0".to_vec();
    sizes.extend(72_u64.to_le_bytes());
    sizes.extend(40_u64.to_le_bytes());
    sizes.extend([0; 12]);
    let long = with(&bytes, data_at(&bytes) - 4, &u32::MAX.to_le_bytes());
    let long = [b"RF64\xff\xff\xff\xffWAVE", &sizes[..], &long[12..], b"id3 \x02\0\0\0xx"].concat();
    assert_eq!(read_bytes(&long).unwrap().samples(), samples);
}

#[test]
fn headers_that_lie_are_refused_with_the_byte() {
    let (bytes, _) = written(16, SampleFormat::Int, 10);
    let format = bytes.windows(4).position(|window| window == b"fmt ").unwrap() + 8;
    for (bytes, reason) in [
        (with(&bytes, 0, b"x,y\n"), "byte 0: begins with \"x,y"),
        (with(&bytes, 0, b"RIFX"), "highest byte first"),
        (with(&bytes, 8, b"AVI "), "not a WAVE file"),
        (with(&bytes, format, &[6, 0]), "format 6 with 16 bits"),
        (with(&bytes, format + 14, &[12, 0]), "with 12 bits"),
        (with(&bytes, format + 2, &[0, 0]), "row of 0 channels"),
        (with(&bytes, format + 2, &[3, 0]), "row of 3 channels with 16 bits has 4 bytes, but it has 6"),
        (with(&bytes, format + 4, &[0; 4]), "sample rate of 0 Hz"),
        (with(&bytes, format - 8, b"what"), "samples come before"),
        (with(&bytes, format - 4, &[2, 0, 0, 0]), "too short"),
        (with(&bytes, format - 8, b"LIST\xf0\xff\xff\xff"), "too many before the samples"),
    ] {
        let refusal = refusal_of(&bytes);
        assert!(refusal.contains(reason), "{reason}: {refusal}");
    }
}

proptest! {
    #[test]
    fn changed_bytes_are_read_or_refused(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in any::<prop::sample::Index>(),
        float in any::<bool>(),
    ) {
        let format = if float { SampleFormat::Float } else { SampleFormat::Int };
        let (mut bytes, _) = written(if float { 32 } else { 24 }, format, 20);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(bytes.len() - cut.index(bytes.len()));
        if let Ok(read) = read_bytes(&bytes) {
            prop_assert!(read.samples().len() <= bytes.len());
        }
    }
}
