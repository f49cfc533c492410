//! Finds comments and status lines in a log (§4).
//!
//! A plugin writes them into its log between `##[start: comment]` and `##[end: comment]`, or the same with `status`. The text
//! may have line breaks. The log itself is passed on unchanged by whoever calls this.
//!
//! Anything may stand in a log, so:
//! - each kind is looked for by itself; what belongs to the other kind is text;
//! - a start inside an open marker of the same kind begins anew: the innermost pair counts, so a start that was never
//!   ended does not swallow the next real marker;
//! - an end without a start is nothing;
//! - a text longer than its limit is cut; a marker that goes on much longer still was no marker and is given up;
//! - whether a text was meant by the plugin or forged by what it printed cannot be known. A marker gives no rights.

use std::fmt;

use legwork_core::limits;

/// What a marker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MarkerKind {
    /// A comment on the task.
    Comment,
    /// The task's new status line.
    Status,
}

/// One complete marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker {
    /// What it says.
    pub kind: MarkerKind,
    /// The text between start and end, cut to its limit. Bytes that are not UTF-8 are replaced.
    pub text: String,
    /// The offset of its first byte in the scanned stream: its identity.
    pub offset: u64,
    /// The offset after its last byte in the scanned stream.
    pub end: u64,
    /// True if the text was cut.
    pub truncated: bool,
}

/// Scans one stream.
#[derive(Debug)]
pub struct MarkerScanner {
    kinds: [KindScanner; 2],
}

impl MarkerScanner {
    /// A scanner that begins at this offset of the stream: 0, or a point where [`holds_nothing`](Self::holds_nothing) was true.
    pub fn new(offset: u64) -> Self {
        Self { kinds: [KindScanner::new(&COMMENT, offset), KindScanner::new(&STATUS, offset)] }
    }

    /// Takes the next bytes, already masked, and returns the markers that end in them, in order.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Marker> {
        let mut markers = Vec::new();
        for kind in &mut self.kinds {
            kind.push(bytes, &mut markers);
        }
        markers.sort_unstable_by_key(|marker| marker.end);
        markers
    }

    /// True if a new scanner would go on from here exactly as this one: a point to resume at.
    pub fn holds_nothing(&self) -> bool {
        self.kinds.iter().all(|kind| kind.open.is_none() && kind.candidate.is_empty())
    }
}

/// The fixed facts of a kind.
struct Form {
    kind: MarkerKind,
    start: &'static [u8],
    end: &'static [u8],
    /// Bytes of text that are kept.
    limit: usize,
    /// Bytes of text after which there is no hope of an end.
    give_up: u64,
}

static COMMENT: Form = Form {
    kind: MarkerKind::Comment,
    start: b"##[start: comment]",
    end: b"##[end: comment]",
    limit: limits::COMMENT_BYTES,
    give_up: 64 * limits::COMMENT_BYTES as u64,
};
static STATUS: Form = Form {
    kind: MarkerKind::Status,
    start: b"##[start: status]",
    end: b"##[end: status]",
    limit: limits::STATUS_LINE_BYTES,
    give_up: 16 * limits::STATUS_LINE_BYTES as u64,
};

/// Scans for one kind.
struct KindScanner {
    form: &'static Form,
    /// The offset of the next byte.
    offset: u64,
    /// The last bytes, as far as they may be the beginning of a start or, in an open marker, of an end.
    candidate: Vec<u8>,
    open: Option<Open>,
}

/// A marker whose end was not seen yet.
struct Open {
    offset: u64,
    /// The text, up to the limit.
    text: Vec<u8>,
    /// All bytes of text.
    length: u64,
}

impl KindScanner {
    fn new(form: &'static Form, offset: u64) -> Self {
        Self { form, offset, candidate: Vec::new(), open: None }
    }

    fn push(&mut self, mut bytes: &[u8], markers: &mut Vec<Marker>) {
        while let Some((&byte, rest)) = bytes.split_first() {
            if self.candidate.is_empty() && byte != b'#' {
                let plain = bytes.iter().position(|byte| *byte == b'#').unwrap_or(bytes.len());
                let (text, after) = bytes.split_at(plain);
                self.add_text(text);
                self.offset += text.len() as u64;
                bytes = after;
            } else {
                self.candidate.push(byte);
                self.offset += 1;
                bytes = rest;
                markers.extend(self.judge_candidate());
            }
        }
    }

    /// Decides what the candidate is, and drops what it cannot be.
    fn judge_candidate(&mut self) -> Option<Marker> {
        if self.candidate == self.form.start {
            let offset = self.offset - self.candidate.len() as u64;
            self.candidate.clear();
            self.open = Some(Open { offset, text: Vec::new(), length: 0 });
        } else if self.open.is_some() && self.candidate == self.form.end {
            self.candidate.clear();
            return self.open.take().map(|open| open.close(self.form, self.offset));
        }
        while !self.candidate.is_empty() && !self.may_become_tag() {
            let byte = self.candidate.remove(0);
            self.add_text(&[byte]);
        }
        None
    }

    fn may_become_tag(&self) -> bool {
        self.form.start.starts_with(&self.candidate) || (self.open.is_some() && self.form.end.starts_with(&self.candidate))
    }

    fn add_text(&mut self, text: &[u8]) {
        let Some(open) = &mut self.open else { return };
        open.length += text.len() as u64;
        let room = self.form.limit - open.text.len();
        open.text.extend_from_slice(&text[..text.len().min(room)]);
        if open.length > self.form.give_up {
            self.open = None;
        }
    }
}

impl fmt::Debug for KindScanner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KindScanner")
            .field("kind", &self.form.kind)
            .field("offset", &self.offset)
            .field("open", &self.open.is_some())
            .finish_non_exhaustive()
    }
}

impl Open {
    fn close(self, form: &Form, end: u64) -> Marker {
        let mut truncated = self.length > self.text.len() as u64;
        let mut text = String::from_utf8_lossy(&self.text).into_owned();
        if truncated {
            // The cut may have gone through a character.
            text.truncate(text.trim_end_matches(char::REPLACEMENT_CHARACTER).len());
        }
        if text.len() > form.limit {
            // A replaced byte is longer than it was.
            text.truncate(text.floor_char_boundary(form.limit));
            truncated = true;
        }
        Marker { kind: form.kind, text, offset: self.offset, end, truncated }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scan(log: &[u8]) -> Vec<Marker> {
        MarkerScanner::new(0).push(log)
    }

    fn texts(log: &str) -> Vec<(MarkerKind, String)> {
        scan(log.as_bytes()).into_iter().map(|marker| (marker.kind, marker.text)).collect()
    }

    fn comment(text: &str) -> (MarkerKind, String) {
        (MarkerKind::Comment, text.to_owned())
    }

    fn status(text: &str) -> (MarkerKind, String) {
        (MarkerKind::Status, text.to_owned())
    }

    #[test]
    fn markers_inside_log_lines() {
        let log = "DEBUG - ##[start: comment]two\nlines##[end: comment]\nI1123 ##[start: status]50 %##[end: status] rest";
        assert_eq!(texts(log), [comment("two\nlines"), status("50 %")]);
        let marker = &scan(log.as_bytes())[0];
        assert_eq!(&log[marker.offset as usize..marker.end as usize], "##[start: comment]two\nlines##[end: comment]");
        assert_eq!(texts("##[start: comment]##[end: comment]"), [comment("")]);
    }

    #[test]
    fn what_only_looks_like_a_marker() {
        assert_eq!(texts("##[end: comment] ##[start:comment]x##[end: comment] ##[Start: comment]x##[end: comment]"), []);
        assert_eq!(texts("##[start: comment]never ended ##[end: status]"), []);
        assert_eq!(texts("###[start: status]#a##[en###[end: status]#"), [status("#a##[en#")]);
    }

    #[test]
    fn the_innermost_pair_counts() {
        let log = "##[start: comment]forgotten ##[start: comment]real##[end: comment]##[end: comment]";
        assert_eq!(texts(log), [comment("real")]);
    }

    #[test]
    fn the_kinds_do_not_disturb_each_other() {
        let log = "##[start: status]never ended ##[start: comment]a ##[start: status]x##[end: status] b##[end: comment]";
        assert_eq!(texts(log), [status("x"), comment("a ##[start: status]x##[end: status] b")]);
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let log = format!("##[start: status]a{}##[end: status]", "é".repeat(limits::STATUS_LINE_BYTES));
        let marker = &scan(log.as_bytes())[0];
        assert!(marker.truncated);
        assert_eq!(marker.text.len(), limits::STATUS_LINE_BYTES - 1);
        assert!(!marker.text.contains(char::REPLACEMENT_CHARACTER));
    }

    #[test]
    fn text_that_is_not_utf8_stays_within_the_limit() {
        let log = [b"##[start: status]".as_slice(), &[0xFF; 4_000], b"##[end: status]"].concat();
        let marker = &scan(&log)[0];
        assert!(marker.truncated && marker.text.len() <= limits::STATUS_LINE_BYTES);
    }

    #[test]
    fn a_marker_without_end_is_given_up() {
        let mut scanner = MarkerScanner::new(0);
        scanner.push(b"##[start: status]");
        assert!(!scanner.holds_nothing());
        for _ in 0..17 {
            assert!(scanner.push(&[b'x'; limits::STATUS_LINE_BYTES]).is_empty());
        }
        assert!(scanner.holds_nothing());
        assert_eq!(scanner.push(b"##[end: status]"), []);
        assert_eq!(scanner.push(b"##[start: status]next##[end: status]")[0].text, "next");
    }

    /// Pieces of markers in any order.
    fn log() -> impl Strategy<Value = Vec<u8>> {
        let parts = [
            "##[start: comment]",
            "##[end: comment]",
            "##[start: status]",
            "##[end: status]",
            "#",
            "##[",
            "text",
            "\n",
            "##[start: ",
        ];
        prop::collection::vec(prop::sample::select(parts.to_vec()), 0..30).prop_map(|parts| parts.concat().into_bytes())
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(log in log(), cuts in prop::collection::vec(0_usize..25, 0..30)) {
            let (mut scanner, mut markers, mut rest) = (MarkerScanner::new(0), Vec::new(), log.as_slice());
            for cut in cuts {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                markers.extend(scanner.push(piece));
                rest = after;
            }
            markers.extend(scanner.push(rest));
            prop_assert_eq!(markers, scan(&log));
        }

        #[test]
        fn scanning_can_be_resumed_where_nothing_is_held(log in log(), cut in 0_usize..300) {
            let cut = cut.min(log.len());
            let mut scanner = MarkerScanner::new(0);
            let mut markers = scanner.push(&log[..cut]);
            if scanner.holds_nothing() {
                markers.extend(MarkerScanner::new(cut as u64).push(&log[cut..]));
                prop_assert_eq!(markers, scan(&log));
            }
        }
    }
}
