//! The tables refuse rows that mean nothing, whoever writes them.

use legwork_database::{Error, args};

use crate::support::{Bed, at, capabilities};

on_both!(impossible_rows_are_refused);

async fn impossible_rows_are_refused(bed: Bed) {
    let runner = bed.runner("remote").await;
    let queued = bed.queued(|spec| spec.capabilities = capabilities("gpu")).await;
    let running = bed.running(runner, |_| {}).await;
    let database = bed.raw().await;
    let now = at(9).as_millis();
    let changes: Vec<(String, &str)> = vec![
        (format!("UPDATE tasks SET state = 'offered' WHERE id = '{queued}'"), "an offer without runner and time"),
        (format!("UPDATE tasks SET state = 'running' WHERE id = '{queued}'"), "running nowhere"),
        (format!("UPDATE tasks SET state = 'lost' WHERE id = '{queued}'"), "no such state"),
        (format!("UPDATE tasks SET runner = 'r' WHERE id = '{queued}'"), "a queued task at a runner"),
        (format!("UPDATE tasks SET attempt = 0 WHERE id = '{queued}'"), "no next attempt"),
        (
            format!("UPDATE tasks SET abort_at = 1, abort_by = 'a', abort_reason = '' WHERE id = '{queued}'"),
            "a marked queued task",
        ),
        (format!("UPDATE tasks SET abort_at = 1 WHERE id = '{}'", running.task), "half an abort mark"),
        (format!("UPDATE tasks SET offer_until = 1 WHERE id = '{}'", running.task), "an offer that runs"),
        (format!("UPDATE tasks SET outcome = 'completed' WHERE id = '{}'", running.task), "an outcome before the end"),
        (
            format!(
                "UPDATE tasks SET state = 'finished', runner = NULL, outcome = 'failed', finished_at = {now} WHERE id = '{}'",
                running.task
            ),
            "a failure without a class",
        ),
        (
            format!(
                "UPDATE tasks SET state = 'finished', runner = NULL, outcome = 'completed', class = 'image', finished_at = {now} WHERE id = '{}'",
                running.task
            ),
            "a success with a class",
        ),
        (
            format!("UPDATE tasks SET state = 'finished', runner = NULL, outcome = 'completed' WHERE id = '{}'", running.task),
            "finished at no time",
        ),
        (format!("UPDATE tasks SET state = 'queued' WHERE id = '{}'", running.task), "queued and at a runner"),
        (format!("UPDATE attempts SET ending = 'reported' WHERE task = '{}'", running.task), "ended at no time"),
        (
            format!(
                "UPDATE attempts SET ending = 'reported', ended_at = {now}, result_kept = 'missing' WHERE task = '{}'",
                running.task
            ),
            "a report without an outcome",
        ),
        (
            format!("UPDATE attempts SET ending = 'offer-expired', ended_at = {now} WHERE task = '{}'", running.task),
            "an expired offer that was confirmed",
        ),
        (format!("UPDATE attempts SET result_kept = 'inline' WHERE task = '{}'", running.task), "a result before the report"),
        ("UPDATE runners SET capacity = -1".to_owned(), "a negative capacity"),
        ("UPDATE runners SET state = 'asleep'".to_owned(), "no such state"),
        (
            format!(
                "INSERT INTO log_pieces (task, attempt, position, stream, start) VALUES ('{}', 1, 0, 'stdin', 0)",
                running.task
            ),
            "no such stream",
        ),
    ];
    for (sql, what) in changes {
        let refused: Result<u64, Error> = database
            .write(sql.clone(), |sql, tx| {
                let sql = sql.clone();
                Box::pin(async move { tx.execute(sql, args![]).await })
            })
            .await;
        let error = refused.err().unwrap_or_else(|| panic!("{what} was taken: {sql}"));
        assert!(error.is_check_violation(), "{what}: {error:?}");
    }
}
