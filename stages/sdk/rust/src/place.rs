//! Values by their path: a column, a field of a struct, an element of a list, an entry of a map, a header.

use std::borrow::Cow;

use crate::batch::Batch;
use crate::bind::{Binder, Column, nearest};
use crate::bindings::pipe::stage::arrow::Array;
use crate::column::{self, Any};
use crate::error::{Error, Result};
use crate::read::{AnyType, Read};
use crate::schema::{ColumnField, DataType, Field};

/// The column of a record's headers.
const HEADERS: &str = "_headers";

/// Where a value is, as [`Binder::read_path`] found it: a column, or a place within one.
#[derive(Debug, Clone)]
pub struct Place {
    column: Column<AnyType>,
    steps: Vec<Step>,
    field: ColumnField,
    name: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// A field of a struct, by its position.
    Child(usize),
    /// An element of a list.
    Element(usize),
    /// The value that belongs to a key: of a map, or of a list of headers.
    Entry(String),
}

/// The values at a place: those of a column as they crossed, or taken out of it.
#[derive(Debug)]
pub struct Found<'a> {
    fields: &'a [Field],
    arrays: Cow<'a, [Array]>,
}

impl Found<'_> {
    /// The typed view; a null where something on the way is null or not there.
    pub fn view(&self) -> Result<Any<'_>> {
        column::view(self.fields, &self.arrays)
    }

    /// The view as a type that [`Place::must_be`] has asked for.
    pub fn read<T: Read + ?Sized>(&self) -> Result<T::View<'_>> {
        T::view(self.view()?).ok_or_else(changed)
    }

    /// The arrays, in pre-order.
    pub fn into_arrays(self) -> Vec<Array> {
        self.arrays.into_owned()
    }
}

impl Place {
    /// What is there: its name is the path, and within a column it may be null.
    pub fn field(&self) -> &ColumnField {
        &self.field
    }

    /// The last name on the path.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is a whole column.
    pub fn is_column(&self) -> bool {
        self.steps.is_empty()
    }

    /// Refuses a place whose values cannot be read as a type.
    pub fn must_be<T: Read + ?Sized>(&self) -> Result<()> {
        if T::accepts(self.field.data_type()) {
            return Ok(());
        }
        let (name, found) = (self.field.name(), self.field.type_name());
        Err(Error::new(format!("column `{name}` is {found}; {} is needed", T::NAME)))
    }

    /// The values of a batch; look them up once, before the loop over rows.
    pub fn read<'a>(&self, batch: &Batch<'a>) -> Result<Found<'a>> {
        let mut at = batch.nested(self.column)?;
        // For each row of the batch the row of `at`, once they differ.
        let mut rows: Option<Vec<Option<u32>>> = None;
        for step in &self.steps {
            let valid = at.validity();
            let len = at.len();
            let next: Box<dyn Fn(u32) -> Option<u32> + '_> = match step {
                Step::Child(child) => {
                    let children = at.children();
                    at = *children.get(*child).ok_or_else(changed)?;
                    if valid.all() {
                        continue;
                    }
                    Box::new(move |row| valid.is_valid(row as usize).then_some(row))
                }
                Step::Element(element) => {
                    let (lists, element) = (at.lists()?, *element);
                    at = lists.elements;
                    Box::new(move |row| {
                        let range = lists.get(row as usize)?;
                        (element < range.len()).then(|| (range.start + element) as u32)
                    })
                }
                Step::Entry(key) => {
                    let lists = at.lists()?;
                    let entries = lists.elements.validity();
                    let [keys, values] = lists.elements.children()[..] else { return Err(changed()) };
                    let Any::Text(keys) = keys.view()? else { return Err(changed()) };
                    at = values;
                    // Of several with one name the last counts.
                    Box::new(move |row| {
                        let mut range = lists.get(row as usize)?.rev();
                        let found = range
                            .find(|entry| entries.is_valid(*entry) && keys.get(*entry) == Some(key.as_str()));
                        found.map(|entry| entry as u32)
                    })
                }
            };
            let before = rows.unwrap_or_else(|| (0..len as u32).map(Some).collect());
            rows = Some(before.into_iter().map(|row| row.and_then(&next)).collect());
        }
        let arrays = match rows {
            None => Cow::Borrowed(at.arrays()),
            Some(rows) => Cow::Owned(at.take_nullable(&rows)?),
        };
        Ok(Found { fields: at.fields(), arrays })
    }
}

#[cold]
fn changed() -> Error {
    Error::new("a column changed its type")
}

impl Binder {
    /// Reads a value by its path: `user.country`, `items[0].sku` (or `items.0.sku`), `attributes.key` of a map,
    /// `_headers.name` of a record's headers, `['any name']` for any name. A column whose own name is the path wins,
    /// and so does the longest name of a column, or of a field, with which the rest of a path begins.
    pub fn read_path(&mut self, path: &str) -> Result<Place> {
        let mut place = self.locate(path)?;
        let name = self.input().columns[place.column.index].name().to_owned();
        place.column = self.read::<AnyType>(&name)?;
        Ok(place)
    }

    /// What is at a path, as [`Binder::read_path`] takes it, without reading it: its field, and the last name on the
    /// path.
    pub fn find_path(&self, path: &str) -> Result<(ColumnField, String)> {
        self.locate(path).map(|place| (place.field, place.name))
    }

    /// The place, whose column is still the input's, not that of what is read.
    fn locate(&self, path: &str) -> Result<Place> {
        let columns = &self.input().columns;
        let Some((at, mut rest)) = longest(path, columns) else {
            let head = path.split(['.', '[']).next().unwrap_or(path);
            return Err(match self.find(head) {
                Err(e) if head != path => Error::new(format!("the path `{path}`: {e}")),
                Err(e) => e,
                Ok(_) => Error::new(format!("there is no column `{path}`")),
            });
        };
        let (mut field, mut steps) = (columns[at].clone(), Vec::new());
        let mut name = field.name().to_owned();
        while !rest.is_empty() {
            let done = path.get(..path.len() - rest.len()).unwrap_or(path);
            let (step, inner, after) = step(&field, done, rest)?;
            match &step {
                Step::Child(_) => inner.name().clone_into(&mut name),
                Step::Entry(key) => key.clone_into(&mut name),
                Step::Element(_) => {}
            }
            steps.push(step);
            (field, rest) = (inner, after);
        }
        if !steps.is_empty() {
            field = field.renamed(path).with_nulls();
        }
        Ok(Place { column: Column::at(Some(&at)), steps, field, name })
    }
}

/// The field with the longest name with which a path begins, and the rest of the path.
fn longest<'p>(path: &'p str, fields: &[ColumnField]) -> Option<(usize, &'p str)> {
    let begins = |field: &ColumnField| {
        path.strip_prefix(field.name()).filter(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    let found = fields.iter().enumerate().filter_map(|(at, field)| Some((at, begins(field)?)));
    found.min_by_key(|(_, rest)| rest.len())
}

/// A name in brackets and quotes at the start of a path, and what follows it.
fn quoted(rest: &str) -> Option<(&str, &str)> {
    let inner = rest.strip_prefix('[')?;
    let quote = inner.chars().next().filter(|quote| matches!(quote, '\'' | '"'))?;
    let (name, after) = inner.get(1..)?.split_once(quote)?;
    Some((name, after.strip_prefix(']')?))
}

/// An index at the start of a path: `[0]` or `.0`.
fn index(rest: &str) -> Option<(usize, &str)> {
    let (digits, after) = match rest.strip_prefix('[') {
        Some(inner) => inner.split_once(']')?,
        None => {
            let inner = rest.strip_prefix('.')?;
            inner.split_at(inner.find(['.', '[']).unwrap_or(inner.len()))
        }
    };
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    Some((digits.parse().ok().filter(|_| plain)?, after))
}

/// One step from a field towards the rest of a path.
fn step<'p>(field: &ColumnField, done: &str, rest: &'p str) -> Result<(Step, ColumnField, &'p str)> {
    let children = field.children();
    let type_name = || field.type_name();
    let wrong = |what: &str| Err(Error::new(format!("`{done}` is {}; {what}", type_name())));
    match (field.data_type(), children.as_slice()) {
        (DataType::Struct, _) => {
            let found = match quoted(rest) {
                Some((name, after)) => {
                    children.iter().position(|child| child.name() == name).map(|at| (at, after)).ok_or(name)
                }
                None => {
                    let name = rest.strip_prefix('.').unwrap_or(rest);
                    let found = if name.len() < rest.len() { longest(name, &children) } else { None };
                    found.ok_or_else(|| {
                        name.split(['.', '[']).next().filter(|name| !name.is_empty()).unwrap_or(name)
                    })
                }
            };
            match found {
                Ok((at, after)) => Ok((Step::Child(at), children[at].clone(), after)),
                Err(name) => {
                    let names: Vec<&str> = children.iter().map(ColumnField::name).collect();
                    let near = nearest(name, names.iter().copied());
                    let near = near.map(|near| format!(" (did you mean `{done}.{near}`?)"));
                    let near = near.unwrap_or_default();
                    wrong(&format!("there is no field `{name}` in it, but {}{near}", names.join(", ")))
                }
            }
        }
        (DataType::List, [entry]) if field.name() == HEADERS && done == HEADERS => {
            let parts = entry.children();
            let [name, value] = parts.as_slice() else { return wrong("its headers have no names") };
            // Names of headers often hold points, and there is nothing behind one.
            let (key, after) = match quoted(rest) {
                Some(found) => found,
                None => (rest.strip_prefix('.').unwrap_or_default(), ""),
            };
            if key.is_empty() || !is_text(name) {
                return wrong("a header is named by `_headers.name`");
            }
            Ok((Step::Entry(key.to_owned()), value.clone(), after))
        }
        (DataType::List | DataType::LargeList | DataType::FixedSizeList(_), [item]) => match index(rest) {
            Some((at, after)) => Ok((Step::Element(at), item.clone(), after)),
            None => wrong("an element is named by its index, the first is `[0]`"),
        },
        (DataType::Map, [entry]) => {
            let parts = entry.children();
            let [key, value] = parts.as_slice() else { return wrong("it has no entries") };
            if !is_text(key) {
                return wrong("only keys of utf8 can be named");
            }
            let plain =
                rest.strip_prefix('.').map(|name| name.split_at(name.find(['.', '[']).unwrap_or(name.len())));
            match quoted(rest).or(plain).filter(|(name, _)| !name.is_empty()) {
                Some((name, after)) => Ok((Step::Entry(name.to_owned()), value.clone(), after)),
                None => wrong("an entry is named by its key, `.key` or `['any key']`"),
            }
        }
        _ => wrong(&format!("there is nothing within it, such as `{rest}`")),
    }
}

fn is_text(field: &ColumnField) -> bool {
    matches!(field.data_type(), DataType::Utf8 | DataType::LargeUtf8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::Builder;
    use crate::schema::Schema;
    use crate::testing::{list_array, validity_array};

    fn utf8(name: &str) -> ColumnField {
        ColumnField::new(name, DataType::Utf8, true)
    }

    fn structure(name: &str, fields: impl IntoIterator<Item = ColumnField>) -> ColumnField {
        ColumnField::nested(name, DataType::Struct, true, fields)
    }

    fn list(name: &str, item: ColumnField) -> ColumnField {
        ColumnField::nested(name, DataType::List, true, [item])
    }

    fn binder() -> Binder {
        let header = structure("item", [utf8("name"), ColumnField::new("value", DataType::Binary, true)]);
        let entries = structure("entries", [utf8("key"), ColumnField::new("value", DataType::Int64, true)]);
        let item = structure("item", [utf8("sku"), list("tags", utf8("item"))]);
        let user = structure("user", [utf8("country"), utf8("a.b"), structure("a", [utf8("b"), utf8("c")])]);
        let columns = vec![
            user,
            list("items", item),
            ColumnField::nested("attributes", DataType::Map, true, [entries]),
            list("_headers", header),
            utf8("id.orig_h"),
            structure("id", [utf8("orig_h")]),
            ColumnField::new("n", DataType::Int64, true),
        ];
        Binder::new(Schema { columns })
    }

    #[test]
    fn paths_lead_to_fields() {
        for (path, found, name) in [
            ("n", "int64", "n"),
            ("user.country", "utf8", "country"),
            ("user['country']", "utf8", "country"),
            ("user.a.b", "utf8", "a.b"),
            ("user['a'].b", "utf8", "b"),
            ("user.a.c", "utf8", "c"),
            ("user", "struct(utf8, utf8, struct(utf8, utf8))", "user"),
            ("items[0].sku", "utf8", "sku"),
            ("items.0.sku", "utf8", "sku"),
            ("items[12].tags[3]", "utf8", "tags"),
            ("attributes.some_key", "int64", "some_key"),
            ("attributes[\"some.key\"]", "int64", "some.key"),
            ("_headers.event_type", "binary", "event_type"),
            ("_headers.ce.type", "binary", "ce.type"),
            ("_headers['x']", "binary", "x"),
            ("id.orig_h", "utf8", "id.orig_h"),
            ("id['orig_h']", "utf8", "orig_h"),
        ] {
            let place = binder().read_path(path).unwrap_or_else(|e| panic!("{path}: {e}"));
            assert_eq!((place.field().type_name().as_str(), place.name()), (found, name), "{path}");
            assert_eq!(place.field().name(), path);
        }
        assert_eq!(binder().read_path("id.orig_h").unwrap().steps, []);
    }

    #[test]
    fn what_is_not_there_is_told_with_what_is_near() {
        for (path, words) in [
            ("usr.country", &["the path `usr.country`", "no column `usr`", "did you mean `user`?"][..]),
            ("m", &["there is no column `m`"]),
            ("user.contry", &["no field `contry`", "country, a.b, a", "did you mean `user.country`?"]),
            ("user[0]", &["no field `[0]`"]),
            ("user.country.x", &["`user.country` is utf8", "nothing within it"]),
            ("n[0]", &["`n` is int64"]),
            ("items.sku", &["`items` is list", "the first is `[0]`"]),
            ("items[-1]", &["the first is `[0]`"]),
            ("items[0].skuu", &["no field `skuu`", "did you mean `items[0].sku`?"]),
            ("attributes[0", &["`['any key']`"]),
            ("_headers", &[]),
            ("_headers.", &["`_headers.name`"]),
            ("_headers['x'].y", &["binary"]),
            ("", &["no column ``"]),
        ] {
            match binder().read_path(path) {
                Ok(_) => assert!(words.is_empty(), "{path}"),
                Err(error) => {
                    let error = error.to_string();
                    assert!(words.iter().all(|word| error.contains(word)), "{path}: {error}");
                }
            }
        }
    }

    #[test]
    fn values_are_found_through_nulls_and_short_lists() {
        // Three rows: `[{a}, null, {b}]`, null, `[]`; the null struct has a text below it.
        let item = structure("item", [utf8("t")]);
        let field = list("l", item);
        let mut texts = Builder::<str>::new();
        for text in ["a", "hidden", "b"] {
            texts.push(text);
        }
        let arrays = vec![
            list_array(&[true, false, true], &[0, 3, 3, 3]),
            validity_array(&[true, false, true], Vec::new()),
            texts.finish().unwrap(),
        ];
        let read = |path: &str| {
            let mut binder = Binder::new(Schema { columns: vec![field.clone()] });
            let place = binder.read_path(path).unwrap();
            binder.port("p").unwrap();
            let (_, bound) = binder.finish().unwrap();
            let batch =
                crate::bindings::pipe::stage::arrow::RecordBatch { length: 3, arrays: arrays.clone() };
            let found = place.read(&Batch::new(&bound, &batch).unwrap()).unwrap();
            let Any::Text(texts) = found.view().unwrap() else { panic!("text") };
            texts.iter().map(|text| text.map(str::to_owned)).collect::<Vec<_>>()
        };
        assert_eq!(read("l[0].t"), [Some("a".to_owned()), None, None]);
        assert_eq!(read("l[1].t"), [None, None, None]);
        assert_eq!(read("l[2].t"), [Some("b".to_owned()), None, None]);
        assert_eq!(read("l[3].t"), [None, None, None]);
    }
}
