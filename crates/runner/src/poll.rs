//! The long poll: one is always under way, and a second one as soon as there are more free slots than the first has told.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use legwork_core::verdict::StopCause;
use legwork_core::{AttemptId, limits};
use legwork_protocol::channel::{Duty, Poll, PollAnswer};

use crate::backoff::Backoff;
use crate::channel::ChannelError;
use crate::context::Context;
use crate::offers;

/// Polls that are under way at most. The second one tells of slots that have become free.
const POLLS: usize = 2;

/// Polls until the runner stops or is superseded.
pub(crate) async fn run(context: Arc<Context>) {
    let stopping = context.lifecycle.stopping().clone();
    tokio::select! {
        () = stopping.cancelled() => {}
        () = poll_for_ever(&context) => {
            // Superseded: what is live goes on, no work is taken.
            stopping.cancelled().await;
        }
    }
}

async fn poll_for_ever(context: &Arc<Context>) {
    let links = context.channel.links();
    let mut backoff = Backoff::new();
    let mut busy = context.live.busy();
    let mut settings = context.settings.subscribe();
    let mut polls = FuturesUnordered::new();
    let mut told = 0;
    // Aborts of attempts that are not here: the server is told that they were heard, or it would say them for ever.
    let mut unknown = BTreeSet::new();
    while links.registered().await.is_some() {
        if polls.is_empty() {
            busy.borrow_and_update();
            told = free_slots(context);
            polls.push(poll(context, request(context, told, &unknown)));
        }
        tokio::select! {
            Some(answer) = polls.next() => match answer {
                Ok(answer) => {
                    backoff.reset();
                    take(context, answer, &mut unknown);
                }
                Err(ChannelError::Superseded(why)) => tracing::warn!(why, "another process has this runner's place: taking no more work"),
                Err(error) => {
                    tracing::debug!(%error, "the poll failed: trying again");
                    // What else is under way meets the same trouble.
                    polls.clear();
                    links.pause(backoff.next()).await;
                }
            },
            Ok(()) = busy.changed() => {
                let free = free_slots(context);
                if free > told && polls.len() < POLLS {
                    told = free;
                    polls.push(poll(context, request(context, told, &unknown)));
                }
            }
            Ok(()) = settings.changed() => {
                // The server holds the poll by settings that it has changed itself: it answers by itself.
                settings.borrow_and_update();
            }
        }
    }
}

fn free_slots(context: &Context) -> u32 {
    if context.settings.borrow().duty == Duty::Enabled { context.live.free_slots() } else { 0 }
}

async fn poll(context: &Context, request: Poll) -> Result<PollAnswer, ChannelError> {
    context.channel.poll(&request).await
}

fn request(context: &Context, free_slots: u32, unknown: &BTreeSet<AttemptId>) -> Poll {
    let wait: Duration = limits::POLL_TIME;
    let mut aborting = context.live.stopping();
    aborting.extend(unknown);
    Poll {
        free_slots,
        settings_revision: context.settings.borrow().revision,
        aborting,
        holding: context.live.holding(),
        wait_millis: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
    }
}

/// Acts on an answer. Offers take their slots here, so that the next poll does not tell of them again.
fn take(context: &Arc<Context>, answer: PollAnswer, unknown: &mut BTreeSet<AttemptId>) {
    if let Some(settings) = answer.settings {
        tracing::info!(?settings, "the server has changed this runner's settings");
        context.apply_settings(settings);
    }
    for abort in answer.aborts {
        tracing::info!(attempt = %abort.attempt, by = abort.by, "asked to abort");
        if !context.live.stop(abort.attempt, StopCause::Abort { by: abort.by }) {
            unknown.insert(abort.attempt);
        }
    }
    for attempt in answer.superseded {
        let context = context.clone();
        context.clone().spawn("dropping an attempt", async move {
            context.live.refuse(&context, attempt, "the server has replaced it").await;
        });
    }
    if !answer.offers.is_empty() {
        offers::take_in(context, answer.offers);
    }
}
