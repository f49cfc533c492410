//! Whether all is over, and whether it is as it must be.

use legwork_core::spec::LostRunnerPolicy;
use legwork_core::task::{Outcome, TaskState};
use legwork_core::{AttemptId, FailureClass};
use legwork_store::{AttemptRecord, Ending};

use crate::runner::{Runner, result_of};
use crate::world::{World, words};

impl World<'_> {
    pub(crate) fn is_quiet(&self) -> bool {
        self.to_submit == 0 && self.runners.iter().all(Runner::is_idle)
    }

    pub(crate) async fn is_over(&self) -> Result<bool, String> {
        if !self.healed || self.to_submit > 0 || self.on_the_way > 0 || !self.runners.iter().all(Runner::is_idle) {
            return Ok(false);
        }
        for task in &self.tasks {
            let task = self.store.task(*task).await.map_err(words)?.ok_or("a task is gone")?;
            if !matches!(task.state, TaskState::Finished { .. }) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(crate) async fn judge(&mut self) -> Result<(), String> {
        if let Some((attempt, times)) = self.executed.iter().find(|(_, times)| **times > 1) {
            return Err(format!("{attempt} was executed {times} times"));
        }
        for id in self.tasks.clone() {
            let task = self.store.task(id).await.map_err(words)?.ok_or("a task is gone")?;
            let TaskState::Finished { attempt, outcome } = task.state else { return Err(format!("{id} has not finished")) };
            let attempts = self.store.attempts(id).await.map_err(words)?;
            for record in &attempts {
                let of = record.id;
                let ran = self.executed.contains_key(&of);
                let reported = is_reported(record);
                if !ran && record.outcome == Some(Outcome::Completed) {
                    return Err(format!("{of} completed and was never executed"));
                }
                let comments = self.store.comments(id, Some(of.attempt)).await.map_err(words)?.len();
                if comments > 1 || (reported && ran && comments != 1) {
                    return Err(format!("{of} has {comments} comments and said one"));
                }
                if record.outcome == Some(Outcome::Failed(FailureClass::RemovedByOthers)) && !self.removed.contains(&of) {
                    return Err(format!("{of} is said to be removed by others, and nobody did that"));
                }
            }
            let more = attempts.iter().filter(|record| is_reported(record)).count();
            if more > 1 {
                self.tally.count("retried after its class");
            }
            match outcome {
                Outcome::Completed => {
                    let of = AttemptId { task: id, attempt: attempt.ok_or("completed without an attempt")? };
                    let kept =
                        self.store.result_chunk(of, 0).await.map_err(words)?.ok_or_else(|| format!("{of} has no result"))?;
                    if kept.bytes != result_of(of).as_bytes() {
                        return Err(format!("{of} has the result of another attempt"));
                    }
                    self.tally.count("task completed");
                }
                Outcome::Failed(FailureClass::Aborted) if self.aborted.contains(&id) => self.tally.count("task aborted"),
                Outcome::Failed(FailureClass::RemovedByOthers) => self.tally.count("task failed: removed by others"),
                Outcome::Failed(FailureClass::RunnerLost) if matches!(task.spec.lost_runner, LostRunnerPolicy::Fail { .. }) => {
                    self.tally.count("task failed: runner lost");
                }
                Outcome::Failed(class) => return Err(format!("{id} failed with {class}, for which there is no reason")),
            }
        }
        Ok(())
    }

    pub(crate) async fn describe(&self) -> String {
        let mut text = format!("{:?}\n{} messages are on their way\n", self.runners, self.on_the_way);
        for task in &self.tasks {
            text.push_str(&format!("{:?}\n", self.store.task(*task).await.map(|task| task.map(|task| task.state))));
        }
        text
    }
}

fn is_reported(record: &AttemptRecord) -> bool {
    matches!(record.ended, Some((_, Ending::Reported)))
}
