//! The grammar of a JSON number, and which numbers a double can stand for.

/// Where the parts of a number lie, as offsets into the bytes it was read from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// The first digit of the integer part: past the sign.
    pub digits: usize,
    /// Past the last digit before the exponent; the decimal point, if any, lies between `digits` and here.
    pub mantissa_end: usize,
    /// Digits after the decimal point.
    pub fraction_len: usize,
    /// Past the last byte.
    pub end: usize,
}

/// A number is trusted without looking at its value when it has no exponent and at most this many bytes:
/// it is below 1e300, and if it is not zero it is above 1e-300.
const OBVIOUS_LEN: usize = 300;

/// Longest exponent that is read. The standard library's conversion stops reading an exponent soon after five
/// digits, so what it says of longer ones cannot be relied on; nobody writes them.
const EXPONENT_DIGITS: usize = 4;

/// Reads the number that begins at `start`, as far as the grammar goes.
///
/// # Errors
///
/// The offset of the byte that does not fit, and why.
#[inline]
pub(crate) fn shape(bytes: &[u8], start: usize) -> Result<Shape, (usize, &'static str)> {
    let digits = start + usize::from(bytes.get(start) == Some(&b'-'));
    let mut end = match bytes.get(digits) {
        Some(b'0') => match bytes.get(digits + 1) {
            Some(b'0'..=b'9') => return Err((digits, "a number has a leading zero")),
            _ => digits + 1,
        },
        Some(b'1'..=b'9') => skip_digits(bytes, digits + 1),
        _ => return Err((digits, "a number lacks its digits")),
    };
    let mut fraction_len = 0;
    if bytes.get(end) == Some(&b'.') {
        let after = skip_digits(bytes, end + 1);
        fraction_len = after - end - 1;
        if fraction_len == 0 {
            return Err((after, "a decimal point lacks its digits"));
        }
        end = after;
    }
    let mantissa_end = end;
    if let Some(b'e' | b'E') = bytes.get(end) {
        let first = end + 1 + usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        end = skip_digits(bytes, first);
        if end == first {
            return Err((end, "an exponent lacks its digits"));
        }
    }
    Ok(Shape {
        digits,
        mantissa_end,
        fraction_len,
        end,
    })
}

/// Where the number at `start` ends, if it has no exponent and not many digits: most have neither. Else, and where
/// it is no number at all, 0.
#[inline(never)]
pub(super) fn obvious(bytes: &[u8], start: usize) -> usize {
    let is = |at: usize, byte| bytes.get(at) == Some(&byte);
    let digits = start.wrapping_add(usize::from(is(start, b'-')));
    let mut end = skip_digits(bytes, digits);
    if end == digits || (is(digits, b'0') && end.wrapping_sub(digits) > 1) {
        return 0;
    }
    if is(end, b'.') {
        let fraction = end.wrapping_add(1);
        end = skip_digits(bytes, fraction);
        if end == fraction {
            return 0;
        }
    }
    let has_exponent = matches!(bytes.get(end), Some(b'e' | b'E'));
    if has_exponent || end.wrapping_sub(start) > OBVIOUS_LEN {
        return 0;
    }
    end
}

/// Whether a finite double can hold the magnitude of the number that began at `start` without turning it into
/// zero.
#[cold]
pub(super) fn in_range(bytes: &[u8], start: usize, shape: &Shape) -> bool {
    let text = bytes.get(start..shape.end).unwrap_or_default();
    let text = std::str::from_utf8(text).unwrap_or_default();
    let (mantissa, exponent) = text
        .split_at_checked(text.len() - (shape.end - shape.mantissa_end))
        .unwrap_or((text, ""));
    if mantissa
        .bytes()
        .all(|byte| matches!(byte, b'0' | b'-' | b'.'))
    {
        return true;
    }
    let exponent = exponent.trim_start_matches(['e', 'E', '+', '-', '0']);
    exponent.len() <= EXPONENT_DIGITS
        && text
            .parse()
            .is_ok_and(|value: f64| value.is_finite() && value != 0.0)
}

fn skip_digits(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(b'0'..=b'9') = bytes.get(at) {
        at += 1;
    }
    at
}
