//! Reading a message and judging it by names and conditions allocates nothing once its buffers are warm.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use gateway_core::decimal::Decimal;
use gateway_core::json::{Bounds, Index};
use gateway_core::message;
use gateway_core::pattern::{Pattern, PatternSet};
use gateway_core::policy::condition::{ArgPath, Condition, Op, Operand, Truth};
use smallvec::SmallVec;

/// The system's allocator, counted.
struct Counted;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on unchanged to the system's allocator, which keeps the contract.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // ORDERING: one thread counts and reads; relaxed is enough.
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are the ones asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are the ones asked for.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counted = Counted;

const CALL: &[u8] = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"submit_proposal","arguments":
    {"job":"~01","bid":250.5,"tags":["a","b","c\u0064","d","e","f"]},"_meta":{"progressToken":1}}}"#;

// The only test of this binary: another one would allocate while this one counts.
#[test]
fn a_warm_reader_does_not_allocate() {
    let condition = |path: &str, op, operand| Condition {
        path: ArgPath::parse(path).unwrap(),
        op,
        operand,
    };
    let text = |text: &str| Operand::Text(text.to_owned());
    let conditions = [
        (
            condition(
                "args.bid",
                Op::Gt,
                Operand::Number(Decimal::from_units(500, 0)),
            ),
            Truth::False,
        ),
        (condition("args.tags[*]", Op::Eq, text("cd")), Truth::True),
        (condition("args.job", Op::Contains, text("~0")), Truth::True),
        (
            condition("args.none", Op::Exists, Operand::Bool(false)),
            Truth::True,
        ),
    ];
    let patterns: PatternSet = ["submit_proposal", "submit_*", "*_proposal", "*_pro*", "x"]
        .into_iter()
        .zip(0..)
        .map(|(text, id)| (Pattern::parse(text).unwrap(), id))
        .collect();
    let mut index = Index::default();
    let mut ids = SmallVec::new();
    let mut run = || {
        let value = index.scan(CALL, &Bounds::default()).unwrap();
        let message = message::read(value).unwrap();
        patterns.matches_into(message.target.unwrap().plain().unwrap(), &mut ids);
        assert_eq!(ids[..], [0, 1, 2, 3]);
        for (condition, expected) in &conditions {
            assert_eq!(condition.eval(message.arguments), *expected);
        }
    };
    run();
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    run();
    assert_eq!(ALLOCATIONS.load(Ordering::Relaxed), before);
    assert!(before > 0, "the allocator does not count");
}
