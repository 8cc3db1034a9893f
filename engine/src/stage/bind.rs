//! Binding a stage to its input and configuration, and the checks of what it answers.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::compute::can_cast_types;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde_json::Value;
use wasmtime::Store;

use super::component::{Component, refused};
use super::declared;
use super::grants::{Asked, Grants};
use super::invoke::{answer, arm};
use super::limits::Limits;
use super::outcome::CallFailure;
use super::state::State;
use super::types::{self, Lowered};
use super::wit::exports::pipe::stage::transform as wit;
use crate::batch::FailureKind;
use crate::error::{Code, Error, Result};
use crate::secret::cut;
use crate::units;

/// Bytes of a port's name.
const PORT_NAME_BYTES_MAX: usize = 100;

/// A stage bound to its input and configuration. Cheap to clone; instances of it are made on any thread.
#[derive(Clone)]
pub struct Bound(Arc<Inner>);

struct Inner {
    component: Component,
    /// What the component calls itself.
    name: String,
    node: Arc<str>,
    limits: Limits,
    grants: Arc<Grants>,
    /// What it asked for when it was bound first.
    asked: Asked,
    input: Lowered,
    /// The configuration as JSON text.
    config: String,
    answer: Answer,
    /// The types in which the read columns cross, in order of `answer.reads`.
    types: Vec<DataType>,
    #[cfg(feature = "native-stage")]
    native: std::sync::OnceLock<super::native::Native>,
}

/// What `bind` answered, checked.
#[derive(Debug, Clone, PartialEq)]
struct Answer {
    reads: Vec<usize>,
    ports: Vec<Port>,
    columns: Vec<Vec<Column>>,
}

/// A named output.
#[derive(Debug, Clone, PartialEq)]
pub struct Port {
    /// Kebab-case.
    pub name: String,
    /// Its columns.
    pub schema: SchemaRef,
}

/// Where a column of a port comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    /// The input column of this index.
    Passed(usize),
    /// The stage.
    Computed,
}

impl Component {
    /// Binds it to an input and a configuration (`config` is a JSON object). `name` is the node's, for logs.
    pub fn bind(&self, name: &str, input: &SchemaRef, config: &Value, limits: &Limits) -> Result<Bound> {
        self.bind_granted(name, input, config, limits, Grants::default())
    }

    /// The same with grants, which its instances get too.
    pub fn bind_granted(
        &self,
        name: &str,
        input: &SchemaRef,
        config: &Value,
        limits: &Limits,
        grants: Grants,
    ) -> Result<Bound> {
        let grants = Arc::new(grants);
        let described = self.describe(limits)?;
        check_config(&described.config_schema, config)?;
        let lowered = Lowered::new(input).map_err(|e| Error::user(Code::P005, e))?;
        for field in input.fields() {
            let crossing = types::crossing(field.data_type());
            if !crossing.is_some_and(|ty| ty == *field.data_type() || can_cast_types(field.data_type(), &ty))
            {
                let message = format!("column `{}` of type {} cannot cross", field.name(), field.data_type());
                return Err(Error::user(Code::P005, message));
            }
        }
        let node: Arc<str> = name.into();
        let config = config.to_string();
        let failed = |failure: CallFailure| match failure.kind {
            FailureKind::StageError => Error::user(Code::P005, failure.message),
            _ => refused(failure),
        };
        let (mut store, transform) = self.start(&node, limits, &grants).map_err(failed)?;
        let binding = call(&mut store, &transform, &lowered, &config, limits).map_err(failed)?;
        let asked = store.data().asked();
        drop(store);
        let answer = check(binding, input)
            .map_err(|e| refused(CallFailure::invalid(format!("its answer is invalid: {e}"))))?;
        let types = answer
            .reads
            .iter()
            .filter_map(|&column| types::crossing(input.field(column).data_type()))
            .collect();
        let (component, limits) = (self.clone(), limits.clone());
        let input = lowered;
        Ok(Bound(Arc::new(Inner {
            component,
            name: described.name,
            node,
            limits,
            grants,
            asked,
            input,
            config,
            answer,
            types,
            #[cfg(feature = "native-stage")]
            native: std::sync::OnceLock::new(),
        })))
    }
}

impl Bound {
    /// Its outputs; the first is the default port.
    pub fn ports(&self) -> &[Port] {
        &self.0.answer.ports
    }

    /// The input columns that cross into the sandbox, in order.
    pub fn reads(&self) -> &[usize] {
        &self.0.answer.reads
    }

    /// For each column of a port the input column that it is, unless the stage computes it.
    pub fn passed(&self, port: usize) -> Vec<Option<usize>> {
        let input = |column: &Column| match column {
            Column::Passed(at) => Some(*at),
            Column::Computed => None,
        };
        self.columns(port).iter().map(input).collect()
    }

    /// What the component calls itself.
    pub fn component_name(&self) -> &str {
        &self.0.name
    }

    /// The component.
    pub fn component(&self) -> &Component {
        &self.0.component
    }

    /// Its limits.
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// What it is granted.
    pub fn grants(&self) -> &Grants {
        &self.0.grants
    }

    /// What it asked for when it was bound first, granted or not.
    pub fn asked(&self) -> Asked {
        self.0.asked
    }

    /// Starts the component and binds it anew.
    pub(super) fn start(&self) -> Result<(Store<State>, wit::Guest), CallFailure> {
        let this = &*self.0;
        let (mut store, transform) = this.component.start(&this.node, &this.limits, &this.grants)?;
        let binding = call(&mut store, &transform, &this.input, &this.config, &this.limits)?;
        // The plan's types rest on the first answer, so a stage that changes its mind is not run.
        match check(binding, self.input_schema()) {
            Ok(answer) if answer == this.answer => Ok((store, transform)),
            Ok(_) => Err(CallFailure::invalid("`bind` answers otherwise than when the pipeline was planned")),
            Err(e) => Err(CallFailure::invalid(format!("the answer of `bind` is invalid: {e}"))),
        }
    }

    /// The columns of a port, in order of its schema.
    pub(super) fn columns(&self, port: usize) -> &[Column] {
        &self.0.answer.columns[port]
    }

    /// The columns that cross, each with the type in which it does.
    pub(super) fn reads_with_types(&self) -> impl Iterator<Item = (usize, &DataType)> {
        self.0.answer.reads.iter().copied().zip(&self.0.types)
    }

    /// The native code that takes the component's place, if any.
    #[cfg(feature = "native-stage")]
    pub(super) fn native(&self) -> &std::sync::OnceLock<super::native::Native> {
        &self.0.native
    }

    fn input_schema(&self) -> &Schema {
        self.0.input.schema()
    }
}

fn call(
    store: &mut Store<State>,
    transform: &wit::Guest,
    input: &Lowered,
    config: &str,
    limits: &Limits,
) -> Result<wit::Binding, CallFailure> {
    let metadata = input.metadata();
    let fields = input.borrow(&metadata).map_err(CallFailure::invalid)?;
    arm(store, limits.start_time());
    let result = transform.call_bind(&mut *store, types::schema(&fields), config);
    answer(store, result)
}

/// Validates a configuration against the schema that the stage publishes, with all errors at once.
fn check_config(schema: &str, config: &Value) -> Result<()> {
    if schema.trim().is_empty() {
        return match config.as_object() {
            Some(object) if object.is_empty() => Ok(()),
            _ if config.is_null() => Ok(()),
            _ => Err(Error::user(Code::P005, "this stage takes no configuration")),
        };
    }
    let broken =
        |e: String| Error::user(Code::W007, format!("the stage's `config-schema` is no JSON Schema: {e}"));
    let schema: Value = serde_json::from_str(schema).map_err(|e| broken(e.to_string()))?;
    let validator = jsonschema::validator_for(&schema).map_err(|e| broken(e.to_string()))?;
    let errors: Vec<String> = validator
        .iter_errors(config)
        .map(|e| match e.instance_path().as_str() {
            "" => e.to_string(),
            path => format!("at `{}`: {e}", path.trim_start_matches('/').replace('/', ".")),
        })
        .collect();
    if errors.is_empty() {
        return Ok(());
    }
    let text = errors.join("; ");
    Err(Error::user(Code::P005, cut(&text, units::DEAD_LETTER_MESSAGE_BYTES_MAX)))
}

fn check(binding: wit::Binding, input: &Schema) -> Result<Answer, String> {
    let columns = input.fields().len();
    let mut seen = HashSet::new();
    for &read in &binding.reads {
        if read as usize >= columns {
            return Err(format!("it reads column {read} of {columns}"));
        }
        if !seen.insert(read) {
            return Err(format!("it reads column {read} twice"));
        }
    }
    if binding.outputs.is_empty() || binding.outputs.len() > units::STAGE_PORTS_MAX {
        let count = binding.outputs.len();
        return Err(format!("it has {count} outputs; 1 to {} are possible", units::STAGE_PORTS_MAX));
    }
    let mut answer =
        Answer { reads: binding.reads.iter().map(|&r| r as usize).collect(), ports: vec![], columns: vec![] };
    let mut names = HashSet::new();
    for output in binding.outputs {
        check_port_name(&output.name)?;
        if !names.insert(output.name.clone()) {
            return Err(format!("it has two ports `{}`", output.name));
        }
        let (schema, columns) =
            port(output.columns, input).map_err(|e| format!("port `{}`: {e}", output.name))?;
        answer.ports.push(Port { name: output.name, schema: Arc::new(schema) });
        answer.columns.push(columns);
    }
    Ok(answer)
}

/// The schemas of an answer that is accepted, for the fuzz target.
#[cfg(fuzzing)]
pub(super) fn fuzz(binding: wit::Binding, input: &Schema) -> Vec<SchemaRef> {
    check(binding, input).map(|a| a.ports.into_iter().map(|port| port.schema).collect()).unwrap_or_default()
}

fn check_port_name(name: &str) -> Result<(), String> {
    let word = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_lowercase())
            && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    if name.len() <= PORT_NAME_BYTES_MAX && name.split('-').all(word) {
        return Ok(());
    }
    Err(format!("the port's name `{}` is not kebab-case", cut(name, PORT_NAME_BYTES_MAX)))
}

fn port(columns: Vec<wit::OutputColumn>, input: &Schema) -> Result<(Schema, Vec<Column>), String> {
    let mut fields: Vec<Field> = Vec::with_capacity(columns.len().min(units::SCHEMA_FIELDS_MAX));
    let mut sources = Vec::with_capacity(fields.capacity());
    let mut names = HashSet::new();
    let mut total = 0usize;
    for column in columns {
        let (field, source, count) = match column {
            wit::OutputColumn::Passed(passed) => {
                let index = passed.index as usize;
                let Some(field) = input.fields().get(index) else {
                    return Err(format!("it passes column {index} of {}", input.fields().len()));
                };
                let mut field = field.as_ref().clone();
                if let Some(name) = passed.name {
                    field.set_name(name);
                }
                (field, Column::Passed(index), 1)
            }
            wit::OutputColumn::Computed(tree) => {
                let at = fields.len();
                let count = tree.len();
                let field = declared::field_from_wit(tree).map_err(|e| format!("column {at}: {e}"))?;
                (field, Column::Computed, count)
            }
        };
        total += count;
        if total > units::SCHEMA_FIELDS_MAX {
            return Err(format!("it has more than {} fields", units::SCHEMA_FIELDS_MAX));
        }
        if !names.insert(field.name().clone()) {
            return Err(format!("it has two columns `{}`", cut(field.name(), 100)));
        }
        fields.push(field);
        sources.push(source);
    }
    Ok((Schema::new(fields), sources))
}

#[cfg(test)]
#[path = "bind_tests.rs"]
mod tests;
