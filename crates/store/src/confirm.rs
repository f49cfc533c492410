//! A runner says that it has journaled what it was offered.

use std::collections::HashMap;

use legwork_core::task::{Refusal, TaskEvent};
use legwork_core::{AttemptId, Epoch, RunnerId, TaskId, Timestamp};
use legwork_database::{Tx, args};

use crate::error::{InRow, StoreError};
use crate::rows::{Standing, standing_columns};
use crate::sql::{Stored, list, listed};
use crate::store::Store;

/// Why what a runner sends about an attempt is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The attempt is not this runner's any more, or in no state to take it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// There is no such attempt.
    #[error("there is no such attempt")]
    Missing,
}

struct Confirmation {
    attempts: Vec<AttemptId>,
    runner: RunnerId,
    epoch: Epoch,
    now: Timestamp,
}

impl Store {
    /// Confirms offers: what is `Ok` runs from now on and never expires. Confirming twice is as good as once.
    ///
    /// Everything is refused as superseded if the runner has registered again since `epoch`.
    pub async fn confirm(
        &self,
        attempts: &[AttemptId],
        runner: RunnerId,
        epoch: Epoch,
        now: Timestamp,
    ) -> Result<Vec<(AttemptId, Result<(), Denied>)>, StoreError> {
        let confirmation = Confirmation { attempts: attempts.to_vec(), runner, epoch, now };
        self.database.write(confirmation, |confirmation, tx| Box::pin(confirm(tx, confirmation))).await
    }
}

async fn confirm(tx: &mut Tx, confirmation: &Confirmation) -> Result<Vec<(AttemptId, Result<(), Denied>)>, StoreError> {
    let Confirmation { attempts, runner, epoch, now } = confirmation;
    let dialect = tx.dialect();
    let sql = listed!(
        tx,
        [
            "SELECT ",
            standing_columns!(),
            ", runners.epoch AS current_epoch FROM tasks LEFT JOIN runners ON runners.id = $2 WHERE tasks.id"
        ],
        "",
        " FOR UPDATE OF tasks"
    );
    let ids = list(dialect, attempts.iter().map(|attempt| attempt.task));
    let mut standings: HashMap<TaskId, (Standing, Option<u64>)> = HashMap::new();
    for row in tx.fetch_all(sql, args![ids, runner.stored()]).await? {
        let standing = Standing::read(&row)?;
        let current = row.optional_count("current_epoch").in_row("runners", runner)?;
        standings.insert(standing.id, (standing, current));
    }
    let mut starting = Vec::new();
    let mut answers = Vec::with_capacity(attempts.len());
    for attempt in attempts {
        let answer = match standings.get(&attempt.task) {
            None => Err(Denied::Missing),
            Some((_, current)) if *current != Some(epoch.0) => Err(Denied::Refused(Refusal::Superseded)),
            Some((standing, _)) => {
                let event = TaskEvent::Confirm { attempt: attempt.attempt, runner: *runner, now: *now };
                standing.state.apply(event).map_err(Denied::Refused).map(|to| {
                    if to != standing.state {
                        starting.push(attempt.task);
                    }
                })
            }
        };
        answers.push((*attempt, answer));
    }
    starting.sort_unstable();
    starting.dedup();
    if starting.is_empty() {
        return Ok(answers);
    }
    let ids = list(dialect, &starting);
    let sql = listed!(
        tx,
        ["UPDATE tasks SET state = 'running', offer_until = NULL WHERE state = 'offered' AND runner = $2 AND id"],
        ""
    );
    let moved = tx.execute(sql, args![ids.clone(), runner.stored()]).await?;
    let sql = listed!(
        tx,
        ["UPDATE attempts SET confirmed_at = $2 WHERE number = (SELECT attempt FROM tasks WHERE tasks.id = attempts.task) \
             AND task"],
        ""
    );
    let confirmed = tx.execute(sql, args![ids, now.stored()]).await?;
    if (moved, confirmed) != (starting.len() as u64, starting.len() as u64) {
        let problem = format!("{moved} tasks and {confirmed} attempts of {} were confirmed", starting.len());
        return Err(StoreError::inconsistent("tasks", starting[0], problem));
    }
    Ok(answers)
}
