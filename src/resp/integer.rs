//! Decimal integers in the one spelling that Redis accepts, for protocol lengths and for values alike.
//!
//! Invariant: `parse` accepts exactly what printing an `i64` produces. It never guesses, trims or rounds.

/// Digits of `i64::MAX` and of `i64::MIN`; as many nines still fit a `u64`.
const DIGIT_COUNT_MAX: usize = 19;

/// The integer that `bytes` spell in decimal, or `None` when they are not an `i64` in its only spelling: `-0`, `+1`,
/// `01`, ` 1` and the empty string are none.
#[inline]
pub fn parse(bytes: &[u8]) -> Option<i64> {
    let (negative, digits) = match bytes {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] if digits.len() <= DIGIT_COUNT_MAX => {}
        _ => return None,
    }
    let mut magnitude = 0_u64;
    let mut only_digits = true;
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        only_digits &= digit <= 9;
        magnitude = magnitude.wrapping_mul(10).wrapping_add(u64::from(digit));
    }
    if !only_digits {
        None
    } else if negative {
        0_i64.checked_sub_unsigned(magnitude)
    } else {
        i64::try_from(magnitude).ok()
    }
}

/// [`short_decimal`] prints what is below this: four digits.
pub const SHORT_DECIMAL_END: u32 = 10_000;

/// [`decimal`] prints what is below this: eight digits.
pub const DECIMAL_END: u32 = 100_000_000;

/// `number`, which is below [`SHORT_DECIMAL_END`], as [`decimal`] prints it.
#[inline]
pub fn short_decimal(number: u32) -> (u32, usize) {
    assert!(number < SHORT_DECIMAL_END);
    let hundreds = (number * 10_486) >> 20;
    let quarters = hundreds | (number - hundreds * 100) << 16;
    let tens = (quarters * 103) >> 10 & 0x000f_000f;
    let digits = tens | (quarters - tens * 10) << 8;
    let zero_bytes = (digits | 1 << 24).trailing_zeros() / 8;
    ((digits | 0x3030_3030) >> (8 * zero_bytes), 4 - zero_bytes as usize)
}

/// `number`, which is below [`DECIMAL_END`], in decimal: the digits as the bytes of a word, the first one lowest, with
/// zeros behind; and how many there are, 1 to 8.
///
/// All digits are found at once: halves, then quarters, then digits, each in its own part of the word.
#[inline]
pub fn decimal(number: u32) -> (u64, usize) {
    assert!(number < DECIMAL_END);
    let number = u64::from(number);
    let halves = (number / 10_000) | (number % 10_000) << 32;
    // Division by 100 below 10,000, and by 10 below 100, as a multiplication and a shift.
    let hundreds = (halves * 10_486) >> 20 & 0x0000_007f_0000_007f;
    let quarters = hundreds | (halves - hundreds * 100) << 16;
    let tens = (quarters * 103) >> 10 & 0x000f_000f_000f_000f;
    let digits = tens | (quarters - tens * 10) << 8;
    // The last digit is printed even if it is a zero.
    let zero_bytes = ((digits | 1 << 56).trailing_zeros() / 8) as usize;
    ((digits | 0x3030_3030_3030_3030) >> (8 * zero_bytes), 8 - zero_bytes)
}

/// Bytes of `value` in decimal, its sign included: 1 to 20.
#[inline]
pub fn decimal_len(value: i64) -> usize {
    let digits = value.unsigned_abs().checked_ilog10().map_or(1, |tens| tens as usize + 1);
    digits + usize::from(value < 0)
}

#[cfg(test)]
mod tests;
