//! The file behind a table: made whole before it has its name, examined before it is trusted.
//!
//! INVARIANT: one instance at a time. The owner holds one lock byte for life; everyone who has the file open
//! holds another, shared. A new owner must get the first and, for the time of its examination, the second alone:
//! so the workers that a dead owner left behind keep a second instance out until they are gone.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::error::OpenError;
use super::examine::{Identity, examine_slots};
use super::layout::{PAGE, SLOT_BYTES};
use super::shared::{self, Access, Mapping, Region};
use super::{EPOCH, LimitTable};
use crate::sync::relax;
use crate::time::Nanos;

/// Most slots that a table can have (2 GiB).
const MAX_SLOTS: usize = 1 << 24;
/// Rounds of [`relax`] to wait for another process to finish examining a file: most of a second.
const PRESENCE_ROUNDS: u32 = 5_000;
/// The same, for a new owner to find out that somebody stays.
const OWNER_ROUNDS: u32 = 400;
/// How often to start over because the file was renamed or removed underneath.
const OPENINGS: u32 = 8;

impl LimitTable {
    /// A table that lives as long as its processes. `slots` is rounded up to a power of two.
    ///
    /// Others join it by the path `/proc/self/fd/N`, N being a descriptor of it that they inherited.
    ///
    /// # Errors
    ///
    /// Lack of memory, or of a system that has anonymous files.
    pub fn anonymous(slots: usize) -> io::Result<Self> {
        let slots = whole_slots(slots)?;
        let file = shared::anonymous_file()?;
        let identity = Identity::fresh(slots, EPOCH)?;
        fill(&file, &identity)?;
        shared::seal_size(&file)?;
        for (region, access) in [
            (Region::Owner, Access::Exclusive),
            (Region::Presence, Access::Shared),
        ] {
            if !shared::lock(&file, region, access)? {
                return Err(io::ErrorKind::WouldBlock.into());
            }
        }
        let table = Self::new(Mapping::new(file, slots)?, identity.secret);
        table.claim().ok_or(io::ErrorKind::WouldBlock)?;
        Ok(table)
    }

    /// Opens the table in a file as its owner, making the file if there is none. `slots` counts for a new file
    /// only; `wall` is the time of day.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: the file is in use, exposed, of another layout, or damaged.
    pub fn open(path: &Path, slots: usize, wall: Nanos) -> Result<Self, OpenError> {
        let wall = wall.max(EPOCH);
        for _ in 0..OPENINGS {
            match open_file(path) {
                Ok(file) => {
                    if !own(&file, path)? {
                        return Err(OpenError::Locked(path.into()));
                    }
                    if is_at(&file, path) {
                        return adopt(file, path, wall);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    if let Some(table) = create(path, slots, wall)? {
                        return Ok(table);
                    }
                }
                Err(source) => {
                    return Err(OpenError::Io {
                        path: path.into(),
                        action: "open",
                        source,
                    });
                }
            }
        }
        Err(OpenError::Locked(path.into()))
    }

    /// Opens the table of a file that another process of the same run owns.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: nobody owns the file, it is damaged, or 8 processes share it already.
    pub fn join(path: &Path) -> Result<Self, OpenError> {
        let file = open_to_join(path).map_err(failed(path, "open"))?;
        let mut round = 0;
        while !shared::lock(&file, Region::Presence, Access::Shared)
            .map_err(failed(path, "lock"))?
        {
            if round == PRESENCE_ROUNDS {
                return Err(OpenError::Locked(path.into()));
            }
            relax(round);
            round += 1;
        }
        let owned = shared::held_elsewhere(&file, Region::Owner).map_err(failed(path, "lock"))?
            || shared::held_elsewhere(&file, Region::AllSeats).map_err(failed(path, "lock"))?;
        if !owned {
            return Err(OpenError::NotOpen(path.into()));
        }
        let identity = Identity::read(&file, path)?;
        let mapping = Mapping::new(file, identity.slots).map_err(failed(path, "map"))?;
        let table = Self::new(mapping, identity.secret);
        if table.claim().is_none() {
            return Err(OpenError::Crowded(path.into()));
        }
        Ok(table)
    }
}

impl AsFd for LimitTable {
    /// The file, for a worker to inherit. Not to be locked or resized.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.mapping.file().as_fd()
    }
}

fn whole_slots(slots: usize) -> io::Result<usize> {
    match slots.checked_next_power_of_two() {
        Some(slots) if slots <= MAX_SLOTS => Ok(slots),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a limit table has at most 16777216 slots",
        )),
    }
}

/// An error of the system, with what was being done.
fn failed(path: &Path, action: &'static str) -> impl Fn(io::Error) -> OpenError {
    let path = PathBuf::from(path);
    move |source| OpenError::Io {
        path: path.clone(),
        action,
        source,
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    // Descriptors opened by std are closed on exec.
    options
        .read(true)
        .write(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW);
    options
}

fn open_file(path: &Path) -> io::Result<File> {
    options().open(path)
}

/// Opens a joiner's file. A descriptor's path is a link by nature, and following it makes an opening of its own,
/// which the locks need.
fn open_to_join(path: &Path) -> io::Result<File> {
    if path.parent() == Some(Path::new("/proc/self/fd")) {
        return options().custom_flags(0).open(path);
    }
    open_file(path)
}

/// Takes the owner's locks; false if another instance, or what is left of one, is in the way.
fn own(file: &File, path: &Path) -> Result<bool, OpenError> {
    if !shared::lock(file, Region::Owner, Access::Exclusive).map_err(failed(path, "lock"))? {
        return Ok(false);
    }
    // A process that tries to join a file without an owner is here for a moment only.
    for round in 0..OWNER_ROUNDS {
        if shared::lock(file, Region::Presence, Access::Exclusive).map_err(failed(path, "lock"))? {
            return Ok(true);
        }
        relax(round);
    }
    Ok(false)
}

/// Whether the path still leads to this file.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

/// Examines a file that is owned alone, and opens it to joiners.
fn adopt(file: File, path: &Path, wall: Nanos) -> Result<LimitTable, OpenError> {
    let metadata = file.metadata().map_err(failed(path, "examine"))?;
    let damaged = |what: &str| OpenError::Corrupt {
        path: path.into(),
        what: what.into(),
    };
    if !metadata.is_file() {
        return Err(damaged("it is not a regular file"));
    }
    if metadata.uid() != shared::effective_user() || metadata.mode() & 0o007 != 0 {
        return Err(OpenError::Exposed(path.into()));
    }
    let identity = Identity::read(&file, path)?;
    identity.examine_header(&file, path)?;
    let mapping = Mapping::new(file, identity.slots).map_err(failed(path, "map"))?;
    let table = LimitTable::new(mapping, identity.secret);
    examine_slots(&table, wall).map_err(|what| OpenError::Corrupt {
        path: path.into(),
        what,
    })?;
    table.welcome(path)?;
    Ok(table)
}

impl LimitTable {
    /// Ends the time in which the owner has the file alone.
    fn welcome(&self, path: &Path) -> Result<(), OpenError> {
        let opened = shared::lock(self.mapping.file(), Region::Presence, Access::Shared);
        if opened.map_err(failed(path, "lock"))? {
            Ok(())
        } else {
            Err(OpenError::Locked(path.into()))
        }
    }
}

/// Makes the file under a name of its own and then gives it the real one; `None` if somebody else was first.
fn create(path: &Path, slots: usize, wall: Nanos) -> Result<Option<LimitTable>, OpenError> {
    let failed_to = |action| failed(path, action);
    let slots = whole_slots(slots).map_err(failed_to("create"))?;
    let identity = Identity::fresh(slots, wall).map_err(failed_to("create"))?;
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{:08x}.new", identity.nonce()));
    let draft = path.with_file_name(name);
    let file = options()
        .create_new(true)
        .open(&draft)
        .map_err(failed_to("create"))?;
    let made = fill(&file, &identity)
        .and_then(|()| file.sync_all())
        .map_err(failed_to("create"))
        .and_then(|()| own(&file, path))
        .and_then(|_| shared::rename_new(&draft, path).map_err(failed_to("create")));
    if let Err(error) = made {
        // Nothing depends on the draft; one that cannot be removed does no harm.
        let _ = fs::remove_file(&draft);
        return match error {
            OpenError::Io { source, .. } if source.kind() == io::ErrorKind::AlreadyExists => {
                Ok(None)
            }
            error => Err(error),
        };
    }
    let mapping = Mapping::new(file, slots).map_err(failed_to("map"))?;
    let table = LimitTable::new(mapping, identity.secret);
    table.welcome(path)?;
    Ok(Some(table))
}

/// Gives a file its size and its header.
fn fill(file: &File, identity: &Identity) -> io::Result<()> {
    shared::allocate(file, shared::file_bytes(identity.slots))?;
    file.write_all_at(&identity.header_page(), 0)
}

const _: () = assert!(PAGE % SLOT_BYTES == 0, "slots do not straddle pages");
