//! Compiling a component: told before it begins and while it goes on, and given up after a while.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use wasmtime::Engine;

use super::cache::Artifact;
use crate::error::{Code, Error, Result};
use crate::units::STAGE_COMPILE_BYTES_PER_CORE_SECOND;

/// A compile that is about to begin.
#[derive(Debug, Clone)]
pub struct Compiling {
    /// Whose it is, in words: "the stage `late`".
    pub label: String,
    /// Bytes of the component.
    pub bytes: usize,
    /// How long components of this size take on this machine when it does nothing else.
    pub expected: Duration,
    /// Whether the cache will keep the code, so that it happens once.
    pub once: bool,
}

impl Compiling {
    pub(super) fn new(label: &str, bytes: usize, once: bool) -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self { label: label.to_owned(), bytes, expected: expected(bytes, cores), once }
    }
}

/// Who is told of what is compiled.
pub trait Watch: Send + Sync {
    /// A compile begins. What this gives is called every now and then with the time since, and dropped at the end.
    fn begin(&self, compiling: &Compiling) -> Box<dyn FnMut(Duration)>;
}

/// Nobody is told.
pub(super) struct Quiet;

impl Watch for Quiet {
    fn begin(&self, _: &Compiling) -> Box<dyn FnMut(Duration)> {
        Box::new(|_| {})
    }
}

/// How long a component of this size takes: functions are compiled on all cores at once.
fn expected(bytes: usize, cores: usize) -> Duration {
    Duration::from_secs_f64(bytes as f64 / (STAGE_COMPILE_BYTES_PER_CORE_SECOND * cores.max(1)) as f64)
}

/// Compiles on a thread of its own, so that `tell` hears of it every `look`, and that it is given up after `most`. The
/// compiler cannot be interrupted: its thread then ends with the process, which has no plan to run.
pub(super) fn compile(
    engine: &Engine,
    bytes: &[u8],
    look: Duration,
    most: Duration,
    mut tell: Box<dyn FnMut(Duration)>,
) -> Result<Artifact> {
    let (done, result) = mpsc::sync_channel(1);
    let (engine, component) = (engine.clone(), bytes.to_vec());
    let work = move || {
        // Nobody waits any more: the time was up.
        let _ = done.send(engine.precompile_component(&component));
    };
    let spawned = thread::Builder::new().name("pipe-wasm-compile".to_owned()).spawn(work);
    spawned.map_err(|e| Error::internal(format!("the Wasm compiler cannot start: {e}")))?;
    let mut waited = Duration::ZERO;
    let compiled = loop {
        match result.recv_timeout(look) {
            Ok(compiled) => break compiled,
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                return Err(Error::user(Code::W001, "the compiler failed on this component"));
            }
            Err(mpsc::RecvTimeoutError::Timeout) => waited += look,
        }
        if waited >= most {
            let message = format!("the component was not compiled within {} s", waited.as_secs());
            return Err(Error::user(Code::W014, message).help("its functions are larger than people write"));
        }
        tell(waited);
    };
    compiled.map(Artifact::compiled).map_err(|e| {
        Error::user(Code::W001, format!("the component cannot be compiled: {e:#}"))
            .help("the file may be cut short or use a feature of Wasm that is switched off; build it again")
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::{Arc, Mutex};

    use super::super::host::config;
    use super::super::{Host, HostOptions};
    use super::*;

    #[test]
    fn a_compiler_that_takes_too_long_is_told_of_and_given_up() {
        let engine = Engine::new(&config()).unwrap();
        let guest = std::fs::read("../tests/guests/prebuilt/hostile.wasm").unwrap();
        let told = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&told);
        let tell = Box::new(move |waited| kept.lock().unwrap().push(waited));
        let (look, most) = (Duration::from_nanos(1), Duration::from_nanos(3));
        let Err(error) = compile(&engine, &guest, look, most, tell) else {
            panic!("it was compiled within no time")
        };
        assert_eq!(error.code(), Code::W014, "{error}");
        assert_eq!(*told.lock().unwrap(), [1, 2].map(Duration::from_nanos));
    }

    #[test]
    fn more_bytes_take_longer_and_more_cores_less() {
        let second = STAGE_COMPILE_BYTES_PER_CORE_SECOND;
        assert_eq!(expected(second, 1), Duration::from_secs(1));
        assert_eq!(expected(40 * second, 2), Duration::from_secs(20));
        assert_eq!(expected(0, 0), Duration::ZERO);
    }

    struct Kept(Mutex<Vec<Compiling>>);

    impl Watch for Kept {
        fn begin(&self, compiling: &Compiling) -> Box<dyn FnMut(Duration)> {
            self.0.lock().unwrap().push(compiling.clone());
            Box::new(|_| {})
        }
    }

    #[test]
    fn a_compile_names_its_stage_before_it_begins_and_a_cached_one_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let guest = Path::new("../tests/guests/prebuilt/identity.wasm");
        let watch = Arc::new(Kept(Mutex::default()));
        let host =
            |cache| Host::watched(HostOptions { cache }, Arc::clone(&watch) as Arc<dyn Watch>).unwrap();
        let cached = host(Some(dir.path().join("cache")));
        cached.load_stage(guest, "late").unwrap();
        cached.load_stage(guest, "later").unwrap();
        host(None).load(guest).unwrap();
        let told = watch.0.lock().unwrap();
        let told: Vec<_> = told.iter().map(|c| (&*c.label, c.once, c.bytes as u64)).collect();
        let bytes = std::fs::metadata(guest).unwrap().len();
        assert_eq!(told, [("the stage `late`", true, bytes), ("`identity.wasm`", false, bytes)]);
    }
}
