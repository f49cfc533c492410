use std::io::Cursor;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::session::{SessionKey, encrypt};

fn summary(json: &str) -> Result<ResultSummary, String> {
    ResultSummary::read(json.as_bytes()).map_err(|error| error.to_string())
}

#[test]
fn every_field_is_optional_and_null_is_absent() {
    let nothing = ResultSummary::default();
    assert_eq!(summary("{}").unwrap(), nothing);
    let nulls =
        r#"{"exitCode": null, "jobErrorMessage": null, "outputProperties": null, "reportingRecords": null, "other": {"x": [1]}}"#;
    assert_eq!(summary(nulls).unwrap(), nothing);
    assert_eq!(OutputContext::parse(nulls.as_bytes()).unwrap(), OutputContext::default());
}

#[test]
fn a_whole_result() {
    let json = json!({"exitCode": -1, "jobErrorMessage": "no", "outputProperties": {"a": [1, {"b": null}]}, "reportingRecords": [{"type": "udm.PlanRecord"}]});
    let output = OutputContext::parse(json.to_string().as_bytes()).unwrap();
    assert_eq!((output.exit_code, output.job_error_message.as_str()), (-1, "no"));
    assert_eq!(Value::Object(output.output_properties), json["outputProperties"]);
    assert_eq!(Value::Array(output.reporting_records), json["reportingRecords"]);
    assert_eq!(summary(&json.to_string()).unwrap(), ResultSummary { exit_code: -1, job_error_message: "no".to_owned() });
}

#[test]
fn exit_codes_of_all_sorts() {
    for (text, code) in [("134", 134), ("3.0", 3), ("18446744073709551615", i64::MAX), ("1e300", i64::MAX), ("-1e300", i64::MIN)]
    {
        assert_eq!(summary(&format!(r#"{{"exitCode": {text}}}"#)).unwrap().exit_code, code, "{text}");
    }
    for text in ["\"0\"", "true", "0.5", "[]", "{}"] {
        assert!(summary(&format!(r#"{{"exitCode": {text}}}"#)).unwrap_err().contains("exitCode"), "{text}");
    }
}

#[test]
fn messages_of_all_sorts() {
    for (text, message) in [("17", "17"), ("true", "true"), ("1.5", "1.5"), ("\"\\ud83d\\ude00\"", "😀")] {
        assert_eq!(summary(&format!(r#"{{"jobErrorMessage": {text}}}"#)).unwrap().job_error_message, message);
    }
    assert!(summary(r#"{"jobErrorMessage": {"x": [1]}, "exitCode": 3}"#).unwrap().job_error_message.contains("object"));
}

#[test]
fn what_is_no_result() {
    for json in [
        "",
        "null",
        "[]",
        "\"text\"",
        "{",
        "{} {}",
        "{\"exitCode\": 0",
        "{\"exitCode\": NaN}",
        "{\"outputProperties\": []}",
        "{\"reportingRecords\": {}}",
    ] {
        assert!(summary(json).is_err(), "{json}");
        assert!(OutputContext::parse(json.as_bytes()).is_err(), "{json}");
    }
}

#[test]
fn long_texts_are_cut_and_nesting_is_bounded() {
    let message = "é".repeat(limits::MESSAGE_BYTES);
    let json = json!({"jobErrorMessage": message, "outputProperties": {"x": message}, "exitCode": 3}).to_string();
    let read = summary(&json).unwrap();
    assert_eq!((read.exit_code, read.job_error_message.len()), (3, limits::MESSAGE_BYTES));
    let nested =
        |depth: usize| format!("{{\"outputProperties\": {{\"x\": {}{}}}}}", "[".repeat(depth - 2), "]".repeat(depth - 2));
    assert!(summary(&nested(MAX_DEPTH)).is_ok() && OutputContext::parse(nested(MAX_DEPTH).as_bytes()).is_ok());
    assert!(summary(&nested(MAX_DEPTH + 1)).unwrap_err().contains("nested"));
    assert!(OutputContext::parse(nested(MAX_DEPTH + 1).as_bytes()).is_err());
}

#[test]
fn text_that_is_not_unicode_is_replaced() {
    let json = b"{\"outputProperties\": {\"a\": \"x\\udc80y\", \"b\": \"\\ud800\", \"c\": \"\\ud83d\\ud83d\\ude00\", \"d\": \"\xff\xc3\xa9\xe2\x82\", \"e\": \"\\ud800x\"}}";
    let output = OutputContext::parse(json).unwrap();
    assert_eq!(
        Value::Object(output.output_properties),
        json!({"a": "x\u{FFFD}y", "b": "\u{FFFD}", "c": "\u{FFFD}😀", "d": "\u{FFFD}é\u{FFFD}", "e": "\u{FFFD}x"})
    );
    assert!(ResultSummary::read(json.as_slice()).is_ok());
}

fn file(key: &SessionKey, plaintext: &[u8]) -> ResultFile {
    read_result(key, &mut Cursor::new(encrypt(key, plaintext).unwrap())).unwrap()
}

#[test]
fn result_files() {
    let key = SessionKey::generate().unwrap();
    let json = br#"{"exitCode": 2, "jobErrorMessage": "sorry", "outputProperties": {}}"#;
    let expected = ResultSummary { exit_code: 2, job_error_message: "sorry".to_owned() };
    assert_eq!(file(&key, json), ResultFile::Complete { summary: expected, plaintext_bytes: json.len() as u64 });

    assert!(matches!(read_result(&key, &mut Cursor::new("")).unwrap(), ResultFile::Incomplete { bytes: 0, .. }));
    let text = encrypt(&key, json).unwrap();
    for cut in 1..text.len() {
        assert!(
            matches!(read_result(&key, &mut Cursor::new(&text[..cut])).unwrap(), ResultFile::Incomplete { .. }),
            "cut at {cut}"
        );
    }
    let ResultFile::Incomplete { detail, .. } = read_result(&key, &mut Cursor::new(r#"{"exitCode": 0}"#)).unwrap() else {
        panic!()
    };
    assert!(detail.contains("15 bytes") && detail.contains("exitCode"), "{detail}");

    let ResultFile::Invalid { detail } = file(&key, b"[1, 2]\n") else { panic!() };
    assert!(detail.contains("7 bytes") && detail.contains("[1, 2]"), "{detail}");
    assert!(matches!(file(&key, b""), ResultFile::Invalid { .. }));
}

#[test]
fn a_result_may_have_64_mebibytes_of_outputs_and_not_much_more() {
    let key = SessionKey::generate().unwrap();
    let result = |outputs: usize| format!(r#"{{"exitCode": 0, "outputProperties": {{"x": "{}"}}}}"#, "x".repeat(outputs));
    assert!(matches!(file(&key, result(64 << 20).as_bytes()), ResultFile::Complete { .. }));
    let limit = limits::RESULT_BYTES;
    assert!(matches!(file(&key, &vec![b' '; limit as usize + 1]), ResultFile::TooLarge { bytes, .. } if bytes == limit + 1));
    assert!(matches!(file(&key, &vec![b' '; limit as usize + 10_000]), ResultFile::TooLarge { .. }));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from)
    ];
    leaf.prop_recursive(4, 30, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..5).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn summary_and_whole_agree(exit_code in any_json(), message in any_json(), outputs in any_json(), records in any_json(), other in any_json()) {
        let json = json!({"exitCode": exit_code, "jobErrorMessage": message, "outputProperties": outputs, "reportingRecords": records, "x": other}).to_string();
        let whole = OutputContext::parse(json.as_bytes()).ok().map(|output| (output.exit_code, output.job_error_message));
        let summary = ResultSummary::read(json.as_bytes()).ok().map(|summary| (summary.exit_code, summary.job_error_message));
        prop_assert_eq!(whole, summary);
    }

    #[test]
    fn no_bytes_do_harm(bytes in prop::collection::vec(prop::sample::select(b"{}[]\":,\\u\xff\xc3\xa9deD80 1".to_vec()), 0..60)) {
        let whole = OutputContext::parse(&bytes).is_ok();
        prop_assert!(!whole || ResultSummary::read(bytes.as_slice()).is_ok());
    }

    #[test]
    fn good_json_passes_unchanged(value in any_json()) {
        let json = value.to_string();
        let mut out = String::new();
        Guard::new(json.as_bytes(), usize::MAX).read_to_string(&mut out).unwrap();
        prop_assert_eq!(out, json);
    }
}
