//! What happened how often.

use std::collections::BTreeMap;

/// What happened how often.
#[derive(Debug, Default)]
pub(crate) struct Tally(BTreeMap<&'static str, u64>);

impl Tally {
    const WANTED: &'static [&'static str] = &[
        "task completed",
        "task aborted",
        "request lost",
        "answer lost",
        "message repeated",
        "message a day late",
        "late confirmation refused",
        "late events refused",
        "runner killed: accepted",
        "runner killed: creating",
        "runner killed: running",
        "runner killed: stopping",
        "runner killed: result_taken",
        "runner killed: acknowledged",
        "server away",
        "server away for a day",
        "clock of the server jumped",
        "container removed by others",
        "offer expired",
        "failed by the lost-runner policy",
        "run elsewhere by the lost-runner policy",
        "superseded attempt dropped",
        "retried after its class",
    ];

    pub(crate) fn count(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            *self.0.entry(what).or_default() += count;
        }
    }

    pub(crate) fn missing(&self) -> Vec<&'static str> {
        Self::WANTED.iter().filter(|what| !self.0.contains_key(*what)).copied().collect()
    }

    pub(crate) fn print(&self, title: &str) {
        use std::io::Write as _;
        let mut text = format!("simulation: {title}\n");
        for (what, count) in &self.0 {
            text.push_str(&format!("  {count:>8} × {what}\n"));
        }
        std::io::stderr().write_all(text.as_bytes()).unwrap();
    }
}
