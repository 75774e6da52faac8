//! A connection's bytes lead to the same however they are cut; what is forwarded has one length, and it is right.

use std::sync::Arc;

use gateway_core::http1::{Gate, GateOptions, Intake, Received, Route};

use crate::{MIDNIGHT, cut, engine};

const OWN: &[u8] = b"POST /rpc HTTP/1.1\r\nhost: server.example\r\naccept-encoding: identity\r\n";
const POLICY: &str = r#"{"version":"1","default":"deny","tools":{"look":{},"pay":{"limits":[
    {"counter":"payments","window":"day","max":3}]}}}"#;

/// A size of pieces, and a connection's bytes.
pub fn holds(data: &[u8]) {
    let Some((whole, pieces)) = cut(data) else {
        return;
    };
    assert_eq!(became(&[whole]), became(&pieces));
}

/// What became of each message, in words, until the connection is somebody else's.
fn became(pieces: &[&[u8]]) -> Vec<String> {
    let gate = gate();
    let mut intake = Intake::default();
    let mut all = Vec::new();
    for piece in pieces {
        let mut data = *piece;
        loop {
            match intake.receive(&gate, data, &|| MIDNIGHT) {
                Received::More => break,
                Received::Answer(answer) => all.push(format!("answer {}", answer.escape_ascii())),
                Received::Forward(forward) => {
                    framed(&forward.bytes);
                    assert!(forward.decision.allowed);
                    all.push(format!("forward {}", forward.bytes.escape_ascii()));
                }
                Received::HandOver(handed) => all.push(format!(
                    "hand over {:?} {:?} {:?} {:?}",
                    handed.method, handed.target, handed.headers, handed.body
                )),
                Received::TakeOver => {
                    all.push("take over".into());
                    return all;
                }
                Received::Failed(_) => panic!("something in here failed"),
            }
            data = &[];
        }
    }
    all
}

/// One line of the request, fields that every reader ends at the same place, one length, and so much of a body.
fn framed(request: &[u8]) {
    assert!(request.starts_with(OWN));
    let end = request
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .expect("an end");
    let (head, body) = (&request[..end], &request[end + 4..]);
    let head = std::str::from_utf8(head).unwrap_or_default();
    let lines: Vec<&str> = head.split("\r\n").skip(1).collect();
    assert!(!head.replace("\r\n", "").contains(['\r', '\n', '\0']));
    let all = |name: &str| lines.iter().filter(|line| line.starts_with(name)).count();
    assert_eq!(all("content-length: "), usize::from(!head.is_empty()));
    assert_eq!(all("transfer-encoding"), 0);
    assert_eq!(all("host: "), usize::from(!head.is_empty()));
    let length = format!("content-length: {}", body.len());
    assert!(head.is_empty() || lines.contains(&length.as_str()));
}

fn gate() -> Gate {
    let mut gate = Gate::new(GateOptions {
        max_head_bytes: 1024,
        max_body_bytes: 1024,
        hosts: Some(vec![b"localhost".to_vec()]),
        ..GateOptions::default()
    });
    let route = Route {
        engine: Arc::clone(&engine(POLICY)),
        grant: "g".into(),
        server: "s".into(),
        head: OWN.into(),
        own_names: vec![b"host".to_vec(), b"accept-encoding".to_vec()],
        tag: 0,
    };
    gate.add_route(b"/mcp".to_vec(), route, true);
    gate
}
