//! Event streams of servers: as they come, filtered, and broken.

use super::answer::{
    ASKS, DONE, HIDING, KEPT, LIST, OPEN, RESULT, answer, engine, fault, one, policy, request,
    stream,
};
use crate::http1::Asked;
use crate::http1::{Answering, Reason, State};

#[test]
fn bad_chunks_are_a_fault() {
    let body = format!("data: {ASKS}\n\n");
    let bytes = stream(&body).replace("\r\n0\r\n", "\r\nzz\r\n");
    let seen = one(OPEN, request(), &bytes);
    assert_eq!(
        (fault(&seen.state), seen.see.len()),
        (Some(Reason::Invalid), 1)
    );
    assert!(seen.out.ends_with(format!("{body}\r\n").as_bytes()));
    assert!(seen.answering.may_close_with_event());
    let seen = one(
        OPEN,
        request(),
        &bytes.replace("text/event-stream", "application/json"),
    );
    assert_eq!(
        (fault(&seen.state), seen.out.len()),
        (Some(Reason::Invalid), 0)
    );
    assert!(!seen.answering.may_close_with_event());
}

#[test]
fn a_stream_leaves_as_it_comes() {
    let body = format!("id: 1\r\ndata: {RESULT}\r\n\r\n");
    let bytes = stream(&body);
    let seen = one(OPEN, request(), &bytes);
    let (head, chunks) = bytes.split_at(bytes.find("\r\n\r\n").unwrap() + 4);
    let head = head.replace("200 OK", "200 ");
    assert_eq!(
        String::from_utf8(seen.out).unwrap(),
        format!("{head}{chunks}")
    );
    assert_eq!((seen.state, seen.see.len()), (DONE, 0));
    assert!(seen.answering.answered() && !seen.answering.may_close_with_event());
    let counted = answer(&body, &[]).replace("application/json", "text/event-stream");
    let seen = one(OPEN, request(), &counted);
    assert!(seen.out.ends_with(chunks.as_bytes()));
    let seen = one(OPEN, request(), &head.replace("200 ", "200 OK"));
    assert_eq!((seen.out, seen.state), (head.into_bytes(), State::More));
    assert!(seen.answering.started() && seen.answering.may_close_with_event());
    let unanswered = one(OPEN, request(), &stream(": note\n\n"));
    assert!(unanswered.state == DONE && !unanswered.answering.may_close_with_event());
}

#[test]
fn what_asks_the_client_is_seen_before_it_leaves() {
    let note = r#"{"method":"notifications/progress","params":{"progressToken":1}}"#;
    let batch = format!("[{ASKS},{RESULT}]");
    let quoting = RESULT.replace("[]", r#"["\"", "method"]"#);
    for (data, legacy, seen, answered) in [
        (note, true, false, false),
        (ASKS, true, true, false),
        (ASKS, false, false, false),
        (RESULT, true, false, true),
        (&batch, true, true, true),
        (&batch, false, false, true),
        (&quoting, true, false, true),
        ("[\"method\",\"result\"]", true, false, false),
        ("{\"method\":\"x\",\"id\":1,\"id\":2}", true, true, false),
        ("{\"method\":1,\"result\":2", true, true, true),
    ] {
        let asked = Asked {
            legacy,
            ..request()
        };
        let found = one(OPEN, asked, &stream(&format!("data: {data}\n\n")));
        let wanted = if seen {
            vec![data.as_bytes().to_vec()]
        } else {
            Vec::new()
        };
        assert_eq!(
            (found.see, found.answering.answered()),
            (wanted, answered),
            "{data}"
        );
    }
}

#[test]
fn a_filtered_stream_leaves_in_whole_events() {
    let whole = format!("id: 1\ndata: {LIST}\n\n: note\n\n");
    let kept = format!("id: 1\ndata: {KEPT}\n\n: note\n\n");
    let seen = one(HIDING, request(), &stream(&format!("{whole}data: tail")));
    let wanted = format!("\r\n{:x}\r\n{kept}\r\n0\r\n\r\n", kept.len());
    assert!(seen.out.ends_with(wanted.as_bytes()));
    assert_eq!(seen.state, DONE);
    for bad in [
        "id: 1\u{2028}data: x\n\n".to_owned(),
        format!("data: {LIST}}}\n\n"),
        format!("data: x\r{LIST}\n\n"),
        format!("{LIST}\n\n"),
    ] {
        let seen = one(HIDING, request(), &stream(&format!("{whole}{bad}")));
        assert_eq!(fault(&seen.state), Some(Reason::Invalid));
        assert!(seen.out.ends_with(format!("{kept}\r\n").as_bytes()));
        assert_eq!(one(OPEN, request(), &stream(&bad)).state, DONE);
    }
    let long = format!("data: {}", "x".repeat(4 << 20));
    let seen = one(HIDING, request(), &stream(&long));
    assert_eq!(fault(&seen.state), Some(Reason::Invalid));
    assert!(seen.answering.may_close_with_event());
    assert_eq!(one(OPEN, request(), &stream(&long)).state, DONE);
}

#[test]
fn a_reload_reaches_a_stream_that_is_open() {
    let event = format!("data: {LIST}\n\n");
    let note = "data: {\"method\":\"x\",\"params\":{}}\n\n";
    for (passing, at, hidden) in [
        (event.as_str(), 9, true),
        (note, 9, false),
        (note, 0, false),
    ] {
        let engine = engine(OPEN);
        let body = format!("{event}{passing}{event}");
        let bytes = answer(&body, &[]).replace("application/json", "text/event-stream");
        let behind = passing.len() - at + event.len();
        let (before, behind) = bytes.as_bytes().split_at(bytes.len() - behind);
        let mut answering = Answering::new(request());
        let mut out = Vec::new();
        assert_eq!(answering.feed(&engine, before, &mut out).state, State::More);
        engine.install(policy(HIDING));
        out.clear();
        let state = answering.feed(&engine, behind, &mut out).state;
        let rest = format!("{}data: {KEPT}\n\n", &passing[at..]);
        if hidden {
            assert_eq!((fault(&state), out.len()), (Some(Reason::Invalid), 0));
            assert!(!answering.may_close_with_event());
        } else {
            let wanted = format!("{:x}\r\n{rest}\r\n0\r\n\r\n", rest.len());
            assert_eq!((String::from_utf8(out).unwrap(), state), (wanted, DONE));
        }
    }
}

#[test]
fn a_reload_cannot_reach_an_event_that_was_too_long_to_hold() {
    let engine = engine(OPEN);
    let long = format!("data: {}", "x".repeat(4 << 20));
    let bytes =
        answer(&format!("{long}\n\n"), &[]).replace("application/json", "text/event-stream");
    let (before, behind) = bytes.as_bytes().split_at(bytes.len() - 2);
    for whole in [b"".as_slice(), behind] {
        let mut answering = Answering::new(request());
        let mut out = Vec::new();
        engine.install(policy(OPEN));
        answering.feed(&engine, before, &mut out);
        engine.install(policy(HIDING));
        let state = answering.feed(&engine, whole, &mut out).state;
        assert_eq!(fault(&state), Some(Reason::Invalid));
        assert!(!answering.may_close_with_event());
    }
}

#[test]
fn a_panic_ends_the_answer_and_nothing_of_it_leaves() {
    let bytes = stream("");
    let head = &bytes[..bytes.find("0\r\n\r\n").unwrap()];
    let mut seen = one(OPEN, request(), head);
    assert!(seen.answering.may_close_with_event());
    let before = seen.out.clone();
    let step = seen.answering.guarded(&mut seen.out, |_, out| {
        out.push(b'x');
        panic!("in the middle of an answer");
    });
    assert_eq!(fault(&step.state), Some(Reason::Invalid));
    assert_eq!(seen.out, before);
    assert!(seen.answering.started() && !seen.answering.may_close_with_event());
}
