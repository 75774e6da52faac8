//! Numbers as they are written.
//!
//! INVARIANT: a [`Decimal`] that was parsed is one that every reader agrees on, whether it keeps decimals,
//! doubles or big integers: it is the shortest way to write the double nearest to it. No two of them share a
//! double, so comparing them as decimals and comparing what a server made of them come out the same.

use std::cmp::Ordering;
use std::fmt::{self, Write as _};

use crate::json;

/// An exact decimal number: `significand * 10^exponent`, negated or not.
///
/// Equality and order are by value; `-0` equals `0`.
#[derive(Clone, Copy)]
pub struct Decimal {
    negative: bool,
    /// Not a multiple of ten, unless zero.
    significand: u64,
    /// 0 where the significand is.
    exponent: i16,
}

/// A number that not every reader holds exactly: one of more than 17 digits, for example, or 2^53 + 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inexact;

impl fmt::Display for Inexact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the number has no exact value that every reader agrees on")
    }
}

impl std::error::Error for Inexact {}

/// Why a number is not a count of units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitError {
    /// It has a minus sign, be it before a zero.
    Negative,
    /// It is not a whole number of units.
    TooFine,
    /// It is more units than a `u64` holds.
    TooLarge,
}

impl fmt::Display for UnitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Negative => "the amount is negative",
            Self::TooFine => "the amount has too many decimals",
            Self::TooLarge => "the amount is too large",
        })
    }
}

impl std::error::Error for UnitError {}

/// A decimal of this many digits survives the way into a normal double and back.
const SAFE_DIGITS: u32 = 15;

/// A double's shortest decimal has at most this many digits.
const MOST_DIGITS: u32 = 17;

/// Powers of ten between which doubles are normal, with room to spare.
const SAFE_MAGNITUDES: std::ops::RangeInclusive<i64> = -290..=290;

impl Decimal {
    /// Zero.
    pub const ZERO: Self = Self {
        negative: false,
        significand: 0,
        exponent: 0,
    };

    /// Reads a JSON number.
    ///
    /// # Errors
    ///
    /// If `text` is not the value of the shortest decimal of the double nearest to it, or is no JSON number at
    /// all. Trailing zeros and the choice of notation do not matter: `5`, `5.0` and `50e-1` are one number.
    pub fn parse(text: &[u8]) -> Result<Self, Inexact> {
        let (decimal, digits) = Self::read(text)?;
        let magnitude = i64::from(decimal.exponent) + i64::from(digits);
        if digits <= SAFE_DIGITS && SAFE_MAGNITUDES.contains(&magnitude) {
            return Ok(decimal);
        }
        let text = std::str::from_utf8(text).map_err(|_| Inexact)?;
        let nearest: f64 = text.parse().map_err(|_| Inexact)?;
        let mut shortest = Buffer::default();
        write!(shortest, "{nearest:e}").map_err(|_| Inexact)?;
        match Self::read(shortest.written()) {
            Ok((same, _)) if same == decimal => Ok(decimal),
            _ => Err(Inexact),
        }
    }

    /// This many units of `10^-scale`; 5 units at scale 2 are 0.05.
    #[must_use]
    pub fn from_units(units: u64, scale: u8) -> Self {
        Self::normal(false, units, -i64::from(scale)).unwrap_or(Self::ZERO)
    }

    /// How many units of `10^-scale` it is.
    ///
    /// # Errors
    ///
    /// If that is not a whole number, negative (`-0` counts as such) or beyond 64 bits.
    pub fn to_units(&self, scale: u8) -> Result<u64, UnitError> {
        if self.negative {
            return Err(UnitError::Negative);
        }
        if self.significand == 0 {
            return Ok(0);
        }
        let power = i32::from(self.exponent) + i32::from(scale);
        let power = u32::try_from(power).map_err(|_| UnitError::TooFine)?;
        10u64
            .checked_pow(power)
            .and_then(|factor| self.significand.checked_mul(factor))
            .ok_or(UnitError::TooLarge)
    }

    /// Digits it needs after the decimal point; 255 stands for more, too.
    #[must_use]
    pub fn decimals(&self) -> u8 {
        u8::try_from(self.exponent.min(0).unsigned_abs()).unwrap_or(u8::MAX)
    }

    /// It is a whole number.
    #[must_use]
    pub const fn is_integer(&self) -> bool {
        self.exponent >= 0
    }

    /// It has a minus sign; so may a zero.
    #[must_use]
    pub const fn is_negative(&self) -> bool {
        self.negative
    }

    /// The value as it is written, and how many digits its significand has. Does not ask what a double makes
    /// of it.
    fn read(text: &[u8]) -> Result<(Self, u32), Inexact> {
        let shape = json::shape(text, 0).map_err(|_| Inexact)?;
        if shape.end != text.len() {
            return Err(Inexact);
        }
        let mantissa = text.get(shape.digits..shape.mantissa_end).ok_or(Inexact)?;
        let negative = shape.digits > 0;
        let (mut significand, mut digits, mut zeros) = (0u64, 0u32, 0u32);
        for byte in mantissa.iter().filter(|byte| byte.is_ascii_digit()) {
            match byte - b'0' {
                0 if significand == 0 => {}
                0 => zeros = zeros.saturating_add(1),
                digit => {
                    // Zeros count once a digit follows them; those at the end belong to the exponent.
                    let grown = zeros.saturating_add(1);
                    digits = digits.saturating_add(grown);
                    if digits > MOST_DIGITS {
                        return Err(Inexact);
                    }
                    significand = significand * 10u64.pow(grown) + u64::from(digit);
                    zeros = 0;
                }
            }
        }
        if significand == 0 {
            return Ok((
                Self {
                    negative,
                    ..Self::ZERO
                },
                1,
            ));
        }
        let written = exponent(text.get(shape.mantissa_end..).unwrap_or_default());
        let fraction = i64::try_from(shape.fraction_len).map_err(|_| Inexact)?;
        let exponent = i16::try_from(written + i64::from(zeros) - fraction).map_err(|_| Inexact)?;
        let decimal = Self {
            negative,
            significand,
            exponent,
        };
        Ok((decimal, digits))
    }

    /// Strips the zeros off the significand; `None` if the exponent grows out of its type.
    fn normal(negative: bool, mut significand: u64, mut exponent: i64) -> Option<Self> {
        if significand == 0 {
            return Some(Self {
                negative,
                ..Self::ZERO
            });
        }
        while significand % 10 == 0 {
            significand /= 10;
            exponent += 1;
        }
        Some(Self {
            negative,
            significand,
            exponent: i16::try_from(exponent).ok()?,
        })
    }

    /// Digits of the significand.
    fn digits(&self) -> u32 {
        self.significand.checked_ilog10().unwrap_or(0) + 1
    }

    /// Order without the sign.
    fn cmp_magnitude(&self, other: &Self) -> Ordering {
        if self.significand == 0 || other.significand == 0 {
            return self.significand.cmp(&other.significand);
        }
        let (mine, others) = (self.digits(), other.digits());
        let leading = |exponent: i16, digits: u32| i64::from(exponent) + i64::from(digits);
        leading(self.exponent, mine)
            .cmp(&leading(other.exponent, others))
            .then_with(|| {
                // The first digits have the same weight: pad the shorter significand and compare.
                let pad = |significand: u64, by: u32| u128::from(significand) * 10u128.pow(by);
                pad(self.significand, others.saturating_sub(mine))
                    .cmp(&pad(other.significand, mine.saturating_sub(others)))
            })
    }

    /// Minus sign that counts: a zero has none.
    const fn is_below_zero(&self) -> bool {
        self.negative && self.significand != 0
    }
}

/// What `e-5` says; nothing says 0. Stops counting where no type would hold it.
fn exponent(text: &[u8]) -> i64 {
    let magnitude = text
        .iter()
        .filter(|byte| byte.is_ascii_digit())
        .fold(0i64, |sum, byte| {
            (sum * 10 + i64::from(byte - b'0')).min(1 << 40)
        });
    if text.get(1) == Some(&b'-') {
        -magnitude
    } else {
        magnitude
    }
}

impl PartialEq for Decimal {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Decimal {}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.is_below_zero(), other.is_below_zero()) {
            (false, false) => self.cmp_magnitude(other),
            (true, true) => other.cmp_magnitude(self),
            (below, _) if below => Ordering::Less,
            _ => Ordering::Greater,
        }
    }
}

impl fmt::Display for Decimal {
    /// The one spelling of this value: plain digits up to 21 of them before the point or six zeros after it,
    /// else with an exponent. `-0` is written `0`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = Buffer::default();
        write!(digits, "{}", self.significand)?;
        let digits = digits.as_str();
        let count = i64::from(self.digits());
        // Position of the decimal point, counted from the first digit.
        let point = i64::from(self.exponent) + count;
        if self.is_below_zero() {
            f.write_char('-')?;
        }
        let (before, after) = digits
            .split_at_checked(usize::try_from(point).unwrap_or(0))
            .unwrap_or((digits, ""));
        match point {
            1..=21 if after.is_empty() => {
                f.write_str(before)?;
                (count..point).try_for_each(|_| f.write_char('0'))
            }
            1..=21 => write!(f, "{before}.{after}"),
            -5..=0 => {
                f.write_str("0.")?;
                (point..0).try_for_each(|_| f.write_char('0'))?;
                f.write_str(digits)
            }
            _ => {
                let (first, rest) = digits.split_at_checked(1).unwrap_or((digits, ""));
                let dot = if rest.is_empty() { "" } else { "." };
                write!(f, "{first}{dot}{rest}e{:+}", point - 1)
            }
        }
    }
}

impl fmt::Debug for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Room for one number in writing: the shortest form of a double takes at most 24 bytes.
#[derive(Default)]
struct Buffer {
    bytes: [u8; 32],
    len: usize,
}

impl Buffer {
    fn written(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(self.written()).unwrap_or_default()
    }
}

impl fmt::Write for Buffer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len + text.len();
        let room = self.bytes.get_mut(self.len..end).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
