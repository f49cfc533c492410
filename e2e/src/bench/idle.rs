//! What a runner costs when it has nothing to do.

use super::Measurement;
use crate::world::World;

/// Megabytes of memory that a process has resident.
pub(super) fn resident(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok()).map_or(f64::NAN, |kib| kib / 1024.0)
}

pub(super) fn measure() -> Vec<Measurement> {
    let world = tokio::task::block_in_place(World::start);
    let runner = resident(world.runner_pid());
    let server = resident(world.server_pid());
    vec![
        Measurement::new("runner's memory, idle, Docker engine", runner, "MiB").at_most(20.0),
        Measurement::new("server's memory, idle", server, "MiB"),
    ]
}
