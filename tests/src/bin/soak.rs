//! The crash proof by hand: see `pipe_tests::soak`. It starts a real broker and workers, and ends both.

use std::process::ExitCode;

use pipe_tests::cluster::{BROKERS, Cluster};
use pipe_tests::kafka::Broker;
use pipe_tests::soak::schedule::{Faults, schedule};
use pipe_tests::soak::topology::Shape;
use pipe_tests::soak::{Options, Report, Result, run};

const USAGE: &str = "\
pipe-soak [OPTION VALUE]... [--faults] [--keep] [--plan]

  --topology simple|complex|both   which pipeline; both: half of the kills each [both]
  --kills N                        how many times a worker is killed [200]
  --workers N                      how many workers [3]
  --brokers 1|3                    one broker, or a cluster of three: brokers are killed, stopped and frozen one at a
                                   time, coordinators too, and cut off from each other and from workers [1]
  --seed N                         replays what a run did [by the time]
  --guarantee exactly_once|at_least_once [exactly_once]
  --commit-interval TIME           as in a pipeline file [100ms]
  --protocol classic|consumer      of the consumer group [classic]
  --static                         static members of the group; with `classic` only
  --rate N                         records a second [1000]
  --faults                         freeze workers and the broker, kill the broker, restart workers in turn, too
  --keep                           keep the logs even if all is well
  --plan                           print what would be done, and end

The last line counts. Exit code: 0 when the promise was kept, 1 when not, 2 when this cannot be run.";

struct Args {
    shapes: Vec<Shape>,
    options: Options,
    brokers: usize,
    plan: bool,
}

fn args() -> Result<Args> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let mut options = Options::new(Shape::Simple, 200, now.as_millis() as u64 % 1_000_000_000);
    let mut shapes = vec![Shape::Simple, Shape::Complex];
    let (mut plan, mut brokers) = (false, 1);
    // `--brokers=3` is `--brokers 3`.
    let split = |arg: String| match arg.split_once('=') {
        Some((name, value)) if name.starts_with("--") => vec![name.to_owned(), value.to_owned()],
        _ => vec![arg],
    };
    let mut given = std::env::args().skip(1).flat_map(split);
    while let Some(name) = given.next() {
        let flag = match name.as_str() {
            "--faults" => Some(&mut options.faults),
            "--static" => Some(&mut options.fixed),
            "--keep" => Some(&mut options.keep),
            "--plan" => Some(&mut plan),
            _ => None,
        };
        if let Some(flag) = flag {
            *flag = true;
            continue;
        }
        let value = given.next().ok_or_else(|| format!("{name} wants a value"))?;
        match (name.as_str(), value.as_str()) {
            ("--topology", "simple") => shapes = vec![Shape::Simple],
            ("--topology", "complex") => shapes = vec![Shape::Complex],
            ("--topology", "both") => {}
            ("--kills", n) => options.kills = n.parse()?,
            ("--workers", n) => options.workers = n.parse()?,
            ("--brokers", "1") => brokers = 1,
            ("--brokers", "3") => brokers = BROKERS,
            ("--seed", n) => options.seed = n.parse()?,
            ("--rate", n) => options.rate = n.parse()?,
            ("--guarantee", "exactly_once" | "at_least_once") => options.guarantee = value,
            ("--commit-interval", _) => options.commit_interval = value,
            ("--protocol", "classic" | "consumer") => options.protocol = value,
            _ => return Err(format!("`{name} {value}` is no option").into()),
        }
    }
    if options.workers == 0 || options.rate == 0 {
        return Err("there must be a worker, and records".into());
    }
    // Started again within the session of the dead one it stops with X013, as it should.
    if options.fixed && options.protocol != "classic" {
        return Err("--static goes with `--protocol classic`".into());
    }
    Ok(Args { shapes, options, brokers, plan })
}

/// The kills are shared out among the pipelines.
fn parts(args: &Args) -> Vec<Options> {
    let (all, count) = (args.options.kills, args.shapes.len() as u32);
    let part = |(shape, n): (&Shape, u32)| {
        let kills = all * (n + 1) / count - all * n / count;
        Options { shape: *shape, kills, ..args.options.clone() }
    };
    args.shapes.iter().zip(0..).map(part).collect()
}

fn print_plan(args: &Args) {
    for Options { shape, seed, kills, workers, faults, .. } in parts(args) {
        println!("{shape:?}");
        let faults = match (args.brokers, faults) {
            (BROKERS, _) => Faults::Several,
            (_, true) => Faults::One,
            (_, false) => Faults::None,
        };
        for step in schedule(seed, kills, workers, faults) {
            println!("  after {:?}: {}", step.wait, step.action);
        }
    }
}

fn soak(args: &Args) -> Result<Report> {
    let mut sum = Report { seed: args.options.seed, ..Report::default() };
    if args.brokers == BROKERS {
        let cluster = Cluster::start();
        for options in parts(args) {
            sum.add(run(&options, &cluster)?);
        }
    } else {
        let broker = Broker::start();
        for options in parts(args) {
            sum.add(run(&options, &broker)?);
        }
    }
    Ok(sum)
}

fn main() -> ExitCode {
    let args = match args() {
        Ok(args) => args,
        Err(error) => {
            eprintln!("pipe-soak: {error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let seed = args.options.seed;
    println!("seed {seed}");
    if args.plan {
        print_plan(&args);
        return ExitCode::SUCCESS;
    }
    match soak(&args) {
        Ok(report) => {
            println!("{report}");
            ExitCode::from(u8::from(!report.problems.is_empty()))
        }
        Err(error) => {
            eprintln!("pipe-soak: {error} (seed {seed})");
            ExitCode::from(1)
        }
    }
}
