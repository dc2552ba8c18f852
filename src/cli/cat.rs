//! `rivulet cat`: joins packet files.

use std::collections::HashMap;
use std::fmt::Display;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::segments::{
    Bound, Contents, Range, STDIN, SegmentReader, Window, files, parse_bound, refuse_output,
};
use super::{CliError, exit, print, warn};
use crate::packet::Continuity;
use crate::packet::rvl::{Event, Writer};
use crate::signal::{StreamInfo, StreamKey};
use crate::sink::{Partial, SinkError, partial_of};

/// Damaged places beyond this many are counted but not told one by one.
const TOLD_DAMAGE: u64 = 10;

/// Arguments of `rivulet cat`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// .rvl files, or folders of them, in any order; `-` is standard input, with which they are read as they are given.
    #[arg(value_name = "FILE|DIR", required = true)]
    inputs: Vec<PathBuf>,
    /// The file to write; `-` is standard output.
    #[arg(short, long)]
    output: PathBuf,
    /// Leave out packets that end before: RFC 3339, seconds since 1970, or HH:MM:SS since each stream's start.
    #[arg(long, value_name = "TIME", value_parser = parse_bound)]
    from: Option<Bound>,
    /// Leave out packets that begin at that time or later.
    #[arg(long, value_name = "TIME", value_parser = parse_bound)]
    to: Option<Bound>,
}

/// Writes the packets of all inputs, byte for byte, into one file; repeats are left out. Damage is told and ends with
/// [`exit::DATA`].
pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let range = Range { from: arguments.from, to: arguments.to };
    let plan = plan(arguments, range)?;
    let to_stdout = arguments.output.as_os_str() == STDIN;
    let (partial, output): (_, Box<dyn Write>) = match to_stdout {
        true => (None, Box::new(std::io::stdout())),
        false => {
            for output in [&arguments.output, &partial_of(&arguments.output)] {
                refuse_output(plan.iter().map(|(input, _)| input.as_path()), output)?;
            }
            let (partial, file) = Partial::create(&arguments.output).map_err(|error| {
                let held = matches!(error, SinkError::Unavailable(_));
                CliError::new(if held { exit::UNAVAILABLE } else { exit::CANNOT_CREATE }, error)
            })?;
            (partial, Box::new(file))
        }
    };
    let joined = join(&plan, output, &arguments.output)?;
    if let Some(partial) = partial {
        partial.rename(&arguments.output).map_err(|error| write_error(&arguments.output, error))?;
    }
    let Joined { streams, packets, bytes, repeats, missing_frames, damaged_places, torn_bytes } = joined;
    let line = format!(
        "{}: {streams} streams, {packets} packets, {bytes} bytes; {repeats} repeated packets left out, {missing_frames} \
         frames missing\n",
        arguments.output.display()
    );
    if to_stdout {
        warn(line.trim_end())
    } else {
        print(&line)?
    }
    if damaged_places == 0 && torn_bytes == 0 {
        return Ok(());
    }
    let mut lost = Vec::new();
    if damaged_places > 0 {
        lost.push(format!("{damaged_places} damaged places"));
    }
    if torn_bytes > 0 {
        lost.push(format!("torn ends of {torn_bytes} bytes"));
    }
    let message = format_args!("{} left out; everything else was written", lost.join(" and "));
    Err(CliError::new(exit::DATA, message))
}

/// The inputs in the order in which they are read, with what is wanted of their streams; none for everything.
type Plan = Vec<(PathBuf, Option<HashMap<u32, Window>>)>;

fn plan(arguments: &Arguments, range: Range) -> Result<Plan, CliError> {
    if arguments.inputs.iter().any(|input| input.as_os_str() == STDIN) {
        if !range.is_all() {
            let message = "--from and --to need files: standard input cannot be read twice";
            return Err(CliError::new(exit::USAGE, message));
        }
        return Ok(files(&arguments.inputs)?.into_iter().map(|file| (file, None)).collect());
    }
    let contents = Contents::of(&arguments.inputs, true)?;
    let streams: HashMap<StreamKey, Option<i64>> =
        contents.streams().into_iter().map(|stream| (stream.info.key, stream.first_ns)).collect();
    let mut plan = Plan::new();
    for segment in contents.in_order(&|_| true) {
        let mut windows = HashMap::new();
        for (number, stream) in &segment.streams {
            let window = range.of_stream(streams.get(&stream.info.key).copied().flatten());
            let window = window.map_err(|error| {
                CliError::new(exit::USAGE, format_args!("stream '{}' {error}", stream.info.key))
            })?;
            windows.insert(*number, window);
        }
        plan.push((segment.path.clone(), (!range.is_all()).then_some(windows)));
    }
    Ok(plan)
}

/// What was joined.
#[derive(Default)]
struct Joined {
    streams: usize,
    packets: u64,
    bytes: u64,
    repeats: u64,
    missing_frames: u64,
    damaged_places: u64,
    torn_bytes: u64,
}

/// A stream of the output.
struct Stream {
    info: StreamInfo,
    number: u32,
    continuity: Continuity,
    /// Number of the stream that its last packet was of, in the input that is read.
    from: Option<u32>,
}

fn write_error(path: &Path, error: impl Display) -> CliError {
    CliError::new(exit::IO, format_args!("cannot write {}: {error}", path.display()))
}

fn join(plan: &Plan, output: Box<dyn Write>, output_path: &Path) -> Result<Joined, CliError> {
    let write_error = |error| write_error(output_path, error);
    let mut writer = Writer::new(BufWriter::with_capacity(1 << 16, output)).map_err(write_error)?;
    let mut streams: HashMap<StreamKey, Stream> = HashMap::new();
    let mut joined = Joined::default();
    for (path, windows) in plan {
        let mut reader = match windows {
            None => SegmentReader::whole(path)?,
            Some(windows) => SegmentReader::part(path, windows.clone())?,
        };
        let mut keys: HashMap<u32, StreamKey> = HashMap::new();
        streams.values_mut().for_each(|stream| stream.from = None);
        loop {
            match reader.next_event(path)? {
                Event::Stream { number, info, .. } => {
                    let key = info.key.clone();
                    keys.insert(number, key.clone());
                    match streams.get_mut(&key) {
                        Some(stream) if stream.info == info => {}
                        Some(stream) => {
                            stream.number = writer.add_stream(&info).map_err(write_error)?;
                            stream.info = info;
                        }
                        None => {
                            let number = writer.add_stream(&info).map_err(write_error)?;
                            let continuity = Continuity::new();
                            streams.insert(key, Stream { info, number, continuity, from: None });
                        }
                    }
                }
                Event::Packet { stream: number, packet, .. } => {
                    let wanted = windows.as_ref().is_none_or(|windows| {
                        windows.get(&number).is_some_and(|window| !window.samples(&packet.header).is_empty())
                    });
                    let stream = keys.get(&number).and_then(|key| streams.get_mut(key));
                    let Some(stream) = stream.filter(|_| wanted) else { continue };
                    if stream.from.replace(number) != Some(number) {
                        stream.continuity.go_on_with_other();
                    }
                    let step = stream.continuity.step(&packet.header);
                    stream.continuity.advance(&packet.header);
                    if step.new_frames == 0 {
                        joined.repeats += 1;
                        continue;
                    }
                    if step.new_count {
                        // Numbers belong to a stream of the file.
                        stream.number = writer.add_stream(&stream.info).map_err(write_error)?;
                    }
                    writer.write_packet(stream.number, reader.packet_bytes()).map_err(write_error)?;
                    joined.packets += 1;
                    joined.missing_frames = joined.missing_frames.saturating_add(step.missing_frames);
                }
                Event::Damage { offset, bytes, error } => {
                    joined.damaged_places += 1;
                    if joined.damaged_places <= TOLD_DAMAGE {
                        warn(&format!("{}: byte {offset}: {bytes} bytes damaged: {error}", path.display()));
                    }
                }
                Event::End { torn_bytes, .. } => {
                    joined.torn_bytes += torn_bytes;
                    break;
                }
            }
        }
    }
    let (mut output, parts) = writer.finish().map_err(write_error)?;
    output.flush().map_err(|error| write_error(error.into()))?;
    joined.streams = streams.len();
    joined.bytes = parts.total();
    Ok(joined)
}
