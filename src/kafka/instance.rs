//! The name of this process among those that run the same pipeline.
//!
//! A transactional id has to be the same across restarts, so that the brokers end what the process before
//! left open, and no other's at the same time, or the two fence each other.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

/// Processes of one pipeline on one host, at most.
const MAX_INSTANCES: usize = 1024;

/// A name that is this process's as long as the value lives.
#[derive(Debug)]
pub(crate) struct Instance {
    pipeline: String,
    name: String,
    /// The kernel frees the lock with the process, however that ends.
    _lock: Option<File>,
}

/// Why there is no name for this process.
#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    /// A lock file cannot be used.
    #[error("{path}: cannot be locked: {source}; set delivery.instance to a name of this process's own")]
    Lock {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Error,
    },
    /// Every number is taken.
    #[error(
        "{MAX_INSTANCES} processes run the pipeline {pipeline:?} on this host, or their lock files in {folder} \
         belong to others; set delivery.instance to a name of this process's own"
    )]
    AllTaken {
        /// The pipeline.
        pipeline: String,
        /// Where the lock files are.
        folder: PathBuf,
    },
}

impl Instance {
    /// The name that is configured, or the host's with the lowest number that no other process of `pipeline`
    /// on this host has.
    ///
    /// # Errors
    /// Lock files cannot be written, or every number is taken.
    pub(crate) fn claim(pipeline: &str, configured: Option<&str>) -> Result<Self, InstanceError> {
        let folder = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let folder = folder.filter(|folder| folder.is_absolute()).unwrap_or_else(std::env::temp_dir);
        Self::claim_in(&folder, pipeline, configured)
    }

    fn claim_in(folder: &Path, pipeline: &str, configured: Option<&str>) -> Result<Self, InstanceError> {
        if let Some(name) = configured {
            return Ok(Self { pipeline: pipeline.to_owned(), name: name.to_owned(), _lock: None });
        }
        let host = host_name();
        for number in 0..MAX_INSTANCES {
            let path = folder.join(format!("rivulet-{pipeline}-{number}.lock"));
            if let Some(lock) = lock(&path).map_err(|source| InstanceError::Lock { path, source })? {
                let name = format!("{host}-{number}");
                return Ok(Self { pipeline: pipeline.to_owned(), name, _lock: Some(lock) });
            }
        }
        Err(InstanceError::AllTaken { pipeline: pipeline.to_owned(), folder: folder.to_owned() })
    }

    /// The id of this process's transactions.
    pub(crate) fn transactional_id(&self) -> String {
        format!("{}-{}", self.pipeline, self.name)
    }

    /// The name of this process as a member of the source's group, unless the source names another.
    pub(crate) fn group_instance_id(&self) -> String {
        self.transactional_id()
    }
}

/// The lock on the file at `path`; none where another process, or another user, has it.
fn lock(path: &Path) -> Result<Option<File>, Error> {
    let file = match OpenOptions::new().write(true).create(true).truncate(false).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return Ok(None),
        Err(error) => return Err(error),
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// The host's name in the characters that Kafka takes in names.
fn host_name() -> String {
    let name = gethostname::gethostname();
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let name: String = name.to_string_lossy().chars().map(|c| if allowed(c) { c } else { '-' }).collect();
    if name.is_empty() { "localhost".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_free_again_once_its_holder_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let claim = |pipeline| Instance::claim_in(folder.path(), pipeline, None).unwrap();
        let host = host_name();
        let first = claim("p");
        let second = claim("p");
        assert_eq!(first.name, format!("{host}-0"));
        assert_eq!(second.transactional_id(), format!("p-{host}-1"));
        assert_eq!(claim("q").name, format!("{host}-0"));
        drop(first);
        let third = claim("p");
        assert_eq!(third.name, format!("{host}-0"));
        assert_eq!(third.group_instance_id(), format!("p-{host}-0"));
        assert_eq!(second.name, format!("{host}-1"));
    }

    #[test]
    fn no_two_threads_have_the_same_name() {
        let folder = tempfile::tempdir().unwrap();
        let claims: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| Instance::claim_in(folder.path(), "p", None).unwrap()))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let names: std::collections::BTreeSet<_> = claims.iter().map(|claim| claim.name.clone()).collect();
        assert_eq!(names.len(), 8, "{names:?}");
    }

    #[test]
    fn a_configured_name_is_taken_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let instance = Instance::claim_in(folder.path(), "p", Some("left")).unwrap();
            assert_eq!(instance.transactional_id(), "p-left");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = Instance::claim_in(&folder.path().join("none"), "p", None).unwrap_err();
        assert!(error.to_string().contains("rivulet-p-0.lock: cannot be locked"), "{error}");
    }
}
