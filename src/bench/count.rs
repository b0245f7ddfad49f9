//! How many, as people write it on a command line: `100000`, `100k`, `2.5m`, `1g`. `1k` is 1,000.

use std::ops::RangeInclusive;

/// A parser of such numbers for a flag. What it returns is exact: a fraction of one is refused.
pub fn within<N>(range: RangeInclusive<N>) -> impl Fn(&str) -> Result<N, String> + Clone + Send + Sync + 'static
where
    N: TryFrom<u64> + PartialOrd + std::fmt::Display + Clone + Send + Sync + 'static,
{
    move |text| {
        let count = parse(text).and_then(|count| N::try_from(count).ok()).filter(|count| range.contains(count));
        let (least, most) = (range.start(), range.end());
        count.ok_or_else(|| format!("it is no whole number from {least} to {most}, such as 100000, 100k or 1.5m"))
    }
}

/// What stands before the unit, and the unit's zeros.
pub fn split_unit(text: &str) -> (&str, usize) {
    let zeros = match text.as_bytes().last().map(u8::to_ascii_lowercase) {
        Some(b'k') => 3,
        Some(b'm') => 6,
        Some(b'g') => 9,
        _ => return (text, 0),
    };
    (&text[..text.len() - 1], zeros)
}

fn parse(text: &str) -> Option<u64> {
    let (number, zeros) = split_unit(text);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let is_number = |digits: &str| digits.bytes().all(|digit| digit.is_ascii_digit());
    let ends_in_point = number.ends_with('.');
    if whole.is_empty() || ends_in_point || !is_number(whole) || !is_number(fraction) || fraction.len() > zeros {
        return None;
    }
    format!("{whole}{fraction:0<zeros$}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_exact() {
        let known = [
            ("0", 0),
            ("7", 7),
            ("100000", 100_000),
            ("100k", 100_000),
            ("100K", 100_000),
            ("1.5m", 1_500_000),
            ("0.25k", 250),
            ("2G", 2_000_000_000),
            ("1.000001m", 1_000_001),
            ("18446744073709551615", u64::MAX),
        ];
        for (text, count) in known {
            assert_eq!(parse(text), Some(count), "{text}");
        }
    }

    #[test]
    fn what_is_no_count_is_refused() {
        let wrong = [
            "",
            "k",
            "-1",
            "+1",
            "1.5",
            "1.",
            "1.k",
            ".5k",
            "1.2345k",
            "1e3",
            "1 k",
            " 1",
            "1kk",
            "1µ",
            "0x10",
            "1_000",
            "1.5.0m",
            "18446744073709551616",
            "18446744073709551615k",
        ];
        for text in wrong {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_range_is_kept_and_named() {
        let keys = within(1..=u32::MAX);
        assert_eq!(keys("4294967295"), Ok(u32::MAX));
        for text in ["0", "4294967296", "5g"] {
            assert_eq!(
                keys(text),
                Err("it is no whole number from 1 to 4294967295, such as 100000, 100k or 1.5m".to_owned()),
                "{text}"
            );
        }
    }
}
