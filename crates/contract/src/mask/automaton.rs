//! An Aho-Corasick automaton that is small: 11 bytes per pattern byte.
//!
//! The states are numbered in breadth-first order of the sorted patterns, so the children of a state are neighbours, in
//! the order of their bytes, and one number per state finds them. Going on from a state without a
//! fitting child follows `fail` to the longest shorter context; that is linear over the whole stream.

use std::collections::VecDeque;
use std::ops::Range;

use zeroize::Zeroizing;

/// A state, by its number.
pub(super) type State = u32;

/// The state in which nothing has begun.
pub(super) const ROOT: State = 0;

/// Bytes that the filter looks at together.
const GRAM: usize = 3;
/// Bits of the filter's hash: 16 KiB of memory.
const FILTER_BITS: u32 = 14;
/// The filter's window. No pattern is shorter.
const WINDOW: usize = crate::secrets::MIN_SECRET_BYTES;

/// Finds where patterns end in a stream.
pub(super) struct Automaton {
    /// The byte that leads into each state.
    bytes: Zeroizing<Vec<u8>>,
    /// For each state the number of its first child; its children end where those of the next state begin.
    first_child: Vec<u32>,
    /// For each state the longest proper suffix of its text that is a state too.
    fail: Vec<State>,
    /// For each state the length of its text.
    depth: Vec<u8>,
    /// For each state the length of the longest pattern that ends there; 0 = none.
    matched: Vec<u8>,
    /// The root's children by byte; the root itself if there is none.
    from_root: [State; 256],
    /// For each hash of three bytes, how far a window that ends with them can be moved without missing a pattern.
    shifts: Vec<u8>,
}

impl Automaton {
    /// Builds it from patterns that are sorted, distinct, and between 6 and 255 bytes long.
    pub(super) fn build(patterns: &[Zeroizing<Vec<u8>>]) -> Self {
        let mut automaton = Self {
            bytes: Zeroizing::new(vec![0]),
            first_child: Vec::new(),
            fail: vec![ROOT],
            depth: vec![0],
            matched: vec![0],
            from_root: [ROOT; 256],
            shifts: shifts(patterns),
        };
        automaton.bytes.reserve_exact(patterns.iter().map(|pattern| pattern.len()).sum());
        // Each waiting state is known by the patterns that begin with its text.
        let mut waiting: VecDeque<Range<usize>> = std::iter::once(0..patterns.len()).collect();
        let mut state = ROOT;
        while let Some(mut members) = waiting.pop_front() {
            automaton.first_child.push(automaton.bytes.len() as u32);
            let depth = usize::from(automaton.depth[state as usize]);
            if patterns[members.start].len() == depth {
                // Sorted first, and the only one of this length.
                members.start += 1;
            }
            while members.start < members.end {
                let byte = patterns[members.start][depth];
                let count = patterns[members.clone()].partition_point(|pattern| pattern[depth] == byte);
                let ends_here = patterns[members.start].len() == depth + 1;
                automaton.add_child(state, byte, ends_here);
                waiting.push_back(members.start..members.start + count);
                members.start += count;
            }
            state += 1;
        }
        automaton.first_child.push(automaton.bytes.len() as u32);
        automaton
    }

    /// The parent's context is complete by now, because it lies in a shallower level.
    fn add_child(&mut self, parent: State, byte: u8, ends_here: bool) {
        let child = self.bytes.len() as State;
        let fail = if parent == ROOT { ROOT } else { self.next(self.fail[parent as usize], byte) };
        let depth = self.depth[parent as usize] + 1;
        self.bytes.push(byte);
        self.fail.push(fail);
        self.depth.push(depth);
        self.matched.push(if ends_here { depth } else { self.matched[fail as usize] });
        if parent == ROOT {
            self.from_root[usize::from(byte)] = child;
        }
    }

    /// The state after one more byte.
    pub(super) fn next(&self, mut state: State, byte: u8) -> State {
        while state != ROOT {
            let children = self.first_child[state as usize] as usize..self.first_child[state as usize + 1] as usize;
            // Most states have one child.
            let found = match self.bytes[children.clone()] {
                [] => None,
                [only] => (only == byte).then_some(0),
                ref many => many.binary_search(&byte).ok(),
            };
            if let Some(index) = found {
                return (children.start + index) as State;
            }
            state = self.fail[state as usize];
        }
        self.from_root[usize::from(byte)]
    }

    /// The same point in the stream without the contexts that nothing can follow, so that less is held back.
    pub(super) fn settle(&self, mut state: State) -> State {
        while state != ROOT && self.first_child[state as usize] == self.first_child[state as usize + 1] {
            state = self.fail[state as usize];
        }
        state
    }

    /// How many of the last bytes may be the beginning of a pattern.
    pub(super) fn depth(&self, state: State) -> usize {
        self.depth[state as usize].into()
    }

    /// The length of the longest pattern that ends here; 0 = none.
    pub(super) fn matched(&self, state: State) -> usize {
        self.matched[state as usize].into()
    }

    /// How many bytes cannot be the beginning of a pattern, so that the root stays the state over all of them.
    pub(super) fn skip(&self, bytes: &[u8]) -> usize {
        let mut index = 0;
        while let Some(window) = bytes.get(index..index + WINDOW) {
            let shift = self.shifts[gram_hash([window[WINDOW - 3], window[WINDOW - 2], window[WINDOW - 1]])];
            if shift == 0 {
                return index;
            }
            index += usize::from(shift);
        }
        // The last bytes are too few for a window; only their first byte is looked at.
        index.min(bytes.len())
            + bytes.get(index..).unwrap_or_default().iter().take_while(|byte| self.from_root[usize::from(**byte)] == ROOT).count()
    }
}

/// For each three bytes that stand in the first six of a pattern, the distance to the end of those six.
fn shifts(patterns: &[Zeroizing<Vec<u8>>]) -> Vec<u8> {
    let mut shifts = vec![(WINDOW - GRAM + 1) as u8; 1 << FILTER_BITS];
    for pattern in patterns {
        for (index, gram) in pattern[..WINDOW].windows(GRAM).enumerate() {
            let shift = &mut shifts[gram_hash([gram[0], gram[1], gram[2]])];
            *shift = (*shift).min((WINDOW - GRAM - index) as u8);
        }
    }
    shifts
}

fn gram_hash([a, b, c]: [u8; GRAM]) -> usize {
    (u32::from_le_bytes([a, b, c, 0]).wrapping_mul(0x9E37_79B1) >> (32 - FILTER_BITS)) as usize
}
