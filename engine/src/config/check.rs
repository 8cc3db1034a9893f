//! A value against a JSON Schema: every mistake, said in the words of whoever wrote the file.
//!
//! The validator's alternatives (`anyOf`, `oneOf`) are translated to the one branch that was meant; a misspelled key
//! is reported once, not also as a missing one.

use std::collections::BTreeSet;

use jsonschema::ValidationError;
pub use jsonschema::Validator;
use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use serde_json::Value;

use super::document::step;
use super::suggest;
use crate::error::{Code, Error, Result};
use crate::problem::Problem;

/// Of an unknown key, the key that was probably meant.
pub fn meant(problem: &Problem) -> Option<&str> {
    let help = problem.help.as_deref().filter(|_| problem.code == Code::C003)?;
    help.strip_prefix("did you mean `")?.split_once('`').map(|(key, _)| key)
}

/// Every mistake of a value, with pointers into it. An error says that the schema itself is wrong.
pub fn check(value: &Value, schema: &Value) -> Result<Vec<Problem>> {
    Ok(check_compiled(value, schema, &compile(schema)?))
}

/// A schema, compiled: worth keeping where many values are checked.
pub fn compile(schema: &Value) -> Result<Validator> {
    jsonschema::draft202012::new(schema)
        .map_err(|e| Error::internal(format!("the schema is invalid: {}", e.masked())))
}

/// Every mistake of a value against a schema that was compiled before.
pub fn check_compiled(value: &Value, schema: &Value, validator: &Validator) -> Vec<Problem> {
    let mut checker = Checker { schema, problems: Vec::new() };
    for error in validator.iter_errors(value) {
        checker.add(&error);
    }
    settle(checker.problems)
}

/// A mistake and what decides whether it is noise.
struct Found {
    problem: Problem,
    /// Of an unknown key: the object, and the key that was probably meant.
    meant: Option<(String, String)>,
    /// Of a missing key: the object and the key.
    missing: Option<(String, String)>,
}

/// Leaves out what follows from another mistake, and duplicates.
fn settle(found: Vec<Found>) -> Vec<Problem> {
    let meant: BTreeSet<_> = found.iter().filter_map(|f| f.meant.clone()).collect();
    let mut seen = BTreeSet::new();
    let keep = found.into_iter().filter(|f| !f.missing.as_ref().is_some_and(|m| meant.contains(m)));
    keep.map(|f| f.problem).filter(|p| seen.insert((p.pointer.clone(), p.message.clone()))).collect()
}

struct Checker<'a> {
    schema: &'a Value,
    problems: Vec<Found>,
}

impl Checker<'_> {
    fn add(&mut self, error: &ValidationError<'_>) {
        let pointer = error.instance_path().as_str().to_owned();
        match error.kind() {
            Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
                for key in unexpected {
                    self.unknown(&pointer, key, error);
                }
            }
            Kind::Required { property } => {
                let key = property.as_str().unwrap_or_default();
                let problem = Problem::new(Code::C004, &pointer, format!("`{key}` is missing"));
                let problem = match self.description(error, key) {
                    Some(text) => problem.help(format!("`{key}`: {text}")),
                    None => problem,
                };
                self.problems.push(Found { problem, meant: None, missing: Some((pointer, key.to_owned())) });
            }
            Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
                self.alternatives(&pointer, context, error);
            }
            Kind::PropertyNames { .. } => self.names(&pointer, error),
            _ => {
                let problem = self.simple(&pointer, error);
                self.push(problem);
            }
        }
    }

    fn push(&mut self, problem: Problem) {
        self.problems.push(Found { problem, meant: None, missing: None });
    }

    fn unknown(&mut self, pointer: &str, key: &str, error: &ValidationError<'_>) {
        let known = self.siblings(error);
        let help = suggest::help(key, known.iter().map(String::as_str), "keys");
        let meant = suggest::nearest(key, known.iter().map(String::as_str));
        let problem = Problem::new(Code::C003, step(pointer, key), format!("unknown key `{key}`")).help(help);
        let meant = meant.map(|name| (pointer.to_owned(), name.to_owned()));
        self.problems.push(Found { problem, meant, missing: None });
    }

    /// Names that do not fit `propertyNames`: each is reported at its key.
    fn names(&mut self, pointer: &str, error: &ValidationError<'_>) {
        let Kind::PropertyNames { error: inner } = error.kind() else { return };
        let name = inner.instance().as_str().unwrap_or_default();
        let problem = Problem::new(Code::C005, step(pointer, name), format!("`{name}` cannot be a name"))
            .help("a name is made of letters, digits, `_` and `-`, and begins with a letter or a digit");
        self.push(problem);
    }

    /// The branch that was meant: the one whose type fits.
    fn alternatives(
        &mut self,
        pointer: &str,
        context: &[Vec<ValidationError<'static>>],
        error: &ValidationError<'_>,
    ) {
        let here = |e: &ValidationError<'_>| e.instance_path().as_str() == pointer;
        let wrong_type = |branch: &&Vec<ValidationError<'static>>| {
            branch.iter().any(|e| here(e) && matches!(e.kind(), Kind::Type { .. }))
        };
        let fitting: Vec<_> = context.iter().filter(|branch| !wrong_type(branch)).collect();
        let words =
            |branch: &Vec<ValidationError<'static>>| branch.iter().all(|e| here(e) && choices(e).is_some());
        if !fitting.is_empty() && fitting.iter().all(|branch| words(branch)) {
            let all: Vec<String> =
                fitting.iter().flat_map(|b| b.iter().filter_map(choices).flatten()).collect();
            let problem = one_of(pointer, error.instance(), &all);
            return self.push(problem);
        }
        match fitting.iter().min_by_key(|branch| branch.len()) {
            // A kind that is missing: each branch asks for another key.
            Some(branch)
                if fitting.len() > 1 && branch.iter().all(|e| matches!(e.kind(), Kind::Required { .. })) =>
            {
                let keys: Vec<String> = fitting.iter().flat_map(|b| b.iter().filter_map(required)).collect();
                let unknown = error.instance().as_object().is_some_and(|map| {
                    let known = self.siblings(error);
                    map.keys().any(|key| !known.contains(key))
                });
                if !unknown {
                    let problem =
                        Problem::new(Code::C004, pointer, format!("one of {} is missing", quoted(&keys)));
                    self.push(problem);
                }
            }
            Some(branch) => branch.iter().for_each(|e| self.add(e)),
            None => {
                let types = context.iter().flatten().filter(|e| here(e)).filter_map(type_name);
                let mut types: Vec<String> = types.filter(|t| t != "nothing").collect();
                types.dedup();
                let message = format!("{} was expected, not {}", types.join(" or "), shown(error.instance()));
                self.push(Problem::new(Code::C005, pointer, message));
            }
        }
    }

    fn simple(&self, pointer: &str, error: &ValidationError<'_>) -> Problem {
        let value = error.instance();
        let new = |message: String| Problem::new(Code::C005, pointer, message);
        if let Some(all) = choices(error) {
            return one_of(pointer, value, &all);
        }
        match error.kind() {
            Kind::Type { .. } => {
                let wanted = type_name(error).unwrap_or_default();
                new(format!("{wanted} was expected, not {}", shown(value)))
            }
            Kind::Pattern { pattern } => {
                let problem = new(format!("{} is not valid here", shown(value)));
                match self.parent_of(error).and_then(|s| s.get("description")?.as_str()) {
                    Some(text) => problem.help(format!("{text} It must match {pattern}")),
                    None => problem.help(format!("it must match {pattern}")),
                }
            }
            Kind::Minimum { limit } => new(format!("{} is below the least value, {limit}", shown(value))),
            Kind::Maximum { limit } => new(format!("{} is above the greatest value, {limit}", shown(value))),
            Kind::ExclusiveMinimum { limit } => new(format!("{} must be above {limit}", shown(value))),
            Kind::ExclusiveMaximum { limit } => new(format!("{} must be below {limit}", shown(value))),
            Kind::MinItems { limit } | Kind::MinProperties { limit } => {
                new(format!("at least {limit} must be given"))
            }
            Kind::MaxItems { limit } | Kind::MaxProperties { limit } => {
                new(format!("at most {limit} may be given"))
            }
            Kind::MinLength { limit: 0 | 1 } => new("it must not be empty".into()),
            Kind::MinLength { limit } => {
                let given = value.as_str().map_or(0, |text| text.chars().count());
                new(format!("at least {limit} characters are needed, and {given} were given"))
            }
            Kind::UniqueItems => new("an element is given twice".into()),
            Kind::OneOfMultipleValid { context } => {
                let keys: Vec<String> = self.branch_keys(error, context.len());
                let given =
                    value.as_object().map(|m| m.keys().filter(|k| keys.contains(k)).cloned().collect());
                let given: Vec<String> = given.unwrap_or_default();
                new(format!("exactly one of {} was expected, not {}", quoted(&keys), quoted(&given)))
            }
            _ => new(error.masked().to_string()),
        }
    }

    /// Keys that the branches of a `oneOf` ask for.
    fn branch_keys(&self, error: &ValidationError<'_>, branches: usize) -> Vec<String> {
        let Some(Value::Array(all)) = self.parent_of(error).and_then(|s| s.get("oneOf")) else {
            return Vec::new();
        };
        let required =
            all.iter().take(branches.max(all.len())).filter_map(|b| b.get("required")?.get(0)?.as_str());
        required.map(str::to_owned).collect()
    }

    /// The schema object whose keyword failed.
    fn parent_of(&self, error: &ValidationError<'_>) -> Option<&Value> {
        let path = error.schema_path().as_str();
        let mut here = self.schema;
        for segment in path[..path.rfind('/')?].split('/').skip(1) {
            let segment = segment.replace("~1", "/").replace("~0", "~");
            while let (None, Some(reference)) =
                (child(here, &segment), here.get("$ref").and_then(Value::as_str))
            {
                here = self.schema.pointer(reference.strip_prefix('#')?)?;
            }
            here = match child(here, &segment) {
                Some(Value::String(reference)) if segment == "$ref" => {
                    self.schema.pointer(reference.strip_prefix('#')?)?
                }
                found => found?,
            };
        }
        Some(here)
    }

    /// Keys that would have been allowed where one was not.
    fn siblings(&self, error: &ValidationError<'_>) -> Vec<String> {
        let properties = self.parent_of(error).and_then(|schema| schema.get("properties")?.as_object());
        properties.map(|map| map.keys().cloned().collect()).unwrap_or_default()
    }

    fn description(&self, error: &ValidationError<'_>, key: &str) -> Option<String> {
        let property = self.parent_of(error)?.get("properties")?.get(key)?;
        let text = property.get("description").and_then(Value::as_str)?;
        Some(text.split("\n\n").next().unwrap_or(text).replace('\n', " "))
    }
}

fn child<'a>(value: &'a Value, segment: &str) -> Option<&'a Value> {
    match value {
        Value::Object(map) => map.get(segment),
        Value::Array(items) => items.get(segment.parse::<usize>().ok()?),
        _ => None,
    }
}

/// The words that an `enum` or `const` allows.
fn choices(error: &ValidationError<'_>) -> Option<Vec<String>> {
    let word = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match error.kind() {
        Kind::Constant { expected_value } => Some(vec![word(expected_value)]),
        Kind::Enum { options } => Some(options.as_array()?.iter().map(word).collect()),
        _ => None,
    }
}

fn required(error: &ValidationError<'_>) -> Option<String> {
    match error.kind() {
        Kind::Required { property } => property.as_str().map(str::to_owned),
        _ => None,
    }
}

fn one_of(pointer: &str, value: &Value, all: &[String]) -> Problem {
    let wrong = value.as_str().unwrap_or_default();
    Problem::new(Code::C005, pointer, format!("{} is not one of the values allowed here", shown(value)))
        .help(suggest::help(wrong, all.iter().map(String::as_str), "values"))
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn type_name(error: &ValidationError<'_>) -> Option<String> {
    let name = |text: &str| match text {
        "null" => "nothing",
        "boolean" => "`true` or `false`",
        "integer" => "a whole number",
        "number" => "a number",
        "string" => "text",
        "array" => "a list",
        "object" => "a mapping",
        _ => "another type",
    };
    match error.kind() {
        Kind::Type { kind: TypeKind::Single(one) } => Some(name(&one.to_string()).to_owned()),
        Kind::Type { kind: TypeKind::Multiple(set) } => {
            let all = set.iter().map(|t| name(&t.to_string()).to_owned());
            let all: Vec<String> = all.filter(|t| t != "nothing").collect();
            Some(all.join(" or "))
        }
        _ => None,
    }
}

/// A value as it is named in a message: scalars as they are (a cut one could escape the redaction of secrets, so a
/// long one is not shown at all); collections by their kind.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "nothing".into(),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "a mapping".into(),
        Value::String(text) if text.chars().count() > 60 => "a long text".into(),
        Value::String(text) => format!("the text `{text}`"),
        other => format!("`{other}`"),
    }
}
