//! The page of the types of columns.

use std::fmt::Write;

use super::pages::Page;
use crate::config::forms::FORMS;

const BEFORE: &str = "\
Under `columns:` of a format each column has a name and a type. Types are Arrow's, in lower case. A trailing `!` forbids \
nulls, in a column (`int64!`) and within a type (`list(utf8!)`). A mapping is a struct too: `place` and `home` below have the \
same type. A mapping whose `accept` is a list is a column with a type and what else is read in it, see \
[formats.md](../formats.md#what-is-nearly-right).

```yaml
format:
  json:
    columns:
      id: int64!
      tags: list(utf8!)
      prices: map(utf8, decimal128(10, 2))
      place: \"struct(lat: float64!, lon: float64!)\"
      home: { lat: float64!, lon: float64! }
      total: { type: int64, accept: [text] }
```

YAML needs quotes around a type that holds `: `, a quote or, within `[..]` and `{..}`, a comma.

| type | example | what it holds |
|---|---|---|
";

const AFTER: &str = "
Which texts are read as which type, and how values are written, is in [formats.md](../formats.md). Types nest up to 32
levels, and a format has up to 4,096 columns, fields within others included.
";

/// The page.
pub(super) fn page() -> Page {
    let mut body = String::from(BEFORE);
    for form in FORMS {
        let names = match form.form.contains('(') {
            true if form.form.contains("), ") => form.form.replace("), ", ")`, `"),
            true => form.form.to_owned(),
            false => form.form.replace(", ", "`, `"),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(body, "| `{names}` | `{}` | {} |", form.example, form.holds);
    }
    body.push_str(AFTER);
    Page::new(
        "column-types.md".into(),
        "Types of columns".into(),
        "Every type that a column can have.",
        &body,
    )
}
