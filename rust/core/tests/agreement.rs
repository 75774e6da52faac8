//! Headers against bodies: what a server that reads the one and a server that reads the other would take for two.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use gateway_core::claims::Claims;
use gateway_core::json::{Bounds, Index};
use gateway_core::message;

const VERSION: &str = "mcp-protocol-version";
const METHOD: &str = "mcp-method";
const NAME: &str = "mcp-name";

fn claims<'a>(headers: &'a [(&'a str, &'a str)]) -> Claims<'a> {
    Claims::read(
        headers
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes())),
    )
}

/// The JSON-RPC code and the reason why these headers do not go with this body, if they do not.
fn disagreement(headers: &[(&str, &str)], body: &str) -> Option<(i32, String)> {
    let mut index = Index::default();
    let value = index
        .scan(body.as_bytes(), &Bounds::default())
        .expect("is JSON");
    let message = message::read(value).expect("is a message");
    let found = claims(headers).check(&message).err()?;
    Some((found.rpc_code, found.reason))
}

const LEGACY: &str =
    r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{}}}"#;

fn modern(method: &str, name: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{name}"_meta":{{
            "io.modelcontextprotocol/protocolVersion":"2026-07-28",
            "io.modelcontextprotocol/clientCapabilities":{{}}}}}}}}"#
    )
}

#[test]
fn what_goes_together_goes() {
    let call = modern("tools/call", r#""name":"a","arguments":{},"#);
    let list = modern("tools/list", "");
    let version = (VERSION, "2026-07-28");
    for (headers, body) in [
        (&[][..], LEGACY),
        (&[(VERSION, "2025-11-25")], LEGACY),
        (&[(METHOD, "tools/call"), (NAME, "a")], LEGACY),
        (&[version, (METHOD, "tools/call"), (NAME, "a")], &call),
        (
            &[version, (METHOD, "tools/call"), (NAME, "=?base64?YQ==?=")],
            &call,
        ),
        (&[version, (METHOD, "tools/list")], &list),
    ] {
        assert_eq!(disagreement(headers, body), None, "{headers:?} {body}");
    }
}

#[test]
fn what_differs_or_lacks_is_told() {
    let call = modern("tools/call", r#""name":"a","arguments":{},"#);
    let list = modern("tools/list", "");
    let (version, method, name) = ((VERSION, "2026-07-28"), (METHOD, "tools/call"), (NAME, "a"));
    let answer = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
    for (headers, body, code, why) in [
        (&[version][..], LEGACY, -32602, "lacks"),
        (&[version], answer, -32600, "no responses"),
        (
            &[method, name],
            &call,
            -32020,
            "`MCP-Protocol-Version` header is missing",
        ),
        (
            &[(VERSION, "2026-07-29"), method, name],
            &call,
            -32020,
            "differs from `_meta`",
        ),
        (
            &[version, name],
            &call,
            -32020,
            "`Mcp-Method` header is missing",
        ),
        (
            &[(METHOD, "tools/list")],
            LEGACY,
            -32020,
            "differs from `method`",
        ),
        (
            &[version, method],
            &call,
            -32020,
            "`Mcp-Name` header is missing",
        ),
        (&[(NAME, "b")], LEGACY, -32020, "differs from the name"),
        (&[(NAME, "=?base64?Y?=")], LEGACY, -32020, "base64"),
        (
            &[version, (METHOD, "tools/list"), name],
            &list,
            -32020,
            "what the body does not",
        ),
    ] {
        let (found, reason) = disagreement(headers, body).unzip();
        let reason = reason.unwrap_or_default();
        assert_eq!(found, Some(code), "{headers:?} {body}: {reason}");
        assert!(reason.contains(why), "{headers:?} {body}: {reason}");
    }
}

#[test]
fn a_version_is_a_date_and_dates_have_an_order() {
    for (version, modern, recent) in [
        ("2025-06-18", false, false),
        ("2025-11-25", false, true),
        ("2025-11-26", true, true),
        ("2025-11-2x", false, false),
        ("2026-07-280", false, false),
        ("2026+07-28", false, false),
        ("latest-now", false, false),
    ] {
        let headers = [(VERSION, version)];
        let claims = claims(&headers);
        assert_eq!(
            (claims.modern(), claims.recent()),
            (modern, recent),
            "{version}"
        );
    }
    assert!(!claims(&[]).modern() && !claims(&[]).recent());
}

#[test]
fn what_only_holds_of_one_message_holds_of_no_array() {
    for (headers, one, contradicts) in [
        (&[][..], false, false),
        (&[(VERSION, "2025-03-26")], false, false),
        (&[(VERSION, "2025-06-18")], false, true),
        (&[(VERSION, "2026-07-28")], true, true),
        (&[(METHOD, "tools/call")], true, true),
        (&[(NAME, "a")], true, true),
    ] {
        let claims = claims(headers);
        assert_eq!(claims.speaks_of_one(), one, "{headers:?}");
        assert_eq!(
            claims.contradicts_array().is_some(),
            contradicts,
            "{headers:?}"
        );
    }
}

#[test]
fn only_what_comes_twice_is_told_to() {
    let fields = [(NAME, "a"), (METHOD, "b"), (VERSION, "c"), ("host", "d")];
    assert_eq!(claims(&fields).repeated, None);
    assert_eq!(claims(&[fields, fields].concat()).repeated, Some("host"));
}
