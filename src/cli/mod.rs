//! The command line: one file per verb.

mod cat;
mod decode;
mod eval;
mod inspect;
mod list;
mod model;
mod replay;
mod run;
mod segments;
#[cfg(feature = "train")]
mod train;
mod validate;
mod verify;

use std::ffi::OsString;
use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Compresses sensor telemetry with a neural codec and proves how faithful the result is.
#[derive(Debug, Parser)]
#[command(name = "rivulet", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run pipelines.
    Run(run::Arguments),
    /// Play recordings through a pipeline as if they were live, and measure it.
    #[command(long_about = replay::ABOUT)]
    Replay(replay::Arguments),
    /// Check a pipeline file without running it.
    Validate(validate::Arguments),
    /// Turn packets back into samples.
    Decode(decode::Arguments),
    /// Show what .rvl files hold.
    Inspect(inspect::Arguments),
    /// Join .rvl files into one.
    Cat(cat::Arguments),
    /// Check that .rvl files are whole.
    Verify(verify::Arguments),
    /// Show what this machine has that pipelines can use.
    List(list::Arguments),
    /// Measure a model on recordings.
    Eval(eval::Arguments),
    /// Make, look at and check models.
    Model(model::Arguments),
    /// Train a model on recordings.
    #[cfg(feature = "train")]
    Train(Box<train::Arguments>),
}

/// Exit codes, those of `sysexits.h` where it has one.
mod exit {
    /// A check failed: vectors do not match, or a promise of fidelity was not kept.
    pub(super) const CHECK_FAILED: u8 = 1;
    /// Wrong arguments.
    pub(super) const USAGE: u8 = 64;
    /// An input is damaged or not what it says it is.
    pub(super) const DATA: u8 = 65;
    /// An input does not exist or cannot be read.
    pub(super) const NO_INPUT: u8 = 66;
    /// Something that is needed cannot be had, such as an address to listen on.
    pub(super) const UNAVAILABLE: u8 = 69;
    /// A fault of the program itself.
    pub(super) const INTERNAL: u8 = 70;
    /// An output cannot be created.
    pub(super) const CANNOT_CREATE: u8 = 73;
    /// Writing failed.
    pub(super) const IO: u8 = 74;
    /// What was asked to end did not within the time that it had.
    pub(super) const UNFINISHED: u8 = 75;
    /// A configuration is wrong.
    pub(super) const CONFIG: u8 = 78;
    /// A second signal: 128 + SIGINT, as a shell says it.
    pub(super) const INTERRUPTED: u8 = 130;
}

/// Why a verb failed: what to say and the code to leave with.
#[derive(Debug)]
struct CliError {
    code: u8,
    message: String,
    /// True if the message says itself where it comes from.
    has_origin: bool,
}

impl CliError {
    fn new(code: u8, message: impl Display) -> Self {
        Self { code, message: message.to_string(), has_origin: false }
    }

    /// Problems of configuration files, each on a line that names its file.
    fn problems(problems: impl Display) -> Self {
        Self { code: exit::CONFIG, message: problems.to_string(), has_origin: true }
    }
}

/// Parses `arguments`, runs the verb and says on stderr why it failed, if it did.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            let code = if error.use_stderr() { exit::USAGE } else { 0 };
            return if error.print().is_ok() { ExitCode::from(code) } else { ExitCode::from(exit::IO) };
        }
    };
    let result = match arguments.verb {
        Verb::Run(arguments) => run::run(arguments),
        Verb::Replay(arguments) => replay::run(arguments),
        Verb::Validate(arguments) => validate::run(arguments),
        Verb::Decode(arguments) => decode::run(arguments),
        Verb::Inspect(arguments) => inspect::run(&arguments),
        Verb::Cat(arguments) => cat::run(&arguments),
        Verb::Verify(arguments) => verify::run(&arguments),
        Verb::List(arguments) => list::run(arguments),
        Verb::Eval(arguments) => eval::run(arguments),
        Verb::Model(arguments) => model::run(arguments),
        #[cfg(feature = "train")]
        Verb::Train(arguments) => train::run(*arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let origin = if error.has_origin { "" } else { "rivulet: " };
            let _ = writeln!(std::io::stderr(), "{origin}{}", error.message);
            ExitCode::from(error.code)
        }
    }
}

/// Writes to standard output. A reader that went away (`| head`) ends the verb quietly.
fn print(text: &str) -> Result<(), CliError> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(CliError::new(exit::IO, format_args!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Tells a person something that does not end the verb.
fn warn(text: &str) {
    let _ = writeln!(std::io::stderr(), "rivulet: {text}");
}
