//! What this runner counts, for `/metrics`. Its own recorder, so that a server in the same process counts apart.

use legwork_core::task::Outcome;
use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder as _};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

/// Counters and gauges.
pub(crate) struct Metrics {
    recorder: PrometheusRecorder,
    pub(crate) slots_busy: Gauge,
    pub(crate) slots: Gauge,
    pub(crate) outbox_depth: Gauge,
    pub(crate) journal_seconds: Histogram,
    pub(crate) result_bytes: Counter,
    pub(crate) log_bytes: Counter,
}

const META: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);

impl Metrics {
    pub(crate) fn new() -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        let gauge = |name: &'static str| recorder.register_gauge(&Key::from_static_name(name), &META);
        let counter = |name: &'static str| recorder.register_counter(&Key::from_static_name(name), &META);
        Self {
            slots_busy: gauge("legwork_runner_slots_busy"),
            slots: gauge("legwork_runner_slots"),
            outbox_depth: gauge("legwork_runner_outbox_events"),
            journal_seconds: recorder.register_histogram(&Key::from_static_name("legwork_runner_journal_seconds"), &META),
            result_bytes: counter("legwork_runner_result_bytes_total"),
            log_bytes: counter("legwork_runner_log_bytes_total"),
            recorder,
        }
    }

    /// Counts an attempt's end by its outcome.
    pub(crate) fn attempt_ended(&self, outcome: Outcome) {
        let outcome = match outcome {
            Outcome::Completed => "completed",
            Outcome::Failed(class) => class.as_str(),
        };
        let key = Key::from_parts("legwork_runner_attempts_total", vec![Label::from_static_parts("outcome", outcome)]);
        self.recorder.register_counter(&key, &META).increment(1);
    }

    pub(crate) fn handle(&self) -> PrometheusHandle {
        self.recorder.handle()
    }
}
