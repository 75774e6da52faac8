//! Two limits of one call: all or none, while another call takes one of them.

use loom::sync::Arc;
use loom::thread;
use smallvec::SmallVec;

use super::super::{EPOCH, Verdict};
use super::support::{MINUTE, explore, per, table, used};

#[test]
fn two_limits_are_taken_together_or_not_at_all() {
    explore(2, || {
        let table = table(2, 0);
        let (first, second) = (per(MINUTE, 0, 2), per(MINUTE, 1, 2));
        let mut readings = SmallVec::new();
        // One unit of each is gone, and both keys have their slots.
        assert!(matches!(
            table.reserve(&[first, second], EPOCH, &mut readings),
            Verdict::Admitted(_)
        ));
        let both = {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                matches!(
                    table.reserve(&[first, second], EPOCH, &mut SmallVec::new()),
                    Verdict::Admitted(_)
                )
            })
        };
        let one = {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                matches!(
                    table.reserve(&[second], EPOCH, &mut SmallVec::new()),
                    Verdict::Admitted(_)
                )
            })
        };
        let (both, one) = (both.join().unwrap(), one.join().unwrap());
        assert!(!(both && one), "the last unit was taken twice");
        assert_eq!(used(&table, &first, EPOCH), 1 + u64::from(both));
        assert_eq!(
            used(&table, &second, EPOCH),
            1 + u64::from(both) + u64::from(one)
        );
    });
}
