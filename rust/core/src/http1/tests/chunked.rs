//! The chunked coding, whole and in pieces.

use proptest::prelude::*;

use crate::http1::chunked::{Bad, Chunked};

fn read(input: &[u8]) -> Result<(Vec<u8>, usize, bool), Bad> {
    let mut out = Vec::new();
    let (used, done) = Chunked::default().feed(input, &mut out)?;
    Ok((out, used, done))
}

#[test]
fn a_body_ends_where_its_last_chunk_does() {
    let (out, used, done) = read(b"4\r\nWiki\r\n5\r\npedia\r\n0\r\n\r\nGET /").unwrap();
    assert_eq!((out.as_slice(), used, done), (&b"Wikipedia"[..], 24, true));
    let (out, used, done) = read(b"000a\r\n0123456789\r\n00\r\n\r\n").unwrap();
    assert_eq!((out.as_slice(), used, done), (&b"0123456789"[..], 24, true));
}

#[test]
fn what_is_missing_is_waited_for() {
    let whole = b"B\r\nhello world\r\n0\r\n\r\n";
    for cut in 0..whole.len() {
        let (_, used, done) = read(&whole[..cut]).unwrap();
        assert_eq!((used, done), (cut, false), "{cut}");
    }
}

#[test]
fn the_chunk_that_was_begun_is_known() {
    let mut reader = Chunked::default();
    reader
        .feed(b"ffffffffffffffff\r\nabc", &mut Vec::new())
        .unwrap();
    assert_eq!(reader.left(), u64::MAX - 3);
}

#[test]
fn what_has_two_readings_is_none() {
    let table: [(&[u8], Bad); 24] = [
        (b"\r\n", Bad::Size),
        (b"-1\r\n", Bad::Size),
        (b"+1\r\n", Bad::Size),
        (b"0x1\r\n", Bad::Size),
        (b" 1\r\n", Bad::Size),
        (b"1 \r\nx\r\n", Bad::Size),
        (b"1\t\r\nx\r\n", Bad::Size),
        (b"1_0\r\n", Bad::Size),
        (b"g\r\n", Bad::Size),
        (b"1\nx\r\n", Bad::Size),
        (b"00000000000000001\r\n", Bad::Size),
        (b"10000000000000000\r\n", Bad::Size),
        (b"1;a=b\r\nx\r\n", Bad::Extension),
        (b"0;a\r\n\r\n", Bad::Extension),
        (b";a\r\n", Bad::Size),
        (b"1\rx\r\n", Bad::LineEnd),
        (b"1\r\r\n", Bad::LineEnd),
        (b"1\r\nxy\r\n", Bad::LineEnd),
        (b"1\r\nx\n", Bad::LineEnd),
        (b"1\r\nx\rX", Bad::LineEnd),
        (b"0\r\nhost: a\r\n\r\n", Bad::Trailer),
        (b"0\r\n\n", Bad::LineEnd),
        (b"0\r\n\rX", Bad::LineEnd),
        (b"0\n\r\n", Bad::Size),
    ];
    for (input, bad) in table {
        assert_eq!(read(input), Err(bad), "{}", input.escape_ascii());
    }
}

const PIECES: &[&[u8]] = &[b"2\r\nab\r\n", b"0\r\n\r\n", b"1", b"\r\n", b";", b"x"];

proptest! {
    #[test]
    fn cuts_change_nothing(
        input in proptest::collection::vec(proptest::sample::select(PIECES), 0..8),
        cut in 0..64_usize,
    ) {
        let input = input.concat();
        let (first, second) = input.split_at(cut.min(input.len()));
        let (mut reader, mut out) = (Chunked::default(), Vec::new());
        let pieces = reader.feed(first, &mut out).and_then(|(used, done)| {
            if done {
                return Ok((used, done));
            }
            reader.feed(second, &mut out).map(|(more, done)| (used + more, done))
        });
        prop_assert_eq!(read(&input), pieces.map(|(used, done)| (out, used, done)));
    }
}

#[test]
fn what_means_nothing_is_passed_over_where_it_may_be() {
    let body = b"4;a=\"b\"\r\nWiki\r\n1;x\r\n!\r\n0;\r\nexpires: never\r\ny: z\r\n\r\nbehind";
    for size in 1..body.len() {
        let (mut chunked, mut out) = (Chunked::passing_over(24), Vec::new());
        let mut used = 0;
        let done = body.chunks(size).any(|piece| {
            let (taken, done) = chunked.feed(piece, &mut out).unwrap();
            used += taken;
            done
        });
        assert_eq!(
            (out.as_slice(), used, done),
            (&b"Wiki!"[..], body.len() - 6, true)
        );
    }
    let read = |spare: usize, body: &[u8]| Chunked::passing_over(spare).feed(body, &mut Vec::new());
    for (spare, body, bad) in [
        (5, &b"4;a=\"b\"\r\n"[..], Bad::Extension),
        (9, b"4;a\n", Bad::LineEnd),
        (9, b"4;a\ra", Bad::LineEnd),
        (9, b"4 ;a\r\n", Bad::Size),
        (9, b";a\r\n", Bad::Size),
        (3, b"0\r\nabcd", Bad::Trailer),
        (9, b"0\r\n\n", Bad::LineEnd),
        (9, b"0\r\na: b\r\n\n", Bad::LineEnd),
    ] {
        assert_eq!(read(spare, body), Err(bad), "{body:?}");
    }
}
