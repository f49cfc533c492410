//! What the scripted server knows: the same promises as the real one, in memory.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use legwork_core::event::{AttemptEvent, LogContent, LogStream, LogSummary, Report};
use legwork_core::{AttemptId, Epoch, TaskSpec};
use legwork_protocol::channel::{Abort, ChunkAnswer, Confirmed, Event, EventsApplied, Offer, Poll, PollAnswer, RunnerSettings};
use legwork_protocol::envelope::Envelope;
use legwork_protocol::frames;

/// How long an offer stands.
const OFFER_TIME: Duration = Duration::from_millis(300);

#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) attempts: BTreeMap<AttemptId, Entry>,
    pub(crate) epoch: u64,
    /// Epochs whose credentials mean an unknown runner.
    pub(crate) forgotten: u64,
    pub(crate) superseded: bool,
    pub(crate) registrations: u32,
    pub(crate) goodbye: Option<bool>,
    pub(crate) settings: Option<RunnerSettings>,
}

pub(crate) struct Entry {
    spec: TaskSpec,
    input: Vec<u8>,
    offered: bool,
    offered_at: Option<Instant>,
    confirmed: bool,
    replaced: bool,
    abort: Option<String>,
    events: Vec<(u64, AttemptEvent)>,
    result: Vec<u8>,
    result_chunks: u64,
    log: [Stream; 2],
}

#[derive(Default, Clone)]
struct Stream {
    bytes: Vec<u8>,
    length: u64,
}

/// A log as the server has it.
pub(crate) struct Log {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stdout_length: u64,
    pub(crate) summary: LogSummary,
}

impl Ledger {
    /// What has not ended, for the message of a test that waits in vain.
    pub(crate) fn unfinished(&self) -> String {
        let open = self.attempts.iter().filter(|(_, entry)| !entry.has_log_end());
        open.map(|(id, entry)| {
            let Entry { offered, confirmed, result_chunks, .. } = entry;
            format!("{id}: offered {offered}, confirmed {confirmed}, {result_chunks} chunks, events {:?}", entry.events)
        })
        .collect::<Vec<_>>()
        .join("\n")
    }

    pub(crate) fn epoch(&self) -> Epoch {
        Epoch(self.epoch)
    }

    pub(crate) fn registrations(&self) -> u32 {
        self.registrations
    }

    pub(crate) fn said_goodbye(&self) -> Option<bool> {
        self.goodbye
    }

    pub(crate) fn add(&mut self, attempt: AttemptId, spec: TaskSpec, input: Vec<u8>) {
        let entry = Entry {
            spec,
            input,
            offered: false,
            offered_at: None,
            confirmed: false,
            replaced: false,
            abort: None,
            events: Vec::new(),
            result: Vec::new(),
            result_chunks: 0,
            log: [Stream::default(), Stream::default()],
        };
        self.attempts.insert(attempt, entry);
    }

    pub(crate) fn is_running(&self, attempt: AttemptId) -> bool {
        use legwork_core::event::Phase;
        self.has_event(attempt, |event| matches!(event, AttemptEvent::Phase { phase: Phase::Running, .. }))
    }

    pub(crate) fn has_event(&self, attempt: AttemptId, wanted: impl Fn(&AttemptEvent) -> bool) -> bool {
        self.attempts[&attempt].events.iter().any(|(_, event)| wanted(event))
    }

    pub(crate) fn event_numbers(&self, attempt: AttemptId) -> Vec<u64> {
        self.attempts[&attempt].events.iter().map(|(number, _)| *number).collect()
    }

    pub(crate) fn report(&self, attempt: AttemptId) -> Option<Report> {
        let mut reports = self.attempts[&attempt].events.iter().filter_map(|(_, event)| match event {
            AttemptEvent::Finished(report) => Some(report.clone()),
            _ => None,
        });
        let report = reports.next();
        assert!(reports.next().is_none(), "{attempt} has ended twice");
        report
    }

    pub(crate) fn result(&self, attempt: AttemptId) -> Vec<u8> {
        self.attempts[&attempt].result.clone()
    }

    pub(crate) fn log(&self, attempt: AttemptId) -> Option<Log> {
        let entry = &self.attempts[&attempt];
        let summary = entry.events.iter().find_map(|(_, event)| match event {
            AttemptEvent::LogComplete(summary) => Some(*summary),
            _ => None,
        })?;
        let [stdout, stderr] = entry.log.clone();
        assert_eq!(
            (stdout.length, stderr.length),
            (summary.stdout_bytes, summary.stderr_bytes),
            "the log is there before its end"
        );
        Some(Log { stdout: stdout.bytes, stdout_length: stdout.length, summary })
    }

    pub(crate) fn abort(&mut self, attempt: AttemptId, by: &str) {
        if let Some(entry) = self.attempts.get_mut(&attempt) {
            entry.abort = Some(by.to_owned());
        }
    }

    pub(crate) fn replace(&mut self, attempt: AttemptId) {
        if let Some(entry) = self.attempts.get_mut(&attempt) {
            entry.replaced = true;
        }
    }

    /// The answer to a poll, if there is something to say.
    pub(crate) fn news(&mut self, poll: &Poll) -> Option<PollAnswer> {
        let mut answer = PollAnswer::default();
        let taken = |entry: &&Entry| entry.offered && !entry.is_over() && !entry.has_expired();
        let running = self.attempts.values().filter(taken).count() as u32;
        let capacity = self.settings.as_ref().map_or(0, |settings| settings.capacity);
        let mut free = poll.free_slots.min(capacity.saturating_sub(running));
        for (id, entry) in &mut self.attempts {
            if entry.replaced && poll.holding.contains(id) {
                answer.superseded.push(*id);
            }
            if let Some(by) = &entry.abort
                && entry.offered
                && !entry.is_over()
                && !poll.aborting.contains(id)
            {
                answer.aborts.push(Abort { attempt: *id, by: by.clone() });
            }
            // An answer may have been lost: what is not confirmed is offered again after a while.
            if free > 0 && (!entry.offered || entry.has_expired()) {
                free -= 1;
                entry.offered = true;
                entry.offered_at = Some(Instant::now());
                let inline = entry.input.len() <= 64 * 1024;
                answer.offers.push(Offer {
                    attempt: *id,
                    spec: entry.spec.clone(),
                    input: inline.then(|| Envelope::clear(entry.input.clone())),
                    input_chunks: if inline { 0 } else { entry.input.len().div_ceil(1 << 20) as u32 },
                });
            }
        }
        if let Some(settings) = &self.settings
            && settings.revision != poll.settings_revision
        {
            answer.settings = Some(settings.clone());
        }
        let nothing =
            answer.offers.is_empty() && answer.aborts.is_empty() && answer.superseded.is_empty() && answer.settings.is_none();
        (!nothing).then_some(answer)
    }

    pub(crate) fn confirm(&mut self, attempts: &[AttemptId]) -> Vec<Confirmed> {
        let confirm = |id: &AttemptId| match self.attempts.get_mut(id) {
            Some(entry) if entry.offered => {
                entry.confirmed = true;
                Confirmed::Yes
            }
            _ => Confirmed::No { why: "the offer has expired".to_owned() },
        };
        attempts.iter().map(confirm).collect()
    }

    pub(crate) fn input_chunk(&self, attempt: AttemptId, sequence: usize) -> Vec<u8> {
        self.attempts[&attempt].input.chunks(1 << 20).nth(sequence).unwrap_or_default().to_vec()
    }

    pub(crate) fn apply(&mut self, events: Vec<Event>) -> Vec<EventsApplied> {
        let mut applied = BTreeMap::new();
        for event in events {
            let Some(entry) = self.attempts.get_mut(&event.attempt).filter(|entry| entry.confirmed && !entry.replaced) else {
                applied.insert(event.attempt, (0, Some("replaced".to_owned())));
                continue;
            };
            let through = entry.events.last().map_or(0, |(number, _)| *number);
            if event.number.0 == through + 1 {
                let body = serde_json::from_slice(&event.body.open_clear().unwrap()).unwrap();
                if let AttemptEvent::Finished(Report {
                    result: legwork_core::event::ResultBytes::Chunked { bytes, chunks },
                    ..
                }) = &body
                {
                    assert_eq!(
                        (entry.result.len() as u64, entry.result_chunks),
                        (*bytes, u64::from(*chunks)),
                        "the chunks come first"
                    );
                }
                entry.events.push((event.number.0, body));
            }
            applied.insert(event.attempt, (entry.events.last().map_or(0, |(number, _)| *number), None));
        }
        let answer =
            |(attempt, (through, refused))| EventsApplied { attempt, through: legwork_core::EventNumber(through), refused };
        applied.into_iter().map(answer).collect()
    }

    pub(crate) fn put_result(&mut self, attempt: AttemptId, sequence: u64, body: &[u8]) -> ChunkAnswer {
        let Some(entry) = self.attempts.get_mut(&attempt).filter(|entry| !entry.replaced) else {
            return ChunkAnswer::Refused { why: "replaced".to_owned() };
        };
        assert!(body.len() <= 1 << 20);
        match sequence.cmp(&entry.result_chunks) {
            std::cmp::Ordering::Greater => return ChunkAnswer::Missing { sequence: entry.result_chunks, stdout: 0, stderr: 0 },
            std::cmp::Ordering::Equal => {
                entry.result.extend_from_slice(body);
                entry.result_chunks += 1;
            }
            std::cmp::Ordering::Less => {}
        }
        ChunkAnswer::Kept { stdout: 0, stderr: 0 }
    }

    pub(crate) fn put_log(&mut self, attempt: AttemptId, body: &[u8]) -> ChunkAnswer {
        let Some(entry) = self.attempts.get_mut(&attempt).filter(|entry| !entry.replaced) else {
            return ChunkAnswer::Refused { why: "replaced".to_owned() };
        };
        assert!(body.len() <= 1 << 20);
        let mut missing = false;
        for piece in frames::decode(body).unwrap() {
            let stream = &mut entry.log[usize::from(piece.stream == LogStream::Stderr)];
            if piece.offset > stream.length {
                missing = true;
                continue;
            }
            let Some(piece) = piece.after(stream.length) else { continue };
            stream.length = piece.end();
            if let LogContent::Bytes(bytes) = piece.content {
                stream.bytes.extend(bytes);
            }
        }
        let (stdout, stderr) = (entry.log[0].length, entry.log[1].length);
        if missing { ChunkAnswer::Missing { sequence: 0, stdout, stderr } } else { ChunkAnswer::Kept { stdout, stderr } }
    }
}

impl Entry {
    fn has_expired(&self) -> bool {
        !self.confirmed && self.offered_at.is_some_and(|at| at.elapsed() > OFFER_TIME)
    }

    fn has_log_end(&self) -> bool {
        self.events.iter().any(|(_, event)| matches!(event, AttemptEvent::LogComplete(_)))
    }

    fn is_over(&self) -> bool {
        self.replaced || self.events.iter().any(|(_, event)| matches!(event, AttemptEvent::Finished(_)))
    }
}
