//! What the server counts and measures, for Prometheus.
//!
//! The recorder is the server's own and not the process's: `legwork dev` runs a server and a runner in one process.

use std::time::Duration;

use metrics::{Counter, Histogram, Key, KeyName, Label, Level, Metadata, Recorder as _, SharedString, Unit};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

const BUCKETS: [f64; 14] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0];
static METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, Some(module_path!()));

/// The server's counters.
pub(crate) struct Metrics {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    pub(crate) tasks_created: Counter,
    pub(crate) offers: Counter,
    pub(crate) confirmations: Counter,
    pub(crate) results: Counter,
    pub(crate) superseded: Counter,
    pub(crate) log_bytes: Counter,
    /// From a claim being begun until its polls were answered.
    pub(crate) dispatch: Histogram,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let builder = PrometheusBuilder::new();
        let builder = match builder.set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &BUCKETS) {
            Ok(builder) => builder,
            // Only an empty list of buckets is refused.
            Err(_) => PrometheusBuilder::new(),
        };
        let recorder = builder.build_recorder();
        let counter = |name: &'static str, description: &'static str| {
            recorder.describe_counter(KeyName::from_const_str(name), None, SharedString::const_str(description));
            recorder.register_counter(&Key::from_static_name(name), &METADATA)
        };
        let histogram = |name: &'static str, description: &'static str| {
            recorder.describe_histogram(KeyName::from_const_str(name), Some(Unit::Seconds), SharedString::const_str(description));
            recorder.register_histogram(&Key::from_static_name(name), &METADATA)
        };
        Self {
            handle: recorder.handle(),
            tasks_created: counter("legwork_tasks_created_total", "Tasks that were created."),
            offers: counter("legwork_offers_total", "Attempts that were offered to runners."),
            confirmations: counter("legwork_confirmations_total", "Attempts that runners have confirmed."),
            results: counter("legwork_results_total", "Results of attempts that were accepted."),
            superseded: counter("legwork_superseded_total", "Messages of runners that were refused as superseded."),
            log_bytes: counter("legwork_log_bytes_total", "Bytes of log that were accepted."),
            dispatch: histogram("legwork_dispatch_seconds", "Time that handing out work took, one round."),
            recorder,
        }
    }

    /// Measures a request.
    pub(crate) fn request(&self, method: &str, route: &str, status: u16, took: Duration) {
        let labels = vec![
            Label::new("method", method.to_owned()),
            Label::new("route", route.to_owned()),
            Label::new("status", status.to_string()),
        ];
        let key = Key::from_parts("legwork_http_request_seconds", labels);
        self.recorder.register_histogram(&key, &METADATA).record(took.as_secs_f64());
    }

    /// Sets a number that was read from elsewhere.
    pub(crate) fn gauge(&self, name: &'static str, label: Option<(&'static str, &str)>, value: f64) {
        let labels: Vec<Label> = label.into_iter().map(|(key, value)| Label::new(key, value.to_owned())).collect();
        self.recorder.register_gauge(&Key::from_parts(name, labels), &METADATA).set(value);
    }

    /// Everything, as Prometheus reads it.
    pub(crate) fn render(&self) -> String {
        self.handle.render()
    }

    /// Tidies up; to be called from time to time.
    pub(crate) fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}
