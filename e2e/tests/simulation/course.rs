//! What runners and their engines do.

use std::collections::BTreeSet;

use legwork_core::attempt::{AttemptState, ExecutorSeen, Recovery, recover};
use legwork_core::{AttemptId, EventNumber, FailureClass, InstanceId};

use crate::runner::{Container, Entry, Process, final_events, running_events};
use crate::world::{Answer, Happening, MINUTE, Request, SECOND, World};

impl World<'_> {
    pub(crate) fn process(&mut self, runner: usize, instance: InstanceId) -> Option<&mut Process> {
        self.runners[runner].process.as_mut().filter(|process| process.instance == instance)
    }

    pub(crate) fn start(&mut self, runner: usize) {
        if self.runners[runner].process.is_some() {
            return;
        }
        let process = Process::new();
        let instance = process.instance;
        self.runners[runner].process = Some(process);
        let known = &self.runners[runner];
        let attempts: BTreeSet<_> = known.journal.keys().chain(known.containers.keys()).copied().collect();
        for attempt in attempts {
            self.step_soon(runner, instance, attempt);
        }
        self.soon(Happening::Tick { runner, instance });
    }

    /// In states that are short a kill from the plan would be rare.
    fn kill_maybe(&mut self, runner: usize) {
        if !self.healed && self.dice.percent(15) {
            self.soon(Happening::Kill { runner });
        }
    }

    pub(crate) fn kill(&mut self, runner: usize) {
        if self.runners[runner].process.take().is_none() {
            return;
        }
        for entry in self.runners[runner].journal.values() {
            self.tally.count(match entry.state {
                AttemptState::Accepted => "runner killed: accepted",
                AttemptState::Creating => "runner killed: creating",
                AttemptState::Running => "runner killed: running",
                AttemptState::Stopping => "runner killed: stopping",
                AttemptState::ResultTaken => "runner killed: result_taken",
                AttemptState::Acknowledged | AttemptState::Removed => "runner killed: acknowledged",
            });
        }
        let away = if self.dice.percent(25) { 8 * MINUTE } else { 20 * SECOND };
        self.after(SECOND, away, Happening::Start { runner });
    }

    pub(crate) fn look(&mut self, runner: usize, instance: InstanceId) {
        let now = self.now;
        let Some(process) = self.process(runner, instance) else { return };
        let Some(epoch) = process.epoch else {
            let last_epoch = self.runners[runner].last_epoch;
            self.send(runner, &Request::Register { sent: now, last_epoch });
            return;
        };
        if process.poll_until <= now {
            process.poll_until = now + MINUTE;
            let (known, aborting) = (&self.runners[runner], self.runners[runner].process.as_ref().map(|p| p.aborting.clone()));
            let (free_slots, holding) = (known.free_slots(), known.holding());
            self.send(runner, &Request::Poll { epoch, free_slots, holding, aborting: aborting.unwrap_or_default() });
        }
        if self.process(runner, instance).is_some_and(|process| process.events_until <= now) {
            let journal = &self.runners[runner].journal;
            let events: Vec<_> = journal
                .iter()
                .flat_map(|(id, entry)| entry.events.iter().map(|(number, event)| (*id, EventNumber(*number), event.clone())))
                .collect();
            if !events.is_empty() {
                self.runners[runner].process.as_mut().expect("looked at above").events_until = now + MINUTE;
                self.send(runner, &Request::Events { epoch, events });
            }
        }
        let unconfirmed: Vec<_> = self.runners[runner]
            .journal
            .iter()
            .filter(|(_, entry)| entry.state == AttemptState::Accepted)
            .map(|(id, _)| *id)
            .collect();
        for attempt in unconfirmed {
            self.step_soon(runner, instance, attempt);
        }
    }

    pub(crate) fn take(&mut self, runner: usize, instance: InstanceId, answer: Answer) -> Result<(), String> {
        let now = self.now;
        match answer {
            Answer::Registered(epoch) => {
                let known = &mut self.runners[runner];
                known.last_epoch = known.last_epoch.max(epoch);
                let process = known.process.as_mut().expect("the caller has looked");
                process.epoch = process.epoch.max(Some(epoch));
                process.poll_until = 0;
                process.events_until = 0;
            }
            Answer::Superseded(epoch) => {
                if self.process(runner, instance).is_some_and(|process| process.epoch == Some(epoch)) {
                    // A late registration of an earlier process was taken for a newer one: whoever supervises us starts us again.
                    self.runners[runner].process = None;
                    self.after(SECOND, MINUTE, Happening::Start { runner });
                }
                return Ok(());
            }
            Answer::Polled { offers, aborts, superseded } => {
                self.process(runner, instance).expect("the caller has looked").poll_until = now;
                if offers.is_empty() && aborts.is_empty() && superseded.is_empty() {
                    // The server would have kept this poll waiting; here the next one comes a little later.
                    return Ok(());
                }
                for attempt in offers {
                    self.runners[runner].journal.entry(attempt).or_insert_with(Entry::accepted);
                    self.step_soon(runner, instance, attempt);
                }
                for attempt in aborts {
                    self.process(runner, instance).expect("the caller has looked").aborting.insert(attempt);
                    self.step_soon(runner, instance, attempt);
                }
                for attempt in superseded {
                    self.drop_attempt(runner, attempt);
                }
            }
            Answer::Confirmed { attempt, call, counts } => {
                let known = &mut self.runners[runner];
                // An answer belongs to the call that waits for it; who has given up waiting does not hear it.
                let waits = known.journal.get(&attempt).is_some_and(|entry| entry.state == AttemptState::Accepted);
                let process = known.process.as_mut().expect("the caller has looked");
                if !waits || process.confirming.get(&attempt) != Some(&call) {
                    return Ok(());
                }
                if counts {
                    process.confirmed.insert(attempt);
                    self.step_soon(runner, instance, attempt);
                } else {
                    if known.containers.contains_key(&attempt) {
                        return Err(format!("{attempt} has a container although the server has not agreed"));
                    }
                    self.drop_attempt(runner, attempt);
                }
            }
            Answer::Applied(applied) => {
                self.process(runner, instance).expect("the caller has looked").events_until = now;
                for (attempt, through, refused) in applied {
                    if refused {
                        self.drop_attempt(runner, attempt);
                        continue;
                    }
                    let Some(entry) = self.runners[runner].journal.get_mut(&attempt) else { continue };
                    entry.events.retain(|number, _| *number > through);
                    self.step_soon(runner, instance, attempt);
                }
            }
        }
        self.soon(Happening::Look { runner, instance });
        Ok(())
    }

    /// The server does not want it: executor and entry go.
    pub(crate) fn drop_attempt(&mut self, runner: usize, attempt: AttemptId) {
        if self.runners[runner].forget(attempt) {
            self.tally.count("superseded attempt dropped");
        }
    }

    /// One act or one write of the journal; a crash falls before or after it.
    pub(crate) fn step(&mut self, runner: usize, instance: InstanceId, attempt: AttemptId) -> Result<(), String> {
        let (seen, aborting) = {
            let known = &self.runners[runner];
            (known.seen(attempt), known.process.as_ref().is_some_and(|process| process.aborting.contains(&attempt)))
        };
        let known = &mut self.runners[runner];
        let Some(entry) = known.journal.get_mut(&attempt) else {
            if recover(None, seen) == Recovery::Remove {
                known.containers.remove(&attempt);
            }
            return Ok(());
        };
        if aborting && matches!(entry.state, AttemptState::Creating | AttemptState::Running) {
            entry.write(AttemptState::Stopping, Vec::new())?;
            self.kill_maybe(runner);
            self.step_soon(runner, instance, attempt);
            return Ok(());
        }
        match recover(Some(entry.state), seen) {
            Recovery::Confirm => {
                let process = known.process.as_mut().expect("the caller has looked");
                if process.confirmed.contains(&attempt) {
                    entry.write(AttemptState::Creating, Vec::new())?;
                    self.kill_maybe(runner);
                } else {
                    if let Some(epoch) = process.epoch {
                        let call = self.next;
                        process.confirming.insert(attempt, call);
                        self.send(runner, &Request::Confirm { epoch, attempt, call });
                    }
                    return Ok(());
                }
            }
            Recovery::Create if seen == ExecutorSeen::Missing => {
                known.containers.insert(attempt, Container { seen: ExecutorSeen::Created, result: false });
            }
            Recovery::Create => entry.write(AttemptState::Running, running_events())?,
            Recovery::Start => {
                known.containers.insert(attempt, Container { seen: ExecutorSeen::Running, result: false });
                *self.executed.entry(attempt).or_default() += 1;
                let most = if self.dice.percent(5) { 60 * MINUTE } else { 2 * MINUTE };
                self.after(10, most, Happening::Exit { runner, attempt, by_itself: true });
                return Ok(());
            }
            Recovery::Adopt => return Ok(()),
            Recovery::ContinueStopping => {
                self.after(10, 30 * SECOND, Happening::Exit { runner, attempt, by_itself: false });
                return Ok(());
            }
            Recovery::TakeResult | Recovery::JudgeMissing => {
                let result = known.containers.get(&attempt).is_some_and(|container| container.result);
                let failure = match (result, entry.stopping) {
                    (true, _) => None,
                    (false, true) => Some(FailureClass::Aborted),
                    (false, false) => Some(FailureClass::RemovedByOthers),
                };
                entry.write(AttemptState::ResultTaken, final_events(attempt, result, failure))?;
                self.soon(Happening::Look { runner, instance });
            }
            Recovery::Deliver => {
                // The executor goes whether or not the server has heard; the entry only when it has.
                known.containers.remove(&attempt);
                if entry.events.is_empty() {
                    entry.write(AttemptState::Acknowledged, Vec::new())?;
                } else {
                    return Ok(());
                }
            }
            Recovery::Remove => {
                known.forget(attempt);
                return Ok(());
            }
        }
        self.step_soon(runner, instance, attempt);
        Ok(())
    }

    pub(crate) fn exit(&mut self, runner: usize, attempt: AttemptId, by_itself: bool) {
        let Some(container) = self.runners[runner].containers.get_mut(&attempt) else { return };
        if container.seen != ExecutorSeen::Running {
            return;
        }
        *container = Container { seen: ExecutorSeen::Exited, result: by_itself };
        if let Some(instance) = self.runners[runner].process.as_ref().map(|process| process.instance) {
            self.step_soon(runner, instance, attempt);
        }
    }

    pub(crate) fn remove_by_others(&mut self, runner: usize) {
        let running = |container: &Container| container.seen == ExecutorSeen::Running;
        let Some(attempt) = self.runners[runner].containers.iter().find(|(_, c)| running(c)).map(|(id, _)| *id) else { return };
        self.tally.count("container removed by others");
        self.runners[runner].containers.remove(&attempt);
        self.removed.insert(attempt);
        if let Some(instance) = self.runners[runner].process.as_ref().map(|process| process.instance) {
            self.step_soon(runner, instance, attempt);
        }
    }
}
