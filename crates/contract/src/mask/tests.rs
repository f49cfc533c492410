use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};
use proptest::prelude::*;

use super::*;

fn patterns(secrets: &[&str]) -> Arc<Patterns> {
    let mut set = SecretSet::default();
    for secret in secrets {
        set.add("p", secret);
    }
    Patterns::compile(&set)
}

fn mask_in_pieces(patterns: &Arc<Patterns>, text: &[u8], cuts: &[usize]) -> Vec<u8> {
    let (mut masker, mut out, mut rest) = (Masker::new(patterns), Vec::new(), text);
    for cut in cuts {
        let (piece, after) = rest.split_at((*cut).min(rest.len()));
        masker.push(piece, &mut out);
        rest = after;
    }
    masker.push(rest, &mut out);
    masker.finish(&mut out);
    out
}

/// The rule, as slowly and plainly as can be: every byte that any pattern covers, one mask per run.
fn by_definition(forms: &[Vec<u8>], text: &[u8]) -> Vec<u8> {
    let mut covered = vec![false; text.len()];
    for form in forms {
        for (start, window) in text.windows(form.len()).enumerate() {
            if window == form {
                covered[start..start + form.len()].fill(true);
            }
        }
    }
    let mut out = Vec::new();
    for index in 0..text.len() {
        if !covered[index] {
            out.push(text[index]);
        } else if index == 0 || !covered[index - 1] {
            out.extend_from_slice(MASK.as_bytes());
        }
    }
    out
}

#[test]
fn the_usual_forms_are_masked() {
    let secret = "p@ss w0rd/\"1\"<é>";
    let patterns = patterns(&[secret]);
    let hex = ::hex::encode(secret);
    let forms = [
        secret.to_owned(),
        serde_json::to_string(secret).unwrap().trim_matches('"').to_owned(),
        r#"p@ss w0rd/\"1\"<\u00e9>"#.to_owned(),
        r#"p@ss w0rd/\"1\"\u003cé\u003e"#.to_owned(),
        r#"p@ss w0rd\/\"1\"<é>"#.to_owned(),
        "p%40ss%20w0rd%2F%221%22%3C%C3%A9%3E".to_owned(),
        "p%40ss%20w0rd%2f%221%22%3c%c3%a9%3e".to_owned(),
        "p%40ss%20w0rd/%221%22%3C%C3%A9%3E".to_owned(),
        "p%40ss+w0rd%2F%221%22%3C%C3%A9%3E".to_owned(),
        STANDARD.encode(secret),
        STANDARD_NO_PAD.encode(secret),
        URL_SAFE.encode(secret),
        hex.to_uppercase(),
        hex,
    ];
    for form in forms {
        assert_eq!(patterns.mask_text(&format!("<{form}>")), "<********>", "{form}");
    }
}

#[test]
fn overlapping_and_adjacent_secrets_leave_nothing() {
    let patterns = patterns(&["abcdef", "defghi", "abcdefgh"]);
    assert_eq!(patterns.mask_text("-abcdefghi-abcdefdefghi-"), "-********-********-");
    assert_eq!(patterns.mask_text("abcde abcdeabcdef"), "abcde abcde********");
}

#[test]
fn each_line_of_a_secret_is_one() {
    let patterns = patterns(&["-----BEGIN-----\n  c2VjcmV0\r\nxyz\n"]);
    assert_eq!(patterns.mask_text("a c2VjcmV0 b xyz c -----BEGIN-----"), "a ******** b xyz c ********");
}

#[test]
fn a_long_secret_becomes_one_mask_and_its_base64_may_be_wrapped() {
    let secret: String = (0..5_000_u32).map(|n| char::from(b'!' + (n.wrapping_mul(2_654_435_761) >> 20) as u8 % 89)).collect();
    let patterns = patterns(&[&secret]);
    assert_eq!(patterns.mask_text(&format!("[{secret}]")), "[********]");
    assert_eq!(patterns.mask_text(&STANDARD.encode(format!("ab{secret}"))).len(), 3 + MASK.len());
    let wrapped: Vec<_> =
        STANDARD.encode(&secret).as_bytes().chunks(76).map(|line| String::from_utf8(line.to_vec()).unwrap()).collect();
    assert_eq!(patterns.mask_text(&wrapped.join("\n")), vec![MASK; wrapped.len()].join("\n"));
}

#[test]
fn only_the_beginning_of_a_secret_is_held_back() {
    let patterns = patterns(&["secret-value"]);
    let mut masker = Masker::new(&patterns);
    let mut out = Vec::new();
    masker.push(b"progress: 1%", &mut out);
    assert_eq!((out.as_slice(), masker.holds_nothing()), (b"progress: 1%".as_slice(), true));
    masker.push(b" secret", &mut out);
    assert_eq!((out.as_slice(), masker.held_bytes()), (b"progress: 1% ".as_slice(), 6));
    masker.push(b"-va", &mut out);
    assert!(!masker.holds_nothing());
    masker.push(b"lue", &mut out);
    assert_eq!(out, b"progress: 1% ********");
    assert!(!masker.holds_nothing(), "a secret that follows at once would belong to the same mask");
    masker.push(b"\n", &mut out);
    assert!(masker.holds_nothing());
    masker.push(b"secre", &mut out);
    masker.finish(&mut out);
    assert_eq!(out, b"progress: 1% ********\nsecre");
    assert!(masker.holds_nothing());
}

#[test]
fn nothing_to_mask_changes_nothing() {
    let mut out = Vec::new();
    let mut masker = Masker::new(&patterns(&[]));
    masker.push(b"any\xff\x00bytes", &mut out);
    assert!(masker.holds_nothing());
    assert_eq!(out, b"any\xff\x00bytes");
}

#[test]
fn a_thousand_secrets_fit() {
    let mut set = SecretSet::default();
    for number in 0..1_000 {
        set.add("p", &format!("secret-{number:08x}-{:08x}", number * 7_919));
    }
    let patterns = Patterns::compile(&set);
    assert_eq!(patterns.warnings().count(), 0);
    for number in [0, 500, 999] {
        let secret = format!("secret-{number:08x}-{:08x}", number * 7_919);
        assert_eq!(patterns.mask_text(&STANDARD.encode(secret)), MASK);
    }
}

#[test]
fn a_secret_of_a_mebibyte_is_masked_in_plain_and_said_to_be_long() {
    let secret: String = (0..1 << 20).map(|n: u32| char::from(b'0' + (n.wrapping_mul(2_654_435_761) >> 20) as u8 % 64)).collect();
    let mut set = SecretSet::default();
    set.add("short", "hunter2-hunter2");
    set.add("server.keystore", &secret);
    let patterns = Patterns::compile(&set);
    let warnings: Vec<_> = patterns.warnings().cloned().collect();
    assert_eq!(warnings, [SecretWarning::TooLong { property: "server.keystore".to_owned() }]);
    assert_eq!(patterns.mask_text(&secret), MASK);
    assert_eq!(patterns.mask_text(&STANDARD.encode("hunter2-hunter2")), MASK);
}

#[test]
fn throughput() {
    let line = b"2026-11-23 16:12:10.653 INFO  [worker.py:71] - step 17 of 230 finished, 4711 rows written to the table\n";
    let log = line.repeat(200_000);
    for count in [1, 20, 1_000] {
        let secrets: Vec<_> =
            (0..count).map(|n| format!("{:016x}-Tr0ub4dor&3", 0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(n))).collect();
        let secrets: Vec<_> = secrets.iter().map(String::as_str).collect();
        let patterns = patterns(&secrets);
        let mut out = Vec::with_capacity(log.len());
        let start = std::time::Instant::now();
        let mut masker = Masker::new(&patterns);
        for chunk in log.chunks(64 * 1024) {
            masker.push(chunk, &mut out);
        }
        masker.finish(&mut out);
        println!("{} secrets: {:.0} MB/s", secrets.len(), log.len() as f64 / start.elapsed().as_secs_f64() / 1e6);
        assert_eq!(out.len(), log.len());
    }
}

fn alphabet_text(range: std::ops::Range<usize>) -> impl Strategy<Value = String> {
    // Few letters, so that secrets overlap, repeat and nearly match.
    prop::collection::vec(prop::sample::select(vec!['a', 'b', '\n', 'é']), range).prop_map(String::from_iter)
}

proptest! {
    #[test]
    fn the_masker_does_what_the_rule_says_in_whatever_pieces(
        secrets in prop::collection::vec(alphabet_text(1..12), 0..6),
        text in alphabet_text(0..200),
        cuts in prop::collection::vec(0_usize..20, 0..20),
    ) {
        let secrets: Vec<_> = secrets.iter().map(String::as_str).collect();
        let mut forms: Vec<Vec<u8>> = Vec::new();
        for secret in secrets.iter().filter(|secret| secret.trim().len() >= MIN_SECRET_BYTES) {
            for part in parts(secret) {
                forms.extend(ENCODINGS.iter().flat_map(|encoding| encoding(part)).map(|form| form.to_vec()));
            }
        }
        forms.retain(|form| form.len() >= MIN_SECRET_BYTES);
        let expected = by_definition(&forms, text.as_bytes());
        prop_assert_eq!(mask_in_pieces(&patterns(&secrets), text.as_bytes(), &cuts), expected);
    }

    #[test]
    fn no_form_of_a_secret_leaks(
        secret in "[ -~éλ\n]{6,60}",
        before in "[ -~]{0,40}",
        after in "[ -~]{0,40}",
        cuts in prop::collection::vec(0_usize..30, 0..12),
    ) {
        prop_assume!(secret.trim().len() >= MIN_SECRET_BYTES);
        let patterns = patterns(&[&secret]);
        let whole = format!("{before}{secret}{after}");
        let json = serde_json::to_string(&whole).unwrap();
        let hex = ::hex::encode(&whole);
        let secret_hex = ::hex::encode(&secret);
        let secret_json = serde_json::to_string(&secret).unwrap();
        for (text, needle) in [(whole.clone(), secret.clone()), (json, secret_json[1..secret_json.len() - 1].to_owned()), (hex, secret_hex)] {
            let masked = mask_in_pieces(&patterns, text.as_bytes(), &cuts);
            prop_assert!(!masked.windows(needle.len()).any(|window| window == needle.as_bytes()), "{:?}", String::from_utf8_lossy(&masked));
        }
        // Of base64 at most the characters at the edges stay: those that the neighbours share.
        let encoded = STANDARD.encode(&whole);
        let masked = mask_in_pieces(&patterns, encoded.as_bytes(), &cuts);
        let start = (before.len() * 8).div_ceil(6);
        let end = (before.len() + secret.len()) * 8 / 6;
        let mask_at = masked.windows(MASK.len()).position(|window| window == MASK.as_bytes());
        prop_assert!(mask_at.is_some_and(|at| at <= start), "{:?}", String::from_utf8_lossy(&masked));
        prop_assert!(encoded.len() - end + MASK.len() + start >= masked.len());
    }

    #[test]
    fn masking_can_be_resumed_where_nothing_is_held(text in alphabet_text(0..200), cut in 0_usize..200) {
        let patterns = patterns(&["aabaab", "babab\nb"]);
        let cut = cut.min(text.len());
        let (mut masker, mut out) = (Masker::new(&patterns), Vec::new());
        masker.push(&text.as_bytes()[..cut], &mut out);
        if masker.holds_nothing() {
            let mut resumed = Masker::new(&patterns);
            resumed.push(&text.as_bytes()[cut..], &mut out);
            resumed.finish(&mut out);
            prop_assert_eq!(out, mask_in_pieces(&patterns, text.as_bytes(), &[]));
        }
    }
}
