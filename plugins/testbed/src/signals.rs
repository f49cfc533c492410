//! What happens on TERM, ABRT and INT.
//!
//! The program is process 1 of its container, for which the kernel drops signals without a handler, so it always
//! installs one. A thread of its own waits for the signals and ends the process with an aborted result.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use std::{io, process, thread};

use serde_json::{Map, Value};
use signal_hook::consts::{SIGABRT, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::exchange::Exchange;
use crate::run::complain;
use crate::steering::{Ledger, Steering};

/// The `exitCode` of a task that was aborted, as the Go SDK has it.
const ABORTED: i64 = 134;

/// What the main thread and the waiting thread share.
#[derive(Default)]
pub(crate) struct AbortSwitch {
    ignoring: AtomicBool,
    delay_ms: AtomicU64,
    ledger: OnceLock<Ledger>,
    finished: Mutex<bool>,
}

impl AbortSwitch {
    /// Starts to wait for signals.
    pub(crate) fn install(exchange: Arc<Exchange>) -> io::Result<Arc<Self>> {
        let switch = Arc::new(Self::default());
        let mut signals = Signals::new([SIGTERM, SIGABRT, SIGINT])?;
        let waiting = Arc::clone(&switch);
        thread::spawn(move || {
            for signal in signals.forever() {
                waiting.received(signal, &exchange);
            }
        });
        Ok(switch)
    }

    /// Applies the inputs.
    pub(crate) fn steer(&self, steering: &Steering) {
        self.ignoring.store(steering.ignore_signals, Ordering::SeqCst);
        self.delay_ms.store(steering.abort_delay.as_millis() as u64, Ordering::SeqCst);
        if let Some(ledger) = &steering.ledger {
            self.ledger.get_or_init(|| ledger.clone());
        }
    }

    /// Claims the end of the task for the main thread. Blocks until the process ends if an abort came first; an abort
    /// that comes later has no effect.
    pub(crate) fn finish(&self) {
        *self.lock() = true;
    }

    fn received(&self, signal: i32, exchange: &Exchange) {
        if self.ignoring.load(Ordering::SeqCst) {
            return;
        }
        // Held until the process ends, so that the main thread cannot deliver its own result meanwhile.
        let finished = self.lock();
        if *finished {
            return;
        }
        let name = match signal {
            SIGTERM => "SIGTERM",
            SIGABRT => "SIGABRT",
            _ => "SIGINT",
        };
        complain(&format!("received {name}"));
        thread::sleep(Duration::from_millis(self.delay_ms.load(Ordering::SeqCst)));
        if let Some(Err(error)) = self.ledger.get().map(|ledger| ledger.note("aborted")) {
            complain(&error.to_string());
        }
        let outputs = Map::from_iter([("signal".to_owned(), Value::from(name))]);
        let delivered = exchange.result_text(ABORTED, "Task was aborted", &outputs).and_then(|text| exchange.write_result(&text));
        if let Err(error) = &delivered {
            complain(&error.to_string());
        }
        // The main thread is busy with what the inputs say, and must not go on.
        process::exit(i32::from(delivered.is_err()));
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.finished.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
