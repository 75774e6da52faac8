//! The file behind a table: kept across restarts, shared with workers, refused when it cannot be believed.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]
#![allow(
    clippy::cast_possible_truncation,
    reason = "offsets within a small file"
)]

mod limits_support;

use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

use gateway_core::limit::{Algorithm, EPOCH, LimitTable, OpenError, Window};
use gateway_core::time::Nanos;
use limits_support::{DAY, MINUTE, SECOND, admitted, charge, look, try_reserve};
use tempfile::TempDir;

const PER_DAY: Algorithm = Algorithm::Fixed(Window::Span(DAY));
const SLOTS: usize = 64;
const SLOTS_OFFSET: u64 = 8192;
const SLOT_BYTES: u64 = 128;

/// What is wrong, where, and what is done to the word there.
type Case = (&'static str, u64, fn(u64) -> u64);

fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("limits.state");
    (folder, path)
}

fn wall() -> Nanos {
    EPOCH.plus(40 * DAY)
}

/// A file with one used key, and the offset of its slot.
fn used_file() -> (TempDir, PathBuf, u64) {
    file_used_by(|table| {
        assert!(admitted(
            table,
            &[charge(table, "calls", PER_DAY, 3)],
            wall()
        ));
    })
}

fn file_used_by(first: impl Fn(&LimitTable)) -> (TempDir, PathBuf, u64) {
    let (folder, path) = place();
    let table = LimitTable::open(&path, SLOTS, wall()).expect("a new file");
    first(&table);
    drop(table);
    let bytes = fs::read(&path).expect("the file");
    let slot = (0..SLOTS as u64)
        .map(|slot| SLOTS_OFFSET + slot * SLOT_BYTES)
        .find(|&offset| bytes[offset as usize..offset as usize + 8] != [0; 8])
        .expect("a used slot");
    (folder, path, slot)
}

fn damage(path: &PathBuf, offset: u64, change: impl Fn(u64) -> u64) {
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .expect("the file");
    let mut word = [0; 8];
    file.read_exact_at(&mut word, offset)
        .expect("within the file");
    file.write_all_at(&change(u64::from_le_bytes(word)).to_le_bytes(), offset)
        .expect("room");
}

#[test]
fn counts_survive_a_restart() {
    let (_folder, path) = place();
    for left in [2, 1, 0] {
        let table = LimitTable::open(&path, SLOTS, wall()).expect("the file");
        let limit = charge(&table, "calls", PER_DAY, 3);
        let running = charge(&table, "running", Algorithm::Concurrency, 1);
        // The call before us runs no more: its process is gone.
        assert!(try_reserve(&table, &[limit, running], wall()).is_some());
        assert_eq!(look(&table, &limit, wall()).remaining, left);
    }
    let table = LimitTable::open(&path, SLOTS, wall()).expect("the file");
    assert!(!admitted(
        &table,
        &[charge(&table, "calls", PER_DAY, 3)],
        wall()
    ));
    assert!(
        !admitted(&table, &[charge(&table, "calls", PER_DAY, 3)], EPOCH),
        "the clock floor is kept too"
    );
}

#[test]
fn the_file_is_private_and_its_size_is_really_there() {
    let (folder, path) = place();
    let table = LimitTable::open(&path, 100, wall()).expect("a new file");
    assert_eq!(table.slots(), 128);
    let metadata = fs::metadata(&path).expect("the file");
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    assert_eq!(metadata.len(), 8192 + 128 * 128);
    assert!(metadata.blocks() * 512 >= metadata.len(), "no holes");
    assert_eq!(
        fs::read_dir(folder.path()).expect("the folder").count(),
        1,
        "no draft is left behind"
    );
    drop(table);
    let again = LimitTable::open(&path, 4096, wall()).expect("the file");
    assert_eq!(again.slots(), 128, "a file keeps its size");
}

#[test]
fn a_second_owner_is_refused_also_by_workers_that_are_left() {
    let (_folder, path) = place();
    assert!(matches!(LimitTable::join(&path), Err(OpenError::Io { .. })));
    let owner = LimitTable::open(&path, SLOTS, wall()).expect("a new file");
    assert!(matches!(
        LimitTable::open(&path, SLOTS, wall()),
        Err(OpenError::Locked(_))
    ));
    let worker = LimitTable::join(&path).expect("an owner is there");
    drop(owner);
    assert!(matches!(
        LimitTable::open(&path, SLOTS, wall()),
        Err(OpenError::Locked(_))
    ));
    let second = LimitTable::join(&path).expect("a worker of the same run is there");
    drop(worker);
    assert!(matches!(
        LimitTable::open(&path, SLOTS, wall()),
        Err(OpenError::Locked(_))
    ));
    drop(second);
    assert!(matches!(
        LimitTable::join(&path),
        Err(OpenError::NotOpen(_))
    ));
    LimitTable::open(&path, SLOTS, wall()).expect("everybody is gone");
}

#[test]
fn workers_count_together_and_eight_processes_fit() {
    let (_folder, path) = place();
    let owner = LimitTable::open(&path, SLOTS, wall()).expect("a new file");
    // An owner that only watches needs no seat.
    let mut workers: Vec<_> = (0..8)
        .map(|_| LimitTable::join(&path).expect("a seat"))
        .collect();
    assert!(matches!(
        LimitTable::join(&path),
        Err(OpenError::Crowded(_))
    ));
    let limit = charge(&owner, "calls", PER_DAY, 5);
    let running = charge(&owner, "running", Algorithm::Concurrency, 5);
    let held: Vec<_> = workers
        .iter()
        .filter_map(|worker| try_reserve(worker, &[limit, running], wall()))
        .collect();
    assert_eq!(held.len(), 5);
    assert_eq!(look(&owner, &running, wall()).remaining, 0);
    // One process goes without settling: its running call ends with it, its count stays.
    drop(workers.remove(0));
    let other = charge(&owner, "other", PER_DAY, 5);
    assert!(
        try_reserve(&workers[6], &[running, other], wall()).is_some(),
        "a dead process's call runs no more"
    );
    assert!(try_reserve(&workers[6], &[running, other], wall()).is_none());
    assert_eq!(look(&owner, &limit, wall()).remaining, 0);
}

#[test]
fn an_anonymous_table_is_joined_through_its_descriptor() {
    let owner = LimitTable::anonymous(SLOTS).expect("memory");
    let path = PathBuf::from(format!("/proc/self/fd/{}", owner.as_fd().as_raw_fd()));
    let worker = LimitTable::join(&path).expect("an owner is there");
    let limit = charge(&owner, "calls", PER_DAY, 1);
    assert_eq!(limit.key, charge(&worker, "calls", PER_DAY, 1).key);
    assert!(admitted(&owner, &[limit], EPOCH));
    assert!(!admitted(&worker, &[limit], EPOCH));
}

#[test]
fn a_deleted_file_goes_on_and_a_new_one_is_another() {
    let (_folder, path) = place();
    let table = LimitTable::open(&path, SLOTS, wall()).expect("a new file");
    fs::remove_file(&path).expect("the file");
    assert!(admitted(
        &table,
        &[charge(&table, "calls", PER_DAY, 1)],
        wall()
    ));
    assert!(!admitted(
        &table,
        &[charge(&table, "calls", PER_DAY, 1)],
        wall()
    ));
}

#[test]
fn a_link_or_a_file_others_can_change_is_refused() {
    let (folder, path, _) = used_file();
    let link = folder.path().join("link");
    symlink(&path, &link).expect("a link");
    assert!(matches!(
        LimitTable::open(&link, SLOTS, wall()),
        Err(OpenError::Io { .. })
    ));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o602)).expect("our file");
    assert!(matches!(
        LimitTable::open(&path, SLOTS, wall()),
        Err(OpenError::Exposed(_))
    ));
    let nowhere = folder.path().join("absent/limits.state");
    assert!(matches!(
        LimitTable::open(&nowhere, SLOTS, wall()),
        Err(OpenError::Io { .. })
    ));
}

#[test]
fn any_flipped_bit_of_the_constant_header_is_refused() {
    let (_folder, path, _) = used_file();
    let whole = fs::read(&path).expect("the file");
    for bit in 0..64 * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &bytes).expect("room");
        let refused = LimitTable::open(&path, SLOTS, wall());
        assert!(
            matches!(refused, Err(OpenError::Corrupt { .. })),
            "bit {bit}: {refused:?}"
        );
    }
    for offset in [72, 200, 1032, 1600, 4088] {
        fs::write(&path, &whole).expect("room");
        damage(&path, offset, |word| word | 4);
        assert!(
            matches!(
                LimitTable::open(&path, SLOTS, wall()),
                Err(OpenError::Corrupt { .. })
            ),
            "{offset}"
        );
    }
    fs::write(&path, &whole).expect("room");
    LimitTable::open(&path, SLOTS, wall()).expect("the file as it was");
}

#[test]
fn a_file_of_another_layout_is_named_as_such() {
    let (_folder, path, _) = used_file();
    let mut bytes = fs::read(&path).expect("the file");
    bytes[8] = 9;
    let check = crc32fast::hash(&bytes[..60]).to_le_bytes();
    bytes[60..64].copy_from_slice(&check);
    fs::write(&path, &bytes).expect("room");
    let error = LimitTable::open(&path, SLOTS, wall()).expect_err("another layout");
    assert!(
        matches!(error, OpenError::Version { found: 9, .. }),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .ends_with("has layout 9, this release reads another"),
        "{error}"
    );
    assert!(error.help().contains("interlock state reset"));
}

#[test]
fn a_file_of_the_wrong_length_is_refused() {
    let (_folder, path, _) = used_file();
    let whole = fs::read(&path).expect("the file");
    for length in [0, 1, 63, 64, 4096, 8192, whole.len() - 1, whole.len() + 1] {
        let mut bytes = whole.clone();
        bytes.resize(length, 0);
        fs::write(&path, &bytes).expect("room");
        assert!(
            matches!(
                LimitTable::open(&path, SLOTS, wall()),
                Err(OpenError::Corrupt { .. })
            ),
            "{length}"
        );
    }
}

#[test]
fn an_implausible_slot_or_clock_is_refused() {
    let (_folder, path, slot) = used_file();
    let whole = fs::read(&path).expect("the file");
    let word = slot + 64;
    let cases: [Case; 9] = [
        ("a kind there is not", slot + 16, |meta| {
            (meta & !0xff) | 0x63
        }),
        ("another kind", slot + 16, |meta| (meta & !0xff) | 5),
        ("another width", slot + 24, |_| SECOND),
        ("another class", word, |word| word ^ (1 << 61)),
        ("a window to come", word, |word| word + (1 << 44)),
        ("a seal on a fixed window", word, |word| word | (1 << 43)),
        ("a second word", word + 8, |_| 1),
        ("another key", slot + 8, |hi| hi ^ 32),
        ("a clock out of bounds", 64, |floor| floor | (1 << 63)),
    ];
    for (name, offset, change) in cases {
        fs::write(&path, &whole).expect("room");
        damage(&path, offset, change);
        let refused = LimitTable::open(&path, SLOTS, wall());
        assert!(
            matches!(refused, Err(OpenError::Corrupt { .. })),
            "{name}: {refused:?}"
        );
    }
    fs::write(&path, &whole).expect("room");
    let copy = whole[slot as usize..slot as usize + 128].to_vec();
    let next = if slot + 256 > whole.len() as u64 {
        SLOTS_OFFSET
    } else {
        slot + 128
    };
    let file = fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .expect("the file");
    file.write_all_at(&copy, next).expect("room");
    assert!(
        matches!(
            LimitTable::open(&path, SLOTS, wall()),
            Err(OpenError::Corrupt { .. })
        ),
        "a key twice"
    );
}

#[test]
fn an_implausible_bucket_or_binding_is_refused() {
    let bucket = Algorithm::Bucket {
        window_ns: MINUTE,
        interval_ns: SECOND,
        burst: 3,
    };
    let bucket = file_used_by(|table| {
        assert!(admitted(
            table,
            &[charge(table, "calls", bucket, 3)],
            wall()
        ));
    });
    let binding = file_used_by(|table| {
        let key = table.key(&[b"session"]);
        table.bind(key, 1, 2, wall(), DAY).expect("free");
    });
    let cases: [(_, Case); 4] = [
        (&bucket, ("a debt of years", 0, |word| word + 1_200 * DAY)),
        (&bucket, ("a second word", 1, |_| 1)),
        (&binding, ("seen tomorrow", 2, |seen| seen + DAY)),
        (&binding, ("a fifth word", 4, |_| 1)),
    ];
    for ((_, path, slot), (name, word, change)) in cases {
        let whole = fs::read(path).expect("the file");
        LimitTable::open(path, SLOTS, wall()).expect("the file as it was");
        damage(path, slot + 64 + word * 8, change);
        let refused = LimitTable::open(path, SLOTS, wall());
        assert!(
            matches!(refused, Err(OpenError::Corrupt { .. })),
            "{name}: {refused:?}"
        );
        fs::write(path, whole).expect("room");
    }
}

#[test]
fn a_number_of_slots_that_cannot_be_is_refused() {
    let (_folder, path, _) = used_file();
    let mut bytes = fs::read(&path).expect("the file");
    bytes.truncate(usize::try_from(SLOTS_OFFSET + 3 * SLOT_BYTES).expect("small"));
    bytes[16..24].copy_from_slice(&3_u64.to_le_bytes());
    let check = crc32fast::hash(&bytes[..60]).to_le_bytes();
    bytes[60..64].copy_from_slice(&check);
    fs::write(&path, &bytes).expect("room");
    let refused = LimitTable::open(&path, SLOTS, wall());
    assert!(
        matches!(refused, Err(OpenError::Corrupt { .. })),
        "{refused:?}"
    );
}

#[test]
fn what_a_killed_process_leaves_is_no_damage() {
    let (_folder, path, slot) = used_file();
    // A mark, a slot that was being filled, taken pins.
    damage(&path, slot, |id| id | 1);
    let free = if slot + 256 > SLOTS_OFFSET + SLOTS as u64 * SLOT_BYTES {
        SLOTS_OFFSET
    } else {
        slot + 128
    };
    damage(&path, free, |_| 1);
    damage(&path, free + 64, |_| u64::MAX);
    damage(&path, 4096, |_| 7);
    damage(&path, 4096 + 7 * 64, |_| u64::MAX);
    let table = LimitTable::open(&path, SLOTS, wall()).expect("the file");
    assert_eq!(
        look(&table, &charge(&table, "calls", PER_DAY, 3), wall()).remaining,
        2
    );
    for n in 0..SLOTS - 1 {
        assert!(
            admitted(
                &table,
                &[charge(&table, &format!("key {n}"), PER_DAY, 1)],
                wall()
            ),
            "{n}"
        );
    }
    assert_eq!(table.used(), SLOTS);
}

#[test]
fn a_clock_that_was_ahead_stays_ahead() {
    let (_folder, path) = place();
    let table = LimitTable::open(&path, SLOTS, wall()).expect("a new file");
    let limit = charge(&table, "calls", Algorithm::Fixed(Window::Span(MINUTE)), 1);
    assert!(admitted(&table, &[limit], wall().plus(DAY)));
    drop(table);
    let table = LimitTable::open(&path, SLOTS, wall()).expect("the file");
    assert_eq!(table.stats().clock_floor, wall().plus(DAY));
    assert!(!admitted(&table, &[limit], wall()));
}
