//! `rivulet inspect`

mod report;
mod survey;

use std::fs::File;
use std::path::PathBuf;

use super::{CliError, exit, print};
use crate::packet::{ErrorKind, PacketError};
use survey::Survey;

/// Arguments of `rivulet inspect`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The .rvl file.
    file: PathBuf,
    /// Print one JSON object instead of tables.
    #[arg(long)]
    json: bool,
}

/// Prints what a file holds; damage is reported, counted and ends with [`exit::DATA`].
pub(super) fn run(arguments: Arguments) -> Result<(), CliError> {
    let path = arguments.file.display();
    let file = File::open(&arguments.file)
        .map_err(|error| CliError::new(exit::NO_INPUT, format_args!("{path}: {error}")))?;
    let survey =
        Survey::of(file).map_err(|error| CliError::new(code(&error), format_args!("{path}: {error}")))?;
    if arguments.json {
        let json = serde_json::to_string_pretty(&survey);
        let json = json.map_err(|error| CliError::new(exit::INTERNAL, format_args!("{path}: {error}")))?;
        print(&(json + "\n"))?;
    } else {
        print(&format!("{path}\n\n{}", report::text(&survey)))?;
    }
    match survey.complaint() {
        Some(complaint) => Err(CliError::new(exit::DATA, format_args!("{path}: {complaint}"))),
        None => Ok(()),
    }
}

fn code(error: &PacketError) -> u8 {
    match error.kind() {
        ErrorKind::Io => exit::IO,
        _ => exit::DATA,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn inspect(path: &Path) -> Result<(), CliError> {
        run(Arguments { file: path.to_owned(), json: true })
    }

    #[test]
    fn the_exit_code_tells_what_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.rvl");
        assert_eq!(inspect(&path).unwrap_err().code, exit::NO_INPUT);
        let good = survey::tests::file();
        std::fs::write(&path, &good).unwrap();
        inspect(&path).unwrap();
        for bytes in [&good[..good.len() - 1], &[], b"time,value\n0,1\n"] {
            std::fs::write(&path, bytes).unwrap();
            let error = inspect(&path).unwrap_err();
            assert_eq!(error.code, exit::DATA);
            assert!(error.message.contains("x.rvl: "), "{}", error.message);
        }
        assert_eq!(inspect(folder.path()).unwrap_err().code, exit::IO);
    }
}
