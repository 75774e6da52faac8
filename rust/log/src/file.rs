//! Files of a log: which one a process writes, where its chain stands, and when the next one begins.
//!
//! INVARIANT: a file has one writer, who has it locked; what was written is never changed or taken back; and
//! `PATH` names the newest file at every moment, the older ones being `PATH.000001` and so on.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use rustix::fs::{FlockOperation, flock};

use crate::chain::{Link, Place};
use crate::sink::{Sink, Stream};

/// Processes that may write beside each other.
const WRITERS: u32 = 8;

/// As much of a file's end as may be without a whole line: more than one line, and less than is worth reading.
const END_BYTES: u64 = 64 << 10;

/// When a file is full.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rotation {
    /// Bytes after which the next one is begun.
    pub bytes: Option<u64>,
    /// Nanoseconds after which the next one is begun.
    pub age_ns: Option<u64>,
    /// How many old ones are kept.
    pub keep: Option<usize>,
}

/// Where a chain goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The last line that is whole.
    pub place: Place,
    /// What is behind it: a line that was never ended, without the end that a later start may have given it.
    pub torn: Vec<u8>,
    /// Whether a line break is to be written first.
    pub unended: bool,
    /// Whether it is no file, but something that cannot be read again.
    pub stream: bool,
}

/// The file that a process writes.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: File,
    bytes: u64,
    born_ns: u64,
    rotation: Rotation,
}

/// Opens what is at `path`: the first file of the log that no other process writes, or a stream.
///
/// # Arguments
///
/// `now_ns` is the present in nanoseconds since 1970.
///
/// # Errors
///
/// What the operating system says; `InvalidData` if the file's end is not that of a log.
pub fn open(path: &Path, rotation: Rotation, now_ns: u64) -> io::Result<(Box<dyn Sink>, Found)> {
    for number in 0..WRITERS {
        let path = numbered(path, number);
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o600);
        let mut file = options.open(&path)?;
        let kind = file.metadata()?.file_type();
        if kind.is_dir() || kind.is_block_device() {
            return Err(io::Error::other("this is no file"));
        }
        if !kind.is_file() {
            let found = Found {
                stream: true,
                ..Found::default()
            };
            return Ok((Box::new(Stream::new(file)), found));
        }
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() || !is_at(&file, &path) {
            continue;
        }
        let found = end_of(&mut file)?;
        let meta = file.metadata()?;
        let born = meta
            .created()
            .ok()
            .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let born_ns = born.and_then(|since| u64::try_from(since.as_nanos()).ok());
        let log = LogFile {
            bytes: meta.len(),
            born_ns: born_ns.filter(|_| meta.len() > 0).unwrap_or(now_ns),
            path,
            file,
            rotation,
        };
        return Ok((Box::new(log), found));
    }
    Err(io::Error::new(
        io::ErrorKind::WouldBlock,
        "as many processes as may write it do so already",
    ))
}

/// The path of the writer with this number.
#[must_use]
pub fn numbered(path: &Path, number: u32) -> PathBuf {
    if number == 0 {
        return path.to_owned();
    }
    suffixed(path, &format!(".w{number}"))
}

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Old files of a writer, oldest first.
///
/// # Errors
///
/// What the operating system says of the folder.
pub fn rotated(path: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let other = entry.file_name();
        let digits = other
            .to_str()
            .and_then(|other| other.strip_prefix(name)?.strip_prefix('.'));
        let digits =
            digits.filter(|digits| digits.len() >= 6 && digits.bytes().all(|b| b.is_ascii_digit()));
        if let Some(Ok(number)) = digits.map(str::parse) {
            found.push((number, entry.path()));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Whether the file that was locked is still the one at its path.
fn is_at(file: &File, path: &Path) -> bool {
    let same = |ours: &fs::Metadata, theirs: &fs::Metadata| {
        (ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino())
    };
    matches!((file.metadata(), fs::metadata(path)), (Ok(ours), Ok(theirs)) if same(&ours, &theirs))
}

/// Looks for the last whole line.
fn end_of(file: &mut File) -> io::Result<Found> {
    let length = file.metadata()?.len();
    if length == 0 {
        return Ok(Found::default());
    }
    file.seek(SeekFrom::Start(length.saturating_sub(END_BYTES)))?;
    let mut end = Vec::new();
    file.take(END_BYTES).read_to_end(&mut end)?;
    // Mostly one line, without its end. Where a start has ended it and did not live to record that, it is several.
    let mut torn = 0;
    for (number, line) in end.rsplit(|byte| *byte == b'\n').enumerate() {
        match Link::read(line) {
            Some(link) if link.holds => {
                let rest = end.get(end.len() - torn..).unwrap_or_default();
                return Ok(Found {
                    place: Place {
                        seq: link.seq,
                        hash: link.hash,
                    },
                    torn: rest.strip_suffix(b"\n").unwrap_or(rest).to_vec(),
                    unended: !end.ends_with(b"\n"),
                    stream: false,
                });
            }
            Some(_) => return Err(invalid("its last line was changed")),
            None if number == 0 => torn = line.len(),
            None => torn += line.len() + 1,
        }
    }
    Err(invalid("it does not end like a decision log"))
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

impl LogFile {
    /// Puts an empty file in the place of this one, which keeps its content under another name.
    fn replace(&mut self, now_ns: u64) -> io::Result<String> {
        let number = rotated(&self.path)?.last().map_or(1, |(last, _)| last + 1);
        let old = suffixed(&self.path, &format!(".{number:06}"));
        let next = suffixed(&self.path, ".next");
        let _ = fs::remove_file(&next);
        let mut options = OpenOptions::new();
        let file = options
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(&next)?;
        // Locked before anybody can find it.
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        fs::hard_link(&self.path, &old)?;
        if let Err(error) = fs::rename(&next, &self.path) {
            let _ = fs::remove_file(&old);
            return Err(error);
        }
        let _ = self.file.sync_data();
        *self = Self {
            path: std::mem::take(&mut self.path),
            file,
            bytes: 0,
            born_ns: now_ns,
            rotation: self.rotation,
        };
        let name = old.file_name().unwrap_or_default().to_string_lossy();
        Ok(name.into_owned())
    }

    fn forget_oldest(&self) {
        let Some(keep) = self.rotation.keep else {
            return;
        };
        let old = rotated(&self.path).unwrap_or_default();
        for (_, path) in old.iter().take(old.len().saturating_sub(keep)) {
            let _ = fs::remove_file(path);
        }
    }
}

impl Sink for LogFile {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        let written = self.file.write(lines)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn is_due(&self, now_ns: u64) -> bool {
        let older = |age: u64| now_ns.saturating_sub(self.born_ns) >= age;
        let full = self.rotation.bytes.is_some_and(|most| self.bytes >= most);
        self.bytes > 0 && (full || self.rotation.age_ns.is_some_and(older))
    }

    fn rotate(&mut self, now_ns: u64) -> io::Result<String> {
        let old = self.replace(now_ns)?;
        self.forget_oldest();
        Ok(old)
    }

    fn sync(&mut self) {
        let _ = self.file.sync_data();
    }
}
