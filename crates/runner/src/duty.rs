//! Draining, deletion and the end of the process.

use std::sync::Arc;
use std::time::Duration;

use legwork_protocol::channel::Duty;
use tokio::sync::watch;

use crate::channel::Link;
use crate::context::Context;
use crate::store::Store;

/// How long the outbox may take to empty itself when the process stops.
const FLUSH: Duration = Duration::from_secs(3);
/// How long the server may take for a goodbye.
const GOODBYE: Duration = Duration::from_secs(2);
/// How often it is looked whether nothing is left.
const LOOK: Duration = Duration::from_millis(50);

/// Waits until this runner is asked to stop, by a signal or by the server, and then lets everything end in good order.
pub(crate) async fn run(context: Arc<Context>, store: Store, drain: bool) {
    let mut settings = context.settings.subscribe();
    let stopping = context.lifecycle.stopping().clone();
    let asked = async {
        let asked = settings.wait_for(|settings| matches!(settings.duty, Duty::Draining | Duty::Deleted)).await;
        let duty = asked.ok().map(|settings| settings.duty);
        match duty {
            Some(duty) => duty,
            None => std::future::pending().await,
        }
    };
    let deleted = tokio::select! {
        () = stopping.cancelled() => false,
        duty = asked => tokio::select! {
            () = stopping.cancelled() => false,
            deleted = nothing_left(&context, duty) => deleted,
        },
    };
    if drain && !deleted {
        tracing::info!("waiting for the live executors");
        nobody_busy(&context).await;
    }
    if !deleted {
        let _ = tokio::time::timeout(FLUSH, outbox_empty(&context)).await;
    }
    // First the life, then what lives in it: else it would look as if that had ended by itself.
    context.lifecycle.stop();
    context.halt.cancel();
    context.journal.close().await;
    if deleted {
        match store.wipe() {
            Ok(()) => tracing::info!("deleted by the server: the store is wiped"),
            Err(error) => tracing::error!(%error, "deleted by the server, but the store cannot be wiped: remove it by hand"),
        }
    }
    if let Err(error) = context.channel.goodbye(deleted, GOODBYE).await {
        tracing::debug!(%error, "no goodbye");
    }
}

/// Waits until a draining or deleted runner has nothing left. True if it was deleted.
async fn nothing_left(context: &Context, mut duty: Duty) -> bool {
    let mut settings: watch::Receiver<_> = context.settings.subscribe();
    tracing::info!(?duty, "the server wants this runner to finish what it has and stop");
    while !context.live.is_empty() || matches!(duty, Duty::Enabled | Duty::Disabled) {
        // It may be called back while it drains.
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            Ok(()) = settings.changed() => {}
        }
        duty = settings.borrow_and_update().duty;
    }
    duty == Duty::Deleted
}

async fn nobody_busy(context: &Context) {
    let mut busy = context.live.busy();
    // The table lives as long as the context.
    let _ = busy.wait_for(|busy| *busy == 0).await;
}

async fn outbox_empty(context: &Context) {
    while matches!(context.channel.links().get(), Link::Registered(_)) {
        match context.journal.waiting(0, 1).await {
            Ok(waiting) if !waiting.is_empty() => {}
            _ => return,
        }
        tokio::time::sleep(LOOK).await;
    }
}
