//! What a runner has, as the server sees it: asked with every poll.

use std::collections::HashMap;

use legwork_core::limits::INLINE_INPUT_BYTES;
use legwork_core::task::TaskState;
use legwork_core::{AttemptId, AttemptNumber, RunnerId, TaskId};
use legwork_database::args;

use crate::attempts::Ending;
use crate::error::{InRow, StoreError};
use crate::queue::{Claimed, Offer};
use crate::rows::{AbortMark, Standing, Task, standing_columns, task_columns};
use crate::sql::{Stored, list};
use crate::store::Store;

/// An attempt that a runner was offered or that it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldAttempt {
    /// Which attempt.
    pub id: AttemptId,
    /// True if the runner has not confirmed it yet.
    pub offered: bool,
    /// Who wants its end, if somebody does.
    pub abort: Option<AbortMark>,
}

/// Whether the server still wants something of an attempt that a runner has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The runner was offered it or runs it, or has reported it and may still be sending its log.
    Yes,
    /// It was replaced, or never was this runner's: the runner is to stop and remove it.
    No,
}

impl Store {
    /// Everything that a runner was offered or that it runs.
    pub async fn held_attempts(&self, runner: RunnerId) -> Result<Vec<HeldAttempt>, StoreError> {
        let sql = concat!("SELECT ", standing_columns!(), " FROM tasks WHERE runner = $1 ORDER BY id");
        let rows = self.database.fetch_all(sql, args![runner.stored()]).await?;
        let mut held = Vec::with_capacity(rows.len());
        for row in &rows {
            let Standing { id, state, abort, .. } = Standing::read(row)?;
            let (attempt, offered) = match state {
                TaskState::Offered { attempt, .. } => (attempt, true),
                TaskState::Running { attempt, .. } => (attempt, false),
                TaskState::Queued { .. } | TaskState::Finished { .. } => continue,
            };
            held.push(HeldAttempt { id: AttemptId { task: id, attempt }, offered, abort });
        }
        Ok(held)
    }

    /// The offers that stand for these attempts of a runner, once more: the answer that carried them did not arrive.
    pub async fn offers_of(&self, runner: RunnerId, attempts: &[AttemptId]) -> Result<Vec<Offer>, StoreError> {
        let dialect = self.database.dialect();
        let sql = dialect.choose(
            concat!(
                "SELECT ",
                task_columns!(),
                ", tasks.input_chunks, task_inputs.body FROM tasks \
                 JOIN task_inputs ON task_inputs.task = tasks.id AND task_inputs.sequence = 0 \
                 WHERE tasks.state = 'offered' AND tasks.runner = $2 AND tasks.id IN (SELECT value FROM json_each($1))"
            ),
            concat!(
                "SELECT ",
                task_columns!(),
                ", tasks.input_chunks, task_inputs.body FROM tasks \
                 JOIN task_inputs ON task_inputs.task = tasks.id AND task_inputs.sequence = 0 \
                 WHERE tasks.state = 'offered' AND tasks.runner = $2 AND tasks.id = ANY (string_to_array($1, ','))"
            ),
        );
        let ids = list(dialect, attempts.iter().map(|attempt| attempt.task));
        let mut offers = Vec::with_capacity(attempts.len());
        for row in self.database.fetch_all(sql, args![ids, runner.stored()]).await? {
            let task = Task::read(&row)?;
            let TaskState::Offered { until, .. } = task.state else { continue };
            let read = || Ok((row.count("input_chunks")?, row.get::<Vec<u8>>("body")?));
            let (chunks, body) = read().in_row("tasks", task.id)?;
            let input = Some(body).filter(|_| task.input_bytes <= INLINE_INPUT_BYTES);
            offers.push(self.open_offer(Claimed { task, chunks, input }, until)?);
        }
        Ok(offers)
    }

    /// Whether these attempts, which a runner says that it has, are wanted of it.
    pub async fn wanted(&self, runner: RunnerId, attempts: &[AttemptId]) -> Result<Vec<(AttemptId, Wanted)>, StoreError> {
        let dialect = self.database.dialect();
        let sql = dialect.choose(
            "SELECT task, number, ending FROM attempts WHERE runner = $2 AND task IN (SELECT value FROM json_each($1))",
            "SELECT task, number, ending FROM attempts WHERE runner = $2 AND task = ANY (string_to_array($1, ','))",
        );
        let ids = list(dialect, attempts.iter().map(|attempt| attempt.task));
        let mut endings: HashMap<AttemptId, Option<Ending>> = HashMap::new();
        for row in self.database.fetch_all(sql, args![ids, runner.stored()]).await? {
            let read = || {
                let task: TaskId = row.parse("task")?;
                let id = AttemptId { task, attempt: AttemptNumber(row.count("number")?) };
                Ok((id, row.parse_optional("ending")?))
            };
            let (id, ending) = read().in_row("attempts", runner)?;
            endings.insert(id, ending);
        }
        let wanted = |id: &AttemptId| match endings.get(id) {
            Some(None | Some(Ending::Reported)) => Wanted::Yes,
            Some(Some(Ending::OfferExpired | Ending::AbortedBeforeStart | Ending::RunnerLost)) | None => Wanted::No,
        };
        Ok(attempts.iter().map(|id| (*id, wanted(id))).collect())
    }
}
