//! The stdout sink: one JSON line a packet.

use std::collections::BTreeMap;
use std::io::{BufWriter, Stdout, Write};
use std::sync::Arc;

use serde::Serialize;

use super::{Outgoing, Sink, SinkError, SinkReport};
use crate::signal::{Origin, StreamIndex, StreamInfo, StreamKey};

/// Writes what each packet is, not what it holds, to standard output.
pub struct StdoutSink {
    output: BufWriter<Stdout>,
    keys: BTreeMap<StreamIndex, StreamKey>,
}

#[derive(Serialize)]
struct Line<'a> {
    stream: &'a str,
    first_frame: u64,
    frames: u32,
    samples: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_ns: Option<i64>,
    after_gap: bool,
    bytes: usize,
}

impl StdoutSink {
    /// Takes over standard output.
    pub fn new() -> Self {
        Self { output: BufWriter::new(std::io::stdout()), keys: BTreeMap::new() }
    }
}

impl Default for StdoutSink {
    fn default() -> Self {
        Self::new()
    }
}

fn write_error(source: std::io::Error) -> SinkError {
    SinkError::Write { path: "standard output".into(), source }
}

impl Sink for StdoutSink {
    fn add_stream(
        &mut self,
        stream: StreamIndex,
        info: &Arc<StreamInfo>,
        _origin: &Origin,
    ) -> Result<(), SinkError> {
        self.keys.insert(stream, info.key.clone());
        Ok(())
    }

    fn remove_stream(&mut self, stream: StreamIndex) {
        self.keys.remove(&stream);
    }

    fn write(&mut self, outgoing: &Outgoing) -> Result<(), SinkError> {
        let key = self.keys.get(&outgoing.stream).ok_or(SinkError::UnknownStream(outgoing.stream))?;
        let header = &outgoing.packet.header;
        let line = Line {
            stream: key.as_str(),
            first_frame: header.first_frame,
            frames: header.frames,
            samples: header.valid_samples() * u64::from(header.channels),
            time_ns: header.time_ns,
            after_gap: header.after_gap,
            bytes: outgoing.bytes.len(),
        };
        serde_json::to_writer(&mut self.output, &line).map_err(|error| write_error(error.into()))?;
        // A line at a time: whoever reads along sees a packet when it is there.
        self.output.write_all(b"\n").and_then(|()| self.output.flush()).map_err(write_error)
    }

    fn finish(mut self: Box<Self>) -> Result<SinkReport, SinkError> {
        self.output.flush().map_err(write_error)?;
        Ok(SinkReport::default())
    }
}
