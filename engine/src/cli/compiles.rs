//! What a person is told of stages that are compiled: a line before a compile that takes a while, then a bar on a
//! terminal, or a line every few seconds in a log.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::live::lines;
use crate::error::Result;
use crate::stage::{Compiling, Host, HostOptions, Watch};
use crate::units::{STAGE_COMPILE_NOTICE, STAGE_COMPILE_TOLD};

/// Whether quick compiles are told too.
static ALL: AtomicBool = AtomicBool::new(false);

/// From here on each compile is told, however quick: for commands that are meant to compile, and for workers.
pub fn tell_all() {
    ALL.store(true, Ordering::Relaxed);
}

/// A host whose compiles are told.
pub fn host(options: HostOptions) -> Result<Arc<Host>> {
    Host::watched(options, Arc::new(Told { bar: io::stderr().is_terminal() }))
}

struct Told {
    bar: bool,
}

impl Watch for Told {
    fn begin(&self, compiling: &Compiling) -> Box<dyn FnMut(Duration)> {
        let Compiling { label, bytes, expected, .. } = compiling;
        let seconds = expected.as_secs_f64();
        let text = beginning(compiling);
        if *expected >= STAGE_COMPILE_TOLD || ALL.load(Ordering::Relaxed) {
            tracing::info!(bytes, expected_seconds = seconds, "{text}");
        } else {
            tracing::debug!(bytes, expected_seconds = seconds, "{text}");
        }
        if self.bar { drawn(label.clone(), *expected) } else { logged(compiling) }
    }
}

/// "compiling the stage `late` (18.0 MiB), about 40 s, once: the cache keeps the code"
fn beginning(compiling: &Compiling) -> String {
    let Compiling { label, bytes, expected, once } = compiling;
    let size = bytesize::ByteSize(*bytes as u64);
    let often = match once {
        true => "once: the cache keeps the code",
        false => "at each start: there is no cache (see `pipe cache --help`)",
    };
    format!("compiling {label} ({size}), {}, {often}", about(*expected))
}

/// Nobody wants more digits of an estimate.
fn about(time: Duration) -> String {
    match time.as_secs_f64() {
        s if s < 1.0 => "less than a second".to_owned(),
        s if s < 90.0 => format!("about {s:.0} s"),
        s => format!("about {:.0} min", s / 60.0),
    }
}

/// A line in the log every few seconds.
fn logged(compiling: &Compiling) -> Box<dyn FnMut(Duration)> {
    let Compiling { label, bytes, expected, once } = compiling.clone();
    let expected_seconds = expected.as_secs_f64();
    let often = if once { "once" } else { "at each start" };
    let mut next = STAGE_COMPILE_NOTICE;
    Box::new(move |waited| {
        if waited >= next {
            next = waited + STAGE_COMPILE_NOTICE;
            let seconds = waited.as_secs();
            tracing::info!(
                bytes,
                seconds,
                expected_seconds,
                "{label} is being compiled; this happens {often}"
            );
        }
    })
}

/// A bar that is gone when the compile has ended.
fn drawn(label: String, expected: Duration) -> Box<dyn FnMut(Duration)> {
    let mut bar: Option<Bar> = None;
    Box::new(move |waited| {
        // What takes no time to see is not drawn.
        let bar = &bar.get_or_insert_with(|| Bar(lines().add(ProgressBar::new(1).with_style(style())))).0;
        bar.set_length(expected.as_millis() as u64);
        bar.set_position(waited.min(expected).as_millis() as u64);
        bar.set_message(format!("compiling {label}: {} s, {} expected", waited.as_secs(), about(expected)));
    })
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{bar:20} {msg}").unwrap_or_else(|_| ProgressStyle::default_bar())
}

struct Bar(ProgressBar);

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compile_is_told_in_a_sentence() {
        let compiling = |millis, once| Compiling {
            label: "the stage `late`".into(),
            bytes: 18 << 20,
            expected: Duration::from_millis(millis),
            once,
        };
        let kept = "once: the cache keeps the code";
        for (millis, time) in [
            (10, "less than a second"),
            (1_400, "about 1 s"),
            (42_000, "about 42 s"),
            (130_000, "about 2 min"),
        ] {
            let text = beginning(&compiling(millis, true));
            assert_eq!(text, format!("compiling the stage `late` (18.0 MiB), {time}, {kept}"));
        }
        assert!(beginning(&compiling(10, false)).contains("at each start: there is no cache"));
    }
}
