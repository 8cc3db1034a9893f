//! A guest that tries what its configuration says on what it is granted, and reports what came of it as the reasons
//! of rejections. `{"script": "env;read /data a.txt"}`: one step a row; a step that begins with `bind!` is taken in
//! `bind`, and what comes of it is not told.

wit_bindgen::generate!({ path: ["../../../wit", "wit"], world: "guest:grants/grants", generate_all });

use exports::pipe::stage::transform::{
    Binding, Description, Guest, Outcome, Output, OutputColumn, Passed, RecordBatch, Rejection, Schema,
};
use std::sync::Mutex;
use wasi::cli::environment::get_environment;
use wasi::filesystem::preopens::get_directories;
use wasi::filesystem::types::{
    Descriptor, DescriptorFlags as Flags, ErrorCode, NewTimestamp, OpenFlags as Open, PathFlags,
};
use wasi::sockets::network::IpAddressFamily;
use wasi::sockets::tcp_create_socket::create_tcp_socket;

struct Grants;

static SCRIPT: Mutex<String> = Mutex::new(String::new());

const FOLLOW: PathFlags = PathFlags::SYMLINK_FOLLOW;

/// The text of `script`, which holds no character that JSON escapes.
fn script(config: &str) -> String {
    let (_, rest) = config.split_once("\"script\":\"").unwrap_or_default();
    rest.split('"').next().unwrap_or_default().to_owned()
}

fn open(folder: &Descriptor, path: &str, how: Open, flags: Flags) -> Result<Descriptor, ErrorCode> {
    folder.open_at(FOLLOW, path, how, flags)
}

fn read(file: &Descriptor) -> Result<String, ErrorCode> {
    let mut text = Vec::new();
    loop {
        let (bytes, end) = file.read(1 << 16, text.len() as u64)?;
        text.extend(bytes);
        if end {
            return Ok(String::from_utf8_lossy(&text).into_owned());
        }
    }
}

fn list(folder: &Descriptor) -> Result<String, ErrorCode> {
    let entries = folder.read_directory()?;
    let mut names = Vec::new();
    while let Some(entry) = entries.read_directory_entry()? {
        names.push(entry.name);
    }
    names.sort();
    Ok(names.join(","))
}

/// Opens a folder's listing again and again without closing one.
fn hoard(folder: &Descriptor) -> Result<String, ErrorCode> {
    let mut all = Vec::new();
    loop {
        all.push(folder.read_directory()?);
    }
}

fn on_folder(step: &str, folder: &Descriptor, path: &str) -> Result<String, ErrorCode> {
    let done = |result: Result<(), ErrorCode>| result.map(|()| "done".to_owned());
    let file = || open(folder, path, Open::empty(), Flags::READ);
    match step {
        "read" => read(&file()?),
        "stream" => {
            let bytes = file()?.read_via_stream(0)?.blocking_read(1 << 16);
            bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).map_err(|_| ErrorCode::Io)
        }
        "list" => list(&open(folder, path, Open::DIRECTORY, Flags::READ)?),
        "hoard" => hoard(&open(folder, path, Open::DIRECTORY, Flags::READ)?),
        "create" => done(open(folder, path, Open::CREATE, Flags::WRITE).map(drop)),
        "create-to-read" => done(open(folder, path, Open::CREATE, Flags::READ).map(drop)),
        "truncate" => done(open(folder, path, Open::TRUNCATE, Flags::READ).map(drop)),
        "open-to-write" => done(open(folder, path, Open::empty(), Flags::WRITE).map(drop)),
        "write" => done(file()?.write(b"x", 0).map(drop)),
        "write-stream" => done(file()?.write_via_stream(0).map(drop)),
        "append-stream" => done(file()?.append_via_stream().map(drop)),
        "set-size" => done(file()?.set_size(0)),
        "set-times" => done(file()?.set_times(NewTimestamp::Now, NewTimestamp::Now)),
        "set-times-at" => done(folder.set_times_at(FOLLOW, path, NewTimestamp::Now, NewTimestamp::Now)),
        "make-folder" => done(folder.create_directory_at(path)),
        "remove-folder" => done(folder.remove_directory_at(path)),
        "remove" => done(folder.unlink_file_at(path)),
        "rename" => done(folder.rename_at(path, folder, "renamed")),
        "link" => done(folder.link_at(PathFlags::empty(), path, folder, "linked")),
        "symlink" => done(folder.symlink_at(path, "symlinked")),
        // A handle that asks for more than the folder's own.
        "mutate" => {
            let flags = Flags::READ | Flags::WRITE | Flags::MUTATE_DIRECTORY;
            done(open(folder, ".", Open::DIRECTORY, flags)?.create_directory_at(path))
        }
        "below" => {
            let inner = open(folder, path, Open::DIRECTORY, Flags::READ)?;
            done(open(&inner, "new", Open::CREATE, Flags::WRITE).map(drop))
        }
        _ => Ok("no such step".to_owned()),
    }
}

fn take(step: &str) -> String {
    let mut words = step.splitn(3, ' ');
    let (name, folder, path) = (words.next(), words.next(), words.next());
    match (name.unwrap_or_default(), folder, path) {
        ("env", ..) => format!("{:?}", get_environment()),
        ("folders", ..) => {
            let names: Vec<String> = get_directories().into_iter().map(|(_, name)| name).collect();
            format!("{names:?}")
        }
        ("tcp", ..) => format!("{:?}", create_tcp_socket(IpAddressFamily::Ipv4).err()),
        (name, Some(folder), Some(path)) => {
            match get_directories().into_iter().find(|(_, name)| name == folder) {
                Some((folder, _)) => match on_folder(name, &folder, path) {
                    Ok(text) => text,
                    Err(code) => format!("error {}", code.name()),
                },
                None => "no such folder".to_owned(),
            }
        }
        _ => "no such step".to_owned(),
    }
}

impl Guest for Grants {
    fn describe() -> Description {
        Description {
            name: "grants".into(),
            version: "0.1.0".into(),
            summary: "Tries what it is granted.".into(),
            config_schema: r#"{"type":"object","properties":{"script":{"type":"string"}}}"#.into(),
            sdk: "wit-bindgen".into(),
        }
    }

    fn bind(_input: Schema, config: String) -> Result<Binding, String> {
        let script = script(&config);
        for step in script.split(';').filter_map(|step| step.strip_prefix("bind!")) {
            take(step);
        }
        *SCRIPT.lock().unwrap() = script;
        let columns = vec![OutputColumn::Passed(Passed { index: 0, name: None })];
        Ok(Binding { reads: vec![], outputs: vec![Output { name: "out".into(), columns }] })
    }

    fn process(input: RecordBatch) -> Result<Outcome, String> {
        let script = SCRIPT.lock().unwrap().clone();
        let steps = script.split(';').filter(|step| !step.starts_with("bind!") && !step.is_empty());
        let reject = |(row, step): (u32, &str)| Rejection { row, reason: take(step) };
        Ok(Outcome { emissions: vec![], rejections: (0..input.length).zip(steps).map(reject).collect() })
    }
}

export!(Grants);
