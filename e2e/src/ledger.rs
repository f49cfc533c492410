//! The testbed's ledger: what plugins did, written down outside Legwork.
//!
//! A plugin opens a TCP connection, writes one line and waits for `ok`. The ledger answers when it has the line, so a
//! line that is missing was never written.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

/// A ledger that is listening on every address of this machine's own networks.
#[derive(Clone, Debug)]
pub struct Ledger {
    address: SocketAddr,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Ledger {
    /// Opens a ledger on a free port.
    pub fn open() -> std::io::Result<Self> {
        let listener = TcpListener::bind(("0.0.0.0", 0))?;
        let ledger = Self { address: listener.local_addr()?, lines: Arc::default() };
        let lines = Arc::clone(&ledger.lines);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let lines = Arc::clone(&lines);
                std::thread::spawn(move || {
                    let mut line = String::new();
                    let mut reader = BufReader::new(&stream);
                    if reader.read_line(&mut line).is_ok() && line.ends_with('\n') {
                        lines.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(line.trim_end().to_owned());
                        drop((&stream).write_all(b"ok\n"));
                    }
                });
            }
        });
        Ok(ledger)
    }

    /// The address under which containers on Docker's bridge reach it.
    pub fn address_for_containers(&self) -> String {
        format!("{}:{}", bridge_gateway(), self.address.port())
    }

    /// The lines so far, in the order of their arrival.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// How often this line was written.
    pub fn count(&self, line: &str) -> usize {
        self.lines().iter().filter(|written| *written == line).count()
    }
}

/// The host's address on Docker's bridge, as Docker tells it.
fn bridge_gateway() -> String {
    let output = std::process::Command::new("docker")
        .args(["network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}"])
        .output();
    match output {
        Ok(output) if output.status.success() && output.stdout.len() > 1 => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        _ => "172.17.0.1".to_owned(),
    }
}
