//! Small numbers in words, all compared at once.
//!
//! The only unsafe code is the calls of instructions that every x86-64 has. Against the same by arithmetic on words it
//! saves 40 of 600 instructions of an `INCR` (`benches/instructions`, `incr-64`).

#![allow(unsafe_code)]

/// Which of the twelve lanes of 16 bits are `number`: a bit for each, that of the first word's lowest lane the lowest.
#[inline]
pub fn equal([a, b, c]: [u64; 3], number: u16) -> u32 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE2 is a part of every x86-64.
    unsafe {
        use std::arch::x86_64::{_mm_cmpeq_epi16, _mm_movemask_epi8, _mm_packs_epi16, _mm_set_epi64x, _mm_set1_epi16};
        let all = _mm_set1_epi16(number as i16);
        let low = _mm_cmpeq_epi16(_mm_set_epi64x(b as i64, a as i64), all);
        let high = _mm_cmpeq_epi16(_mm_set_epi64x(0, c as i64), all);
        // A lane becomes a byte, a byte a bit.
        (_mm_movemask_epi8(_mm_packs_epi16(low, high)) as u32) & 0xFFF
    }
    #[cfg(not(target_arch = "x86_64"))]
    by_lane([a, b, c], number)
}

/// One after the other.
#[cfg(any(test, not(target_arch = "x86_64")))]
fn by_lane(words: [u64; 3], number: u16) -> u32 {
    let lane = |i: usize| (words[i / 4] >> (i % 4 * 16)) as u16;
    (0..12).fold(0, |equal, i| equal | u32::from(lane(i) == number) << i)
}

/// Whether one of the sixteen bytes is `byte`.
#[inline]
pub fn has_byte([one, other]: [u64; 2], byte: u8) -> bool {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: as above.
    unsafe {
        use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_movemask_epi8, _mm_set_epi64x, _mm_set1_epi8};
        let bytes = _mm_set_epi64x(other as i64, one as i64);
        _mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_set1_epi8(byte as i8))) != 0
    }
    #[cfg(not(target_arch = "x86_64"))]
    [one, other].iter().any(|word| word.to_ne_bytes().contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compared_at_once_is_what_is_compared_one_by_one() {
        let mut random = 1_u64;
        let mut word = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // Few different lanes, so that many are equal; the extremes among them.
            random & 0x8001_0001_8000_7FFF & (random >> 7 | 0x8001_0000_8000_0001)
        };
        for _ in 0..2_000 {
            let words = [word(), word(), word()];
            for number in [0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF, words[1] as u16] {
                assert_eq!(equal(words, number), by_lane(words, number), "{words:x?} {number:x}");
            }
            let bytes = [words[0].to_ne_bytes(), words[1].to_ne_bytes()].concat();
            for byte in [0, 1, 0x7F, 0x80, 0xFF] {
                assert_eq!(has_byte([words[0], words[1]], byte), bytes.contains(&byte));
            }
        }
    }
}
