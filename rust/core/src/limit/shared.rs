//! Memory behind the table, and the file locks that go with it: the only unsafe code of the crate.
//!
//! INVARIANT: a [`Mapping`] covers a regular or anonymous file of exactly the layout's size from its creation to
//! its drop, and is only ever looked at through atomic words. A process forked from the one that made it may not
//! use it, since it would share that process's seat; [`Mapping::usable`] says so.
#![expect(
    unsafe_code,
    reason = "mapping memory and the system calls around it have no safe form in std"
)]

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

use super::layout::{
    Header, PAGE, PINS_PER_SEAT, Pin, SEATS, SLOT_BYTES, SLOTS_OFFSET, Seat, Slot,
};

/// How often this process is a fork's child, counted from its first table.
static FORKS: AtomicU64 = AtomicU64::new(0);
static WATCH_FORKS: Once = Once::new();

/// A table's file, mapped.
#[derive(Debug)]
pub(super) struct Mapping {
    base: NonNull<u8>,
    slots: usize,
    file: File,
    born: u64,
}

// SAFETY: the memory is reached through atomics only, and stays mapped as long as the value lives.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

/// The size of a file with this many slots.
pub(super) const fn file_bytes(slots: usize) -> usize {
    SLOTS_OFFSET + slots * SLOT_BYTES
}

impl Mapping {
    /// Maps a file, whose length the caller has checked to be [`file_bytes`] of `slots`.
    pub(super) fn new(file: File, slots: usize) -> io::Result<Self> {
        watch_forks()?;
        // SAFETY: a fresh shared mapping at an address of the kernel's choice, of an open file. The length is not
        // zero. The file's later truncation would raise SIGBUS, which ends the process: closed, not unsound.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                file_bytes(slots),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_POPULATE,
                file.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or_else(io::Error::last_os_error)?;
        // ORDERING: Relaxed; compared with a later value of the same thread's process only.
        Ok(Self {
            base,
            slots,
            file,
            born: FORKS.load(Ordering::Relaxed),
        })
    }

    /// False in a process forked from the one that mapped the file.
    #[inline]
    pub(super) fn usable(&self) -> bool {
        // ORDERING: Relaxed; the fork handler runs before the child's only thread goes on.
        FORKS.load(Ordering::Relaxed) == self.born
    }

    /// The file underneath.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// First page.
    pub(super) fn header(&self) -> &Header {
        // SAFETY: the mapping begins with a page, is page-aligned, and any bits are valid atomics and bytes; the
        // plain bytes are never read.
        unsafe { self.base.cast().as_ref() }
    }

    /// The processes' places.
    pub(super) fn seats(&self) -> &[Seat] {
        &self.header().seats
    }

    /// All pins.
    pub(super) fn pins(&self) -> &[Pin] {
        // SAFETY: the second page is exactly these pins, aligned to their size; any bits are valid atomics.
        unsafe {
            std::slice::from_raw_parts(self.base.add(PAGE).cast().as_ptr(), SEATS * PINS_PER_SEAT)
        }
    }

    /// All slots.
    #[inline]
    pub(super) fn slots(&self) -> &[Slot] {
        // SAFETY: the mapping was made `slots` slots long after its first two pages, which keeps them aligned;
        // any bits are valid atomics.
        unsafe {
            std::slice::from_raw_parts(self.base.add(SLOTS_OFFSET).cast().as_ptr(), self.slots)
        }
    }

    /// Takes the lock that serialises insertions, if it is free.
    pub(super) fn try_lock_insert(&self) -> bool {
        lock(&self.file, Region::Insert, Access::Exclusive).unwrap_or(false)
    }

    /// Frees the lock that serialises insertions.
    pub(super) fn unlock_insert(&self) {
        // A descriptor that could be locked can be unlocked; if the kernel says otherwise, later insertions are
        // refused, which is the safe side.
        let _ = lock(&self.file, Region::Insert, Access::None);
    }

    /// Takes a seat for the life of the file's descriptor, if it is free.
    pub(super) fn try_lock_seat(&self, seat: usize) -> bool {
        lock(&self.file, Region::Seat(seat), Access::Exclusive).unwrap_or(false)
    }

    /// Whether another process holds the seat. What cannot be found out counts as alive.
    pub(super) fn seat_alive(&self, seat: usize) -> bool {
        held_elsewhere(&self.file, Region::Seat(seat)).unwrap_or(true)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: unmaps what `new` mapped; borrows of it ended with the value.
        unsafe { libc::munmap(self.base.as_ptr().cast(), file_bytes(self.slots)) };
    }
}

/// A part of the file's lock space. Locks are bytes of the file in name only.
#[derive(Clone, Copy, Debug)]
pub(super) enum Region {
    /// Held while a slot is filled or emptied.
    Insert,
    /// Held exclusively by the owner for life.
    Owner,
    /// Held shared by everyone who has the file open, exclusively while an owner examines it.
    Presence,
    /// Held exclusively by the process that sits there.
    Seat(usize),
    /// All seats.
    AllSeats,
}

/// How a region is to be held.
#[derive(Clone, Copy, Debug)]
pub(super) enum Access {
    /// Alone.
    Exclusive,
    /// With others.
    Shared,
    /// Not at all.
    None,
}

fn flock_of(region: Region, access: Access) -> libc::flock {
    let (start, length) = match region {
        Region::Insert => (0, 1),
        Region::Owner => (1, 1),
        Region::Presence => (2, 1),
        #[expect(clippy::cast_possible_wrap, reason = "a seat is less than 8")]
        Region::Seat(seat) => (64 + seat as i64, 1),
        #[expect(clippy::cast_possible_wrap, reason = "there are 8 seats")]
        Region::AllSeats => (64, SEATS as i64),
    };
    let kind = match access {
        Access::Exclusive => libc::F_WRLCK,
        Access::Shared => libc::F_RDLCK,
        Access::None => libc::F_UNLCK,
    };
    // SAFETY: a plain C structure for which all zeros is a value; open-file-description locks need `l_pid` 0.
    let mut flock: libc::flock = unsafe { MaybeUninit::zeroed().assume_init() };
    #[expect(clippy::cast_possible_truncation, reason = "the constants are 0 to 2")]
    {
        flock.l_type = kind as libc::c_short;
        flock.l_whence = libc::SEEK_SET as libc::c_short;
    }
    flock.l_start = start;
    flock.l_len = length;
    flock
}

/// Changes how this open file holds a region, without waiting; false if others are in the way. The kernel lets go
/// of it when the last descriptor of this opening is closed, by a crash too.
pub(super) fn lock(file: &File, region: Region, access: Access) -> io::Result<bool> {
    #[cfg(feature = "simulated")]
    crate::simulated::asks_the_kernel();
    let flock = flock_of(region, access);
    // SAFETY: an open descriptor and a structure that outlives the call.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const flock) } == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::EACCES) => Ok(false),
        _ => Err(error),
    }
}

/// Whether another opening of the file holds any part of a region.
pub(super) fn held_elsewhere(file: &File, region: Region) -> io::Result<bool> {
    #[cfg(feature = "simulated")]
    crate::simulated::asks_the_kernel();
    let mut flock = flock_of(region, Access::Exclusive);
    // SAFETY: an open descriptor and a structure that outlives the call.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut flock) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(i32::from(flock.l_type) != libc::F_UNLCK)
}

/// Gives the file its size with the space behind it, so that no later write can lack it.
pub(super) fn allocate(file: &File, bytes: usize) -> io::Result<()> {
    let bytes = i64::try_from(bytes).map_err(io::Error::other)?;
    // SAFETY: an open descriptor.
    match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, bytes) } {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

/// A file without a name.
pub(super) fn anonymous_file() -> io::Result<File> {
    // SAFETY: a literal, terminated name.
    let fd = unsafe {
        libc::memfd_create(
            c"interlock-limits".as_ptr(),
            libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING,
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor that was just made and belongs to nobody else.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// Fixes the size of an anonymous file.
pub(super) fn seal_size(file: &File) -> io::Result<()> {
    let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
    // SAFETY: an open descriptor.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Renames a file unless the new name exists.
pub(super) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    let [from, to] = [from, to].map(|path| std::ffi::CString::new(path.as_os_str().as_bytes()));
    let (from, to) = (from?, to?);
    // SAFETY: two terminated paths that outlive the call. Called by number since not every C library wraps it.
    let code = unsafe {
        libc::syscall(
            libc::SYS_renameat2,
            libc::AT_FDCWD,
            from.as_ptr(),
            libc::AT_FDCWD,
            to.as_ptr(),
            libc::RENAME_NOREPLACE,
        )
    };
    if code == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The user this process acts as.
pub(super) fn effective_user() -> u32 {
    // SAFETY: cannot fail.
    unsafe { libc::geteuid() }
}

/// Fills `bytes` with what nobody can guess.
pub(super) fn fill_random(bytes: &mut [u8]) -> io::Result<()> {
    #[cfg(feature = "simulated")]
    if crate::simulated::fills(bytes) {
        return Ok(());
    }
    // SAFETY: a buffer of the length given. Up to 256 bytes come whole.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if usize::try_from(got) == Ok(bytes.len()) {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

// In every C library, but not in the `libc` crate for Linux.
unsafe extern "C" {
    fn pthread_atfork(
        prepare: Option<extern "C" fn()>,
        parent: Option<extern "C" fn()>,
        child: Option<extern "C" fn()>,
    ) -> libc::c_int;
}

/// Sees to it that a fork's child knows what it is.
fn watch_forks() -> io::Result<()> {
    extern "C" fn in_child() {
        // ORDERING: Relaxed; the child has one thread.
        FORKS.fetch_add(1, Ordering::Relaxed);
    }
    let mut code = 0;
    // SAFETY: the handler touches one atomic, which a child of a threaded process may.
    WATCH_FORKS.call_once(|| code = unsafe { pthread_atfork(None, None, Some(in_child)) });
    if code == 0 {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(code))
    }
}
