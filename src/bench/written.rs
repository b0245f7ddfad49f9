//! The files that the results of runs are written to.
//!
//! All are tried before the first run. What a run that fails has left empty is removed again, and two results never go
//! into the same file.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::Args;

use super::flags::wrong;
use super::hlog::Log;
use super::result::RunResult;
use super::{csv, file, hgrm, hlog, html};
use crate::startup::StartError;

/// What the files of the other server, of `--vs`, have in their names.
pub(super) const OTHER_SIDE: &str = "vs";

/// The flags about files.
#[derive(Args, Clone, Debug, Default)]
pub struct Files {
    /// Write all runs here, for `bench compare` and for programs; those of --vs beside it, as FILE with .vs in its name
    #[arg(long, help_heading = "Files", value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Write a report with plots here, one page; as all files below a file for each run, the second with .2 in its name
    #[arg(long, help_heading = "Files", value_name = "FILE")]
    pub html: Option<PathBuf>,

    /// Write a line for each second here
    #[arg(long, help_heading = "Files", value_name = "FILE")]
    pub csv: Option<PathBuf>,

    /// Write the response times here, as HdrHistogram's plotter reads them
    #[arg(long, help_heading = "Files", value_name = "FILE")]
    pub hgrm: Option<PathBuf>,

    /// Write the histograms of each second here, as HistogramLogProcessor reads them
    #[arg(long, help_heading = "Files", value_name = "FILE")]
    pub hlog: Option<PathBuf>,
}

/// A file, or standard output, that cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {what}: {problem}")]
pub struct WriteError {
    what: String,
    problem: String,
}

impl WriteError {
    fn new(path: &Path, problem: impl ToString) -> WriteError {
        WriteError { what: path.display().to_string(), problem: problem.to_string() }
    }
}

/// Files that were made to see whether they can be. Those that are still empty in the end go again.
#[derive(Debug, Default)]
pub struct Tried(Vec<PathBuf>);

impl Drop for Tried {
    fn drop(&mut self) {
        for path in &self.0 {
            if fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() == 0) {
                let _ = fs::remove_file(path);
            }
        }
    }
}

impl Files {
    fn given(&self) -> impl Iterator<Item = (&'static str, &PathBuf)> {
        let all = [
            ("json", &self.json),
            ("html", &self.html),
            ("csv", &self.csv),
            ("hgrm", &self.hgrm),
            ("hlog", &self.hlog),
        ];
        all.into_iter().filter_map(|(flag, path)| Some((flag, path.as_ref()?)))
    }

    /// That no two results go into the same file, by whatever name.
    ///
    /// # Errors
    /// Where they would.
    pub fn check_distinct(&self, repeat: u32, has_other_side: bool) -> Result<(), StartError> {
        let mut taken: HashMap<PathBuf, &'static str> = HashMap::new();
        for side in [None, Some(OTHER_SIDE)].into_iter().take(1 + usize::from(has_other_side)) {
            for (flag, path) in self.given() {
                // One file has all runs of a side.
                let repeat = if flag == "json" { 1 } else { repeat };
                for repetition in 0..repeat {
                    let Some(resolved) = resolved(&named(path, side, repetition)) else { continue };
                    if let Some(other) = taken.insert(resolved.clone(), flag) {
                        let problem = format!("and --{other} would both write {}", resolved.display());
                        return Err(wrong(flag, &problem, "Give each a file of its own"));
                    }
                }
            }
        }
        Ok(())
    }

    /// Better now than after the run: whether the files can be written.
    ///
    /// # Errors
    /// Where one cannot.
    pub fn try_all(&self) -> Result<Tried, WriteError> {
        let mut tried = Tried::default();
        for (_, path) in self.given() {
            match File::create_new(path) {
                Ok(_) => tried.0.push(path.clone()),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    // A link to nowhere is made where it leads to.
                    let was_there = path.exists();
                    File::options()
                        .append(true)
                        .create(true)
                        .open(path)
                        .map_err(|error| WriteError::new(path, error))?;
                    if !was_there {
                        tried.0.extend(fs::canonicalize(path).ok());
                    }
                }
                Err(error) => return Err(WriteError::new(path, error)),
            }
        }
        Ok(tried)
    }

    /// All runs of a side, if there are any and they are wanted. Answers where they are.
    ///
    /// # Errors
    /// Where they cannot be written.
    pub fn write_runs(&self, results: &[RunResult], side: Option<&str>) -> Result<Option<PathBuf>, WriteError> {
        let Some(path) = self.json.as_ref().filter(|_| !results.is_empty()) else { return Ok(None) };
        let path = named(path, side, 0);
        file::write(&path, |out| file::write_json(results, out)).map_err(|error| WriteError::new(&path, error))?;
        Ok(Some(path))
    }

    /// What is wanted of one run.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write_run(&self, result: &RunResult, side: Option<&str>, repetition: u32) -> Result<(), WriteError> {
        let named = |path: &PathBuf| named(path, side, repetition);
        if let Some(path) = self.html.as_ref().map(named) {
            write(&path, html::html(result).map_err(|problem| WriteError::new(&path, problem))?)?;
        }
        if let Some(path) = self.csv.as_ref().map(named) {
            write(&path, csv::per_second(result).map_err(|problem| WriteError::new(&path, problem))?)?;
        }
        if let Some(path) = self.hgrm.as_ref().map(named) {
            write(&path, hgrm::hgrm(&result.latency.response))?;
        }
        if let Some(path) = self.hlog.as_ref().map(named) {
            file::write(&path, |out| hlog::write_run(result, out)).map_err(|error| WriteError::new(&path, error))?;
        }
        Ok(())
    }
}

/// Print to standard output, all of it.
///
/// # Errors
/// Where it is full, or nobody reads it any more.
pub fn print(text: &str) -> Result<(), WriteError> {
    let mut out = io::stdout().lock();
    let printed = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    printed.map_err(|error| WriteError { what: "to standard output".to_owned(), problem: error.to_string() })
}

/// A line on standard error. What is said there is lost where nobody takes it: a closed pipe must not end a run.
pub fn say(line: &str) {
    say_raw(&format!("{line}\n"));
}

/// The same without an end of line.
pub fn say_raw(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Write a log.
///
/// # Errors
/// Where it cannot be written.
pub fn write_log(path: &Path, log: &Log) -> Result<(), WriteError> {
    file::write(path, |out| log.write(out)).map_err(|error| WriteError::new(path, error))
}

fn write(path: &Path, text: String) -> Result<(), WriteError> {
    fs::write(path, text).map_err(|error| WriteError::new(path, error))
}

/// Whether two paths lead to one file that is there.
pub fn is_same_file(a: &Path, b: &Path) -> bool {
    let identity =
        |path: &Path| fs::metadata(path).ok().map(|metadata| (metadata.is_file(), metadata.dev(), metadata.ino()));
    identity(a).is_some_and(|a| a.0 && identity(b) == Some(a))
}

/// `out.json` for the first run of the first server; `out.vs.2.json` for the second of the other one.
fn named(path: &Path, side: Option<&str>, repetition: u32) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    if let Some(side) = side {
        name.push(format!(".{side}"));
    }
    if repetition > 0 {
        name.push(format!(".{}", repetition + 1));
    }
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

/// The one name that a file has among all; none of what is no file, such as `/dev/null`.
fn resolved(path: &Path) -> Option<PathBuf> {
    if let Ok(found) = fs::canonicalize(path) {
        return found.is_file().then_some(found);
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Some(fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned()).join(path.file_name()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_run_has_a_file_of_its_own() {
        let name = |side, repetition| named(Path::new("/x/out.json"), side, repetition).display().to_string();
        assert_eq!(name(None, 0), "/x/out.json");
        assert_eq!(name(None, 1), "/x/out.2.json");
        assert_eq!(name(Some("vs"), 0), "/x/out.vs.json");
        assert_eq!(name(Some("vs"), 2), "/x/out.vs.3.json");
        assert_eq!(named(Path::new("out"), None, 1), Path::new("out.2"));
    }

    #[test]
    fn two_results_never_go_into_one_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| Some(directory.path().join(name));
        std::os::unix::fs::symlink(path("a").unwrap(), path("link").unwrap()).unwrap();
        fs::write(path("a").unwrap(), "").unwrap();
        let refused = |json: &str, html: &str, repeat, has_other_side| {
            let files = Files { json: path(json), html: path(html), ..Files::default() };
            files.check_distinct(repeat, has_other_side).is_err()
        };
        assert!(refused("x", "x", 1, false) && refused("x", "./x", 1, false) && refused("a", "link", 1, false));
        assert!(refused("x.2.y", "x.y", 2, false) && !refused("x.2.y", "x.y", 1, false));
        assert!(refused("x.vs.y", "x.y", 1, true) && !refused("x.vs.y", "x.y", 1, false));
        assert!(!refused("x", "y", 1_000, true));
        let nothing = Some(PathBuf::from("/dev/null"));
        let files = Files { json: nothing.clone(), html: nothing, ..Files::default() };
        assert!(files.check_distinct(1, false).is_ok());
    }

    #[test]
    fn what_is_still_empty_is_removed_and_what_was_there_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("old"), "").unwrap();
        let files = Files {
            json: Some(path("written")),
            html: Some(path("empty")),
            csv: Some(path("old")),
            ..Files::default()
        };
        let tried = files.try_all().unwrap();
        assert!(path("empty").exists());
        fs::write(path("written"), "{}").unwrap();
        drop(tried);
        assert_eq!(["written", "empty", "old"].map(|name| path(name).exists()), [true, false, true]);
        let files = Files { json: Some(path("none/x")), ..Files::default() };
        assert!(files.try_all().unwrap_err().to_string().starts_with("cannot write"));
    }
}
