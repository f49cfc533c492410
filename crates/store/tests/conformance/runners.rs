//! Registering, sessions, settings and removal.

use std::time::Duration;

use legwork_core::task::Outcome;
use legwork_core::{Epoch, RunnerId};
use legwork_store::runners::{DesiredState, Removal, Runner, RunnerEdit};
use legwork_store::sessions::{Registered, Registration};

use crate::support::{Bed, at, capabilities, finished, registration};

on_both!(
    every_start_raises_the_epoch,
    an_older_store_is_a_conflict,
    a_lost_answer_is_no_conflict,
    settings_are_edited,
    runners_are_removed
);

impl Bed {
    async fn register(&self, registration: Registration) -> Runner {
        match self.store.register_runner(registration, at(5)).await.unwrap() {
            Registered::As(runner) => *runner,
            Registered::OtherKey => panic!("the key is the same"),
        }
    }
}

async fn every_start_raises_the_epoch(bed: Bed) {
    let first = registration(RunnerId::new(), "remote,docker");
    let runner = bed.register(first.clone()).await;
    assert_eq!((runner.epoch, runner.conflict.clone(), runner.settings.revision), (Epoch(1), None, 1));
    assert_eq!((runner.metadata["zone"].as_str(), runner.settings.capacity), ("a", 8));
    let session = bed.store.session(first.credential, at(6)).await.unwrap().unwrap();
    assert_eq!((session.runner, session.epoch, session.current), (first.id, Epoch(1), true));
    let mut second = registration(first.id, "remote");
    second.last_epoch = Some(Epoch(1));
    second.title = "ignored".into();
    let runner = bed.register(second.clone()).await;
    assert_eq!((runner.epoch, runner.conflict), (Epoch(2), None));
    assert_eq!((runner.settings.title.as_str(), runner.settings.capabilities), ("runner", capabilities("remote")));
    assert_eq!(runner.instance, second.instance);
    assert!(!bed.store.session(first.credential, at(7)).await.unwrap().unwrap().current, "the process before");
    assert!(bed.store.session(second.credential, at(7)).await.unwrap().unwrap().current);
    assert_eq!(bed.store.session([9; 32], at(7)).await.unwrap(), None);
    let mut stranger = registration(first.id, "remote");
    stranger.public_key = "ed25519:other".into();
    assert_eq!(bed.store.register_runner(stranger, at(8)).await.unwrap(), Registered::OtherKey);
    // The server was restored from a backup: the runner knows a higher epoch.
    let mut third = registration(first.id, "remote");
    third.last_epoch = Some(Epoch(20));
    let runner = bed.register(third).await;
    assert_eq!((runner.epoch, runner.conflict), (Epoch(21), None));
    let mut forgotten = registration(RunnerId::new(), "remote");
    forgotten.last_epoch = Some(Epoch(7));
    assert_eq!(bed.register(forgotten).await.epoch, Epoch(8));
}

async fn an_older_store_is_a_conflict(bed: Bed) {
    let id = RunnerId::new();
    let mut last = None;
    for _ in 0..3 {
        let mut start = registration(id, "remote");
        start.last_epoch = last;
        let runner = bed.register(start.clone()).await;
        bed.store.session(start.credential, at(6)).await.unwrap();
        last = Some(runner.epoch);
        assert_eq!(runner.conflict, None);
    }
    let mut copy = registration(id, "remote");
    copy.last_epoch = Some(Epoch(1));
    let runner = bed.register(copy).await;
    assert_eq!(runner.epoch, Epoch(4));
    assert!(runner.conflict.unwrap().contains("epoch 1"));
    assert!(bed.store.resolve_conflict(id).await.unwrap());
    assert!(!bed.store.resolve_conflict(id).await.unwrap());
    assert_eq!(bed.store.runner(id).await.unwrap().unwrap().conflict, None);
    bed.store.mark_conflict(id, "the process of epoch 3 is alive").await.unwrap();
    bed.store.mark_conflict(id, "another reason").await.unwrap();
    let runner = bed.store.runner(id).await.unwrap().unwrap();
    assert_eq!(runner.conflict.unwrap(), "the process of epoch 3 is alive");
}

async fn a_lost_answer_is_no_conflict(bed: Bed) {
    let first = registration(RunnerId::new(), "remote");
    bed.register(first.clone()).await;
    bed.store.session(first.credential, at(6)).await.unwrap();
    // It registers twice more and never hears the answers; then it is killed and starts again.
    for _ in 0..3 {
        let mut again = registration(first.id, "remote");
        again.last_epoch = Some(Epoch(1));
        assert_eq!(bed.register(again).await.conflict, None);
    }
    assert_eq!(bed.store.runner(first.id).await.unwrap().unwrap().epoch, Epoch(4));
}

async fn settings_are_edited(bed: Bed) {
    let (id, _) = bed.runner("remote").await;
    let edit = RunnerEdit {
        title: Some("Keller".to_owned()),
        capabilities: Some(capabilities("gpu")),
        capacity: Some(2),
        eviction_time: Some(Duration::from_millis(1500)),
        state: None,
    };
    let runner = bed.store.edit_runner(id, edit).await.unwrap().unwrap();
    assert_eq!((runner.settings.title.as_str(), runner.settings.capacity, runner.settings.revision), ("Keller", 2, 2));
    assert_eq!(runner.settings.eviction_time, Duration::from_millis(1500));
    assert_eq!((runner.settings.capabilities, runner.reported_capabilities), (capabilities("gpu"), capabilities("remote")));
    let disable = RunnerEdit { state: Some(DesiredState::Disabled), ..RunnerEdit::default() };
    let runner = bed.store.edit_runner(id, disable).await.unwrap().unwrap();
    assert_eq!((runner.settings.state, runner.settings.revision), (DesiredState::Disabled, 3));
    assert_eq!(runner.settings.title, "Keller");
    // What was edited stays when the runner registers again.
    let mut again = registration(id, "remote,arm");
    again.last_epoch = Some(Epoch(1));
    let runner = bed.register(again).await;
    assert_eq!((runner.settings.capabilities, runner.settings.state), (capabilities("gpu"), DesiredState::Disabled));
    assert_eq!(runner.reported_capabilities, capabilities("arm,remote"));
    assert_eq!(bed.store.edit_runner(RunnerId::new(), RunnerEdit::default()).await.unwrap(), None);
    assert_eq!(bed.store.runners().await.unwrap().len(), 1);
}

async fn runners_are_removed(bed: Bed) {
    let runner = bed.runner("remote").await;
    let task = bed.running(runner, |_| {}).await;
    assert_eq!(bed.store.remove_runner(runner.0).await.unwrap(), Removal::NotDeleting);
    let delete = RunnerEdit { state: Some(DesiredState::Deleting), ..RunnerEdit::default() };
    bed.store.edit_runner(runner.0, delete).await.unwrap();
    assert_eq!(bed.store.remove_runner(runner.0).await.unwrap(), Removal::HasTasks);
    bed.send(runner, task, 1, vec![finished(Outcome::Completed)]).await;
    assert_eq!(bed.store.remove_runner(runner.0).await.unwrap(), Removal::Removed);
    assert_eq!(bed.store.remove_runner(runner.0).await.unwrap(), Removal::Missing);
    assert_eq!(bed.store.attempts(task.task).await.unwrap()[0].runner, runner.0, "history stays");
}
