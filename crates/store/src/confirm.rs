//! A runner says that it has journaled what it was offered.

use std::collections::HashMap;

use legwork_core::task::{Refusal, TaskEvent};
use legwork_core::{AttemptId, Epoch, RunnerId, TaskId, Timestamp};
use legwork_database::{Given, Together, Tx, args};

use crate::error::{InRow, StoreError};
use crate::rows::{Standing, standing_columns};
use crate::sql::Stored;
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
        self.database.write_together(confirmation).await
    }
}

impl Together for Confirmation {
    type Answer = Vec<(AttemptId, Result<(), Denied>)>;
    type Error = StoreError;

    async fn write_together(confirmations: &[Self], tx: &mut Tx) -> Result<Vec<Self::Answer>, StoreError> {
        let mut offers = Offers::read(tx, confirmations).await?;
        let answers = confirmations.iter().map(|confirmation| offers.confirm(confirmation)).collect();
        offers.write(tx).await?;
        Ok(answers)
    }
}

const ASKED: &[Given] = &[Given::Text("task"), Given::Text("runner")];
const STARTING: &[Given] = &[Given::Text("task"), Given::Integer("attempt"), Given::Integer("confirmed_at")];

/// What was read, and what is to be written of it.
struct Offers {
    standings: HashMap<TaskId, Standing>,
    epochs: HashMap<RunnerId, u64>,
    starting: Vec<(AttemptId, Timestamp)>,
}

impl Offers {
    async fn read(tx: &mut Tx, confirmations: &[Confirmation]) -> Result<Self, StoreError> {
        let sql = tx.dialect().choose(
            concat!(
                "SELECT ",
                standing_columns!(),
                ", runners.id AS asking, runners.epoch FROM given JOIN tasks ON tasks.id = given.task \
                 LEFT JOIN runners ON runners.id = given.runner"
            ),
            concat!(
                "SELECT ",
                standing_columns!(),
                ", runners.id AS asking, runners.epoch FROM given JOIN tasks ON tasks.id = given.task \
                 LEFT JOIN runners ON runners.id = given.runner FOR UPDATE OF tasks"
            ),
        );
        let rows = confirmations.iter().flat_map(|confirmation| {
            let attempts = confirmation.attempts.iter();
            attempts.map(|attempt| args![attempt.task.stored(), confirmation.runner.stored()])
        });
        let mut offers = Self { standings: HashMap::new(), epochs: HashMap::new(), starting: Vec::new() };
        for row in tx.fetch_given(sql, ASKED, rows).await? {
            let standing = Standing::read(&row)?;
            let read = || Ok((row.parse_optional("asking")?, row.optional_count("epoch")?));
            if let (Some(runner), Some(epoch)) = read().in_row("runners", "?")? {
                offers.epochs.insert(runner, epoch);
            }
            offers.standings.insert(standing.id, standing);
        }
        Ok(offers)
    }

    fn confirm(&mut self, confirmation: &Confirmation) -> Vec<(AttemptId, Result<(), Denied>)> {
        confirmation.attempts.iter().map(|attempt| (*attempt, self.confirm_one(confirmation, *attempt))).collect()
    }

    fn confirm_one(&mut self, confirmation: &Confirmation, attempt: AttemptId) -> Result<(), Denied> {
        let Confirmation { runner, epoch, now, .. } = *confirmation;
        let standing = self.standings.get_mut(&attempt.task).ok_or(Denied::Missing)?;
        if self.epochs.get(&runner) != Some(&epoch.0) {
            return Err(Denied::Refused(Refusal::Superseded));
        }
        let to = standing.state.apply(TaskEvent::Confirm { attempt: attempt.attempt, runner, now }).map_err(Denied::Refused)?;
        if to != standing.state {
            standing.state = to;
            self.starting.push((attempt, now));
        }
        Ok(())
    }

    async fn write(&self, tx: &mut Tx) -> Result<(), StoreError> {
        let Some((first, _)) = self.starting.first() else { return Ok(()) };
        let rows = || self.starting.iter().map(|(id, now)| args![id.task.stored(), id.attempt.0, now.stored()]);
        // The attempt's number stands for its runner; a condition on the runner would tempt PostgreSQL to look all its tasks up.
        let sql = "UPDATE tasks SET state = 'running', offer_until = NULL FROM given \
                   WHERE tasks.id = given.task AND tasks.state = 'offered' AND tasks.attempt = given.attempt";
        let moved = tx.execute_given(sql, STARTING, rows()).await?;
        let sql = "UPDATE attempts SET confirmed_at = given.confirmed_at FROM given \
                   WHERE attempts.task = given.task AND attempts.number = given.attempt AND attempts.ending IS NULL";
        let confirmed = tx.execute_given(sql, STARTING, rows()).await?;
        let expected = self.starting.len();
        if (moved, confirmed) != (expected as u64, expected as u64) {
            let problem = format!("{moved} tasks and {confirmed} attempts of {expected} were confirmed");
            return Err(StoreError::inconsistent("tasks", first.task, problem));
        }
        Ok(())
    }
}
