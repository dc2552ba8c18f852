//! Finds models by id in folders.

use std::path::{Path, PathBuf};

use super::ModelId;
use super::directory::{DirectoryError, ModelDirectory};

/// Folders that hold model directories, or are one.
#[derive(Clone, Debug)]
pub struct ModelLibrary {
    folders: Vec<PathBuf>,
}

/// Why no model was found.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// No folder holds a model of that id.
    #[error("no model with id {id} in {}; give its directory with --model", .searched.join(", "))]
    Unknown {
        /// The id.
        id: ModelId,
        /// Where it was looked for.
        searched: Vec<String>,
    },
    /// The model is there but damaged.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

impl ModelLibrary {
    /// A library over `folders`, searched in order.
    pub fn new(folders: Vec<PathBuf>) -> Self {
        Self { folders }
    }

    /// Loads the model with this id.
    ///
    /// # Errors
    /// There is none, or it is damaged.
    pub fn load(&self, id: ModelId) -> Result<ModelDirectory, LibraryError> {
        for path in self.directories() {
            // A directory whose id cannot be read is another model's trouble.
            if ModelDirectory::read_id(&path).is_ok_and(|found| found == id) {
                return Ok(ModelDirectory::load(&path)?);
            }
        }
        let searched = self.folders.iter().map(|folder| folder.display().to_string()).collect();
        Err(LibraryError::Unknown { id, searched })
    }

    fn directories(&self) -> Vec<PathBuf> {
        let is_model = |path: &Path| path.join("model.toml").is_file();
        let mut found = Vec::new();
        for folder in &self.folders {
            if is_model(folder) {
                found.push(folder.clone());
            } else if let Ok(entries) = std::fs::read_dir(folder) {
                let mut inside: Vec<PathBuf> =
                    entries.flatten().map(|entry| entry.path()).filter(|path| is_model(path)).collect();
                inside.sort();
                found.extend(inside);
            }
        }
        found
    }
}
