//! The row view: a stage as a function of a row. The function's types are the declaration: the columns that it
//! reads ([`columns!`](crate::columns)), and by what it returns ([`Emit`]) its ports and computed columns.

use crate::batch::Batch;
use crate::bind::{Binder, PortId};
use crate::build::{Builder, Compute};
use crate::column::Values;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::mask::Mask;
use crate::output::Output;
use crate::read::{Date, Read, TimestampMs, TimestampNs, TimestampSec, TimestampUs};
use crate::stage::Stage;

/// A field of a [`columns!`](crate::columns) struct: a number, `bool`, `&str`, `&[u8]`, a date or a timestamp, or an
/// `Option` of one. A null where there is no `Option` rejects the row.
pub trait FieldIn<'a>: Sized {
    /// What the column is read as.
    type Column: Read + ?Sized;
    /// The row's value; `None` for a null that the field cannot hold.
    fn get(view: &<Self::Column as Read>::View<'a>, row: usize) -> Option<Self>;
}

/// A field of a [`computed!`](crate::computed) struct: a number, `bool`, `String`, `Vec<u8>`, a date or a timestamp,
/// or an `Option` of one.
pub trait FieldOut {
    /// What the column is computed as.
    type Column: Compute + ?Sized;
    /// Adds the value.
    fn push(self, builder: &mut Builder<Self::Column>);
}

macro_rules! fields {
    ($($type:ty)*) => {$(
        impl<'a> FieldIn<'a> for $type {
            type Column = $type;
            #[inline]
            fn get(view: &Values<'a, $type>, row: usize) -> Option<Self> {
                view.get(row)
            }
        }

        impl FieldOut for $type {
            type Column = $type;
            #[inline]
            fn push(self, builder: &mut Builder<$type>) {
                builder.push(self);
            }
        }
    )*};
}

fields! { i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 Date TimestampSec TimestampMs TimestampUs TimestampNs }

impl<'a> FieldIn<'a> for bool {
    type Column = bool;
    fn get(view: &<bool as Read>::View<'a>, row: usize) -> Option<Self> {
        view.get(row)
    }
}

impl FieldOut for bool {
    type Column = bool;
    fn push(self, builder: &mut Builder<bool>) {
        builder.push(self);
    }
}

impl<'a> FieldIn<'a> for &'a str {
    type Column = str;
    fn get(view: &<str as Read>::View<'a>, row: usize) -> Option<Self> {
        view.get(row)
    }
}

impl<'a> FieldIn<'a> for &'a [u8] {
    type Column = [u8];
    fn get(view: &<[u8] as Read>::View<'a>, row: usize) -> Option<Self> {
        view.get(row)
    }
}

impl FieldOut for String {
    type Column = str;
    fn push(self, builder: &mut Builder<str>) {
        builder.push(&self);
    }
}

impl FieldOut for Vec<u8> {
    type Column = [u8];
    fn push(self, builder: &mut Builder<[u8]>) {
        builder.push(&self);
    }
}

impl<'a, T: FieldIn<'a>> FieldIn<'a> for Option<T> {
    type Column = T::Column;
    #[inline]
    fn get(view: &<T::Column as Read>::View<'a>, row: usize) -> Option<Self> {
        Some(T::get(view, row))
    }
}

impl<T: FieldOut> FieldOut for Option<T> {
    type Column = T::Column;
    fn push(self, builder: &mut Builder<T::Column>) {
        match self {
            Some(value) => value.push(builder),
            None => builder.push_null(),
        }
    }
}

/// The columns that a row stage reads; made by [`columns!`](crate::columns).
pub trait RowIn: 'static {
    /// A row.
    type Row<'a>;
    /// The views of a batch's columns.
    type Views<'a>;
    /// Names the columns to the binder; gives their positions among those that are read.
    fn bind(binder: &mut Binder) -> Result<Vec<usize>>;
    /// The views of a batch.
    fn views<'a>(columns: &[usize], batch: &Batch<'a>) -> Result<Self::Views<'a>>;
    /// A row; an error names the column that is null.
    fn row<'a>(views: &Self::Views<'a>, row: usize) -> Result<Self::Row<'a>, &'static str>;
}

/// The columns that a row stage computes; made by [`computed!`](crate::computed).
pub trait RowOut {
    /// The handles of the columns.
    type Columns;
    /// Their builders.
    type Builders: Default;
    /// Declares the columns on a port.
    fn bind(port: &mut crate::Port<'_>) -> Self::Columns;
    /// Adds a row.
    fn push(self, builders: &mut Self::Builders);
    /// Hands the columns over.
    fn finish(
        columns: &Self::Columns,
        builders: Self::Builders,
        emission: &mut crate::Emission<'_>,
    ) -> Result<()>;
}

/// Declares the columns that a row stage reads, by name: `columns! { struct Request<'a> { latency_ms: f64, path:
/// Option<&'a str> } }`. Leave `<'a>` out where nothing is borrowed.
#[macro_export]
macro_rules! columns {
    ($(#[$meta:meta])* $vis:vis struct $name:ident { $($(#[$fmeta:meta])* $field:ident : $type:ty),* $(,)? }) => {
        $(#[$meta])*
        $vis struct $name { $($(#[$fmeta])* $field: $type),* }
        $crate::columns!(@impl $name, $name, $name, $($field : $type),*);
    };
    ($(#[$meta:meta])* $vis:vis struct $name:ident<'a> { $($(#[$fmeta:meta])* $field:ident : $type:ty),* $(,)? }) => {
        $(#[$meta])*
        $vis struct $name<'a> { $($(#[$fmeta])* $field: $type),* }
        $crate::columns!(@impl $name, $name<'static>, $name<'a>, $($field : $type),*);
    };
    (@impl $name:ident, $static:ty, $row:ty, $($field:ident : $type:ty),*) => {
        impl $crate::RowIn for $static {
            type Row<'a> = $row;
            type Views<'a> = ($(<<$type as $crate::FieldIn<'a>>::Column as $crate::Read>::View<'a>,)*);
            fn bind<'a>(binder: &'a mut $crate::Binder) -> $crate::Result<::std::vec::Vec<usize>> {
                Ok(::std::vec![$(
                    binder.read::<<$type as $crate::FieldIn<'a>>::Column>(stringify!($field))?.position()
                ),*])
            }
            fn views<'a>(columns: &[usize], batch: &$crate::Batch<'a>) -> $crate::Result<Self::Views<'a>> {
                let mut columns = columns.iter();
                Ok(($(
                    batch.column($crate::Column::<<$type as $crate::FieldIn<'a>>::Column>::at(columns.next()))?,
                )*))
            }
            fn row<'a>(views: &Self::Views<'a>, row: usize) -> $crate::Result<Self::Row<'a>, &'static str> {
                let ($($field,)*) = views;
                Ok($name { $($field: <$type as $crate::FieldIn<'a>>::get($field, row)
                    .ok_or(concat!("column `", stringify!($field), "` is null"))?),* })
            }
        }
    };
}

/// Declares the columns that a row stage computes: `computed! { struct Added { over_ms: f64, note: Option<String> } }`.
#[macro_export]
macro_rules! computed {
    ($(#[$meta:meta])* $vis:vis struct $name:ident { $($(#[$fmeta:meta])* $field:ident : $type:ty),* $(,)? }) => {
        $(#[$meta])*
        $vis struct $name { $($(#[$fmeta])* $field: $type),* }
        impl $crate::RowOut for $name {
            type Columns = ($($crate::Computed<<$type as $crate::FieldOut>::Column>,)*);
            type Builders = ($($crate::Builder<<$type as $crate::FieldOut>::Column>,)*);
            fn bind(port: &mut $crate::Port<'_>) -> Self::Columns {
                ($(port.compute(stringify!($field)),)*)
            }
            fn push(self, builders: &mut Self::Builders) {
                let ($($field,)*) = builders;
                $($crate::FieldOut::push(self.$field, $field);)*
            }
            fn finish(
                columns: &Self::Columns,
                builders: Self::Builders,
                emission: &mut $crate::Emission<'_>,
            ) -> $crate::Result<()> {
                // Both tuples are taken apart into fields of one struct's shape, because a macro cannot count.
                #[expect(non_camel_case_types, reason = "a column's type goes by its name")]
                struct Parts<$($field),*> { $($field: $field),* }
                let ($($field,)*) = *columns;
                let columns = Parts { $($field),* };
                let ($($field,)*) = builders;
                $(emission.set(columns.$field, $field)?;)*
                Ok(())
            }
        }
    };
}

/// What a row stage's function may return: it says what the ports are and what happens to the row.
///
/// - `bool`: kept with all its columns, or dropped;
/// - a [`computed!`](crate::computed) struct in `Some`: kept, with those columns added; `None`: dropped;
/// - `Vec` of one: a row for each, none drops it;
/// - a [`ports!`](crate::ports) value: to that port, with all its columns;
/// - `Result` of any of these: an error rejects the row, with its message as the reason.
pub trait Emit: Sized {
    /// What is kept of the binding.
    type Bound: 'static;
    /// What is collected over a batch.
    type Rows;
    /// Declares the ports.
    fn bind(binder: &mut Binder) -> Result<Self::Bound>;
    /// Begins a batch.
    fn begin(bound: &Self::Bound, len: usize) -> Self::Rows;
    /// Adds what the function returned for a row; an error is the reason of a rejection.
    fn row(self, row: usize, rows: &mut Self::Rows) -> Result<(), Error>;
    /// Ends a batch.
    fn finish(bound: &Self::Bound, rows: Self::Rows, output: &mut Output<'_>) -> Result<()>;
}

impl Emit for bool {
    type Bound = PortId;
    type Rows = Mask;
    fn bind(binder: &mut Binder) -> Result<PortId> {
        Ok(binder.port("out")?.pass_all().id())
    }
    fn begin(_: &PortId, len: usize) -> Mask {
        Mask::none(len)
    }
    #[inline]
    fn row(self, row: usize, rows: &mut Mask) -> Result<()> {
        rows.set(row, self);
        Ok(())
    }
    fn finish(bound: &PortId, rows: Mask, output: &mut Output<'_>) -> Result<()> {
        output.emit(*bound, rows);
        Ok(())
    }
}

impl<T: RowOut> Emit for Vec<T>
where
    T::Columns: 'static,
{
    type Bound = (PortId, T::Columns);
    type Rows = (Vec<u32>, T::Builders);
    fn bind(binder: &mut Binder) -> Result<Self::Bound> {
        let mut port = binder.port("out")?;
        let columns = T::bind(port.pass_all());
        Ok((port.id(), columns))
    }
    fn begin(_: &Self::Bound, _: usize) -> Self::Rows {
        Default::default()
    }
    fn row(self, row: usize, rows: &mut Self::Rows) -> Result<()> {
        for value in self {
            rows.0.push(row as u32);
            value.push(&mut rows.1);
        }
        Ok(())
    }
    fn finish(bound: &Self::Bound, rows: Self::Rows, output: &mut Output<'_>) -> Result<()> {
        let mut emission = output.emit(bound.0, rows.0);
        T::finish(&bound.1, rows.1, &mut emission)
    }
}

impl<T: RowOut> Emit for Option<T>
where
    T::Columns: 'static,
{
    type Bound = (PortId, T::Columns);
    type Rows = (Mask, T::Builders);
    fn bind(binder: &mut Binder) -> Result<Self::Bound> {
        <Vec<T> as Emit>::bind(binder)
    }
    fn begin(_: &Self::Bound, len: usize) -> Self::Rows {
        (Mask::none(len), T::Builders::default())
    }
    #[inline]
    fn row(self, row: usize, rows: &mut Self::Rows) -> Result<()> {
        if let Some(value) = self {
            rows.0.set(row, true);
            value.push(&mut rows.1);
        }
        Ok(())
    }
    fn finish(bound: &Self::Bound, rows: Self::Rows, output: &mut Output<'_>) -> Result<()> {
        let mut emission = output.emit(bound.0, rows.0);
        T::finish(&bound.1, rows.1, &mut emission)
    }
}

impl<T: Emit, E: Into<Error>> Emit for Result<T, E> {
    type Bound = T::Bound;
    type Rows = T::Rows;
    fn bind(binder: &mut Binder) -> Result<Self::Bound> {
        T::bind(binder)
    }
    fn begin(bound: &Self::Bound, len: usize) -> Self::Rows {
        T::begin(bound, len)
    }
    #[inline]
    fn row(self, row: usize, rows: &mut Self::Rows) -> Result<()> {
        self.map_err(Into::into)?.row(row, rows)
    }
    fn finish(bound: &Self::Bound, rows: Self::Rows, output: &mut Output<'_>) -> Result<()> {
        T::finish(bound, rows, output)
    }
}

/// The ports of a row stage that routes; made by [`ports!`](crate::ports).
pub trait Ports: Copy + 'static {
    /// Their names, kebab-case; the first is the default.
    const NAMES: &'static [&'static str];
    /// The position of this one.
    fn index(self) -> usize;
}

/// Declares the ports of a row stage that routes: `ports! { enum Side { Fast = "fast", Slow = "slow" } }`.
#[macro_export]
macro_rules! ports {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$vmeta:meta])* $port:ident = $text:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy)]
        $vis enum $name { $($(#[$vmeta])* $port),* }
        impl $crate::Ports for $name {
            const NAMES: &'static [&'static str] = &[$($text),*];
            fn index(self) -> usize {
                self as usize
            }
        }
        impl $crate::Emit for $name {
            type Bound = ::std::vec::Vec<$crate::PortId>;
            type Rows = ::std::vec::Vec<$crate::Mask>;
            fn bind(binder: &mut $crate::Binder) -> $crate::Result<Self::Bound> {
                <$name as $crate::Ports>::NAMES.iter().map(|name| Ok(binder.port(name)?.pass_all().id())).collect()
            }
            fn begin(bound: &Self::Bound, len: usize) -> Self::Rows {
                bound.iter().map(|_| $crate::Mask::none(len)).collect()
            }
            fn row(self, row: usize, rows: &mut Self::Rows) -> $crate::Result<()> {
                rows[self as usize].set(row, true);
                Ok(())
            }
            fn finish(bound: &Self::Bound, rows: Self::Rows, output: &mut $crate::Output<'_>) -> $crate::Result<()> {
                for (port, rows) in bound.iter().zip(rows) {
                    output.emit(*port, rows);
                }
                Ok(())
            }
        }
    };
}

/// A stage as a function of a row; made by [`row_stage!`](crate::row_stage).
pub trait RowStage: 'static {
    /// Its configuration.
    type Config: Config + 'static;
    /// The columns that it reads.
    type In: RowIn;
    /// What it returns.
    type Out: Emit;
    /// The function.
    fn row(config: &Self::Config, row: <Self::In as RowIn>::Row<'_>) -> Self::Out;
}

/// A bound row stage.
pub struct Rowwise<S: RowStage> {
    config: S::Config,
    columns: Vec<usize>,
    bound: <S::Out as Emit>::Bound,
}

impl<S: RowStage> Stage for Rowwise<S> {
    type Config = S::Config;

    fn bind(config: S::Config, binder: &mut Binder) -> Result<Self> {
        let columns = S::In::bind(binder)?;
        Ok(Self { config, columns, bound: S::Out::bind(binder)? })
    }

    fn process(&self, batch: &Batch<'_>, output: &mut Output<'_>) -> Result<()> {
        let views = S::In::views(&self.columns, batch)?;
        let mut rows = S::Out::begin(&self.bound, batch.len());
        for row in 0..batch.len() {
            let done = match S::In::row(&views, row) {
                Ok(input) => S::row(&self.config, input).row(row, &mut rows),
                Err(null) => Err(Error::new(null)),
            };
            if let Err(reason) = done {
                output.reject(row, reason.into_message());
            }
        }
        S::Out::finish(&self.bound, rows, output)
    }
}

/// Makes a function of a row the component's stage: `row_stage! { fn slow(config: &Config, request: Request) -> bool {
/// request.latency_ms > config.threshold_ms } }`. In unit tests the stage is `Rowwise<Function>`.
#[macro_export]
macro_rules! row_stage {
    ($(#[$meta:meta])* fn $name:ident($config:ident: &$config_type:ty, $row:ident: $row_type:ty) -> $out:ty $body:block) => {
        /// The stage that the function is; it has no values.
        enum Function {}
        impl $crate::RowStage for Function {
            type Config = $config_type;
            type In = $row_type;
            type Out = $out;
            fn row($config: &Self::Config, $row: <$row_type as $crate::RowIn>::Row<'_>) -> $out $body
        }
        $crate::export!($crate::Rowwise<Function>);
    };
}

#[cfg(test)]
mod tests {
    // The macros name the crate as stages do.
    use crate as pipe_stage;
    use crate::testing::{Input, run};
    use crate::{RowStage, Rowwise};

    pipe_stage::columns! { struct Request<'a> { ms: f64, path: Option<&'a str> } }
    pipe_stage::computed! { struct Added { over: f64, note: Option<String> } }
    pipe_stage::columns! { struct Number { n: i64 } }
    pipe_stage::computed! { struct Part { part: i64 } }
    pipe_stage::ports! { enum Side { Even = "even", Odd = "odd-numbers" } }

    enum Adds {}
    impl RowStage for Adds {
        type Config = ();
        type In = Request<'static>;
        type Out = Result<Option<Added>, crate::Error>;
        fn row(_: &(), row: Request<'_>) -> Self::Out {
            if row.ms < 0.0 {
                crate::bail!("{} ms", row.ms);
            }
            Ok((row.ms > 1.0).then(|| Added { over: row.ms - 1.0, note: row.path.map(str::to_uppercase) }))
        }
    }

    enum Explodes {}
    impl RowStage for Explodes {
        type Config = ();
        type In = Number;
        type Out = Vec<Part>;
        fn row(_: &(), row: Number) -> Vec<Part> {
            (0..row.n).map(|part| Part { part }).collect()
        }
    }

    enum Sides {}
    impl RowStage for Sides {
        type Config = ();
        type In = Number;
        type Out = Side;
        fn row(_: &(), row: Number) -> Side {
            if row.n % 2 == 0 { Side::Even } else { Side::Odd }
        }
    }

    #[test]
    fn computed_columns_go_with_their_rows_and_errors_reject() {
        let input = Input::new()
            .column::<f64>("ms", [Some(3.0), Some(0.0), Some(-1.0), None, Some(2.0)])
            .column::<str>("path", [Some("a"), Some("b"), None, None, None]);
        let results = run::<Rowwise<Adds>>(&input, "{}").unwrap();
        assert_eq!(results.rows("out"), [0, 4]);
        assert_eq!(results.columns("out"), ["ms", "path", "over", "note"]);
        let over = results.computed::<f64, _>("out", "over", |v| v.values().to_vec());
        assert_eq!(over.unwrap(), [2.0, 1.0]);
        let note = results.computed::<str, _>("out", "note", |v| {
            v.iter().map(|s| s.map(str::to_owned)).collect::<Vec<_>>()
        });
        assert_eq!(note.unwrap(), [Some("A".to_owned()), None]);
        assert_eq!(results.rejections, [(2, "-1 ms".to_owned()), (3, "column `ms` is null".to_owned())]);
    }

    #[test]
    fn a_row_becomes_many_or_goes_to_a_port() {
        let input = Input::new().column::<i32>("n", [Some(2), Some(0), Some(1)]);
        let results = run::<Rowwise<Explodes>>(&input, "{}").unwrap();
        assert_eq!(results.rows("out"), [0, 0, 2]);
        assert_eq!(results.computed::<i64, _>("out", "part", |v| v.values().to_vec()).unwrap(), [0, 1, 0]);
        let results = run::<Rowwise<Sides>>(&input, "{}").unwrap();
        assert_eq!((results.rows("even"), results.rows("odd-numbers")), (&[0, 1][..], &[2][..]));
    }

    #[test]
    fn a_missing_column_or_another_type_is_named_with_what_there_is() {
        let input = Input::new().column::<str>("n", [Some("x")]).column::<i8>("m", [Some(1)]);
        let error = run::<Rowwise<Sides>>(&input, "{}").unwrap_err().to_string();
        assert_eq!(error, "column `n` is utf8; an int64 column (or a smaller integer) is needed");
        let error = run::<Rowwise<Adds>>(&input, "{}").unwrap_err().to_string();
        assert_eq!(error, "there is no column `ms`; the input has n: utf8, m: int8");
        let error = run::<Rowwise<Sides>>(&input, r#"{"a":1}"#).unwrap_err().to_string();
        assert!(error.contains("unknown key `a`"), "{error}");
    }
}
