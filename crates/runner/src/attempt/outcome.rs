//! From everything that was seen to the journaled verdict.

use std::fs::File;

use legwork_core::event::{AttemptEvent, Phase, Report, ResultBytes};
use legwork_core::task::Outcome;
use legwork_core::verdict::{Evidence, Exit, Observation, ResultSeen, StopCause, Verdict, judge};
use legwork_core::{Failure, FailureClass, limits};

use super::watch::{ResultFileSeen, Taken};
use super::{Course, Dropped};
use crate::delivery::{chunks_of, read_small_result};
use crate::journal::Change;

/// Everything that was seen of an attempt.
pub(super) struct Seen {
    pub(super) taken: Option<Taken>,
    pub(super) exit: Option<Exit>,
    pub(super) evidence: Option<Evidence>,
    pub(super) stopped_for: Option<StopCause>,
    pub(super) last_lines: String,
}

/// A verdict and what is reported with it.
pub(super) struct Judged {
    report: Report,
    chunks: u32,
}

impl Judged {
    /// A failure for which nobody had to look at an executor.
    pub(super) fn failure(failure: &Failure, message: String, timings: Vec<(String, u64)>) -> Self {
        let report = Report {
            outcome: Outcome::Failed(failure.class),
            message: cut(message),
            exit: None,
            result_exit_code: None,
            result: ResultBytes::Missing,
            evidence: None,
            timings,
        };
        Self { report, chunks: 0 }
    }
}

impl Course {
    pub(super) async fn judge(&mut self, seen: Seen) -> Judged {
        let Seen { taken, exit, evidence, stopped_for, last_lines } = seen;
        let (result, bytes, mut words) = match taken {
            None | Some(Taken::Missing) => (ResultSeen::Missing, None, None),
            Some(Taken::File(ResultFileSeen::Complete { exit_code, message, plaintext_bytes })) => {
                (ResultSeen::Valid { exit_code, message: self.patterns.mask_text(&message) }, Some(plaintext_bytes), None)
            }
            Some(Taken::File(ResultFileSeen::Unreadable { detail })) => {
                let detail = self.patterns.mask_text(&detail);
                (ResultSeen::Unreadable { detail: detail.clone() }, None, Some(detail))
            }
            Some(Taken::File(ResultFileSeen::TooLarge { bytes, limit })) => (ResultSeen::TooLarge { bytes, limit }, None, None),
        };
        let (result, chunks, trouble) = match bytes {
            None => (result, 0, None),
            Some(bytes) if bytes <= limits::INLINE_RESULT_BYTES => (result, 0, None),
            // It is journaled as taken, so it must be on disk.
            Some(bytes) => match self.sync_result().await {
                Ok(()) => (result, chunks_of(bytes), None),
                Err(error) => (result, 0, Some(error)),
            },
        };
        let (kept, trouble) = match bytes {
            _ if trouble.is_some() => (ResultBytes::Missing, trouble),
            None => (ResultBytes::Missing, None),
            Some(bytes) if chunks > 0 => (ResultBytes::Chunked { bytes, chunks }, None),
            Some(_) => match read_small_result(&self.context.spool.result(self.id), &self.work.session_key) {
                Ok(json) => (ResultBytes::Inline { json }, None),
                Err(error) => (ResultBytes::Missing, Some(error)),
            },
        };
        let result_exit_code = match &result {
            ResultSeen::Valid { exit_code, .. } => Some(*exit_code),
            _ => None,
        };
        if let Some(evidence) = &evidence {
            words = Some(format!("{evidence:?}"));
        } else if !last_lines.is_empty() {
            words = Some(format!("last lines of the log:\n{last_lines}"));
        }
        let seen = Observation { result, result_before_signal: false, stopped_for, exit, evidence };
        let verdict = match trouble {
            None => judge(&seen),
            Some(error) => Verdict {
                outcome: Outcome::Failed(FailureClass::RunnerFull),
                message: format!("the runner could not keep the plugin's result: {error}"),
            },
        };
        self.timings.spent_on("verdict");
        let report = Report {
            outcome: verdict.outcome,
            message: cut(self.patterns.mask_text(&verdict.message)),
            exit: seen.exit,
            result_exit_code,
            result: kept,
            evidence: words.map(|words| cut(self.patterns.mask_text(&words))),
            timings: self.timings.list(),
        };
        Judged { report, chunks }
    }

    /// Journals the verdict. From here on nothing changes it.
    pub(super) async fn journal_verdict(&mut self, judged: Judged) -> Result<(), Dropped> {
        let Judged { report, chunks } = judged;
        let (context, id) = (self.context.clone(), self.id);
        context.metrics.attempt_ended(report.outcome);
        tracing::info!(attempt = %id, outcome = ?report.outcome, message = report.message, "the attempt has ended");
        let mut events = Vec::new();
        if chunks > 0 {
            context.outbox.hold_result(id);
            events.push(AttemptEvent::Phase { phase: Phase::Reporting, detail: format!("{chunks} MiB of result") });
        }
        events.push(AttemptEvent::Finished(report));
        context
            .durable("the verdict", || context.journal.change(id, Change::ResultTaken { result_chunks: chunks }, &events))
            .await
            .map_err(|error| self.not_journaled(&error))?;
        context.live.judged(id);
        // Nobody listens if the attempt is not wanted any more.
        let _ = self.result_chunks.send(Some(chunks));
        context.outbox.news();
        Ok(())
    }

    async fn sync_result(&self) -> std::io::Result<()> {
        let path = self.context.spool.result(self.id);
        self.context.metrics.result_bytes.increment(std::fs::metadata(&path)?.len());
        tokio::task::spawn_blocking(move || File::open(path)?.sync_all())
            .await
            .unwrap_or_else(|error| Err(std::io::Error::other(error)))
    }
}

fn cut(mut text: String) -> String {
    if text.len() > limits::MESSAGE_BYTES {
        text.truncate(text.floor_char_boundary(limits::MESSAGE_BYTES - 16));
        text.push_str(" [cut]");
    }
    text
}
