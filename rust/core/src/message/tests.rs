//! Envelopes, parameters and the table of methods, case by case.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use super::{Era, Message, Reject, Shape, canonical, known, passes_by_default, read};
use crate::json::{Bounds, Index};

fn with<T>(source: &str, look: impl FnOnce(Result<Message<'_>, Reject<'_>>) -> T) -> T {
    let mut index = Index::default();
    look(read(
        index.scan(source.as_bytes(), &Bounds::default()).unwrap(),
    ))
}

fn shape(source: &str) -> Result<(Shape, Era), (i32, &'static str)> {
    with(source, |message| {
        message
            .map(|message| (message.shape, message.era))
            .map_err(|reject| (reject.rpc_code, reject.reason))
    })
}

fn refused(source: &str) -> i32 {
    let (code, _) = shape(source).err().unwrap_or_default();
    code
}

/// A tool call with these members instead of or besides the usual ones.
fn call(id: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{params}}}"#)
}

const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;

#[test]
fn a_call_is_taken_apart() {
    let source = call(
        r#""a\u0062""#,
        &format!(r#"{{"name":"se\u0061rch","arguments":{{"q":1}},{META}}}"#),
    );
    with(&source, |message| {
        let message = message.unwrap();
        assert_eq!((message.shape, message.era), (Shape::Request, Era::Modern));
        assert_eq!(message.id, Some(&br#""a\u0062""#[..]));
        assert!(message.method.unwrap().eq_str("tools/call"));
        assert!(message.target.unwrap().eq_str("search"));
        assert!(message.version.unwrap().eq_str("2026-07-28"));
        assert_eq!(message.arguments.unwrap().raw(), br#"{"q":1}"#);
        assert_eq!(
            (message.params.unwrap().len(), message.meta.unwrap().len()),
            (3, 2)
        );
    });
}

#[test]
fn messages_have_a_shape() {
    use {Era::Legacy, Shape::Notification, Shape::Request, Shape::Response};
    for (source, expected) in [
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#, Request),
        (
            r#"{"jsonrpc":"2.0","id":-7,"method":"ping","params":{}}"#,
            Request,
        ),
        (r#"{"id":"","method":"x/y","jsonrpc":"\u0032.0"}"#, Request),
        (
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
            Notification,
        ),
        (r#"{"jsonrpc":"2.0","id":1,"result":null}"#, Response),
        (r#"{"jsonrpc":"2.0","id":"a","error":{"code":1}}"#, Response),
    ] {
        assert_eq!(shape(source), Ok((expected, Legacy)), "{source}");
    }
}

#[test]
fn what_is_no_envelope_is_refused() {
    for source in [
        "[]",
        r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#,
        "\"ping\"",
        "1",
        "{}",
        r#"{"id":1,"method":"ping"}"#,
        r#"{"jsonrpc":"2","id":1,"method":"ping"}"#,
        r#"{"jsonrpc":2.0,"id":1,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0 ","id":1,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":5}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":null}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call\u0000","params":{"name":"x"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","extra":1}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call"}"#,
        r#"{"jsonrpc":"2.0","id":1,"Method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","PARAMS":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","ID":2}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","error":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":1,"error":{}}"#,
        r#"{"jsonrpc":"2.0","result":1}"#,
        r#"{"jsonrpc":"2.0","id":null,"result":1}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":1,"params":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":null}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":"{}"}"#,
        r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"x"}}"#,
    ] {
        assert_eq!(refused(source), -32600, "{source}");
    }
}

#[test]
fn ids_are_short_strings_and_plain_integers() {
    let params = r#"{"name":"x"}"#;
    let longest = format!("\"{}\"", "x".repeat(256));
    for id in ["0", "-1", "9007199254740993", "\"\"", r#""\n""#, &longest] {
        with(&call(id, params), |message| {
            assert_eq!(message.unwrap().id, Some(id.as_bytes()));
        });
    }
    let too_long = format!("\"{}\"", "x".repeat(257));
    for id in [
        "null",
        "true",
        "1.0",
        "1e0",
        "1E2",
        "-0.5",
        "{}",
        "[1]",
        r#""a\u0000""#,
        &too_long,
    ] {
        assert_eq!(refused(&call(id, params)), -32600, "{id}");
        with(&call(id, params), |message| {
            assert_eq!(message.unwrap_err().id, None);
        });
    }
}

#[test]
fn what_is_no_call_is_refused() {
    for params in [
        "{}",
        r#"{"arguments":{}}"#,
        r#"{"name":null}"#,
        r#"{"name":["x"]}"#,
        r#"{"name":"x","arguments":null}"#,
        r#"{"name":"x","arguments":[]}"#,
        r#"{"name":"x","arguments":"{}"}"#,
        r#"{"name":"x","Name":"y"}"#,
        r#"{"NAME":"y","name":"x"}"#,
        r#"{"name":"x","Arguments":{}}"#,
        r#"{"name":"x","argument\u017f":{}}"#,
        r#"{"name":"x","tas\u212aId":"1"}"#,
        r#"{"name":"x","na\u004de":"y"}"#,
        r#"{"name":"x","_META":{}}"#,
        r#"{"name":"x","_meta":[]}"#,
        r#"{"name":"x","_meta":null}"#,
    ] {
        assert_eq!(refused(&call("1", params)), -32602, "{params}");
    }
    // Members that nobody takes for the protocol's pass, and so does what the tool itself is given.
    for params in [
        r#"{"name":"x","names":1,"cursor":"","_meta":{"progressToken":1,"traceparent":""}}"#,
        r#"{"name":"x","arguments":{"Name":"y","arguments":{"name":1}}}"#,
        r#"{"name":""}"#,
    ] {
        assert!(shape(&call("1", params)).is_ok(), "{params}");
    }
}

#[test]
fn a_stateless_message_carries_version_and_capabilities() {
    let meta = |members: &str| call("1", &format!(r#"{{"name":"x","_meta":{{{members}}}}}"#));
    let version = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28""#;
    for members in [
        version.to_owned(),
        format!(r#"{version},"io.modelcontextprotocol/clientCapabilities":[]"#),
        format!(r#"{version},"io.modelcontextprotocol/clientcapabilities":{{}}"#),
        r#""io.modelcontextprotocol/protocolVersion":1,"io.modelcontextprotocol/clientCapabilities":{}"#.to_owned(),
    ] {
        let source = meta(&members);
        assert_eq!(refused(&source), -32602, "{members}");
        with(&source, |message| assert_eq!(message.unwrap_err().era, Era::Modern));
    }
    assert_eq!(
        refused(&meta(
            r#""io.modelcontextprotocol/ProtocolVersion":"2026-07-28""#
        )),
        -32602
    );
    assert_eq!(refused(&meta(r#""ProgressToken":1"#)), -32602);
    // A version that is spelt with an escape is a version.
    let escaped = r#""io.modelcontextprotocol\/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}"#;
    assert_eq!(shape(&meta(escaped)), Ok((Shape::Request, Era::Modern)));
}

#[test]
fn a_refusal_says_what_could_be_read() {
    let source = r#"{"params":[],"method":"tools/call","x":1,"id":"k","jsonrpc":"2.0"}"#;
    with(source, |message| {
        let reject = message.unwrap_err();
        assert_eq!(
            (reject.code, reject.rpc_code),
            ("malformed-request", -32600)
        );
        assert_eq!((reject.id, reject.era), (Some(&b"\"k\""[..]), Era::Legacy));
        assert!(reject.method.unwrap().eq_str("tools/call"));
        assert_eq!(reject.to_string(), reject.reason);
    });
}

#[test]
fn an_escaped_method_is_that_method() {
    for method in [r"tools\/call", r"tools/c\u0061ll", r"\u0074ools/call"] {
        let source = format!(
            r#"{{"jsonrpc":"2.0","id":1,"m\u0065thod":"{method}","params":{{"n\u0061me":"x"}}}}"#
        );
        with(&source, |message| {
            assert!(message.unwrap().target.unwrap().eq_str("x"));
        });
        let notification =
            format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{{"name":"x"}}}}"#);
        assert_eq!(refused(&notification), -32600);
    }
}

#[test]
fn methods_are_about_something() {
    for (method, member) in [
        ("tools/call", "name"),
        ("prompts/get", "name"),
        ("resources/read", "uri"),
        ("resources/subscribe", "uri"),
        ("resources/unsubscribe", "uri"),
        ("tasks/get", "taskId"),
        ("tasks/result", "taskId"),
        ("tasks/update", "taskId"),
        ("tasks/cancel", "taskId"),
        ("tools/list", ""),
        ("Tools/call", ""),
    ] {
        let source = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{"name":"name","uri":"uri","taskId":"taskId"}}}}"#
        );
        with(&source, |message| {
            let target = message
                .unwrap()
                .target
                .map(|text| text.to_cow().into_owned());
            assert_eq!(target.unwrap_or_default(), member, "{method}");
        });
    }
}

#[test]
fn methods_belong_to_revisions() {
    let revisions = ["2025-03-26", "2025-06-18", "2025-11-25"];
    for (method, expected) in [
        ("tools/call", [true, true, true, true]),
        ("initialize", [true, true, true, false]),
        ("ping", [true, true, true, false]),
        ("server/discover", [false, false, false, true]),
        ("subscriptions/listen", [false, false, false, true]),
        ("resources/subscribe", [true, true, true, false]),
        ("logging/setLevel", [true, true, true, false]),
        ("tasks/get", [false, false, true, true]),
        ("tasks/result", [false, false, true, false]),
        ("tasks/list", [false, false, true, false]),
        ("tasks/update", [false, false, false, true]),
        ("notifications/initialized", [true, true, true, false]),
        ("notifications/cancelled", [true, true, true, true]),
        ("notifications/tasks/status", [false, false, true, false]),
        ("tools/Call", [false; 4]),
        ("tools/call ", [false; 4]),
        ("sampling/createMessage", [false; 4]),
        ("notifications/message", [false; 4]),
        ("", [false; 4]),
    ] {
        let legacy = revisions.map(|revision| known(method, Era::Legacy, Some(revision)));
        let [a, b, c] = legacy;
        let modern = known(method, Era::Modern, Some("2025-03-26"));
        assert_eq!([a, b, c, modern], expected, "{method}");
        for revision in [None, Some("2031-01-01")] {
            assert_eq!(
                known(method, Era::Legacy, revision),
                a || b || c,
                "{method}"
            );
        }
        assert_eq!(
            canonical(method),
            expected.contains(&true).then_some(method)
        );
    }
    assert!(!known("tasks/get", Era::Legacy, Some("2024-11-05")));
}

#[test]
fn what_neither_acts_nor_reads_needs_no_entry() {
    for method in [
        "initialize",
        "ping",
        "server/discover",
        "notifications/cancelled",
        "logging/setLevel",
        "completion/complete",
        "subscriptions/listen",
        "tools/list",
        "resources/templates/list",
    ] {
        assert!(passes_by_default(method), "{method}");
    }
    for method in [
        "tools/call",
        "resources/read",
        "prompts/get",
        "tasks/get",
        "notifications",
        "list",
        "PING",
    ] {
        assert!(!passes_by_default(method), "{method}");
    }
}
