//! Keeps the requests slower than a threshold.

pipe_stage::config! { struct Config {
    /// Milliseconds; slower requests are kept.
    threshold_ms: f64,
} }
pipe_stage::columns! { struct Request { latency_ms: f64 } }
pipe_stage::row_stage! {
    fn slow(config: &Config, request: Request) -> bool {
        request.latency_ms > config.threshold_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipe_stage::testing::{Input, run};

    #[test]
    fn only_slow_requests_are_kept_and_a_null_is_rejected() {
        let input = Input::new().column::<f64>("latency_ms", [Some(10.0), Some(251.0), None]);
        let results = run::<pipe_stage::Rowwise<Function>>(&input, r#"{"threshold_ms": 250}"#).unwrap();
        assert_eq!(results.rows("out"), [1]);
        assert_eq!(results.rejections, [(2, "column `latency_ms` is null".to_owned())]);
    }
}
