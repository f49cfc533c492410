//! The lost-runner policy: what becomes of running tasks whose runner is silent.

use std::collections::HashMap;
use std::time::Duration;

use legwork_core::spec::TaskSpec;
use legwork_core::task::{TaskEvent, TaskState};
use legwork_core::{AttemptId, RunnerId, Timestamp};
use legwork_database::{Tx, args};

use crate::attempts::{Ending, end};
use crate::audit::{self, Line};
use crate::control::abort_message;
use crate::error::{InRow, StoreError};
use crate::rows::{Move, Standing, json, move_tasks, standing_columns};
use crate::sql::{list, listed};
use crate::store::Store;

struct Silences {
    runners: HashMap<RunnerId, Duration>,
    now: Timestamp,
}

impl Store {
    /// Applies the policy of every task that runs at one of these runners, which have been silent for so long.
    ///
    /// Gives the attempts that were taken away; their runners hear `superseded` if they come back.
    pub async fn apply_lost_runner(
        &self,
        silences: &[(RunnerId, Duration)],
        now: Timestamp,
    ) -> Result<Vec<AttemptId>, StoreError> {
        if silences.is_empty() {
            return Ok(Vec::new());
        }
        let silences = Silences { runners: silences.iter().copied().collect(), now };
        self.database.write(silences, |silences, tx| Box::pin(apply(tx, silences))).await
    }
}

async fn apply(tx: &mut Tx, silences: &Silences) -> Result<Vec<AttemptId>, StoreError> {
    let dialect = tx.dialect();
    let sql = listed!(
        tx,
        ["SELECT ", standing_columns!(), ", tasks.spec FROM tasks WHERE state = 'running' AND runner"],
        "",
        " FOR UPDATE"
    );
    let now = silences.now;
    let (mut taken, mut moves, mut lines) = (Vec::new(), Vec::new(), Vec::new());
    for row in tx.fetch_all(sql, args![list(dialect, silences.runners.keys())]).await? {
        let standing = Standing::read(&row)?;
        let TaskState::Running { attempt, runner } = standing.state else { continue };
        let Some(&silence) = silences.runners.get(&runner) else { continue };
        let policy = json::<TaskSpec>(&row, "spec").in_row("tasks", standing.id)?.lost_runner;
        let Ok(mut to) = standing.state.apply(TaskEvent::RunnerSilent { silence, policy }) else { continue };
        let mut message = format!("the runner {runner} was silent for {} s", silence.as_secs());
        if let (TaskState::Queued { .. }, Some(mark)) = (to, &standing.abort) {
            // Somebody wants its end: it is not run elsewhere.
            to = to.apply(TaskEvent::Abort).map_err(|refusal| StoreError::inconsistent("tasks", standing.id, refusal))?;
            message = format!("{}; {message}", abort_message(mark));
        }
        let id = AttemptId { task: standing.id, attempt };
        let (actor, object) = ("server".to_owned(), format!("task {}", id.task));
        lines.push(Line { actor, action: "task.runner-lost", object, detail: message.clone(), now });
        let (retried, abort) = (standing.retried, standing.abort.clone());
        moves.push((standing, Move { to, message, retried, abort, now }));
        taken.push(id);
    }
    end(tx, &taken, Ending::RunnerLost, now).await?;
    audit::append_all(tx, lines).await?;
    move_tasks(tx, &moves).await?;
    Ok(taken)
}
