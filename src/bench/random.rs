//! The random numbers of a load: the same seed gives the same requests.
//!
//! SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014): one addition and one
//! mixing a number, which a load of ten million requests a second can afford. Not for secrets.

/// See the module.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The stream number `stream` of a seed. Streams of one seed have nothing to do with each other.
    pub fn new(seed: u64, stream: u64) -> Random {
        let mut random = Random(seed);
        let offset = random.next_u64();
        Random(mix(offset ^ mix(stream)))
    }

    /// 64 random bits.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `end`, which must not be 0. Uniform up to a share of `end / 2^32`, which no load can tell.
    #[inline]
    pub fn below(&mut self, end: u32) -> u32 {
        (((self.next_u64() >> 32) * u64::from(end)) >> 32) as u32
    }

    /// A number above 0 and up to 1, with 53 random bits.
    #[inline]
    pub fn unit(&mut self) -> f64 {
        ((self.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }
}

#[inline]
fn mix(state: u64) -> u64 {
    let mut mixed = state;
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_streams_differ() {
        let draw = |seed, stream| {
            let mut random = Random::new(seed, stream);
            [random.next_u64(), random.next_u64(), random.next_u64()]
        };
        assert_eq!(draw(7, 1), draw(7, 1));
        assert_ne!(draw(7, 1), draw(7, 2));
        assert_ne!(draw(7, 1), draw(8, 1));
        // A stream is not another one shifted by a step.
        assert_ne!(draw(7, 1)[1], draw(7, 2)[0]);
    }

    #[test]
    fn numbers_keep_their_bounds() {
        let mut random = Random::new(1, 0);
        for _ in 0..100_000 {
            assert!(random.below(3) < 3);
            assert_eq!(random.below(1), 0);
            let unit = random.unit();
            assert!(unit > 0.0 && unit <= 1.0);
        }
    }
}
