//! One job, from input to result.

use std::hint::black_box;
use std::io::{self, BufWriter, Write as _};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde_json::Map;

use crate::content::data;
use crate::exchange::{Exchange, ExchangeError};
use crate::ledger::LedgerError;
use crate::log;
use crate::signals::AbortSwitch;
use crate::steering::{Crash, InvalidInput, Steering};

/// The argument that makes the program a child process that only waits.
pub const CHILD_ARGUMENT: &str = "child";

/// Why the task could not do what its inputs say. It becomes a failed result.
#[derive(Debug, thiserror::Error)]
enum TaskError {
    #[error(transparent)]
    Input(#[from] InvalidInput),
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("cannot write the log: {0}")]
    Log(#[source] io::Error),
    #[error("cannot reserve {0} bytes of memory")]
    Memory(usize),
    #[error("started {started} of {wanted} child processes, then: {source}")]
    Fork { started: u32, wanted: u32, source: io::Error },
}

/// The plugin: reads the input, does what it says, writes the result.
pub fn run() -> ExitCode {
    let exchange = match Exchange::from_environment() {
        Ok(exchange) => Arc::new(exchange),
        Err(error) => return complain(&error.to_string()),
    };
    let switch = match AbortSwitch::install(Arc::clone(&exchange)) {
        Ok(switch) => switch,
        Err(error) => return complain(&format!("cannot handle signals: {error}")),
    };
    let failed = match perform(&exchange, &switch) {
        Ok(status) => return ExitCode::from(status),
        Err(failed) => failed.to_string(),
    };
    switch.finish();
    complain(&failed);
    // As with the official SDKs, the verdict is in the result and not in the exit status.
    match exchange.result_text(1, &failed, &Map::new()).and_then(|text| exchange.write_result(&text)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&error.to_string()),
    }
}

/// A child process: lives for so many milliseconds.
pub fn child(milliseconds: &str) -> ExitCode {
    match milliseconds.parse() {
        Ok(milliseconds) => {
            thread::sleep(Duration::from_millis(milliseconds));
            ExitCode::SUCCESS
        }
        Err(_) => complain("the argument after `child` is not a number of milliseconds"),
    }
}

fn perform(exchange: &Exchange, switch: &AbortSwitch) -> Result<u8, TaskError> {
    let steering = Steering::from_inputs(exchange.read_inputs()?)?;
    switch.steer(&steering);
    if let Some(ledger) = &steering.ledger {
        ledger.note("start")?;
    }
    let (mut stdout, mut stderr) = (BufWriter::new(io::stdout()), BufWriter::new(io::stderr()));
    log::write(&steering.log, &mut stdout, &mut stderr).map_err(TaskError::Log)?;
    let memory = allocate(steering.allocate_bytes)?;
    fork(&steering)?;
    sleep(&steering).map_err(TaskError::Log)?;
    black_box(&memory);

    assert!(steering.crash != Some(Crash::Panic), "the input `crash` says so");
    let mut outputs = steering.outputs;
    if let Some(length) = steering.result_bytes {
        outputs.insert("data".to_owned(), data(length).into());
    }
    let text = exchange.result_text(steering.exit_code, &steering.message, &outputs)?;
    switch.finish();
    if let Some(ledger) = &steering.ledger {
        ledger.note("end")?;
    }
    match steering.crash {
        None | Some(Crash::Panic) => exchange.write_result(&text)?,
        Some(Crash::NoResult) => {}
        Some(Crash::TruncatedResult) => exchange.write_result(&text[..text.len() / 2])?,
        Some(Crash::GarbageResult) => exchange.write_result("this is no result\n")?,
    }
    Ok(steering.process_exit)
}

/// Every byte is written, so that the kernel must find a page for it.
fn allocate(bytes: usize) -> Result<Vec<u8>, TaskError> {
    let mut memory = Vec::new();
    memory.try_reserve_exact(bytes).map_err(|_| TaskError::Memory(bytes))?;
    memory.resize(bytes, 1);
    Ok(memory)
}

/// The children are left to themselves: whoever removes the container must remove them too.
fn fork(steering: &Steering) -> Result<(), TaskError> {
    for started in 0..steering.fork {
        Command::new("/proc/self/exe")
            .arg(CHILD_ARGUMENT)
            .arg(steering.fork_time.as_millis().to_string())
            .spawn()
            .map_err(|source| TaskError::Fork { started, wanted: steering.fork, source })?;
    }
    Ok(())
}

fn sleep(steering: &Steering) -> io::Result<()> {
    let Some(tick) = steering.tick else {
        thread::sleep(steering.sleep);
        return Ok(());
    };
    let ticks = steering.sleep.as_millis() / tick.as_millis();
    for n in 0..ticks {
        thread::sleep(tick);
        let mut stdout = io::stdout();
        stdout.write_all(log::tick(n as u64).as_bytes())?;
        stdout.flush()?;
    }
    Ok(())
}

/// Says on stderr what went wrong. That nobody may be listening is no reason to fail.
pub(crate) fn complain(message: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "testbed: {message}");
    ExitCode::FAILURE
}
