//! Columns of JSON values as they are written: every value that a record may have, its bytes untouched.

use serde_json::value::RawValue;

use super::{Column, Fault, Values, end};
use crate::format::text::short;
use crate::units::JSON_DEPTH_MAX;

impl Column {
    /// Whether it holds JSON values as they are written.
    #[inline]
    pub(in crate::format) fn is_json(&self) -> bool {
        matches!(self.values, Values::Json { .. })
    }

    /// A value that is known to be JSON, and not to be too deep.
    pub(in crate::format) fn push_json(&mut self, text: &str) -> Result<(), Fault> {
        let Values::Json { offsets, data } = &mut self.values else { return Err(self.wrong("JSON")) };
        offsets.push(end(data.len() + text.len())?);
        data.extend_from_slice(text.as_bytes());
        self.nulls.append_non_null();
        Ok(())
    }

    /// A value that is known to be JSON.
    pub(in crate::format) fn push_any_json(&mut self, text: &str) -> Result<(), Fault> {
        if depth(text) > JSON_DEPTH_MAX {
            return Err(format!("JSON nested deeper than {JSON_DEPTH_MAX} levels"));
        }
        self.push_json(text)
    }

    /// A text that may be JSON.
    pub(super) fn push_json_text(&mut self, text: &str) -> Result<(), Fault> {
        match serde_json::from_str::<&RawValue>(text) {
            Ok(value) if value.get() == "null" => self.push_null(),
            Ok(value) => self.push_any_json(value.get()),
            Err(_) => Err(self.wrong(&format!("`{}`", short(text)))),
        }
    }
}

/// Levels of arrays and objects of a valid JSON text.
pub(in crate::format) fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_those_of_containers_outside_texts() {
        for (text, levels) in [("1", 0), ("\"[{\\\"[\"", 0), ("[[],{}]", 2), ("{\"a\":[{\"]\":[]}]}", 4)] {
            assert_eq!(depth(text), levels, "{text}");
        }
    }
}
