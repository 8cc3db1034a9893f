//! The workers: child processes that are killed by their process id, and never outlive the run.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Result;

/// A worker that is asked to end is killed after this long: its own limit is 30 s.
const STOP: Duration = Duration::from_secs(45);
/// A worker that ended by itself is started again after this long.
const AGAIN: Duration = Duration::from_secs(1);
/// So many ends of their own are enough to know that something is wrong.
const OWN_ENDS_MAX: usize = 5;
/// How a worker says that it has a partition.
const ASSIGNED: &str = "\"partition assigned\"";
const TICK: Duration = Duration::from_millis(20);

/// Starts the worker and answers for its end: its standard input closes when this process dies in any way.
const SUPERVISOR: &str = r#"
exec 3<&0
"$@" >>"$LOG" 2>&1 </dev/null 3<&- &
pid=$!
exec 2>/dev/null
echo $pid
{ read -r word <&3; kill -9 $pid; } >/dev/null &
reader=$!
wait $pid
code=$?
kill $reader
exit $code
"#;

struct Running {
    supervisor: Child,
    pid: u32,
}

struct Worker {
    name: String,
    log: PathBuf,
    /// Where the log stood when it was last started.
    begin: u64,
    running: Option<Running>,
    /// When it is to be started again.
    due: Option<Instant>,
}

/// All workers of a run.
pub struct Crew {
    folder: PathBuf,
    brokers: String,
    workers: Vec<Worker>,
    /// Ends that nobody asked for, in words.
    pub own_ends: Vec<String>,
    /// Whether a start may be refused, because no broker is there at times.
    pub refusals: bool,
    /// Starts that were refused because no broker was there.
    pub refused: u32,
}

impl Crew {
    /// So many workers of `pipeline.yaml` in a folder, where their logs go, too; none runs yet.
    pub fn new(folder: &Path, brokers: String, count: usize) -> Self {
        let worker = |n: usize| Worker {
            name: format!("w{n}"),
            log: folder.join(format!("w{n}.log")),
            begin: 0,
            running: None,
            due: None,
        };
        Self {
            folder: folder.into(),
            brokers,
            workers: (0..count).map(worker).collect(),
            own_ends: Vec::new(),
            refusals: true,
            refused: 0,
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.workers.len()
    }

    /// Starts one that does not run.
    pub fn start(&mut self, at: usize) -> Result<()> {
        let worker = &mut self.workers[at];
        worker.due = None;
        if worker.running.is_some() {
            return Ok(());
        }
        worker.begin = fs::metadata(&worker.log).map_or(0, |m| m.len());
        let pipe = crate::pipe();
        let mut command = Command::new("sh");
        command.args(["-c", SUPERVISOR, "supervisor"]).arg(pipe.get_program());
        command.args(["run", "--log-format", "json", "--admin", "off", "--worker-id", &worker.name]);
        command.arg(self.folder.join("pipeline.yaml")).current_dir(&self.folder);
        command.envs(pipe.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("LOG", &worker.log).env("KAFKA_BROKERS", &self.brokers).env_remove("RUST_LOG");
        command.env("WORKER", &worker.name);
        let mut supervisor = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        if let Some(output) = supervisor.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        worker.running = Some(Running { supervisor, pid: line.trim().parse()? });
        Ok(())
    }

    /// Sends a signal to one that runs.
    pub fn signal(&self, at: usize, name: &str) -> Result<()> {
        let running = self.workers[at].running.as_ref().ok_or("the worker does not run")?;
        let status = Command::new("kill").args([name, &running.pid.to_string()]).status()?;
        if status.success() { Ok(()) } else { Err(format!("kill {name}: {status}").into()) }
    }

    /// kill -9; it is started again after a pause.
    pub fn kill(&mut self, at: usize, pause: Duration) -> Result<()> {
        self.signal(at, "-KILL")?;
        self.ended(at, STOP)?;
        let worker = &mut self.workers[at];
        worker.due = Some(Instant::now() + pause);
        note(&worker.log, "killed")
    }

    /// SIGTERM, and waits for its end.
    pub fn stop(&mut self, at: usize) -> Result<()> {
        self.signal(at, "-TERM")?;
        self.stopped(at)
    }

    fn stopped(&mut self, at: usize) -> Result<()> {
        let code = self.ended(at, STOP)?;
        if code != Some(0) {
            let worker = &self.workers[at];
            let told =
                format!("{} was asked to stop and ended with {code:?}: {}", worker.name, last(&worker.log));
            self.own_ends.push(told);
        }
        Ok(())
    }

    /// SIGTERM to all at once, and waits for their ends.
    pub fn stop_all(&mut self) -> Result<()> {
        let all: Vec<usize> = (0..self.count()).filter(|at| self.workers[*at].running.is_some()).collect();
        all.iter().try_for_each(|at| self.signal(*at, "-TERM"))?;
        all.iter().try_for_each(|at| self.stopped(*at))
    }

    /// Waits for the end of one; its exit code.
    fn ended(&mut self, at: usize, at_most: Duration) -> Result<Option<i32>> {
        let started = Instant::now();
        let worker = &mut self.workers[at];
        let mut running = worker.running.take().ok_or("the worker does not run")?;
        loop {
            if let Some(status) = running.supervisor.try_wait()? {
                return Ok(status.code());
            }
            if started.elapsed() > at_most {
                drop(running.supervisor.stdin.take());
                running.supervisor.wait()?;
                return Err(format!("{} did not end within {at_most:?}", worker.name).into());
            }
            std::thread::sleep(TICK);
        }
    }

    /// Lets time pass, starts those whose pause is over, and notes those that ended by themselves.
    pub fn rest(&mut self, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        loop {
            for at in 0..self.count() {
                if self.workers[at].due.is_some_and(|due| due <= Instant::now()) {
                    self.start(at)?;
                }
                self.look_after(at)?;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(TICK));
        }
    }

    fn look_after(&mut self, at: usize) -> Result<()> {
        let worker = &mut self.workers[at];
        let Some(running) = &mut worker.running else { return Ok(()) };
        let Some(status) = running.supervisor.try_wait()? else { return Ok(()) };
        worker.running = None;
        worker.due = Some(Instant::now() + AGAIN);
        let told = format!("{} ended by itself, {status}: {}", worker.name, last(&worker.log));
        println!("{told}");
        // A worker that has just begun when the broker goes away says so and ends: nothing was read. Later it must not.
        let (new, refused) = (since(&worker.log, worker.begin), ["K001: ", "S001: "]);
        if self.refusals
            && !new.contains(ASSIGNED)
            && refused.iter().any(|code| last(&worker.log).contains(code))
        {
            self.refused += 1;
            return Ok(());
        }
        self.own_ends.push(told);
        match self.own_ends.len() {
            n if n > OWN_ENDS_MAX => Err("the workers end by themselves, again and again".into()),
            _ => Ok(()),
        }
    }

    /// Waits until one runs whose pause may not be over yet.
    pub fn up(&mut self, at: usize) -> Result<()> {
        while self.workers[at].running.is_none() {
            let due = self.workers[at].due.unwrap_or_else(Instant::now);
            self.rest(due.saturating_duration_since(Instant::now()))?;
        }
        Ok(())
    }

    /// Starts all that do not run, now.
    pub fn all_up(&mut self) -> Result<()> {
        (0..self.count()).try_for_each(|at| self.start(at))
    }

    /// Where each log ends.
    pub fn marks(&self) -> Vec<u64> {
        self.workers.iter().map(|w| fs::metadata(&w.log).map_or(0, |m| m.len())).collect()
    }

    /// Partitions that a worker says it was given since its mark.
    pub fn assigned(&self, at: usize, mark: u64) -> BTreeSet<(String, i32)> {
        let new = since(&self.workers[at].log, mark);
        let lines = new.lines().filter(|line| line.contains(ASSIGNED));
        lines
            .filter_map(|line| {
                let line: Value = serde_json::from_str(line).ok()?;
                let fields = line.get("fields").unwrap_or(&line);
                Some((fields["topic"].as_str()?.to_owned(), fields["partition"].as_i64()? as i32))
            })
            .collect()
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        for running in self.workers.iter_mut().filter_map(|w| w.running.as_mut()) {
            // The supervisor kills the worker.
            drop(running.supervisor.stdin.take());
            let _ = running.supervisor.wait();
        }
    }
}

fn note(log: &Path, text: &str) -> Result<()> {
    let mut file = fs::OpenOptions::new().append(true).create(true).open(log)?;
    Ok(writeln!(file, "\n--- {text}")?)
}

/// What was logged after a mark.
fn since(log: &Path, mark: u64) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    String::from_utf8_lossy(bytes.get(mark as usize..).unwrap_or_default()).into_owned()
}

fn last(log: &Path) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    String::from_utf8_lossy(&bytes).lines().next_back().unwrap_or_default().to_owned()
}
