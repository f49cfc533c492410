//! Server, runners, network and faults of one seed, and the oracle.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};
use std::time::Duration;

use legwork_core::attempt::{AttemptState, ExecutorSeen, Recovery, recover};
use legwork_core::event::AttemptEvent;
use legwork_core::spec::LostRunnerPolicy;
use legwork_core::task::{Outcome, TaskState};
use legwork_core::{AttemptId, Capabilities, Epoch, EventNumber, FailureClass, InstanceId, TaskId, TaskSpec, Timestamp, limits};
use legwork_store::events::EventRefusal;
use legwork_store::held::Wanted;
use legwork_store::sessions::{Registered, Registration};
use legwork_store::tasks::NewTask;
use legwork_store::{AttemptRecord, Ending, Store, StoreError};

use crate::dice::Dice;
use crate::runner::{Container, Entry, Process, Runner, final_events, result_of, running_events};

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// The beginning of all runs, by the wall.
const BEGINNING: i64 = 1_800_000_000_000;
/// After so many happenings a run that has not ended will not.
const TOO_LONG: usize = 40_000;
/// A challenge is good for a minute, so a registration that comes later is refused.
const CHALLENGE: i64 = MINUTE;

/// What happened how often.
#[derive(Debug, Default)]
pub(crate) struct Tally(BTreeMap<&'static str, u64>);

impl Tally {
    const WANTED: &'static [&'static str] = &[
        "task completed",
        "task aborted",
        "request lost",
        "answer lost",
        "message repeated",
        "message a day late",
        "late confirmation refused",
        "late events refused",
        "runner killed: accepted",
        "runner killed: creating",
        "runner killed: running",
        "runner killed: stopping",
        "runner killed: result_taken",
        "runner killed: acknowledged",
        "server away",
        "server away for a day",
        "clock of the server jumped",
        "container removed by others",
        "offer expired",
        "failed by the lost-runner policy",
        "run elsewhere by the lost-runner policy",
        "superseded attempt dropped",
        "retried after its class",
    ];

    fn count(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            *self.0.entry(what).or_default() += count;
        }
    }

    pub(crate) fn missing(&self) -> Vec<&'static str> {
        Self::WANTED.iter().filter(|what| !self.0.contains_key(*what)).copied().collect()
    }

    pub(crate) fn print(&self, title: &str) {
        use std::io::Write as _;
        let mut text = format!("simulation: {title}\n");
        for (what, count) in &self.0 {
            text.push_str(&format!("  {count:>8} × {what}\n"));
        }
        std::io::stderr().write_all(text.as_bytes()).unwrap();
    }
}

/// What a runner asks.
#[derive(Clone, Debug)]
enum Request {
    Register { sent: i64, last_epoch: Epoch },
    Poll { epoch: Epoch, free_slots: usize, holding: Vec<AttemptId>, aborting: BTreeSet<AttemptId> },
    Confirm { epoch: Epoch, attempt: AttemptId, call: u64 },
    Events { epoch: Epoch, events: Vec<(AttemptId, EventNumber, AttemptEvent)> },
}

/// What the server answers.
#[derive(Clone, Debug)]
enum Answer {
    Registered(Epoch),
    Polled {
        offers: Vec<AttemptId>,
        aborts: Vec<AttemptId>,
        superseded: Vec<AttemptId>,
    },
    Confirmed {
        attempt: AttemptId,
        call: u64,
        counts: bool,
    },
    Applied(Vec<(AttemptId, u64, bool)>),
    /// The epoch of the request is not the newest.
    Superseded(Epoch),
}

#[derive(Clone, Debug)]
enum Happening {
    /// A request arrives.
    AtServer {
        runner: usize,
        instance: InstanceId,
        request: Request,
    },
    /// An answer arrives.
    AtRunner {
        runner: usize,
        instance: InstanceId,
        answer: Answer,
    },
    /// A runner's loops look around, because of news.
    Look {
        runner: usize,
        instance: InstanceId,
    },
    /// They do so from time to time without any.
    Tick {
        runner: usize,
        instance: InstanceId,
    },
    /// An attempt's course takes its next step.
    Step {
        runner: usize,
        instance: InstanceId,
        attempt: AttemptId,
    },
    /// A plugin ends, by itself or because it was killed.
    Exit {
        runner: usize,
        attempt: AttemptId,
        by_itself: bool,
    },
    ServerTick,
    Submit,
    Abort,
    Kill {
        runner: usize,
    },
    Start {
        runner: usize,
    },
    ServerAway {
        millis: i64,
    },
    ServerBack,
    ClockJumps {
        millis: i64,
    },
    RemoveContainer {
        runner: usize,
    },
    /// From here on nothing goes wrong any more.
    Heal,
}

struct World<'a> {
    store: &'a Store,
    dice: Dice,
    tally: Tally,
    /// Milliseconds since the beginning, true time.
    now: i64,
    queue: BinaryHeap<Reverse<(i64, u64)>>,
    happenings: HashMap<u64, Happening>,
    next: u64,
    /// Requests and answers that are on their way.
    on_the_way: usize,
    healed: bool,
    /// How often anybody looks around without news: rarely while everybody only waits for late messages.
    quiet: i64,
    server_up: bool,
    server_clock: i64,
    last_seen: Vec<i64>,
    runners: Vec<Runner>,
    tasks: Vec<TaskId>,
    to_submit: usize,
    aborted: BTreeSet<TaskId>,
    removed: BTreeSet<AttemptId>,
    /// The ledger: how often each attempt's plugin was started.
    executed: BTreeMap<AttemptId, u32>,
}

/// Runs one seed to its end.
pub(crate) async fn run(store: &Store, seed: u64) -> Result<Tally, String> {
    let mut world = World::new(store, seed);
    for count in 0.. {
        if world.is_over().await? {
            break;
        }
        if count > TOO_LONG {
            return Err(format!("it does not end: {}", world.describe().await));
        }
        let Some(Reverse((at, number))) = world.queue.pop() else { return Err("nothing more happens".to_owned()) };
        world.now = at;
        let happening = world.happenings.remove(&number).expect("every number has its happening");
        world.happen(happening).await?;
    }
    world.judge().await?;
    Ok(world.tally)
}

fn is_reported(record: &AttemptRecord) -> bool {
    matches!(record.ended, Some((_, Ending::Reported)))
}

fn words(error: impl std::fmt::Display) -> String {
    format!("the store failed: {error}")
}

impl<'a> World<'a> {
    fn new(store: &'a Store, seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let runners: Vec<_> =
            (0..dice.between(1, 3)).map(|_| Runner::new(usize::try_from(dice.between(1, 4)).unwrap())).collect();
        let mut world = Self {
            store,
            tally: Tally::default(),
            now: 0,
            queue: BinaryHeap::new(),
            happenings: HashMap::new(),
            next: 0,
            on_the_way: 0,
            healed: false,
            quiet: 10 * SECOND,
            server_up: true,
            server_clock: 0,
            last_seen: vec![0; runners.len()],
            tasks: Vec::new(),
            to_submit: usize::try_from(dice.between(2, 6)).unwrap(),
            aborted: BTreeSet::new(),
            removed: BTreeSet::new(),
            executed: BTreeMap::new(),
            runners,
            dice,
        };
        for runner in 0..world.runners.len() {
            world.soon(Happening::Start { runner });
        }
        world.soon(Happening::ServerTick);
        for _ in 0..world.to_submit {
            let at = world.dice.between(0, 4 * MINUTE);
            world.at(at, Happening::Submit);
        }
        let faults = world.dice.between(2, 14);
        for _ in 0..faults {
            let at = world.dice.between(SECOND, 8 * MINUTE);
            let fault = world.fault();
            world.at(at, fault);
        }
        world.at(10 * MINUTE, Happening::Heal);
        world
    }

    fn fault(&mut self) -> Happening {
        let runner = usize::try_from(self.dice.between(0, i64::try_from(self.runners.len()).unwrap())).unwrap();
        match self.dice.between(0, 12) {
            0..=4 => Happening::Kill { runner },
            5 | 6 => Happening::Abort,
            7 => Happening::ServerAway { millis: self.dice.between(SECOND, 2 * MINUTE) },
            8 if self.dice.percent(30) => Happening::ServerAway { millis: DAY },
            8 | 9 => Happening::ClockJumps { millis: self.dice.between(-DAY, DAY) },
            _ => Happening::RemoveContainer { runner },
        }
    }

    fn at(&mut self, at: i64, happening: Happening) {
        self.queue.push(Reverse((at, self.next)));
        self.happenings.insert(self.next, happening);
        self.next += 1;
    }

    fn after(&mut self, from: i64, to: i64, happening: Happening) {
        let at = self.now + self.dice.between(from, to);
        self.at(at, happening);
    }

    fn soon(&mut self, happening: Happening) {
        self.after(1, 200, happening);
    }

    /// The next step of an attempt: now and then a disk, a registry or an engine takes its time.
    fn step_soon(&mut self, runner: usize, instance: InstanceId, attempt: AttemptId) {
        let most = if !self.healed && self.dice.percent(20) { 40 * SECOND } else { 300 };
        self.after(1, most, Happening::Step { runner, instance, attempt });
    }

    fn server_now(&self) -> Timestamp {
        Timestamp::from_millis(BEGINNING + self.now + self.server_clock)
    }

    async fn happen(&mut self, happening: Happening) -> Result<(), String> {
        match happening {
            Happening::AtServer { runner, instance, request } => {
                self.on_the_way -= 1;
                if self.server_up {
                    self.serve(runner, instance, request).await.map_err(words)?;
                }
            }
            Happening::AtRunner { runner, instance, answer } => {
                self.on_the_way -= 1;
                if self.process(runner, instance).is_some() {
                    self.take(runner, instance, answer)?;
                }
            }
            Happening::Look { runner, instance } => self.look(runner, instance),
            Happening::Tick { runner, instance } => {
                self.look(runner, instance);
                if self.process(runner, instance).is_some() {
                    let most = if self.runners[runner].is_idle() { self.quiet.max(MINUTE) } else { 8 * SECOND };
                    self.after(SECOND, most, Happening::Tick { runner, instance });
                }
            }
            Happening::Step { runner, instance, attempt } => {
                if self.process(runner, instance).is_some() {
                    self.step(runner, instance, attempt)?;
                }
            }
            Happening::Exit { runner, attempt, by_itself } => self.exit(runner, attempt, by_itself),
            Happening::ServerTick => {
                if self.server_up {
                    self.server_tick().await.map_err(words)?;
                }
                self.quiet = if self.is_quiet() { (self.quiet * 2).min(3 * HOUR) } else { 10 * SECOND };
                self.after(self.quiet / 5, self.quiet * 2, Happening::ServerTick);
            }
            Happening::Submit => self.submit().await.map_err(words)?,
            Happening::Abort => self.abort().await.map_err(words)?,
            Happening::Kill { runner } => self.kill(runner),
            Happening::Start { runner } => self.start(runner),
            Happening::ServerAway { millis } => {
                self.tally.count(if millis == DAY { "server away for a day" } else { "server away" });
                self.server_up = false;
                self.after(millis, millis + 1, Happening::ServerBack);
            }
            Happening::ServerBack => {
                self.server_up = true;
                // How long a runner was silent is known to the process that has waited for it.
                self.last_seen = vec![self.now; self.runners.len()];
            }
            Happening::ClockJumps { millis } => {
                self.tally.count("clock of the server jumped");
                self.server_clock = millis;
            }
            Happening::RemoveContainer { runner } => self.remove_by_others(runner),
            Happening::Heal => {
                self.healed = true;
                self.server_up = true;
                self.server_clock = 0;
            }
        }
        Ok(())
    }

    // --- users ---

    async fn submit(&mut self) -> Result<(), StoreError> {
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

    async fn abort(&mut self) -> Result<(), StoreError> {
        if self.tasks.is_empty() || !self.server_up {
            return Ok(());
        }
        let task = self.tasks[usize::try_from(self.dice.between(0, i64::try_from(self.tasks.len()).unwrap())).unwrap()];
        self.store.request_abort(task, "test", "", self.server_now()).await?;
        self.aborted.insert(task);
        Ok(())
    }

    // --- the network ---

    /// When something sent now arrives; nothing if it is lost.
    fn arrival(&mut self, lost: &'static str) -> Option<i64> {
        if self.healed {
            return Some(self.now + self.dice.between(1, 20));
        }
        if self.dice.percent(6) {
            self.tally.count(lost);
            return None;
        }
        if self.dice.percent(1) {
            self.tally.count("message a day late");
            return Some(self.now + DAY);
        }
        let most = if self.dice.percent(15) { 90 * SECOND } else { 100 };
        Some(self.now + self.dice.between(1, most))
    }

    fn send(&mut self, runner: usize, request: &Request) {
        let Some(process) = &self.runners[runner].process else { return };
        let instance = process.instance;
        let repeated = !self.healed && !matches!(request, Request::Register { .. }) && self.dice.percent(8);
        for _ in 0..=u32::from(repeated) {
            if let Some(at) = self.arrival("request lost") {
                self.on_the_way += 1;
                self.at(at, Happening::AtServer { runner, instance, request: request.clone() });
            }
        }
        if repeated {
            self.tally.count("message repeated");
        }
    }

    fn answer(&mut self, runner: usize, instance: InstanceId, answer: Answer) {
        if let Some(at) = self.arrival("answer lost") {
            self.on_the_way += 1;
            self.at(at, Happening::AtRunner { runner, instance, answer });
        }
    }

    // --- the server: the real store, asked as the channel asks it ---

    async fn serve(&mut self, runner: usize, instance: InstanceId, request: Request) -> Result<(), StoreError> {
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

    async fn poll(
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

    async fn server_tick(&mut self) -> Result<(), StoreError> {
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

    // --- the runners ---

    fn process(&mut self, runner: usize, instance: InstanceId) -> Option<&mut Process> {
        self.runners[runner].process.as_mut().filter(|process| process.instance == instance)
    }

    fn start(&mut self, runner: usize) {
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

    fn kill(&mut self, runner: usize) {
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

    fn look(&mut self, runner: usize, instance: InstanceId) {
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

    fn take(&mut self, runner: usize, instance: InstanceId, answer: Answer) -> Result<(), String> {
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
    fn drop_attempt(&mut self, runner: usize, attempt: AttemptId) {
        if self.runners[runner].forget(attempt) {
            self.tally.count("superseded attempt dropped");
        }
    }

    /// One act or one write of the journal; a crash falls before or after it.
    fn step(&mut self, runner: usize, instance: InstanceId, attempt: AttemptId) -> Result<(), String> {
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
            self.step_soon(runner, instance, attempt);
            return Ok(());
        }
        match recover(Some(entry.state), seen) {
            Recovery::Confirm => {
                let process = known.process.as_mut().expect("the caller has looked");
                if process.confirmed.contains(&attempt) {
                    entry.write(AttemptState::Creating, Vec::new())?;
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

    // --- the engine ---

    fn exit(&mut self, runner: usize, attempt: AttemptId, by_itself: bool) {
        let Some(container) = self.runners[runner].containers.get_mut(&attempt) else { return };
        if container.seen != ExecutorSeen::Running {
            return;
        }
        *container = Container { seen: ExecutorSeen::Exited, result: by_itself };
        if let Some(instance) = self.runners[runner].process.as_ref().map(|process| process.instance) {
            self.step_soon(runner, instance, attempt);
        }
    }

    fn remove_by_others(&mut self, runner: usize) {
        let running = |container: &Container| container.seen == ExecutorSeen::Running;
        let Some(attempt) = self.runners[runner].containers.iter().find(|(_, c)| running(c)).map(|(id, _)| *id) else { return };
        self.tally.count("container removed by others");
        self.runners[runner].containers.remove(&attempt);
        self.removed.insert(attempt);
        if let Some(instance) = self.runners[runner].process.as_ref().map(|process| process.instance) {
            self.step_soon(runner, instance, attempt);
        }
    }

    // --- the oracle ---

    fn is_quiet(&self) -> bool {
        self.to_submit == 0 && self.runners.iter().all(Runner::is_idle)
    }

    async fn is_over(&self) -> Result<bool, String> {
        if !self.healed || self.to_submit > 0 || self.on_the_way > 0 || !self.runners.iter().all(Runner::is_idle) {
            return Ok(false);
        }
        for task in &self.tasks {
            let task = self.store.task(*task).await.map_err(words)?.ok_or("a task is gone")?;
            if !matches!(task.state, TaskState::Finished { .. }) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn judge(&mut self) -> Result<(), String> {
        if let Some((attempt, times)) = self.executed.iter().find(|(_, times)| **times > 1) {
            return Err(format!("{attempt} was executed {times} times"));
        }
        for id in self.tasks.clone() {
            let task = self.store.task(id).await.map_err(words)?.ok_or("a task is gone")?;
            let TaskState::Finished { attempt, outcome } = task.state else { return Err(format!("{id} has not finished")) };
            let attempts = self.store.attempts(id).await.map_err(words)?;
            for record in &attempts {
                let of = record.id;
                let ran = self.executed.contains_key(&of);
                let reported = is_reported(record);
                if !ran && record.outcome == Some(Outcome::Completed) {
                    return Err(format!("{of} completed and was never executed"));
                }
                let comments = self.store.comments(id, Some(of.attempt)).await.map_err(words)?.len();
                if comments > 1 || (reported && ran && comments != 1) {
                    return Err(format!("{of} has {comments} comments and said one"));
                }
                if record.outcome == Some(Outcome::Failed(FailureClass::RemovedByOthers)) && !self.removed.contains(&of) {
                    return Err(format!("{of} is said to be removed by others, and nobody did that"));
                }
            }
            let more = attempts.iter().filter(|record| is_reported(record)).count();
            if more > 1 {
                self.tally.count("retried after its class");
            }
            match outcome {
                Outcome::Completed => {
                    let of = AttemptId { task: id, attempt: attempt.ok_or("completed without an attempt")? };
                    let kept =
                        self.store.result_chunk(of, 0).await.map_err(words)?.ok_or_else(|| format!("{of} has no result"))?;
                    if kept.bytes != result_of(of).as_bytes() {
                        return Err(format!("{of} has the result of another attempt"));
                    }
                    self.tally.count("task completed");
                }
                Outcome::Failed(FailureClass::Aborted) if self.aborted.contains(&id) => self.tally.count("task aborted"),
                Outcome::Failed(FailureClass::RemovedByOthers) => self.tally.count("task failed: removed by others"),
                Outcome::Failed(FailureClass::RunnerLost) if matches!(task.spec.lost_runner, LostRunnerPolicy::Fail { .. }) => {
                    self.tally.count("task failed: runner lost");
                }
                Outcome::Failed(class) => return Err(format!("{id} failed with {class}, for which there is no reason")),
            }
        }
        Ok(())
    }

    async fn describe(&self) -> String {
        let mut text = format!("{:?}\n{} messages are on their way\n", self.runners, self.on_the_way);
        for task in &self.tasks {
            text.push_str(&format!("{:?}\n", self.store.task(*task).await.map(|task| task.map(|task| task.state))));
        }
        text
    }
}

fn registration(id: legwork_core::RunnerId, instance: InstanceId, last_epoch: Epoch) -> Registration {
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
