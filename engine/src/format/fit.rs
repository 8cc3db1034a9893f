//! Files of columns that are read as one: what their columns have in common, and each file's rows as those columns.
//!
//! Columns are found by name. Types are widened where no value can be lost; a column that only some files have is null
//! in the others.

mod wider;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, GenericListArray, MapArray, OffsetSizeTrait, RecordBatch,
    RecordBatchOptions, StructArray, new_null_array,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use arrow::error::ArrowError;

use crate::codec::RowReader;
use crate::datatype::print;
use crate::error::{Code, Error, Result};
use wider::common;

/// Columns that do not fit which an error lists.
const LISTED: usize = 20;
const HELP: &str = "write them with the same types, or read them by sources of their own";

/// A column and the first file that has it.
struct Known<'a> {
    field: Field,
    path: &'a Path,
}

/// The columns of all files.
pub(super) fn together(paths: &[&Path], infer: impl Fn(&Path) -> Result<SchemaRef>) -> Result<SchemaRef> {
    let Some((first, others)) = paths.split_first() else {
        return Err(Error::internal("columns of no file"));
    };
    let schema = infer(first)?;
    let mut known: Vec<Known<'_>> = schema.fields().iter().map(|f| known_of(f, first)).collect();
    let (mut differ, mut wrong) = (false, Vec::new());
    for path in others {
        let other = infer(path)?;
        if other.fields() == schema.fields() {
            continue;
        }
        differ = true;
        for (one, file) in [(&schema, first), (&other, path)] {
            if let Some(name) = twice(one) {
                wrong.push(format!(
                    "column `{name}`: twice in {}, so that its name does not tell it",
                    file.display()
                ));
            }
        }
        add(&mut known, &other, path, &mut wrong);
    }
    if !wrong.is_empty() {
        let more = wrong.len().saturating_sub(LISTED);
        wrong.truncate(LISTED);
        if more > 0 {
            wrong.push(format!("and {more} more"));
        }
        let text = format!("its files do not fit each other:\n  {}", wrong.join("\n  "));
        return Err(Error::user(Code::S013, text).help(HELP));
    }
    if !differ {
        return Ok(schema);
    }
    Ok(Arc::new(Schema::new(known.into_iter().map(|known| known.field).collect::<Vec<_>>())))
}

fn known_of<'a>(field: &Field, path: &'a Path) -> Known<'a> {
    Known { field: field.clone(), path }
}

fn twice(schema: &Schema) -> Option<&str> {
    let mut names = HashSet::new();
    schema.fields().iter().map(|field| field.name().as_str()).find(|name| !names.insert(*name))
}

/// Adds the columns of another file.
fn add<'a>(known: &mut Vec<Known<'a>>, other: &Schema, path: &'a Path, wrong: &mut Vec<String>) {
    for before in &mut *known {
        let Some((_, field)) = other.fields().find(before.field.name()) else {
            before.field.set_nullable(true);
            continue;
        };
        match common(before.field.data_type(), field.data_type()) {
            Some(data_type) => {
                let nullable = before.field.is_nullable() || field.is_nullable();
                // Notes on a column are those of one file.
                before.field = Field::new(before.field.name(), data_type, nullable);
            }
            None => wrong.push(format!(
                "column `{}`: {} in {}, {} in {}",
                field.name(),
                print(before.field.data_type()),
                before.path.display(),
                print(field.data_type()),
                path.display()
            )),
        }
    }
    for field in other.fields() {
        if known.iter().all(|before| before.field.name() != field.name()) {
            known.push(known_of(&field.as_ref().clone().with_nullable(true), path));
        }
    }
}

/// A reader of one of the files, whose rows become those of all.
pub(super) struct Fitted<R> {
    reader: R,
    columns: SchemaRef,
    /// For each column the one of the file, where they are not the same.
    sources: Option<Vec<Option<usize>>>,
    place: String,
}

impl<R: RowReader> Fitted<R> {
    /// An error where a value of the file might not fit: the file was not there when the columns were learnt.
    pub(super) fn new(reader: R, own: &Schema, columns: SchemaRef, place: String) -> Result<Self> {
        if own.fields() == columns.fields() {
            return Ok(Self { reader, columns, sources: None, place });
        }
        let misfit = |text: String| {
            let help = "it was not there, or was another file, when the pipeline was checked; start again";
            Err(Error::user(Code::S013, text).context(place.clone()).help(help))
        };
        let unknown = own.fields().iter().find(|field| columns.fields().find(field.name()).is_none());
        if let Some(name) = twice(own).or(unknown.map(|field| field.name().as_str())) {
            return misfit(format!("column `{name}` is not one of those that the source has"));
        }
        let mut sources = Vec::new();
        for column in columns.fields() {
            let found = own.fields().find(column.name());
            let fits = match found {
                None => column.is_nullable(),
                Some((_, field)) => {
                    let wide = common(column.data_type(), field.data_type());
                    let nullable = column.is_nullable() || !field.is_nullable();
                    nullable && wide.is_some_and(|wide| wide.equals_datatype(column.data_type()))
                }
            };
            if !fits {
                let what = found.map_or("is missing".to_owned(), |(_, field)| {
                    let null = if field.is_nullable() { "" } else { "!" };
                    format!("is {}{null}", print(field.data_type()))
                });
                let expected = crate::datatype::print_field(column);
                return misfit(format!("column `{}` {what}, and the source has {expected}", column.name()));
            }
            sources.push(found.map(|(at, _)| at));
        }
        Ok(Self { reader, columns, sources: Some(sources), place })
    }
}

impl<R: RowReader> RowReader for Fitted<R> {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        let Some(rows) = self.reader.next()? else { return Ok(None) };
        let Some(sources) = &self.sources else { return Ok(Some(rows)) };
        let mut columns = Vec::with_capacity(sources.len());
        for (source, field) in sources.iter().zip(self.columns.fields()) {
            columns.push(match source {
                None => new_null_array(field.data_type(), rows.num_rows()),
                Some(at) => widen(rows.column(*at), field.data_type()).map_err(|e| {
                    let text = format!(
                        "column `{}` cannot be read as {}: {e}",
                        field.name(),
                        print(field.data_type())
                    );
                    Error::user(Code::S013, text).context(self.place.clone()).help(HELP)
                })?,
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(&self.columns), columns, &options)
            .map(Some)
            .map_err(|e| Error::internal(format!("fitted columns do not fit: {e}")))
    }
}

/// An array as a type that [`common`] gave.
fn widen(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    if array.data_type() == to {
        return Ok(Arc::clone(array));
    }
    match (array.data_type(), to) {
        (DataType::Struct(_), DataType::Struct(fields)) => structs(array.as_struct(), fields),
        (DataType::List(_), DataType::List(item)) => lists(array.as_list::<i32>(), item),
        (DataType::LargeList(_), DataType::LargeList(item)) => lists(array.as_list::<i64>(), item),
        (DataType::FixedSizeList(..), DataType::FixedSizeList(item, size)) => {
            let list = array.as_fixed_size_list();
            let values = widen(list.values(), item.data_type())?;
            let nulls = list.nulls().cloned();
            Ok(Arc::new(FixedSizeListArray::try_new_with_length(
                Arc::clone(item),
                *size,
                values,
                nulls,
                list.len(),
            )?))
        }
        (DataType::Map(..), DataType::Map(entries, sorted)) => {
            let map = array.as_map();
            let DataType::Struct(fields) = entries.data_type() else {
                return Err(ArrowError::CastError("entries of a map are structs".to_owned()));
            };
            // By place: writers call keys and values what they like.
            let parts = [map.keys(), map.values()].into_iter().zip(fields);
            let parts =
                parts.map(|(part, field)| widen(part, field.data_type())).collect::<Result<_, _>>()?;
            let pairs = StructArray::try_new(fields.clone(), parts, map.entries().nulls().cloned())?;
            let (offsets, nulls) = (map.offsets().clone(), map.nulls().cloned());
            Ok(Arc::new(MapArray::try_new(Arc::clone(entries), offsets, pairs, nulls, *sorted)?))
        }
        _ => cast_with_options(array, to, &CastOptions { safe: false, ..CastOptions::default() }),
    }
}

fn structs(array: &StructArray, fields: &Fields) -> Result<ArrayRef, ArrowError> {
    let part = |field: &FieldRef| match array.column_by_name(field.name()) {
        Some(part) => widen(part, field.data_type()),
        None => Ok(new_null_array(field.data_type(), array.len())),
    };
    let parts: Vec<ArrayRef> = fields.iter().map(part).collect::<Result<_, _>>()?;
    let nulls = array.nulls().cloned();
    Ok(Arc::new(StructArray::try_new_with_length(fields.clone(), parts, nulls, array.len())?))
}

fn lists<O: OffsetSizeTrait>(list: &GenericListArray<O>, item: &FieldRef) -> Result<ArrayRef, ArrowError> {
    let values = widen(list.values(), item.data_type())?;
    let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
    Ok(Arc::new(GenericListArray::<O>::try_new(Arc::clone(item), offsets, values, nulls)?))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::path::PathBuf;

    use arrow::array::{Float64Array, Int32Array, Int64Array, ListArray, StringArray};
    use arrow::datatypes::Int32Type;

    use super::*;

    struct One(Option<RecordBatch>);

    impl RowReader for One {
        fn next(&mut self) -> Result<Option<RecordBatch>> {
            Ok(self.0.take())
        }
    }

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, c)| (name, c, true)))
            .unwrap()
    }

    fn pair(n: ArrayRef) -> ArrayRef {
        Arc::new(StructArray::from(vec![(Arc::new(Field::new("x", n.data_type().clone(), true)), n)]))
    }

    fn list(n: i32) -> ArrayRef {
        let items = vec![Some(vec![Some(n), None]), None];
        Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(items))
    }

    /// Files of these rows, as one.
    fn fitted(files: &[RecordBatch]) -> Result<(SchemaRef, Vec<RecordBatch>)> {
        let paths: Vec<PathBuf> = (0..files.len()).map(|i| PathBuf::from(format!("{i}"))).collect();
        let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
        let schema = |path: &Path| files[path.to_string_lossy().parse::<usize>().unwrap()].schema();
        let columns = together(&paths, |path| Ok(schema(path)))?;
        let read = files.iter().map(|file| {
            let own = file.schema();
            let mut reader = Fitted::new(One(Some(file.clone())), &own, columns.clone(), "f".into())?;
            let read = reader.next()?.unwrap_or_else(|| RecordBatch::new_empty(columns.clone()));
            assert_eq!(read.schema().fields(), columns.fields());
            Ok(read)
        });
        let read = read.collect::<Result<Vec<_>>>()?;
        Ok((columns, read))
    }

    #[test]
    fn columns_are_found_by_name_and_widened_and_null_where_a_file_has_none() {
        let small: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None]));
        let big: ArrayRef = Arc::new(Int64Array::from(vec![1 << 40, 2]));
        let text: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
        let files = [
            batch(vec![
                ("id", Arc::clone(&small)),
                ("s", Arc::clone(&text)),
                ("p", pair(small)),
                ("l", list(1)),
            ]),
            batch(vec![("l", list(2)), ("new", text), ("p", pair(Arc::clone(&big))), ("id", big)]),
        ];
        let (columns, read) = fitted(&files).unwrap();
        let names: Vec<String> =
            columns.fields().iter().map(|f| format!("{}: {}", f.name(), print(f.data_type()))).collect();
        assert_eq!(names, ["id: int64", "s: utf8", "p: struct(x: int64)", "l: list(int32)", "new: utf8"]);
        assert_eq!(**read[0].column(0), Int64Array::from(vec![Some(1), None]));
        assert_eq!(**read[1].column(0), Int64Array::from(vec![1 << 40, 2]));
        assert_eq!(**read[0].column(2).as_struct().column(0), Int64Array::from(vec![Some(1), None]));
        assert_eq!((read[1].column(1).null_count(), read[0].column(4).null_count()), (2, 2));
        assert_eq!(read[1].column(3), files[1].column(0));
    }

    #[test]
    fn a_column_that_only_one_file_requires_may_be_null() {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        let strict = RecordBatch::try_from_iter([("n", Arc::clone(&numbers))]).unwrap();
        let notes = Field::new("n", DataType::Int64, false)
            .with_metadata(HashMap::from([("unit".to_owned(), "m".to_owned())]));
        let noted =
            RecordBatch::try_new(Arc::new(Schema::new(vec![notes])), vec![Arc::clone(&numbers)]).unwrap();
        let (columns, _) = fitted(&[strict.clone(), batch(vec![("n", numbers)])]).unwrap();
        assert!(columns.field(0).is_nullable());
        let (columns, _) = fitted(&[noted, strict]).unwrap();
        assert!(!columns.field(0).is_nullable() && columns.field(0).metadata().is_empty());
    }

    #[test]
    fn what_does_not_fit_is_listed_with_its_files_and_types() {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        let text: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
        let float: ArrayRef = Arc::new(Float64Array::from(vec![0.5]));
        let first = batch(vec![("a", Arc::clone(&numbers)), ("b", Arc::clone(&text))]);
        let second = batch(vec![("a", float), ("b", Arc::clone(&numbers)), ("c", numbers)]);
        let error = fitted(&[first.clone(), second.clone()]).unwrap_err();
        assert_eq!(error.code(), Code::S013);
        for part in ["column `a`: int64 in 0, float64 in 1", "column `b`: utf8 in 0, int64 in 1"] {
            assert!(error.to_string().contains(part), "{error}");
        }
        // A file that came after the columns were learnt.
        let late = Fitted::new(One(None), &second.schema(), first.schema(), "f".into()).err().unwrap();
        assert!(late.code() == Code::S013 && late.to_string().contains("`c`"), "{late}");
        let twice = batch(vec![("a", Arc::clone(first.column(1))), ("a", Arc::clone(first.column(1)))]);
        assert!(fitted(&[first, twice]).unwrap_err().to_string().contains("twice"));
    }
}
