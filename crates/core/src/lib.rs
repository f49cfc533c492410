//! The words and the decisions of Legwork, and nothing else.
//!
//! Every table of `STATES.md` is a pure function here: what a task becomes ([`task`]), what a runner
//! does with an attempt after a restart ([`attempt`]), how an attempt is judged ([`verdict`]), why a
//! task waits ([`waiting`]), which runner gets it ([`matching`]).
//!
//! This crate knows nobody: no runtime, no database, no network, no files. Time is an argument.
//! Start reading at [`task::TaskState`].

pub mod attempt;
pub mod capability;
pub mod clock;
pub mod event;
pub mod failure;
pub mod ids;
pub mod limits;
pub mod matching;
pub mod spec;
pub mod task;
pub mod verdict;
pub mod waiting;

pub use capability::{Capabilities, Capability};
pub use clock::{Clock, Timestamp};
pub use failure::{Failure, FailureClass, TimeoutKind};
pub use ids::{AttemptId, AttemptNumber, Epoch, EventNumber, InstanceId, RunnerId, TaskId, TokenId};
pub use spec::TaskSpec;
pub use task::{Outcome, TaskState, TaskStatus};
