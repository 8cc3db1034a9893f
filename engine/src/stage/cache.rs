//! The cache of compiled components: one file a key, published by rename, checked whole before it is used.
//!
//! Loading an entry trusts machine code, so the folder must belong to the worker's user and be closed to everyone
//! else; otherwise it is not used at all, and the log says so. An entry that is damaged, cut short, or made for
//! another key is compiled anew. How an operator fills, lists and empties it: `engine/src/stage/warm.rs`.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};

use crate::clock::{Clock, SystemClock};

/// First bytes of an entry; the digit is the layout's version.
const MAGIC: &[u8; 8] = b"PIPEAOT1";
/// Magic, key, checksum of the code, length of the code.
const HEADER_BYTES: usize = 8 + 32 + 32 + 8;

/// Everything that compiled code depends on: the component, the compiler and its settings, the processor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key([u8; 32]);

impl Key {
    /// Binds a component's digest to the engine's compatibility hash.
    pub(super) fn new(component: &[u8; 32], engine: &[u8; 32]) -> Self {
        Self(Sha256::new().chain_update(MAGIC).chain_update(component).chain_update(engine).finalize().into())
    }

    fn file_name(&self) -> String {
        format!("{}.aot", hex(&self.0))
    }
}

/// Compiled code that may be trusted.
pub(super) struct Artifact {
    bytes: Vec<u8>,
    start: usize,
}

impl Artifact {
    /// What this process's compiler has just made.
    pub(super) fn compiled(bytes: Vec<u8>) -> Self {
        Self { bytes, start: 0 }
    }

    /// The code.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

/// A folder of compiled components.
#[derive(Debug)]
pub(super) struct Cache {
    folder: PathBuf,
    /// The user that owns the folder and must own every entry.
    user: u32,
}

impl Cache {
    /// Opens a folder, making it where it is missing; `None`, with a line in the log, where it cannot be trusted.
    pub(super) fn open(folder: &Path) -> Option<Self> {
        match Self::check(folder) {
            Ok(cache) => Some(cache),
            Err(reason) => {
                let folder = folder.display();
                tracing::warn!(%folder, %reason, "the cache of compiled components is not used");
                None
            }
        }
    }

    /// The same with the reason why it cannot be trusted.
    pub(super) fn check(folder: &Path) -> io::Result<Self> {
        if let Some(parent) = folder.parent() {
            fs::create_dir_all(parent)?;
        }
        match DirBuilder::new().mode(0o700).create(folder) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
        let meta = fs::symlink_metadata(folder)?;
        let user = own_user(folder)?;
        let refuse = |why: &str| Err(io::Error::new(io::ErrorKind::PermissionDenied, why.to_owned()));
        if !meta.file_type().is_dir() {
            return refuse("it is a link or a file, not a folder");
        }
        if meta.uid() != user {
            return refuse("it belongs to another user");
        }
        if meta.permissions().mode() & 0o077 != 0 {
            return refuse("others may enter it: its mode must be 0700");
        }
        Ok(Self { folder: folder.to_owned(), user })
    }

    /// The entry of a key, if there is one that is whole.
    pub(super) fn get(&self, key: &Key) -> Option<Artifact> {
        let path = self.folder.join(key.file_name());
        match self.read(&path, key) {
            Ok(artifact) => Some(artifact),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(reason) => {
                let path = path.display();
                tracing::warn!(%path, %reason, "a compiled component in the cache is damaged: compiled anew");
                None
            }
        }
    }

    fn read(&self, path: &Path, key: &Key) -> io::Result<Artifact> {
        let bad = |why: &str| Err(io::Error::new(io::ErrorKind::InvalidData, why.to_owned()));
        let mut file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(path)?;
        let meta = file.metadata()?;
        if !meta.is_file() || meta.uid() != self.user || meta.permissions().mode() & 0o022 != 0 {
            return bad("not a file that only the worker's user can write");
        }
        let mut bytes = Vec::with_capacity(meta.len() as usize);
        file.read_to_end(&mut bytes)?;
        let Some((header, code)) = bytes.split_at_checked(HEADER_BYTES) else {
            return bad("cut short");
        };
        if header[..8] != *MAGIC || header[8..40] != key.0 {
            return bad("made for another key");
        }
        if header[72..] != (code.len() as u64).to_le_bytes() {
            return bad("cut short");
        }
        if header[40..72] != *Sha256::digest(code) {
            return bad("wrong checksum");
        }
        Ok(Artifact { bytes, start: HEADER_BYTES })
    }

    /// Publishes an entry.
    pub(super) fn put(&self, key: &Key, artifact: &Artifact) -> io::Result<()> {
        self.write(&self.folder.join(key.file_name()), key, artifact.bytes())
    }

    /// Files of entries, and what a write that was cut off left behind. Others' files are none of ours.
    pub(super) fn files(&self) -> io::Result<Vec<(PathBuf, fs::Metadata)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let ours = path.extension().is_some_and(|ending| ending == "aot" || ending == "tmp");
            // A worker that starts meanwhile may have given it its name, or have taken it away.
            if let Some(meta) = fs::symlink_metadata(&path).ok().filter(|meta| ours && meta.is_file()) {
                files.push((path, meta));
            }
        }
        files.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(files)
    }

    fn write(&self, path: &Path, key: &Key, code: &[u8]) -> io::Result<()> {
        let (mut file, temporary) = create_temporary(&self.folder)?;
        let written = (|| {
            file.write_all(MAGIC)?;
            file.write_all(&key.0)?;
            file.write_all(&Sha256::digest(code))?;
            file.write_all(&(code.len() as u64).to_le_bytes())?;
            file.write_all(code)?;
            fs::rename(&temporary, path)
        })();
        if written.is_err() {
            // The rename's error says more than one of this clean-up could.
            let _ = fs::remove_file(&temporary);
        }
        written
    }
}

/// A new file in the folder, for this user alone. Its name is this process's, so that two workers do not meet.
fn create_temporary(folder: &Path) -> io::Result<(File, PathBuf)> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let now = SystemClock::default().unix_ms();
    let path = folder.join(format!(".{}-{count}-{now}.tmp", std::process::id()));
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&path)?;
    Ok((file, path))
}

/// The user this process writes files as: the owner of a file it has just made.
fn own_user(folder: &Path) -> io::Result<u32> {
    if let Ok(meta) = fs::metadata("/proc/self") {
        return Ok(meta.uid());
    }
    let (file, path) = create_temporary(folder)?;
    let user = file.metadata()?.uid();
    fs::remove_file(path)?;
    Ok(user)
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(folder: &Path) -> Cache {
        Cache::check(folder).unwrap()
    }

    fn filled() -> (tempfile::TempDir, PathBuf, Key) {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("cache");
        let key = Key::new(&[1; 32], &[2; 32]);
        open(&folder).put(&key, &Artifact::compiled(b"machine code".to_vec())).unwrap();
        (dir, folder, key)
    }

    #[test]
    fn an_entry_comes_back() {
        let (_dir, folder, key) = filled();
        let mode = fs::metadata(&folder).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert_eq!(open(&folder).get(&key).unwrap().bytes(), b"machine code");
        assert!(open(&folder).get(&Key::new(&[1; 32], &[3; 32])).is_none());
        let left: Vec<_> = fs::read_dir(&folder).unwrap().collect();
        assert_eq!(left.len(), 1, "no temporary file stays behind");
    }

    #[test]
    fn damage_is_noticed() {
        let (_dir, folder, key) = filled();
        let path = folder.join(key.file_name());
        let whole = fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            assert!(open(&folder).get(&key).is_none(), "cut at {cut}");
        }
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            fs::write(&path, &flipped).unwrap();
            assert!(open(&folder).get(&key).is_none(), "flipped at {at}");
        }
        fs::write(&path, &whole).unwrap();
        assert!(open(&folder).get(&key).is_some());
    }

    #[test]
    fn an_entry_of_another_key_is_refused() {
        let (_dir, folder, key) = filled();
        let other = Key::new(&[9; 32], &[2; 32]);
        fs::rename(folder.join(key.file_name()), folder.join(other.file_name())).unwrap();
        assert!(open(&folder).get(&other).is_none());
    }

    #[test]
    fn an_entry_that_others_can_write_or_that_is_a_link_is_refused() {
        let (_dir, folder, key) = filled();
        let path = folder.join(key.file_name());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(open(&folder).get(&key).is_none());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let real = folder.join("real");
        fs::rename(&path, &real).unwrap();
        std::os::unix::fs::symlink(&real, &path).unwrap();
        assert!(open(&folder).get(&key).is_none());
    }

    #[test]
    fn a_folder_that_others_can_enter_is_not_used() {
        let (_dir, folder, _) = filled();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o750)).unwrap();
        assert!(Cache::open(&folder).is_none());
    }

    #[test]
    fn a_folder_or_an_entry_of_another_user_is_not_used() {
        let (_dir, folder, key) = filled();
        let entry = folder.join(key.file_name());
        if std::os::unix::fs::chown(&entry, Some(12_345), None).is_err() {
            // Only the superuser can give a file away; to anyone else this folder is another's.
            assert!(Cache::open(Path::new("/usr")).is_none());
            return;
        }
        assert!(open(&folder).get(&key).is_none());
        open(&folder).put(&key, &Artifact::compiled(b"ours".to_vec())).unwrap();
        assert_eq!(open(&folder).get(&key).unwrap().bytes(), b"ours", "it is replaced");
        std::os::unix::fs::chown(&folder, Some(12_345), None).unwrap();
        assert!(Cache::open(&folder).is_none());
    }

    #[test]
    fn a_folder_that_is_a_link_or_a_file_is_not_used() {
        let (dir, folder, _) = filled();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&folder, &link).unwrap();
        assert!(Cache::open(&link).is_none());
        let file = dir.path().join("file");
        fs::write(&file, "x").unwrap();
        assert!(Cache::open(&file).is_none());
    }
}
