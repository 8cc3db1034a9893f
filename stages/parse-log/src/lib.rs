//! `parse-log`: Apache's and nginx's common and combined access-log lines to typed columns, with a virtual host or a
//! list of forwarded addresses where the configuration says so. Any other line is rejected with the part that is wrong.

mod line;

use pipe_stage::{
    Batch, Binder, Builder, Column, Computed, Config, Output, Port, PortId, Result, Rows, Stage, TimestampMs,
    bail,
};
use serde::Deserialize;

pub use line::{Line, Side, Unescaped, Variant, parse};

/// The configuration.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParseLog {
    /// Name of the column that holds the lines. Default: `line`, else `value`.
    #[serde(default)]
    pub column: Option<String>,
    /// Whether a virtual host stands before each line.
    #[serde(default)]
    pub virtual_host: bool,
    /// Where a list of forwarded addresses stands.
    #[serde(default)]
    pub forwarded_for: Option<Side>,
}

impl Config for ParseLog {
    fn schema() -> String {
        include_str!("config.schema.json").into()
    }
    fn parse(json: &str) -> Result<Self> {
        pipe_stage::from_json(json)
    }
}

/// The columns of text in the order of [`Line::text`].
const PARTS: [&str; 10] = [
    "host",
    "ident",
    "user",
    "method",
    "path",
    "protocol",
    "referer",
    "user_agent",
    "virtual_host",
    "forwarded_for",
];

/// The bound stage.
pub struct ParseLogStage {
    line: Column<[u8]>,
    port: PortId,
    variant: Variant,
    /// Each column of text, and which part of a line it is.
    text: Vec<(Computed<str>, usize)>,
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
        let variant = Variant { virtual_host: config.virtual_host, forwarded_for: config.forwarded_for };
        let mut text = Vec::new();
        let mut named = |port: &mut Port<'_>, name: &str| {
            let part = PARTS.iter().position(|part| *part == name).unwrap_or_default();
            text.push((port.compute::<str>(name), part));
        };
        if variant.virtual_host {
            named(&mut port, "virtual_host");
        }
        for name in ["host", "ident", "user"] {
            named(&mut port, name);
        }
        let time = port.compute::<TimestampMs>("time");
        for name in ["method", "path", "protocol"] {
            named(&mut port, name);
        }
        let (status, bytes) = (port.compute::<i32>("status"), port.compute::<i64>("bytes"));
        for name in ["referer", "user_agent"] {
            named(&mut port, name);
        }
        if variant.forwarded_for.is_some() {
            named(&mut port, "forwarded_for");
        }
        Ok(Self { line, port: port.id(), variant, text, time, status, bytes })
    }

    fn process(&self, batch: &Batch<'_>, output: &mut Output<'_>) -> Result<()> {
        let lines = batch.column(self.line)?;
        let mut rows = Vec::with_capacity(batch.len());
        let mut text: [Builder<str>; PARTS.len()] = Default::default();
        let mut time = Builder::<TimestampMs>::new();
        let (mut status, mut bytes) = (Builder::<i32>::new(), Builder::<i64>::new());
        for row in 0..batch.len() {
            let parsed = match lines.get(row) {
                None => Err("the line is null"),
                Some(line) => std::str::from_utf8(line)
                    .map_err(|_| "the line is not UTF-8")
                    .and_then(|line| parse(line, self.variant)),
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
        for (column, part) in &self.text {
            emission.set(*column, std::mem::take(&mut text[*part]))?;
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

    #[test]
    fn variants_have_columns_of_their_own() {
        let line = GOOD.replace("::1", "www:80 192.0.2.1, 192.0.2.2");
        let input = Input::new().column::<str>("line", [Some(line.as_str()), Some(GOOD)]);
        let config = r#"{"virtual_host":true,"forwarded_for":"first"}"#;
        let results = run::<ParseLogStage>(&input, config).unwrap();
        assert_eq!(
            results.columns("lines").join(" "),
            "virtual_host host ident user time method path protocol status bytes referer user_agent forwarded_for"
        );
        let text = |column: &str| {
            results.computed::<str, _>("lines", column, |v| v.get(0).map(str::to_owned)).unwrap()
        };
        assert_eq!(
            ["virtual_host", "host", "forwarded_for"].map(text).map(Option::unwrap),
            ["www:80", "192.0.2.1", "192.0.2.1, 192.0.2.2"]
        );
        assert_eq!((text("user"), text("user_agent").as_deref()), (None, Some("curl/8")));
        assert_eq!(results.rejections.len(), 1);
        let error = run::<ParseLogStage>(&input, r#"{"forwarded_for":"middle"}"#).unwrap_err().to_string();
        assert!(error.contains("`middle` is none of first, last"), "{error}");
    }
}
