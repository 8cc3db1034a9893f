//! `filter`: keeps the rows of which any or all conditions hold. Every column is passed on, none is copied.

use conditions::{Op, Test};
use pipe_stage::{Batch, Binder, Config, Json, Mask, Output, Place, PortId, Result, Stage, bail};
use serde::Deserialize;

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
    /// Name of the column, or the path of a value within one.
    pub column: String,
    /// How they are compared.
    pub op: Op,
    /// What it is compared with.
    #[serde(default)]
    pub value: Option<Json>,
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
    tests: Vec<(Place, Test)>,
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
            let place = binder.read_path(&condition.column)?;
            let test = Test::new(place.field(), condition.op, condition.value.as_ref())?;
            tests.push((place, test));
        }
        let port = binder.port("kept")?.pass_all().id();
        Ok(Self { all, tests, port })
    }

    fn process(&self, batch: &Batch<'_>, output: &mut Output<'_>) -> Result<()> {
        let mut kept: Option<Mask> = None;
        for (place, test) in &self.tests {
            let passed = test.run(&place.read(batch)?.view()?, batch.len())?;
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

#[cfg(test)]
mod tests {
    use pipe_stage::testing::{Input, run};
    use pipe_stage::{ColumnField, DataType, Date, TimeUnit, TimestampMs};

    use super::*;

    fn input() -> Input {
        let duration = ColumnField::new("took", DataType::Duration(TimeUnit::Second), true);
        let time = ColumnField::new("clock", DataType::Time32(TimeUnit::Second), true);
        Input::new()
            .column::<i64>("n", [Some(1), Some(5), None, Some(i64::MAX), Some(i64::MIN)])
            .column::<f64>("x", [Some(0.5), Some(f64::NAN), None, Some(f64::INFINITY), Some(-0.0)])
            .column::<u8>("u", [Some(0), Some(255), None, Some(7), Some(8)])
            .column::<bool>("b", [Some(true), Some(false), None, Some(true), Some(false)])
            .column::<str>("s", [Some("GET /a"), Some(""), None, Some("POST /b"), Some("GET")])
            .column::<TimestampMs>("at", [0, 1, 2, 3, 4].map(|day| Some(TimestampMs(day * 86_400_000))))
            .column::<Date>("day", [Some(Date(0)), Some(Date(1)), None, Some(Date(3)), Some(Date(4))])
            .column_as::<i64>(duration, [Some(1), Some(2), None, Some(4), Some(5)])
            .column_as::<i32>(time, [Some(0), Some(60), None, Some(3_600), Some(86_399)])
            .column_as::<[u8]>(ColumnField::new("d", DataType::Null, true), [None; 5])
    }

    fn kept(condition: &str) -> Vec<u32> {
        let results = run::<FilterStage>(&input(), &format!(r#"{{"all":[{{{condition}}}]}}"#)).unwrap();
        assert_eq!(results.columns("kept").len(), 10);
        results.rows("kept").to_vec()
    }

    #[test]
    fn numbers_are_compared_to_the_ends_of_their_type() {
        for (condition, rows) in [
            (r#""column":"n","op":"eq","value":5"#, &[1][..]),
            (r#""column":"n","op":"ne","value":5"#, &[0, 3, 4]),
            (r#""column":"n","op":"lt","value":5"#, &[0, 4]),
            (r#""column":"n","op":"le","value":5"#, &[0, 1, 4]),
            (r#""column":"n","op":"gt","value":1"#, &[1, 3]),
            (r#""column":"n","op":"gt","value":9223372036854775807"#, &[]),
            (r#""column":"n","op":"lt","value":-9223372036854775808"#, &[]),
            (r#""column":"n","op":"ge","value":-9223372036854775808"#, &[0, 1, 3, 4]),
            (r#""column":"n","op":"in","value":[1,5]"#, &[0, 1]),
            (r#""column":"n","op":"not_in","value":[1,5]"#, &[3, 4]),
            (r#""column":"u","op":"gt","value":7"#, &[1, 4]),
            (r#""column":"u","op":"lt","value":0"#, &[]),
            (r#""column":"x","op":"gt","value":0"#, &[0, 3]),
            (r#""column":"x","op":"ge","value":0"#, &[0, 3, 4]),
            (r#""column":"x","op":"lt","value":0.5"#, &[4]),
            (r#""column":"x","op":"eq","value":0"#, &[4]),
            (r#""column":"x","op":"ne","value":0.5"#, &[1, 3, 4]),
        ] {
            assert_eq!(kept(condition), rows, "{condition}");
        }
    }

    #[test]
    fn other_types_are_compared_in_their_own_words() {
        for (condition, rows) in [
            (r#""column":"b","op":"eq","value":true"#, &[0, 3][..]),
            (r#""column":"b","op":"ne","value":true"#, &[1, 4]),
            (r#""column":"b","op":"in","value":[true,false]"#, &[0, 1, 3, 4]),
            (r#""column":"s","op":"starts_with","value":"GET""#, &[0, 4]),
            (r#""column":"s","op":"ends_with","value":"/b""#, &[3]),
            (r#""column":"s","op":"contains","value":" /""#, &[0, 3]),
            (r#""column":"s","op":"eq","value":"""#, &[1]),
            (r#""column":"s","op":"gt","value":"GET""#, &[0, 3]),
            (r#""column":"s","op":"not_in","value":["GET",""]"#, &[0, 3]),
            (r#""column":"s","op":"is_null""#, &[2]),
            (r#""column":"s","op":"is_not_null""#, &[0, 1, 3, 4]),
            (r#""column":"at","op":"ge","value":"1970-01-03T01:00:00+01:00""#, &[2, 3, 4]),
            (r#""column":"at","op":"lt","value":86400000"#, &[0]),
            (r#""column":"day","op":"eq","value":"1970-01-04""#, &[3]),
            (r#""column":"took","op":"gt","value":2"#, &[3, 4]),
            (r#""column":"clock","op":"ge","value":"01:00:00""#, &[3, 4]),
            (r#""column":"d","op":"is_null""#, &[0, 1, 2, 3, 4]),
        ] {
            assert_eq!(kept(condition), rows, "{condition}");
        }
    }

    #[test]
    fn any_is_or_and_all_is_and() {
        let low = r#"{"column":"n","op":"lt","value":5}"#;
        let get = r#"{"column":"s","op":"contains","value":"GET"}"#;
        let rows = |key| {
            let config = format!(r#"{{"{key}":[{low},{get}]}}"#);
            run::<FilterStage>(&input(), &config).unwrap().rows("kept").to_vec()
        };
        assert_eq!(rows("all"), [0, 4]);
        assert_eq!(rows("any"), [0, 4]);
        let none = run::<FilterStage>(&Input::new().column::<i64>("n", []), &format!(r#"{{"all":[{low}]}}"#))
            .unwrap();
        assert!(none.rows("kept").is_empty());
    }

    /// Orders: a struct, a list of structs, a dictionary, decimals of both widths, headers, and a name with a point.
    fn orders() -> Input {
        use pipe_stage::testing::{list_array, validity_array};
        use pipe_stage::{Array, Builder, Decimal, DecimalType, IndexType, Nested};
        let texts = |texts: &[Option<&str>]| {
            let mut builder = Builder::<str>::new();
            texts.iter().for_each(|text| builder.push_option(*text));
            builder.finish().unwrap()
        };
        let utf8 = |name: &str| ColumnField::new(name, DataType::Utf8, true);
        let structure = |name: &str, fields| ColumnField::nested(name, DataType::Struct, true, fields);
        let user = structure("user", vec![utf8("country")]);
        let item = structure("item", vec![utf8("sku")]);
        let items = ColumnField::nested("items", DataType::List, true, [item]);
        let header = structure("item", vec![utf8("name"), ColumnField::new("value", DataType::Binary, true)]);
        let headers = ColumnField::nested("_headers", DataType::List, true, [header]);
        let (keys, ordered) = (IndexType::Int8, false);
        let state = DataType::Dictionary(pipe_stage::DictionaryType { keys, ordered });
        let state = ColumnField::nested("state", state, true, [utf8("words")]);
        let key = |key: u8, valid: &[bool]| validity_array(valid, vec![vec![key, 0, 1, 0]]);
        let price =
            ColumnField::new("price", DataType::Decimal128(DecimalType { precision: 10, scale: 2 }), true);
        let large = DataType::Decimal256(DecimalType { precision: 50, scale: 2 });
        let numbers = [150i128, -150, 0, 9_999_999_999];
        let wide = numbers.map(|n| [n.to_le_bytes(), (n >> 127).to_le_bytes()].concat()).concat();
        let all: Vec<Array> = vec![validity_array(&[true; 4], vec![wide])];
        let mut bytes = Builder::<[u8]>::new();
        [b"old", b"new", b"old"].iter().for_each(|value| bytes.push(&value[..]));
        assert!(Nested::new(user.fields(), &[]).is_empty());
        Input::new()
            .arrays(
                user,
                vec![
                    validity_array(&[true, true, false, true], Vec::new()),
                    texts(&[Some("de"), None, Some("de"), Some("fr")]),
                ],
            )
            .arrays(
                items,
                vec![
                    list_array(&[true, true, true, false], &[0, 2, 3, 3, 3]),
                    validity_array(&[true; 3], Vec::new()),
                    texts(&[Some("a"), Some("b"), Some("a")]),
                ],
            )
            .arrays(
                headers,
                vec![
                    list_array(&[true, true, false, true], &[0, 2, 3, 3, 3]),
                    validity_array(&[true; 3], Vec::new()),
                    texts(&[Some("ce.type"), Some("ce.type"), Some("ce.type")]),
                    bytes.finish().unwrap(),
                ],
            )
            .arrays(state, vec![key(1, &[true, true, true, false]), texts(&[Some("open"), Some("shut")])])
            .column_as::<Decimal>(price, numbers.map(|n| Some(Decimal(n))))
            .arrays(ColumnField::new("large", large, true), all)
            .column::<str>("user.name", ["x", "y", "x", "z"].map(Some))
    }

    #[test]
    fn paths_dictionaries_and_decimals_are_compared() {
        for (condition, rows) in [
            (r#""column":"user.country","op":"==","value":"de""#, &[0][..]),
            (r#""column":"user.country","op":"!=","value":"de""#, &[3]),
            (r#""column":"user.country","op":"is_null""#, &[1, 2]),
            (r#""column":"items[0].sku","op":"eq","value":"a""#, &[0, 1]),
            (r#""column":"items.1.sku","op":"is_not_null""#, &[0]),
            (r#""column":"_headers.ce.type","op":"eq","value":"new""#, &[0]),
            (r#""column":"_headers.ce.type","op":"eq","value":"old""#, &[1]),
            (r#""column":"_headers.other","op":"is_null""#, &[0, 1, 2, 3]),
            (r#""column":"user.name","op":"eq","value":"x""#, &[0, 2]),
            (r#""column":"state","op":"eq","value":"shut""#, &[0, 2]),
            (r#""column":"state","op":"<","value":"shut""#, &[1]),
            (r#""column":"state","op":"not_in","value":["shut"]"#, &[1]),
            (r#""column":"state","op":"is_null""#, &[3]),
            (r#""column":"price","op":">","value":0"#, &[0, 3]),
            (r#""column":"price","op":">=","value":1.5"#, &[0, 3]),
            (r#""column":"price","op":"<","value":"0.01""#, &[1, 2]),
            (r#""column":"price","op":"<=","value":-1.50"#, &[1]),
            (r#""column":"price","op":"in","value":["1.5","99999999.99"]"#, &[0, 3]),
            (r#""column":"large","op":">","value":0"#, &[0, 3]),
            (r#""column":"large","op":"<","value":0"#, &[1]),
            (r#""column":"large","op":"!=","value":1.5"#, &[1, 2, 3]),
        ] {
            let results = run::<FilterStage>(&orders(), &format!(r#"{{"all":[{{{condition}}}]}}"#)).unwrap();
            assert_eq!(results.rows("kept"), rows, "{condition}");
        }
        for (condition, word) in [
            (r#""column":"user.contry","op":"eq","value":"de""#, "did you mean `user.country`?"),
            (r#""column":"usr.country","op":"eq","value":"de""#, "did you mean `user`?"),
            (r#""column":"items.sku","op":"eq","value":"a""#, "the first is `[0]`"),
            (
                r#""column":"user.country","op":"eq","value":1"#,
                "column `user.country` is utf8; 1 is not a string",
            ),
            (r#""column":"user","op":"eq","value":"de""#, "which cannot be compared"),
            (r#""column":"price","op":"eq","value":1.234"#, "no finer"),
            (r#""column":"price","op":"eq","value":100000000"#, "that the column can hold"),
            (r#""column":"state","op":"eq","value":1"#, "is not a string"),
            (r#""column":"price","op":"=>","value":1"#, "`=>` is none of eq"),
        ] {
            let error =
                run::<FilterStage>(&orders(), &format!(r#"{{"all":[{{{condition}}}]}}"#)).unwrap_err();
            assert!(error.to_string().contains(word), "{condition}: {error}");
        }
    }

    #[test]
    fn a_mistake_is_told_in_words() {
        for (config, word) in [
            (r#"{}"#, "exactly one"),
            (r#"{"all":[],"any":[]}"#, "exactly one"),
            (r#"{"all":[]}"#, "at least one condition"),
            (r#"{"some":[]}"#, "unknown key `some`; the keys are all, any"),
            (
                r#"{"all":[{"column":"q","op":"eq","value":1}]}"#,
                "no column `q`; the input has n: int64, x: float64",
            ),
            (r#"{"all":[{"column":"n","op":"like","value":1}]}"#, "all[0].op: `like` is none of eq, ne"),
            (r#"{"all":[{"column":"n","op":"eq"}]}"#, "a `value` is needed"),
            (r#"{"all":[{"column":"n","op":"eq","value":"5"}]}"#, "5\" is not an integer"),
            (r#"{"all":[{"column":"u","op":"eq","value":256}]}"#, "is uint8; 256"),
            (r#"{"all":[{"column":"n","op":"contains","value":1}]}"#, "for text"),
            (r#"{"all":[{"column":"b","op":"lt","value":true}]}"#, "no order"),
            (r#"{"all":[{"column":"n","op":"in","value":1}]}"#, "must be a list"),
            (r#"{"all":[{"column":"at","op":"lt","value":"1970-01-01T00:00:00.0001Z"}]}"#, "no finer"),
            (r#"{"all":[{"column":"n","op":"is_null","value":1}]}"#, "takes no `value`"),
            (r#"{"all":[{"column":"d","op":"eq","value":1}]}"#, "cannot be compared"),
        ] {
            let error = run::<FilterStage>(&input(), config).unwrap_err().to_string();
            assert!(error.contains(word), "{config}: {error}");
        }
    }

    #[test]
    fn the_schema_is_json() {
        let schema: serde_json::Value = serde_json::from_str(&Filter::schema()).unwrap();
        assert_eq!(schema["type"], "object");
    }
}
