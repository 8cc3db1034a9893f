//! Keeps the requests that failed or were slow, and marks the slowest: a filter and a computed column in one stage.

use pipe_stage::{Batch, Binder, Builder, Column, Computed, Output, PortId, Result, Stage};

pipe_stage::config! {
/// What is bad, and what is slow.
pub struct Config {
    /// Requests with this status or a higher one are kept.
    failed_from: i64,
    /// Milliseconds; slower requests are kept.
    kept_above_ms: f64,
    /// Milliseconds; slower requests are marked.
    slow_above_ms: f64,
} }

/// The bound stage.
pub struct BadRequests {
    config: Config,
    status: Column<i64>,
    latency: Column<f64>,
    slow: Computed<bool>,
    port: PortId,
}

impl Stage for BadRequests {
    type Config = Config;

    fn bind(config: Config, binder: &mut Binder) -> Result<Self> {
        let (status, latency) = (binder.read("status")?, binder.read("latency_ms")?);
        let mut port = binder.port("out")?;
        let slow = port.pass_all().compute("slow");
        let port = port.id();
        Ok(Self { config, status, latency, slow, port })
    }

    fn process(&self, batch: &Batch<'_>, output: &mut Output<'_>) -> Result<()> {
        let (status, latency) = (batch.column(self.status)?, batch.column(self.latency)?);
        let mut kept = status.mask(|status| status >= self.config.failed_from);
        kept.or(&latency.mask(|latency| latency > self.config.kept_above_ms));
        let mut slow = Builder::<bool>::new();
        for row in kept.rows() {
            slow.push_option(latency.get(row).map(|latency| latency > self.config.slow_above_ms));
        }
        output.emit(self.port, kept).set(self.slow, slow)?;
        Ok(())
    }
}

pipe_stage::export!(BadRequests);

#[cfg(test)]
mod tests {
    use super::*;
    use pipe_stage::testing::{Input, run};

    #[test]
    fn failed_and_slow_requests_are_kept_and_the_slowest_marked() {
        let input = Input::new()
            .column::<i64>("status", [Some(200), Some(500), None, Some(404), None])
            .column::<f64>("latency_ms", [Some(251.0), None, Some(250.0), Some(100.0), None]);
        let config = r#"{"failed_from": 500, "kept_above_ms": 100, "slow_above_ms": 250}"#;
        let results = run::<BadRequests>(&input, config).unwrap();
        assert_eq!(results.rows("out"), [0, 1, 2]);
        assert!(results.rejections.is_empty());
    }
}
