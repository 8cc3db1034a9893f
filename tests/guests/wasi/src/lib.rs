//! A guest that reaches for everything WASI could give it, and reports what it got as the reasons of rejections.

wit_bindgen::generate!({ path: "../../../wit", world: "stage" });

use exports::pipe::stage::transform::{
    Binding, Description, Guest, Outcome, Output, OutputColumn, Passed, RecordBatch, Rejection, Schema,
};
use std::io::Read;
use std::time::{Duration, Instant, SystemTime};

struct Wasi;

/// `name=denied`, or what was there.
fn report<T: std::fmt::Debug, E>(name: &str, result: Result<T, E>) -> String {
    match result {
        Ok(value) => format!("{name}={value:?}"),
        Err(_) => format!("{name}=denied"),
    }
}

fn attempts() -> Vec<String> {
    println!("a line to standard output");
    eprintln!("a line to standard error");
    let mut input = String::new();
    let begin = Instant::now();
    std::thread::sleep(Duration::from_secs(3600));
    let slept = begin.elapsed() > Duration::from_secs(60);
    vec![
        report("file", std::fs::read("/etc/passwd")),
        report("folder", std::fs::read_dir("/").map(|_| ())),
        report("write", std::fs::write("x", "y")),
        report("tcp", std::net::TcpStream::connect("127.0.0.1:9092").map(|_| ())),
        report("udp", std::net::UdpSocket::bind("127.0.0.1:0").map(|_| ())),
        format!("env={}", std::env::vars().count()),
        format!("args={}", std::env::args().count()),
        format!("stdin={:?}", std::io::stdin().read_to_string(&mut input).ok()),
        format!("slept={slept}"),
        format!("clock={}", SystemTime::now() > SystemTime::UNIX_EPOCH),
    ]
}

impl Guest for Wasi {
    fn describe() -> Description {
        Description {
            name: "wasi".into(),
            version: "0.1.0".into(),
            summary: "Reports what WASI gives it.".into(),
            config_schema: String::new(),
            sdk: "wit-bindgen".into(),
        }
    }

    fn bind(_input: Schema, _config: String) -> Result<Binding, String> {
        let columns = vec![OutputColumn::Passed(Passed { index: 0, name: None })];
        Ok(Binding { reads: vec![], outputs: vec![Output { name: "out".into(), columns }] })
    }

    fn process(input: RecordBatch) -> Result<Outcome, String> {
        let reject = |(row, reason): (u32, String)| Rejection { row, reason };
        let rejections = (0..input.length).zip(attempts()).map(reject).collect();
        Ok(Outcome { emissions: vec![], rejections })
    }
}

export!(Wasi);
