//! Whole lines or rows become records.

use super::tail::{Block, Content, MAX_LINE_BYTES, Unit};
use crate::source::decoding::{Codec, DecodeError, DecodingOptions, MessageDecoder, Place, Record};

/// What a piece of a file holds.
#[derive(Debug, PartialEq)]
pub(super) struct Piece {
    /// The byte behind it.
    pub(super) end: u64,
    pub(super) held: Held,
}

#[derive(Debug, PartialEq)]
pub(super) enum Held {
    Records(Vec<Record>),
    /// Why it cannot be used.
    Refused(String),
    /// Nothing that is wanted: a header, an empty line.
    Nothing,
}

/// Decodes the blocks of files.
///
/// What comes out does not depend on where blocks were cut. Rows without times of their own follow on each other
/// wherever they are, and are decoded together; what has a time is decoded line by line, since a message has one.
pub(super) struct Parser {
    decoder: MessageDecoder,
    unit: Unit,
    has_header: bool,
    by_line: bool,
    /// Reused between messages.
    message: Vec<u8>,
}

impl Parser {
    pub(super) fn new(options: DecodingOptions) -> Self {
        let sample_bytes = usize::from(options.sample_type.bits() / 8);
        let unit = match &options.codec {
            Codec::Raw { .. } => Unit::Row(sample_bytes * options.channels.len().max(1)),
            Codec::Packed(fields) => Unit::Row(fields.length_bytes()),
            Codec::Json(_) | Codec::Csv(_) | Codec::Influx(_) => Unit::Line,
        };
        let (has_header, by_line) = match &options.codec {
            Codec::Raw { .. } => (false, false),
            Codec::Csv(columns) => (columns.header, columns.time.is_some()),
            Codec::Json(_) | Codec::Influx(_) | Codec::Packed(_) => (false, true),
        };
        Self { decoder: MessageDecoder::new(options), unit, has_header, by_line, message: Vec::new() }
    }

    pub(super) fn options(&self) -> &DecodingOptions {
        self.decoder.options()
    }

    pub(super) fn unit(&self) -> Unit {
        self.unit
    }

    /// True if the first line of a file names its columns.
    pub(super) fn has_header(&self) -> bool {
        self.has_header
    }

    /// True if one line may be of another stream than the next.
    pub(super) fn has_keys(&self) -> bool {
        match &self.options().codec {
            Codec::Raw { .. } | Codec::Packed(_) => false,
            Codec::Json(fields) => fields.key.is_some(),
            Codec::Csv(columns) => columns.key.is_some(),
            Codec::Influx(_) => true,
        }
    }

    /// The pieces of a block of a file with that header.
    pub(super) fn pieces(&mut self, block: &Block, header: Option<&[u8]>) -> Vec<Piece> {
        let bytes = match &block.content {
            Content::Units(bytes) => bytes.as_slice(),
            Content::TooLong => {
                let reason = format!(
                    "the line at byte {} has {} bytes, {MAX_LINE_BYTES} are possible",
                    block.start,
                    block.end - block.start
                );
                return vec![Piece { end: block.end, held: Held::Refused(reason) }];
            }
        };
        let is_row = |line: &[u8]| {
            !line.trim_ascii().is_empty() && !header.is_some_and(|header| is_same(line, header))
        };
        if !self.by_line && self.unit == Unit::Line {
            self.begin(header);
            let before = self.message.len();
            for line in bytes.split_inclusive(|byte| *byte == b'\n').filter(|line| is_row(line)) {
                self.message.extend_from_slice(line);
            }
            if self.message.len() == before {
                return vec![Piece { end: block.end, held: Held::Nothing }];
            }
        } else if !self.by_line {
            self.message.clear();
            self.message.extend_from_slice(bytes);
        }
        if !self.by_line
            && let Ok(records) = self.decode()
        {
            return vec![Piece { end: block.end, held: Held::Records(records) }];
        }
        let mut pieces = Vec::new();
        let mut end = block.start;
        let (units, what): (Box<dyn Iterator<Item = &[u8]>>, _) = match self.unit {
            Unit::Line => (Box::new(bytes.split_inclusive(|byte| *byte == b'\n')), "line"),
            Unit::Row(row_bytes) => (Box::new(bytes.chunks(row_bytes)), "row"),
        };
        for unit in units {
            let start = end;
            end += unit.len() as u64;
            if self.unit == Unit::Line && !is_row(unit) {
                continue;
            }
            self.begin(header);
            self.message.extend_from_slice(unit);
            let held = match self.decode() {
                Ok(records) if records.is_empty() => continue,
                Ok(records) => Held::Records(records),
                Err(error) => Held::Refused(format!("the {what} at byte {start}: {}", told(&error))),
            };
            pieces.push(Piece { end, held });
        }
        if pieces.last().is_none_or(|last| last.end < block.end) {
            pieces.push(Piece { end: block.end, held: Held::Nothing });
        }
        pieces
    }

    /// Begins a message: with the header, which names the columns of every message.
    fn begin(&mut self, header: Option<&[u8]>) {
        self.message.clear();
        if let Some(header) = header {
            self.message.extend_from_slice(header);
            self.message.push(b'\n');
        }
    }

    fn decode(&mut self) -> Result<Vec<Record>, DecodeError> {
        let mut records = Vec::new();
        self.decoder.decode(&self.message, &mut records)?;
        Ok(records)
    }
}

fn is_same(line: &[u8], header: &[u8]) -> bool {
    let mark = b"\xef\xbb\xbf";
    let plain = |line: &[u8]| line.strip_prefix(mark).unwrap_or(line).trim_ascii_end().to_vec();
    line.len().abs_diff(header.len()) <= mark.len() + 2 && plain(line) == plain(header)
}

/// An error of a message of one line: which line of the message it is says nothing.
fn told(error: &DecodeError) -> String {
    match error.place() {
        Place::Message | Place::Line(_) | Place::Byte(_) => error.reason().to_owned(),
        Place::Character { column, .. } => format!("character {column}: {}", error.reason()),
        Place::Cell { column, .. } => format!("{column}: {}", error.reason()),
        Place::Path { .. } => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::signal::{ChannelInfo, SampleType};
    use crate::source::decoding::{Column, CsvColumns, JsonFields, JsonLayout, TimeField, TimeUnit};
    use crate::source::file::Endian;

    fn options(codec: Codec, channels: usize, sample_type: SampleType) -> DecodingOptions {
        let channels = vec![ChannelInfo::unscaled(""); channels];
        DecodingOptions { sample_rate_hz: 100.0, sample_type, channels, codec }
    }

    fn csv(header: bool, time: bool) -> Parser {
        let time = time.then_some(TimeField { at: Column::Place(0), unit: TimeUnit::Milliseconds });
        let samples = Some(vec![Column::Place(1)]);
        let columns = CsvColumns { samples, time, key: None, delimiter: b',', header };
        Parser::new(options(Codec::Csv(columns), 1, SampleType::I16))
    }

    fn block(start: u64, text: &[u8]) -> Block {
        Block { start, end: start + text.len() as u64, content: Content::Units(text.to_vec()) }
    }

    /// The samples and the ends of what was refused.
    fn flat(pieces: &[Piece]) -> (Vec<f64>, Vec<(u64, String)>) {
        let (mut samples, mut refused) = (Vec::new(), Vec::new());
        for piece in pieces {
            match &piece.held {
                Held::Records(records) => samples.extend(records.iter().flat_map(|record| &record.samples)),
                Held::Refused(reason) => refused.push((piece.end, reason.clone())),
                Held::Nothing => {}
            }
        }
        (samples, refused)
    }

    #[test]
    fn headers_and_empty_lines_are_left_out_wherever_they_are() {
        for time in [false, true] {
            let mut parser = csv(true, time);
            let text = b"\xef\xbb\xbft,v\r\n0,1\r\n\r\nt,v\r\n10,2\r\n";
            let pieces = parser.pieces(&block(0, text), Some(b"\xef\xbb\xbft,v\r"));
            assert_eq!(flat(&pieces), (vec![1.0, 2.0], Vec::new()));
            assert_eq!(pieces.last().unwrap().end, text.len() as u64);
            let pieces = parser.pieces(&block(50, b"\n\n"), Some(b"t,v"));
            assert_eq!(pieces, [Piece { end: 52, held: Held::Nothing }]);
        }
    }

    #[test]
    fn one_bad_line_is_refused_alone_with_its_byte() {
        let mut parser = csv(true, false);
        let pieces = parser.pieces(&block(100, b"0,1\n1,x\n2,3\n"), Some(b"t,v"));
        let (samples, refused) = flat(&pieces);
        assert_eq!(samples, [1.0, 3.0]);
        let reason = "the line at byte 104: column 1: \"x\" is not a finite number";
        assert_eq!(refused, [(108, reason.to_owned())]);
        assert_eq!(pieces.iter().map(|piece| piece.end).collect::<Vec<_>>(), [104, 108, 112]);
    }

    #[test]
    fn one_bad_row_of_bytes_is_refused_alone() {
        let mut parser = Parser::new(options(Codec::Raw { endian: Endian::Little }, 1, SampleType::F32));
        let bytes: Vec<u8> = [1.0_f32, f32::NAN, 3.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        let (samples, refused) = flat(&parser.pieces(&block(8, &bytes), None));
        assert_eq!(samples, [1.0, 3.0]);
        assert_eq!(refused, [(16, "the row at byte 12: not a finite number (NaN or infinite)".to_owned())]);
    }

    #[test]
    fn packed_records_are_read_one_by_one() {
        let fields = "u8 seq, f32le samples".parse().unwrap();
        let mut parser = Parser::new(options(Codec::Packed(fields), 1, SampleType::F32));
        let rows = [1.0_f32, f32::NAN, 3.0].iter().flat_map(|v| [&[9], &v.to_le_bytes()[..]].concat());
        let (samples, refused) = flat(&parser.pieces(&block(10, &rows.collect::<Vec<_>>()), None));
        assert_eq!(samples, [1.0, 3.0]);
        assert_eq!(
            refused,
            [(20, "the row at byte 15: NaN is not a finite number that fits f32".to_owned())]
        );
    }

    #[test]
    fn json_is_one_message_a_line() {
        let fields = JsonFields {
            samples: vec!["v".parse().unwrap()],
            layout: JsonLayout::Rows,
            time: None,
            key: Some("k".parse().unwrap()),
        };
        let mut parser = Parser::new(options(Codec::Json(fields), 1, SampleType::I16));
        let text = b"{\"k\":\"a\",\"v\":[1,2]}\n[{\"k\":\"a\",\"v\":3},\n{\"k\":\"b\",\"v\":4}\n";
        let (samples, refused) = flat(&parser.pieces(&block(0, text), None));
        assert_eq!(samples, [1.0, 2.0, 4.0], "an array does not go on on the next line");
        assert_eq!(refused.len(), 1);
        assert!(refused[0].1.starts_with("the line at byte 20: character "), "{refused:?}");
    }

    proptest! {
        #[test]
        fn where_blocks_are_cut_does_not_matter(
            lines in prop::collection::vec(
                prop_oneof![
                    8 => "[0-9]{1,3},-?[0-9]{1,4}\n", 1 => "[a-z0-9,.\"]{0,8}\n", 1 => Just("t,v\n".to_owned()),
                ],
                0..40,
            ),
            cuts in prop::collection::vec(any::<bool>(), 40),
            header in any::<bool>(), time in any::<bool>(),
        ) {
            let header_line = header.then_some(&b"t,v"[..]);
            let whole: String = lines.concat();
            let expected = match whole.is_empty() {
                true => (Vec::new(), Vec::new()),
                false => flat(&csv(header, time).pieces(&block(0, whole.as_bytes()), header_line)),
            };
            let mut parser = csv(header, time);
            let (mut start, mut text) = (0, String::new());
            let (mut samples, mut refused) = (Vec::new(), Vec::new());
            for (i, (line, cut)) in lines.iter().zip(cuts).enumerate() {
                text.push_str(line);
                if cut || i + 1 == lines.len() {
                    let found = flat(&parser.pieces(&block(start, text.as_bytes()), header_line));
                    samples.extend(found.0);
                    refused.extend(found.1);
                    start += text.len() as u64;
                    text.clear();
                }
            }
            prop_assert_eq!((samples, refused), expected);
        }
    }
}
