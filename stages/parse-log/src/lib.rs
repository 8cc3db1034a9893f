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

#[cfg(test)]
mod tests {
    use pipe_stage::testing::{Input, run};

    use super::*;

    const GOOD: &str = r#"::1 - - [01/Jan/1970:00:00:01 +0000] "GET /x HTTP/1.1" 200 5 "-" "curl/8""#;

    #[test]
    fn good_lines_become_columns_and_bad_ones_are_rejected() {
        let input = Input::new()
            .column::<[u8]>(
                "value",
                [Some(GOOD.as_bytes()), Some(b"nonsense"), None, Some(b"\xff"), Some(GOOD.as_bytes())],
            )
            .column::<i64>("_offset", [1, 2, 3, 4, 5].map(Some));
        let results = run::<ParseLogStage>(&input, "{}").unwrap();
        assert_eq!(results.rows("lines"), [0, 4]);
        assert_eq!(
            results.columns("lines").join(" "),
            "_offset host ident user time method path protocol status bytes referer user_agent"
        );
        let first = |column: &str| {
            results.computed::<str, _>("lines", column, |v| v.get(1).map(str::to_owned)).unwrap()
        };
        assert_eq!(first("path").as_deref(), Some("/x"));
        assert_eq!(first("user_agent").as_deref(), Some("curl/8"));
        assert_eq!(first("referer"), None);
        assert_eq!(results.computed::<TimestampMs, _>("lines", "time", |v| v.get(0).unwrap().0), Some(1_000));
        assert_eq!(results.computed::<i32, _>("lines", "status", |v| v.get(0)), Some(Some(200)));
        let rows: Vec<u32> = results.rejections.iter().map(|(row, _)| *row).collect();
        assert_eq!(rows, [1, 2, 3]);
        assert_eq!(results.rejections[2].1, "the line is not UTF-8");
    }

    #[test]
    fn the_column_may_be_named_and_must_be_text() {
        let input = Input::new().column::<str>("message", [Some(GOOD)]).column::<i64>("n", [Some(1)]);
        assert_eq!(run::<ParseLogStage>(&input, r#"{"column":"message"}"#).unwrap().rows("lines"), [0]);
        let error = run::<ParseLogStage>(&input, "{}").unwrap_err().to_string();
        assert!(error.contains("no column `line` or `value`"), "{error}");
        let error = run::<ParseLogStage>(&input, r#"{"column":"n"}"#).unwrap_err().to_string();
        assert!(error.contains("is int64; a binary or utf8 column"), "{error}");
    }
}
