//! A column with one value in every row.

use casts::{Misfit, Rounding, Scalar, Target, parse_type};
use pipe_stage::{DataType, Error, Json, Result, bail};

/// The value of a column, and its type.
#[derive(Debug)]
pub(crate) struct Constant {
    pub(crate) data_type: DataType,
    value: Json,
    name: String,
}

impl Constant {
    /// Reads a constant and tries it: what cannot be a value of its type is a mistake of the pipeline.
    pub(crate) fn new(name: &str, spec: &Json) -> Result<Self> {
        let (value, data_type) = match spec {
            Json::Object(_) => match (spec.get("value"), spec.get("type").and_then(Json::as_str)) {
                (Some(value), Some(data_type)) => (value.clone(), parse_type(data_type)?),
                _ => bail!("constants.{name}: `value` and `type` are needed"),
            },
            Json::Bool(_) => (spec.clone(), DataType::Boolean),
            Json::Text(_) => (spec.clone(), DataType::Utf8),
            Json::Number(_) if spec.as_i64().is_some() => (spec.clone(), DataType::Int64),
            Json::Number(_) if spec.as_u64().is_some() => (spec.clone(), DataType::Uint64),
            Json::Number(_) => (spec.clone(), DataType::Float64),
            Json::Null => bail!("constants.{name}: a null needs a type: {{ value: null, type: utf8 }}"),
            Json::List(_) => bail!("constants.{name}: a list cannot be a constant"),
        };
        let constant = Self { data_type, value, name: name.into() };
        constant.column(1)?;
        Ok(constant)
    }

    pub(crate) fn is_null(&self) -> bool {
        self.value == Json::Null
    }

    /// The column of so many rows.
    pub(crate) fn column(&self, len: usize) -> Result<Target> {
        let mut target = Target::new(&self.data_type, None, Rounding::Exact);
        let value = match &self.value {
            Json::Null => None,
            Json::Bool(value) => Some(Scalar::Bool(*value)),
            // Numbers by their digits, so that none is rounded on its way to a decimal or a large integer.
            Json::Number(text) | Json::Text(text) => Some(Scalar::Text(text)),
            Json::List(_) | Json::Object(_) => {
                bail!("constants.{}: a nested value cannot be a constant", self.name)
            }
        };
        for _ in 0..len {
            match value {
                None => target.push_null(),
                Some(value) => target.push(value).map_err(|Misfit(why)| {
                    Error::new(format!(
                        "constants.{}: {} is not a value of its type: {why}",
                        self.name, self.value
                    ))
                })?,
            }
        }
        Ok(target)
    }
}
