//! A stage's configuration: a serde type and its JSON Schema.

use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// The configuration of a stage. `#[derive(Deserialize, Config)]` makes one of a struct.
pub trait Config: Sized {
    /// Its JSON Schema; empty when the stage takes none.
    fn schema() -> String;
    /// Reads the JSON object of the pipeline file.
    fn parse(json: &str) -> Result<Self>;
}

/// No configuration.
impl Config for () {
    fn schema() -> String {
        String::new()
    }
    fn parse(json: &str) -> Result<Self> {
        let map: std::collections::BTreeMap<String, serde_json::Value> = from_json(json)?;
        match map.keys().next() {
            Some(key) => Err(Error::new(format!("unknown key `{key}`: this stage takes no configuration"))),
            None => Ok(()),
        }
    }
}

/// Reads JSON; the error says what is wrong in one line.
pub fn from_json<T: DeserializeOwned>(json: &str) -> Result<T> {
    serde_json::from_str(json).map_err(|error| Error::new(format!("configuration: {error}")))
}
