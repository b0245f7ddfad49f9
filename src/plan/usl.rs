//! How throughput grows with what works at it: the Universal Scalability Law (Gunther, "Guerrilla Capacity Planning",
//! 2007, chapter 4), `X(n) = λ n / (1 + σ (n - 1) + κ n (n - 1))`.
//!
//! Pure. λ is the throughput of one, σ the share that is done one after the other, κ the cost of agreeing with each other.

use serde::{Deserialize, Serialize};

/// Points that a fit takes at least: it has three unknowns.
pub const POINT_COUNT_MIN: usize = 6;

/// A fitted law.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Usl {
    /// Throughput of one, a second.
    pub lambda: f64,
    /// Contention, 0 or more.
    pub sigma: f64,
    /// Coherency, 0 or more.
    pub kappa: f64,
    /// What is known reaches up to here; beyond, the law is extrapolated.
    pub measured_up_to: f64,
    /// Root of the mean squared relative error of the points.
    pub relative_error: f64,
}

impl Usl {
    /// Fit points of (how many, throughput a second) by least squares of the relative errors of `n / X(n)`, in which the
    /// law is linear. `None` of fewer than [`POINT_COUNT_MIN`] different counts, or of points that grow backwards.
    pub fn fit(points: &[(f64, f64)]) -> Option<Usl> {
        let points: Vec<(f64, f64)> = points.iter().copied().filter(|(n, x)| *n >= 1.0 && *x > 0.0).collect();
        let mut counts: Vec<u64> = points.iter().map(|(n, _)| *n as u64).collect();
        counts.sort_unstable();
        counts.dedup();
        if counts.len() < POINT_COUNT_MIN {
            return None;
        }
        // Where a coefficient would be negative, it is 0 and the others are fitted without it.
        let terms: [fn(f64) -> f64; 3] = [|_| 1.0, |n| n - 1.0, |n| n * (n - 1.0)];
        let choices = [[true, true, true], [true, true, false], [true, false, true], [true, false, false]];
        let fits = choices.into_iter().filter_map(|used| {
            let rows: Vec<([f64; 3], f64)> = points
                .iter()
                .map(|(n, x)| {
                    let y = n / x;
                    (std::array::from_fn(|term| if used[term] { terms[term](*n) / y } else { 0.0 }), 1.0)
                })
                .collect();
            let [one, two, three] = least_squares(&rows, used)?;
            let usl = Usl {
                lambda: 1.0 / one,
                sigma: two / one,
                kappa: three / one,
                measured_up_to: *counts.last()? as f64,
                relative_error: 0.0,
            };
            (one > 0.0 && usl.sigma >= 0.0 && usl.kappa >= 0.0).then(|| usl.with_error(&points))
        });
        fits.min_by(|a, b| a.relative_error.total_cmp(&b.relative_error))
    }

    fn with_error(self, points: &[(f64, f64)]) -> Usl {
        let sum: f64 = points.iter().map(|(n, x)| (self.at(*n) / x - 1.0).powi(2)).sum();
        Usl { relative_error: (sum / points.len() as f64).sqrt(), ..self }
    }

    /// The throughput of so many.
    pub fn at(&self, n: f64) -> f64 {
        self.lambda * n / (1.0 + self.sigma * (n - 1.0) + self.kappa * n * (n - 1.0))
    }

    /// How many give the highest throughput; `None` when more always give more.
    pub fn peak(&self) -> Option<f64> {
        (self.kappa > 0.0).then(|| ((1.0 - self.sigma).max(0.0) / self.kappa).sqrt().max(1.0))
    }

    /// Whether what the law says of so many was measured.
    pub fn is_extrapolated(&self, n: f64) -> bool {
        n > self.measured_up_to
    }
}

/// Solve the normal equations of rows (terms, value), with unused terms 0 (Gauss, with pivots).
fn least_squares(rows: &[([f64; 3], f64)], used: [bool; 3]) -> Option<[f64; 3]> {
    let mut matrix = [[0.0; 4]; 3];
    for (terms, value) in rows {
        for i in 0..3 {
            for j in 0..3 {
                matrix[i][j] += terms[i] * terms[j];
            }
            matrix[i][3] += terms[i] * value;
        }
    }
    for (term, used) in used.into_iter().enumerate() {
        if !used {
            matrix[term][term] = 1.0;
        }
    }
    for column in 0..3 {
        let pivot = (column..3).max_by(|a, b| matrix[*a][column].abs().total_cmp(&matrix[*b][column].abs()))?;
        matrix.swap(column, pivot);
        if matrix[column][column].abs() < 1e-300 {
            return None;
        }
        for row in 0..3 {
            if row != column {
                let factor = matrix[row][column] / matrix[column][column];
                (0..4).for_each(|at| matrix[row][at] -= factor * matrix[column][at]);
            }
        }
    }
    Some(std::array::from_fn(|row| matrix[row][3] / matrix[row][row]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::sample::Noise;

    const TRUE: Usl = Usl { lambda: 250_000.0, sigma: 0.03, kappa: 0.0004, measured_up_to: 32.0, relative_error: 0.0 };
    const COUNTS: [f64; 7] = [1.0, 2.0, 4.0, 8.0, 16.0, 24.0, 32.0];

    #[test]
    fn a_law_without_noise_comes_back() {
        let fit = Usl::fit(&COUNTS.map(|n| (n, TRUE.at(n)))).unwrap();
        for (found, expected) in [(fit.lambda, TRUE.lambda), (fit.sigma, TRUE.sigma), (fit.kappa, TRUE.kappa)] {
            assert!((found / expected - 1.0).abs() < 1e-6, "{fit:?}");
        }
        // sqrt(0.97 / 0.0004)
        assert!((fit.peak().unwrap() - 49.24).abs() < 0.1);
        assert!(!fit.is_extrapolated(32.0) && fit.is_extrapolated(33.0));
    }

    #[test]
    fn a_law_with_noise_is_near() {
        let mut noise = Noise::new(9);
        for _ in 0..50 {
            let fit = Usl::fit(&COUNTS.map(|n| (n, TRUE.at(n) * (0.02 * noise.normal()).exp()))).unwrap();
            assert!((fit.at(48.0) / TRUE.at(48.0) - 1.0).abs() < 0.25, "{fit:?}");
            assert!((fit.at(20.0) / TRUE.at(20.0) - 1.0).abs() < 0.06 && fit.relative_error < 0.05, "{fit:?}");
        }
    }

    #[test]
    fn what_grows_linearly_has_no_peak_and_too_few_points_no_law() {
        let fit = Usl::fit(&COUNTS.map(|n| (n, 1_000.0 * n))).unwrap();
        assert!(fit.sigma < 1e-9 && fit.peak().is_none_or(|peak| peak > 1e3), "{fit:?}");
        assert_eq!(Usl::fit(&[(1.0, 10.0), (2.0, 19.0), (4.0, 35.0), (8.0, 60.0), (16.0, 90.0)]), None);
        let same = [(4.0, 10.0); 9];
        assert_eq!(Usl::fit(&same), None);
    }
}
