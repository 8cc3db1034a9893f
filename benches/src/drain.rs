//! One program drains a topic that is full already, and is watched while it does: the method of every comparison.
//!
//! It runs until its output holds all that it should hold; it is then told to end. What it has cost by then counts.
//! *Steady* is the stretch from 20 to 90 percent of the output: without start, warm-up and end.

use std::error::Error;
use std::fs::File;
use std::io::{Read, Seek};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::processes::{Spent, busy, spent};
use crate::sink::{Count, Watch};

/// A topic to drain, and what must come of it.
pub struct Work<'a> {
    /// Address of the broker.
    pub brokers: &'a str,
    /// Its process.
    pub broker: u32,
    /// The topic that the program writes.
    pub output: &'a str,
    /// Records of the input.
    pub records: u64,
    /// Records that the output will hold.
    pub expected: u64,
    /// How they are counted meanwhile.
    pub count: Count,
}

/// What it cost. Shares of the machine are of all its cores.
#[derive(Debug, Clone, Copy, Default)]
pub struct Figures {
    /// CPU seconds for a million records of input, from the start of the program.
    pub cpu: f64,
    /// The same in the steady stretch.
    pub cpu_steady: f64,
    /// Records of input a second, from the start of the program.
    pub rate: f64,
    /// The same in the steady stretch.
    pub rate_steady: f64,
    /// Seconds from the start of the program to the first record of output.
    pub first: f64,
    /// Peak resident memory of its processes, in MiB.
    pub peak: f64,
    /// CPU seconds of the broker for a million records.
    pub broker: f64,
    /// Share of the machine that was busy with anything but program, broker and this.
    pub other: f64,
}

/// What is seen of a run at one moment.
#[derive(Debug, Clone, Copy)]
struct Moment {
    at: Duration,
    arrived: u64,
    spent: Spent,
}

/// CPU time is counted in ticks of 10 ms; looking costs a tenth of one.
const LOOK: Duration = Duration::from_millis(20);
/// No run may take longer than this, and as long again for each million records.
const SLOWEST: Duration = Duration::from_secs(180);

/// Runs a program until its work is done. Its standard error is told when it fails.
pub fn drain(command: &mut Command, work: &Work<'_>) -> Result<Figures, Box<dyn Error>> {
    let watch = Watch::start(work.brokers, work.output, work.count)?;
    let mut log = tempfile::tempfile()?;
    let own = std::process::id();
    let before = [busy(), spent(work.broker).cpu, itself(own)];
    let begin = Instant::now();
    let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log.try_clone()?).spawn()?;
    let mut program = Program(child);
    let mut moments = Vec::new();
    let limit = SLOWEST.mul_f64(1.0 + work.records as f64 / 1e6);
    let mut gone = None;
    loop {
        let arrived = watch.arrived();
        let spent = spent(program.0.id());
        moments.push(Moment { at: begin.elapsed(), arrived, spent });
        if arrived >= work.expected {
            break;
        }
        // What it wrote may still be on its way to the one who counts.
        let gone_for =
            if spent.ended { gone.get_or_insert_with(Instant::now).elapsed() } else { Duration::ZERO };
        if gone_for > Duration::from_secs(10) || begin.elapsed() > limit {
            let why = if spent.ended { "ended" } else { "is too slow" };
            return Err(
                format!("it {why} at {arrived} of {} records:\n{}", work.expected, text(&mut log)?).into()
            );
        }
        sleep(LOOK);
    }
    let after = [busy(), spent(work.broker).cpu, itself(own)];
    program.end();
    let [all, broker, this] = [0, 1, 2].map(|at| (after[at].saturating_sub(before[at])).as_secs_f64());
    let mut figures = of(&moments, work.records);
    figures.broker = broker / work.records as f64 * 1e6;
    let last = moments.last().map_or(Duration::ZERO, |m| m.spent.cpu).as_secs_f64();
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    let wall = moments.last().map_or(1.0, |m| m.at.as_secs_f64());
    figures.other = ((all - broker - this - last) / (cores * wall)).max(0.0);
    Ok(figures)
}

/// CPU time of this process without that of its children.
fn itself(own: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{own}/stat")).unwrap_or_default();
    crate::measure::state_and_cpu(&stat).map_or(Duration::ZERO, |(_, cpu)| cpu)
}

fn of(moments: &[Moment], records: u64) -> Figures {
    let Some(last) = moments.last() else { return Figures::default() };
    let millions = records as f64 / 1e6;
    let mut figures = Figures {
        cpu: last.spent.cpu.as_secs_f64() / millions,
        rate: records as f64 / last.at.as_secs_f64(),
        peak: moments.iter().map(|m| m.spent.peak_kib).max().unwrap_or(0) as f64 / 1024.0,
        first: moments.iter().find(|m| m.arrived > 0).map_or(f64::NAN, |m| m.at.as_secs_f64()),
        cpu_steady: f64::NAN,
        rate_steady: f64::NAN,
        ..Figures::default()
    };
    let reached = |share: f64| moments.iter().find(|m| m.arrived as f64 >= share * last.arrived as f64);
    if let (Some(from), Some(to)) = (reached(0.2), reached(0.9))
        && to.at > from.at + LOOK * 5
    {
        let share = (to.arrived - from.arrived) as f64 / last.arrived as f64;
        figures.cpu_steady = (to.spent.cpu - from.spent.cpu).as_secs_f64() / (share * millions);
        figures.rate_steady = share * records as f64 / (to.at - from.at).as_secs_f64();
    }
    figures
}

fn text(log: &mut File) -> std::io::Result<String> {
    let mut said = Vec::new();
    log.rewind()?;
    log.read_to_end(&mut said)?;
    Ok(String::from_utf8_lossy(&said).into_owned())
}

/// A program that ends with this: asked first, killed if it does not.
struct Program(Child);

impl Program {
    fn end(&mut self) {
        let asked = Command::new("kill").arg(self.0.id().to_string()).stderr(Stdio::null()).status();
        for _ in 0..200 {
            if asked.is_err() || self.0.try_wait().is_ok_and(|ended| ended.is_some()) {
                break;
            }
            sleep(Duration::from_millis(100));
        }
        // It is a child of ours; one that has ended already needs no end.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steady_is_the_middle_of_the_output() {
        let moment = |ms: u64, arrived: u64, cpu_ms: u64| Moment {
            at: Duration::from_millis(ms),
            arrived,
            spent: Spent { cpu: Duration::from_millis(cpu_ms), peak_kib: ms * 1024, ended: false },
        };
        // A start of a second, then 100 records of output each 100 ms at half a core, and a slow end.
        let mut moments = vec![moment(0, 0, 0), moment(1_000, 0, 900)];
        moments.extend((1..=9).map(|n| moment(1_000 + n * 100, n * 100, 900 + n * 50)));
        moments.push(moment(3_000, 1_000, 2_000));
        let figures = of(&moments, 10_000);
        assert!((figures.rate_steady - 10_000.0).abs() < 1e-6, "{figures:?}");
        assert!((figures.cpu_steady - 50.0).abs() < 1e-6, "{figures:?}");
        assert!((figures.cpu - 200.0).abs() < 1e-6 && (figures.first - 1.1).abs() < 1e-9, "{figures:?}");
        assert!((figures.rate - 10_000.0 / 3.0).abs() < 1e-6 && (figures.peak - 3_000.0).abs() < 1e-9);
    }
}
