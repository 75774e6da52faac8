//! Whole numbers as text, without the detour of formatting.

/// Decimal digits of the largest `u64`.
const MOST: usize = 20;

/// A whole number in decimal digits.
pub(crate) struct Digits {
    buffer: [u8; MOST],
    start: usize,
}

impl Digits {
    /// The digits of `number`, no zeros in front.
    pub(crate) fn of(number: u64) -> Self {
        let (mut buffer, mut start, mut rest) = ([b'0'; MOST], MOST, number);
        for (at, place) in buffer.iter_mut().enumerate().rev() {
            *place += u8::try_from(rest % 10).unwrap_or_default();
            (start, rest) = (at, rest / 10);
            if rest == 0 {
                break;
            }
        }
        Self { buffer, start }
    }

    /// As bytes of ASCII.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_those_of_formatting() {
        for number in [0, 7, 10, 99, 100, 1_234_567_890, u64::MAX - 1, u64::MAX] {
            assert_eq!(Digits::of(number).as_bytes(), number.to_string().as_bytes());
        }
    }
}
