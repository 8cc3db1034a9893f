//! `pipe stage build`: from a stage's folder to its component.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use wit_component::{ComponentEncoder, DecodedWasm};

use super::compiles;
use super::logs::{self, LogFormat};
use crate::error::{Code, Error, Result};
use crate::stage::{HostOptions, keep_authors, usable};

/// The world that every stage implements.
const WORLD: &str = "pipe:stage/stage@0.1.0";
/// What a stage of that world exports.
const EXPORT: &str = "pipe:stage/transform@0.1.0";
/// The target of Rust stages: without WASI, so that a component imports nothing but the host's log.
const TARGET: &str = "wasm32-unknown-unknown";

/// How a component's binary begins; a core module has another version.
const COMPONENT_PREAMBLE: &[u8] = b"\0asm\x0d\0\x01\0";

/// Build a stage's component from its folder.
///
/// The component is compiled into the cache too (see `pipe cache`), so that the worker that runs it next starts at once.
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// The stage's folder: it has a `stage.toml`.
    #[arg(value_hint = clap::ValueHint::DirPath)]
    pub dir: PathBuf,
    /// Where the component goes: a file, or a folder, in which it is `<name>.wasm`. Folders that are missing are made; a
    /// path that ends in `/` is a folder. Default: `<name>.component.wasm` beside the module that the build made; the
    /// path is printed.
    #[arg(short, long, value_name = "PATH", value_hint = clap::ValueHint::AnyPath)]
    pub out: Option<PathBuf>,
    /// Take this core module, built already, instead of running the language's own build.
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub module: Option<PathBuf>,
}

/// A stage's manifest, `stage.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    name: String,
    language: String,
    world: String,
    #[expect(dead_code, reason = "for the catalogue; read so that a manifest without it is refused")]
    summary: String,
    #[serde(default)]
    #[expect(dead_code, reason = "a recommendation to pipelines; read so that its shape is checked")]
    limits: BTreeMap<String, String>,
}

/// Builds the component, checks what it exports, and prints its path, size and digest.
pub fn build(args: &BuildArgs, host: HostOptions) -> Result<()> {
    logs::start(LogFormat::Auto);
    let manifest = read_manifest(&args.dir)?;
    let module = match &args.module {
        Some(file) => file.clone(),
        None => match manifest.language.as_str() {
            "rust" => cargo_build(&args.dir)?,
            other => {
                return Err(Error::user(Code::P004, format!("`{other}` is no language that is built here"))
                    .help("`rust` is; a component built by other tools can be used as it is, with `wasm:`"));
            }
        },
    };
    let bytes = fs::read(&module).map_err(|e| unreadable(&module, &e))?;
    let component = componentize(&bytes).map_err(|e| e.context(module.display().to_string()))?;
    let out = place(args.out.as_deref(), &module, &manifest.name);
    write(&out, &component)?;
    let digest: String = Sha256::digest(&component).iter().map(|byte| format!("{byte:02x}")).collect();
    super::print(&format!("{} {} bytes sha256:{digest}\n", out.display(), component.len()))?;
    warm(&out, host)
}

/// Where the component goes.
fn place(out: Option<&Path>, module: &Path, name: &str) -> PathBuf {
    let Some(out) = out else { return module.with_file_name(format!("{name}.component.wasm")) };
    if out.is_dir() || out.as_os_str().as_encoded_bytes().ends_with(b"/") {
        return out.join(format!("{name}.wasm"));
    }
    out.to_owned()
}

/// Compiles it into the cache. A cache that cannot be used costs the next start its time, not this build its component.
fn warm(component: &Path, host: HostOptions) -> Result<()> {
    let Some(folder) = host.cache.clone() else { return Ok(()) };
    if let Err(error) = usable(&folder) {
        tracing::warn!(
            code = error.code().as_str(),
            "the component is not compiled ahead: {}",
            error.message()
        );
        return Ok(());
    }
    let warmed = compiles::host(host)?.warm(&[component.to_owned()]).into_iter().next().transpose();
    match warmed.map_err(|error| error.context(component.display().to_string())) {
        Ok(None) => Ok(()),
        Ok(Some(warmed)) => {
            let seconds = warmed.time.as_secs_f64();
            let how =
                if warmed.compiled { format!("compiled in {seconds:.2} s") } else { "was there".to_owned() };
            super::say(&format!("machine code: {how}, in the cache {}\n", folder.display()));
            Ok(())
        }
        Err(error) if error.code() == Code::W019 => {
            tracing::warn!(code = error.code().as_str(), "{}", error.message());
            Ok(())
        }
        Err(error) => Err(error),
    }
}

fn read_manifest(dir: &Path) -> Result<Manifest> {
    let path = dir.join("stage.toml");
    let text = fs::read_to_string(&path).map_err(|e| unreadable(&path, &e))?;
    let manifest: Manifest = toml::from_str(&text)
        .map_err(|e| Error::user(Code::P004, format!("{}: {}", path.display(), e.message())))?;
    if manifest.world != WORLD {
        return Err(Error::user(
            Code::W002,
            format!(
                "{}: world `{}` is not known; this engine knows `{WORLD}`",
                path.display(),
                manifest.world
            ),
        ));
    }
    Ok(manifest)
}

/// Makes a component of a core module and checks that it is a stage.
fn componentize(module: &[u8]) -> Result<Vec<u8>> {
    // A component that is one already (built by another language's tools) is only checked.
    let component = if module.starts_with(COMPONENT_PREAMBLE) {
        module.to_vec()
    } else {
        let module = keep_authors(module);
        let encode = || ComponentEncoder::default().module(&module)?.validate(true).encode();
        encode().map_err(|e| Error::user(Code::P004, format!("no component can be made of this: {e:#}")))?
    };
    let decoded = wit_component::decode(&component)
        .map_err(|e| Error::user(Code::P004, format!("this is not a component: {e:#}")))?;
    let DecodedWasm::Component(resolve, world) = decoded else {
        return Err(Error::user(Code::P004, "this is a WIT package, not a component"));
    };
    let exports: Vec<String> =
        resolve.worlds[world].exports.keys().map(|key| resolve.name_world_key(key)).collect();
    if exports.iter().any(|export| export == EXPORT) {
        return Ok(component);
    }
    let found = if exports.is_empty() { "nothing".into() } else { exports.join(", ") };
    Err(Error::user(Code::W002, format!("the component exports {found}; `{EXPORT}` is needed")))
}

/// Where a Rust stage's toolchain comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    /// The rustup toolchain, with its Wasm target.
    Rustup,
    /// Debian's `rustc-web`, `cargo-web` and `rust-web-src`, which build the standard library themselves.
    Debian,
}

impl Route {
    /// `PIPE_GUEST_ROUTE` (`rustup` or `debian`) where it is set; else rustup where its Wasm target is installed,
    /// else Debian.
    fn choose() -> Result<Self> {
        match std::env::var("PIPE_GUEST_ROUTE").as_deref() {
            Ok("rustup") => Ok(Self::Rustup),
            Ok("debian") => Ok(Self::Debian),
            Ok(other) => Err(Error::user(
                Code::P009,
                format!("PIPE_GUEST_ROUTE is `{other}`; `rustup` and `debian` are known"),
            )),
            Err(_) if target_installed() => Ok(Self::Rustup),
            Err(_) if Path::new(DEBIAN_STD).is_dir() => Ok(Self::Debian),
            Err(_) => Err(Error::external(Code::P004, format!("the Rust target {TARGET} is not installed")).help(
                "run `rustup target add wasm32-unknown-unknown`, or `apt-get install rustc-web cargo-web rust-web-src`",
            )),
        }
    }
}

/// The sources of the standard library that Debian's compiler builds for Wasm.
const DEBIAN_STD: &str = "/usr/lib/rustlib/src/rust/library";

/// What a command prints, if it succeeds.
fn printed(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}

fn target_installed() -> bool {
    printed("rustc", &["--print", "target-libdir", "--target", TARGET])
        .is_some_and(|dir| Path::new(&dir).is_dir())
}

/// The linker of the rustup toolchain: Debian's compiler has none of its own for Wasm.
fn rust_lld() -> Option<PathBuf> {
    let libdir = PathBuf::from(printed("rustc", &["--print", "target-libdir"])?);
    let lld = libdir.parent()?.join("bin/rust-lld");
    lld.is_file().then_some(lld)
}

/// Runs cargo in the stage's folder and gives the core module that it made.
fn cargo_build(dir: &Path) -> Result<PathBuf> {
    let mut command = match Route::choose()? {
        Route::Rustup => Command::new("cargo"),
        Route::Debian => {
            let mut command = Command::new("/usr/bin/cargo");
            command.env("RUSTC_BOOTSTRAP", "1").env("RUSTC", "/usr/bin/rustc");
            // The linker is cargo's business only through this variable: a flag would need a shell's quoting.
            if let Some(lld) = rust_lld() {
                command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", lld);
            }
            command.arg("-Zbuild-std=std,panic_abort");
            command
        }
    };
    // Wasm's own 128-bit vectors, which every host of this world has, make loops over columns several times faster.
    let flags = "-C target-feature=+simd128";
    command.current_dir(dir).env_remove("CARGO_ENCODED_RUSTFLAGS").env("RUSTFLAGS", flags);
    // Names of functions are needed here, whatever the stage's profile strips: most of them are cut off below.
    command.env("CARGO_PROFILE_RELEASE_STRIP", "debuginfo");
    command.args([
        "build",
        "--release",
        "--lib",
        "--target",
        TARGET,
        "--message-format=json-render-diagnostics",
    ]);
    let output = command.stderr(std::process::Stdio::inherit()).output().map_err(|e| {
        Error::external(
            Code::P004,
            format!("{} cannot be started: {e}", command.get_program().to_string_lossy()),
        )
    })?;
    if !output.status.success() {
        return Err(Error::user(Code::P004, format!("{}: the build failed, see above", dir.display())));
    }
    let wasm = String::from_utf8_lossy(&output.stdout).lines().filter_map(artifact).next_back();
    wasm.ok_or_else(|| {
        Error::user(Code::P004, format!("{}: the build made no Wasm module", dir.display()))
            .help("the crate needs `[lib] crate-type = [\"cdylib\", \"rlib\"]`")
    })
}

/// The Wasm file of one line of cargo's messages. The stage's own crate comes last.
fn artifact(line: &str) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(line).ok()?;
    let files = message.get("filenames")?.as_array()?;
    files.iter().filter_map(|file| file.as_str()).find(|file| file.ends_with(".wasm")).map(PathBuf::from)
}

/// Writes a file in one step: a reader sees the old component or the new one, never a half.
fn write(out: &Path, bytes: &[u8]) -> Result<()> {
    let failed = |e: &std::io::Error| Error::external(Code::P004, format!("{}: {e}", out.display()));
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(|e| failed(&e))?;
    // A component is read by workers of other users too; a temporary file is its owner's alone by default.
    let mut builder = tempfile::Builder::new();
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
    let mut file = builder.tempfile_in(folder).map_err(|e| failed(&e))?;
    std::io::Write::write_all(&mut file, bytes).map_err(|e| failed(&e))?;
    file.persist(out).map_err(|e| failed(&e.error))?;
    Ok(())
}

#[cold]
fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    Error::user(Code::P004, format!("{} cannot be read: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage_toml(text: &str) -> Result<Manifest> {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("stage.toml"), text).unwrap();
        read_manifest(dir.path())
    }

    #[test]
    fn a_manifest_says_what_is_wrong_with_it() {
        let good = "name='a'\nlanguage='rust'\nworld='pipe:stage/stage@0.1.0'\nsummary='b'\n";
        assert_eq!(stage_toml(good).unwrap().name, "a");
        let other = stage_toml(&good.replace("0.1.0", "9.0.0")).unwrap_err();
        assert_eq!(other.code(), Code::W002);
        assert!(other.to_string().contains("9.0.0"), "{other}");
        let unknown = stage_toml(&format!("{good}colour='red'\n")).unwrap_err();
        assert!(unknown.to_string().contains("colour"), "{unknown}");
        let missing = read_manifest(Path::new("no-such-folder")).unwrap_err();
        assert!(missing.to_string().contains("no-such-folder"), "{missing}");
    }

    #[test]
    fn another_language_and_a_broken_module_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let text = "name='a'\nlanguage='cobol'\nworld='pipe:stage/stage@0.1.0'\nsummary='b'\n";
        fs::write(dir.path().join("stage.toml"), text).unwrap();
        let args = BuildArgs { dir: dir.path().into(), out: None, module: None };
        let build = |args: &BuildArgs| build(args, HostOptions::default());
        assert!(build(&args).unwrap_err().to_string().contains("cobol"));
        // The smallest module there is: no world is embedded in it, so it exports nothing.
        fs::write(dir.path().join("m.wasm"), b"\0asm\x01\0\0\0").unwrap();
        let args = BuildArgs { module: Some(dir.path().join("m.wasm")), ..args };
        let error = build(&args).unwrap_err();
        assert!(matches!(error.code(), Code::W002 | Code::P004), "{error}");
        assert!(!dir.path().join("a.component.wasm").exists());
    }

    #[test]
    fn the_component_goes_where_it_was_told_to() {
        let dir = tempfile::tempdir().unwrap();
        let module = dir.path().join("release/my_stage.wasm");
        let place = |out: Option<&Path>| place(out, &module, "my-stage");
        assert_eq!(place(None), dir.path().join("release/my-stage.component.wasm"));
        assert_eq!(place(Some(Path::new("a/b.wasm"))), Path::new("a/b.wasm"));
        assert_eq!(place(Some(dir.path())), dir.path().join("my-stage.wasm"));
        assert_eq!(place(Some(Path::new("absent/"))), Path::new("absent/my-stage.wasm"));
    }

    #[test]
    fn the_last_wasm_file_of_cargos_messages_is_the_stage() {
        let line = r#"{"reason":"compiler-artifact","filenames":["/t/a.rlib","/t/a.wasm"]}"#;
        assert_eq!(artifact(line), Some("/t/a.wasm".into()));
        assert_eq!(artifact(r#"{"reason":"build-finished","success":true}"#), None);
        assert_eq!(artifact("warning: text"), None);
    }
}
