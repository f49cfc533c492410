//! The forms in which programs print a secret.

use base64::Engine as _;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use zeroize::Zeroizing;

type Form = Zeroizing<Vec<u8>>;
/// Makes all variants of one form of a secret; none where they equal its plain form.
type Encoding = fn(&str) -> Vec<Form>;

/// All encodings, from the most to the least usual.
pub(super) const ENCODINGS: [Encoding; 5] = [plain, json, base64, url, hex];

fn plain(text: &str) -> Vec<Form> {
    vec![form(text)]
}

fn form(text: impl AsRef<[u8]>) -> Form {
    Zeroizing::new(text.as_ref().to_vec())
}

/// Sorts variants out that are equal to each other or to the text.
fn distinct(text: &str, mut forms: Vec<Form>) -> Vec<Form> {
    forms.sort_unstable_by(|a, b| a.as_slice().cmp(b.as_slice()));
    forms.dedup_by(|a, b| a.as_slice() == b.as_slice());
    forms.retain(|form| form.as_slice() != text.as_bytes());
    forms
}

/// Inside a JSON string: as it is, in pure ASCII (Python), with `<`, `>`, `&` escaped (Go), and with `/` escaped (PHP).
fn json(text: &str) -> Vec<Form> {
    let variants = [
        json_escape(text, false, ""),
        json_escape(text, true, ""),
        json_escape(text, false, "<>&"),
        json_escape(text, false, "/"),
    ];
    distinct(text, variants.into())
}

fn json_escape(text: &str, ascii: bool, extra: &str) -> Form {
    let mut out = Zeroizing::new(Vec::with_capacity(text.len() * 6));
    for character in text.chars() {
        let short = match character {
            '"' | '\\' => Some(character as u8),
            '/' if extra == "/" => Some(b'/'),
            '\n' => Some(b'n'),
            '\r' => Some(b'r'),
            '\t' => Some(b't'),
            '\u{8}' => Some(b'b'),
            '\u{c}' => Some(b'f'),
            _ => None,
        };
        if let Some(short) = short {
            out.extend([b'\\', short]);
        } else if character < ' ' || (ascii && !character.is_ascii()) || (extra.contains(character)) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                out.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
            }
        } else {
            out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    out
}

/// Base64 of something that holds the secret: what the secret alone decides, at each of the three alignments. For
/// a secret that ends the encoded text the end is known too, with or without padding. Both alphabets.
fn base64(text: &str) -> Vec<Form> {
    let mut forms = Vec::new();
    for engine in [&STANDARD, &URL_SAFE] {
        for before in 0..3 {
            forms.extend(base64_aligned(engine, text, before));
        }
    }
    distinct(text, forms)
}

fn base64_aligned(engine: &GeneralPurpose, text: &str, before: usize) -> [Form; 3] {
    let mut bytes = Zeroizing::new(vec![0; before]);
    bytes.reserve_exact(text.len());
    bytes.extend_from_slice(text.as_bytes());
    let encoded = Zeroizing::new(engine.encode(bytes.as_slice()));
    // A character stands for six bits; it is decided by the secret alone if all six are the secret's.
    let start = (before * 8).div_ceil(6);
    let end = bytes.len() * 8 / 6;
    [form(&encoded[start..end]), form(encoded[start..].trim_end_matches('=')), form(&encoded[start..])]
}

/// In a URL: strictly, with `/` kept (Python), as `encodeURIComponent` (JavaScript), and as a form with `+` for a blank;
/// with upper- and lower-case digits.
fn url(text: &str) -> Vec<Form> {
    let mut forms = Vec::new();
    for (kept, plus) in [("-._~", false), ("-._~/", false), ("-._~!*'()", false), ("-._~", true), ("-._*", true)] {
        for upper in [true, false] {
            forms.push(url_escape(text, kept, plus, upper));
        }
    }
    distinct(text, forms)
}

fn url_escape(text: &str, kept: &str, plus: bool, upper: bool) -> Form {
    let mut out = Zeroizing::new(Vec::with_capacity(text.len() * 3));
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || kept.as_bytes().contains(&byte) {
            out.push(byte);
        } else if plus && byte == b' ' {
            out.push(b'+');
        } else {
            out.push(b'%');
            out.extend(hex_digits(byte, upper));
        }
    }
    out
}

fn hex(text: &str) -> Vec<Form> {
    let of = |upper| Zeroizing::new(text.bytes().flat_map(|byte| hex_digits(byte, upper)).collect());
    distinct(text, vec![of(false), of(true)])
}

fn hex_digits(byte: u8, upper: bool) -> [u8; 2] {
    let digits: &[u8; 16] = if upper { b"0123456789ABCDEF" } else { b"0123456789abcdef" };
    [digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]]
}
