//! `route`: sends each row to the port of the first route that it meets. Every column is passed on, none is copied.

use conditions::{Op, Test};
use pipe_stage::{Batch, Binder, Config, Json, Mask, Output, Place, PortId, Result, Stage, bail};
use serde::Deserialize;

/// The configuration.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Name of the column whose value decides, or the path of a value within one.
    pub column: String,
    /// In the order in which they are tried.
    pub routes: Vec<To>,
    /// Port of the rows that meet no route; without it they are left out.
    #[serde(default)]
    pub default: Option<String>,
}

/// A port and what leads to it: `values`, or `op` with `value`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct To {
    /// Name of the port; several routes may name one.
    pub port: String,
    /// Values that are routed here.
    #[serde(default)]
    pub values: Option<Vec<Json>>,
    /// A comparison instead.
    #[serde(default)]
    pub op: Option<Op>,
    /// What `op` compares with.
    #[serde(default)]
    pub value: Option<Json>,
}

impl Config for Route {
    fn schema() -> String {
        include_str!("config.schema.json").into()
    }
    fn parse(json: &str) -> Result<Self> {
        pipe_stage::from_json(json)
    }
}

/// The bound stage.
pub struct RouteStage {
    place: Place,
    /// Each test, and the position of its port in `ports`.
    tests: Vec<(Test, usize)>,
    ports: Vec<PortId>,
    default: Option<usize>,
}

impl Stage for RouteStage {
    type Config = Route;

    fn bind(config: Route, binder: &mut Binder) -> Result<Self> {
        if config.routes.is_empty() {
            bail!("`routes` needs at least one");
        }
        let place = binder.read_path(&config.column)?;
        let field = place.field();
        let mut names: Vec<String> = Vec::new();
        let mut port = |name: String| {
            names.iter().position(|known| *known == name).unwrap_or_else(|| {
                names.push(name);
                names.len() - 1
            })
        };
        let mut tests = Vec::new();
        for to in config.routes {
            let test = match (to.values, to.op) {
                (Some(values), None) if to.value.is_none() => {
                    Test::new(field, Op::In, Some(&Json::List(values)))?
                }
                (None, Some(op)) => Test::new(field, op, to.value.as_ref())?,
                _ => bail!("port `{}`: either `values` or `op` with its `value` is needed", to.port),
            };
            tests.push((test, port(to.port)));
        }
        let default = config.default.map(port);
        let mut ports = Vec::new();
        for name in &names {
            ports.push(binder.port(name)?.pass_all().id());
        }
        Ok(Self { place, tests, ports, default })
    }

    fn process(&self, batch: &Batch<'_>, output: &mut Output<'_>) -> Result<()> {
        let found = self.place.read(batch)?;
        let column = found.view()?;
        let mut rows = vec![Mask::none(batch.len()); self.ports.len()];
        let mut left = Mask::all(batch.len());
        for (test, port) in &self.tests {
            let mut met = test.run(&column, batch.len())?;
            met.and(&left);
            left.and_not(&met);
            rows[*port].or(&met);
        }
        if let Some(port) = self.default {
            rows[port].or(&left);
        }
        for (port, rows) in self.ports.iter().zip(rows) {
            output.emit(*port, rows);
        }
        Ok(())
    }
}

pipe_stage::export!(RouteStage);

#[cfg(test)]
mod tests {
    use pipe_stage::testing::{Input, run};

    use super::*;

    #[test]
    fn each_row_goes_to_the_first_route_it_meets() {
        let input = Input::new()
            .column::<i32>("status", [200, 404, 500, 503, 301].map(Some).into_iter().chain([None]));
        let routes = r#"{"port":"gone","values":[404,410]},{"port":"bad","op":"ge","value":500},
            {"port":"gone","op":"eq","value":503},{"port":"unknown","op":"is_null"}"#;
        let config = format!(r#"{{"column":"status","routes":[{routes}],"default":"fine"}}"#);
        let results = run::<RouteStage>(&input, &config).unwrap();
        assert_eq!(results.rows("gone"), [1]);
        assert_eq!(results.rows("bad"), [2, 3]);
        assert_eq!(results.rows("unknown"), [5]);
        assert_eq!(results.rows("fine"), [0, 4]);
        let config = format!(r#"{{"column":"status","routes":[{routes}]}}"#);
        let results = run::<RouteStage>(&input, &config).unwrap();
        assert_eq!(results.rows("gone"), [1]);
        assert!(results.rejections.is_empty());
    }

    #[test]
    fn a_path_decides() {
        use pipe_stage::testing::validity_array;
        use pipe_stage::{Builder, ColumnField, DataType};
        let country = ColumnField::new("country", DataType::Utf8, true);
        let user = ColumnField::nested("user", DataType::Struct, true, [country]);
        let mut texts = Builder::<str>::new();
        ["de", "fr", "de"].iter().for_each(|text| texts.push(text));
        let arrays = vec![validity_array(&[true, true, false], Vec::new()), texts.finish().unwrap()];
        let config = r#"{"column":"user.country","routes":[{"port":"here","values":["de"]},{"port":"rest","op":"!=","value":"de"}],"default":"none"}"#;
        let results = run::<RouteStage>(&Input::new().arrays(user, arrays), config).unwrap();
        assert_eq!([results.rows("here"), results.rows("rest"), results.rows("none")], [[0], [1], [2]]);
    }

    #[test]
    fn a_mistake_is_told_in_words() {
        let input = Input::new().column::<i32>("status", [Some(200)]);
        for (routes, word) in [
            (r#""#, "at least one"),
            (r#"{"port":"a"}"#, "either `values` or `op`"),
            (r#"{"port":"a","values":[1],"op":"eq","value":1}"#, "either `values` or `op`"),
            (r#"{"port":"A b","values":[1]}"#, "kebab-case"),
            (r#"{"port":"a","values":["x"]}"#, "int32"),
            (r#"{"port":"a","values":[]}"#, "at least one"),
        ] {
            let config = format!(r#"{{"column":"status","routes":[{routes}]}}"#);
            let error = run::<RouteStage>(&input, &config).unwrap_err().to_string();
            assert!(error.contains(word), "{routes}: {error}");
        }
    }
}
