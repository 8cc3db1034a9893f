//! `sample`: keeps a share of the rows by the hash of a column, of several, or of the whole row. The same key always
//! falls the same way: in every run, batch and lane, and in another pipeline with the same seed.

mod hash;

use pipe_stage::{Batch, Binder, Config, Mask, Output, Place, PortId, Result, Stage, bail};
use serde::Deserialize;

/// The configuration.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// Share of the keys that are kept.
    pub share: f64,
    /// Names of the columns, or paths of values within them, that are the key; default: all.
    #[serde(default)]
    pub by: Option<Vec<String>>,
    /// Another seed keeps another sample.
    #[serde(default)]
    pub seed: u64,
    /// What happens to rows with a null in the key.
    #[serde(default)]
    pub nulls: Nulls,
    /// Port of the rows that are not kept.
    #[serde(default)]
    pub rest: Option<String>,
}

/// What happens to rows with a null in the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Nulls {
    /// A null is a value like any other.
    #[default]
    Key,
    /// They are kept.
    Keep,
    /// They are not.
    Drop,
}

impl Config for Sample {
    fn schema() -> String {
        include_str!("config.schema.json").into()
    }
    fn parse(json: &str) -> Result<Self> {
        pipe_stage::from_json(json)
    }
}

/// The bound stage.
pub struct SampleStage {
    columns: Vec<Place>,
    /// A row is kept when its hash lies below; 2^64 keeps all.
    below: u128,
    seed: u64,
    nulls: Nulls,
    port: PortId,
    rest: Option<PortId>,
}

impl Stage for SampleStage {
    type Config = Sample;

    fn bind(config: Sample, binder: &mut Binder) -> Result<Self> {
        if !(0.0..=1.0).contains(&config.share) {
            bail!("`share` is a number from 0 to 1");
        }
        let whole_row = config.by.is_none();
        let names = config.by.unwrap_or_else(|| {
            binder.input().columns.iter().map(|column| column.name().to_owned()).collect()
        });
        if names.is_empty() {
            bail!("`by` needs at least one column");
        }
        if whole_row && config.nulls != Nulls::Key {
            bail!("`nulls` is for the columns `by`; without them the whole row is the key, with its nulls");
        }
        let mut columns = Vec::new();
        for name in &names {
            let column = binder.read_path(name)?;
            if !hash::can_hash(column.field()) {
                let found = column.field().type_name();
                bail!("column `{name}` is {found}, which cannot be hashed; name other columns in `by`");
            }
            columns.push(column);
        }
        let port = binder.port("sampled")?.pass_all().id();
        let rest = match config.rest {
            Some(name) => Some(binder.port(&name)?.pass_all().id()),
            None => None,
        };
        // 2^64 times the share: exact, because it is a power of two.
        let below = (config.share * 18_446_744_073_709_551_616.0) as u128;
        Ok(Self { columns, below, seed: config.seed, nulls: config.nulls, port, rest })
    }

    fn process(&self, batch: &Batch<'_>, output: &mut Output<'_>) -> Result<()> {
        let len = batch.len();
        let mut hashes = Vec::new();
        let mut valid = Mask::all(len);
        for column in &self.columns {
            let found = column.read(batch)?;
            let column = found.view()?;
            if self.nulls != Nulls::Key {
                valid.and(&column.valid(len));
            }
            hashes.push(hash::column(&column, len, self.seed)?);
        }
        let hashes = hash::combine(hashes, len, self.seed);
        let mut kept = Mask::from_fn(len, |row| u128::from(hashes[row]) < self.below);
        match self.nulls {
            Nulls::Key => {}
            Nulls::Drop => kept.and(&valid),
            Nulls::Keep => {
                valid.invert();
                kept.or(&valid);
            }
        }
        if let Some(rest) = self.rest {
            let mut others = kept.clone();
            others.invert();
            output.emit(rest, others);
        }
        output.emit(self.port, kept);
        Ok(())
    }
}

pipe_stage::export!(SampleStage);

#[cfg(test)]
mod tests {
    use pipe_stage::testing::{Input, run};
    use pipe_stage::{ColumnField, DataType};

    use super::*;

    fn kept(input: &Input, config: &str) -> Vec<u32> {
        run::<SampleStage>(input, config).unwrap().rows("sampled").to_vec()
    }

    fn many() -> Input {
        let words: Vec<String> = (0..10_000).map(|n| format!("user-{n}")).collect();
        Input::new()
            .column::<str>("user", words.iter().map(|word| Some(word.as_str())))
            .column::<i64>("n", (0..10_000).map(Some))
    }

    #[test]
    fn a_share_is_kept_and_a_larger_one_keeps_it_too() {
        let input = many();
        for by in [r#"["user"]"#, r#"["n"]"#, r#"["user","n"]"#] {
            let config = |share: &str| format!(r#"{{"share":{share},"by":{by}}}"#);
            assert!(kept(&input, &config("0")).is_empty());
            assert_eq!(kept(&input, &config("1")).len(), 10_000);
            let (tenth, half) = (kept(&input, &config("0.1")), kept(&input, &config("0.5")));
            // Four standard deviations around the mean.
            assert!((880..1_120).contains(&tenth.len()), "{by}: {}", tenth.len());
            assert!((4_800..5_200).contains(&half.len()), "{by}: {}", half.len());
            assert!(tenth.iter().all(|row| half.contains(row)), "{by}");
        }
        let seeded = kept(&input, r#"{"share":0.1,"by":["user"],"seed":7}"#);
        assert_ne!(seeded, kept(&input, r#"{"share":0.1,"by":["user"]}"#));
    }

    #[test]
    fn the_hash_is_the_documented_one() {
        let input = Input::new().column::<str>("user", [Some("a")]).column::<str>("empty", [Some("")]);
        // XXH64's reference has d24ec4f1a98c6e5b for `a`, which is 0.8215 of 2^64, and ef46db3751d8e999 for nothing,
        // which is 0.9347 of it.
        for (by, below, above) in [("user", "0.8214", "0.8216"), ("empty", "0.9346", "0.9347")] {
            let config = |share: &str| format!(r#"{{"share":{share},"by":["{by}"]}}"#);
            assert!(kept(&input, &config(below)).is_empty(), "{by}");
            assert_eq!(kept(&input, &config(above)), [0], "{by}");
        }
    }

    #[test]
    fn equal_keys_fall_the_same_way_whatever_their_batch_and_width() {
        let wide = Input::new().column::<i64>("k", (0..200).map(|n| Some(n % 100 - 50)));
        let narrow = Input::new().column::<i8>("k", (0..200).map(|n| Some((n % 100) as i8 - 50)));
        let config = r#"{"share":0.5,"by":["k"]}"#;
        let rows = kept(&wide, config);
        assert_eq!(rows, kept(&narrow, config));
        assert!(rows.iter().all(|row| rows.contains(&((row + 100) % 200))));
        let zeros = Input::new().column::<f64>("x", [0.0, -0.0, f64::NAN, -f64::NAN].map(Some));
        for tenth in 0..10 {
            let rows = kept(&zeros, &format!(r#"{{"share":0.{tenth},"by":["x"]}}"#));
            assert_eq!((rows.contains(&0), rows.contains(&2)), (rows.contains(&1), rows.contains(&3)));
        }
    }

    #[test]
    fn nulls_do_as_they_are_told() {
        let input = Input::new().column::<str>("k", [None, Some("a"), None]);
        let with = |nulls: &str, share: &str| {
            kept(&input, &format!(r#"{{"share":{share},"by":["k"],"nulls":"{nulls}"}}"#))
        };
        assert_eq!(with("keep", "0"), [0, 2]);
        assert_eq!(with("drop", "1"), [1]);
        for tenth in 0..10 {
            let rows = with("key", &format!("0.{tenth}"));
            assert_eq!(rows.contains(&0), rows.contains(&2));
        }
    }

    #[test]
    fn the_whole_row_and_nested_columns_are_keys() {
        let input = Input::new()
            .column::<i64>("n", [1, 1, 2].map(Some))
            .lists::<str>("l", [Some(vec![Some("a")]), Some(vec![Some("a")]), Some(vec![Some("a"), None])]);
        let mut differ = false;
        for hundredth in 0..100 {
            let rows = kept(&input, &format!(r#"{{"share":0.{hundredth:02}}}"#));
            assert_eq!(rows.contains(&0), rows.contains(&1));
            differ |= rows.contains(&0) != rows.contains(&2);
        }
        assert!(differ);
    }

    #[test]
    fn the_rest_has_a_port_when_it_is_named() {
        let results = run::<SampleStage>(&many(), r#"{"share":0.3,"by":["n"],"rest":"others"}"#).unwrap();
        let (kept, others) = (results.rows("sampled"), results.rows("others"));
        assert_eq!(kept.len() + others.len(), 10_000);
        assert!(!kept.iter().any(|row| others.binary_search(row).is_ok()));
    }

    #[test]
    fn a_mistake_is_told_in_words() {
        let half = ColumnField::new("half", DataType::Float16, true);
        let input = Input::new().column::<i64>("n", [Some(1)]).column_as::<i16>(half, [Some(1)]);
        for (config, word) in [
            (r#"{}"#, "share"),
            (r#"{"share":1.5}"#, "from 0 to 1"),
            (r#"{"share":0.5,"by":[]}"#, "at least one"),
            (r#"{"share":0.5,"by":["m"]}"#, "there is no column `m`"),
            (r#"{"share":0.5}"#, "`half` is float16, which cannot be hashed"),
            (r#"{"share":0.5,"nulls":"drop"}"#, "the whole row is the key"),
            (r#"{"share":0.5,"by":["n"],"nulls":"skip"}"#, "none of key, keep, drop"),
            (r#"{"share":0.5,"by":["n"],"rest":"sampled"}"#, "two ports"),
        ] {
            let error = run::<SampleStage>(&input, config).unwrap_err().to_string();
            assert!(error.contains(word), "{config}: {error}");
        }
        let schema: serde_json::Value = serde_json::from_str(&Sample::schema()).unwrap();
        assert_eq!(schema["required"][0], "share");
    }
}
