//! However the bytes of a connection are cut, the same becomes of them.

use proptest::prelude::*;
use proptest::sample::select;

use super::support::*;
use crate::http1::{Gate, Intake, Received};

/// Everything that becomes of these pieces, up to what is given back; then that, or what is still kept.
fn outcome<'p>(
    gate: &Gate,
    pieces: impl Iterator<Item = &'p [u8]>,
) -> (Vec<String>, bool, Vec<u8>) {
    let mut intake = Intake::default();
    let (mut seen, mut over) = (Vec::new(), false);
    for piece in pieces {
        let mut received = receive(&mut intake, gate, piece);
        loop {
            match received {
                Received::More => break,
                Received::TakeOver => {
                    over = true;
                    break;
                }
                other => seen.push(words(other)),
            }
            received = receive(&mut intake, gate, b"");
        }
    }
    (seen, over, intake.take_raw())
}

/// Cuts the input at one place, and into single bytes, and compares. No tool is called that has limits.
fn agree(input: &[u8], at: usize) -> Result<(), TestCaseError> {
    let gate = gate();
    let whole = outcome(&gate, std::iter::once(input));
    let (first, second) = input.split_at(at);
    prop_assert_eq!(&whole, &outcome(&gate, [first, second].into_iter()));
    prop_assert_eq!(&whole, &outcome(&gate, input.chunks(1)));
    Ok(())
}

/// Parts of requests, good and bad.
const PARTS: &[&str] = &[
    "POST /mcp HTTP/1.1\r\n",
    "GET /mcp HTTP/1.1\r\n",
    "POST / HTTP/1.0\r\n",
    "Host: localhost:8000\r\n",
    "Content-Type: application/json\r\n",
    "Content-Length: 3\r\n",
    "Content-Length: 87\r\n",
    "Content-Length: 9999\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Expect: x\r\n",
    "\r\n",
    "\n",
    "\r",
    " ",
    "3\r\nabc\r\n",
    "0\r\n\r\n",
    "57\r\n",
    r#"{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"look","arguments":{}}}"#,
    "abc",
];

proptest! {
    #[test]
    fn of_any_bytes(input in proptest::collection::vec(any::<u8>(), 0..200), at in 0..200_usize) {
        agree(&input, at.min(input.len()))?;
    }

    #[test]
    fn of_parts_of_requests(
        parts in proptest::collection::vec(select(PARTS), 0..12),
        at in any::<proptest::sample::Index>(),
    ) {
        let input = parts.concat();
        agree(input.as_bytes(), at.index(input.len() + 1))?;
    }

    #[test]
    fn of_requests_with_one_byte_changed(
        place in any::<proptest::sample::Index>(),
        byte in any::<u8>(),
        at in any::<proptest::sample::Index>(),
    ) {
        let body = call("look");
        let coded = format!(
            "POST /mcp HTTP/1.1\r\nhost: localhost:8000\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
            body.len()
        );
        let mut input = (post(&body) + &coded + &post(&call("steal"))).into_bytes();
        let place = place.index(input.len());
        input[place] = byte;
        agree(&input, at.index(input.len() + 1))?;
    }
}

#[test]
fn of_three_requests_at_every_place() {
    let body = call("look");
    let coded = format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost:8000\r\ncontent-type: application/json\r\n\
        transfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    let get = "GET /mcp HTTP/1.1\r\nHost: localhost:8000\r\n\r\n";
    let input = post(&body) + &coded + get + &post(&call("steal"));
    let gate = gate();
    let (seen, over, kept) = outcome(&gate, std::iter::once(input.as_bytes()));
    let kinds: Vec<&str> = seen.iter().map(|words| &words[..4]).collect();
    assert_eq!(kinds, ["forw", "forw", "None", "Answ"]);
    assert!(!over && kept.is_empty());
    for at in 0..=input.len() {
        agree(input.as_bytes(), at).unwrap();
    }
}
