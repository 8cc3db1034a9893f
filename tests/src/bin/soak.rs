//! The crash proof by hand: see `pipe_tests::soak`. It starts a real broker and workers, and ends both.

use std::process::ExitCode;

use pipe_tests::kafka::Broker;
use pipe_tests::soak::topology::Shape;
use pipe_tests::soak::{Options, Report, Result, run};

const USAGE: &str = "\
pipe-soak [OPTION VALUE]... [--faults]

  --topology simple|complex|both   which pipeline; both: half of the kills each [both]
  --kills N                        how many times a worker is killed [200]
  --workers N                      how many workers [3]
  --seed N                         replays what a run did [by the time]
  --guarantee exactly_once|at_least_once [exactly_once]
  --commit-interval TIME           as in a pipeline file [100ms]
  --protocol classic               of the consumer group
  --rate N                         records a second [1000]
  --faults                         freeze workers and the broker, kill the broker, restart workers in turn, too

The last line counts. Exit code: 0 when the promise was kept, 1 when not, 2 when this cannot be run.";

struct Args {
    shapes: Vec<Shape>,
    options: Options,
}

fn args() -> Result<Args> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let mut options = Options::new(Shape::Simple, 200, now.as_millis() as u64 % 1_000_000_000);
    let mut shapes = vec![Shape::Simple, Shape::Complex];
    let mut given = std::env::args().skip(1);
    while let Some(name) = given.next() {
        if name == "--faults" {
            options.faults = true;
            continue;
        }
        let value = given.next().ok_or_else(|| format!("{name} wants a value"))?;
        match (name.as_str(), value.as_str()) {
            ("--topology", "simple") => shapes = vec![Shape::Simple],
            ("--topology", "complex") => shapes = vec![Shape::Complex],
            ("--topology", "both") | ("--protocol", "classic") => {}
            ("--kills", n) => options.kills = n.parse()?,
            ("--workers", n) => options.workers = n.parse()?,
            ("--seed", n) => options.seed = n.parse()?,
            ("--rate", n) => options.rate = n.parse()?,
            ("--guarantee", "exactly_once" | "at_least_once") => options.guarantee = value,
            ("--commit-interval", _) => options.commit_interval = value,
            ("--protocol", "consumer") => return Err("only the classic protocol is there yet".into()),
            _ => return Err(format!("`{name} {value}` is no option").into()),
        }
    }
    if options.workers == 0 || options.rate == 0 {
        return Err("there must be a worker, and records".into());
    }
    Ok(Args { shapes, options })
}

fn soak(Args { shapes, mut options }: Args) -> Result<Report> {
    println!("seed {}", options.seed);
    let broker = Broker::start();
    let mut sum = Report { seed: options.seed, ..Report::default() };
    let (all, parts) = (options.kills, shapes.len() as u32);
    for (shape, part) in shapes.into_iter().zip(0..) {
        options.shape = shape;
        options.kills = all * (part + 1) / parts - all * part / parts;
        sum.add(run(&options, &broker)?);
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
    match soak(args) {
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
