//! `select`: renames, casts, drops and reorders columns, takes values out of nested ones, and adds constants. Columns
//! that are neither cast nor looked into never enter the sandbox.

mod constant;

use std::collections::BTreeMap;

use casts::{Built, OnError, Refused, Rounding, Source, Target, can_cast, parse_type};
use pipe_stage::{
    AnyType, Batch, Binder, ColumnField, Computed, Config, DataType, Json, Output, Place, PortId, Result,
    Stage, bail,
};
use serde::Deserialize;

use crate::constant::Constant;

/// The configuration.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Select {
    /// The columns that are passed on, in order.
    #[serde(default)]
    pub columns: Option<Vec<String>>,
    /// Those that are left out.
    #[serde(default)]
    pub drop: Vec<String>,
    /// Those that go first.
    #[serde(default)]
    pub first: Vec<String>,
    /// New names.
    #[serde(default)]
    pub rename: BTreeMap<String, String>,
    /// New types.
    #[serde(default)]
    pub cast: BTreeMap<String, String>,
    /// New columns.
    #[serde(default)]
    pub constants: BTreeMap<String, Json>,
    /// What a cast does with what does not fit exactly.
    #[serde(default)]
    pub round: Rounding,
    /// What is done with what cannot be cast.
    #[serde(default)]
    pub on_error: OnError,
}

impl Config for Select {
    fn schema() -> String {
        include_str!("config.schema.json").into()
    }
    fn parse(json: &str) -> Result<Self> {
        pipe_stage::from_json(json)
    }
}

/// The bound stage.
pub struct SelectStage {
    port: PortId,
    casts: Vec<Cast>,
    constants: Vec<(Constant, Computed<AnyType>)>,
    round: Rounding,
    on_error: OnError,
}

/// A column that is computed of what is at a place.
struct Cast {
    name: String,
    place: Place,
    /// The type it is cast to, where it has another one.
    to: Option<DataType>,
    column: Computed<AnyType>,
}

impl Select {
    /// The columns that go on, by their old names and in their new order.
    fn order(&self, binder: &Binder) -> Result<Vec<String>> {
        for name in &self.drop {
            binder.find(name)?;
        }
        for name in self.rename.keys().chain(self.cast.keys()) {
            binder.find_path(name)?;
        }
        for name in self.constants.keys() {
            if binder.input().column(name).is_some() && !self.drop.contains(name) {
                bail!(
                    "the constant `{name}` has the name of an input column; name that in `drop` to replace it"
                );
            }
        }
        let known = |name: &String| {
            if self.constants.contains_key(name) { Ok(()) } else { binder.find_path(name).map(|_| ()) }
        };
        let mut order: Vec<String> = match &self.columns {
            Some(_) if !self.drop.is_empty() => {
                bail!("`columns` leaves out whatever it does not name; `drop` has nothing to add to it")
            }
            Some(names) => names.clone(),
            None => {
                let all = binder.input().columns.iter().map(|column| column.name().to_owned());
                let mut all: Vec<String> = all.filter(|name| !self.drop.contains(name)).collect();
                // What is taken out of a column is named nowhere else.
                for path in self.rename.keys().chain(self.cast.keys()).chain(&self.first) {
                    let new = !self.constants.contains_key(path) && binder.input().column(path).is_none();
                    if new && !all.contains(path) {
                        all.push(path.clone());
                    }
                }
                all
            }
        };
        for (at, name) in order.iter().enumerate() {
            known(name)?;
            if order.iter().take(at).any(|other| other == name) {
                bail!("`columns` names `{name}` twice");
            }
        }
        for name in self.constants.keys().filter(|name| !order.contains(name)).cloned().collect::<Vec<_>>() {
            order.push(name);
        }
        for name in self.rename.keys().chain(self.cast.keys()).chain(&self.first) {
            known(name)?;
            if !order.contains(name) {
                bail!("column `{name}` is left out, and yet to be renamed, cast or moved");
            }
        }
        let mut moved: Vec<String> = Vec::new();
        for name in &self.first {
            if moved.contains(name) {
                bail!("`first` names `{name}` twice");
            }
            moved.push(name.clone());
        }
        order.retain(|name| !moved.contains(name));
        moved.append(&mut order);
        Ok(moved)
    }
}

impl Stage for SelectStage {
    type Config = Select;

    fn bind(config: Select, binder: &mut Binder) -> Result<Self> {
        let order = config.order(binder)?;
        let new_name = |name: &String| match config.rename.get(name) {
            Some(new) => Ok(new.clone()),
            None if config.constants.contains_key(name) => Ok(name.clone()),
            None => binder.find_path(name).map(|(_, last)| last),
        };
        let mut names: Vec<String> = Vec::new();
        for name in &order {
            let new = new_name(name)?;
            if names.contains(&new) {
                bail!("there would be two columns `{new}`; give one another name with `rename`");
            }
            names.push(new);
        }
        let mut reads = BTreeMap::new();
        for name in order.iter().filter(|name| !config.constants.contains_key(*name)) {
            if let Some(read) = read(binder, name, config.cast.get(name))? {
                reads.insert(name.clone(), read);
            }
        }
        let (mut casts, mut constants) = (Vec::new(), Vec::new());
        let mut port = binder.port("selected")?;
        for (name, new) in order.iter().zip(&names) {
            if let Some(value) = config.constants.get(name) {
                let constant = Constant::new(name, value)?;
                let field = ColumnField::new(new.as_str(), constant.data_type.clone(), constant.is_null());
                let column = port.compute_field(field);
                constants.push((constant, column));
            } else if let Some((place, to)) = reads.remove(name) {
                let field = match &to {
                    Some(to) => {
                        let nullable = place.field().nullable() || config.on_error == OnError::Null;
                        ColumnField::new(new.as_str(), to.clone(), nullable)
                    }
                    None => place.field().clone().renamed(new.as_str()),
                };
                casts.push(Cast { name: name.clone(), place, to, column: port.compute_field(field) });
            } else if new == name {
                port.pass(name)?;
            } else {
                port.pass_as(name, new)?;
            }
        }
        Ok(Self { port: port.id(), casts, constants, round: config.round, on_error: config.on_error })
    }

    fn process(&self, batch: &Batch<'_>, output: &mut Output<'_>) -> Result<()> {
        let mut refused = Refused::new(batch.len());
        let mut columns = Vec::with_capacity(self.casts.len() + self.constants.len());
        for cast in &self.casts {
            let (found, field) = (cast.place.read(batch)?, cast.place.field());
            let Some(to) = &cast.to else {
                columns.push((cast.column, Built::Arrays(field.clone(), found.into_arrays())));
                continue;
            };
            let source = Source::new(found.view()?, field.data_type());
            let mut target = Target::new(to, Some(field.data_type()), self.round);
            for row in 0..batch.len() {
                let Some(value) = source.get(row) else {
                    target.push_null();
                    continue;
                };
                if let Err(misfit) = target.push(value) {
                    target.push_null();
                    if self.on_error == OnError::Reject {
                        refused.refuse(row, || {
                            format!("column `{}` cannot be cast: {}", cast.name, misfit.explain(value))
                        });
                    }
                }
            }
            columns.push((cast.column, Built::from(target)));
        }
        for (constant, column) in &self.constants {
            columns.push((*column, constant.column(batch.len())?.into()));
        }
        refused.emit(output, self.port, columns)
    }
}

/// What is read for a column, and the type that it is cast to: nothing where an input column is passed as it is.
fn read(binder: &mut Binder, name: &str, to: Option<&String>) -> Result<Option<(Place, Option<DataType>)>> {
    let (field, _) = binder.find_path(name)?;
    let to = match to.map(|to| parse_type(to)).transpose() {
        Ok(to) => to.filter(|to| field.data_type() != to),
        Err(error) => bail!("column `{name}`: {error}"),
    };
    if to.is_none() && binder.input().column(name).is_some() {
        return Ok(None);
    }
    if let Some(to) = to.as_ref().filter(|to| !can_cast(field.data_type(), to)) {
        let to = ColumnField::new(name, to.clone(), true);
        bail!("column `{name}` is {}, which cannot be cast to {}", field.type_name(), to.type_name());
    }
    Ok(Some((binder.read_path(name)?, to)))
}

pipe_stage::export!(SelectStage);

#[cfg(test)]
mod tests;
