//! What a stage is granted beyond its columns: environment variables and folders to read. Nothing by default.
//!
//! A folder is opened once, when the pipeline is planned, so that what stands behind it stays the same folder until
//! the end, whatever is renamed meanwhile.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

/// What a stage is granted. The values of its environment are shown by nothing: they may be secrets.
#[derive(Default)]
pub struct Grants {
    env: Vec<(String, String)>,
    folders: Vec<Folder>,
}

/// A folder that a stage may read.
#[derive(Debug)]
pub struct Folder {
    /// Where the stage sees it: an absolute path.
    pub guest: String,
    /// Where it is.
    pub host: PathBuf,
    /// The open folder.
    pub(super) handle: File,
}

/// What a stage asked for while it was bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asked {
    /// Its environment.
    pub env: bool,
    /// Its folders.
    pub folders: bool,
    /// A socket.
    pub network: bool,
}

/// Places whose files are no files: some of them hold their reader for ever.
const KERNEL: &[&str] = &["/proc", "/sys", "/dev"];

impl Grants {
    /// Adds an environment variable. The error is a sentence.
    pub fn env(&mut self, key: &str, value: &str) -> Result<(), String> {
        let letters = key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if key.is_empty() || !letters || key.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(format!("`{key}` is not the name of an environment variable"));
        }
        // Guests in C take a value to end there.
        if value.contains('\0') {
            return Err(format!("the value of `{key}` holds a zero byte"));
        }
        self.env.push((key.to_owned(), value.to_owned()));
        Ok(())
    }

    /// Adds a folder to read: `guest` is what the stage calls it. The error is a sentence, and what to do.
    pub fn folder(&mut self, guest: &str, host: &Path) -> Result<(), (String, &'static str)> {
        let parts: Vec<&str> = guest.split('/').skip(1).collect();
        let plain = |part: &&str| !part.is_empty() && *part != "." && *part != ".." && !part.contains('\0');
        if !guest.starts_with('/') || !(guest == "/" || parts.iter().all(plain)) {
            let message = format!("`{guest}` is not a path that a stage can be given");
            return Err((
                message,
                "write an absolute path without `.`, `..` or a `/` at its end, such as `/data`",
            ));
        }
        let fault = |why: &str, help| Err((format!("the folder `{}` {why}", host.display()), help));
        let real = match std::fs::canonicalize(host) {
            Ok(real) => real,
            Err(e) => {
                let help = "make the folder, or correct its path: it is relative to the pipeline file";
                return fault(&format!("cannot be granted: {e}"), help);
            }
        };
        if !real.is_dir() {
            return fault("is not a folder", "grant the folder that the file is in");
        }
        if KERNEL.iter().any(|place| real.starts_with(place) || Path::new(place).starts_with(&real)) {
            let help = "grant a folder of plain files; those of the kernel can hold a stage for ever";
            return fault("is, or holds, one of the kernel's own", help);
        }
        match File::open(&real) {
            Ok(handle) => {
                self.folders.push(Folder { guest: guest.to_owned(), host: real, handle });
                Ok(())
            }
            Err(e) => fault(&format!("cannot be read: {e}"), "let the worker's user read it"),
        }
    }

    /// Whether nothing is granted.
    pub fn is_empty(&self) -> bool {
        self.env.is_empty() && self.folders.is_empty()
    }

    /// Names of the environment variables, in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.env.iter().map(|(key, _)| key.as_str())
    }

    /// The folders, in order.
    pub fn folders(&self) -> &[Folder] {
        &self.folders
    }

    /// The environment as a guest sees it.
    pub(super) fn environment(&self) -> Vec<(String, String)> {
        self.env.clone()
    }
}

impl fmt::Debug for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<&str> = self.keys().collect();
        f.debug_struct("Grants").field("env", &keys).field("folders", &self.folders).finish()
    }
}

/// In one line, without values: `env REGION; folder /data (geo-data, read only)`.
impl fmt::Display for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing");
        }
        let mut parts = Vec::new();
        if !self.env.is_empty() {
            parts.push(format!("env {}", self.keys().collect::<Vec<_>>().join(", ")));
        }
        for Folder { guest, host, .. } in &self.folders {
            parts.push(format!("folder {guest} (read only, {})", host.display()));
        }
        f.write_str(&parts.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_by_nothing() {
        let mut grants = Grants::default();
        grants.env("TOKEN", "hunter2").unwrap();
        let dir = tempfile::tempdir().unwrap();
        grants.folder("/data", dir.path()).unwrap();
        for text in [format!("{grants}"), format!("{grants:?}")] {
            assert!(text.contains("TOKEN") && text.contains("/data") && !text.contains("hunter2"), "{text}");
        }
        assert_eq!(Grants::default().to_string(), "nothing");
    }

    #[test]
    fn what_cannot_be_granted_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "x").unwrap();
        let mut grants = Grants::default();
        for key in ["", "1A", "A B", "A=B", "\u{e4}"] {
            assert!(grants.env(key, "x").is_err(), "{key}");
        }
        assert!(grants.env("A", "x\0y").is_err());
        for guest in ["", "data", "/data/", "/a/../b", "/./a", "//a"] {
            assert!(grants.folder(guest, dir.path()).unwrap_err().0.contains("not a path"), "{guest}");
        }
        for (host, part) in [
            (dir.path().join("absent"), "cannot be granted"),
            (file, "is not a folder"),
            ("/proc/self".into(), "the kernel's"),
            ("/dev".into(), "the kernel's"),
            ("/".into(), "the kernel's"),
        ] {
            let (message, _) = grants.folder("/data", &host).unwrap_err();
            assert!(message.contains(part), "{message}");
        }
        assert!(grants.is_empty());
    }
}
