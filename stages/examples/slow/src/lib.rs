//! Keeps the requests slower than a threshold.

pipe_stage::config! {
    /// The configuration.
    pub struct Config {
        /// Milliseconds; slower requests are kept.
        threshold_ms: f64,
    }
}
pipe_stage::columns! { /** What is read. */ pub struct Request { latency_ms: f64 } }

pipe_stage::row_stage! {
    fn slow(config: &Config, request: Request) -> bool {
        request.latency_ms > config.threshold_ms
    }
}
