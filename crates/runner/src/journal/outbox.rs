//! The outbox: events that the server has not acknowledged.

use legwork_core::event::AttemptEvent;
use legwork_core::{AttemptId, AttemptNumber, EventNumber};
use legwork_database::{Row, Tx, args};

use super::{Journal, JournalError, to_json};

/// An event as it waits.
pub(crate) struct OutboxEvent {
    /// Whose.
    pub(crate) attempt: AttemptId,
    /// Its number within the attempt.
    pub(crate) number: EventNumber,
    /// What it waits for besides the server depends on this.
    pub(crate) kind: EventKind,
    /// Its JSON.
    pub(crate) body: Vec<u8>,
}

/// What the outbox must know of an event without opening it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventKind {
    /// The verdict: it goes after the result.
    Finished,
    /// The end of the log: it goes after the log.
    LogComplete,
    /// Anything else.
    Other,
}

impl EventKind {
    fn of(event: &AttemptEvent) -> Self {
        match event {
            AttemptEvent::Finished(_) => Self::Finished,
            AttemptEvent::LogComplete(_) => Self::LogComplete,
            _ => Self::Other,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::LogComplete => "log_complete",
            Self::Other => "other",
        }
    }

    fn from_str(text: &str) -> Self {
        match text {
            "finished" => Self::Finished,
            "log_complete" => Self::LogComplete,
            _ => Self::Other,
        }
    }
}

/// An event on its way into the journal.
pub(super) struct Sealed {
    kind: &'static str,
    body: Vec<u8>,
}

/// Events are numbered here, inside the transaction that makes them durable. Gives the first number.
pub(super) async fn append(tx: &mut Tx, attempt: AttemptId, events: &[Sealed]) -> Result<u64, JournalError> {
    let (task, number) = (attempt.task.to_string(), attempt.attempt.0);
    if events.is_empty() {
        return Ok(0);
    }
    let text = "UPDATE attempts SET next_event = next_event + $3 WHERE task = $1 AND attempt = $2 RETURNING next_event";
    let Some(row) = tx.fetch_optional(text, args![&task, number, events.len() as u64]).await? else {
        // A dropped attempt has nothing to say any more.
        return Ok(0);
    };
    let first = row.count::<u64>("next_event")? - events.len() as u64;
    for (event, place) in events.iter().zip(first..) {
        let text = "INSERT INTO events (task, attempt, number, kind, sealed_body) VALUES ($1, $2, $3, $4, $5)";
        tx.execute(text, args![&task, number, place, event.kind, event.body.clone()]).await?;
    }
    Ok(first)
}

impl Journal {
    /// Events cannot be bound to their number, which is given later; their order is the server's to check.
    pub(super) fn seal_events(&self, attempt: AttemptId, events: &[AttemptEvent]) -> Vec<Sealed> {
        let context = event_context(attempt);
        events
            .iter()
            .map(|event| Sealed { kind: EventKind::of(event).as_str(), body: self.key.seal(&context, &to_json(event)) })
            .collect()
    }

    /// The events that wait, from this place in the outbox on, at most so many.
    pub(crate) async fn waiting(&self, after: i64, most: u32) -> Result<Vec<(i64, OutboxEvent)>, JournalError> {
        let text = "SELECT id, task, attempt, number, kind, sealed_body FROM events WHERE id > $1 ORDER BY id LIMIT $2";
        self.database.fetch_all(text, args![after, most]).await?.iter().map(|row| self.read_event(row)).collect()
    }

    /// Drops what the server has acknowledged.
    pub(crate) async fn acknowledge(&self, through: Vec<(AttemptId, EventNumber)>) -> Result<(), JournalError> {
        self.write(through, |through, tx| {
            Box::pin(async move {
                for (attempt, number) in through {
                    let text = "DELETE FROM events WHERE task = $1 AND attempt = $2 AND number <= $3";
                    tx.execute(text, args![attempt.task.to_string(), attempt.attempt.0, number.0]).await?;
                }
                Ok(())
            })
        })
        .await
    }

    fn read_event(&self, row: &Row) -> Result<(i64, OutboxEvent), JournalError> {
        let attempt = AttemptId { task: row.parse("task")?, attempt: AttemptNumber(row.count("attempt")?) };
        let body = self.key.open(&event_context(attempt), &row.get::<Vec<u8>>("sealed_body")?)?;
        let kind = EventKind::from_str(&row.get::<String>("kind")?);
        Ok((row.get("id")?, OutboxEvent { attempt, number: EventNumber(row.count("number")?), kind, body }))
    }
}

fn event_context(attempt: AttemptId) -> String {
    format!("event/{attempt}")
}
