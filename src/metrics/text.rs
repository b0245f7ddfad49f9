//! The classic text format of Prometheus (https://prometheus.io/docs/instrumenting/exposition_formats/), version 0.0.4.
//!
//! Invariant: a family's lines stand together, below one HELP and one TYPE. Names are ours; label values are escaped.

use std::fmt::{Display, Write};

use crate::latency::Cumulated;

/// What kind of numbers a family has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Only grows, until it is reset to 0.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Durations, counted up to bounds.
    Histogram,
}

/// A page that is being written.
#[derive(Debug, Default)]
pub(super) struct Text {
    page: String,
    family: &'static str,
}

/// A label's name and value; an empty name is none.
pub(super) type Label<'a> = (&'static str, &'a str);

impl Text {
    /// A page with room for `bytes`.
    pub(super) fn with_capacity(bytes: usize) -> Text {
        Text { page: String::with_capacity(bytes), family: "" }
    }

    /// Begin a family.
    pub(super) fn family(&mut self, name: &'static str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        assert!(!help.contains(['\n', '\\']), "help texts need no escapes");
        self.family = name;
        let _ = write!(self.page, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// A number of the family.
    pub(super) fn sample(&mut self, label: Label<'_>, value: impl Display) {
        self.line("", label, None, value);
    }

    /// A family of one number.
    pub(super) fn single(&mut self, name: &'static str, kind: Kind, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(("", ""), value);
    }

    /// A histogram of the family, in seconds.
    pub(super) fn histogram(&mut self, label: Label<'_>, bounds_ns: &[u64], cumulated: &Cumulated) {
        for (bound_ns, count) in bounds_ns.iter().zip(&cumulated.counts) {
            self.line("_bucket", label, Some(&seconds(*bound_ns).to_string()), count);
        }
        self.line("_bucket", label, Some("+Inf"), cumulated.count);
        self.line("_sum", label, None, seconds(cumulated.total_ns));
        self.line("_count", label, None, cumulated.count);
    }

    /// The page.
    pub(super) fn finish(self) -> String {
        self.page
    }

    fn line(&mut self, suffix: &str, (name, value): Label<'_>, bound: Option<&str>, number: impl Display) {
        let _ = write!(self.page, "{}{suffix}", self.family);
        if !name.is_empty() || bound.is_some() {
            self.page.push('{');
            if !name.is_empty() {
                let _ = write!(self.page, "{name}=\"");
                escape(value, &mut self.page);
                self.page.push('"');
            }
            if let Some(bound) = bound {
                let comma = if name.is_empty() { "" } else { "," };
                let _ = write!(self.page, "{comma}le=\"{bound}\"");
            }
            self.page.push('}');
        }
        let _ = writeln!(self.page, " {number}");
    }
}

/// Nanoseconds as seconds.
pub(super) fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// Write a label's value: backslash, quote and end of line are escaped.
fn escape(value: &str, page: &mut String) {
    for character in value.chars() {
        match character {
            '\\' => page.push_str("\\\\"),
            '"' => page.push_str("\\\""),
            '\n' => page.push_str("\\n"),
            other => page.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_stand_together_and_labels_are_escaped() {
        let mut text = Text::default();
        text.single("a_seconds", Kind::Gauge, "How long.", 0.5);
        text.family("b_total", Kind::Counter, "How many.");
        text.sample(("code", "a\"\\\n"), 3);
        text.family("c_seconds", Kind::Histogram, "How long each.");
        let cumulated = Cumulated { counts: vec![1, 2], count: 4, total_ns: 1_500_000_000 };
        text.histogram(("stage", "send"), &[2_500, 1_000_000_000], &cumulated);
        text.histogram(("", ""), &[], &Cumulated::new(0));
        assert_eq!(
            text.finish(),
            "# HELP a_seconds How long.\n# TYPE a_seconds gauge\na_seconds 0.5\n\
             # HELP b_total How many.\n# TYPE b_total counter\nb_total{code=\"a\\\"\\\\\\n\"} 3\n\
             # HELP c_seconds How long each.\n# TYPE c_seconds histogram\n\
             c_seconds_bucket{stage=\"send\",le=\"0.0000025\"} 1\nc_seconds_bucket{stage=\"send\",le=\"1\"} 2\n\
             c_seconds_bucket{stage=\"send\",le=\"+Inf\"} 4\nc_seconds_sum{stage=\"send\"} 1.5\n\
             c_seconds_count{stage=\"send\"} 4\nc_seconds_bucket{le=\"+Inf\"} 0\nc_seconds_sum 0\nc_seconds_count 0\n"
        );
    }
}
