//! Whether a log is whole.
//!
//! INVARIANT: of a log that is found whole, no line was changed, left out, added or moved between the first and the
//! last one that are there; and what cannot be told, which is how much is missing before and behind these, is said.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::chain::{Hash, Link, NOTHING, Place, SEAL_BYTES};
use crate::file;
use crate::text;

/// Writers that a log may have.
const WRITERS: u32 = 8;

/// Problems that are told; of more, only how many there are.
const TOLD: usize = 1000;

/// Something about a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: u64,
    /// Lower case, no full stop.
    pub message: String,
}

/// The lines of one writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The file that it ends in.
    pub file: String,
    /// The number of the worker, where the lines say one.
    pub worker: Option<u32>,
    /// The number of its first line here.
    pub first: u64,
    /// Its last line.
    pub last: Place,
    /// Lines that were left out when it was written.
    pub lost: u64,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Lines that were read.
    pub lines: u64,
    /// The chains, as they end.
    pub chains: Vec<Chain>,
    /// What is wrong.
    pub problems: Vec<Remark>,
    /// Problems that are not in the list.
    pub more_problems: u64,
    /// What is not, and should be known.
    pub notes: Vec<Remark>,
    /// Hashes that were to be there and are not.
    pub missing: Vec<String>,
}

/// Reads the log at `path`: its old files, and those of all its writers; `-` is standard input.
///
/// # Arguments
///
/// `expected` are hashes of lines that must be there.
///
/// # Errors
///
/// What the operating system says; `NotFound` where there is no such log.
pub fn verify(path: &Path, expected: &[String]) -> io::Result<Report> {
    let mut reading = Reading {
        report: Report::default(),
        missing: expected.to_vec(),
    };
    if path == Path::new("-") {
        let mut chains = BTreeMap::new();
        reading.file("-", io::stdin().lock(), &mut chains)?;
        return Ok(reading.end(chains));
    }
    let mut exists = false;
    for number in 0..WRITERS {
        let files = files_of(&file::numbered(path, number))?;
        let mut chains = BTreeMap::new();
        for file in files {
            exists = true;
            let name = file.display().to_string();
            reading.file(
                &name,
                BufReader::with_capacity(1 << 18, File::open(&file)?),
                &mut chains,
            )?;
        }
        reading.keep(chains);
    }
    if !exists {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(reading.end(BTreeMap::new()))
}

/// Files of one writer, oldest first.
///
/// # Errors
///
/// What the operating system says of the folder.
pub fn files_of(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = file::rotated(path)?
        .into_iter()
        .map(|(_, path)| path)
        .collect();
    if path.exists() {
        files.push(path.to_owned());
    }
    Ok(files)
}

type Chains = BTreeMap<Option<u32>, Chain>;

struct Reading {
    report: Report,
    missing: Vec<String>,
}

/// Lines in a row that are none.
#[derive(Default)]
struct Torn {
    line: u64,
    bytes: Vec<u8>,
}

impl Reading {
    fn file(&mut self, name: &str, mut input: impl BufRead, chains: &mut Chains) -> io::Result<()> {
        let mut line = Vec::new();
        let mut number = 0;
        let mut torn: Option<Torn> = None;
        loop {
            line.clear();
            // One that is much longer than any of ours is looked at in pieces, none of which is one.
            if input.by_ref().take(1 << 20).read_until(b'\n', &mut line)? == 0 {
                break;
            }
            number += 1;
            self.report.lines += 1;
            let remarked = |line, message: &str| Remark {
                file: name.to_owned(),
                line,
                message: message.to_owned(),
            };
            let Some(whole) = line.strip_suffix(b"\n") else {
                self.problem(remarked(number, "the last line has no end"));
                torn = None;
                break;
            };
            let Some(found) = Link::read(whole) else {
                match &mut torn {
                    Some(torn) => {
                        torn.bytes.push(b'\n');
                        torn.bytes.extend_from_slice(whole);
                    }
                    none => {
                        let bytes = whole.to_vec();
                        *none = Some(Torn {
                            line: number,
                            bytes,
                        });
                    }
                }
                continue;
            };
            if let Some(torn) = torn.take() {
                if tells_of(whole, &torn.bytes) {
                    let message = "a line was torn when its writer died; the next one says so";
                    self.report.notes.push(remarked(torn.line, message));
                } else {
                    self.problem(remarked(torn.line, "this is no line of the log"));
                }
            } else if is_event(whole, b"start") && find(whole, b",\"torn_bytes\":").is_some() {
                self.problem(remarked(
                    number,
                    "the torn line that it tells of is missing",
                ));
            }
            self.missing.retain(|hash| hash.as_bytes() != found.hash);
            if !found.holds {
                self.problem(remarked(
                    number,
                    "the line was changed: its hash is another",
                ));
            }
            self.follow(chains, whole, &found, (name, number));
        }
        if let Some(torn) = torn {
            self.problem(Remark {
                file: name.to_owned(),
                line: torn.line,
                message: "this is no line of the log".to_owned(),
            });
        }
        Ok(())
    }

    /// Holds a line against the one before it.
    fn follow(&mut self, chains: &mut Chains, line: &[u8], found: &Link, at: (&str, u64)) {
        let place = Place {
            seq: found.seq,
            hash: found.hash,
        };
        let (worker, gap) = tail(line);
        let begins = found.seq == 1 && found.prev == NOTHING;
        let remarked = |message: String| Remark {
            file: at.0.to_owned(),
            line: at.1,
            message,
        };
        let Some(chain) = chains.get_mut(&worker) else {
            if !begins {
                let message = format!("what was before number {} is not here", found.seq);
                if is_event(line, b"start") || is_event(line, b"continue") {
                    self.report.notes.push(remarked(message));
                } else {
                    self.problem(remarked(message));
                }
            }
            let chain = Chain {
                file: at.0.to_owned(),
                worker,
                first: found.seq,
                last: place,
                lost: gap,
            };
            chains.insert(worker, chain);
            return;
        };
        let last = chain.last;
        at.0.clone_into(&mut chain.file);
        chain.last = place;
        chain.lost += gap;
        if found.prev == last.hash && found.seq == last.seq + 1 {
            return;
        }
        let to_stream = find(line, b",\"to\":\"stream\"").is_some();
        let message = if begins && is_event(line, b"start") && to_stream {
            let message = format!(
                "a chain begins anew; the one before ends with number {}",
                last.seq
            );
            self.report.notes.push(remarked(message));
            return;
        } else if found.hash == last.hash {
            "the line is there twice".to_owned()
        } else if found.seq > last.seq + 1 {
            format!("{} lines are missing before it", found.seq - last.seq - 1)
        } else if found.seq <= last.seq {
            format!("number {} comes behind number {}", found.seq, last.seq)
        } else {
            "the line before it is not the one that it was written behind".to_owned()
        };
        self.problem(remarked(message));
    }

    fn problem(&mut self, problem: Remark) {
        if self.report.problems.len() < TOLD {
            self.report.problems.push(problem);
        } else {
            self.report.more_problems += 1;
        }
    }

    fn keep(&mut self, chains: Chains) {
        self.report.chains.extend(chains.into_values());
    }

    fn end(mut self, chains: Chains) -> Report {
        self.keep(chains);
        self.report.missing = self.missing;
        self.report
    }
}

/// Whether a start says that these bytes were there.
fn tells_of(line: &[u8], torn: &[u8]) -> bool {
    let mut told = format!(",\"torn_bytes\":\"{}\",\"torn_sha256\":\"", torn.len());
    text::hex(&mut told, &Sha256::digest(torn));
    told.push('"');
    is_event(line, b"start") && find(line, told.as_bytes()).is_some()
}

/// Whether the line's third member says that it is of this event.
fn is_event(line: &[u8], name: &[u8]) -> bool {
    let rest = line.splitn(3, |byte| *byte == b',').nth(2);
    let rest = rest.and_then(|rest| rest.strip_prefix(b"\"event\":\"")?.strip_prefix(name));
    rest.is_some_and(|rest| rest.starts_with(b"\""))
}

/// The worker that wrote the line, and how many were lost before it: its last members before its chain.
fn tail(line: &[u8]) -> (Option<u32>, u64) {
    let head = line
        .get(..line.len().saturating_sub(SEAL_BYTES))
        .unwrap_or_default();
    let (worker, head) = last_number(head, b",\"worker\":");
    let (gap, _) = last_number(head, b",\"gap\":");
    let worker = worker.and_then(|worker| u32::try_from(worker).ok());
    (worker, gap.unwrap_or_default())
}

/// The number that this ends with, if that is the member of this name, and what is before it.
fn last_number<'a>(head: &'a [u8], name: &[u8]) -> (Option<u64>, &'a [u8]) {
    let digits = head
        .iter()
        .rev()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let (rest, digits) = head
        .split_at_checked(head.len() - digits)
        .unwrap_or_default();
    let number = std::str::from_utf8(digits)
        .ok()
        .and_then(|digits| digits.parse().ok());
    match rest.strip_suffix(name) {
        Some(rest) if number.is_some() => (number, rest),
        _ => (None, head),
    }
}

fn find(line: &[u8], what: &[u8]) -> Option<usize> {
    memchr::memmem::find(line, what)
}

/// A hash as it is written.
#[must_use]
pub fn digits(hash: &Hash) -> String {
    hash.iter().map(|digit| char::from(*digit)).collect()
}
