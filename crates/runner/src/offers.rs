//! From an offer to a course: journal, confirm, launch. Also the way back into their courses after a restart.

use std::sync::Arc;
use std::time::Duration;

use legwork_contract::session::SessionKey;
use legwork_core::attempt::{AttemptState, ExecutorSeen, Recovery, recover};
use legwork_core::event::LogSummary;
use legwork_core::{AttemptId, Timestamp};
use legwork_engine::{Handle, Owned};
use legwork_protocol::channel::{Confirmed, Offer};
use tokio::sync::watch;

use crate::attempt::{self, Job};
use crate::backoff::Backoff;
use crate::channel::ChannelError;
use crate::context::Context;
use crate::delivery::{Delivery, deliver};
use crate::input_spool::InputWriter;
use crate::journal::{InputPlace, LogPoint, Record, Work};
use crate::live::Ticket;
use crate::log::Progress;

/// An attempt that is journaled as accepted.
struct Accepted {
    id: AttemptId,
    work: Work,
    ticket: Ticket,
    at: Timestamp,
}

/// Takes in offers. Those with a large input are fetched apart, so that they keep no other waiting.
pub(crate) fn take_in(context: &Arc<Context>, offers: Vec<Offer>) {
    let mut small = Vec::new();
    for offer in offers {
        let Some(ticket) = context.live.take_in(offer.attempt, Progress::default(), None) else {
            // Offered again: its first confirmation is still under way.
            continue;
        };
        let Some(envelope) = offer.input else {
            let context = context.clone();
            context.clone().spawn("fetching an input", async move {
                if fetch_input(&context, offer.attempt, offer.input_chunks).await {
                    accept(&context, vec![(offer.attempt, offer.spec, InputPlace::Spooled, ticket)]).await;
                } else {
                    context.live.abandon(offer.attempt);
                }
            });
            continue;
        };
        match envelope.open_clear() {
            Ok(json) => small.push((offer.attempt, offer.spec, InputPlace::Inline { json }, ticket)),
            Err(error) => {
                tracing::error!(attempt = %offer.attempt, %error, "an offer cannot be taken");
                context.live.abandon(offer.attempt);
            }
        }
    }
    if !small.is_empty() {
        let context = context.clone();
        context.clone().spawn("accepting offers", async move { accept(&context, small).await });
    }
}

type Offered = (AttemptId, legwork_core::TaskSpec, InputPlace, Ticket);

async fn accept(context: &Arc<Context>, offered: Vec<Offered>) {
    let at = context.clock.now();
    let mut accepted = Vec::with_capacity(offered.len());
    for (id, spec, input, ticket) in offered {
        match SessionKey::generate() {
            Ok(session_key) => accepted.push(Accepted { id, work: Work { spec, session_key, input }, ticket, at }),
            Err(error) => {
                tracing::error!(attempt = %id, %error, "an offer cannot be taken");
                context.live.abandon(id);
            }
        }
    }
    let rows: Vec<_> = accepted.iter().map(|accepted| (accepted.id, &accepted.work)).collect();
    let journaled = context.durable("accepting offers", || context.journal.accept(&rows, at)).await;
    drop(rows);
    if let Err(error) = journaled {
        tracing::error!(%error, "offers cannot be journaled");
        for accepted in accepted {
            context.live.abandon(accepted.id);
        }
        return;
    }
    confirm(context, accepted).await;
}

/// Confirms what is journaled until the server has answered, and launches what it agrees to.
async fn confirm(context: &Arc<Context>, accepted: Vec<Accepted>) {
    let ids: Vec<_> = accepted.iter().map(|accepted| accepted.id).collect();
    let mut backoff = Backoff::new();
    let answer = loop {
        match context.channel.confirm(ids.clone()).await {
            Ok(answer) => break answer,
            Err(ChannelError::Refused(why)) => {
                tracing::error!(why, "the server refuses a confirmation: trying again");
                context.pause(Duration::from_secs(5)).await;
            }
            Err(error) => {
                tracing::debug!(%error, "a confirmation could not be sent: trying again");
                context.pause(backoff.next()).await;
            }
        }
    };
    let mut refused = Vec::new();
    let mut answers = answer.attempts.into_iter();
    for Accepted { id, work, ticket, at } in accepted {
        match answers.next() {
            Some(Confirmed::Yes) => {
                context.live.confirmed(id);
                let job = Job {
                    id,
                    work,
                    state: AttemptState::Accepted,
                    accepted_at: at,
                    handle: None,
                    started_at: None,
                    seen: ExecutorSeen::Missing,
                    log_point: LogPoint::default(),
                    result_chunks: 0,
                    recovered: false,
                };
                launch(context, job, ticket);
            }
            Some(Confirmed::No { why }) => {
                tracing::info!(attempt = %id, why, "the server does not want the confirmed attempt");
                refused.push(id);
            }
            None => {
                tracing::error!(attempt = %id, "the server has not answered for a confirmed attempt");
                refused.push(id);
            }
        }
    }
    context.live.forget(context, refused).await;
}

/// Starts the course and the delivery of an attempt.
fn launch(context: &Arc<Context>, job: Job, ticket: Ticket) {
    let (result_chunks, told) = watch::channel(None);
    let delivery = Delivery {
        attempt: job.id,
        session_key: job.work.session_key.clone(),
        log: ticket.progress.subscribe(),
        result_chunks: told,
        fresh: !job.recovered,
    };
    context.outbox.hold_log(job.id);
    let cancelled = ticket.delivery.clone();
    let delivering = Box::pin(deliver(context.clone(), delivery));
    context.spawn("delivering an attempt", async move {
        // Cancelled when nobody wants it any more, which `deliver` itself may find out.
        let _ = cancelled.run_until_cancelled(delivering).await;
    });
    context.spawn("carrying out an attempt", attempt::run(context.clone(), ticket, job, result_chunks));
}

/// Gets an input in chunks into the spool. False if the server does not give it.
async fn fetch_input(context: &Context, attempt: AttemptId, chunks: u32) -> bool {
    let path = context.spool.input(attempt);
    let mut backoff = Backoff::new();
    let mut writer = match InputWriter::create(&path, &context.key, attempt) {
        Ok(writer) => writer,
        Err(error) => {
            tracing::error!(%attempt, %error, "an input cannot be spooled: the offer is not taken");
            return false;
        }
    };
    for sequence in 0..u64::from(chunks) {
        let chunk = loop {
            match context.channel.input_chunk(attempt, sequence).await {
                Ok(chunk) => break chunk,
                Err(ChannelError::Refused(why)) => {
                    tracing::info!(%attempt, why, "the server does not give the input: the offer is not taken");
                    crate::store::remove_file(&path);
                    return false;
                }
                Err(error) => {
                    tracing::debug!(%attempt, %error, "a part of an input could not be fetched: trying again");
                    context.pause(backoff.next()).await;
                }
            }
        };
        if let Err(error) = writer.push(&chunk) {
            tracing::error!(%attempt, %error, "an input cannot be spooled: the offer is not taken");
            crate::store::remove_file(&path);
            return false;
        }
    }
    match writer.finish().await {
        Ok(()) => true,
        Err(error) => {
            tracing::error!(%attempt, %error, "an input cannot be made durable: the offer is not taken");
            crate::store::remove_file(&path);
            false
        }
    }
}

/// Takes over everything that an earlier process has left: the journal's attempts and the engine's executors.
pub(crate) async fn take_over(context: &Arc<Context>, records: Vec<Record>) {
    let mut owned = list_owned(context).await;
    let mut forgotten = Vec::new();
    let mut unconfirmed = Vec::new();
    for record in records {
        let executor = owned.iter().position(|owned| owned.attempt == Some(record.id)).map(|place| owned.swap_remove(place));
        let seen = executor.as_ref().map_or(ExecutorSeen::Missing, |executor| executor.seen);
        let action = recover(Some(record.state), seen);
        tracing::info!(attempt = %record.id, state = %record.state, ?seen, ?action, "taken over from an earlier process");
        let delivered = record.state == AttemptState::ResultTaken && record.log_point.told && !record.events_wait;
        if action == Recovery::Remove || delivered {
            forgotten.push(record.id);
            owned.extend(executor);
            continue;
        }
        let progress = progress_of(&record.log_point);
        let Some(ticket) = context.live.take_in(record.id, progress, record.stop.clone()) else { continue };
        if action == Recovery::Confirm {
            // Whatever has its name was not started by us.
            owned.extend(executor);
            unconfirmed.push(Accepted { id: record.id, work: record.work, ticket, at: record.accepted_at });
            continue;
        }
        context.live.confirmed(record.id);
        let judged = record.state == AttemptState::ResultTaken;
        if judged && record.finished_waits && record.result_chunks > 0 {
            context.outbox.hold_result(record.id);
        }
        let job = Job {
            id: record.id,
            work: record.work,
            state: record.state,
            accepted_at: record.accepted_at,
            handle: record.handle.or(executor.map(|executor| executor.handle)),
            started_at: record.started_at,
            seen,
            log_point: record.log_point,
            result_chunks: if record.finished_waits { record.result_chunks } else { 0 },
            recovered: true,
        };
        launch(context, job, ticket);
    }
    context.live.forget(context, forgotten).await;
    for leftover in owned {
        remove_leftover(context, &leftover.handle).await;
    }
    if !unconfirmed.is_empty() {
        let context = context.clone();
        context.clone().spawn("confirming again", async move { confirm(&context, unconfirmed).await });
    }
}

fn progress_of(point: &LogPoint) -> Progress {
    let summary = LogSummary {
        stdout_bytes: point.delivered.stdout,
        stderr_bytes: point.delivered.stderr,
        dropped_bytes: 0,
        gaps: point.gaps,
    };
    Progress {
        segment: point.segment,
        length: point.length,
        tail_from: point.tail_from,
        keep_from: point.segment,
        delivered: point.delivered,
        ended: point.ended.then_some(summary),
    }
}

/// What the engine has of ours; asked again until it answers.
async fn list_owned(context: &Context) -> Vec<Owned> {
    let mut backoff = Backoff::new();
    loop {
        match context.engine.list_owned(context.owner()).await {
            Ok(owned) => return owned,
            Err(fault) => tracing::warn!(%fault, "the engine does not say what it has of ours: trying again"),
        }
        tokio::time::sleep(backoff.next()).await;
    }
}

pub(crate) async fn remove_leftover(context: &Context, handle: &Handle) {
    match context.engine.remove(handle).await {
        Ok(()) => tracing::info!(handle = handle.0, "removed an executor that no attempt owns"),
        Err(fault) => tracing::warn!(handle = handle.0, %fault, "an executor that no attempt owns cannot be removed now"),
    }
}
