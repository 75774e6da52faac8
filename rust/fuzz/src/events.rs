//! An event stream is cut at the same places however it comes, nothing of it is lost, and little of it is held.

use gateway_core::sse::{Cut, Cutter};

use crate::cut;

const LIMIT: usize = 64;

/// A size of pieces, and a stream.
pub fn holds(data: &[u8]) {
    let Some((whole, pieces)) = cut(data) else {
        return;
    };
    assert_eq!(events(&[whole]), events(&pieces));
}

/// The events, but for those that say nothing, and what is left over.
fn events(pieces: &[&[u8]]) -> (Vec<Option<Vec<u8>>>, usize) {
    let mut cutter = Cutter::new(LIMIT);
    let mut events = Vec::new();
    let mut bytes = 0;
    for piece in pieces {
        let mut rest = *piece;
        while let Some(cut) = cutter.next(&mut rest) {
            match cut {
                Cut::TooLong => events.push(None),
                Cut::Event(event) => {
                    bytes += event.raw().len();
                    // The LF of a CRLF may come as an event of its own.
                    let said = event
                        .raw()
                        .iter()
                        .rposition(|byte| !matches!(byte, b'\r' | b'\n'));
                    if let Some(last) = said {
                        // And so it may be what makes an event too long.
                        let near = last + 5 > LIMIT;
                        events.push((!near).then(|| event.raw()[..=last].to_vec()));
                        let data = event.data();
                        assert!(data.is_none_or(|data| data.len() <= event.raw().len()));
                    }
                }
            }
        }
        assert!(rest.is_empty(), "a piece was not taken");
    }
    let total: usize = pieces.iter().map(|piece| piece.len()).sum();
    if !events.contains(&None) && !cutter.is_too_long() {
        assert_eq!(bytes + cutter.pending_bytes(), total, "bytes were lost");
    }
    (events, cutter.pending_bytes())
}
