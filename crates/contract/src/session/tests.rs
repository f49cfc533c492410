use std::io::{Read, Write};

use aes_gcm::aead::consts::U16;
use aes_gcm::aead::{Aead as _, KeyInit as _};
use proptest::prelude::*;

use super::*;

type Reference = aes_gcm::AesGcm<aes::Aes256, U16>;

fn key() -> SessionKey {
    SessionKey::from_bytes([7; 32])
}

fn reference_encrypt(key: &SessionKey, nonce: [u8; 16], plaintext: &[u8]) -> Vec<u8> {
    let ciphertext = Reference::new(key.as_bytes().into()).encrypt(&nonce.into(), plaintext).unwrap();
    STANDARD.encode([nonce.as_slice(), &ciphertext].concat()).into_bytes()
}

fn reference_decrypt(key: &SessionKey, text: &str) -> Vec<u8> {
    let bytes = STANDARD.decode(text).unwrap();
    let nonce: [u8; 16] = bytes[..16].try_into().unwrap();
    Reference::new(key.as_bytes().into()).decrypt(&nonce.into(), &bytes[16..]).unwrap()
}

/// Gives a byte or a few at a time.
struct Dribble<'a>(&'a [u8], usize);

impl Read for Dribble<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.1.min(out.len());
        self.0.read(&mut out[..count])
    }
}

proptest! {
    #[test]
    fn both_directions_agree_with_the_reference(
        key in any::<[u8; 32]>(),
        nonce in any::<[u8; 16]>(),
        plaintext in prop::collection::vec(any::<u8>(), 0..200),
        piece in 1_usize..40,
    ) {
        let key = SessionKey::from_bytes(key);
        let theirs = reference_encrypt(&key, nonce, &plaintext);
        prop_assert_eq!(&*decrypt(&key, &theirs).unwrap(), &plaintext);
        prop_assert_eq!(verify_stream(&key, Dribble(&theirs, piece)).unwrap(), plaintext.len() as u64);

        let mut writer = EncryptWriter::new(&key, Vec::new()).unwrap();
        for part in plaintext.chunks(piece) {
            writer.write_all(part).unwrap();
        }
        let ours = String::from_utf8(writer.finish().unwrap()).unwrap();
        prop_assert_eq!(text_length(plaintext.len() as u64), ours.len() as u64);
        prop_assert_eq!(reference_decrypt(&key, &ours), plaintext);
    }

    #[test]
    fn any_altered_byte_is_refused(index in 0_usize..1_000, flip in 1_u8..=255) {
        let text = encrypt(&key(), &[1; 500]).unwrap();
        let mut bytes = STANDARD.decode(text).unwrap();
        let index = index % bytes.len();
        bytes[index] ^= flip;
        let altered = STANDARD.encode(bytes);
        let refused = matches!(decrypt(&key(), altered.as_bytes()), Err(SessionError::NotAuthentic { bytes: 500 }));
        prop_assert!(refused);
    }

    #[test]
    fn a_text_that_is_cut_off_is_refused(length in 0_usize..712) {
        let text = encrypt(&key(), &[1; 500]).unwrap();
        let cut = length.min(text.len() - 1);
        prop_assert!(decrypt(&key(), &text.as_bytes()[..cut]).unwrap_err().is_content());
    }
}

#[test]
fn long_texts_of_every_length_around_a_chunk() {
    for length in [16 * 1024 - 1, 16 * 1024, 16 * 1024 + 1, 32 * 1024 - 16, 32 * 1024, 1_000_003] {
        let plaintext: Vec<u8> = (0..length).map(|index| index as u8).collect();
        let text = encrypt(&key(), &plaintext).unwrap();
        assert_eq!(reference_decrypt(&key(), &text), plaintext);
        assert_eq!(decrypt(&key(), text.as_bytes()).unwrap().as_slice(), plaintext);
        assert_eq!(verify_stream(&key(), text.as_bytes()).unwrap(), plaintext.len() as u64);
    }
}

#[test]
fn white_space_in_the_text_is_ignored() {
    let mut text = encrypt(&key(), b"hello").unwrap();
    text.insert_str(10, "\r\n");
    text.push_str(" \n\n");
    assert_eq!(decrypt(&key(), text.as_bytes()).unwrap().as_slice(), b"hello");
}

#[test]
fn what_is_not_a_text_is_told_apart() {
    assert!(matches!(decrypt(&key(), b""), Err(SessionError::TooShort { bytes: 0 })));
    assert!(matches!(decrypt(&key(), b"QUJD"), Err(SessionError::TooShort { bytes: 3 })));
    let nonce_and_a_bit = STANDARD.encode([0; 20]);
    assert!(matches!(decrypt(&key(), nonce_and_a_bit.as_bytes()), Err(SessionError::TooShort { bytes: 20 })));
    assert!(matches!(decrypt(&key(), b"{\"exitCode\": 0}"), Err(SessionError::NotBase64)));
    let other = encrypt(&SessionKey::generate().unwrap(), b"hello").unwrap();
    assert!(matches!(decrypt(&key(), other.as_bytes()), Err(SessionError::NotAuthentic { bytes: 5 })));
}

#[test]
fn a_reader_that_failed_stays_failed() {
    let mut text = encrypt(&key(), b"hello").unwrap();
    text.replace_range(30..31, if &text[30..31] == "A" { "B" } else { "A" });
    let mut reader = DecryptReader::new(&key(), text.as_bytes());
    let mut out = [0; 5];
    assert!(reader.read(&mut out).is_err());
    assert!(reader.read(&mut out).is_err());
    assert_eq!(out, [0; 5], "nothing of a short text is released before its tag was compared");
}

#[test]
fn an_error_of_the_inner_reader_is_an_io_error() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("disk gone"))
        }
    }
    let error = verify_stream(&key(), Broken).unwrap_err();
    assert!(!error.is_content(), "{error}");
}

#[test]
fn keys_have_a_text_form_and_are_not_shown() {
    let generated = SessionKey::generate().unwrap();
    assert_eq!(SessionKey::from_text(&format!("{}\n", *generated.to_text())).unwrap().as_bytes(), generated.as_bytes());
    assert_eq!(format!("{generated:?}"), "SessionKey(…)");
    assert!(matches!(SessionKey::from_text("QUJD"), Err(SessionError::Key)));
    assert!(matches!(SessionKey::from_text("?"), Err(SessionError::Key)));
}
