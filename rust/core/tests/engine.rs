//! The engine as its users see it: documents and bytes in, decisions and answers out.

#![expect(clippy::expect_used, reason = "a test that cannot be set up must stop")]

mod engine_support;

use engine_support::{NOW, call, caller, decide, engine, engine_with, policy};
use gateway_core::caller::Caller;
use gateway_core::claims::Claims;
use gateway_core::decision::Code;
use gateway_core::denial;
use gateway_core::engine::{Options, Outcome};
use gateway_core::explain::explain;
use gateway_core::exposition::lines;
use gateway_core::listing::{self, Hiding};
use gateway_core::time::Nanos;

const UPWORK: &str = r#"{"version":"1","default":"deny","tools":{"upwork_close_session":{"limits":[
    {"counter":"upwork_close_session_rate","window":"minute","max":30,"scope":"grant"}]}}}"#;

#[test]
fn thirty_calls_pass_and_the_next_one_says_when() {
    let engine = engine(UPWORK);
    let body = call("upwork_close_session", "{}");
    for left in (0..30).rev() {
        let decision = decide(&engine, &body);
        assert!(decision.allowed);
        assert_eq!(decision.limits[0].remaining, left);
    }
    let refused = decide(&engine, &body);
    assert_eq!(refused.code, Code::LimitExceeded);
    assert_eq!(
        refused.rule.as_deref(),
        Some("/tools/upwork_close_session/limits/0")
    );
    assert_eq!(refused.retry_after_ms(), Some(55_000));
    assert!(refused.reservation.is_none());
    let at = NOW.plus(55 * Nanos::SECOND);
    assert!(
        !engine
            .decide(&caller(), &body, None, Nanos(at.0 - 1))
            .allowed
    );
    assert!(engine.decide(&caller(), &body, None, at).allowed);
}

#[test]
fn a_refusal_can_be_read_by_a_model_and_keeps_the_id() {
    let engine = engine(UPWORK);
    let body =
        br#"{"jsonrpc":"2.0","id":"a\u0062","method":"tools/call","params":{"name":"other"}}"#;
    let answer = denial::answer(&decide(&engine, body), false);
    assert_eq!(answer.status, 200);
    let start = r#"{"jsonrpc":"2.0","id":"a\u0062","result":{"isError":true,"#;
    assert!(answer.body.starts_with(start), "{}", answer.body);
    assert!(
        answer
            .body
            .contains("[POLICY DENIED] no rule allows the tool `other`")
    );
    assert!(
        answer
            .body
            .contains(r#""code":"default-deny","rule":"/default""#)
    );
    assert!(
        !answer.body.contains("upwork_close_session"),
        "nothing of other tools"
    );
    let protocol = denial::answer(&decide(&engine, body), true);
    assert!(
        protocol.body.contains(r#""error":{"code":-31010"#),
        "{}",
        protocol.body
    );
}

#[test]
fn a_modern_refusal_is_complete() {
    let engine = engine(UPWORK);
    let body = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","_meta":{
        "io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#;
    let answer = denial::answer(&decide(&engine, body), false);
    assert!(
        answer
            .body
            .contains(r#""result":{"resultType":"complete","isError":true"#),
        "{}",
        answer.body
    );
    assert!(!answer.body.contains("structuredContent"));
}

#[test]
fn unknown_methods_are_answered_as_unknown() {
    let engine = engine(UPWORK);
    let unknown = decide(&engine, br#"{"jsonrpc":"2.0","id":1,"method":"no/such"}"#);
    let answer = denial::answer(&unknown, false);
    assert_eq!(answer.status, 200);
    assert!(answer.body.contains("-32601"), "{}", answer.body);
    assert!(answer.body.contains(r#""rule":"/default""#));
    let read = br#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"a:b"}}"#;
    assert_eq!(decide(&engine, read).code, Code::MethodDenied);
    let list = br#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    assert!(decide(&engine, list).allowed);
}

#[test]
fn a_request_is_no_notification_and_a_notification_no_request() {
    let engine = engine(UPWORK);
    let allowed = |body: &str| decide(&engine, body.as_bytes()).allowed;
    assert!(allowed(
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#
    ));
    assert!(!allowed(
        r#"{"jsonrpc":"2.0","id":1,"method":"notifications/initialized"}"#
    ));
    assert!(!allowed(r#"{"jsonrpc":"2.0","method":"tools/list"}"#));
    assert!(!allowed(
        r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"upwork_close_session"}}"#
    ));
}

#[test]
fn a_call_that_one_limit_refuses_leaves_the_others_as_they_were() {
    let engine = engine(
        r#"{"version":"1","default":"deny","tools":{"t":{"limits":[
            {"counter":"wide","window":"day","max":10},{"counter":"narrow","window":"minute","max":1}]}}}"#,
    );
    assert!(decide(&engine, &call("t", "{}")).allowed);
    for _ in 0..5 {
        assert_eq!(decide(&engine, &call("t", "{}")).code, Code::LimitExceeded);
    }
    let later = engine.decide(
        &caller(),
        &call("t", "{}"),
        None,
        NOW.plus(60 * Nanos::SECOND),
    );
    assert!(later.allowed);
    assert_eq!(
        later.limits.iter().map(|limit| limit.remaining).max(),
        Some(8)
    );
}

#[test]
fn what_was_not_sent_is_given_back_and_the_rest_is_not() {
    let engine = engine(&UPWORK.replace("30", "1"));
    let body = call("upwork_close_session", "{}");
    let first = decide(&engine, &body);
    assert_eq!(decide(&engine, &body).code, Code::LimitExceeded);
    assert!(engine.settle(&first, Outcome::NotSent, NOW));
    let second = decide(&engine, &body);
    assert!(second.allowed);
    assert!(engine.settle(&second, Outcome::Unknown, NOW));
    assert!(!decide(&engine, &body).allowed);
}

#[test]
fn what_is_settled_twice_is_given_back_once() {
    let engine = engine(&UPWORK.replace("30", "2"));
    let body = call("upwork_close_session", "{}");
    let (first, second) = (decide(&engine, &body), decide(&engine, &body));
    assert!(!first.is_settled() && second.allowed);
    assert!(engine.settle(&first, Outcome::NotSent, NOW));
    assert!(first.is_settled());
    assert!(!engine.settle(&first, Outcome::NotSent, NOW));
    assert_eq!(
        decide(&engine, &body).limits[0].remaining,
        0,
        "one call's room came back"
    );
}

#[test]
fn costs_are_exact_or_refused() {
    let engine = engine(
        r#"{"version":"1","default":"deny","tools":{"pay":{"limits":[
            {"counter":"usd","window":"day","max":1,"cost":"args.usd"}]}}}"#,
    );
    let bad = [
        "{}",
        r#"{"usd":-1}"#,
        r#"{"usd":"1"}"#,
        r#"{"usd":0.00001}"#,
        r#"{"usd":null}"#,
        r#"{"usd":true}"#,
    ];
    for bad in bad.into_iter().chain([r#"{"usd":9007199254740993}"#]) {
        assert_eq!(
            decide(&engine, &call("pay", bad)).code,
            Code::CostInvalid,
            "{bad}"
        );
    }
    for _ in 0..10 {
        assert!(decide(&engine, &call("pay", r#"{"usd":0.1}"#)).allowed);
    }
    assert_eq!(
        decide(&engine, &call("pay", r#"{"usd":0.0001}"#)).code,
        Code::LimitExceeded
    );
    assert!(decide(&engine, &call("pay", r#"{"usd":0}"#)).allowed);
    let never = decide(&engine, &call("pay", r#"{"usd":1.5}"#));
    assert_eq!(
        (never.code, never.retry_after_ns),
        (Code::LimitExceeded, None)
    );
}

#[test]
fn what_cannot_be_decided_is_denied() {
    let engine = engine(
        r#"{"version":"1","default":"deny","tools":{"bid":{"deny_if":[
            {"conditions":[{"path":"args.bid","op":"gt","value":500}],"on_deny":"bids above 500 need a person"}]}}}"#,
    );
    assert!(decide(&engine, &call("bid", r#"{"bid":500}"#)).allowed);
    let above = decide(&engine, &call("bid", r#"{"bid":500.01}"#));
    assert_eq!(
        (above.code, above.message.as_str()),
        (Code::ToolDenied, "bids above 500 need a person")
    );
    assert_eq!(
        decide(&engine, &call("bid", r#"{"bid":"900"}"#)).code,
        Code::Indeterminate
    );
}

#[test]
fn a_name_in_another_case_is_not_let_through_by_a_pattern() {
    for default in ["allow", "deny"] {
        let engine = engine(&format!(
            r#"{{"version":"1","default":"{default}","hide":["admin_reset"],"tools":{{"*":{{}},"delete_user":{{"action":"deny"}}}}}}"#
        ));
        for name in ["Delete_User", "ADMIN_RESET", "delete_useR"] {
            assert_eq!(
                decide(&engine, &call(name, "{}")).code,
                Code::ToolNameInvalid,
                "{name}"
            );
        }
        assert!(decide(&engine, &call("other", "{}")).allowed);
    }
}

#[test]
fn a_rule_denies_methods_by_their_own_code() {
    let engine = engine(
        r#"{"version":"1","default":"allow","methods":{"resources/read":{"action":"deny"},"prompts/get":{
            "deny_if":[{"conditions":[{"path":"args.x","op":"eq","value":1}]}]}}}"#,
    );
    let code = |body: &str| decide(&engine, body.as_bytes()).code;
    let read = r#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"a:b"}}"#;
    assert_eq!(code(read), Code::MethodDenied);
    let get = r#"{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":{"name":"p","arguments":{"x":1}}}"#;
    assert_eq!(code(get), Code::MethodDenied);
}

#[test]
fn shadow_records_and_refuses_nothing() {
    let engine = engine_with(
        UPWORK,
        Options {
            shadow: true,
            ..Options::default()
        },
    );
    let other = decide(&engine, &call("other", "{}"));
    assert!(other.allowed);
    assert_eq!(other.shadow[0].code, Code::DefaultDeny);
    let body = call("upwork_close_session", "{}");
    let over = (0..35)
        .filter(|_| !decide(&engine, &body).shadow.is_empty())
        .count();
    assert_eq!(over, 5);
    assert!(
        !decide(&engine, b"{").allowed,
        "what is no message is refused also in shadow mode"
    );
    let odd = decide(&engine, &call("files/read", "{}"));
    assert!(odd.allowed);
    assert_eq!(odd.shadow[0].code, Code::ToolNameInvalid);
}

#[test]
fn a_header_that_disagrees_is_refused_before_anything_is_charged() {
    let engine = engine(&UPWORK.replace("30", "1"));
    let body = call("upwork_close_session", "{}");
    let claims = Claims {
        name: Some(b"other"),
        ..Claims::default()
    };
    let decision = engine.decide(&caller(), &body, Some(&claims), NOW);
    assert_eq!(
        (decision.code, decision.rpc_code),
        (Code::HeaderMismatch, -32020)
    );
    assert!(decide(&engine, &body).allowed);
}

#[test]
fn an_array_passes_whole_or_not_at_all() {
    let engine = engine(&UPWORK.replace("30", "2"));
    let one = String::from_utf8(call("upwork_close_session", "{}")).expect("text");
    let other = String::from_utf8(call("other", "{}")).expect("text");
    let old = Caller::new(
        "laptop".into(),
        "upwork".into(),
        Some("s".into()),
        Some("2025-03-26".into()),
    );
    let mixed = engine.decide(&old, format!("[{one},{other},{one}]").as_bytes(), None, NOW);
    assert!(!mixed.allowed);
    let answer = denial::answer(&mixed, false);
    let denials = answer.body.matches("POLICY DENIED").count();
    assert_eq!((answer.status, denials), (200, 3), "{}", answer.body);
    let both = engine.decide(&old, format!("[{one},{one}]").as_bytes(), None, NOW);
    assert!(both.allowed, "what the refused array took was given back");
    assert_eq!(
        decide(&engine, format!("[{one}]").as_bytes()).code,
        Code::BatchNotAllowed
    );
}

#[test]
fn an_array_holds_nothing_that_goes_by_its_headers_or_its_id() {
    let engine = engine(r#"{"version":"1","default":"allow"}"#);
    let old = Caller::new(
        "laptop".into(),
        "s".into(),
        Some("s".into()),
        Some("2025-03-26".into()),
    );
    let of = |body: &str, claims: Option<&Claims<'_>>| {
        engine.decide(&old, body.as_bytes(), claims, NOW).allowed
    };
    let ping = r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#;
    assert!(of(ping, Some(&Claims::default())));
    assert!(!of(
        ping,
        Some(&Claims {
            method: Some(b"ping"),
            ..Claims::default()
        })
    ));
    assert!(!of(
        ping,
        Some(&Claims {
            version: Some(b"2026-07-28"),
            ..Claims::default()
        })
    ));
    for method in ["initialize", "tasks/get"] {
        assert!(!of(&ping.replace("ping", method), None), "{method}");
    }
    assert!(!of("[]", None));
    assert!(!of(&format!("[{ping}]"), None));
}

#[test]
fn counts_survive_a_new_policy() {
    let engine = engine(UPWORK);
    let body = call("upwork_close_session", "{}");
    (0..20).for_each(|_| drop(decide(&engine, &body)));
    engine.install(policy(&UPWORK.replace("30", "21")));
    assert!(decide(&engine, &body).allowed);
    assert_eq!(decide(&engine, &body).code, Code::LimitExceeded);
    let totals = engine.totals();
    assert!(
        totals.contains(&("upwork_close_session".into(), Code::Allowed, 21)),
        "{totals:?}"
    );
}

#[test]
fn hidden_tools_leave_lists_and_nothing_else_changes() {
    let set = policy(r#"{"version":"1","default":"allow","hide":["admin_*","b"]}"#);
    let set = Hiding {
        policy: Some(set),
        pins: None,
        enforces_pins: false,
    };
    let cut = |body: &str| {
        listing::filter(&set, body.as_bytes())
            .expect("readable")
            .map(|bytes| String::from_utf8(bytes).expect("text"))
    };
    let list = |tools: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"tools":[{tools}], "nextCursor":"x"}}}}"#)
    };
    let tool = |name: &str| format!(r#"{{"name":"{name}","n":1.0e0}}"#);
    let (a, b, c, admin) = (tool("a"), tool("b"), tool("c"), tool("admin_reset"));
    assert_eq!(cut(&list(&format!("{a} , {c}"))), None);
    assert_eq!(
        cut(&list(&format!("{a}, {b}, {c}"))),
        Some(list(&format!("{a}, {c}")))
    );
    assert_eq!(cut(&list(&format!("{b}, {admin} , {c}"))), Some(list(&c)));
    assert_eq!(cut(&list(&format!("{a}, {b} , {admin}"))), Some(list(&a)));
    assert_eq!(cut(&list(&format!("{b},{admin}"))), Some(list("")));
    assert_eq!(
        cut(&list(&format!("{a},{b},{c},{admin}"))),
        Some(list(&format!("{a},{c}")))
    );
    assert_eq!(cut(&list(r#"{"title":"no name"}"#)), Some(list("")));
    assert_eq!(cut(&list(r#"{"name":"\u0062"}"#)), Some(list("")));
    assert_eq!(
        cut(&list(r#"{"Name":"a"}"#)),
        Some(list("")),
        "no name but to some"
    );
    let array = |tools: &str| format!("[{},{}]", list(&c), list(tools));
    assert_eq!(cut(&array(&format!("{a},{b}"))), Some(array(&a)));
    let elsewhere = |tools: &str| {
        format!(r#"{{"error":{{"tools":[{b}]}},"result":{{"tools":[{tools}],"more":[{b}]}}}}"#)
    };
    assert_eq!(cut(&elsewhere(&b)), Some(elsewhere("")));
    let public = r#"{"id":1,"result":{"cacheScope":"public","t\u006fols":[{"name":"a"}]}}"#;
    assert_eq!(
        cut(public).as_deref(),
        Some(&*public.replace(r#""public""#, r#""private""#))
    );
    assert!(listing::filter(&set, br#"{"result":{"tools":[],"tools":[{"name":"b"}]}}"#).is_err());
    let text = r#"{"result":{"content":[{"text":"\ud800"}]}}"#;
    assert_eq!(cut(text), None, "no list in it: not ours to judge");
}

#[test]
fn explaining_charges_nothing() {
    let engine = engine(&UPWORK.replace("30", "1"));
    let body = call("upwork_close_session", "{}");
    let first = explain(&engine, &caller(), &body, NOW);
    assert_eq!(first, explain(&engine, &caller(), &body, NOW));
    assert!(
        first.contains(r#""entries":["/tools/upwork_close_session"]"#),
        "{first}"
    );
    assert!(
        first.contains(r#""remaining":1"#) && first.contains(r#""allowed":true"#),
        "{first}"
    );
    assert!(decide(&engine, &body).allowed);
    assert!(explain(&engine, &caller(), &body, NOW).contains(r#""code":"limit-exceeded""#));
}

#[test]
fn the_lines_of_a_scrape_say_what_was_counted() {
    let document = r#"{"version":"1","default":"deny","tools":{"a\"b":{"limits":[
        {"counter":"calls","window":"week","max":8},{"counter":"calls","window":"day","max":4},
        {"counter":"none","window":"day","max":0}]}}}"#;
    let engine = engine(document);
    let caller = Caller::new("gr\\ant".into(), "s".into(), None, None);
    let decide = |name: &str| engine.decide(&caller, &call(name, "{}"), None, NOW);
    drop((decide("a\\\"b"), decide("made-up")));
    assert_eq!(
        String::from_utf8(lines::decisions(&engine, &caller)).expect("text"),
        "interlock_decisions_total{server=\"s\",grant=\"gr\\\\ant\",tool=\"a\\\"b\",effect=\"deny\",code=\"limit-exceeded\"} 1\n\
         interlock_decisions_total{server=\"s\",grant=\"gr\\\\ant\",tool=\"other\",effect=\"deny\",code=\"default-deny\"} 1\n"
    );
    assert_eq!(
        String::from_utf8(lines::usage(&engine, &caller, NOW)).expect("text"),
        "interlock_limit_usage_ratio{server=\"s\",grant=\"gr\\\\ant\",counter=\"calls\"} 0\n\
         interlock_limit_usage_ratio{server=\"s\",grant=\"gr\\\\ant\",counter=\"none\"} 1\n"
    );
}
