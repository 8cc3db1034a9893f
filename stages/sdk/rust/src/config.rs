//! A stage's configuration: a serde type and its JSON Schema.

use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::json::{Json, from_str, quote};

/// The configuration of a stage. `#[derive(Deserialize, Config)]` makes one of a struct.
pub trait Config: Sized {
    /// Its JSON Schema; empty when the stage takes none.
    fn schema() -> String;
    /// Reads the JSON object of the pipeline file.
    fn parse(json: &str) -> Result<Self>;
}

/// A type that a field of a configuration may have, and its JSON Schema.
pub trait Setting: DeserializeOwned {
    /// Whether the key may be left out.
    const OPTIONAL: bool = false;
    /// The members of its schema: `"type": "integer"`.
    fn schema() -> String;
}

macro_rules! settings {
    ($($type:ty => $schema:literal;)*) => {$(
        impl Setting for $type {
            fn schema() -> String {
                $schema.into()
            }
        }
    )*};
}

settings! {
    bool => r#""type":"boolean""#;
    String => r#""type":"string""#;
    f32 => r#""type":"number""#;
    f64 => r#""type":"number""#;
    i8 => r#""type":"integer","minimum":-128,"maximum":127"#;
    i16 => r#""type":"integer","minimum":-32768,"maximum":32767"#;
    i32 => r#""type":"integer","minimum":-2147483648,"maximum":2147483647"#;
    i64 => r#""type":"integer""#;
    u8 => r#""type":"integer","minimum":0,"maximum":255"#;
    u16 => r#""type":"integer","minimum":0,"maximum":65535"#;
    u32 => r#""type":"integer","minimum":0,"maximum":4294967295"#;
    u64 => r#""type":"integer","minimum":0"#;
}

impl<T: Setting> Setting for Vec<T> {
    fn schema() -> String {
        format!(r#""type":"array","items":{{{}}}"#, T::schema())
    }
}

/// The key may be left out.
impl<T: Setting> Setting for Option<T> {
    const OPTIONAL: bool = true;
    fn schema() -> String {
        T::schema()
    }
}

/// The schema of an object; each property is its name, its doc lines, its schema, and whether it may be left out.
pub fn object_schema(properties: &[(&str, &[&str], String, bool)]) -> String {
    let (mut members, mut required) = (String::new(), String::new());
    for (name, docs, schema, optional) in properties {
        let mut description = String::new();
        for line in *docs {
            separate(&mut description, " ");
            description.push_str(line.trim());
        }
        separate(&mut members, ",");
        quote(name, &mut members);
        members.push_str(":{\"description\":");
        quote(&description, &mut members);
        members.push(',');
        members.push_str(schema);
        members.push('}');
        if !optional {
            separate(&mut required, ",");
            quote(name, &mut required);
        }
    }
    format!(
        r#"{{"type":"object","properties":{{{members}}},"required":[{required}],"additionalProperties":false}}"#
    )
}

/// Adds what stands between two parts, unless this is the first.
fn separate(out: &mut String, separator: &str) {
    if !out.is_empty() {
        out.push_str(separator);
    }
}

/// Declares a stage's configuration: a struct that serde reads, and its JSON Schema with the fields' doc comments.
/// An `Option` may be left out; keys that are none of the fields are refused.
#[macro_export]
macro_rules! config {
    ($(#[$meta:meta])* $vis:vis struct $name:ident {
        $($(#[doc = $doc:literal])* $fvis:vis $field:ident : $type:ty),* $(,)?
    }) => {
        $(#[$meta])*
        #[derive($crate::serde::Deserialize)]
        #[serde(crate = "pipe_stage::serde", deny_unknown_fields)]
        $vis struct $name { $($(#[doc = $doc])* $fvis $field: $type),* }
        impl $crate::Config for $name {
            fn schema() -> ::std::string::String {
                $crate::object_schema(&[$((
                    stringify!($field),
                    &[$($doc),*],
                    <$type as $crate::Setting>::schema(),
                    <$type as $crate::Setting>::OPTIONAL,
                )),*])
            }
            fn parse(json: &str) -> $crate::Result<Self> {
                $crate::from_json(json)
            }
        }
    };
}

/// No configuration.
impl Config for () {
    fn schema() -> String {
        String::new()
    }
    fn parse(json: &str) -> Result<Self> {
        match Json::parse(json)? {
            Json::Null => Ok(()),
            Json::Object(members) => match members.first() {
                Some((key, _)) => {
                    Err(Error::new(format!("unknown key `{key}`: this stage takes no configuration")))
                }
                None => Ok(()),
            },
            other => Err(Error::new(format!("{other}: this stage takes no configuration"))),
        }
    }
}

/// Reads JSON; the error says what is wrong in one line.
pub fn from_json<T: DeserializeOwned>(json: &str) -> Result<T> {
    from_str(json).map_err(|error| Error::new(format!("configuration: {error}")))
}
