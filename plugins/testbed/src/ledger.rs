//! Telling something outside the container that the task started or ended.
//!
//! The protocol is one line each way over TCP: `<ledger_key> <event>` and, when it is noted for good, `ok`.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::steering::Ledger;

/// How long the ledger may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why the ledger did not note an event.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LedgerError {
    #[error("the ledger at {address} did not note `{event}`: {source}")]
    Unreachable { address: String, event: &'static str, source: io::Error },
    #[error("the ledger at {address} answered `{answer}` to `{event}`, expected `ok`")]
    Refused { address: String, event: &'static str, answer: String },
}

impl Ledger {
    /// Returns when the ledger has noted the event.
    pub(crate) fn note(&self, event: &'static str) -> Result<(), LedgerError> {
        let address = self.address.clone();
        match self.exchange(event) {
            Ok(answer) if answer == "ok\n" => Ok(()),
            Ok(answer) => Err(LedgerError::Refused { address, event, answer: answer.trim_end().to_owned() }),
            Err(source) => Err(LedgerError::Unreachable { address, event, source }),
        }
    }

    fn exchange(&self, event: &str) -> io::Result<String> {
        let mut connection = TcpStream::connect(&self.address)?;
        connection.set_read_timeout(Some(TIMEOUT))?;
        connection.set_write_timeout(Some(TIMEOUT))?;
        connection.write_all(format!("{} {event}\n", self.key).as_bytes())?;
        let mut answer = String::new();
        BufReader::new(connection).read_line(&mut answer)?;
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    #[test]
    fn an_event_is_noted_when_the_ledger_says_so() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ledger = Ledger { address: listener.local_addr().unwrap().to_string(), key: "task-1".to_owned() };
        let server = thread::spawn(move || {
            ["ok\n", "full\n"].map(|answer| {
                let (connection, _) = listener.accept().unwrap();
                let mut line = String::new();
                BufReader::new(&connection).read_line(&mut line).unwrap();
                (&connection).write_all(answer.as_bytes()).unwrap();
                line
            })
        });
        ledger.note("start").unwrap();
        let refused = ledger.note("end").unwrap_err().to_string();
        assert_eq!(server.join().unwrap(), ["task-1 start\n", "task-1 end\n"]);
        assert!(refused.ends_with("answered `full` to `end`, expected `ok`"), "{refused}");
    }
}
