//! The chunked coding (RFC 9112 section 7.1), read strictly and piece by piece.
//!
//! INVARIANT: [`Chunked`] accepts only what has one reading: sizes in hexadecimal digits, CRLF after each size and
//! each chunk. Extensions and trailer fields, which mean nothing here, are accepted only where the caller says
//! that nobody reads the bytes after this reader. How the bytes are cut changes nothing.

/// Digits of the longest chunk size that is read: as many as fit 64 bits.
const SIZE_DIGITS: u8 = 16;

/// Why bytes are not plainly chunked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// A size is no bare hexadecimal number of at most 16 digits.
    Size,
    /// A size is followed by an extension that may not be passed over.
    Extension,
    /// A line or a chunk does not end in CRLF.
    LineEnd,
    /// The last chunk is followed by trailer fields that may not be passed over.
    Trailer,
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Next {
    #[default]
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    EndCr,
    Trailer,
    EndLf,
    Done,
}

/// A reader of one chunked body.
#[derive(Clone, Debug, Default)]
pub struct Chunked {
    next: Next,
    digits: u8,
    left: u64,
    /// Bytes that may be passed over between two chunks, and those that were since the last one.
    spare: usize,
    passed_over: usize,
}

impl Chunked {
    /// A reader that passes over extensions and trailer fields, up to so many bytes of them between two chunks.
    #[must_use]
    pub fn passing_over(bytes: usize) -> Self {
        Self {
            spare: bytes,
            ..Self::default()
        }
    }

    /// Reads on: appends content to `out`, and returns how many bytes of `input` were used, and whether the
    /// body is complete. Less than all is used only where the body ends.
    ///
    /// # Errors
    ///
    /// [`Bad`] for what is not plainly chunked; nothing more can be read then.
    pub fn feed(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(usize, bool), Bad> {
        let mut rest = input;
        while self.next != Next::Done {
            if self.next == Next::Data {
                rest = self.content(rest, out);
            }
            let Some((&byte, behind)) = rest.split_first() else {
                break;
            };
            self.step(byte)?;
            rest = behind;
        }
        Ok((input.len() - rest.len(), self.next == Next::Done))
    }

    /// How many bytes of the chunk that was begun are still to come.
    #[must_use]
    pub fn left(&self) -> u64 {
        if self.next == Next::Data {
            self.left
        } else {
            0
        }
    }

    /// Takes the chunk's content, as much as there is, and returns what is behind it.
    fn content<'i>(&mut self, input: &'i [u8], out: &mut Vec<u8>) -> &'i [u8] {
        let there = usize::try_from(self.left).map_or(input.len(), |left| left.min(input.len()));
        let (content, behind) = input.split_at(there);
        out.extend_from_slice(content);
        self.left -= there as u64;
        if self.left == 0 {
            self.next = Next::DataCr;
        }
        behind
    }

    /// Takes one byte that is not content.
    fn step(&mut self, byte: u8) -> Result<(), Bad> {
        self.next = match (self.next, byte) {
            (Next::Size | Next::Extension, b'\r') if self.digits > 0 => Next::SizeLf,
            (Next::Size, b';') if self.digits > 0 => {
                self.pass_over(Next::Extension, Bad::Extension)?
            }
            (Next::Extension | Next::EndCr, b'\n') => return Err(Bad::LineEnd),
            (Next::Extension, _) => self.pass_over(Next::Extension, Bad::Extension)?,
            (Next::Size, byte) => {
                let digit = char::from(byte).to_digit(16).ok_or(Bad::Size)?;
                if self.digits == SIZE_DIGITS {
                    return Err(Bad::Size);
                }
                self.digits += 1;
                self.left = self.left << 4 | u64::from(digit);
                Next::Size
            }
            (Next::SizeLf, b'\n') if self.left == 0 => Next::EndCr,
            (Next::SizeLf, b'\n') => Next::Data,
            (Next::DataCr, b'\r') => Next::DataLf,
            (Next::DataLf, b'\n') => {
                self.digits = 0;
                self.passed_over = 0;
                Next::Size
            }
            (Next::EndCr, b'\r') => Next::EndLf,
            (Next::Trailer, b'\n') => Next::EndCr,
            (Next::EndCr | Next::Trailer, _) => self.pass_over(Next::Trailer, Bad::Trailer)?,
            (Next::EndLf, b'\n') => Next::Done,
            _ => return Err(Bad::LineEnd),
        };
        Ok(())
    }

    /// Passes over one byte, if it may be.
    fn pass_over(&mut self, next: Next, otherwise: Bad) -> Result<Next, Bad> {
        if self.passed_over == self.spare {
            return Err(otherwise);
        }
        self.passed_over += 1;
        Ok(next)
    }
}
