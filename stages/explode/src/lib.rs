//! `explode`: makes a row of each element of a list column. The other columns are repeated by the host; only the list
//! enters the sandbox.

use pipe_stage::{
    AnyType, Batch, Binder, Builder, Column, ColumnField, Computed, Config, DataType, Output, PortId, Result,
    Stage, bail,
};
use serde::Deserialize;

/// The configuration.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Explode {
    /// Name of the list column.
    pub column: String,
    /// Name of the column of elements.
    #[serde(default, rename = "as")]
    pub name: Option<String>,
    /// Whether rows without elements are kept.
    #[serde(default)]
    pub keep_empty: bool,
    /// Name of the column of positions.
    #[serde(default)]
    pub index: Option<String>,
    /// Whether the members of structs become columns.
    #[serde(default)]
    pub flatten: bool,
}

impl Config for Explode {
    fn schema() -> String {
        include_str!("config.schema.json").into()
    }
    fn parse(json: &str) -> Result<Self> {
        pipe_stage::from_json(json)
    }
}

/// The bound stage.
pub struct ExplodeStage {
    list: Column<AnyType>,
    port: PortId,
    /// One column of whole elements, or one for each of their members.
    elements: Vec<Computed<AnyType>>,
    flatten: bool,
    index: Option<Computed<i64>>,
    keep_empty: bool,
}

impl Stage for ExplodeStage {
    type Config = Explode;

    fn bind(config: Explode, binder: &mut Binder) -> Result<Self> {
        let name = config.column.as_str();
        let (list, field) = binder.read_any(name)?;
        use DataType::{FixedSizeList, LargeList, List, Map, Struct};
        let element = match field.data_type() {
            List | LargeList | FixedSizeList(_) | Map => field.children().pop(),
            _ => bail!("column `{name}` is {}; a list or a map is needed", field.type_name()),
        };
        let Some(element) = element else { bail!("column `{name}` has no elements") };
        let new = if config.flatten {
            if !matches!(element.data_type(), Struct) {
                bail!(
                    "`flatten` is for lists of structs and for maps; the elements are {}",
                    element.type_name()
                );
            }
            if config.name.is_some() {
                bail!(
                    "with `flatten` the columns have the names of the structs' members, so `as` names nothing"
                );
            }
            // A struct that is null makes every one of its members null.
            element.children().into_iter().map(ColumnField::with_nulls).collect()
        } else {
            let named = element.renamed(config.name.as_deref().unwrap_or(name));
            vec![if config.keep_empty { named.with_nulls() } else { named }]
        };
        let others: Vec<String> = binder
            .input()
            .columns
            .iter()
            .map(|column| column.name().to_owned())
            .filter(|c| c != name)
            .collect();
        let added = new.iter().map(ColumnField::name).chain(config.index.as_deref());
        let mut names: Vec<&str> = others.iter().map(String::as_str).collect();
        for column in added {
            if names.contains(&column) {
                bail!(
                    "there would be two columns `{column}`; rename one with `as`, `index` or a `select` before"
                );
            }
            names.push(column);
        }
        // The new columns stand where the list stood.
        let at = binder.find(name)?;
        let mut port = binder.port("exploded")?;
        for other in others.iter().take(at) {
            port.pass(other)?;
        }
        let elements = new.into_iter().map(|field| port.compute_field(field)).collect();
        let index = config.index.map(|index| port.compute::<i64>(&index));
        for other in others.iter().skip(at) {
            port.pass(other)?;
        }
        let (flatten, keep_empty) = (config.flatten, config.keep_empty);
        Ok(Self { list, port: port.id(), elements, flatten, index, keep_empty })
    }

    fn process(&self, batch: &Batch<'_>, output: &mut Output<'_>) -> Result<()> {
        let lists = batch.nested(self.list)?.lists()?;
        let mut rows = Vec::new();
        let mut elements = Vec::new();
        let mut positions = Builder::<i64>::new();
        for row in 0..batch.len() {
            let range = lists.get(row).unwrap_or_default();
            if range.is_empty() && self.keep_empty {
                rows.push(row as u32);
                elements.push(None);
                if self.index.is_some() {
                    positions.push_null();
                }
            }
            for (position, element) in range.enumerate() {
                rows.push(row as u32);
                elements.push(Some(element as u32));
                if self.index.is_some() {
                    positions.push(position as i64);
                }
            }
        }
        let mut emission = output.emit(self.port, rows);
        if self.flatten {
            // Members under a null struct hold anything, and are null as columns.
            let valid = lists.elements.validity();
            for element in &mut elements {
                *element = element.filter(|element| valid.is_valid(*element as usize));
            }
            for (column, member) in self.elements.iter().zip(lists.elements.children()) {
                emission.set_arrays(*column, member.take_nullable(&elements)?)?;
            }
        } else if let Some(column) = self.elements.first() {
            emission.set_arrays(*column, lists.elements.take(&elements)?)?;
        }
        if let Some(index) = self.index {
            emission.set(index, positions)?;
        }
        Ok(())
    }
}

pipe_stage::export!(ExplodeStage);

#[cfg(test)]
mod tests {
    use pipe_stage::testing::{Input, list_array, run, validity_array};

    use super::*;

    fn input() -> Input {
        Input::new()
            .column::<i64>("id", [1, 2, 3, 4].map(Some))
            .lists::<str>("tags", [Some(vec![Some("a"), None]), None, Some(vec![]), Some(vec![Some("b")])])
            .column::<bool>("ok", [Some(true); 4])
    }

    fn texts(results: &pipe_stage::testing::Results, column: &str) -> Vec<Option<String>> {
        results
            .computed::<str, _>("exploded", column, |v| v.iter().map(|t| t.map(str::to_owned)).collect())
            .unwrap_or_default()
    }

    #[test]
    fn each_element_is_a_row_in_the_lists_place() {
        let results = run::<ExplodeStage>(&input(), r#"{"column":"tags"}"#).unwrap();
        assert_eq!(results.rows("exploded"), [0, 0, 3]);
        assert_eq!(results.columns("exploded"), ["id", "tags", "ok"]);
        assert_eq!(texts(&results, "tags"), [Some("a".into()), None, Some("b".into())]);
    }

    #[test]
    fn empty_lists_may_be_kept_and_positions_counted() {
        let config = r#"{"column":"tags","as":"tag","keep_empty":true,"index":"n"}"#;
        let results = run::<ExplodeStage>(&input(), config).unwrap();
        assert_eq!(results.rows("exploded"), [0, 0, 1, 2, 3]);
        assert_eq!(results.columns("exploded"), ["id", "tag", "n", "ok"]);
        assert_eq!(texts(&results, "tag"), [Some("a".into()), None, None, None, Some("b".into())]);
        let positions =
            results.computed::<i64, _>("exploded", "n", |v| v.iter().collect::<Vec<_>>()).unwrap();
        assert_eq!(positions, [Some(0), Some(1), None, None, Some(0)]);
    }

    /// `[{1,a},null]`, `[]`, `[{2,b}]`; the name may hold no null within its struct.
    fn orders() -> Input {
        let members =
            [ColumnField::new("n", DataType::Int64, true), ColumnField::new("name", DataType::Utf8, false)];
        let item = ColumnField::nested("item", DataType::Struct, true, members);
        let field = ColumnField::nested("lines", DataType::List, true, [item]);
        let (mut n, mut name) = (Builder::<i64>::new(), Builder::<str>::new());
        for (number, text) in [(1, "a"), (0, "under a null"), (2, "b")] {
            n.push(number);
            name.push(text);
        }
        let lists = list_array(&[true; 3], &[0, 2, 2, 3]);
        let items = validity_array(&[true, false, true], Vec::new());
        Input::new().arrays(field, vec![lists, items, n.finish().unwrap(), name.finish().unwrap()])
    }

    #[test]
    fn structs_stay_whole_or_become_columns() {
        let results = run::<ExplodeStage>(&orders(), r#"{"column":"lines","as":"line"}"#).unwrap();
        let (field, arrays) = results.computed_arrays("exploded", "line").unwrap();
        assert_eq!(field.type_name(), "struct(int64, utf8)");
        assert_eq!((arrays[0].length, arrays[0].null_count, arrays.len()), (3, 1, 3));
        let results =
            run::<ExplodeStage>(&orders(), r#"{"column":"lines","flatten":true,"keep_empty":true}"#).unwrap();
        assert_eq!(results.rows("exploded"), [0, 0, 1, 2]);
        assert_eq!(results.columns("exploded"), ["n", "name"]);
        assert_eq!(texts(&results, "name"), [Some("a".into()), None, None, Some("b".into())]);
    }

    #[test]
    fn a_mistake_is_told_in_words() {
        for (config, word) in [
            (r#"{}"#, "column"),
            (r#"{"column":"tag"}"#, "did you mean `tags`?"),
            (r#"{"column":"id"}"#, "is int64; a list or a map is needed"),
            (r#"{"column":"tags","as":"id"}"#, "two columns `id`"),
            (r#"{"column":"tags","index":"tags"}"#, "two columns `tags`"),
            (r#"{"column":"tags","flatten":true}"#, "the elements are utf8"),
            (r#"{"column":"tags","flaten":true}"#, "unknown key `flaten`"),
        ] {
            let error = run::<ExplodeStage>(&input(), config).unwrap_err().to_string();
            assert!(error.contains(word), "{config}: {error}");
        }
        let error = run::<ExplodeStage>(&orders(), r#"{"column":"lines","flatten":true,"as":"x"}"#);
        assert!(error.unwrap_err().to_string().contains("names nothing"));
    }

    #[test]
    fn no_rows_and_no_elements_are_no_trouble() {
        let none = Input::new().lists::<i64>("l", []);
        assert!(run::<ExplodeStage>(&none, r#"{"column":"l"}"#).unwrap().rows("exploded").is_empty());
        let nulls = Input::new().lists::<i64>("l", [None, None]);
        assert!(run::<ExplodeStage>(&nulls, r#"{"column":"l"}"#).unwrap().rows("exploded").is_empty());
        let schema: serde_json::Value = serde_json::from_str(&Explode::schema()).unwrap();
        assert_eq!(schema["type"], "object");
    }
}
