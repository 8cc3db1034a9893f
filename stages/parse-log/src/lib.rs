//! `parse-log`: Apache's and nginx's common and combined access-log lines to typed columns. A line that is neither
//! is rejected with the part that is wrong.

mod line;

use pipe_stage::{
    Batch, Binder, Builder, Column, Computed, Config, Output, PortId, Result, Rows, Stage, TimestampMs, bail,
};
use serde::Deserialize;

pub use line::{Line, Unescaped, parse};

/// The configuration.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParseLog {
    /// Name of the column that holds the lines. Default: `line`, else `value`.
    #[serde(default)]
    pub column: Option<String>,
}

impl Config for ParseLog {
    fn schema() -> String {
        include_str!("config.schema.json").into()
    }
    fn parse(json: &str) -> Result<Self> {
        pipe_stage::from_json(json)
    }
}

/// The bound stage.
pub struct ParseLogStage {
    line: Column<[u8]>,
    port: PortId,
    text: [Computed<str>; 8],
    time: Computed<TimestampMs>,
    status: Computed<i32>,
    bytes: Computed<i64>,
}

impl Stage for ParseLogStage {
    type Config = ParseLog;

    fn bind(config: ParseLog, binder: &mut Binder) -> Result<Self> {
        let name = match config.column {
            Some(name) => name,
            None => match ["line", "value"].into_iter().find(|name| binder.input().column(name).is_some()) {
                Some(name) => name.to_owned(),
                None => bail!("there is no column `line` or `value`; name one of {}", binder.input()),
            },
        };
        let line = binder.read::<[u8]>(&name)?;
        let mut port = binder.port("lines")?;
        // The line itself is left behind: everything in it is in the columns.
        port.pass_all_but(&[name.as_str()])?;
        let [host, ident, user] = ["host", "ident", "user"].map(|name| port.compute::<str>(name));
        let time = port.compute::<TimestampMs>("time");
        let [method, path, protocol] = ["method", "path", "protocol"].map(|name| port.compute::<str>(name));
        let (status, bytes) = (port.compute::<i32>("status"), port.compute::<i64>("bytes"));
        let [referer, agent] = ["referer", "user_agent"].map(|name| port.compute::<str>(name));
        let text = [host, ident, user, method, path, protocol, referer, agent];
        Ok(Self { line, port: port.id(), text, time, status, bytes })
    }

    fn process(&self, batch: &Batch<'_>, output: &mut Output<'_>) -> Result<()> {
        let lines = batch.column(self.line)?;
        let mut rows = Vec::with_capacity(batch.len());
        let mut text: [Builder<str>; 8] = Default::default();
        let mut time = Builder::<TimestampMs>::new();
        let (mut status, mut bytes) = (Builder::<i32>::new(), Builder::<i64>::new());
        for row in 0..batch.len() {
            let parsed = match lines.get(row) {
                None => Err("the line is null"),
                Some(line) => std::str::from_utf8(line).map_err(|_| "the line is not UTF-8").and_then(parse),
            };
            let line = match parsed {
                Ok(line) => line,
                Err(reason) => {
                    output.reject(row, reason);
                    continue;
                }
            };
            rows.push(row as u32);
            for (builder, part) in text.iter_mut().zip(&line.text) {
                builder.push_option(part.as_deref());
            }
            time.push(TimestampMs(line.time_ms));
            status.push(line.status);
            bytes.push_option(line.bytes);
        }
        let rows = if rows.len() == batch.len() { Rows::Every } else { Rows::Take(rows) };
        let mut emission = output.emit(self.port, rows);
        for (column, values) in self.text.into_iter().zip(text) {
            emission.set(column, values)?;
        }
        emission.set(self.time, time)?.set(self.status, status)?.set(self.bytes, bytes)?;
        Ok(())
    }
}

pipe_stage::export!(ParseLogStage);
