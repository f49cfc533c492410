//! The log that a task writes before it sleeps.

use std::fmt::Write as _;
use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::content::{line, raw};
use crate::marks::{comment, status};
use crate::steering::{Encoding, Log, Stream};

/// The length of a tick's line.
const TICK_LENGTH: usize = 32;

/// Writes the whole log. With two vectors in place of the streams, a test learns what must arrive.
pub fn write(log: &Log, stdout: &mut dyn Write, stderr: &mut dyn Write) -> io::Result<()> {
    let mut stdout = Lines::new(stdout, log.write_size);
    let mut stderr = Lines::new(stderr, log.write_size);
    let main = if log.stream == Stream::Stderr { &mut stderr } else { &mut stdout };
    for text in &log.statuses {
        main.put(status(text).as_bytes())?;
    }
    for text in &log.comments {
        main.put(comment(text).as_bytes())?;
    }
    if !log.secret.is_empty() {
        for encoding in &log.secret_encodings {
            main.put(format!("secret {}: {}", encoding.name(), encoded(&log.secret, *encoding)).as_bytes())?;
        }
    }
    for n in 0..log.lines {
        let lines = match log.stream {
            Stream::Stdout => &mut stdout,
            Stream::Both if n % 2 == 0 => &mut stdout,
            Stream::Stderr | Stream::Both => &mut stderr,
        };
        lines.put(line(n, log.line_length).as_bytes())?;
    }
    let main = if log.stream == Stream::Stderr { &mut stderr } else { &mut stdout };
    if log.raw_bytes > 0 {
        main.put(&raw(log.raw_bytes, log.invalid_utf8))?;
    }
    if log.long_line > 0 {
        main.put(line(log.lines, log.long_line).as_bytes())?;
    }
    stdout.end(!log.no_final_newline)?;
    stderr.end(!log.no_final_newline)
}

/// The line, newline included, that is written to stdout after tick number `n` of the sleep, counted from 0.
pub fn tick(n: u64) -> String {
    line(n, TICK_LENGTH) + "\n"
}

/// The secret in one of the forms in which a program may print it.
pub fn encoded(secret: &str, encoding: Encoding) -> String {
    match encoding {
        Encoding::Plain => secret.to_owned(),
        Encoding::Base64 => STANDARD.encode(secret),
        Encoding::Hex => hex::encode(secret),
        Encoding::Json => {
            let quoted = serde_json::Value::from(secret).to_string();
            quoted[1..quoted.len() - 1].to_owned()
        }
        Encoding::Url => secret.bytes().fold(String::new(), |mut text, byte| {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                text.push(char::from(byte));
            } else {
                write!(text, "%{byte:02X}").expect("writing to a string cannot fail");
            }
            text
        }),
    }
}

/// Lines to one stream. A newline is written when the next line comes or at the end, so that the last can be left out.
struct Lines<'a> {
    stream: &'a mut dyn Write,
    write_size: usize,
    newline_owed: bool,
}

impl<'a> Lines<'a> {
    fn new(stream: &'a mut dyn Write, write_size: usize) -> Self {
        Self { stream, write_size, newline_owed: false }
    }

    fn put(&mut self, line: &[u8]) -> io::Result<()> {
        if self.newline_owed {
            self.write(b"\n")?;
        }
        self.newline_owed = true;
        self.write(line)
    }

    fn end(mut self, final_newline: bool) -> io::Result<()> {
        if self.newline_owed && final_newline {
            self.write(b"\n")?;
        }
        self.stream.flush()
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.write_size == 0 {
            return self.stream.write_all(bytes);
        }
        for piece in bytes.chunks(self.write_size) {
            self.stream.write_all(piece)?;
            self.stream.flush()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(log: &Log) -> (String, String) {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        write(log, &mut stdout, &mut stderr).unwrap();
        (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
    }

    #[test]
    fn lines_alternate_between_two_streams_and_the_last_newline_can_be_left_out() {
        let log = Log { lines: 3, line_length: 15, stream: Stream::Both, ..Log::default() };
        let expected = ("line 0000000000\nline 0000000002\n", "line 0000000001\n");
        assert_eq!(written(&log), (expected.0.to_owned(), expected.1.to_owned()));
        let log = Log { no_final_newline: true, write_size: 1, ..log };
        assert_eq!(written(&log), (expected.0.trim_end().to_owned(), expected.1.trim_end().to_owned()));
    }

    #[test]
    fn everything_is_written_in_the_order_of_the_readme() {
        let log = Log {
            statuses: vec!["s".to_owned()],
            comments: vec!["c\nd".to_owned()],
            secret: "a\"b/ü".to_owned(),
            secret_encodings: Encoding::ALL.to_vec(),
            lines: 1,
            line_length: 4,
            raw_bytes: 5,
            long_line: 7,
            stream: Stream::Stderr,
            ..Log::default()
        };
        let expected = "testbed ##[start: status]s##[end: status]\n\
             testbed ##[start: comment]c\nd##[end: comment]\n\
             secret plain: a\"b/ü\nsecret base64: YSJiL8O8\nsecret url: a%22b%2F%C3%BC\n\
             secret json: a\\\"b/ü\nsecret hex: 6122622fc3bc\n\
             line\nplain\nline 00\n";
        assert_eq!(written(&log), (String::new(), expected.to_owned()));
    }
}
