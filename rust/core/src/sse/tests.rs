//! Cutting event streams.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use proptest::prelude::*;

use super::{Cut, Cutter, Event};

/// The bytes of the events that a stream in these pieces completes; an event that is too long has none.
fn events(cutter: &mut Cutter, piece: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut rest = piece;
    while let Some(cut) = cutter.next(&mut rest) {
        found.push(match cut {
            Cut::Event(event) => event.raw().to_vec(),
            Cut::TooLong => Vec::new(),
        });
    }
    found
}

/// Payloads of the events of a stream that comes in pieces of this size, and all bytes but the pending ones.
fn cut(stream: &[u8], size: usize) -> (Vec<Vec<u8>>, Vec<u8>, usize) {
    let mut cutter = Cutter::default();
    let all: Vec<_> = stream
        .chunks(size)
        .flat_map(|piece| events(&mut cutter, piece))
        .collect();
    let data = all
        .iter()
        .filter_map(|raw| Event::new(raw).data())
        .map(Into::into)
        .collect();
    (data, all.concat(), cutter.pending_bytes())
}

#[test]
fn every_line_end_at_every_cut() {
    for end in ["\n", "\r", "\r\n"] {
        let lines = [
            "id: 1", "data: a", "data: b", "", ": c", "", "data:d", "", "", "data",
        ];
        let stream = lines.join(end).into_bytes();
        for size in [1, 2, 3, 5, 100] {
            let (data, bytes, pending) = cut(&stream, size);
            assert_eq!(data, [b"a\nb".to_vec(), b"d".to_vec()], "{end:?} {size}");
            assert_eq!([&bytes, &stream[stream.len() - pending..]].concat(), stream);
        }
    }
}

/// The payloads by the letter of the standard: line by line, dispatched at a blank one.
fn expected(stream: &str) -> Vec<Vec<u8>> {
    let text = stream.replace("\r\n", "\n").replace('\r', "\n");
    let mut payloads = Vec::new();
    let mut data: Vec<&str> = Vec::new();
    let mut lines: Vec<&str> = text.split('\n').collect();
    lines.pop();
    for line in lines {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        if line.is_empty() && !data.is_empty() {
            payloads.push(data.join("\n").into_bytes());
            data.clear();
        } else if name == "data" {
            data.push(value.strip_prefix(' ').unwrap_or(value));
        }
    }
    payloads
}

proptest! {
    #[test]
    fn where_pieces_break_changes_nothing(
        parts in prop::collection::vec(
            (
                prop::sample::select(vec!["", "", "data: x", "data", "id: 1", ":", "event: e", "data: {}", "database: x"]),
                prop::sample::select(vec!["\n", "\r", "\r\n"]),
            ),
            0..24,
        ),
        size in 1..9_usize,
        mark in any::<bool>(),
    ) {
        let text: String = parts.iter().flat_map(|(line, end)| [*line, *end]).collect();
        let stream = format!("{}{text}", if mark { "\u{feff}" } else { "" });
        let (data, bytes, pending) = cut(stream.as_bytes(), size);
        prop_assert_eq!(bytes.len() + pending, stream.len());
        prop_assert!(stream.as_bytes().starts_with(&bytes));
        prop_assert_eq!(data, expected(&text));
    }

    #[test]
    fn no_bytes_are_lost_whatever_they_are(
        stream in prop::collection::vec(prop::sample::select(b"\r\n\rd:a\xef\xbb\xbf".to_vec()), 0..64),
        size in 1..9_usize,
    ) {
        let (_, bytes, pending) = cut(&stream, size);
        prop_assert_eq!(bytes.len() + pending, stream.len());
        prop_assert!(stream.starts_with(&bytes));
    }
}

#[test]
fn an_event_is_handed_out_with_the_byte_that_completes_it() {
    let mut cutter = Cutter::default();
    assert_eq!(events(&mut cutter, b"data: 1\r\n\r"), [b"data: 1\r\n\r"]);
    assert!(cutter.is_between_events());
    assert_eq!(events(&mut cutter, b"\ndata: 2\n"), [b"\n"]);
    assert!(!cutter.is_between_events());
    assert_eq!(events(&mut cutter, b"\n"), [b"data: 2\n\n"]);
    assert!(cutter.is_between_events());
}

#[test]
fn a_line_end_in_two_pieces_is_one() {
    let mut cutter = Cutter::default();
    assert!(events(&mut cutter, b"data: 1\r").is_empty());
    assert!(events(&mut cutter, b"\n").is_empty());
    assert_eq!(events(&mut cutter, b"\r\nid"), [b"data: 1\r\n\r\n"]);
}

#[test]
fn a_new_payload_leaves_the_other_lines_alone() {
    for end in ["\n", "\r", "\r\n"] {
        let raw = [
            "\u{feff}id: 1",
            "data: a",
            "retry: 5",
            "data: b",
            ": c",
            "",
            "",
        ]
        .join(end);
        let wanted = [
            "\u{feff}id: 1",
            "data: x",
            "data: y",
            "retry: 5",
            ": c",
            "",
            "",
        ]
        .join(end);
        let changed = Event::new(raw.as_bytes()).with_data(b"x\ny");
        assert_eq!(changed, wanted.as_bytes());
        assert_eq!(&*Event::new(&changed).data().unwrap(), b"x\ny");
    }
}

#[test]
fn a_mark_before_the_payload_stays() {
    let event = Event::new(b"\xef\xbb\xbfdata:a\n\n");
    assert_eq!(event.with_data(b"b"), b"\xef\xbb\xbfdata: b\n\n");
}

#[test]
fn only_a_data_field_is_a_payload() {
    for (raw, data) in [
        ("data: a\n\n", Some("a")),
        ("data:  a\n\n", Some(" a")),
        ("data\n\n", Some("")),
        ("data:a\rdata\r\n\n", Some("a\n")),
        ("Data: a\n\n", None),
        (" data: a\n\n", None),
        ("data : a\n\n", None),
        ("database: a\n\n", None),
        (":data: a\n\n", None),
    ] {
        let found = Event::new(raw.as_bytes()).data();
        assert_eq!(found.as_deref(), data.map(str::as_bytes), "{raw:?}");
    }
}

#[test]
fn a_line_end_that_only_some_readers_know_is_ambiguous_outside_the_payload() {
    for end in [
        "\u{b}", "\u{c}", "\u{1c}", "\u{1e}", "\u{85}", "\u{2028}", "\u{2029}",
    ] {
        let at = |raw: &str| Event::new(raw.as_bytes()).is_ambiguous();
        assert!(at(&format!("id: 1{end}data: x\ndata: y\n\n")), "{end:?}");
        assert!(!at(&format!("id: 1\ndata: x{end}y\n\n")), "{end:?}");
    }
    let plain = "id: 1\u{1b}\u{1f}\u{a5}\u{2027}\u{202a}\u{86}é\ndata: y\n\n";
    assert!(!Event::new(plain.as_bytes()).is_ambiguous());
    assert!(!Event::new(b"id: \xe2\x80").is_ambiguous());
}

#[test]
fn a_line_that_is_no_field_is_a_stray() {
    let raw = "\u{feff}id: 1\nevent\n:note\nretry: 3\n Data: x\ndatab: y\rdata: z\n{}\n\n";
    let strays: Vec<_> = Event::new(raw.as_bytes()).strays().collect();
    assert_eq!(
        strays,
        [
            b" Data: x".as_slice(),
            b"datab: y".as_slice(),
            b"{}".as_slice()
        ]
    );
}

#[test]
fn an_event_over_the_bound_is_found_but_not_held() {
    for size in 1..12 {
        let mut cutter = Cutter::new(9);
        let stream = b"data: 123\n\ndata: 6\n\n";
        let found: Vec<_> = stream
            .chunks(size)
            .flat_map(|piece| events(&mut cutter, piece))
            .collect();
        assert_eq!(found, [b"".as_slice(), b"data: 6\n\n"], "{size}");
    }
    let mut cutter = Cutter::new(9);
    assert!(events(&mut cutter, b"data: 1234").is_empty());
    assert!(cutter.is_too_long() && !cutter.is_between_events());
    assert_eq!((cutter.pending_bytes(), cutter.held.capacity()), (10, 0));
    assert!(events(&mut cutter, b"5\n").is_empty());
    assert_eq!(events(&mut cutter, b"\ndata"), [b""]);
    assert!(!cutter.is_too_long());
}

#[test]
fn memory_for_a_long_event_is_given_back() {
    let mut cutter = Cutter::default();
    events(&mut cutter, &vec![b'x'; 1 << 20]);
    assert_eq!(events(&mut cutter, b"\n\n").len(), 1);
    events(&mut cutter, b"data");
    assert!(cutter.held.capacity() <= super::KEPT_BYTES);
}
