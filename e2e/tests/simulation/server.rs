//! Users and the server: the real store, asked as API and channel ask it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use legwork_core::spec::LostRunnerPolicy;
use legwork_core::task::TaskState;
use legwork_core::{AttemptId, Capabilities, Epoch, InstanceId, RunnerId, TaskId, TaskSpec, limits};
use legwork_store::StoreError;
use legwork_store::events::EventRefusal;
use legwork_store::held::Wanted;
use legwork_store::sessions::{Registered, Registration};
use legwork_store::tasks::NewTask;

use crate::world::{Answer, CHALLENGE, Request, World};

impl World<'_> {
    pub(crate) async fn submit(&mut self) -> Result<(), StoreError> {
        let mut spec = TaskSpec::new("image", "test.Task");
        let after = Duration::from_secs(self.dice.between(60, 240).unsigned_abs());
        spec.lost_runner = match self.dice.between(0, 5) {
            0 => LostRunnerPolicy::Fail { after },
            1 => LostRunnerPolicy::RunElsewhere { after },
            _ => LostRunnerPolicy::Wait,
        };
        spec.retries = u32::from(self.dice.percent(50));
        let id = TaskId::new();
        let task = NewTask { id, spec, input: b"{}".to_vec(), created_by: "test".to_owned(), idempotency: None };
        self.store.create_task(task, self.server_now()).await?;
        self.tasks.push(id);
        self.to_submit -= 1;
        Ok(())
    }

    pub(crate) async fn abort(&mut self) -> Result<(), StoreError> {
        if self.tasks.is_empty() || !self.server_up {
            return Ok(());
        }
        let task = self.tasks[usize::try_from(self.dice.between(0, i64::try_from(self.tasks.len()).unwrap())).unwrap()];
        self.store.request_abort(task, "test", "", self.server_now()).await?;
        self.aborted.insert(task);
        Ok(())
    }

    pub(crate) async fn serve(&mut self, runner: usize, instance: InstanceId, request: Request) -> Result<(), StoreError> {
        let (id, now) = (self.runners[runner].id, self.server_now());
        self.last_seen[runner] = self.now;
        let answer = match request {
            Request::Register { sent, .. } if self.now > sent + CHALLENGE => return Ok(()),
            Request::Register { last_epoch, .. } => {
                let registration = registration(id, instance, last_epoch);
                let Registered::As(row) = self.store.register_runner(registration, now).await? else { return Ok(()) };
                Answer::Registered(row.epoch)
            }
            Request::Poll { epoch, free_slots, holding, aborting } => {
                match self.store.runner(id).await? {
                    Some(row) if row.epoch == epoch => {}
                    _ => {
                        self.answer(runner, instance, Answer::Superseded(epoch));
                        return Ok(());
                    }
                }
                self.poll(runner, epoch, free_slots, &holding, &aborting).await?
            }
            Request::Confirm { epoch, attempt, call } => {
                let (_, confirmed) = self.store.confirm(&[attempt], id, epoch, now).await?.remove(0);
                if confirmed.is_err() {
                    self.tally.count("late confirmation refused");
                }
                Answer::Confirmed { attempt, call, counts: confirmed.is_ok() }
            }
            Request::Events { epoch, events } => {
                let answers = self.store.apply_events(id, epoch, events, now).await?;
                let mut applied = Vec::new();
                for answer in answers {
                    let refused = matches!(answer.refused, Some(EventRefusal::Denied(_)));
                    if refused {
                        self.tally.count("late events refused");
                    }
                    applied.push((answer.attempt, answer.through.0, refused));
                }
                // Refusals of an older epoch are told to no one: that process hears `superseded`.
                match self.store.runner(id).await? {
                    Some(row) if row.epoch == epoch => Answer::Applied(applied),
                    _ => Answer::Superseded(epoch),
                }
            }
        };
        self.answer(runner, instance, answer);
        Ok(())
    }

    pub(crate) async fn poll(
        &mut self,
        runner: usize,
        epoch: Epoch,
        free_slots: usize,
        holding: &[AttemptId],
        aborting: &BTreeSet<AttemptId>,
    ) -> Result<Answer, StoreError> {
        let (id, now) = (self.runners[runner].id, self.server_now());
        let held = self.store.held_attempts(id).await?;
        let aborts =
            held.iter().filter(|held| held.abort.is_some() && !aborting.contains(&held.id)).map(|held| held.id).collect();
        let mut offers: Vec<AttemptId> =
            held.iter().filter(|held| held.offered && !holding.contains(&held.id)).map(|held| held.id).collect();
        let foreign: Vec<_> = holding.iter().filter(|id| held.iter().all(|held| held.id != **id)).copied().collect();
        let wanted = self.store.wanted(id, &foreign).await?;
        let superseded = wanted.into_iter().filter(|(_, wanted)| *wanted == Wanted::No).map(|(id, _)| id).collect();
        let free = u32::try_from(free_slots.saturating_sub(offers.len())).unwrap();
        if free > 0 {
            let until = now.plus(limits::OFFER_TIME);
            let claimed = self.store.offer_tasks(id, epoch, &[Capabilities::default()], free, now, until).await?;
            offers.extend(claimed.into_iter().map(|offer| offer.attempt));
        }
        Ok(Answer::Polled { offers, aborts, superseded })
    }

    pub(crate) async fn server_tick(&mut self) -> Result<(), StoreError> {
        let now = self.server_now();
        for _ in self.store.expire_offers(now).await? {
            self.tally.count("offer expired");
        }
        let silences: Vec<_> = self
            .runners
            .iter()
            .zip(&self.last_seen)
            .map(|(runner, seen)| (runner.id, Duration::from_millis((self.now - seen).unsigned_abs())))
            .filter(|(_, silence)| *silence > Duration::from_secs(30))
            .collect();
        for attempt in self.store.apply_lost_runner(&silences, now).await? {
            let finished =
                self.store.task(attempt.task).await?.is_some_and(|task| matches!(task.state, TaskState::Finished { .. }));
            let what = if finished { "failed by the lost-runner policy" } else { "run elsewhere by the lost-runner policy" };
            self.tally.count(what);
        }
        Ok(())
    }
}

fn registration(id: RunnerId, instance: InstanceId, last_epoch: Epoch) -> Registration {
    let mut credential = [0; 32];
    credential[..16].copy_from_slice(InstanceId::new().0.as_bytes());
    Registration {
        id,
        public_key: format!("ed25519:{id}"),
        token: None,
        instance,
        last_epoch: Some(last_epoch).filter(|epoch| epoch.0 > 0),
        credential,
        title: "runner".to_owned(),
        capabilities: Capabilities::default(),
        capacity: 4,
        eviction_time: Duration::ZERO,
        version: "simulated".to_owned(),
        protocol: 1,
        engine: "simulated".to_owned(),
        metadata: BTreeMap::new(),
    }
}
