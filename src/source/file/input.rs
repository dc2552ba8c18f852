//! The bytes of a recording, from front to back: a file, standard input, or what is compressed in either.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use super::{IS_DIRECTORY, SourceError, format_error, io_error};

/// True for the path that stands for standard input.
pub(super) fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compression {
    Gzip,
    Zstd,
}

impl Compression {
    fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "gz" => Some(Self::Gzip),
            "zst" => Some(Self::Zstd),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// True if compressed data can begin so. Data of zstd may begin with a frame to be skipped.
    fn begins(self, bytes: &[u8]) -> bool {
        match (self, bytes) {
            (Self::Gzip, bytes) => bytes.starts_with(&[0x1f, 0x8b]),
            (Self::Zstd, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]) => true,
            (Self::Zstd, bytes) => bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]),
        }
    }
}

/// The path without the extension of its compression.
pub(super) fn uncompressed(path: &Path) -> PathBuf {
    match Compression::of(path) {
        Some(_) => path.with_extension(""),
        None => path.to_owned(),
    }
}

/// What a recording is read from.
///
/// Compressed data that are damaged end where the damage begins: what came before is good, and
/// [`Input::damage`] says why there is no more.
pub(super) struct Input {
    reader: Box<dyn Read + Send>,
    /// Bytes of a regular file that is not compressed.
    length: Option<u64>,
    compression: Option<Compression>,
    /// Bytes given so far.
    given: u64,
    damage: Option<String>,
}

impl Input {
    pub(super) fn open(path: &Path) -> Result<Self, SourceError> {
        let mut input = Self {
            reader: Box::new(io::empty()),
            length: None,
            compression: Compression::of(path),
            given: 0,
            damage: None,
        };
        if is_stdin(path) {
            input.reader = Box::new(io::stdin());
            return Ok(input);
        }
        let file = File::open(path).map_err(|error| io_error(path, error))?;
        let metadata = file.metadata().map_err(|error| io_error(path, error))?;
        if metadata.is_dir() {
            return Err(format_error(path, "file", IS_DIRECTORY));
        }
        let Some(compression) = input.compression else {
            input.length = metadata.is_file().then_some(metadata.len());
            input.reader = Box::new(file);
            return Ok(input);
        };
        let mut file = BufReader::with_capacity(1 << 16, file);
        let start = file.fill_buf().map_err(|error| io_error(path, error))?;
        if start.is_empty() {
            return Err(format_error(path, "file", "is empty"));
        }
        if !compression.begins(start) {
            let reason = format!("is not compressed with {}, as its name says", compression.name());
            return Err(format_error(path, "byte 0", reason));
        }
        input.reader = match compression {
            Compression::Gzip => Box::new(MultiGzDecoder::new(file)),
            Compression::Zstd => {
                let decoder = zstd::stream::read::Decoder::with_buffer(file);
                Box::new(decoder.map_err(|error| io_error(path, error))?)
            }
        };
        Ok(input)
    }

    /// Bytes in all, where that is known.
    pub(super) fn length(&self) -> Option<u64> {
        self.length
    }

    /// Why the bytes ended before their time, where they did.
    pub(super) fn damage(&self) -> Option<String> {
        self.damage.clone()
    }

    /// Reads to the end and returns how many bytes that were.
    pub(super) fn count_rest(&mut self) -> io::Result<u64> {
        if let Some(length) = self.length {
            return Ok(length.saturating_sub(self.given));
        }
        io::copy(self, &mut io::sink())
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match (self.reader.read(buffer), self.compression) {
            (Ok(bytes), _) => {
                self.given += bytes as u64;
                Ok(bytes)
            }
            // What the system says has a number; anything else is what the decoder makes of the data.
            (Err(error), Some(compression))
                if error.raw_os_error().is_none() && error.kind() != ErrorKind::Interrupted =>
            {
                let name = compression.name();
                self.damage = Some(match error.kind() {
                    ErrorKind::UnexpectedEof => {
                        format!("the {name} data end before they are whole, behind {} bytes", self.given)
                    }
                    _ => format!("the {name} data are damaged behind {} bytes: {error}", self.given),
                });
                self.reader = Box::new(io::empty());
                Ok(0)
            }
            (Err(error), _) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::stream::encode_all(bytes, 3).unwrap()
    }

    fn content() -> Vec<u8> {
        (0..200_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 27) as u8).collect()
    }

    fn read(name: &str, bytes: &[u8]) -> (Vec<u8>, Option<String>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let mut input = Input::open(&path).unwrap();
        let mut read = Vec::new();
        input.read_to_end(&mut read).unwrap();
        (read, input.damage())
    }

    #[test]
    fn compressed_files_are_read_as_what_is_in_them() {
        let content = content();
        assert!(read("a.gz", &gzip(&content)) == (content.clone(), None));
        assert!(read("a.ZST", &zstd(&content)) == (content.clone(), None));
        // As `cat a.gz b.gz` and `cat a.zst b.zst` make them.
        let (first, second) = content.split_at(70_000);
        assert!(read("a.gz", &[gzip(first), gzip(second)].concat()) == (content.clone(), None));
        assert!(read("a.zst", &[zstd(first), zstd(second)].concat()) == (content, None));
    }

    #[test]
    fn data_that_are_cut_or_damaged_give_what_is_whole() {
        let content = content();
        for (name, whole) in [("a.gz", gzip(&content)), ("a.zst", zstd(&content))] {
            let (some, damage) = read(name, &whole[..whole.len() / 2]);
            assert!(content.starts_with(&some), "{name}");
            assert!(damage.unwrap().contains("end before they are whole"), "{name}");
            let mut flipped = whole.clone();
            let end = flipped.len() - 6;
            flipped[end] ^= 0x55;
            let (_, damage) = read(name, &flipped);
            assert!(damage.is_some(), "{name}");
            let (all, damage) = read(name, &[&whole[..], b"tail"].concat());
            assert!(content == all && damage.is_some(), "{name}");
        }
    }

    #[test]
    fn names_that_lie_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.gz", "a.zst"] {
            let path = folder.path().join(name);
            std::fs::write(&path, "x\n1\n").unwrap();
            let error = Input::open(&path).err().unwrap().to_string();
            assert!(error.contains("is not compressed with"), "{error}");
            std::fs::write(&path, "").unwrap();
            assert!(Input::open(&path).err().unwrap().to_string().contains("is empty"));
        }
        assert_eq!(uncompressed(Path::new("a/b.csv.gz")), Path::new("a/b.csv"));
        assert_eq!(uncompressed(Path::new("a/b.csv")), Path::new("a/b.csv"));
    }

    proptest! {
        #[test]
        fn any_bytes_come_to_an_end(
            mut bytes in prop::collection::vec(any::<u8>(), 4..300),
            gz in any::<bool>(),
            begins in any::<bool>(),
        ) {
            let (name, magic) = if gz { ("a.gz", [0x1f, 0x8b, 8, 0]) } else { ("a.zst", [0x28, 0xb5, 0x2f, 0xfd]) };
            if begins {
                bytes[..4].copy_from_slice(&magic);
            }
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join(name);
            std::fs::write(&path, &bytes).unwrap();
            if let Ok(mut input) = Input::open(&path) {
                prop_assert!(input.count_rest().is_ok());
            }
        }
    }
}
