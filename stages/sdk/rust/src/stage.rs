//! The stage trait, and the glue between it and the contract.

use crate::batch::Batch;
use crate::bind::{Binder, Bound};
use crate::bindings::exports::pipe::stage::transform;
use crate::bindings::pipe::stage::arrow;
use crate::config::Config;
use crate::error::Result;
use crate::output::Output;
use crate::schema::Schema;

/// A stage: bound once to its configuration and the schema of its input, then called for each batch.
///
/// `process` takes `&self` because a stage is a pure function of its binding and the batch: the host may drop an
/// instance at any time, replay a batch, or split it.
pub trait Stage: Sized + 'static {
    /// Its configuration; `()` for none.
    type Config: Config;

    /// Says which columns are read and what the ports look like. An error refuses the pipeline.
    fn bind(config: Self::Config, binder: &mut Binder) -> Result<Self>;

    /// Runs on a batch. An error fails the whole batch; [`Output::reject`] refuses single rows.
    fn process(&self, batch: &Batch<'_>, output: &mut Output<'_>) -> Result<()>;
}

/// A bound stage.
#[derive(Debug)]
pub struct Instance<S> {
    stage: S,
    bound: Bound,
}

impl<S: Stage> Instance<S> {
    /// What the stage says of itself.
    pub fn describe(name: &str, version: &str, summary: &str) -> transform::Description {
        transform::Description {
            name: name.into(),
            version: version.into(),
            summary: summary.into(),
            config_schema: S::Config::schema(),
            sdk: concat!("pipe-stage (Rust) ", env!("CARGO_PKG_VERSION")).into(),
        }
    }

    /// Binds a stage.
    pub fn bind(input: arrow::Schema, config: &str) -> Result<(Self, transform::Binding), String> {
        crate::log::log_panics();
        let bind = || {
            let mut binder = Binder::new(Schema::from_fields(input.fields));
            let stage = S::bind(S::Config::parse(config)?, &mut binder)?;
            let (binding, bound) = binder.finish()?;
            Ok((Self { stage, bound }, binding))
        };
        bind().map_err(crate::Error::into_message)
    }

    /// Runs on a batch.
    pub fn process(&self, input: &arrow::RecordBatch) -> Result<transform::Outcome, String> {
        let process = || {
            let batch = Batch::new(&self.bound, input)?;
            let mut output = Output::new(&self.bound, batch.len());
            self.stage.process(&batch, &mut output)?;
            output.finish()
        };
        process().map_err(crate::Error::into_message)
    }
}

/// Makes a type that implements [`Stage`](crate::Stage) the component's stage. Name, version and summary come from
/// the crate's `Cargo.toml`.
#[macro_export]
macro_rules! export {
    ($stage:ty) => {
        #[cfg(target_family = "wasm")]
        mod pipe_stage_component {
            #![expect(unsafe_code, reason = "generated exports")]
            use super::*;
            use $crate::bindings::exports::pipe::stage::transform;

            ::std::thread_local! {
                static INSTANCE: ::std::cell::OnceCell<$crate::Instance<$stage>> = const { ::std::cell::OnceCell::new() };
            }

            struct Component;

            impl transform::Guest for Component {
                fn describe() -> transform::Description {
                    $crate::Instance::<$stage>::describe(
                        env!("CARGO_PKG_NAME"),
                        env!("CARGO_PKG_VERSION"),
                        env!("CARGO_PKG_DESCRIPTION"),
                    )
                }

                fn bind(input: transform::Schema, config: ::std::string::String) -> Result<transform::Binding, ::std::string::String> {
                    let (instance, binding) = $crate::Instance::<$stage>::bind(input, &config)?;
                    INSTANCE.with(|slot| slot.set(instance)).map_err(|_| "the stage is bound already")?;
                    Ok(binding)
                }

                fn process(input: transform::RecordBatch) -> Result<transform::Outcome, ::std::string::String> {
                    INSTANCE.with(|slot| slot.get().ok_or("the stage is not bound yet")?.process(&input))
                }
            }

            $crate::bindings::export!(Component with_types_in $crate::bindings);
        }
    };
}
