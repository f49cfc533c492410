//! Removes what carries this runner's label and belongs to no live attempt.

use std::sync::Arc;
use std::time::Duration;

use crate::context::Context;
use crate::offers::remove_leftover;

/// How often it looks. What is left over is gone within twice this.
const EVERY: Duration = Duration::from_secs(25);

/// Sweeps for ever.
pub(crate) async fn run(context: Arc<Context>) {
    loop {
        tokio::time::sleep(EVERY).await;
        let owned = match context.engine.list_owned(context.owner()).await {
            Ok(owned) => owned,
            Err(fault) => {
                tracing::warn!(%fault, "the engine does not say what it has of ours");
                continue;
            }
        };
        for executor in owned {
            // Looked up now, not before the listing: what was created meanwhile has its attempt in the table.
            if !executor.attempt.is_some_and(|attempt| context.live.is_busy(attempt)) {
                remove_leftover(&context, &executor.handle).await;
            }
        }
    }
}
