//! Small looks at the store: a task's input, how many tasks there are, where in a log something is.

use legwork_core::event::LogStream;
use legwork_core::{AttemptId, TaskId};
use legwork_database::args;

use crate::error::{InRow, StoreError};
use crate::sql::Stored;
use crate::store::Store;
use crate::tasks::input_context;

impl Store {
    /// True news that the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.database.fetch_optional("SELECT 1 AS one", args![]).await?;
        Ok(())
    }

    /// The whole input of a task, as JSON; none if there is no such task.
    pub async fn input(&self, task: TaskId) -> Result<Option<Vec<u8>>, StoreError> {
        let sql = "SELECT sequence, body FROM task_inputs WHERE task = $1 ORDER BY sequence";
        let rows = self.database.fetch_all(sql, args![task.stored()]).await?;
        let mut input = None;
        for row in &rows {
            let read = || Ok((row.count("sequence")?, row.get::<Vec<u8>>("body")?));
            let (sequence, sealed) = read().in_row("task_inputs", task)?;
            input.get_or_insert_with(Vec::new).extend(self.key.open(&input_context(task, sequence), &sealed)?);
        }
        Ok(input)
    }

    /// How many tasks are queued, offered and running.
    pub async fn unfinished_counts(&self) -> Result<Vec<(String, u64)>, StoreError> {
        let sql = "SELECT state, COUNT(*) AS tasks FROM tasks WHERE finished_at IS NULL GROUP BY state ORDER BY state";
        let rows = self.database.fetch_all(sql, args![]).await?;
        rows.iter()
            .map(|row| {
                let read = || Ok((row.get("state")?, row.count("tasks")?));
                read().in_row("tasks", "?")
            })
            .collect()
    }

    /// Where, in the order of arrival, this byte of one stream is; the end of the log if it is not there yet.
    pub async fn log_position_of(&self, attempt: AttemptId, stream: LogStream, offset: u64) -> Result<u64, StoreError> {
        let sql = "SELECT position, start, CAST(CASE WHEN body IS NULL THEN 1 ELSE 0 END AS BIGINT) AS gap FROM log_pieces \
                   WHERE task = $1 AND attempt = $2 AND stream = $3 AND start <= $4 ORDER BY position DESC LIMIT 1";
        let values = args![attempt.task.stored(), attempt.attempt.0, stream.as_str(), offset];
        let Some(row) = self.database.fetch_optional(sql, values).await? else { return Ok(0) };
        let read = || Ok((row.count::<u64>("position")?, row.count::<u64>("start")?, row.flag("gap")?));
        let (position, start, gap) = read().in_row("log_pieces", attempt)?;
        let inside = offset.saturating_sub(start);
        Ok(position + if gap { inside.min(1) } else { inside })
    }
}
