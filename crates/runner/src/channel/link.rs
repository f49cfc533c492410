//! How it stands between this runner and the server.

use std::time::Duration;

use legwork_core::Epoch;
use tokio::sync::watch;

/// A registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    /// Its epoch.
    pub(crate) epoch: Epoch,
    /// What every request shows.
    pub(crate) credential: String,
    /// Set if the server gives no work until somebody decides, and why.
    pub(crate) held: Option<String>,
}

/// How it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// Not registered yet, or not any more; why, in words.
    Registering(String),
    /// Registered.
    Registered(Session),
    /// Another process has registered as this runner: this one takes no more work.
    Superseded(String),
}

/// The link, for everybody who waits for a change of it.
pub(crate) struct Links {
    link: watch::Sender<Link>,
    /// Raised whenever the server was reached, so that those who wait to try again need not.
    reached: watch::Sender<bool>,
}

impl Links {
    pub(crate) fn new() -> Self {
        Self { link: watch::Sender::new(Link::Registering("starting".to_owned())), reached: watch::Sender::new(false) }
    }

    pub(crate) fn get(&self) -> Link {
        self.link.borrow().clone()
    }

    pub(crate) fn session(&self) -> Option<Session> {
        match &*self.link.borrow() {
            Link::Registered(session) => Some(session.clone()),
            Link::Registering(_) | Link::Superseded(_) => None,
        }
    }

    /// Waits until this runner is registered; none if it never will be.
    pub(crate) async fn registered(&self) -> Option<Session> {
        let mut link = self.link.subscribe();
        let link = link.wait_for(|link| !matches!(link, Link::Registering(_))).await.ok()?;
        match &*link {
            Link::Registered(session) => Some(session.clone()),
            Link::Registering(_) | Link::Superseded(_) => None,
        }
    }

    /// Waits until this runner has to register; false if it never must again.
    pub(crate) async fn unregistered(&self) -> bool {
        let mut link = self.link.subscribe();
        let link = link.wait_for(|link| !matches!(link, Link::Registered(_))).await;
        link.is_ok_and(|link| matches!(&*link, Link::Registering(_)))
    }

    pub(crate) fn set(&self, link: Link) {
        self.link.send_replace(link);
        self.reached();
    }

    /// Says why this runner is not registered yet.
    pub(crate) fn trouble(&self, why: &str) {
        self.link.send_if_modified(|link| {
            let news = matches!(link, Link::Registering(old) if old != why);
            if news {
                *link = Link::Registering(why.to_owned());
            }
            news
        });
    }

    /// The server does not accept this session any more: register again.
    pub(crate) fn lost(&self, session: &Session, why: &str) {
        self.link.send_if_modified(|link| {
            let current = matches!(link, Link::Registered(now) if now.credential == session.credential);
            if current {
                *link = Link::Registering(why.to_owned());
            }
            current
        });
    }

    /// The server says that this session was replaced. False if it was this process that has replaced it.
    pub(crate) fn superseded(&self, session: &Session, why: &str) -> bool {
        let mut by_others = false;
        self.link.send_if_modified(|link| {
            by_others = match link {
                Link::Registered(now) if now.credential == session.credential => {
                    *link = Link::Superseded(why.to_owned());
                    true
                }
                Link::Superseded(_) => true,
                Link::Registered(_) | Link::Registering(_) => false,
            };
            by_others
        });
        by_others
    }

    pub(crate) fn reached(&self) {
        self.reached.send_if_modified(|reached| !std::mem::replace(reached, true));
    }

    /// Waits before the next try: the time given, or until somebody else has reached the server.
    pub(crate) async fn pause(&self, time: Duration) {
        self.reached.send_if_modified(|reached| std::mem::replace(reached, false));
        let mut reached = self.reached.subscribe();
        // One request may fail while others succeed: that must not become a busy loop.
        let least = time.min(Duration::from_millis(50));
        tokio::time::sleep(least).await;
        // Both ends of the wait mean the same: try again.
        let _ = tokio::time::timeout(time.saturating_sub(least), reached.wait_for(|reached| *reached)).await;
    }
}
