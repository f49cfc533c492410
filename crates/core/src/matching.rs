//! Which runner gets which task.

use serde::{Deserialize, Serialize};

use crate::capability::{Capabilities, REMOTE_SCRIPT};
use crate::clock::Timestamp;
use crate::ids::RunnerId;

/// What the server knows of a runner when it hands out work.
#[derive(Clone, Debug, PartialEq)]
pub struct RunnerView {
    /// Which runner.
    pub id: RunnerId,
    /// What people call it.
    pub title: String,
    /// What it offers.
    pub capabilities: Capabilities,
    /// Executors it may have.
    pub capacity: u32,
    /// Slots taken by tasks, as the server counts attempts that are offered or running.
    pub used: u32,
    /// Of these, slots taken by scripts.
    pub used_by_scripts: u32,
    /// Whether it can be given work.
    pub availability: Availability,
}

/// Whether a runner can be given work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "availability", rename_all = "snake_case")]
pub enum Availability {
    /// It asks for work.
    Online,
    /// It has not been heard of since then.
    Offline {
        /// The last time it was heard of; none if it never was since the server started.
        since: Option<Timestamp>,
    },
    /// Somebody disabled it.
    Disabled,
    /// It takes no new work because it is being emptied or stopped.
    Draining,
    /// Its protocol version is not ours.
    Outdated,
    /// Two processes claim to be this runner; somebody must decide.
    Conflict,
}

/// Slots of a runner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreeSlots {
    /// For anything.
    pub tasks: u32,
    /// For scripts, the kept slot included.
    pub scripts: u32,
}

impl RunnerView {
    /// The slots into which work can go now.
    ///
    /// With a capacity of 2 or more, a runner that offers `remote-script` keeps one slot for scripts.
    pub fn free_slots(&self) -> FreeSlots {
        if self.availability != Availability::Online {
            return FreeSlots::default();
        }
        free_slots(self.capacity, self.used, self.used_by_scripts, self.capabilities.has(REMOTE_SCRIPT))
    }

    /// True if this runner, whatever its state now, offers what the task requires.
    pub fn matches(&self, required: &Capabilities) -> bool {
        self.capabilities.offers(required)
    }
}

/// The slots into which work can go on a runner of this capacity.
pub fn free_slots(capacity: u32, used: u32, used_by_scripts: u32, offers_scripts: bool) -> FreeSlots {
    let scripts = capacity.saturating_sub(used);
    let kept = u32::from(offers_scripts && capacity >= 2 && used_by_scripts == 0);
    FreeSlots { tasks: scripts.saturating_sub(kept), scripts: if offers_scripts { scripts } else { 0 } }
}

/// One group of queued tasks that require the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedGroup {
    /// What they require.
    pub required: Capabilities,
    /// How many there are.
    pub tasks: u32,
}

/// How much of which group a runner is to be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// To whom.
    pub runner: RunnerId,
    /// Tasks with any of these requirements, best first whatever their group.
    pub groups: Vec<Capabilities>,
    /// At most so many.
    pub tasks: u32,
}

/// Spreads queued work over the runners that are asking for it.
///
/// Runners with the most free slots come first, so that work spreads; scripts are assigned before tasks since
/// only they may use the kept slot. What is assigned is an upper bound: the claim in the database decides.
pub fn assign(groups: &[QueuedGroup], waiting: &[RunnerView]) -> Vec<Assignment> {
    let mut left: Vec<u32> = groups.iter().map(|group| group.tasks).collect();
    let mut runners: Vec<&RunnerView> = waiting.iter().collect();
    runners.sort_by_key(|runner| (std::cmp::Reverse(runner.free_slots().scripts.max(runner.free_slots().tasks)), runner.id));
    let mut assignments = Vec::new();
    for scripts in [true, false] {
        for runner in &runners {
            let taken: u32 =
                assignments.iter().filter(|made: &&Assignment| made.runner == runner.id).map(|made| made.tasks).sum();
            let free = runner.free_slots();
            let slots = if scripts { free.scripts } else { free.tasks }.saturating_sub(taken);
            let matching: Vec<usize> = (0..groups.len())
                .filter(|&index| {
                    left[index] > 0 && groups[index].required.is_script() == scripts && runner.matches(&groups[index].required)
                })
                .collect();
            let wanted: u32 = matching.iter().fold(0u32, |sum, &index| sum.saturating_add(left[index]));
            let tasks = slots.min(wanted);
            if tasks == 0 {
                continue;
            }
            let mut rest = tasks;
            for &index in &matching {
                let here = left[index].min(rest);
                left[index] -= here;
                rest -= here;
            }
            assignments.push(Assignment {
                runner: runner.id,
                groups: matching.iter().map(|&index| groups[index].required.clone()).collect(),
                tasks,
            });
        }
    }
    assignments
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn runner(capabilities: &str, capacity: u32, used: u32) -> RunnerView {
        RunnerView {
            id: RunnerId::new(),
            title: "r".to_owned(),
            capabilities: Capabilities::parse_list(capabilities).unwrap(),
            capacity,
            used,
            used_by_scripts: 0,
            availability: Availability::Online,
        }
    }

    fn group(required: &str, tasks: u32) -> QueuedGroup {
        QueuedGroup { required: Capabilities::parse_list(required).unwrap(), tasks }
    }

    #[test]
    fn one_slot_is_kept_for_scripts() {
        assert_eq!(runner("remote,remote-script", 8, 0).free_slots(), FreeSlots { tasks: 7, scripts: 8 });
        assert_eq!(runner("remote,remote-script", 8, 7).free_slots(), FreeSlots { tasks: 0, scripts: 1 });
        assert_eq!(runner("remote,remote-script", 1, 0).free_slots(), FreeSlots { tasks: 1, scripts: 1 });
        assert_eq!(runner("remote", 8, 0).free_slots(), FreeSlots { tasks: 8, scripts: 0 });
        assert_eq!(runner("remote", 2, 5).free_slots(), FreeSlots::default());
    }

    #[test]
    fn work_goes_only_where_it_can_run() {
        let (plain, gpu) = (runner("remote", 4, 0), runner("remote,gpu", 4, 3));
        let assigned = assign(&[group("gpu", 3), group("remote", 2)], &[plain.clone(), gpu.clone()]);
        let to = |id| assigned.iter().filter(|made| made.runner == id).map(|made| made.tasks).sum::<u32>();
        assert_eq!(to(gpu.id), 1);
        assert_eq!(to(plain.id), 2);
    }

    #[test]
    fn nothing_is_assigned_beyond_the_slots() {
        let runners: Vec<_> = (0..3).map(|used| runner("remote,remote-script", 4, used)).collect();
        let assigned = assign(&[group("", 100), group("remote-script", 100)], &runners);
        for runner in &runners {
            let tasks: u32 = assigned.iter().filter(|made| made.runner == runner.id).map(|made| made.tasks).sum();
            assert!(tasks <= runner.capacity - runner.used, "{assigned:?}");
        }
        let disabled = RunnerView { availability: Availability::Disabled, ..runners[0].clone() };
        assert!(assign(&[group("", 1)], &[disabled]).is_empty());
    }
}
