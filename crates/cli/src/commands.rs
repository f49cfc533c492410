//! What each command does.

pub(crate) mod dev;
pub(crate) mod follow;
pub(crate) mod login;
pub(crate) mod process;
pub(crate) mod runner_start;
pub(crate) mod runners;
pub(crate) mod server;
pub(crate) mod task_run;
pub(crate) mod tasks;
pub(crate) mod tokens;
