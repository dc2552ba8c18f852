//! Reads and writes NumPy's `.npz`: a zip of `.npy` arrays.
//!
//! Reading trusts nothing: a header that promises more than the file holds is an error before anything is
//! allocated for it.

use std::collections::BTreeMap;
use std::io::{Cursor, Read, Write};

use ndarray::{ArrayD, ArrayViewD, IxDyn, ShapeBuilder};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// Unpacked bytes that any file may have; a larger file may have [`MAX_EXPANSION`] times its own size.
const FREE_SIZE: u64 = 64 << 20;
/// How many times its packed size a file may unpack to.
const MAX_EXPANSION: u64 = 64;
/// Most dimensions of an array, NumPy's own bound.
const MAX_RANK: usize = 32;

/// Why an `.npz` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NpzError {
    /// Not a zip, or a damaged one.
    #[error("not a readable .npz: {0}")]
    Zip(String),
    /// It unpacks to more than any model needs.
    #[error("the .npz unpacks to more than {limit} bytes")]
    TooLarge {
        /// The bound.
        limit: u64,
    },
    /// An array that is not there.
    #[error("the .npz has no array '{key}'")]
    Missing {
        /// The array's name.
        key: String,
    },
    /// An array that is not readable as the `.npy` it should be.
    #[error("array '{key}' of the .npz: {reason}")]
    Array {
        /// The array's name.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// A value that is not a number.
    #[error("array '{key}' of the .npz holds {value} at flat index {index}: every value must be finite")]
    NotFinite {
        /// The array's name.
        key: String,
        /// Place in C order.
        index: usize,
        /// The value.
        value: f64,
    },
}

/// The arrays of an `.npz`, decoded when they are asked for.
#[derive(Clone, Debug)]
pub struct Npz {
    arrays: BTreeMap<String, Vec<u8>>,
}

impl Npz {
    /// Unpacks a file's bytes.
    ///
    /// # Errors
    /// [`NpzError::Zip`] or [`NpzError::TooLarge`].
    pub fn read(bytes: &[u8]) -> Result<Self, NpzError> {
        let damaged = |error: &dyn std::fmt::Display| NpzError::Zip(error.to_string());
        let mut zip = ZipArchive::new(Cursor::new(bytes)).map_err(|error| damaged(&error))?;
        let limit = FREE_SIZE.max(bytes.len() as u64 * MAX_EXPANSION);
        let mut left = limit;
        let mut arrays = BTreeMap::new();
        for index in 0..zip.len() {
            let entry = zip.by_index(index).map_err(|error| damaged(&error))?;
            let name = entry.name().map_err(|error| damaged(&error))?.into_owned();
            let mut content = Vec::new();
            entry
                .take(left + 1)
                .read_to_end(&mut content)
                .map_err(|error| NpzError::Zip(format!("{name}: {error}")))?;
            left = left.checked_sub(content.len() as u64).ok_or(NpzError::TooLarge { limit })?;
            arrays.insert(name.strip_suffix(".npy").unwrap_or(&name).to_owned(), content);
        }
        Ok(Self { arrays })
    }

    /// Names of all arrays, sorted as text.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.arrays.keys().map(String::as_str)
    }

    /// True if there is an array of this name.
    pub fn contains(&self, key: &str) -> bool {
        self.arrays.contains_key(key)
    }

    /// An array of finite floats; double precision is rounded to single.
    ///
    /// # Errors
    /// A missing or damaged array, one of another type, a value that is not finite.
    pub fn floats(&self, key: &str) -> Result<ArrayD<f32>, NpzError> {
        let (header, data) = self.open(key)?;
        let decode: fn(u64) -> f64 = match (header.kind, header.item_size) {
            ('f', 4) => |bits| f64::from(f32::from_bits(bits as u32)),
            ('f', 8) => f64::from_bits,
            _ => return Err(header.wrong_type(key, "f4 or f8")),
        };
        let mut values = Vec::with_capacity(data.len() / header.item_size);
        for (index, bits) in header.items(data).enumerate() {
            let value = decode(bits);
            if !(value as f32).is_finite() {
                return Err(NpzError::NotFinite { key: key.to_owned(), index, value });
            }
            values.push(value as f32);
        }
        header.into_array(key, values)
    }

    /// An array of whole numbers of any width.
    ///
    /// # Errors
    /// A missing or damaged array, one of another type.
    pub fn integers(&self, key: &str) -> Result<ArrayD<i64>, NpzError> {
        let (header, data) = self.open(key)?;
        let decode: fn(u64) -> i64 = match (header.kind, header.item_size) {
            ('i', 1) => |bits| i64::from(bits as i8),
            ('i', 2) => |bits| i64::from(bits as i16),
            ('i', 4) => |bits| i64::from(bits as i32),
            ('i', 8) => |bits| bits as i64,
            ('u', 1 | 2 | 4) => |bits| bits as i64,
            ('u', 8) => |bits| i64::try_from(bits).unwrap_or(i64::MAX),
            _ => return Err(header.wrong_type(key, "whole numbers")),
        };
        let values = header.items(data).map(decode).collect();
        header.into_array(key, values)
    }

    fn open(&self, key: &str) -> Result<(Header, &[u8]), NpzError> {
        let npy = self.arrays.get(key).ok_or_else(|| NpzError::Missing { key: key.to_owned() })?;
        let damaged = |reason: String| NpzError::Array { key: key.to_owned(), reason };
        let (header, data) = Header::parse(npy).map_err(damaged)?;
        let size = header.shape.iter().try_fold(header.item_size, |size, &dim| size.checked_mul(dim));
        if size != Some(data.len()) {
            return Err(damaged(format!(
                "its header promises shape {:?} of {} bytes each, but {} bytes follow",
                header.shape,
                header.item_size,
                data.len()
            )));
        }
        Ok((header, data))
    }
}

/// What the head of an `.npy` says.
struct Header {
    /// NumPy's letter: `f`, `i`, `u`, ...
    kind: char,
    item_size: usize,
    big_endian: bool,
    fortran_order: bool,
    shape: Vec<usize>,
}

impl Header {
    /// Splits an `.npy` of version 1 to 3 into what its header says and the data.
    fn parse(npy: &[u8]) -> Result<(Self, &[u8]), String> {
        let rest = npy.strip_prefix(b"\x93NUMPY").ok_or("it is not an .npy")?;
        let cut = || "it is cut short".to_owned();
        let (len, rest) = match rest {
            [1, _, a, b, rest @ ..] => (usize::from(u16::from_le_bytes([*a, *b])), rest),
            [2 | 3, _, a, b, c, d, rest @ ..] => (u32::from_le_bytes([*a, *b, *c, *d]) as usize, rest),
            [version, ..] => return Err(format!("it has .npy version {version}, 1 to 3 can be read")),
            [] => return Err(cut()),
        };
        let (text, data) = rest.split_at_checked(len).ok_or_else(cut)?;
        let text = std::str::from_utf8(text).map_err(|_| "its header is not text".to_owned())?;
        let unreadable = || format!("its header is not readable: {}", text.trim());
        let value = |name: &str| {
            let after = text.split_once(&format!("'{name}'"))?.1;
            after.trim_start().strip_prefix(':').map(str::trim_start)
        };
        let descr = value("descr").and_then(|text| text.strip_prefix('\'')).ok_or_else(unreadable)?;
        let (descr, _) = descr.split_once('\'').ok_or_else(unreadable)?;
        let mut letters = descr.chars();
        let order = letters.next().ok_or_else(unreadable)?;
        let kind = letters.next().ok_or_else(unreadable)?;
        let item_size = letters.as_str().parse().map_err(|_| unreadable())?;
        let fortran_order = match value("fortran_order").ok_or_else(unreadable)? {
            text if text.starts_with("True") => true,
            text if text.starts_with("False") => false,
            _ => return Err(unreadable()),
        };
        let shape = value("shape").and_then(|text| text.strip_prefix('(')).ok_or_else(unreadable)?;
        let (shape, _) = shape.split_once(')').ok_or_else(unreadable)?;
        let shape: Vec<usize> = shape
            .split(',')
            .map(str::trim)
            .filter(|dim| !dim.is_empty())
            .map(|dim| dim.parse().map_err(|_| unreadable()))
            .collect::<Result<_, _>>()?;
        if shape.len() > MAX_RANK || !(1..=8).contains(&item_size) {
            return Err(unreadable());
        }
        Ok((Self { kind, item_size, big_endian: order == '>', fortran_order, shape }, data))
    }

    /// The bits of each value in file order, low bits first.
    fn items<'a>(&self, data: &'a [u8]) -> impl Iterator<Item = u64> + use<'a> {
        let big_endian = self.big_endian;
        data.chunks_exact(self.item_size).map(move |bytes| {
            let join = |bits: u64, byte: &u8| bits << 8 | u64::from(*byte);
            if big_endian { bytes.iter().fold(0, join) } else { bytes.iter().rev().fold(0, join) }
        })
    }

    fn into_array<T: Clone>(self, key: &str, values: Vec<T>) -> Result<ArrayD<T>, NpzError> {
        let shape = IxDyn(&self.shape);
        let array = if self.fortran_order {
            ArrayD::from_shape_vec(shape.set_f(true), values)
        } else {
            ArrayD::from_shape_vec(shape, values)
        };
        let array =
            array.map_err(|error| NpzError::Array { key: key.to_owned(), reason: error.to_string() })?;
        Ok(array.as_standard_layout().into_owned())
    }

    fn wrong_type(&self, key: &str, expected: &str) -> NpzError {
        let reason = format!("it has type {}{} where {expected} is needed", self.kind, self.item_size);
        NpzError::Array { key: key.to_owned(), reason }
    }
}

/// Makes an `.npz` in memory: stored, without times, so that the same arrays give the same bytes.
pub struct NpzWriter {
    zip: ZipWriter<Cursor<Vec<u8>>>,
}

impl Default for NpzWriter {
    fn default() -> Self {
        Self { zip: ZipWriter::new(Cursor::new(Vec::new())) }
    }
}

impl NpzWriter {
    /// Adds an array of floats.
    ///
    /// # Errors
    /// A name that is already there.
    pub fn floats(&mut self, key: &str, array: ArrayViewD<'_, f32>) -> Result<(), NpzError> {
        self.add(key, "<f4", array.shape(), array.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    /// Adds an array of whole numbers.
    ///
    /// # Errors
    /// A name that is already there.
    pub fn integers(&mut self, key: &str, array: ArrayViewD<'_, i64>) -> Result<(), NpzError> {
        self.add(key, "<i8", array.shape(), array.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    fn add(&mut self, key: &str, descr: &str, shape: &[usize], data: Vec<u8>) -> Result<(), NpzError> {
        let shape: String = shape.iter().map(|dim| format!("{dim}, ")).collect();
        let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}");
        // NumPy ends the header with a newline on a multiple of 64 bytes, so that the data is aligned.
        let len = (10 + header.len() + 1).next_multiple_of(64) - 10;
        header.extend(std::iter::repeat_n(' ', len - 1 - header.len()));
        header.push('\n');
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        let failed = |reason: String| NpzError::Array { key: key.to_owned(), reason };
        self.zip.start_file(format!("{key}.npy"), options).map_err(|error| failed(error.to_string()))?;
        let mut write = |bytes: &[u8]| self.zip.write_all(bytes);
        write(b"\x93NUMPY\x01\x00")
            .and_then(|()| write(&(len as u16).to_le_bytes()))
            .and_then(|()| write(header.as_bytes()))
            .and_then(|()| write(&data))
            .map_err(|error| failed(error.to_string()))
    }

    /// The file's bytes.
    ///
    /// # Errors
    /// More arrays than a zip can hold.
    pub fn finish(self) -> Result<Vec<u8>, NpzError> {
        self.zip.finish().map(Cursor::into_inner).map_err(|error| NpzError::Zip(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Vec<u8> {
        let mut writer = NpzWriter::default();
        let floats = ArrayD::from_shape_fn(IxDyn(&[2, 3]), |i| i[0] as f32 - 0.5 * i[1] as f32);
        writer.floats("a", floats.view()).unwrap();
        writer.integers("b", ArrayD::from_shape_fn(IxDyn(&[4]), |i| i[0] as i64 - 2).view()).unwrap();
        writer.floats("scalar", ArrayD::from_elem(IxDyn(&[]), 7.0).view()).unwrap();
        writer.finish().unwrap()
    }

    /// An `.npz` of one array `a` with the given `.npy` bytes.
    fn with_npy(npy: &[u8]) -> Npz {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        zip.start_file("a.npy", SimpleFileOptions::default()).unwrap();
        zip.write_all(npy).unwrap();
        Npz::read(&zip.finish().unwrap().into_inner()).unwrap()
    }

    fn npy(dict: &str, data: &[u8]) -> Vec<u8> {
        let mut npy = b"\x93NUMPY\x01\x00".to_vec();
        npy.extend((dict.len() as u16).to_le_bytes());
        npy.extend(dict.as_bytes());
        npy.extend(data);
        npy
    }

    #[test]
    fn reads_what_it_writes() {
        let npz = Npz::read(&sample()).unwrap();
        assert_eq!(npz.names().collect::<Vec<_>>(), ["a", "b", "scalar"]);
        assert_eq!(npz.floats("a").unwrap().as_slice().unwrap(), [0.0, -0.5, -1.0, 1.0, 0.5, 0.0]);
        assert_eq!(npz.integers("b").unwrap().as_slice().unwrap(), [-2, -1, 0, 1]);
        assert_eq!(npz.floats("scalar").unwrap().shape(), [0_usize; 0]);
        assert_eq!(sample(), sample());
    }

    #[test]
    fn reads_numpys_types_and_orders() {
        let floats = |dict, data: &[u8]| with_npy(&npy(dict, data)).floats("a");
        let mut doubles = Vec::new();
        [1.0_f64, 2.0, 3.0, 4.0].iter().for_each(|v| doubles.extend(v.to_be_bytes()));
        let array = floats("{'descr': '>f8', 'fortran_order': True, 'shape': (2, 2), }", &doubles).unwrap();
        assert_eq!(array.as_slice().unwrap(), [1.0, 3.0, 2.0, 4.0]);
        let integers = |descr: &str, data: &[u8]| {
            let dict = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': (1,), }}");
            with_npy(&npy(&dict, data)).integers("a").unwrap()[0]
        };
        assert_eq!(integers("|u1", &[255]), 255);
        assert_eq!(integers("|i1", &[255]), -1);
        assert_eq!(integers("<u2", &[0, 128]), 32_768);
        assert_eq!(integers("<i4", &[254, 255, 255, 255]), -2);
    }

    #[test]
    fn refusals_name_the_array() {
        let npz = Npz::read(&sample()).unwrap();
        assert!(npz.floats("c").unwrap_err().to_string().contains("no array 'c'"));
        assert!(npz.floats("b").unwrap_err().to_string().contains("'b'"));
        assert!(npz.integers("a").unwrap_err().to_string().contains("type f4"));
        for value in [f32::NAN, f32::INFINITY] {
            let mut writer = NpzWriter::default();
            writer.floats("bad", ndarray::arr1(&[1.0, value]).into_dyn().view()).unwrap();
            let error = Npz::read(&writer.finish().unwrap()).unwrap().floats("bad").unwrap_err();
            assert!(matches!(error, NpzError::NotFinite { index: 1, .. }), "{error}");
        }
        assert!(matches!(Npz::read(b"not a zip"), Err(NpzError::Zip(_))));
        assert!(matches!(Npz::read(&[]), Err(NpzError::Zip(_))));
    }

    #[test]
    fn a_header_that_promises_more_than_there_is_allocates_nothing() {
        for shape in ["(1000000000000,)", "(18446744073709551615, 18446744073709551615)", "(3,)"] {
            let dict = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
            let error = with_npy(&npy(&dict, &[0; 8])).floats("a").unwrap_err();
            assert!(matches!(error, NpzError::Array { .. }), "{error}");
        }
    }

    #[test]
    fn every_cut_is_an_error_or_whole() {
        let bytes = sample();
        for len in 0..bytes.len() {
            assert!(Npz::read(&bytes[..len]).is_err(), "{len}");
        }
    }

    #[test]
    fn a_file_that_unpacks_to_far_more_than_it_is_gets_refused() {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
        zip.start_file("a.npy", options).unwrap();
        let block = vec![0; 1 << 20];
        (0..70).for_each(|_| zip.write_all(&block).unwrap());
        let bytes = zip.finish().unwrap().into_inner();
        assert!(matches!(Npz::read(&bytes), Err(NpzError::TooLarge { .. })));
    }

    proptest! {
        #[test]
        fn any_flipped_byte_is_survived(at in 0_usize..600, flip in 1_u8..) {
            let mut bytes = sample();
            let at = at % bytes.len();
            bytes[at] ^= flip;
            if let Ok(npz) = Npz::read(&bytes) {
                for key in ["a", "b", "scalar"] {
                    let _ = npz.floats(key);
                    let _ = npz.integers(key);
                }
            }
        }

        #[test]
        fn any_header_is_survived(dict in "\\PC{0,80}", data in prop::collection::vec(any::<u8>(), 0..64)) {
            let npz = with_npy(&npy(&dict, &data));
            prop_assert!(npz.floats("a").is_err());
        }
    }
}
