//! The numbers to reach: figures of the contestants as medians with their spread, and ratios beside their goals.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

use crate::contest::CONTESTANTS;
use crate::drain::Figures;
use crate::goals::{Goal, row};
use crate::measure::rounded;

/// Figures of each contestant, a round each.
pub type Runs = BTreeMap<&'static str, Vec<Figures>>;

/// A figure of a run: its name in the history, its title, digits after its point.
struct Figure {
    name: &'static str,
    title: &'static str,
    digits: usize,
    of: fn(&Figures) -> f64,
}

const CPU: Figure = Figure { name: "cpu_s_per_million", title: "CPU s/M", digits: 2, of: |f| f.cpu };
const CPU_STEADY: Figure =
    Figure { name: "cpu_s_per_million_steady", title: "steady", digits: 2, of: |f| f.cpu_steady };
const RATE: Figure = Figure { name: "k_records_per_s", title: "k rec/s", digits: 0, of: |f| f.rate / 1e3 };
const RATE_STEADY: Figure =
    Figure { name: "k_records_per_s_steady", title: "steady", digits: 0, of: |f| f.rate_steady / 1e3 };
const FIRST: Figure = Figure { name: "first_s", title: "first s", digits: 2, of: |f| f.first };
const PEAK: Figure = Figure { name: "peak_mib", title: "peak MiB", digits: 0, of: |f| f.peak };
const BROKER: Figure =
    Figure { name: "broker_cpu_s_per_million", title: "broker", digits: 2, of: |f| f.broker };
const OTHER: Figure = Figure { name: "other_load", title: "other load", digits: 2, of: |f| f.other };

const FIGURES: [Figure; 8] = [CPU, CPU_STEADY, RATE, RATE_STEADY, FIRST, PEAK, BROKER, OTHER];

/// A line of the table of goals: a contestant's figure, divided by another's where one is named.
struct Line {
    what: &'static str,
    figure: Figure,
    of: &'static str,
    against: Option<&'static str>,
    goal: Goal,
}

const fn ratio(
    what: &'static str,
    figure: Figure,
    of: &'static str,
    against: &'static str,
    goal: Goal,
) -> Line {
    Line { what, figure, of, against: Some(against), goal }
}

const LINES: &[Line] = &[
    ratio("CPU, two equal programs", CPU, "pipe", "pipe-again", Goal::None),
    ratio("CPU", CPU, "pipe", "twin-arrow", Goal::AtMost(1.0)),
    ratio("CPU", CPU, "pipe", "twin-sonic", Goal::AtMost(1.1)),
    ratio("CPU", CPU, "pipe", "streams", Goal::AtMost(1.0 / 2.8)),
    ratio("CPU", CPU, "pipe", "flink", Goal::AtMost(1.0 / 3.0)),
    ratio("CPU", CPU, "pipe-eos", "streams-eos", Goal::AtMost(1.0 / 2.8)),
    ratio("CPU", CPU, "pipe-eos", "flink-eos", Goal::AtMost(1.0 / 3.0)),
    ratio("CPU, steady", CPU_STEADY, "pipe", "streams", Goal::AtMost(1.0 / 2.0)),
    ratio("CPU, steady", CPU_STEADY, "pipe", "flink", Goal::AtMost(1.0 / 1.8)),
    ratio("CPU, steady", CPU_STEADY, "pipe-eos", "streams-eos", Goal::AtMost(1.0 / 2.0)),
    ratio("CPU, steady", CPU_STEADY, "pipe-eos", "flink-eos", Goal::AtMost(1.0 / 1.8)),
    ratio("CPU", CPU, "pipe", "fusionvault", Goal::AtMost(1.0 / 1.6)),
    ratio("records/s, steady", RATE_STEADY, "pipe", "fusionvault", Goal::AtLeast(1.2)),
    ratio("peak memory", PEAK, "pipe", "fusionvault", Goal::AtMost(1.0 / 15.0)),
    ratio("records/s, steady", RATE_STEADY, "pipe", "streams", Goal::AtLeast(2.0)),
    ratio("records/s, steady", RATE_STEADY, "pipe", "flink", Goal::AtLeast(1.4)),
    ratio("records/s, steady", RATE_STEADY, "pipe-eos", "streams-eos", Goal::AtLeast(2.0)),
    ratio("records/s, steady", RATE_STEADY, "pipe-eos", "flink-eos", Goal::AtLeast(1.4)),
    ratio("records/s, steady", RATE_STEADY, "pipe", "twin-sonic", Goal::None),
    ratio("records/s, exactly once", RATE, "pipe-eos", "pipe", Goal::AtLeast(0.95)),
    ratio("CPU, bytes through", CPU, "pipe-raw", "loop-raw", Goal::AtMost(1.15)),
    ratio("records/s, bytes through", RATE_STEADY, "pipe-raw", "loop-raw", Goal::None),
    ratio("peak memory", PEAK, "pipe", "loop-raw", Goal::AtMost(1.3)),
    ratio("peak memory", PEAK, "pipe", "twin-sonic", Goal::None),
    ratio("peak memory, bytes through", PEAK, "pipe-raw", "loop-raw", Goal::None),
    Line {
        what: "start to first record, s",
        figure: FIRST,
        of: "pipe",
        against: None,
        goal: Goal::AtMost(0.5),
    },
];

/// Median, least and most.
#[derive(Debug, Clone, Copy)]
struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

fn spread(numbers: impl Iterator<Item = f64>) -> Spread {
    let mut all: Vec<f64> = numbers.collect();
    all.sort_by(f64::total_cmp);
    let at = |index: usize| all.get(index).copied().unwrap_or(f64::NAN);
    Spread { median: at(all.len() / 2), least: at(0), most: at(all.len().saturating_sub(1)) }
}

/// The contestants' figures, a line each.
pub fn figures(runs: &Runs) -> String {
    let mut text = format!("{:<12}", "");
    for figure in &FIGURES {
        let _ = write!(text, " {:>18}", figure.title);
    }
    text.push('\n');
    for contestant in CONTESTANTS {
        let Some(runs) = runs.get(contestant.name).filter(|runs| !runs.is_empty()) else { continue };
        let _ = write!(text, "{:<12}", contestant.name);
        for figure in &FIGURES {
            let (Spread { median, least, most }, digits) =
                (spread(runs.iter().map(figure.of)), figure.digits);
            let cell = format!("{median:.digits$} ({least:.digits$}-{most:.digits$})");
            let _ = write!(text, " {cell:>18}");
        }
        text.push('\n');
    }
    text
}

/// The ratios beside their goals, and those of them as JSON. Where `goals` is not given, none is missed.
pub fn ratios(runs: &Runs, goals: bool) -> (String, Value) {
    let mut text = String::new();
    let mut all = Vec::new();
    for line in LINES {
        let Some(of) = runs.get(line.of).filter(|runs| !runs.is_empty()) else { continue };
        let median = |runs: &[Figures]| spread(runs.iter().map(line.figure.of)).median;
        let (value, each) = match line.against {
            None => (median(of), spread(of.iter().map(line.figure.of))),
            Some(name) => {
                let Some(against) = runs.get(name).filter(|runs| !runs.is_empty()) else { continue };
                let pairs = of
                    .iter()
                    .zip(against)
                    .map(|(of, against)| (line.figure.of)(of) / (line.figure.of)(against));
                (median(of) / median(against), spread(pairs))
            }
        };
        let names = line.against.map_or(line.of.to_owned(), |against| format!("{} / {against}", line.of));
        let cell = format!("{value:.2} ({:.2}-{:.2})", each.least, each.most);
        let goal = if goals { line.goal } else { Goal::None };
        let (wanted, mark) = (goal.to_string(), goal.mark(value));
        let shown = format!("{:<27} {names:<24} {cell:>18}  {wanted:<14}{mark}", line.what);
        let _ = writeln!(text, "{}", shown.trim_end());
        if goals {
            row(&format!("{}: {names}", line.what), value, "", goal);
        }
        let missed = !goal.is_reached(value);
        all.push(json!({"what": line.what, "of": names, "value": rounded(value), "missed": missed}));
    }
    (text, Value::Array(all))
}

/// What a record costs in a long run against a short one, and the memory.
pub fn growth(long: &Runs, short: &Runs) -> String {
    let mut text = String::new();
    for contestant in CONTESTANTS {
        let (Some(long), Some(short)) = (long.get(contestant.name), short.get(contestant.name)) else {
            continue;
        };
        let ratio = |figure: &Figure| {
            let [long, short] = [long, short].map(|runs| spread(runs.iter().map(figure.of)).median);
            long / short
        };
        let (cpu, steady, peak) = (ratio(&CPU), ratio(&CPU_STEADY), ratio(&PEAK));
        if contestant.name == "pipe" {
            row("CPU, steady, of the long run against the short one: pipe", steady, "", Goal::None);
            row("peak memory of the long run against the short one: pipe", peak, "", Goal::None);
        }
        let _ =
            writeln!(text, "{:<12} CPU {cpu:.2}, steady {steady:.2}, peak memory {peak:.2}", contestant.name);
    }
    text
}

/// The figures of every round, for the history.
pub fn history(runs: &Runs) -> Value {
    let of = |runs: &Vec<Figures>| {
        let each =
            |figure: &Figure| json!(runs.iter().map(|run| rounded((figure.of)(run))).collect::<Vec<_>>());
        FIGURES.iter().map(|figure| (figure.name.to_owned(), each(figure))).collect::<serde_json::Map<_, _>>()
    };
    json!(runs.iter().map(|(name, runs)| (*name, of(runs))).collect::<BTreeMap<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_that_is_missed_is_marked() {
        let run = |cpu: f64| Figures { cpu, ..Figures::default() };
        let runs = Runs::from([
            ("pipe", [1.0, 1.2, 1.1].map(run).to_vec()),
            ("twin-arrow", [1.0, 1.0, 1.0].map(run).to_vec()),
            ("streams", [4.4, 4.4, 4.4].map(run).to_vec()),
        ]);
        let (text, json) = ratios(&runs, true);
        let line =
            |names: &str| text.lines().find(|line| line.contains(names)).unwrap_or_default().to_owned();
        assert!(
            line("pipe / twin-arrow").contains("1.10 (1.00-1.20)  at most 1.000   <- falls short"),
            "{text}"
        );
        assert!(
            line("CPU                         pipe / streams").ends_with("0.25 (0.23-0.27)  at most 0.357"),
            "{text}"
        );
        assert_eq!(json[0]["missed"], true);
        assert!(!ratios(&runs, false).0.contains("falls short"));
        assert!(
            figures(&runs).lines().any(|line| line.starts_with("pipe ") && line.contains("1.10 (1.00-1.20)"))
        );
        let grown = Runs::from([("pipe", vec![run(2.2)])]);
        assert!(
            growth(&grown, &runs).starts_with("pipe         CPU 2.00, steady"),
            "{}",
            growth(&grown, &runs)
        );
        assert_eq!(history(&runs)["pipe"]["cpu_s_per_million"], json!([1.0, 1.2, 1.1]));
    }
}
