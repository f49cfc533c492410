//! Takes secrets out of a stream of bytes, whatever pieces it comes in.
//!
//! What is masked: each secret as it is and each line of it (trimmed, from 6 bytes on), and of both the usual encoded
//! forms (`mask/encodings.rs`). **Every byte that any occurrence of any form covers is taken out**, and
//! each unbroken run of such bytes becomes one [`MASK`]. So two secrets that overlap or follow each other leave nothing
//! behind, the order of the secrets does not matter, and the result does not depend on how the stream was cut.
//!
//! Long forms are cut into pieces of 76 bytes, the line length of wrapped base64. A stream that
//! holds the whole form has its pieces side by side, so it still becomes one [`MASK`]; a part of a long secret is masked
//! too; and never more than 76 bytes are held back, and only while they are the beginning of something secret.
//!
//! The search is one pass of an Aho-Corasick automaton ([`Patterns`]): linear in the stream, whatever the secrets are.
//! Its size is bounded by a budget of pattern bytes. Plain forms come first, then the encoded ones from the most to the
//! least usual; the properties of what no longer fits are named by [`Patterns::warnings`].

mod automaton;
mod encodings;

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::secrets::{MIN_SECRET_BYTES, SecretSet, SecretWarning};
use automaton::{Automaton, ROOT, State};
use encodings::ENCODINGS;

/// What stands in the place of a secret.
pub const MASK: &str = "********";

/// Bytes of one pattern.
const PIECE: usize = 76;
/// Bytes of all patterns of an attempt: about 12 bytes of memory each. Some 150 KiB of secrets fit with all their encodings.
const BUDGET: usize = 2 * 1024 * 1024;

/// The compiled secrets of one attempt, shared by the maskers of its streams.
pub struct Patterns {
    automaton: Option<Automaton>,
    warnings: BTreeSet<SecretWarning>,
}

impl Patterns {
    /// Compiles secrets. Do it once per attempt.
    pub fn compile(secrets: &SecretSet) -> Arc<Self> {
        Self::compile_within(secrets, BUDGET)
    }

    fn compile_within(secrets: &SecretSet, budget: usize) -> Arc<Self> {
        let mut warnings: BTreeSet<_> = secrets.warnings().cloned().collect();
        let mut patterns: Vec<Zeroizing<Vec<u8>>> = Vec::new();
        let mut left = budget;
        for encoding in ENCODINGS {
            for secret in secrets.iter() {
                for text in parts(&secret.text) {
                    // An encoding is never shorter than half of the text, so the work is bounded too.
                    let forms = if text.len() > left { Vec::new() } else { encoding(text) };
                    let size = forms.iter().map(|form| form.len()).sum::<usize>();
                    if text.len() > left || size > left {
                        warnings.insert(SecretWarning::TooLong { property: secret.property.clone() });
                        continue;
                    }
                    left -= size;
                    patterns.extend(forms.iter().flat_map(|form| pieces(form)));
                }
            }
        }
        patterns.sort_unstable_by(|a, b| a.as_slice().cmp(b.as_slice()));
        patterns.dedup_by(|a, b| a.as_slice() == b.as_slice());
        let automaton = (!patterns.is_empty()).then(|| Automaton::build(&patterns));
        Arc::new(Self { automaton, warnings })
    }

    /// Which properties are not or not wholly masked, and why; the secrets' own warnings included.
    pub fn warnings(&self) -> impl Iterator<Item = &SecretWarning> {
        self.warnings.iter()
    }

    /// Masks a whole text.
    pub fn mask_text(self: &Arc<Self>, text: &str) -> String {
        let mut masker = Masker::new(self);
        let mut out = Vec::with_capacity(text.len());
        masker.push(text.as_bytes(), &mut out);
        masker.finish(&mut out);
        match String::from_utf8(out) {
            Ok(text) => text,
            // Only a piece of a long secret can end inside a character.
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        }
    }
}

impl fmt::Debug for Patterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Patterns").field("warnings", &self.warnings).finish_non_exhaustive()
    }
}

/// A secret and, if they differ from it, its lines.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().map(str::trim).filter(move |line| line.len() >= MIN_SECRET_BYTES && *line != text);
    std::iter::once(text).chain(lines)
}

/// A form in pieces that the automaton can hold.
fn pieces(form: &[u8]) -> Vec<Zeroizing<Vec<u8>>> {
    let mut pieces: Vec<_> = form.chunks(PIECE).map(|piece| Zeroizing::new(piece.to_vec())).collect();
    if form.len() > PIECE && pieces.last().is_some_and(|last| last.len() < MIN_SECRET_BYTES) {
        // The end is too short to be told from ordinary text, so it is masked together with what comes before.
        pieces.pop();
        pieces.push(Zeroizing::new(form[form.len() - PIECE..].to_vec()));
    }
    pieces.retain(|piece| piece.len() >= MIN_SECRET_BYTES);
    pieces
}

/// Masks one stream.
pub struct Masker {
    patterns: Arc<Patterns>,
    state: State,
    /// The offset in the stream up to which everything was given out.
    given_out: u64,
    /// The bytes after it that were seen: the beginning of something that may become secret.
    held: Zeroizing<Vec<u8>>,
    /// What is secret from `given_out` on, in order, neither overlapping nor touching.
    secret: VecDeque<Range<u64>>,
    /// True if the last byte given out was part of a secret, so that its mask is already there.
    masking: bool,
}

impl Masker {
    /// A masker at the beginning of a stream, or at any point of it where [`holds_nothing`](Self::holds_nothing) was true.
    pub fn new(patterns: &Arc<Patterns>) -> Self {
        Self {
            patterns: Arc::clone(patterns),
            state: ROOT,
            given_out: 0,
            held: Zeroizing::new(Vec::new()),
            secret: VecDeque::new(),
            masking: false,
        }
    }

    /// Takes the next bytes and appends to `out` all that is now known to be harmless, masked.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let patterns = Arc::clone(&self.patterns);
        let Some(automaton) = &patterns.automaton else {
            out.extend_from_slice(bytes);
            return;
        };
        let start = self.given_out + self.held.len() as u64;
        let mut index = 0;
        while index < bytes.len() {
            if self.state == ROOT {
                index += automaton.skip(&bytes[index..]);
                let Some(_) = bytes.get(index) else { break };
            }
            self.state = automaton.next(self.state, bytes[index]);
            index += 1;
            let matched = automaton.matched(self.state);
            if matched > 0 {
                let end = start + index as u64;
                self.mark(end - matched as u64..end);
                self.state = automaton.settle(self.state);
            }
        }
        let keep = automaton.depth(self.state);
        let end = start + bytes.len() as u64;
        self.give_out(end - keep as u64, bytes, out);
    }

    /// Ends the stream: nothing secret can follow any more, so what is held is given out.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.state = ROOT;
        let end = self.given_out + self.held.len() as u64;
        self.give_out(end, &[], out);
    }

    /// True if a new masker would go on from here exactly as this one: a point to resume at.
    pub fn holds_nothing(&self) -> bool {
        self.held.is_empty() && !self.masking
    }

    /// How many bytes are held back because they may become secret.
    pub fn held_bytes(&self) -> usize {
        self.held.len()
    }

    fn mark(&mut self, mut range: Range<u64>) {
        while let Some(last) = self.secret.back().filter(|last| last.end >= range.start) {
            range.start = range.start.min(last.start);
            self.secret.pop_back();
        }
        self.secret.push_back(range);
    }

    /// Gives out everything before the offset `end`. The stream from `given_out` on is `held`, then `bytes`.
    fn give_out(&mut self, end: u64, bytes: &[u8], out: &mut Vec<u8>) {
        let origin = self.given_out;
        let held = std::mem::replace(&mut self.held, Zeroizing::new(Vec::new()));
        let copy = |range: Range<u64>, out: &mut Vec<u8>| {
            let (from, to) = ((range.start - origin) as usize, (range.end - origin) as usize);
            out.extend_from_slice(&held[from.min(held.len())..to.min(held.len())]);
            out.extend_from_slice(&bytes[from.saturating_sub(held.len())..to.saturating_sub(held.len())]);
        };
        while self.given_out < end {
            match self.secret.front() {
                Some(secret) if secret.start <= self.given_out => {
                    if !self.masking {
                        out.extend_from_slice(MASK.as_bytes());
                        self.masking = true;
                    }
                    self.given_out = secret.end.min(end);
                    if secret.end <= end {
                        self.secret.pop_front();
                    }
                }
                next => {
                    let until = next.map_or(end, |secret| secret.start.min(end));
                    copy(self.given_out..until, out);
                    self.given_out = until;
                    self.masking = false;
                }
            }
        }
        let mut rest = Zeroizing::new(Vec::with_capacity(PIECE));
        let total = origin + (held.len() + bytes.len()) as u64;
        copy(end..total, &mut rest);
        self.held = rest;
    }
}

impl fmt::Debug for Masker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Masker").field("given_out", &self.given_out).field("held_bytes", &self.held.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
