//! What is fed to each decoder, and good inputs to begin from.

#[path = "packet_files.rs"]
mod packet_files;

use std::cell::RefCell;
use std::path::Path;

use bytes::BytesMut;
use rivulet::config::{PipelineConfig, SourceConfig, SourceDecoding};
use rivulet::packet::{Header, Packet};
use rivulet::signal::SampleType;
use rivulet::source::SourceEvent;
use rivulet::source::decoding::{DecodingOptions, MessageDecoder, PackedFields, Record};
use rivulet::source::file::{self, FileOptions, Format};
use rivulet::source::serial::framing::{Frame, Framing};
use rivulet::window::{Framer, FramerConfig};
use tokio_util::codec::Decoder;

/// A decoder and what it may be fed with.
pub(crate) struct Target {
    /// What it is called.
    pub(crate) name: &'static str,
    /// Feeds it; panics where it does.
    pub(crate) feed: fn(&[u8]),
    /// Inputs that are good, or nearly so.
    #[allow(dead_code, reason = "the fuzzer keeps a corpus of its own")]
    pub(crate) seeds: fn() -> Vec<Vec<u8>>,
}

/// Every decoder.
pub(crate) const ALL: &[Target] = &[
    Target { name: "packet", feed: packet, seeds: packets },
    Target { name: "rvl", feed: rvl, seeds: rvl_seeds },
    Target { name: "snapshot", feed: snapshot, seeds: || texts(&["", "rivulet"]) },
    Target { name: "config", feed: config, seeds: || texts(&[ECG, KAFKA]) },
    Target {
        name: "raw",
        feed: |bytes| message("codec = \"raw\"\nsample_type = \"s24be\"", bytes),
        seeds: || texts(&["abcd"]),
    },
    Target { name: "json", feed: json, seeds: json_seeds },
    Target { name: "csv", feed: csv, seeds: csv_seeds },
    Target { name: "influx", feed: influx, seeds: influx_seeds },
    Target {
        name: "packed",
        feed: |bytes| {
            message("codec = \"packed\"\nfields = \"u8 seq, f32le samples, pad, s24be samples\"", bytes)
        },
        seeds: || texts(&["aaaabccc-"]),
    },
    Target {
        name: "fields",
        feed: fields,
        seeds: || texts(&["u16le seq, 3*s16le samples, u8 status, 2*pad"]),
    },
    Target { name: "framing", feed: framing, seeds: framing_seeds },
    Target {
        name: "wfdb_header",
        feed: |bytes| recording(Format::Wfdb, &[("a.hea", bytes), ("a.dat", &[0x5A; 99])]),
        seeds: wfdb_seeds,
    },
    Target { name: "wfdb_signals", feed: wfdb_signals, seeds: || vec![vec![0x5A; 99]] },
    Target { name: "edf", feed: |bytes| recording(Format::Edf, &[("a.edf", bytes)]), seeds: edf_seeds },
    Target { name: "wav", feed: |bytes| recording(Format::Wav, &[("a.wav", bytes)]), seeds: wav_seeds },
    Target {
        name: "jsonl",
        feed: |bytes| recording(Format::Jsonl, &[("a.jsonl", bytes)]),
        seeds: jsonl_seeds,
    },
    Target {
        name: "rvl_file",
        feed: |bytes| recording(Format::Rvl, &[("a.rvl", bytes)]),
        seeds: rvl_file_seeds,
    },
    Target { name: "gzip", feed: |bytes| recording(Format::Csv, &[("a.csv.gz", bytes)]), seeds: gzip_seeds },
    Target { name: "zstd", feed: |bytes| recording(Format::Csv, &[("a.csv.zst", bytes)]), seeds: zstd_seeds },
    Target { name: "csv_file", feed: |bytes| recording(Format::Csv, &[("a.csv", bytes)]), seeds: csv_seeds },
    Target {
        name: "raw_file",
        feed: |bytes| recording(Format::Raw, &[("a.i24", bytes)]),
        seeds: || texts(&["abcdef"]),
    },
    Target {
        name: "description",
        feed: |bytes| recording(Format::Raw, &[("a.json", bytes), ("a.i16", &[7; 60])]),
        seeds: description_seeds,
    },
];

const ECG: &str = include_str!("../pipelines/ecg.toml");
const KAFKA: &str = include_str!("../pipelines/kafka-json.toml");

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// The golden packets.
fn packets() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder =
        folder.ancestors().map(|folder| folder.join("src/packet/testdata")).find(|folder| folder.is_dir());
    let entries = folder.into_iter().flat_map(|folder| std::fs::read_dir(folder).unwrap());
    let mut packets: Vec<_> = entries.map(|entry| std::fs::read(entry.unwrap().path()).unwrap()).collect();
    packets.iter_mut().for_each(|packet| packet.truncate(packet.len().saturating_sub(4)));
    packets
}

/// A packet as it is, and one whose checksum is right.
fn packet(bytes: &[u8]) {
    let sealed = [bytes, &crc32c::crc32c(bytes).to_le_bytes()].concat();
    for bytes in [bytes, &sealed] {
        let _ = Header::read(bytes);
        if let Ok(packet) = Packet::from_bytes(bytes) {
            assert_eq!(
                packet.side.len(),
                packet.header.frames as usize * usize::from(packet.header.channels)
            );
            let again = Packet::from_bytes(&packet.to_bytes().unwrap()).unwrap();
            assert_eq!(again.header, packet.header);
        }
    }
}

/// Records whose checksums are right, of kinds and payloads that the input says, and the input itself after them.
fn rvl(bytes: &[u8]) {
    let mut file = b"\x89RVL\r\n\x1a\n\x01".to_vec();
    let check = crc32c::crc32c(&file).to_le_bytes();
    file.extend_from_slice(&check[..3]);
    let mut rest = bytes;
    while let [kind, number, length, tail @ ..] = rest {
        let (payload, tail) = tail.split_at(tail.len().min(usize::from(*length)));
        file.extend_from_slice(&packet_files::record(*kind, *number % 251, payload));
        rest = tail;
    }
    file.extend_from_slice(bytes);
    for bytes in [bytes, &file] {
        packet_files::read(bytes);
    }
}

fn rvl_seeds() -> Vec<Vec<u8>> {
    let stream = b"\x01\x00\x17\x01a\x05\x00\x10\x01\x01x\x02mV\x03\x01";
    let packets = packets();
    let packet = packets.iter().min_by_key(|packet| packet.len()).cloned().unwrap_or_default();
    let index = b"\x03\x00\x08\x00\x01\x0c\xff\xff\xff\xff\xff";
    vec![[&stream[..], &[2, 0, packet.len() as u8], &packet, index].concat()]
}

/// The language of packed records.
fn fields(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match text.parse::<PackedFields>() {
        Ok(fields) => assert!(fields.samples() > 0 && fields.length_bytes() >= fields.samples()),
        Err(error) => assert!(error.character <= text.chars().count() + 1 && !error.reason.is_empty()),
    }
}

const FRAMINGS: [&str; 8] = [
    "method = \"newline_delimited\", max_length = 40",
    "method = \"fixed\", length = 5, sync = [0xa5, 0x5a]",
    "method = \"fixed\", length = 3, check = \"sum8\"",
    "method = \"length_delimited\", length_type = \"u16be\", max_length = 40, check = \"xor8\", check_from = \"length\"",
    "method = \"length_delimited\", length_type = \"u8\", length_counts = \"all\", sync = [0xb7], max_length = 40",
    "method = \"cobs\", max_length = 40, check = \"xor8\"",
    "method = \"slip\", max_length = 40",
    "method = \"start_end\", start = 0x7b, end = 0x7d, escape = 0x5c, max_length = 40",
];

/// A wire whose framing the first byte says, in pieces whose length the second one says: every byte is accounted for,
/// and no more than a record is held.
fn framing(bytes: &[u8]) {
    let [which, piece, wire @ ..] = bytes else { return };
    let framing = FRAMINGS[usize::from(*which) % FRAMINGS.len()];
    let text = format!(
        "name = \"f\"\nencoder = {{ type = \"rvq\", model = \"m\" }}\nsinks = [{{ type = \"mirror\" }}]\n[source]\n\
         type = \"serial\"\npath = \"p\"\nbaud_rate = 9600\nframing = {{ {framing} }}\n\
         decoding = {{ codec = \"csv\", sample_type = \"i16\", sample_rate_hz = 1 }}\n"
    );
    let config = PipelineConfig::parse(&text, "f.toml", &|_| None).unwrap();
    let SourceConfig::Serial(source) = &config.source else { panic!("no serial source") };
    let mut framing = Framing::new(&source.framing);
    let mut buffer = BytesMut::new();
    let mut seen = 0;
    let mut take = |frame| match frame {
        Frame::Whole { record, wire_bytes } => {
            assert!(!record.is_empty() && record.len() <= 40 && record.len() < wire_bytes);
            seen += wire_bytes;
        }
        Frame::Corrupt { bytes, wire_bytes, .. } => {
            assert!(!bytes.is_empty() && bytes.len() <= wire_bytes);
            seen += wire_bytes;
        }
    };
    for piece in wire.chunks(usize::from(*piece).max(1)) {
        buffer.extend_from_slice(piece);
        while let Some(frame) = framing.decode(&mut buffer).unwrap() {
            take(frame);
        }
        assert!(buffer.len() <= 100, "{} bytes are held", buffer.len());
    }
    while let Some(frame) = framing.decode_eof(&mut buffer).unwrap() {
        take(frame);
    }
    // Delimiters behind the last record belong to none.
    assert!(seen <= wire.len() && buffer.is_empty());
}

fn framing_seeds() -> Vec<Vec<u8>> {
    let wires: [&[u8]; 8] = [
        b"12,34\r\n5\n\n",
        b"\xa5\x5aabc\xa5\x5adef",
        b"ab\xc3cd\xc7",
        b"\x00\x02ab\x01\x00\x01a\x60",
        b"\xb7\x04ab\xb7\x03c",
        b"\x04ab\x03\x00\x02a\x00",
        b"\xc0ab\xdb\xdcc\xc0",
        b"{ab\\]c}{d}",
    ];
    (0_u8..).zip(wires).map(|(which, wire)| [&[which, 3], wire].concat()).collect()
}

/// A window as it is, and one whose checksum is right.
fn snapshot(bytes: &[u8]) {
    let sealed = [bytes, &crc32c::crc32c(bytes).to_le_bytes()].concat();
    let config = FramerConfig { frame_size: 16, channels: 2, max_gap_ns: None, max_streams: 4 };
    for bytes in [bytes, &sealed] {
        let mut framer = Framer::new(config).unwrap();
        if let Ok((_, next)) = framer.restore(bytes) {
            assert_eq!(rivulet::window::snapshot_position(bytes), Some(next));
        }
    }
}

fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let variable = |name: &str| (name.len().is_multiple_of(2)).then(|| "value".to_owned());
    if let Err(error) = PipelineConfig::parse(text, "a.toml", &variable) {
        assert!(error.to_string().lines().all(|line| line.starts_with("a.toml:")), "{error}");
    }
}

/// How the messages of a pipeline with such a `[source.decoding]` are read.
fn decoding(decoding: &str) -> DecodingOptions {
    let text = format!(
        "name = \"a\"\n[source]\ntype = \"kafka\"\nbrokers = \"a:1\"\ntopics = [\"a\"]\ngroup_id = \"a\"\n\
         [source.decoding]\nsample_rate_hz = 100\nchannels = 2\n{decoding}\n[encoder]\ntype = \"rvq\"\nmodel = \"m\"\n\
         [[sinks]]\ntype = \"stdout\"\n"
    );
    let config = PipelineConfig::parse(&text, "a.toml", &|_| None).unwrap_or_else(|error| panic!("{error}"));
    let SourceConfig::Kafka(source) = config.source else { unreachable!() };
    let SourceDecoding::Samples(options) = source.decoding else { unreachable!() };
    options
}

/// The messages of a pipeline with such a `[source.decoding]`.
fn message(text: &str, bytes: &[u8]) {
    let options = decoding(text);
    let mut records: Vec<Record> = Vec::new();
    if let Err(error) = MessageDecoder::new(options.clone()).decode(bytes, &mut records) {
        assert!(records.is_empty() && !error.to_string().contains('\n'), "{error}");
    }
    for record in records {
        assert!(!record.samples.is_empty() && record.samples.len().is_multiple_of(2));
        assert!(record.samples.iter().all(|sample| options.sample_type.holds(*sample)));
    }
}

const JSON: &str = "codec = \"json\"\nsample_type = \"i16\"\nsamples = [\"a.x\", \"a.y\"]\ntime = \"t\"\n\
                    time_unit = \"ms\"\nkey = \"k\"";

fn json(bytes: &[u8]) {
    message(JSON, bytes);
}

fn json_seeds() -> Vec<Vec<u8>> {
    texts(&[
        r#"{"a":{"x":1,"y":-2.0},"t":5,"k":"d"}"#,
        r#"[{"a":{"x":[1,2],"y":[3,4]},"t":"2024-01-01T00:00:00Z"}]"#,
    ])
}

fn csv(bytes: &[u8]) {
    message(
        "codec = \"csv\"\nsample_type = \"i16\"\ncolumns = [1, 2]\ntime = 0\ntime_unit = \"ms\"\nkey = 3",
        bytes,
    );
}

fn csv_seeds() -> Vec<Vec<u8>> {
    texts(&["time,a,b,k\n0,1,2,x\n1,3,4,x\n", "\u{feff}0;1;2;\"x\"\r\n1;3;;\r\n", "t\ta\tb\n0\t1,5\t2\n"])
}

fn influx(bytes: &[u8]) {
    message("codec = \"influx\"\nsample_type = \"i16\"\nfields = [\"x\", \"y\"]\ntags = [\"k\"]", bytes);
}

fn influx_seeds() -> Vec<Vec<u8>> {
    texts(&["m,k=a x=1i,y=2i 1700000000000000000\nm,k=b x=1,y=\"t\" 1700000000010000000\n"])
}

fn wfdb_seeds() -> Vec<Vec<u8>> {
    texts(&[
        "a 2 360 33 12:00:00 01/02/2003\na.dat 212 200(1024)/mV 11 1024 995 0 0 MLII\na.dat 212 200 11 1024 1011 0 0 V5\n# c\n",
        "a 1 100.5(3)/4 16\na.dat 16+3 1e2/uV 16 0\n",
    ])
}

fn wfdb_signals(bytes: &[u8]) {
    let header = b"a 2 360\na.dat 212 200/mV 12 0 0 0 0 I\na.dat 212 200/mV 12 0 0 0 0 II\n";
    recording(Format::Wfdb, &[("a.hea", header), ("a.dat", bytes)]);
}

/// What the readers' own tests read.
fn edf_seeds() -> Vec<Vec<u8>> {
    vec![
        include_bytes!("../src/source/file/edf/testdata/plus.edf").to_vec(),
        include_bytes!("../src/source/file/edf/testdata/plus.bdf").to_vec(),
    ]
}

/// Two channels of 16 bits, and one of single precision.
fn wav_seeds() -> Vec<Vec<u8>> {
    let wav = |format: u8, channels: u8, bits: u8, data: &[u8]| {
        let row = channels * bits / 8;
        let head = [format, 0, channels, 0, 10, 0, 0, 0, 10 * row, 0, 0, 0, row, 0, bits, 0];
        let data_bytes = (data.len() as u32).to_le_bytes();
        let bytes = (data.len() as u32 + 36).to_le_bytes();
        [b"RIFF", &bytes[..], b"WAVEfmt ", &[16, 0, 0, 0], &head, b"data", &data_bytes, data].concat()
    };
    vec![wav(1, 2, 16, &[1, 0, 2, 0, 3, 0, 4, 0]), wav(3, 1, 32, &1.5_f32.to_le_bytes())]
}

fn jsonl_seeds() -> Vec<Vec<u8>> {
    let lines = json_seeds().join(&b'\n');
    vec![[&lines[..], b"\n\n{\"a\":{\"x\":1,\"y\":2},\"k\":\"e\"}"].concat()]
}

fn rvl_file_seeds() -> Vec<Vec<u8>> {
    vec![include_bytes!("../src/packet/testdata/two_streams.v1.rvl").to_vec()]
}

fn gzip_seeds() -> Vec<Vec<u8>> {
    // What `gzip` makes of "x,y\n1,2\n3,4\n", stored.
    let text = b"x,y\n1,2\n3,4\n";
    let mut crc = flate2::Crc::new();
    crc.update(text);
    let head = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255, 1, 12, 0, 0xf3, 0xff];
    vec![[&head[..], text, &crc.sum().to_le_bytes(), &12_u32.to_le_bytes()].concat()]
}

fn zstd_seeds() -> Vec<Vec<u8>> {
    // One raw block, its length in the frame.
    let text = b"x,y\n1,2\n3,4\n";
    vec![[&[0x28, 0xb5, 0x2f, 0xfd, 0x20, 12, 12 << 3 | 1, 0, 0][..], text].concat()]
}

fn description_seeds() -> Vec<Vec<u8>> {
    texts(&[
        r#"{"sample_rate_hz": 50, "channels": 2, "channel_names": ["x", "y"], "unit": "g", "lsb": 0.5, "dtype": "int16le"}"#,
    ])
}

thread_local! {
    static FOLDER: RefCell<tempfile::TempDir> = RefCell::new(folder());
}

/// In memory where the system has a place for that.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

/// Reads the first of the files, as a format and with as little said as possible.
fn recording(format: Format, files: &[(&str, &[u8])]) {
    FOLDER.with_borrow(|folder| {
        for (name, bytes) in files {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
        let Some((name, _)) = files.iter().find(|(name, _)| !name.ends_with(".json")) else { return };
        let path = folder.path().join(name);
        let says_rate = matches!(format, Format::Csv | Format::Raw);
        let rate = says_rate.then_some(50.0).filter(|_| files.len() == 1);
        let packed = name.ends_with("gz") || name.ends_with("zst");
        let options = FileOptions {
            format: Some(format),
            sample_rate_hz: rate,
            sample_type: packed.then_some(SampleType::F64),
            decoding: (format == Format::Jsonl).then(|| Box::new(decoding(JSON))),
            chunk_samples: 7,
            ..FileOptions::default()
        };
        if let Err(error) = read(&path, &options) {
            assert!(!error.to_string().contains('\n'), "{error}");
        }
    });
}

fn read(path: &Path, options: &FileOptions) -> Result<(), rivulet::source::SourceError> {
    let mut source = file::open(path, options)?;
    let mut streams = Vec::new();
    let bytes = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let mut events = 0;
    loop {
        events += 1;
        // A few bytes that are compressed can be a lot.
        if events > 2000 && matches!(path.extension(), Some(packed) if packed == "gz" || packed == "zst") {
            return Ok(());
        }
        assert!(events < 100_000 + 16 * bytes, "more events than bytes");
        match source.next_event()? {
            SourceEvent::Stream { info, .. } => streams.push(info),
            SourceEvent::Chunk(chunk) => {
                let info = &streams[chunk.stream];
                assert!(!chunk.samples.is_empty() && chunk.samples.len().is_multiple_of(info.channels.len()));
                assert!(chunk.samples.iter().all(|sample| info.sample_type.holds(*sample)));
            }
            SourceEvent::End => return Ok(()),
            _ => {}
        }
    }
}
