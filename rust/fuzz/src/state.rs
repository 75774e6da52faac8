//! A state file that was tampered with is refused, or is a table that still decides; never a crash, never a hang.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use gateway_core::caller::Caller;
use gateway_core::engine::{Engine, Options};
use gateway_core::limit::LimitTable;
use gateway_core::policy::PolicySet;

use crate::MIDNIGHT;

const POLICY: &[u8] = br#"{"version":"1","default":"allow","all_tools":{"limits":[
    {"counter":"a","window":"day","max":3},
    {"counter":"b","window":"minute","max":3,"algorithm":"sliding_window"},
    {"counter":"c","window":"minute","max":30,"burst":3,"algorithm":"token_bucket"},
    {"counter":"d","algorithm":"concurrency","max":3}]}}"#;
const CALL: &[u8] =
    br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","arguments":{}}}"#;
const SLOTS: usize = 16;

/// Edits of six bytes each: a place (big-endian, 3), how many bytes, what they are changed by, by how much more each.
pub fn holds(data: &[u8]) {
    let path = place();
    let _ = fs::remove_file(&path);
    spend(&path);
    let mut bytes = fs::read(&path).expect("the file");
    for edit in data.chunks_exact(6) {
        let at = usize::from(edit[0]) << 16 | usize::from(edit[1]) << 8 | usize::from(edit[2]);
        if edit[3] == 255 {
            bytes.truncate(at);
            continue;
        }
        let mut change = edit[4];
        for byte in bytes.iter_mut().skip(at).take(usize::from(edit[3])) {
            *byte ^= change;
            change = change.wrapping_add(edit[5]);
        }
    }
    fs::write(&path, bytes).expect("room");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("our own file");
    if let Ok(table) = LimitTable::open(&path, SLOTS, MIDNIGHT) {
        let engine = engine(table);
        let caller = Caller::new("g".into(), "s".into(), None, None);
        for _ in 0..5 {
            let decision = engine.decide(&caller, CALL, None, MIDNIGHT);
            assert_ne!(decision.code.slug(), "internal-error");
        }
    }
    let _ = fs::remove_file(&path);
}

/// Makes a table in which something is used up.
fn spend(path: &PathBuf) {
    let engine = engine(LimitTable::open(path, SLOTS, MIDNIGHT).expect("a new table"));
    for grant in ["g", "h"] {
        let caller = Caller::new(grant.into(), "s".into(), None, None);
        assert!(engine.decide(&caller, CALL, None, MIDNIGHT).allowed);
    }
}

fn engine(table: LimitTable) -> Engine {
    let policy = PolicySet::parse(POLICY, "fuzz.json").expect("the policy");
    Engine::new(Arc::new(policy), Arc::new(table), Options::default())
}

fn place() -> PathBuf {
    let folder = if fs::metadata("/dev/shm").is_ok() {
        "/dev/shm".into()
    } else {
        std::env::temp_dir()
    };
    folder.join(format!("interlock-fuzz-{}", std::process::id()))
}
