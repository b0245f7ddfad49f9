//! Times, rates and shares as people read them: three digits and a unit.

/// A time given in nanoseconds: `870 ns`, `45.1 µs`, `1.20 ms`, `12.3 s`.
pub fn time(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        _ => scaled(ns as f64, &[(1e3, "µs"), (1e6, "ms"), (1e9, "s")]),
    }
}

/// A time, or `n/a`.
pub fn time_or_none(ns: Option<u64>) -> String {
    ns.map_or_else(|| "n/a".to_owned(), time)
}

/// Something a second: `0/s`, `870/s`, `45.1 k/s`, `1.20 M/s`.
pub fn rate(per_s: f64) -> String {
    if per_s == 0.0 {
        return "0/s".to_owned();
    }
    if per_s < 999.5 {
        let digits = if per_s < 9.995 {
            2
        } else if per_s < 99.95 {
            1
        } else {
            0
        };
        return format!("{per_s:.digits$}/s");
    }
    scaled(per_s, &[(1e3, "k/s"), (1e6, "M/s"), (1e9, "G/s")])
}

/// A share of one: `98.50%`. A share that is not all never reads as all.
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    let percent = if percent < 100.0 { percent.min(99.99) } else { percent };
    format!("{percent:.2}%")
}

/// Whole numbers with commas.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let mut text = digits[..first].to_owned();
    for group in digits.as_bytes()[first..].chunks(3) {
        if !text.is_empty() {
            text.push(',');
        }
        text.extend(group.iter().map(|digit| char::from(*digit)));
    }
    text
}

/// `value` in the largest of the ascending `units` that leaves at least 1, with three digits in all.
fn scaled(value: f64, units: &[(f64, &str)]) -> String {
    // What would be rounded to 1,000 of a unit is 1.00 of the next.
    let (size, name) = *units.iter().rev().find(|(size, _)| value >= size * 0.9995).unwrap_or(&units[0]);
    let scaled = value / size;
    let digits = if scaled < 9.995 {
        2
    } else if scaled < 99.95 {
        1
    } else {
        0
    };
    format!("{scaled:.digits$} {name}")
}

/// Unix time in milliseconds as `2026-11-24 05:58:15 UTC` (Howard Hinnant, "chrono-Compatible Low-Level Date
/// Algorithms", `civil_from_days`).
pub fn date(unix_ms: u64) -> String {
    let seconds = unix_ms / 1_000;
    let days = seconds / 86_400 + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// A command line as it can be given to a shell again.
pub fn shell(arguments: &[String]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+./:,@%".contains(c);
    let quoted = arguments.iter().map(|argument| match !argument.is_empty() && argument.chars().all(plain) {
        true => argument.clone(),
        false => format!("'{}'", argument.replace('\'', r"'\''")),
    });
    quoted.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_and_a_unit() {
        for (ns, text) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_000, "1.00 µs"),
            (45_149, "45.1 µs"),
            (999_499, "999 µs"),
            (999_600, "1.00 ms"),
            (1_204_000, "1.20 ms"),
            (12_345_678_901, "12.3 s"),
            (3_600_000_000_000, "3600 s"),
        ] {
            assert_eq!(time(ns), text, "{ns}");
        }
        for (per_s, text) in [
            (0.0, "0/s"),
            (9.994, "9.99/s"),
            (100.4, "100/s"),
            (999.4, "999/s"),
            (999.6, "1.00 k/s"),
            (500_000.0, "500 k/s"),
            (9_876_543.0, "9.88 M/s"),
        ] {
            assert_eq!(rate(per_s), text, "{per_s}");
        }
    }

    #[test]
    fn nearly_all_is_not_all() {
        assert_eq!(percent(0.999_999), "99.99%");
        assert_eq!(percent(1.0), "100.00%");
        assert_eq!(percent(0.5), "50.00%");
        assert_eq!(percent(1.5), "150.00%");
    }

    #[test]
    fn groups_have_three_digits() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (unix_s, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_795_500_000, "2026-11-24 06:00:00 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(date(unix_s * 1_000 + 999), text);
        }
    }

    #[test]
    fn a_shell_takes_a_command_line_back() {
        let arguments = ["tallyring", "bench", "--command", "INCR it's:{key}", ""].map(str::to_owned);
        assert_eq!(shell(&arguments), r"tallyring bench --command 'INCR it'\''s:{key}' ''");
    }
}
