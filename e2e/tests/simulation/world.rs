//! One seed: what happens when, the network, and how it all begins.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};

use legwork_core::event::AttemptEvent;
use legwork_core::{AttemptId, Epoch, EventNumber, InstanceId, TaskId, Timestamp};
use legwork_store::Store;

use crate::dice::Dice;
use crate::runner::Runner;
use crate::tally::Tally;

pub(crate) const SECOND: i64 = 1_000;
pub(crate) const MINUTE: i64 = 60 * SECOND;
pub(crate) const HOUR: i64 = 60 * MINUTE;
pub(crate) const DAY: i64 = 24 * HOUR;
/// The beginning of all runs, by the wall.
pub(crate) const BEGINNING: i64 = 1_800_000_000_000;
/// After so many happenings a run that has not ended will not.
const TOO_LONG: usize = 40_000;
/// A challenge is good for a minute, so a registration that comes later is refused.
pub(crate) const CHALLENGE: i64 = MINUTE;

/// What a runner asks.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    Register { sent: i64, last_epoch: Epoch },
    Poll { epoch: Epoch, free_slots: usize, holding: Vec<AttemptId>, aborting: BTreeSet<AttemptId> },
    Confirm { epoch: Epoch, attempt: AttemptId, call: u64 },
    Events { epoch: Epoch, events: Vec<(AttemptId, EventNumber, AttemptEvent)> },
}

/// What the server answers.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
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
pub(crate) enum Happening {
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

pub(crate) struct World<'a> {
    pub(crate) store: &'a Store,
    pub(crate) dice: Dice,
    pub(crate) tally: Tally,
    /// Milliseconds since the beginning, true time.
    pub(crate) now: i64,
    pub(crate) queue: BinaryHeap<Reverse<(i64, u64)>>,
    pub(crate) happenings: HashMap<u64, Happening>,
    pub(crate) next: u64,
    /// Requests and answers that are on their way.
    pub(crate) on_the_way: usize,
    pub(crate) healed: bool,
    /// How often anybody looks around without news: rarely while everybody only waits for late messages.
    pub(crate) quiet: i64,
    pub(crate) server_up: bool,
    pub(crate) server_clock: i64,
    pub(crate) last_seen: Vec<i64>,
    pub(crate) runners: Vec<Runner>,
    pub(crate) tasks: Vec<TaskId>,
    pub(crate) to_submit: usize,
    pub(crate) aborted: BTreeSet<TaskId>,
    pub(crate) removed: BTreeSet<AttemptId>,
    /// The ledger: how often each attempt's plugin was started.
    pub(crate) executed: BTreeMap<AttemptId, u32>,
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

pub(crate) fn words(error: impl std::fmt::Display) -> String {
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

    pub(crate) fn at(&mut self, at: i64, happening: Happening) {
        self.queue.push(Reverse((at, self.next)));
        self.happenings.insert(self.next, happening);
        self.next += 1;
    }

    pub(crate) fn after(&mut self, from: i64, to: i64, happening: Happening) {
        let at = self.now + self.dice.between(from, to);
        self.at(at, happening);
    }

    pub(crate) fn soon(&mut self, happening: Happening) {
        self.after(1, 200, happening);
    }

    /// The next step of an attempt: now and then a disk, a registry or an engine takes its time.
    pub(crate) fn step_soon(&mut self, runner: usize, instance: InstanceId, attempt: AttemptId) {
        let most = if !self.healed && self.dice.percent(20) { 40 * SECOND } else { 300 };
        self.after(1, most, Happening::Step { runner, instance, attempt });
    }

    pub(crate) fn server_now(&self) -> Timestamp {
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

    /// When something sent now arrives; nothing if it is lost.
    pub(crate) fn arrival(&mut self, lost: &'static str) -> Option<i64> {
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

    pub(crate) fn send(&mut self, runner: usize, request: &Request) {
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

    pub(crate) fn answer(&mut self, runner: usize, instance: InstanceId, answer: Answer) {
        if let Some(at) = self.arrival("answer lost") {
            self.on_the_way += 1;
            self.at(at, Happening::AtRunner { runner, instance, answer });
        }
    }
}
