//! Where lines go.
//!
//! INVARIANT: no `write` waits for long, so that whoever writes can be told to stop.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::chain::LINE_BYTES;

/// How long a `write` waits for a reader.
const PATIENCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 250_000_000,
};

/// Where lines go.
pub trait Sink: fmt::Debug + Send {
    /// Writes a first part of these lines, and says how many bytes that were.
    ///
    /// # Errors
    ///
    /// `WouldBlock` while there is no reader who takes anything; otherwise what the operating system says.
    fn write(&mut self, lines: &[u8]) -> io::Result<usize>;

    /// Whether the next file is to be begun.
    fn is_due(&self, _now_ns: u64) -> bool {
        false
    }

    /// Begins the next file, and says what the one before is called now.
    ///
    /// # Errors
    ///
    /// What the operating system says; lines go where they went before.
    fn rotate(&mut self, _now_ns: u64) -> io::Result<String> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Lets what was written survive a loss of power, if that can be had.
    fn sync(&mut self) {}
}

/// A pipe, a terminal, a device: whole lines at a time, few enough that a pipe takes them in one piece, so that
/// several processes can share it.
#[derive(Debug)]
pub struct Stream {
    file: File,
}

impl Stream {
    /// Writes to this.
    #[must_use]
    pub const fn new(file: File) -> Self {
        Self { file }
    }
}

impl Sink for Stream {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        let first = lines.get(..LINE_BYTES).unwrap_or(lines);
        let end = first.iter().rposition(|byte| *byte == b'\n');
        let piece = first.get(..=end.unwrap_or(first.len())).unwrap_or(first);
        let fd = self.file.as_fd();
        let mut fds = [PollFd::new(&fd, PollFlags::OUT)];
        if poll(&mut fds, Some(&PATIENCE))? == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.file.write(piece)
    }
}
