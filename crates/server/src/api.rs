//! The public REST API: one file for each kind of thing.

pub(crate) mod document;
pub(crate) mod follow;
pub(crate) mod logs;
pub(crate) mod results;
pub(crate) mod runners;
pub(crate) mod server;
mod task_request;
pub(crate) mod tasks;
pub(crate) mod tokens;
mod view;
