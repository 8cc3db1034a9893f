//! The cache as its operator sees it: filled before a worker starts, listed, emptied.
//!
//! What fills it is this process's own compiler, and it reads WebAssembly only: machine code in a stage's file is
//! refused, whoever wrote it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use super::cache::Cache;
use super::host::{Host, Obtained, file_label, read};
use crate::clock::{Clock, SystemClock};
use crate::error::{Code, Error, Result};

/// A component that the cache has now.
#[derive(Debug, Clone)]
pub struct Warmed {
    /// SHA-256 of the component, in hexadecimal.
    pub digest: Arc<str>,
    /// Bytes of the component.
    pub component_bytes: usize,
    /// Bytes of its machine code.
    pub code_bytes: usize,
    /// Whether it was compiled (else it was there).
    pub compiled: bool,
    /// How long it took, waiting for a core included.
    pub time: Duration,
}

/// A file of the cache.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its path.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// When it was written, if the file system says so.
    pub written: Option<SystemTime>,
}

impl Host {
    /// Brings the compiled code of these components into the cache, as many at once as there are cores. One result a
    /// path, in their order.
    pub fn warm(self: &Arc<Self>, paths: &[PathBuf]) -> Vec<Result<Warmed>> {
        let threads = thread::available_parallelism().map_or(1, usize::from).min(paths.len());
        let next = AtomicUsize::new(0);
        let results: Vec<Mutex<Option<Result<Warmed>>>> = paths.iter().map(|_| Mutex::default()).collect();
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some((path, result)) = take(&next, paths, &results) {
                        *result.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.warm_one(path));
                    }
                });
            }
        });
        let missing = || Err(Error::internal("a component was not compiled"));
        let inner = |result: Mutex<Option<_>>| result.into_inner().unwrap_or_else(PoisonError::into_inner);
        results.into_iter().map(|result| inner(result).unwrap_or_else(missing)).collect()
    }

    fn warm_one(self: &Arc<Self>, path: &Path) -> Result<Warmed> {
        let clock = SystemClock::default();
        let Obtained { component, code, kept } = self.obtain(&read(path)?, &file_label(path))?;
        let compiled = kept.is_some();
        kept.unwrap_or(Ok(())).map_err(|reason| {
            Error::external(
                Code::W019,
                format!("the compiled component cannot be kept in the cache: {reason}"),
            )
        })?;
        let digest = Arc::clone(component.digest());
        let component_bytes = component.bytes();
        Ok(Warmed { digest, component_bytes, code_bytes: code, compiled, time: clock.now() })
    }
}

/// The next path, and where its result goes.
fn take<'a, T>(next: &AtomicUsize, paths: &'a [PathBuf], results: &'a [T]) -> Option<(&'a Path, &'a T)> {
    let at = next.fetch_add(1, Ordering::Relaxed);
    Some((paths.get(at)?, results.get(at)?))
}

/// Whether a folder can be the cache, made where it is missing.
pub fn usable(folder: &Path) -> Result<()> {
    Cache::check(folder).map(|_| ()).map_err(|reason| unusable(folder, &reason))
}

/// What lies in the cache.
pub fn entries(folder: &Path) -> Result<Vec<Entry>> {
    let fail = |reason: io::Error| unusable(folder, &reason);
    if fs::symlink_metadata(folder).is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
        return Ok(Vec::new());
    }
    let files = Cache::check(folder).and_then(|cache| cache.files()).map_err(fail)?;
    let entry = |(path, meta): (PathBuf, fs::Metadata)| Entry {
        path,
        bytes: meta.len(),
        written: meta.modified().ok(),
    };
    Ok(files.into_iter().map(entry).collect())
}

/// Empties the cache; what was there. A worker that runs has loaded its code and is not touched.
pub fn clear(folder: &Path) -> Result<Vec<Entry>> {
    let entries = entries(folder)?;
    for entry in &entries {
        match fs::remove_file(&entry.path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(unusable(folder, &e)),
            _ => {}
        }
    }
    Ok(entries)
}

#[cold]
fn unusable(folder: &Path, reason: &io::Error) -> Error {
    let folder = folder.display();
    let message = format!("the cache of compiled components `{folder}` cannot be used: {reason}");
    Error::external(Code::W019, message)
        .help("it must be a folder of the worker's own user with mode 0700; `PIPE_CACHE` names it")
}

#[cfg(test)]
mod tests {
    use super::super::HostOptions;
    use super::*;

    fn guest(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/guests/prebuilt").join(name)
    }

    #[test]
    fn a_cold_cache_is_filled_and_a_warm_one_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("cache");
        assert!(entries(&folder).unwrap().is_empty() && !folder.exists(), "looking makes nothing");
        let options = || HostOptions { cache: Some(folder.clone()) };
        let paths = [guest("crossing.wasm"), guest("identity.wasm")];
        let warm = || Host::new(options()).unwrap().warm(&paths);
        let cold: Vec<Warmed> = warm().into_iter().map(Result::unwrap).collect();
        assert!(cold.iter().all(|warmed| warmed.compiled && warmed.code_bytes > 0));
        let written: u64 = entries(&folder).unwrap().iter().map(|entry| entry.bytes).sum();
        assert!(written > cold.iter().map(|warmed| warmed.code_bytes as u64).sum());
        assert!(warm().into_iter().all(|warmed| !warmed.unwrap().compiled));
        assert_eq!(clear(&folder).unwrap().len(), 2);
        assert!(entries(&folder).unwrap().is_empty());
        assert!(warm().into_iter().all(|warmed| warmed.unwrap().compiled));
    }

    #[test]
    fn machine_code_is_refused_and_the_others_are_compiled() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("cache");
        let host = Host::new(HostOptions { cache: Some(folder.clone()) }).unwrap();
        let good = host.warm(&[guest("identity.wasm")]).remove(0).unwrap();
        let entry = fs::read(&entries(&folder).unwrap()[0].path).unwrap();
        let code = &entry[entry.len() - good.code_bytes..];
        let bad =
            [dir.path().join("entry.wasm"), dir.path().join("code.wasm"), dir.path().join("absent.wasm")];
        fs::write(&bad[0], &entry).unwrap();
        fs::write(&bad[1], code).unwrap();
        let paths = [&bad[..], &[guest("crossing.wasm")]].concat();
        let results = host.warm(&paths);
        for result in &results[..3] {
            assert_eq!(result.as_ref().unwrap_err().code(), Code::P004);
        }
        assert!(results[3].as_ref().unwrap().compiled);
    }

    #[test]
    fn files_of_others_stay_and_a_folder_that_is_none_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("cache");
        usable(&folder).unwrap();
        fs::write(folder.join("notes.txt"), "x").unwrap();
        fs::write(folder.join(".1-0-0.tmp"), "half").unwrap();
        assert_eq!(clear(&folder).unwrap().len(), 1);
        assert!(folder.join("notes.txt").exists());
        let error = usable(&folder.join("notes.txt")).unwrap_err();
        assert_eq!(error.code(), Code::W019, "{error}");
    }
}
