//! Registering with the server: at the start, and again whenever the server does not know this runner any more. For ever.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use legwork_core::{AttemptId, Capabilities, Epoch, InstanceId};
use legwork_protocol::BUILD_VERSION;
use legwork_protocol::channel::{Register, Registered, signed_text};
use legwork_sealing::Identity;

use crate::backoff::Backoff;
use crate::channel::{ChannelError, Link, Session};
use crate::context::Context;

/// What a runner says of itself.
pub(crate) struct Registrar {
    pub(crate) identity: Identity,
    pub(crate) instance: InstanceId,
    pub(crate) last_epoch: Epoch,
    pub(crate) title: String,
    pub(crate) capabilities: Capabilities,
    pub(crate) capacity: u32,
    pub(crate) metadata: BTreeMap<String, String>,
    /// What an earlier process has left without a verdict.
    pub(crate) left: Vec<AttemptId>,
}

/// Keeps this runner registered until another process takes its place.
pub(crate) async fn run(context: Arc<Context>, mut registrar: Registrar) {
    let links = context.channel.links();
    let mut backoff = Backoff::new();
    while links.unregistered().await {
        match registrar.register(&context).await {
            Ok(registered) => {
                backoff.reset();
                registrar.take_over(&context, registered).await;
            }
            Err(error) => {
                let why = match &error {
                    ChannelError::Token(why) => format!("the server refuses this runner's token: {why}"),
                    ChannelError::Away(why) => format!("the server cannot be reached: {why}"),
                    ChannelError::Version(why) => format!("server and runner do not fit together: {why}"),
                    other => format!("the server refuses the registration: {other}"),
                };
                if links.get() != Link::Registering(why.clone()) {
                    tracing::warn!(why, "not registered: trying again");
                }
                links.trouble(&why);
                links.pause(backoff.next()).await;
            }
        }
    }
    // Nobody registers any more; the link says why.
    std::future::pending::<()>().await;
}

impl Registrar {
    async fn register(&self, context: &Context) -> Result<Registered, ChannelError> {
        let nonce = context.channel.challenge().await?.nonce;
        let signature = self.identity.sign(signed_text(&nonce, context.runner, self.instance).as_bytes());
        let mut holding = context.live.holding();
        if holding.is_empty() {
            holding.clone_from(&self.left);
        }
        let register = Register {
            runner: context.runner,
            public_key: self.identity.public_key().to_string(),
            instance: self.instance,
            last_epoch: self.last_epoch,
            nonce,
            signature: STANDARD.encode(signature),
            title: self.title.clone(),
            capabilities: self.capabilities.clone(),
            capacity: self.capacity,
            metadata: self.metadata.clone(),
            build_version: BUILD_VERSION.to_owned(),
            holding,
            clock: context.clock.now(),
        };
        context.channel.register(&register).await
    }

    async fn take_over(&mut self, context: &Context, registered: Registered) {
        let Registered { epoch, credential, settings, held, token_expires, clock } = registered;
        let kept = context.durable("the epoch", || context.journal.set_epoch(epoch)).await;
        if let Err(error) = kept {
            tracing::error!(%error, "the epoch is not journaled");
        }
        self.last_epoch = epoch;
        let skew = context.clock.now().as_millis() - clock.as_millis();
        tracing::info!(runner = %context.runner, %epoch, title = settings.title, skew_ms = skew, "registered");
        if let Some(why) = &held {
            tracing::warn!(why, "the server gives this runner no work until somebody decides");
        }
        if let Some(expires) = token_expires {
            tracing::info!(%expires, "the registration token expires");
        }
        context.apply_settings(settings);
        context.channel.links().set(Link::Registered(Session { epoch, credential, held }));
        context.outbox.news();
    }
}
