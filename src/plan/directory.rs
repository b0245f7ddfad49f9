//! The directory that a plan writes into. An earlier plan's files are removed from it, and nobody else's: they are known by
//! the `plan.json` beside them, and where there is none of a plan nothing is touched.

use std::fs;
use std::io;
use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;

/// What a plan writes beside its trials' logs.
pub const JSON: &str = "plan.json";
pub const PAGE: &str = "report.html";

/// What every version's `plan.json` has.
#[derive(Deserialize)]
#[allow(dead_code, reason = "it is asked only whether they are there")]
struct AnyPlan {
    format: u32,
    version: String,
    command_line: Vec<String>,
    goals: IgnoredAny,
    steps: Vec<IgnoredAny>,
}

/// Make the directory, and remove what an earlier plan has left in it: its logs would be taken for this one's.
///
/// # Errors
/// In words, with the remedy: where it cannot be made, or has files of these names that are no plan's.
pub fn prepare(directory: &Path) -> Result<(), String> {
    let shown = directory.display();
    fs::create_dir_all(directory).map_err(|error| format!("cannot make {shown}: {error}. Choose another --output"))?;
    let cannot = |error: io::Error| format!("cannot remove an earlier plan from {shown}: {error}");
    let mut names = earlier(directory).map_err(cannot)?;
    let Some(first) = names.first() else { return Ok(()) };
    if !is_plan(&directory.join(JSON)) {
        return Err(format!(
            "{shown} has a {first} that would be lost, and no {JSON} that says it is an earlier plan's. Choose another \
             --output, or move it away"
        ));
    }
    // What it is known by goes last.
    names.sort_by_key(|name| name == JSON);
    names.iter().try_for_each(|name| fs::remove_file(directory.join(name))).map_err(cannot)
}

/// The files in a directory that have the names of a plan's.
fn earlier(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        names.extend(name.to_str().filter(|name| [JSON, PAGE].contains(name) || is_log(name)).map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

/// `trial-07-confirm.hlog`.
fn is_log(name: &str) -> bool {
    let parts = name.strip_prefix("trial-").and_then(|rest| rest.strip_suffix(".hlog")?.split_once('-'));
    parts.is_some_and(|(number, phase)| {
        let all = |text: &str, is: fn(&u8) -> bool| !text.is_empty() && text.as_bytes().iter().all(is);
        all(number, u8::is_ascii_digit) && all(phase, u8::is_ascii_lowercase)
    })
}

fn is_plan(path: &Path) -> bool {
    fs::read(path).is_ok_and(|text| serde_json::from_slice::<AnyPlan>(&text).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(names: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        names.iter().for_each(|(name, text)| fs::write(directory.path().join(name), text).unwrap());
        directory
    }

    fn left(directory: &tempfile::TempDir) -> Vec<String> {
        let left = fs::read_dir(directory.path()).unwrap();
        let mut left: Vec<String> = left.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        left.sort();
        left
    }

    const PLAN: &str = r#"{"format": 1, "version": "0.1.0", "command_line": [], "goals": [], "steps": [{}], "x": 0}"#;

    #[test]
    fn only_an_earlier_plan_s_own_files_are_removed() {
        let directory = with(&[
            ("trial-01-climb.hlog", "x"),
            (JSON, PLAN),
            (PAGE, "x"),
            ("mine.hlog", "x"),
            ("trial-notes.txt", "x"),
            ("trial-of-mine.hlog", "x"),
        ]);
        prepare(directory.path()).unwrap();
        assert_eq!(left(&directory), ["mine.hlog", "trial-notes.txt", "trial-of-mine.hlog"]);
        // What is not there yet is made, and what is no plan's is no matter.
        prepare(directory.path()).unwrap();
        prepare(&directory.path().join("a/b")).unwrap();
        assert!(directory.path().join("a/b").is_dir());
    }

    #[test]
    fn files_that_are_no_plans_are_left_alone_and_named() {
        for names in [
            &[(PAGE, "x")][..],
            &[("trial-01-climb.hlog", "x")],
            &[(JSON, "{\"format\": 1, \"runs\": []}"), (PAGE, "x")],
            &[(JSON, "no json")],
        ] {
            let directory = with(names);
            let error = prepare(directory.path()).unwrap_err();
            assert!(error.contains(names[0].0) && error.contains("Choose another --output"), "{error}");
            assert_eq!(left(&directory).len(), names.len());
        }
        assert!(prepare(Path::new("/dev/null/x")).unwrap_err().starts_with("cannot make /dev/null/x"));
    }
}
