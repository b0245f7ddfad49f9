//! The little statistics that comparing and confirming take: Student's t, and intervals made of it.
//!
//! Pure. Every interval is two-sided unless its name says otherwise, and `confidence` is a share such as 0.95.

/// Mean and variance of a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// How many.
    pub count: f64,
    /// Their mean.
    pub mean: f64,
    /// Their variance, with `count - 1` below.
    pub variance: f64,
}

impl Sample {
    /// Of at least two values; `None` of fewer.
    pub fn of(values: &[f64]) -> Option<Sample> {
        if values.len() < 2 {
            return None;
        }
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
        Some(Sample { count, mean, variance })
    }

    /// What the true mean is not below, so often.
    pub fn lower_bound(&self, confidence: f64) -> f64 {
        self.mean - t_quantile(confidence, self.count - 1.0) * (self.variance / self.count).sqrt()
    }

    /// Half the width of the interval that holds the true mean, so often.
    pub fn half_width(&self, confidence: f64) -> f64 {
        t_quantile(0.5 + confidence / 2.0, self.count - 1.0) * (self.variance / self.count).sqrt()
    }
}

/// The interval of the difference of two means, `b` less `a` (Welch, "The generalization of Student's problem when
/// several different population variances are involved", 1947). Variances may differ; values need not be paired.
pub fn welch(a: Sample, b: Sample, confidence: f64) -> (f64, f64) {
    let (of_a, of_b) = (a.variance / a.count, b.variance / b.count);
    let error = of_a + of_b;
    let difference = b.mean - a.mean;
    if error <= 0.0 {
        return (difference, difference);
    }
    let degrees = error.powi(2) / (of_a.powi(2) / (a.count - 1.0) + of_b.powi(2) / (b.count - 1.0));
    let half = t_quantile(0.5 + confidence / 2.0, degrees) * error.sqrt();
    (difference - half, difference + half)
}

/// The value that Student's t with so many degrees of freedom does not exceed with probability `share`.
pub fn t_quantile(share: f64, degrees: f64) -> f64 {
    assert!(share > 0.0 && share < 1.0 && degrees > 0.0, "no quantile: {share} with {degrees} degrees of freedom");
    if share < 0.5 {
        return -t_quantile(1.0 - share, degrees);
    }
    let (mut low, mut high) = (0.0, 1.0);
    while t_share(high, degrees) < share && high < 1e12 {
        high *= 2.0;
    }
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if t_share(middle, degrees) < share { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

/// The probability that Student's t does not exceed `t`, at least 0.
fn t_share(t: f64, degrees: f64) -> f64 {
    1.0 - 0.5 * incomplete_beta(degrees / (degrees + t * t), degrees / 2.0, 0.5)
}

/// The regularised incomplete beta function, as a continued fraction by Lentz's method (DLMF 8.17.22).
fn incomplete_beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return x.clamp(0.0, 1.0);
    }
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(1.0 - x, b, a);
    }
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (1.0 - x).ln()).exp() / a;
    let tiny = |value: f64| if value.abs() < 1e-300 { 1e-300 } else { value };
    let (mut c, mut d) = (1.0, 1.0 / tiny(1.0 - (a + b) * x / (a + 1.0)));
    let mut fraction = d;
    for step in 1..500 {
        let m = f64::from(step);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        for term in [even, odd] {
            d = 1.0 / tiny(1.0 + term * d);
            c = tiny(1.0 + term / c);
            fraction *= d * c;
        }
        if (d * c - 1.0).abs() < 1e-15 {
            break;
        }
    }
    front * fraction
}

/// The logarithm of the gamma function of a positive number (Stirling's series after moving up; DLMF 5.11.1).
fn ln_gamma(x: f64) -> f64 {
    let (mut x, mut moved) = (x, 0.0);
    while x < 10.0 {
        moved += x.ln();
        x += 1.0;
    }
    let inverse = 1.0 / (x * x);
    let series = (1.0 / 12.0 - inverse * (1.0 / 360.0 - inverse * (1.0 / 1_260.0 - inverse / 1_680.0))) / x;
    (x - 0.5) * x.ln() - x + 0.5 * std::f64::consts::TAU.ln() + series - moved
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_tables() {
        // NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.2.
        for (share, degrees, expected) in [
            (0.95, 1.0, 6.314),
            (0.975, 1.0, 12.706),
            (0.975, 4.0, 2.776),
            (0.95, 4.0, 2.132),
            (0.99, 10.0, 2.764),
            (0.975, 30.0, 2.042),
            (0.975, 1e7, 1.960),
            (0.5, 3.0, 0.0),
            (0.025, 4.0, -2.776),
        ] {
            let found = t_quantile(share, degrees);
            assert!((found - expected).abs() < 6e-4, "{share} {degrees}: {found}");
        }
    }

    #[test]
    fn intervals_are_those_of_a_worked_example() {
        let a = Sample::of(&[10.0, 12.0, 14.0]).unwrap();
        assert_eq!((a.mean, a.variance), (12.0, 4.0));
        // 12 - 2.920 * 2 / sqrt(3)
        assert!((a.lower_bound(0.95) - 8.628).abs() < 1e-3);
        assert!((a.half_width(0.95) - 4.968).abs() < 1e-3);
        let b = Sample::of(&[20.0, 22.0, 24.0]).unwrap();
        let (low, high) = welch(a, b, 0.95);
        // Equal variances: 4 degrees of freedom, 10 -+ 2.776 * sqrt(8 / 3).
        assert!((low - 5.466).abs() < 1e-3 && (high - 14.534).abs() < 1e-3, "{low} {high}");
        assert_eq!(Sample::of(&[1.0]), None);
        let same = Sample { count: 3.0, mean: 1.0, variance: 0.0 };
        assert_eq!(welch(same, same, 0.95), (0.0, 0.0));
    }
}
