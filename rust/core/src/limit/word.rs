//! The 64-bit word that counts one window, and how its bits are split.
//!
//! `class (4) | epoch | sealed (1) | count`, where the class fixes how many of the remaining 59 bits each of the
//! epoch and the count get. The class depends on the window's width alone, so raising or lowering a maximum keeps
//! the count. 0 means that the word was never used.
//!
//! INVARIANT: within one epoch a count grows only by a compare-and-swap that tested the sum on the value it
//! replaces, and the epoch of a word never falls.

use crate::time::Nanos;

/// The class sits above everything else.
const CLASS_SHIFT: u32 = 60;
/// All bits but the class's.
const BELOW_CLASS: u64 = (1 << CLASS_SHIFT) - 1;
/// Narrowest window that a word can number until [`super::HORIZON`].
pub(super) const MIN_WIDTH_NS: u64 = 125_000_000;

/// Class of the word of a token bucket.
pub(super) const BUCKET: u64 = 8;
/// Class of the words of a concurrency limit.
pub(super) const CONCURRENCY: u64 = 9;

/// How a counting word is split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Class {
    tag: u8,
    count_bits: u8,
}

impl Class {
    /// Calendar months.
    pub(super) const MONTH: Self = Self {
        tag: 7,
        count_bits: 43,
    };

    /// The class for windows of `width_ns`; `None` where an epoch would not fit until the horizon.
    pub(super) fn of_width(width_ns: u64) -> Option<Self> {
        const MINUTE: u64 = 60 * Nanos::SECOND;
        let (tag, count_bits) = match width_ns {
            0..MIN_WIDTH_NS => return None,
            MIN_WIDTH_NS..1_000_000_000 => (1, 26),
            1_000_000_000..10_000_000_000 => (2, 27),
            10_000_000_000..MINUTE => (3, 31),
            MINUTE..3_600_000_000_000 => (4, 33),
            3_600_000_000_000..86_400_000_000_000 => (5, 39),
            _ => (6, 43),
        };
        Some(Self { tag, count_bits })
    }

    /// The largest count a word of this class holds.
    pub(super) const fn capacity(self) -> u64 {
        self.seal() - 1
    }

    /// The bit above the count. Shifts here wrap because their distances are small constants, which the compiler
    /// cannot know and would check each time.
    const fn seal(self) -> u64 {
        1_u64.wrapping_shl(self.count_bits as u32)
    }

    /// Where the epoch begins.
    const fn epoch_shift(self) -> u32 {
        self.count_bits as u32 + 1
    }

    /// A word of this class. The caller keeps `count` within [`Class::capacity`].
    pub(super) const fn pack(self, word: Word) -> u64 {
        ((self.tag as u64) << CLASS_SHIFT)
            | word.epoch.wrapping_shl(self.epoch_shift())
            | if word.sealed { self.seal() } else { 0 }
            | word.count
    }

    /// What `bits` say; `None` if they belong to another class. The unused word reads as epoch 0, count 0.
    pub(super) const fn unpack(self, bits: u64) -> Option<Word> {
        if bits == 0 {
            return Some(Word::UNUSED);
        }
        if bits >> CLASS_SHIFT != self.tag as u64 {
            return None;
        }
        Some(Word {
            epoch: (bits & BELOW_CLASS).wrapping_shr(self.epoch_shift()),
            sealed: bits & self.seal() != 0,
            count: bits & self.capacity(),
        })
    }
}

/// The decoded content of a counting word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word {
    /// Number of the window since [`super::EPOCH`].
    pub(super) epoch: u64,
    /// No admission may be counted here any more.
    pub(super) sealed: bool,
    /// Units admitted in the window.
    pub(super) count: u64,
}

impl Word {
    /// What a word says that was never used.
    pub(super) const UNUSED: Self = Self {
        epoch: 0,
        sealed: false,
        count: 0,
    };
}

/// A word that is one number under a class: the token bucket's.
pub(super) const fn pack_plain(tag: u64, value: u64) -> u64 {
    (tag << CLASS_SHIFT) | value
}

/// The number in a word of class `tag`, 0 for the unused word; `None` if the class is another.
pub(super) const fn unpack_plain(tag: u64, bits: u64) -> Option<u64> {
    if bits == 0 {
        Some(0)
    } else if bits >> CLASS_SHIFT == tag {
        Some(bits & BELOW_CLASS)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bits that epoch and count share.
    const SHARED_BITS: u8 = 59;

    #[test]
    fn every_class_gives_back_what_was_packed_at_its_edges() {
        for width in [
            MIN_WIDTH_NS,
            1_000_000_000,
            10_000_000_000,
            60_000_000_000,
            3_600_000_000_000,
            86_400_000_000_000,
        ] {
            let class = Class::of_width(width).unwrap_or(Class::MONTH);
            let last_epoch = (1 << (SHARED_BITS - class.count_bits)) - 1;
            for epoch in [0, 1, last_epoch] {
                for count in [0, 1, class.capacity()] {
                    for sealed in [false, true] {
                        let word = Word {
                            epoch,
                            sealed,
                            count,
                        };
                        assert_eq!(class.unpack(class.pack(word)), Some(word), "{class:?}");
                    }
                }
            }
            assert!(
                u128::from(last_epoch) * u128::from(width)
                    >= u128::from(super::super::HORIZON.since(super::super::EPOCH)),
                "{class:?} runs out of epochs before the horizon"
            );
        }
    }

    #[test]
    fn a_word_of_another_class_is_not_read() {
        let minute = Class::of_width(60 * Nanos::SECOND).unwrap_or(Class::MONTH);
        let bits = minute.pack(Word {
            epoch: 5,
            sealed: false,
            count: 1,
        });
        assert_eq!(Class::MONTH.unpack(bits), None);
        assert_eq!(unpack_plain(BUCKET, bits), None);
        assert_eq!(Class::of_width(MIN_WIDTH_NS - 1), None);
    }
}
