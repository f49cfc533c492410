//! Listing tasks, newest first.

use legwork_core::{Capability, RunnerId, TaskId, TaskStatus, Timestamp};
use legwork_database::{Value, args};

use crate::error::StoreError;
use crate::rows::{Task, task_columns};
use crate::sql::{Stored, contains_pattern};
use crate::store::Store;

/// Which tasks are wanted; everything that is given must fit.
#[derive(Clone, Debug, Default)]
pub struct TaskFilter {
    /// Any of these statuses; empty = any status.
    pub statuses: Vec<TaskStatus>,
    /// At this runner now, or in their last attempt.
    pub runner: Option<RunnerId>,
    /// Of this image.
    pub image: Option<String>,
    /// Of this type.
    pub task_type: Option<String>,
    /// That require this.
    pub capability: Option<Capability>,
    /// With this in the title, the type or the image, whatever the case.
    pub text: Option<String>,
    /// Made at this time or later.
    pub created_from: Option<Timestamp>,
    /// Made before this time.
    pub created_before: Option<Timestamp>,
}

/// One page of a list.
#[derive(Clone, Debug)]
pub struct TaskPage {
    /// The tasks, newest first.
    pub tasks: Vec<Task>,
    /// Where the next page begins; none if this is the last one.
    pub next: Option<TaskId>,
}

impl Store {
    /// The tasks that fit, newest first, after the task `after`; at most `limit`.
    pub async fn tasks(&self, filter: &TaskFilter, after: Option<TaskId>, limit: u32) -> Result<TaskPage, StoreError> {
        let mut sql = String::from(concat!("SELECT ", task_columns!(), " FROM tasks WHERE 1 = 1"));
        let mut values: Vec<Value> = Vec::new();
        let mut add = |condition: &str, value: Value| {
            values.push(value);
            sql.push_str(&condition.replace("$?", &format!("${}", values.len())));
        };
        if let Some(after) = after {
            add(" AND id < $?", after.stored());
        }
        if let Some(runner) = filter.runner {
            add(
                " AND (runner = $? OR EXISTS (SELECT 1 FROM attempts WHERE attempts.task = tasks.id \
                 AND attempts.number = tasks.attempt AND attempts.runner = $?))",
                runner.stored(),
            );
        }
        if let Some(image) = &filter.image {
            add(" AND image = $?", image.into());
        }
        if let Some(task_type) = &filter.task_type {
            add(" AND task_type = $?", task_type.into());
        }
        if let Some(capability) = &filter.capability {
            let pattern = contains_pattern(&format!(",{capability},"));
            add(" AND ',' || required || ',' LIKE $? ESCAPE '!'", pattern.into());
        }
        if let Some(text) = &filter.text {
            add(
                " AND (LOWER(title) LIKE LOWER($?) ESCAPE '!' OR LOWER(task_type) LIKE LOWER($?) ESCAPE '!' \
                 OR LOWER(image) LIKE LOWER($?) ESCAPE '!')",
                contains_pattern(text).into(),
            );
        }
        if let Some(from) = filter.created_from {
            add(" AND created_at >= $?", from.stored());
        }
        if let Some(before) = filter.created_before {
            add(" AND created_at < $?", before.stored());
        }
        if !filter.statuses.is_empty() {
            let any: Vec<&str> = filter.statuses.iter().map(|status| condition(*status)).collect();
            sql.push_str(&format!(" AND ({})", any.join(" OR ")));
        }
        // One more than wanted tells whether there is a next page.
        values.extend(args![u64::from(limit) + 1]);
        sql.push_str(&format!(" ORDER BY id DESC LIMIT ${}", values.len()));
        let rows = self.database.fetch_all(sql, values).await?;
        let more = rows.len() > limit as usize;
        let tasks = rows.iter().take(limit as usize).map(Task::read).collect::<Result<Vec<_>, _>>()?;
        let next = tasks.last().filter(|_| more).map(|task| task.id);
        Ok(TaskPage { tasks, next })
    }
}

fn condition(status: TaskStatus) -> &'static str {
    match status {
        TaskStatus::Pending => "(finished_at IS NULL AND state IN ('queued', 'offered'))",
        TaskStatus::InProgress => "(finished_at IS NULL AND state = 'running' AND abort_at IS NULL)",
        TaskStatus::Aborting => "(finished_at IS NULL AND state = 'running' AND abort_at IS NOT NULL)",
        TaskStatus::Completed => "(state = 'finished' AND outcome = 'completed')",
        TaskStatus::Failed => "(state = 'finished' AND outcome = 'failed')",
    }
}
