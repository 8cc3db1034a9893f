//! The numbers to reach. Each program prints its own, and `make bench` all of them as one table when it ends: what is
//! printed is added as a row of Markdown to the file that `PIPE_BENCH_TABLE` names, where it names one.

use std::fmt;
use std::fs::OpenOptions;
use std::io::Write;

/// What a figure should be.
#[derive(Debug, Clone, Copy)]
pub enum Goal {
    /// No more than that.
    AtMost(f64),
    /// No less than that.
    AtLeast(f64),
    /// Printed for comparison.
    None,
}

impl Goal {
    /// Whether a figure is what it should be; one that is no number is not.
    pub fn is_reached(self, figure: f64) -> bool {
        match self {
            Self::AtMost(goal) => figure <= goal,
            Self::AtLeast(goal) => figure >= goal,
            Self::None => true,
        }
    }

    /// The mark behind a figure.
    pub fn mark(self, figure: f64) -> &'static str {
        if self.is_reached(figure) { "" } else { "  <- falls short" }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(goal) => write!(f, "at most {}", shown(*goal)),
            Self::AtLeast(goal) => write!(f, "at least {}", shown(*goal)),
            Self::None => Ok(()),
        }
    }
}

/// With as many digits as say something.
fn shown(number: f64) -> String {
    match number.abs() {
        100.0.. => format!("{number:.0}"),
        10.0.. => format!("{number:.1}"),
        _ => format!("{number:.3}"),
    }
}

/// Prints a figure beside its goal, and adds it to the table. `more` is printed behind it.
pub fn goal(what: &str, figure: f64, unit: &str, goal: Goal, more: &str) {
    let line = format!("{what:<62} {:>8} {unit:<8} {goal}{}  {more}", shown(figure), goal.mark(figure));
    println!("{}", line.trim_end());
    row(what, figure, unit, goal);
}

/// Adds a figure to the table.
pub fn row(what: &str, figure: f64, unit: &str, goal: Goal) {
    let Some(table) = std::env::var_os("PIPE_BENCH_TABLE") else { return };
    let verdict = match goal {
        Goal::None => "",
        _ if goal.is_reached(figure) => "reached",
        _ => "**falls short**",
    };
    let line = format!("| {what} | {} {unit} | {goal} | {verdict} |", shown(figure)).replace("  ", " ");
    let added =
        OpenOptions::new().create(true).append(true).open(table).and_then(|mut f| writeln!(f, "{line}"));
    if let Err(error) = added {
        eprintln!("the table of PIPE_BENCH_TABLE lacks a row: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_that_misses_its_goal_is_marked() {
        assert_eq!(Goal::AtMost(1.0).mark(1.0), "");
        assert_eq!(Goal::AtMost(1.0).mark(1.001), "  <- falls short");
        assert_eq!(Goal::AtLeast(0.95).mark(0.9499), "  <- falls short");
        assert_eq!(Goal::AtMost(1.0).mark(f64::NAN), "  <- falls short");
        assert_eq!(Goal::None.mark(f64::NAN), "");
        assert_eq!(
            format!("{} {}", Goal::AtMost(0.3571), Goal::AtLeast(150.0)),
            "at most 0.357 at least 150"
        );
    }
}
