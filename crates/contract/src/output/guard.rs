//! Makes JSON from a stranger harmless before a parser sees it.
//!
//! The parser skips what it does not keep without looking at it closely, but holds each text that it keeps whole. So that a
//! result which was judged by its summary can also be parsed as a whole, and neither costs memory, this reader
//! - cuts texts to a limit,
//! - puts U+FFFD in the place of bytes that are not UTF-8, and of halves of surrogate pairs (Python writes
//!   them for file names that it could not decode),
//! - objects to nesting that a parser would have to refuse.
//!
//! Everything else passes unchanged; syntax errors are left to the parser.

use std::io::{self, Read};

/// How deep arrays and objects may be nested.
pub const MAX_DEPTH: usize = 100;

const CHUNK: usize = 16 * 1024;
const REPLACEMENT: &[u8] = "\u{FFFD}".as_bytes();

/// The reader.
pub(super) struct Guard<R> {
    json: R,
    text_limit: usize,
    input: Vec<u8>,
    output: Vec<u8>,
    /// How much of `output` was read.
    taken: usize,
    depth: usize,
    in_text: bool,
    /// Bytes of the text that were let through.
    text_length: usize,
    /// An escape or character that is not complete yet.
    unit: Vec<u8>,
    /// The first half of a surrogate pair whose second half has not come yet.
    high_surrogate: Option<[u8; 6]>,
}

impl<R: Read> Guard<R> {
    pub(super) fn new(json: R, text_limit: usize) -> Self {
        Self {
            json,
            text_limit,
            input: vec![0; CHUNK],
            output: Vec::with_capacity(CHUNK),
            taken: 0,
            depth: 0,
            in_text: false,
            text_length: 0,
            unit: Vec::new(),
            high_surrogate: None,
        }
    }

    /// Reads and treats the next chunk; false at the end.
    fn advance(&mut self) -> io::Result<bool> {
        self.output.clear();
        self.taken = 0;
        let count = self.json.read(&mut self.input)?;
        let input = std::mem::take(&mut self.input);
        let result = self.treat(&input[..count]);
        self.input = input;
        result.map(|()| count > 0)
    }

    fn treat(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while let Some((&byte, rest)) = bytes.split_first() {
            if self.in_text && self.unit.is_empty() && self.high_surrogate.is_none() {
                // Ordinary characters in one go.
                let plain = bytes.iter().position(|byte| !(0x20..0x80).contains(byte) || matches!(byte, b'"' | b'\\'));
                let (run, after) = bytes.split_at(plain.unwrap_or(bytes.len()));
                let room = self.text_limit - self.text_length;
                self.put(&run[..run.len().min(room)]);
                if run.len() > room {
                    self.text_length = self.text_limit;
                }
                if !run.is_empty() {
                    bytes = after;
                    continue;
                }
            }
            bytes = rest;
            if self.in_text { self.text_byte(byte) } else { self.outside_byte(byte)? }
        }
        Ok(())
    }

    fn outside_byte(&mut self, byte: u8) -> io::Result<()> {
        match byte {
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            b'"' => {
                self.in_text = true;
                self.text_length = 0;
            }
            _ => {}
        }
        if self.depth > MAX_DEPTH {
            let message = format!("arrays and objects are nested deeper than {MAX_DEPTH}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        self.output.push(byte);
        Ok(())
    }

    fn text_byte(&mut self, byte: u8) {
        match self.unit.first() {
            None => match byte {
                b'"' => {
                    self.flush_high_surrogate();
                    self.in_text = false;
                    self.output.push(byte);
                }
                0..0x80 if byte != b'\\' => {
                    self.flush_high_surrogate();
                    self.put(&[byte]);
                }
                _ => self.unit.push(byte),
            },
            Some(b'\\') => {
                self.unit.push(byte);
                if self.unit.len() == 6 || (self.unit.len() == 2 && byte != b'u') {
                    self.finish_escape();
                }
            }
            Some(&lead) => {
                if byte & 0xC0 == 0x80 {
                    self.unit.push(byte);
                    if self.unit.len() >= character_length(lead) {
                        self.finish_character();
                    }
                } else {
                    self.finish_character();
                    self.text_byte(byte);
                }
            }
        }
    }

    fn finish_escape(&mut self) {
        let unit = std::mem::take(&mut self.unit);
        let code = unit.get(2..).and_then(|digits| u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        match (code, <[u8; 6]>::try_from(unit.as_slice())) {
            (Some(0xD800..0xDC00), Ok(escape)) => {
                self.flush_high_surrogate();
                self.high_surrogate = Some(escape);
            }
            (Some(0xDC00..0xE000), Ok(escape)) => match self.high_surrogate.take() {
                Some(high) => self.put(&[high, escape].concat()),
                None => self.put(REPLACEMENT),
            },
            _ => {
                self.flush_high_surrogate();
                self.put(&unit);
            }
        }
    }

    fn finish_character(&mut self) {
        let unit = std::mem::take(&mut self.unit);
        self.flush_high_surrogate();
        self.put(if std::str::from_utf8(&unit).is_ok() { &unit } else { REPLACEMENT });
    }

    fn flush_high_surrogate(&mut self) {
        if self.high_surrogate.take().is_some() {
            self.put(REPLACEMENT);
        }
    }

    /// Lets a part of a text through, if there is room for it and for all that came before it.
    fn put(&mut self, part: &[u8]) {
        if self.text_length + part.len() <= self.text_limit {
            self.text_length += part.len();
            self.output.extend_from_slice(part);
        } else {
            self.text_length = self.text_limit;
        }
    }
}

impl<R: Read> Read for Guard<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.output.len() {
            if !self.advance()? {
                return Ok(0);
            }
        }
        let count = out.len().min(self.output.len() - self.taken);
        out[..count].copy_from_slice(&self.output[self.taken..self.taken + count]);
        self.taken += count;
        Ok(count)
    }
}

/// How many bytes a character has by its first one; 1 for what is no first byte.
fn character_length(lead: u8) -> usize {
    match lead {
        0xC2..=0xDF => 2,
        0xE0..=0xEF => 3,
        0xF0..=0xF4 => 4,
        _ => 1,
    }
}
