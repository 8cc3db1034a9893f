//! `redact`: masks, hashes, replaces or removes columns, and what patterns find within text.

mod action;
mod card;
mod find;

use std::borrow::Cow;

use pipe_stage::{
    Any, AnyType, Batch, Binder, Builder, Column, ColumnField, Computed, Config, DataType, Error, Output,
    PortId, Result, Rows, Stage, Strings, bail,
};
use serde::Deserialize;

use crate::action::{Change, Keyed};
use crate::find::{Finder, Preset};

/// The configuration.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redact {
    /// What is done to which columns.
    pub rules: Vec<Rule>,
    /// Key of `hash`.
    #[serde(default)]
    pub key: Option<String>,
}

/// What is done to some columns.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Name of the column.
    #[serde(default)]
    pub column: Option<String>,
    /// Names of several.
    #[serde(default)]
    pub columns: Option<Vec<String>>,
    /// What is done.
    pub action: Action,
    /// Only what is found is changed.
    #[serde(default)]
    pub find: Option<Vec<Preset>>,
    /// Only what this matches is changed.
    #[serde(default)]
    pub pattern: Option<String>,
    /// Characters that `mask` leaves at the beginning.
    #[serde(default)]
    pub keep_first: Option<u32>,
    /// Characters that `mask` leaves at the end.
    #[serde(default)]
    pub keep_last: Option<u32>,
    /// The sign of `mask`, the text of `replace`.
    #[serde(default)]
    pub with: Option<String>,
    /// Digits of `hash`.
    #[serde(default)]
    pub length: Option<u32>,
}

/// What is done to a value, or to what is found in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// A sign stands for each character.
    Mask,
    /// A keyed hash stands for it.
    Hash,
    /// Another text stands for it.
    Replace,
    /// It becomes null.
    Clear,
    /// It is left out.
    Remove,
}

impl Config for Redact {
    fn schema() -> String {
        include_str!("config.schema.json").into()
    }
    fn parse(json: &str) -> Result<Self> {
        pipe_stage::from_json(json)
    }
}

/// The bound stage.
pub struct RedactStage {
    port: PortId,
    columns: Vec<Redacted>,
}

/// A column and what is done to it, in order.
struct Redacted {
    name: String,
    steps: Vec<Step>,
    source: Column<AnyType>,
    column: Computed<AnyType>,
}

struct Step {
    /// Without one the whole value is changed.
    find: Option<Finder>,
    /// `None` makes it null.
    change: Option<Change>,
}

impl Rule {
    fn names(&self) -> Result<Vec<String>> {
        match (&self.column, &self.columns) {
            (Some(name), None) => Ok(vec![name.clone()]),
            (None, Some(names)) if !names.is_empty() => Ok(names.clone()),
            _ => bail!("each rule needs either `column` or `columns`"),
        }
    }

    fn within(&self) -> bool {
        self.find.is_some() || self.pattern.is_some()
    }

    /// What the rule does to a value; `None` for a column that is dropped whole.
    fn step(&self, key: Option<&Keyed>) -> Result<Option<Step>> {
        let find = Finder::new(self.find.as_deref(), self.pattern.as_deref())?;
        let (masks, hashes) = (self.action == Action::Mask, self.action == Action::Hash);
        if !masks && (self.keep_first.is_some() || self.keep_last.is_some()) {
            bail!("`keep_first` and `keep_last` are for `mask`");
        }
        if !hashes && self.length.is_some() {
            bail!("`length` is for `hash`");
        }
        if !masks && self.action != Action::Replace && self.with.is_some() {
            bail!("`with` is for `mask` and `replace`");
        }
        let change = match self.action {
            Action::Remove if find.is_none() => return Ok(None),
            Action::Remove => Some(Change::Replace(String::new())),
            Action::Clear if find.is_some() => {
                bail!("`clear` is for whole values; `remove` cuts out what is found")
            }
            Action::Clear => None,
            Action::Mask => {
                let mut sign = self.with.as_deref().unwrap_or("*").chars();
                let (Some(sign), None) = (sign.next(), sign.next()) else {
                    bail!("`with` of `mask` is one character");
                };
                let (first, last) = (self.keep_first.unwrap_or(0), self.keep_last.unwrap_or(0));
                Some(Change::Mask { sign, first: first as usize, last: last as usize })
            }
            Action::Replace => match &self.with {
                Some(with) => Some(Change::Replace(with.clone())),
                None => bail!("`replace` needs a text `with`"),
            },
            Action::Hash => {
                let Some(key) = key else {
                    bail!(
                        "`hash` needs a `key`: without one, who knows what values there may be finds them by trying \
                         them all"
                    );
                };
                let length = self.length.unwrap_or(64);
                if !(16..=64).contains(&length) {
                    bail!("`length` is 16 to 64");
                }
                Some(Change::Hash { key: key.clone(), length: length as usize })
            }
        };
        Ok(Some(Step { find, change }))
    }
}

impl Stage for RedactStage {
    type Config = Redact;

    fn bind(config: Redact, binder: &mut Binder) -> Result<Self> {
        if config.rules.is_empty() {
            bail!("`rules` needs at least one");
        }
        let key = config.key.as_deref().map(Keyed::new).transpose()?;
        let mut removed: Vec<String> = Vec::new();
        let mut columns: Vec<(String, Vec<Step>)> = Vec::new();
        for (at, rule) in config.rules.iter().enumerate() {
            let told = |error: Error| Error::new(format!("rules[{at}]: {error}"));
            for name in rule.names().map_err(told)? {
                let field = &binder.input().columns[binder.find(&name).map_err(told)?];
                check(rule, field).map_err(told)?;
                let Some(step) = rule.step(key.as_ref()).map_err(told)? else {
                    removed.push(name);
                    continue;
                };
                match columns.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, steps)) if rule.within() => steps.push(step),
                    Some(_) => bail!(
                        "rules[{at}]: column `{name}` is changed by a rule before; its whole value cannot be again"
                    ),
                    None => columns.push((name, vec![step])),
                }
            }
        }
        if let Some((name, _)) = columns.iter().find(|(name, _)| removed.contains(name)) {
            bail!("column `{name}` is changed by one rule and removed by another");
        }
        let mut sources = Vec::new();
        for (name, steps) in columns {
            let (source, field) = binder.read_any(&name)?;
            // What is cleared keeps its type; whatever else is done makes text.
            let clears = steps.iter().any(|step| step.change.is_none());
            let field = match clears {
                true => field.clone().with_nulls(),
                false => ColumnField::new(name.as_str(), DataType::Utf8, field.nullable()),
            };
            sources.push((name, steps, source, field));
        }
        let removed: Vec<&str> = removed.iter().map(String::as_str).collect();
        let mut port = binder.port("redacted")?;
        port.pass_all_but(&removed)?;
        let columns = sources
            .into_iter()
            .map(|(name, steps, source, field)| Redacted {
                name,
                steps,
                source,
                column: port.compute_field(field),
            })
            .collect();
        Ok(Self { port: port.id(), columns })
    }

    fn process(&self, batch: &Batch<'_>, output: &mut Output<'_>) -> Result<()> {
        let mut emission = output.emit(self.port, Rows::Every);
        for redacted in &self.columns {
            let arrays = if redacted.steps.iter().any(|step| step.change.is_none()) {
                batch.nested(redacted.source)?.take_nullable(&vec![None; batch.len()])?
            } else {
                vec![redacted.run(&batch.column(redacted.source)?)?.finish()?]
            };
            emission.set_arrays(redacted.column, arrays)?;
        }
        Ok(())
    }
}

/// Whether a rule can be applied to a column.
fn check(rule: &Rule, field: &ColumnField) -> Result<()> {
    use DataType as T;
    let (name, found) = (field.name(), field.type_name());
    let text = matches!(field.data_type(), T::Utf8 | T::LargeUtf8);
    let bytes = matches!(field.data_type(), T::Binary | T::LargeBinary | T::FixedSizeBinary(_));
    let integer = matches!(
        field.data_type(),
        T::Int8 | T::Int16 | T::Int32 | T::Int64 | T::Uint8 | T::Uint16 | T::Uint32 | T::Uint64
    );
    match rule.action {
        _ if rule.within() && !text => {
            bail!("column `{name}` is {found}; `find` and `pattern` look into utf8")
        }
        Action::Mask if !text => {
            bail!("column `{name}` is {found}; `mask` is for utf8, `hash` or `clear` for others")
        }
        Action::Replace if !text => bail!("column `{name}` is {found}; `replace` is for utf8"),
        Action::Hash if !(text || bytes || integer) => {
            bail!("column `{name}` is {found}; `hash` is for utf8, binary and integers")
        }
        _ => Ok(()),
    }
}

impl Redacted {
    fn run(&self, column: &Any<'_>) -> Result<Builder<str>> {
        Ok(match column {
            Any::Text(v) => self.text(v),
            Any::Bytes(v) => self.whole(v.iter()),
            Any::Int8(v) => self.integers(v.iter().map(|v| v.map(i128::from))),
            Any::Int16(v) => self.integers(v.iter().map(|v| v.map(i128::from))),
            Any::Int32(v) => self.integers(v.iter().map(|v| v.map(i128::from))),
            Any::Int64(v) => self.integers(v.iter().map(|v| v.map(i128::from))),
            Any::Uint8(v) => self.integers(v.iter().map(|v| v.map(i128::from))),
            Any::Uint16(v) => self.integers(v.iter().map(|v| v.map(i128::from))),
            Any::Uint32(v) => self.integers(v.iter().map(|v| v.map(i128::from))),
            Any::Uint64(v) => self.integers(v.iter().map(|v| v.map(i128::from))),
            _ => bail!("column `{}` changed its type", self.name),
        })
    }

    fn text(&self, column: &Strings<'_, str>) -> Builder<str> {
        let mut out = Builder::new();
        for value in column.iter() {
            let Some(value) = value else {
                out.push_null();
                continue;
            };
            let mut value = Cow::Borrowed(value);
            for Step { find, change } in &self.steps {
                let Some(change) = change else { continue };
                let changed = match find {
                    Some(find) => find.replace(&value, change),
                    None => {
                        let mut changed = String::new();
                        change.write(&value, &mut changed);
                        Some(changed)
                    }
                };
                if let Some(changed) = changed {
                    value = Cow::Owned(changed);
                }
            }
            out.push(value.as_ref());
        }
        out
    }

    /// An integer is hashed as its decimal digits, so that it has the hash of its text.
    fn integers(&self, values: impl Iterator<Item = Option<i128>>) -> Builder<str> {
        let texts: Vec<_> = values.map(|value| value.map(|value| value.to_string())).collect();
        self.whole(texts.iter().map(|text| text.as_ref().map(|text| text.as_bytes())))
    }

    /// What is not text can only be hashed.
    fn whole<'v>(&self, values: impl Iterator<Item = Option<&'v [u8]>>) -> Builder<str> {
        let mut out = Builder::new();
        let mut hash = String::new();
        for value in values {
            match (value, self.steps.first().and_then(|step| step.change.as_ref())) {
                (Some(value), Some(change)) => {
                    hash.clear();
                    change.write_bytes(value, &mut hash);
                    out.push(hash.as_str());
                }
                _ => out.push_null(),
            }
        }
        out
    }
}

pipe_stage::export!(RedactStage);

#[cfg(test)]
mod tests;
