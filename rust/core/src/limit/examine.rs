//! What a table's file says about itself, and whether it can be believed.
//!
//! INVARIANT: a file that this code could not have left behind is refused, never repaired by guessing: lowering a
//! count would forgive what was used.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::bucket::Bucket;
use super::error::OpenError;
use super::key::Locator;
use super::layout::{BUSY, Content, EMPTY, IDENTITY_BYTES, MARK, PAGE, Slot};
use super::table::{FLOOR_LAG_NS, Rule};
use super::{EPOCH, HORIZON, LimitTable, binding, concurrency, shared};
use crate::sync::Ordering;
use crate::time::Nanos;

const MAGIC: [u8; 8] = *b"ILKLIMIT";
/// Changes whenever a file of another release could be misread.
const LAYOUT: u64 = 1;
/// Where the clock floor lies.
const FLOOR_OFFSET: usize = IDENTITY_BYTES;

/// The constant part of the header.
pub(super) struct Identity {
    pub(super) slots: usize,
    pub(super) secret: [u8; 16],
    created: Nanos,
}

/// The 64-bit word at an offset.
fn word_at(bytes: &[u8], offset: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[offset..offset + 8]);
    u64::from_le_bytes(word)
}

impl Identity {
    /// That of a new file.
    pub(super) fn fresh(slots: usize, created: Nanos) -> io::Result<Self> {
        let mut secret = [0; 16];
        shared::fill_random(&mut secret)?;
        Ok(Self {
            slots,
            secret,
            created,
        })
    }

    /// Tells drafts apart. Derived from the secret without giving any of it away that matters: 32 hashed bits.
    pub(super) fn nonce(&self) -> u32 {
        crc32fast::hash(&self.secret)
    }

    fn bytes(&self) -> [u8; IDENTITY_BYTES] {
        let mut bytes = [0; IDENTITY_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&LAYOUT.to_le_bytes());
        bytes[16..24].copy_from_slice(&(self.slots as u64).to_le_bytes());
        bytes[24..40].copy_from_slice(&self.secret);
        bytes[40..48].copy_from_slice(&self.created.0.to_le_bytes());
        let check = crc32fast::hash(&bytes[..IDENTITY_BYTES - 4]);
        bytes[IDENTITY_BYTES - 4..].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    /// The first page of a new file.
    pub(super) fn header_page(&self) -> [u8; PAGE] {
        let mut page = [0; PAGE];
        page[..IDENTITY_BYTES].copy_from_slice(&self.bytes());
        page[FLOOR_OFFSET..FLOOR_OFFSET + 8]
            .copy_from_slice(&self.created.max(EPOCH).0.to_le_bytes());
        page
    }

    /// Reads and checks what a file says it is.
    pub(super) fn read(file: &File, path: &Path) -> Result<Self, OpenError> {
        let damaged = |what: &str| OpenError::Corrupt {
            path: path.into(),
            what: what.into(),
        };
        let mut bytes = [0; IDENTITY_BYTES];
        if file.read_exact_at(&mut bytes, 0).is_err() {
            return Err(damaged("it is too short"));
        }
        if bytes[..8] != MAGIC {
            return Err(damaged("it is not a limit table"));
        }
        let check = crc32fast::hash(&bytes[..IDENTITY_BYTES - 4]).to_le_bytes();
        if bytes[IDENTITY_BYTES - 4..] != check {
            return Err(damaged("its header does not match its check sum"));
        }
        let found = word_at(&bytes, 8);
        if found != LAYOUT {
            return Err(OpenError::Version {
                path: path.into(),
                found,
            });
        }
        let slots = usize::try_from(word_at(&bytes, 16)).unwrap_or(0);
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        if !slots.is_power_of_two() || slots > 1 << 24 || length != shared::file_bytes(slots) as u64
        {
            return Err(damaged("its length does not match its header"));
        }
        let mut secret = [0; 16];
        secret.copy_from_slice(&bytes[24..40]);
        Ok(Self {
            slots,
            secret,
            created: Nanos(word_at(&bytes, 40)),
        })
    }

    /// Checks the changing part of the header. The file is owned alone.
    pub(super) fn examine_header(&self, file: &File, path: &Path) -> Result<(), OpenError> {
        let damaged = |what: &str| OpenError::Corrupt {
            path: path.into(),
            what: what.into(),
        };
        let mut page = [0; PAGE];
        file.read_exact_at(&mut page, 0)
            .map_err(|_| damaged("it is too short"))?;
        let floor = Nanos(word_at(&page, FLOOR_OFFSET));
        if floor < self.created.max(EPOCH) || floor >= HORIZON {
            return Err(damaged("its clock is out of bounds"));
        }
        // Three statistics after the floor's line, eight seats of a line each from 1024; the rest is unused.
        let used = |offset: usize| {
            offset < 72
                || (128..152).contains(&offset)
                || ((1024..1536).contains(&offset) && offset % 64 < 8)
        };
        if page
            .iter()
            .enumerate()
            .any(|(offset, &byte)| byte != 0 && !used(offset))
        {
            return Err(damaged("its header has bits where it keeps nothing"));
        }
        Ok(())
    }
}

/// Checks every slot and clears what processes that are gone left behind. The file is owned alone.
pub(super) fn examine_slots(table: &LimitTable, wall: Nanos) -> Result<(), String> {
    let header = table.mapping.header();
    let latest = table.floor().plus(FLOOR_LAG_NS).max(wall);
    let mut seen = HashSet::new();
    for (place, slot) in table.mapping.slots().iter().enumerate() {
        // ORDERING: Relaxed, here and below; nobody else has the file open.
        let id = slot.id.load(Ordering::Relaxed);
        if id == EMPTY || id == BUSY {
            continue;
        }
        let key = Locator {
            id: id & !MARK,
            hi: slot.key_hi.load(Ordering::Relaxed),
        };
        let what = if !plausible(slot, latest) {
            "cannot hold what it holds"
        } else if !table.reachable(key, place) {
            "lies where its key is not looked for"
        } else if !seen.insert(key) {
            "has a key that another has"
        } else {
            slot.id.store(key.id, Ordering::Relaxed);
            continue;
        };
        return Err(format!("slot {place} {what}"));
    }
    for pin in table.mapping.pins() {
        pin.sequence.store(0, Ordering::Relaxed);
    }
    for seat in table.mapping.seats() {
        // Whatever ran is over.
        seat.generation.fetch_add(1, Ordering::Relaxed);
    }
    header.seats_used.store(0, Ordering::Relaxed);
    Ok(())
}

/// Whether a slot's words could have been written by this code no later than `latest`.
fn plausible(slot: &Slot, latest: Nanos) -> bool {
    match slot.content() {
        Some(Content::Binding) => binding::plausible(slot, latest),
        Some(Content::Count(algorithm)) => match Rule::of(algorithm) {
            Some(Rule::Windows(windows)) => windows.plausible(&slot.ring, latest),
            Some(Rule::Bucket(_)) => Bucket::plausible(&slot.ring, latest),
            Some(Rule::Concurrency) => concurrency::plausible(&slot.ring),
            None => false,
        },
        None => false,
    }
}
