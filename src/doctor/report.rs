//! Findings as text for people and as JSON for programs.

use std::fmt::Write;

use super::{Finding, State};

/// Longest line of an explanation.
const LINE_COLUMNS: usize = 100;

/// What stands before an explanation's lines.
const INDENT: &str = "         ";

/// One JSON array, an object a finding.
pub fn json(findings: &[Finding]) -> String {
    serde_json::to_string_pretty(findings).expect("texts can be written")
}

/// A line a finding, then what is to be done about those that are not well; with `all` also why the others matter.
pub fn text(findings: &[Finding], all: bool, coloured: bool) -> String {
    let name_columns = findings.iter().map(|finding| finding.name.len()).max().unwrap_or(0);
    let is_columns =
        findings.iter().map(|finding| finding.is.chars().count()).filter(|width| *width <= 44).max().unwrap_or(0);
    let mut text = String::new();
    for finding in findings {
        let Finding { name, is, should_be, .. } = finding;
        let line = format!("{} {name:name_columns$}  {is:is_columns$}  {should_be}", word(finding.state, coloured));
        let _ = writeln!(text, "{}", line.trim_end());
    }
    for finding in findings.iter().filter(|finding| all || finding.state > State::Unknown) {
        let _ = write!(text, "\n{} {}\n", word(finding.state, coloured), finding.name);
        explain(&mut text, "do:", finding.remedy.as_deref());
        explain(&mut text, "why:", Some(finding.why));
        explain(&mut text, "costs:", Some(finding.costs));
        explain(&mut text, "brought:", Some(finding.brought.unwrap_or("Not measured.")));
    }
    let count = |state| findings.iter().filter(|finding| finding.state == state).count();
    let _ = write!(
        text,
        "\n{} must, {} should, {} unknown, {} ok",
        count(State::Must),
        count(State::Should),
        count(State::Unknown),
        count(State::Ok)
    );
    text
}

/// Eight columns, whatever the colour.
fn word(state: State, coloured: bool) -> String {
    let (word, colour) = match state {
        State::Ok => ("ok", 32),
        State::Unknown => ("unknown", 36),
        State::Should => ("should", 33),
        State::Must => ("must", 31),
    };
    if coloured { format!("\x1b[{colour}m{word:<8}\x1b[0m") } else { format!("{word:<8}") }
}

fn explain(text: &mut String, label: &str, words: Option<&str>) {
    let Some(words) = words else { return };
    let mut line = format!("{INDENT}{label:<8}");
    let mut is_empty = true;
    for word in words.split_whitespace() {
        if !is_empty && line.len() + 1 + word.len() > LINE_COLUMNS {
            let _ = writeln!(text, "{line}");
            line = format!("{INDENT}        ");
        }
        line.push(' ');
        line.push_str(word);
        is_empty = false;
    }
    let _ = writeln!(text, "{line}");
}
