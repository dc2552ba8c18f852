//! `rivulet inspect`

mod report;
mod survey;

use std::fs::File;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::segments::{files, open_error, read_error};
use super::{CliError, exit, print};
use survey::Survey;

/// Arguments of `rivulet inspect`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// .rvl files, or folders of them.
    #[arg(value_name = "FILE|DIR", required = true)]
    files: Vec<PathBuf>,
    /// Print one JSON object instead of tables; of several files an array of them.
    #[arg(long)]
    json: bool,
}

/// The survey of one of several files.
#[derive(Serialize)]
struct OfFile<'a> {
    file: String,
    #[serde(flatten)]
    survey: &'a Survey,
}

/// Prints what files hold, one after the other; damage is reported, counted and ends with [`exit::DATA`].
pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let files = match &arguments.files[..] {
        [file] if !file.is_dir() => vec![file.clone()],
        given => files(given)?,
    };
    let several = files.len() > 1;
    let mut failed: Option<CliError> = None;
    let mut failures = 0;
    for (i, path) in files.iter().enumerate() {
        let before = match (arguments.json, several, i) {
            (_, false, _) | (false, _, 0) => "",
            (true, true, 0) => "[\n",
            (true, true, _) => ",\n",
            (false, true, _) => "\n",
        };
        print(before)?;
        if let Err(error) = inspect(path, arguments.json, several) {
            if !several || error.code != exit::DATA {
                return Err(error);
            }
            super::warn(&error.message);
            failures += 1;
            failed.get_or_insert(error);
        }
    }
    if arguments.json && several {
        print("\n]\n")?;
    }
    match failed {
        Some(error) => {
            Err(CliError::new(error.code, format_args!("{failures} of {} files are damaged", files.len())))
        }
        None => Ok(()),
    }
}

fn inspect(path: &Path, json: bool, several: bool) -> Result<(), CliError> {
    let file = File::open(path).map_err(|error| open_error(path, &error))?;
    let shown = path.display();
    let surveyed = Survey::of(file).map_err(|error| read_error(path, &error));
    if json && several && surveyed.is_err() {
        print(&serde_json::json!({ "file": shown.to_string(), "closed": false }).to_string())?;
    }
    let survey = surveyed?;
    if json {
        let text = match several {
            true => serde_json::to_string(&OfFile { file: shown.to_string(), survey: &survey }),
            false => serde_json::to_string_pretty(&survey).map(|text| text + "\n"),
        };
        print(&text.map_err(|error| CliError::new(exit::INTERNAL, format_args!("{shown}: {error}")))?)?;
    } else {
        print(&format!("{shown}\n\n{}", report::text(&survey)))?;
    }
    match survey.complaint() {
        Some(complaint) => Err(CliError::new(exit::DATA, format_args!("{shown}: {complaint}"))),
        None => Ok(()),
    }
}

#[cfg(test)]
pub(super) fn example_file() -> Vec<u8> {
    survey::tests::file()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn inspect(path: &Path) -> Result<(), CliError> {
        run(&Arguments { files: vec![path.to_owned()], json: true })
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
        let empty = tempfile::tempdir().unwrap();
        assert_eq!(inspect(empty.path()).unwrap_err().code, exit::NO_INPUT);
        std::fs::write(folder.path().join("y.rvl"), &good).unwrap();
        assert_eq!(inspect(folder.path()).unwrap_err().message, "1 of 2 files are damaged");
    }
}
