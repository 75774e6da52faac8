//! Sixteen bytes of a string at once.

use wide::u8x16;

/// How many bytes are looked at in one go.
pub(super) const LANES: usize = 16;

/// A bit for each byte, the first lowest: set for a quote, a backslash and a control character, which a string
/// cannot hold as they are.
#[expect(clippy::cast_sign_loss, reason = "only the low sixteen bits are set")]
#[inline]
pub(super) fn special(chunk: &[u8; LANES]) -> u32 {
    let bytes = u8x16::new(*chunk);
    let control = bytes.cmp_eq(bytes.min(u8x16::splat(0x1f)));
    let quote = bytes.cmp_eq(u8x16::splat(b'"'));
    let backslash = bytes.cmp_eq(u8x16::splat(b'\\'));
    (control | quote | backslash).move_mask() as u32
}
