//! Values out of fields of a format that has only text.

use super::{Column, Fault, Values};
use crate::datatype;
use crate::format::text;

impl Column {
    /// A field of a format that has only text (CSV, keys of a map): numbers and booleans are read out of it, and the
    /// blanks around anything that is no text itself do not count.
    pub(in crate::format) fn push_field(&mut self, value: &str) -> Result<(), Fault> {
        if let Values::Lenient(lenient) = &mut self.values {
            lenient.push_field(value)?;
            self.nulls.append_non_null();
            return Ok(());
        }
        if self.is_text() {
            return self.push_str(value);
        }
        let value = value.trim_ascii();
        match &self.values {
            Values::Boolean(_) => match value {
                "true" | "TRUE" | "True" => self.push_bool(true),
                "false" | "FALSE" | "False" => self.push_bool(false),
                _ => Err(self.wrong(&format!("`{}`", text::short(value)))),
            },
            Values::Temporal(_, temporal) => {
                let digits = value.strip_prefix('-').unwrap_or(value);
                let number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
                if number && temporal.has_numbers() {
                    self.push_number(value, "")
                } else {
                    self.push_str(value)
                }
            }
            Values::Decimal128(..) | Values::Decimal256(..) | Values::Null => self.push_str(value),
            Values::Json { .. } => self.push_json_text(value),
            _ => self.push_number(value, ""),
        }
    }

    /// As [`Column::push_field`], where a comma stands before fractions. A point is refused there: it may stand between
    /// thousands.
    pub(in crate::format) fn push_comma_field(&mut self, value: &str) -> Result<(), Fault> {
        let fractions = self.data_type.is_floating()
            || self.data_type.is_decimal()
            || matches!(&self.values, Values::Lenient(lenient) if lenient.takes_fractions());
        if !fractions || !value.contains([',', '.']) {
            return self.push_field(value);
        }
        let with_comma = |column: &Self| {
            let expected = datatype::print(&column.data_type);
            Err(format!("{expected} with a decimal comma was expected, not `{}`", text::short(value)))
        };
        if value.contains('.') {
            return with_comma(self);
        }
        self.push_field(&value.replacen(',', ".", 1)).or_else(|_| with_comma(self))
    }

    /// Whether any text is a value, the empty one too.
    pub(in crate::format) fn is_text(&self) -> bool {
        match &self.values {
            Values::Bytes { .. } | Values::FixedBinary(..) | Values::Dictionary { .. } => true,
            Values::Lenient(lenient) => lenient.inner.is_text(),
            _ => false,
        }
    }
}
