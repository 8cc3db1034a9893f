//! `filter`: keeps the rows of which any or all conditions hold. Every column is passed on, none is copied.

mod constant;
mod test;

use pipe_stage::{AnyType, Batch, Binder, Column, Config, Mask, Output, PortId, Result, Stage, bail};
use serde::Deserialize;
use serde_json::Value;

pub use test::{Op, Test};

/// Exactly one of the two lists.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// A row is kept when every condition holds.
    #[serde(default)]
    pub all: Option<Vec<Condition>>,
    /// A row is kept when at least one condition holds.
    #[serde(default)]
    pub any: Option<Vec<Condition>>,
}

/// A comparison of a column with a value.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// Name of the column.
    pub column: String,
    /// How they are compared.
    pub op: Op,
    /// What it is compared with.
    #[serde(default)]
    pub value: Option<Value>,
}

impl Config for Filter {
    fn schema() -> String {
        include_str!("config.schema.json").into()
    }
    fn parse(json: &str) -> Result<Self> {
        pipe_stage::from_json(json)
    }
}

/// The bound stage.
pub struct FilterStage {
    /// Whether every test must pass, or one.
    all: bool,
    tests: Vec<(Column<AnyType>, Test)>,
    port: PortId,
}

impl Stage for FilterStage {
    type Config = Filter;

    fn bind(config: Filter, binder: &mut Binder) -> Result<Self> {
        let (all, conditions) = match (config.all, config.any) {
            (Some(conditions), None) => (true, conditions),
            (None, Some(conditions)) => (false, conditions),
            _ => bail!("exactly one of `all` and `any` is needed"),
        };
        if conditions.is_empty() {
            bail!("`{}` needs at least one condition", if all { "all" } else { "any" });
        }
        let mut tests = Vec::new();
        for condition in conditions {
            let (column, field) = binder.read_any(&condition.column)?;
            tests.push((column, Test::new(&field, condition.op, condition.value.as_ref())?));
        }
        let port = binder.port("kept")?.pass_all().id();
        Ok(Self { all, tests, port })
    }

    fn process(&self, batch: &Batch<'_>, output: &mut Output<'_>) -> Result<()> {
        let mut kept: Option<Mask> = None;
        for (column, test) in &self.tests {
            let passed = test.run(&batch.column(*column)?, batch.len())?;
            match &mut kept {
                None => kept = Some(passed),
                Some(kept) if self.all => kept.and(&passed),
                Some(kept) => kept.or(&passed),
            }
        }
        output.emit(self.port, kept.unwrap_or_else(|| Mask::all(batch.len())));
        Ok(())
    }
}

pipe_stage::export!(FilterStage);
