//! Which key a request concerns: a number below the count of keys, drawn as the distribution says.
//!
//! Pure. Key 0 is the most frequent one where keys differ; their slots are as random as CRC16 makes them, so hot keys
//! are not neighbours for the server.

use std::fmt;
use std::str::FromStr;

use super::random::Random;

/// How keys are chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Distribution {
    /// Each as often as any other.
    Uniform,
    /// The n-th most frequent key with a probability that is proportional to `n^-theta`.
    Zipf {
        /// Above 0; 0.99 is YCSB's.
        theta: f64,
    },
    /// A part of the keys gets a part of the requests; both uniformly within.
    Hotspot {
        /// Percent of the keys, the first ones.
        keys_percent: u32,
        /// Percent of the requests that concern them.
        requests_percent: u32,
    },
    /// One after the other, from the first again after the last. Each thread begins at its own part.
    Sequential,
    /// As `zipf:0.99`, counted back from the newest key, which moves on by one key every [`LATEST_STEP`] requests.
    Latest,
}

/// Requests of a thread until the newest key of [`Distribution::Latest`] moves on.
pub const LATEST_STEP: u32 = 16;

/// The exponent of [`Distribution::Latest`].
const LATEST_THETA: f64 = 0.99;

/// Beyond this exponent nearly all requests are for one key, and powers of large keys leave the range of a double.
const THETA_MAX: f64 = 10.0;

impl FromStr for Distribution {
    type Err = String;

    fn from_str(text: &str) -> Result<Distribution, String> {
        let parts: Vec<&str> = text.split(':').collect();
        let percent = |text: &str| text.parse().ok().filter(|percent| (1..=100).contains(percent));
        match parts[..] {
            ["uniform"] => Some(Distribution::Uniform),
            ["sequential"] => Some(Distribution::Sequential),
            ["latest"] => Some(Distribution::Latest),
            ["hotspot"] => Some(Distribution::Hotspot { keys_percent: 20, requests_percent: 80 }),
            ["hotspot", keys, requests] => percent(keys)
                .zip(percent(requests))
                .map(|(keys_percent, requests_percent)| Distribution::Hotspot { keys_percent, requests_percent }),
            ["zipf", theta] => theta
                .parse()
                .ok()
                .filter(|theta: &f64| *theta > 0.0 && *theta <= THETA_MAX)
                .map(|theta| Distribution::Zipf { theta }),
            _ => None,
        }
        .ok_or_else(|| {
            format!(
                "\"{text}\" is not one of uniform, zipf:THETA (such as zipf:0.99, at most {THETA_MAX}), hotspot, \
                 hotspot:KEYS%:REQUESTS% (such as hotspot:20:80), sequential, latest"
            )
        })
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Distribution::Uniform => f.write_str("uniform"),
            Distribution::Zipf { theta } => write!(f, "zipf:{theta}"),
            Distribution::Hotspot { keys_percent, requests_percent } => {
                write!(f, "hotspot:{keys_percent}:{requests_percent}")
            }
            Distribution::Sequential => f.write_str("sequential"),
            Distribution::Latest => f.write_str("latest"),
        }
    }
}

/// The keys that one thread draws.
#[derive(Clone, Debug)]
pub struct Keys {
    random: Random,
    count: u32,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Uniform,
    Zipf(Zipf),
    Hotspot { hot_count: u32, hot_probability: f64 },
    Sequential { next: u32 },
    Latest { zipf: Zipf, newest: u32, drawn_count: u32 },
}

impl Keys {
    /// Those of part `part` of `part_count` (threads), of `count` keys, at least one.
    pub fn new(distribution: Distribution, count: u32, seed: u64, part: usize, part_count: usize) -> Keys {
        assert!(count > 0 && part < part_count, "keys of no part");
        let first = (u64::from(count) * part as u64 / part_count as u64) as u32;
        let kind = match distribution {
            Distribution::Uniform => Kind::Uniform,
            Distribution::Zipf { theta } => Kind::Zipf(Zipf::new(count, theta)),
            Distribution::Hotspot { keys_percent, requests_percent } => {
                let hot_count = (u64::from(count) * u64::from(keys_percent)).div_ceil(100) as u32;
                // Where all keys are hot, nothing is left for the other requests.
                let hot_probability = if hot_count == count { 1.0 } else { f64::from(requests_percent) / 100.0 };
                Kind::Hotspot { hot_count, hot_probability }
            }
            Distribution::Sequential => Kind::Sequential { next: first },
            Distribution::Latest => {
                Kind::Latest { zipf: Zipf::new(count, LATEST_THETA), newest: first, drawn_count: 0 }
            }
        };
        // Stream 0 and those of other parts belong to others.
        Keys { random: Random::new(seed, 1 + part as u64), count, kind }
    }

    /// The next one.
    #[inline]
    pub fn draw(&mut self) -> u32 {
        let Keys { random, count, kind } = self;
        match kind {
            Kind::Uniform => random.below(*count),
            Kind::Zipf(zipf) => zipf.draw(random),
            Kind::Hotspot { hot_count, hot_probability } => {
                if random.unit() <= *hot_probability {
                    random.below(*hot_count)
                } else {
                    *hot_count + random.below(*count - *hot_count)
                }
            }
            Kind::Sequential { next } => {
                let key = *next;
                *next = if key + 1 == *count { 0 } else { key + 1 };
                key
            }
            Kind::Latest { zipf, newest, drawn_count } => {
                *drawn_count += 1;
                if *drawn_count == LATEST_STEP {
                    *drawn_count = 0;
                    *newest = if *newest + 1 == *count { 0 } else { *newest + 1 };
                }
                let back = zipf.draw(random);
                if back <= *newest { *newest - back } else { *count - (back - *newest) }
            }
        }
    }
}

/// Ranks below a count by Zipf's law, in constant time and memory: rejection-inversion (Hörmann and Derflinger,
/// "Rejection-inversion to generate variates from monotone discrete distributions", 1996).
///
/// The sum of `k^-theta` is inverted as if it were the integral of `x^-theta`; what that gives too much is rejected,
/// which happens to less than one draw in ten.
#[derive(Clone, Debug)]
struct Zipf {
    theta: f64,
    count: f64,
    /// The integral up to 1.5, less the weight of the first rank: draws lie between this and the next.
    integral_first: f64,
    integral_last: f64,
    /// Ranks this close to where the integral lies are taken without a further look.
    close: f64,
}

impl Zipf {
    fn new(count: u32, theta: f64) -> Zipf {
        let count = f64::from(count);
        let close = 2.0 - inverse(integral(2.5, theta) - weight(2.0, theta), theta);
        let (integral_first, integral_last) = (integral(1.5, theta) - 1.0, integral(count + 0.5, theta));
        Zipf { theta, count, integral_first, integral_last, close }
    }

    #[inline]
    fn draw(&self, random: &mut Random) -> u32 {
        loop {
            let area = self.integral_last + random.unit() * (self.integral_first - self.integral_last);
            let at = inverse(area, self.theta);
            let rank = at.round().clamp(1.0, self.count);
            if rank - at <= self.close || area >= integral(rank + 0.5, self.theta) - weight(rank, self.theta) {
                return rank as u32 - 1;
            }
        }
    }
}

fn weight(rank: f64, theta: f64) -> f64 {
    (-theta * rank.ln()).exp()
}

/// Of `x^-theta`, from 1 up: `(x^(1 - theta) - 1) / (1 - theta)`, also where `theta` is 1 or close to it.
fn integral(x: f64, theta: f64) -> f64 {
    let log = x.ln();
    exp_m1_over((1.0 - theta) * log) * log
}

/// Where the integral is so large.
fn inverse(area: f64, theta: f64) -> f64 {
    // Below -1 only by rounding.
    let scaled = (area * (1.0 - theta)).max(-1.0);
    (ln_1p_over(scaled) * area).exp()
}

/// `(e^x - 1) / x`
fn exp_m1_over(x: f64) -> f64 {
    if x.abs() > 1e-8 { x.exp_m1() / x } else { 1.0 + x / 2.0 }
}

/// `ln(1 + x) / x`
fn ln_1p_over(x: f64) -> f64 {
    if x.abs() > 1e-8 { x.ln_1p() / x } else { 1.0 - x / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWN_COUNT: usize = 400_000;

    fn counts(distribution: &str, key_count: u32) -> Vec<f64> {
        let mut keys = Keys::new(distribution.parse().unwrap(), key_count, 42, 0, 1);
        let mut counts = vec![0.0; key_count as usize];
        (0..DRAWN_COUNT).for_each(|_| counts[keys.draw() as usize] += 1.0);
        counts
    }

    /// Pearson's statistic of what was drawn against probabilities, in standard deviations from its mean.
    fn chi_squared_deviations(counts: &[f64], probabilities: &[f64]) -> f64 {
        let statistic: f64 = counts
            .iter()
            .zip(probabilities)
            .map(|(count, probability)| {
                let expected = probability * DRAWN_COUNT as f64;
                (count - expected).powi(2) / expected
            })
            .sum();
        let freedom = (counts.len() - 1) as f64;
        (statistic - freedom) / (2.0 * freedom).sqrt()
    }

    fn assert_fits(distribution: &str, probabilities: &[f64]) {
        let deviations = chi_squared_deviations(&counts(distribution, probabilities.len() as u32), probabilities);
        assert!(deviations.abs() < 5.0, "{distribution}: {deviations} deviations from the theory");
    }

    fn zipf_probabilities(key_count: usize, theta: f64) -> Vec<f64> {
        let weights: Vec<f64> = (1..=key_count).map(|rank| (rank as f64).powf(-theta)).collect();
        let sum: f64 = weights.iter().sum();
        weights.iter().map(|weight| weight / sum).collect()
    }

    #[test]
    fn uniform_is_uniform() {
        assert_fits("uniform", &[1.0 / 1_000.0; 1_000]);
        assert_eq!(counts("uniform", 1), [DRAWN_COUNT as f64]);
    }

    #[test]
    fn zipf_follows_its_law_below_at_and_above_one() {
        for theta in [0.2, 0.8, 0.99, 1.0, 1.2, 2.0] {
            assert_fits(&format!("zipf:{theta}"), &zipf_probabilities(100, theta));
        }
        assert_eq!(counts("zipf:0.99", 1), [DRAWN_COUNT as f64]);
    }

    #[test]
    fn the_test_would_notice_another_law() {
        let deviations = chi_squared_deviations(&counts("zipf:0.97", 100), &zipf_probabilities(100, 0.99));
        assert!(deviations > 5.0, "{deviations}");
    }

    #[test]
    fn a_hotspot_gets_its_share() {
        let probabilities: Vec<f64> = (0..100).map(|key| if key < 20 { 0.8 / 20.0 } else { 0.2 / 80.0 }).collect();
        assert_fits("hotspot", &probabilities);
        assert_fits("hotspot:100:50", &[0.01; 100]);
        // Ten percent of three keys are one key.
        assert_fits("hotspot:10:90", &[0.9, 0.05, 0.05]);
    }

    #[test]
    fn sequential_parts_begin_apart_and_wrap() {
        let mut keys = Keys::new(Distribution::Sequential, 10, 1, 1, 2);
        let drawn: Vec<u32> = (0..12).map(|_| keys.draw()).collect();
        assert_eq!(drawn, [5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn latest_is_zipf_behind_a_key_that_moves() {
        let key_count = 1_000;
        let mut keys = Keys::new(Distribution::Latest, key_count, 42, 0, 1);
        let mut by_age = vec![0.0; key_count as usize];
        for drawn in 0..DRAWN_COUNT as u32 {
            let newest = (drawn + 1) / LATEST_STEP % key_count;
            let age = (newest + key_count - keys.draw()) % key_count;
            by_age[age as usize] += 1.0;
        }
        let deviations = chi_squared_deviations(&by_age, &zipf_probabilities(key_count as usize, LATEST_THETA));
        assert!(deviations.abs() < 5.0, "{deviations}");
    }

    #[test]
    fn parts_of_a_seed_differ_and_repeat() {
        let draw = |part| {
            let mut keys = Keys::new(Distribution::Uniform, 1 << 30, 9, part, 2);
            [keys.draw(), keys.draw()]
        };
        assert_eq!(draw(0), draw(0));
        assert_ne!(draw(0), draw(1));
    }

    #[test]
    fn texts_are_read_and_written() {
        for text in ["uniform", "zipf:0.99", "hotspot:20:80", "sequential", "latest"] {
            assert_eq!(text.parse::<Distribution>().unwrap().to_string(), text);
        }
        for wrong in ["", "zipf", "zipf:0", "zipf:-1", "zipf:nan", "zipf:11", "hotspot:0:50", "hotspot:20", "normal"] {
            assert!(wrong.parse::<Distribution>().is_err(), "{wrong}");
        }
    }
}
