//! The `rivulet` command: arguments in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    rivulet::cli::main(std::env::args_os())
}
