//! Who wants to know when a task changes. This only wakes: what has changed is read from the store.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use legwork_core::TaskId;
use tokio::sync::watch;

/// Wakes those who follow a task. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct TaskWakes {
    tasks: Arc<Mutex<HashMap<TaskId, watch::Sender<()>>>>,
}

impl TaskWakes {
    /// Says that a task, or its log, has changed. Costs next to nothing if nobody follows it.
    pub(crate) fn wake(&self, task: TaskId) {
        if let Some(sender) = self.tasks().get(&task) {
            sender.send_replace(());
        }
    }

    /// From now on every change of the task is noticed, until the subscription is dropped.
    pub(crate) fn subscribe(&self, task: TaskId) -> TaskSubscription {
        let receiver = self.tasks().entry(task).or_default().subscribe();
        TaskSubscription { task, receiver: Some(receiver), wakes: self.clone() }
    }

    fn tasks(&self) -> MutexGuard<'_, HashMap<TaskId, watch::Sender<()>>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notices every change of a task.
#[derive(Debug)]
pub(crate) struct TaskSubscription {
    task: TaskId,
    receiver: Option<watch::Receiver<()>>,
    wakes: TaskWakes,
}

impl TaskSubscription {
    /// Waits until something has changed since the last time.
    pub(crate) async fn changed(&mut self) {
        // The sender lives as long as a receiver does, so this ends only with a change.
        if let Some(receiver) = &mut self.receiver
            && receiver.changed().await.is_ok()
        {
            return;
        }
        std::future::pending::<()>().await;
    }
}

impl Drop for TaskSubscription {
    fn drop(&mut self) {
        let mut tasks = self.wakes.tasks();
        self.receiver = None;
        if tasks.get(&self.task).is_some_and(|sender| sender.receiver_count() == 0) {
            tasks.remove(&self.task);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_between_looks_is_not_lost() {
        let (wakes, task) = (TaskWakes::default(), TaskId::new());
        wakes.wake(task);
        let mut one = wakes.subscribe(task);
        let mut other = wakes.subscribe(task);
        wakes.wake(task);
        one.changed().await;
        other.changed().await;
        drop(one);
        wakes.wake(task);
        other.changed().await;
        drop(other);
        assert!(wakes.tasks().is_empty());
    }
}
