//! The grammar, the bounds and the index, case by case; `properties` checks them against other readers.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod properties;
mod shortcuts;

use super::{Bounds, Fault, FaultKind, Index, Kind, Value};

/// Hands the scanned value to `look`, since it cannot outlive its index.
fn with<T>(
    source: impl AsRef<[u8]>,
    look: impl for<'a> FnOnce(Value<'a>) -> T,
) -> Result<T, Fault> {
    let mut index = Index::default();
    index.scan(source.as_ref(), &Bounds::default()).map(look)
}

fn fault(source: impl AsRef<[u8]>) -> Fault {
    with(source, |value| format!("{value:?}")).unwrap_err()
}

fn kind(source: impl AsRef<[u8]>) -> Result<Kind, FaultKind> {
    let mut index = Index::default();
    let scanned = index.scan(source.as_ref(), &Bounds::default());
    scanned.map(Value::kind).map_err(|fault| fault.kind)
}

#[test]
fn accepts_what_the_grammar_has() {
    let sources: &[(&str, Kind)] = &[
        ("null", Kind::Null),
        (" \t\r\n true \t\r\n", Kind::Bool),
        ("false", Kind::Bool),
        ("0", Kind::Number),
        ("-0", Kind::Number),
        ("-0.0e-0", Kind::Number),
        ("10", Kind::Number),
        ("1.50", Kind::Number),
        ("1E2", Kind::Number),
        ("1e+02", Kind::Number),
        ("0e1", Kind::Number),
        ("20e1", Kind::Number),
        ("123.456e78", Kind::Number),
        ("1.7976931348623157e308", Kind::Number),
        ("5e-324", Kind::Number),
        ("0e9999", Kind::Number),
        ("0.0e-9999", Kind::Number),
        ("\"\"", Kind::String),
        ("\"\u{7f}\"", Kind::String),
        ("\"\u{2028}\u{2029}\u{feff}\u{10ffff}\"", Kind::String),
        (
            r#""\"\\\/\b\f\n\r\t\u0000\uD834\udd1e\uFFFF""#,
            Kind::String,
        ),
        ("[]", Kind::Array),
        ("[ ]", Kind::Array),
        ("[[]   ]", Kind::Array),
        ("[1,\n1 ,\t1 , 2]", Kind::Array),
        ("[null, 1, \"1\", {}]", Kind::Array),
        ("{}", Kind::Object),
        ("{ }", Kind::Object),
        (r#"{"":0}"#, Kind::Object),
        (r#"{"a":"b","asd":"sdf"}"#, Kind::Object),
        (r#"{"foo\u0000bar": 42}"#, Kind::Object),
        (r#"{"a":{"a":{"a":[{"a":1},{"a":1}]}},"A":1}"#, Kind::Object),
        ("{\"\u{e9}\":1,\"e\u{301}\":2}", Kind::Object),
    ];
    for (source, expected) in sources {
        assert_eq!(kind(source), Ok(*expected), "{source}");
    }
}

#[rustfmt::skip]
const MALFORMED: &[&[u8]] = &[
    b"", b" ", b"\n", b"\0", b"\xef\xbb\xbf", b"\xef\xbb\xbf{}", b"{}\xef\xbb\xbf", b"nul", b"nulll", b"True",
    b"undefined", b"NaN", b"Infinity", b"-Infinity", b"-", b"--1", b"+1", b".5", b"1.", b"-.5", b"-1.",
    b"0.e1", b"1e", b"1e+", b"1e-", b"1.5e", b"1eE2", b"01", b"-01", b"00", b"-00", b"012.5", b"1_000",
    b"0x10", b"1 000", b"1,", b"1a", b"1.2.3", b"\xef\xbc\x91", b"'a'", b"a", b"\"", b"\"a", b"\"\\\"",
    b"\"\\x00\"", b"\"\\a\"", b"\"\\", b"\"\\u\"", b"\"\\u12\"", b"\"\\u123g\"", b"\"\\u+123\"",
    b"\"\\U0041\"", b"\"\\ud800\"", b"\"\\udc00\"", b"\"\\udbff\"", b"\"\\udfff\"", b"\"\\ud800\\udbff\"", b"\"\\ud800\\ue000\"",
    b"\"\\ud800\\u0041\"", b"\"\\ud800\\ud800\"",
    b"\"\\ud800\\n\"", b"\"\\ud800x\"", b"\"\\udc00\\ud800\"", b"\"\\uD834\\uDd\"", b"\"\n\"", b"\"\t\"",
    b"\"\0\"", b"\"\x1f\"", b"\"abcdefgh\x01\"", b"[", b"]", b"[1", b"[1,", b"[1,]", b"[,1]", b"[,]",
    b"[1,,2]", b"[1 2]", b"[1:2]", b"[1}", b"[[]", b"[]]", b"[](", b"[\"a\"", b"[\"a\",\n4\n,1,", b"[*]",
    b"[1,\x0b]", b"[\xc2\xa0]", b"[\xe2\x81\xa0]", b"{", b"}", b"{1:1}", b"{a:1}", b"{'a':1}", b"{\"a\"}",
    b"{\"a\":", b"{\"a\":}", b"{\"a\" 1}", b"{\"a\",1}", b"{\"a\":1,}", b"{,\"a\":1}", b"{\"a\":1,,\"b\":2}",
    b"{\"a\":1 \"b\":2}", b"{\"a\":1]", b"{\"a\"::1}", b"{\"a\":1}}", b"{null:null}", b"{[]:1}", b"{\"a\":1",
    b"{\"a\"", b"{\"a\":1,\"b\"", b"{}{}", b"{} {}", b"{}\n{}", b"{},", b"{}#", b"{}//", b"{}/**/", b"/**/{}",
    b"{}\0", b"\"\"x", b"1 2", b"data: {}\n\n", b"\x7b\x00\x7d\x00", b"\xff\xfe{\0}\0", b"\"\xff\"",
    b"\"\x80\"", b"\"\xc0\xaf\"", b"\"\xe0\x80\xaf\"", b"\"\xf0\x80\x80\x80\"", b"\"\xed\xa0\x80\"",
    b"\"\xed\xb0\x80\"", b"\"\xf4\x90\x80\x80\"", b"\"\xc3\"", b"\"\xe2\x82\"", b"\xe9", b"{\"\xe9\":1}",
];

#[test]
fn refuses_what_the_grammar_lacks() {
    for source in MALFORMED {
        let shown = String::from_utf8_lossy(source);
        assert_eq!(kind(source), Err(FaultKind::Malformed), "{shown}");
    }
}

#[test]
fn refuses_numbers_that_a_double_turns_into_something_else() {
    let zeros = "0".repeat(400);
    let long = |mantissa: String| mantissa;
    let refused = [
        "1e309".to_owned(),
        "-1e999".to_owned(),
        "1e99999999999999999999999".to_owned(),
        "1.7976931348623159e308".to_owned(),
        "1e-999".to_owned(),
        "2e-324".to_owned(),
        "-1e-99999999999999999999999".to_owned(),
        long(format!("1{zeros}")),
        long(format!("0.{zeros}1")),
        // A reader that stops counting an exponent's digits would take these for small numbers.
        format!("0.{}1e1000000", "0".repeat(100_000)),
        format!("1{}e-1000000", "0".repeat(100_000)),
    ];
    for source in &refused {
        for wrapped in [source.clone(), format!(r#"{{"unused":[{source}]}}"#)] {
            assert_eq!(
                kind(&wrapped),
                Err(FaultKind::NumberOutOfRange),
                "{wrapped:.40}"
            );
        }
    }
    let accepted = [
        format!("0.{zeros}"),
        format!("1{}", "0".repeat(308)),
        format!("{}1", "0.".to_owned() + &"0".repeat(322)),
        format!("1{zeros}e-400"),
        format!("0.{zeros}1e401"),
        "0e99999999999999999999".to_owned(),
        "-0e-99999999999999999999".to_owned(),
        "1e0000000000000000000005".to_owned(),
    ];
    for source in &accepted {
        assert_eq!(kind(source), Ok(Kind::Number), "{source:.40}");
    }
}

#[test]
fn finds_duplicate_keys_however_they_are_written() {
    let refused = [
        (r#"{"name":"read","name":"delete"}"#, 15),
        (r#"{"name":1,"na\u006de":2}"#, 10),
        (r#"{"na\u006De":1,"name":2}"#, 15),
        (r#"{"\u006e\u0061me":1,"n\u0061m\u0065":2}"#, 20),
        (r#"{"a/b":1,"a\/b":2}"#, 9),
        (r#"{"\uD834\uDD1E":1,"𝄞":2}"#, 18),
        (r#"{"":1,"":2}"#, 6),
        (r#"{"a":1,"b":{"c":1,"d":2,"c":3}}"#, 24),
        (r#"[[{"x":[1,{"k":1,"k":1}]}]]"#, 17),
        (r#"{"a":1,"b":2,"b":3,"a":4}"#, 13),
        (
            r#"{"io.modelcontextprotocol/protocolVersion":1,"io.modelcontextprotocol/\u0070rotocolVersion":2}"#,
            45,
        ),
    ];
    for (source, offset) in refused {
        let fault = fault(source);
        assert_eq!(
            (fault.kind, fault.offset),
            (FaultKind::DuplicateKey, offset),
            "{source}"
        );
    }
    // The same key in two objects is no duplicate, nor is one that differs in case or in the middle only.
    for source in [
        r#"{"a":{"a":1},"b":[{"a":1},{"a":1}]}"#,
        r#"{"name":1,"Name":2}"#,
        r#"{"prefix-1-suffixes":1,"prefix-2-suffixes":2}"#,
        r#"{"a\\b":1,"a\b":2}"#,
        r#"{"a\u0000":1,"a":2,"\u0000a":3}"#,
    ] {
        assert_eq!(kind(source), Ok(Kind::Object), "{source}");
    }
}

/// Keys that differ in the middle only, so that they all have one fingerprint.
fn alike(number: usize) -> String {
    format!("prefix--{number:06}--suffix")
}

#[test]
fn hostile_keys_cost_no_more_than_a_sort() {
    for escape in ["", r"\u0041"] {
        let member = |n: usize| format!("\"{escape}{}\":0", alike(n));
        let mut members: Vec<_> = (0..9_999).map(member).collect();
        let object = |members: &[String]| format!("{{{}}}", members.join(","));
        assert_eq!(kind(object(&members)), Ok(Kind::Object));
        members.push(member(4_711));
        let source = object(&members);
        let offset = source.rfind(&member(4_711)).unwrap();
        let fault = fault(&source);
        assert_eq!(
            (fault.kind, fault.offset),
            (FaultKind::DuplicateKey, offset)
        );
    }
}

#[test]
fn reports_the_first_of_several_duplicates_in_a_large_object() {
    let mut keys: Vec<_> = (0..100).map(|n| format!("\"k{n}\":0")).collect();
    keys.insert(50, "\"k7\":0".to_owned());
    keys.push("\"k7\":0".to_owned());
    keys.push("\"k3\":0".to_owned());
    let source = format!("{{{}}}", keys.join(","));
    let second = source.match_indices("\"k7\":").nth(1).unwrap().0;
    assert_eq!(fault(&source).offset, second);
}

#[test]
fn bounds_are_kept_to_the_unit() {
    let bounds = Bounds {
        max_bytes: 30,
        max_depth: 3,
        max_keys: 2,
    };
    let fault = |source: &str| {
        let mut index = Index::default();
        index
            .scan(source.as_bytes(), &bounds)
            .map(Value::kind)
            .map_err(|fault| (fault.kind, fault.offset))
    };
    assert_eq!(fault("[[[]]]"), Ok(Kind::Array));
    assert_eq!(fault("[[[[]]]]"), Err((FaultKind::TooDeep, 3)));
    assert_eq!(fault(r#"[{"a":{"b":1}}]"#), Ok(Kind::Array));
    assert_eq!(fault(r#"[{"a":{"b":{}}}]"#), Err((FaultKind::TooDeep, 11)));
    assert_eq!(
        fault(r#"[{"a":1},{"b":1},{"c":1}]"#),
        Err((FaultKind::TooManyKeys, 18))
    );
    assert_eq!(fault(&" ".repeat(31)), Err((FaultKind::TooLarge, 0)));
    assert_eq!(fault(&format!("{:>30}", 1)), Ok(Kind::Number));
}

#[test]
fn a_hundred_thousand_brackets_are_refused_at_the_first_too_many() {
    for (bracket, step) in [("[", 1), (r#"{"a":"#, 5)] {
        let fault = fault(bracket.repeat(100_000));
        assert_eq!((fault.kind, fault.offset), (FaultKind::TooDeep, 64 * step));
    }
}

#[test]
fn faults_say_where_and_why() {
    assert_eq!(fault("[1,]").to_string(), "a value is missing at byte 3");
    assert_eq!(
        fault(r#"{"a":1"#).to_string(),
        "the text ends too early at byte 6"
    );
    assert_eq!(
        fault("[01]").to_string(),
        "a number has a leading zero at byte 1"
    );
    assert_eq!(fault(b"[\"\xff\"]").offset, 2);
    assert_eq!(fault("{} x").offset, 3);
}

#[test]
fn values_are_found_where_they_lie() {
    let source = r#" {"a": [1, {"b": "x\ty"}, []], "na\u006de" : true, "z":null} "#;
    with(source, |root| {
        assert_eq!(
            (root.start(), root.end(), root.len()),
            (1, source.len() - 1, 3)
        );
        let a = root.get("a").unwrap();
        assert_eq!(a.raw(), br#"[1, {"b": "x\ty"}, []]"#);
        assert_eq!((a.len(), a.is_empty(), a.kind()), (3, false, Kind::Array));
        let b = a
            .at(1)
            .and_then(|object| object.get("b"))
            .and_then(Value::text)
            .unwrap();
        assert_eq!(
            (b.raw(), b.is_plain(), &*b.to_cow()),
            (r"x\ty", false, "x\ty")
        );
        assert!(b.eq_str("x\ty") && !b.eq_str(r"x\ty") && !b.has_nul());
        assert_eq!(source.get(b.start()..b.end()), Some(r#""x\ty""#));
        let empty = a.at(2).unwrap();
        assert!(empty.is_empty() && a.at(3).is_none());
        assert_eq!(root.get("name").and_then(Value::boolean), Some(true));
        assert_eq!(root.get("z").map(Value::kind), Some(Kind::Null));
        assert!(root.get("b").is_none() && a.get("b").is_none() && root.at(0).is_none());
        let keys: Vec<_> = root.members().map(|(key, _)| key.to_cow()).collect();
        assert_eq!(keys, ["a", "name", "z"]);
        assert!(a.text().is_none() && a.boolean().is_none() && a.decimal().is_none());
        assert_eq!(
            a.at(0)
                .and_then(Value::decimal)
                .unwrap()
                .unwrap()
                .to_string(),
            "1"
        );
    })
    .unwrap();
}

#[test]
fn an_index_serves_one_document_after_the_other() {
    let mut index = Index::default();
    let bounds = Bounds::default();
    assert!(index.scan(br#"{"a":[{"b":"#, &bounds).is_err());
    assert_eq!(index.scan(br#"{"a":[1]}"#, &bounds).map(Value::len), Ok(1));
    assert_eq!(index.scan(b"[1,2]", &bounds).map(Value::len), Ok(2));
}

#[test]
fn text_compares_by_code_point_whether_escaped_or_not() {
    let source = r#"["\uFF5E","\uD83D\uDE00","～","😀","a","\u0061b"]"#;
    with(source, |root| {
        let texts: Vec<_> = root.elements().filter_map(Value::text).collect();
        let [tilde, smile, plain_tilde, plain_smile, a, ab] =
            *<&[_; 6]>::try_from(&*texts).unwrap();
        assert!(
            tilde < smile
                && plain_tilde < plain_smile
                && tilde < plain_smile
                && a < ab
                && ab < tilde
        );
        assert!(tilde == plain_tilde && smile == plain_smile && tilde != smile);
    })
    .unwrap();
}

#[test]
fn an_escaped_nul_is_noticed() {
    let nul = |source: &str| with(source, |value| value.text().unwrap().has_nul()).unwrap();
    assert!(nul(r#""tools/call\u0000""#));
    assert!(!nul(r#""\\u0000 \n""#));
    assert!(!nul(r#""tools\/call""#));
}
