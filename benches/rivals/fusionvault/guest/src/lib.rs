//! The filter job as a transform of FusionVault: keep failed and slow requests, add `slow`; `rid` becomes the key.

mod bindings {
    wit_bindgen::generate!({ world: "transform-component", path: "wit" });
}

use bindings::exports::fv::compute::transform::{
    Batch, BoolCol, Column, Field, Float64Col, Guest, Int64Col, Utf8Col,
};

struct Filter;

impl Guest for Filter {
    fn run(inputs: Vec<Batch>) -> Result<Batch, String> {
        let mut columns: Vec<Field> = inputs.into_iter().next().ok_or("there is no batch")?.fields;
        let kept: Vec<usize> = {
            let (status, latency) = (integers(&columns, "status")?, floats(&columns, "latency_ms")?);
            let pairs = status.values.iter().zip(&latency.values).enumerate();
            pairs
                .filter(|(_, (status, latency))| **status >= 500 || **latency > 100.0)
                .map(|(row, _)| row)
                .collect()
        };
        for field in &mut columns {
            field.column = match &mut field.column {
                Column::Int64(of) => Column::Int64(Int64Col {
                    values: kept.iter().map(|&row| of.values[row]).collect(),
                    validity: None,
                }),
                Column::Float64(of) => Column::Float64(Float64Col {
                    values: kept.iter().map(|&row| of.values[row]).collect(),
                    validity: None,
                }),
                Column::Utf8(of) => Column::Utf8(Utf8Col {
                    values: kept.iter().map(|&row| std::mem::take(&mut of.values[row])).collect(),
                    validity: None,
                }),
                _ => return Err(format!("{} has an unexpected type", field.name)),
            };
        }
        let slow = floats(&columns, "latency_ms")?.values.iter().map(|latency| *latency > 250.0).collect();
        let users = columns.iter().find_map(|field| match &field.column {
            Column::Utf8(of) if field.name == "user_id" => Some(of.values.clone()),
            _ => None,
        });
        let users = users.ok_or("there is no user_id")?;
        let field = |name: &str, column: Column| Field { name: name.into(), column };
        columns.push(field("slow", Column::Boolean(BoolCol { values: slow, validity: None })));
        columns.push(field("rid", Column::Utf8(Utf8Col { values: users, validity: None })));
        Ok(Batch { fields: columns })
    }
}

fn integers<'a>(columns: &'a [Field], name: &str) -> Result<&'a Int64Col, String> {
    let found = columns.iter().find_map(|field| match &field.column {
        Column::Int64(of) if field.name == name => Some(of),
        _ => None,
    });
    found.ok_or_else(|| format!("there is no column {name} of integers"))
}

fn floats<'a>(columns: &'a [Field], name: &str) -> Result<&'a Float64Col, String> {
    let found = columns.iter().find_map(|field| match &field.column {
        Column::Float64(of) if field.name == name => Some(of),
        _ => None,
    });
    found.ok_or_else(|| format!("there is no column {name} of floats"))
}

bindings::export!(Filter with_types_in bindings);
