//! What is made from the command line's own description: shell completions, manual pages, and the reference of the
//! configuration (`docs/configuration.md`).
//!
//! Invariant: nothing here says anything about a flag that its `--help` does not.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::cli::Cli;
use crate::startup::StartError;

/// Print the completions of a shell to standard output.
///
/// # Errors
/// It cannot be written to.
pub fn print_completions(shell: Shell) -> Result<(), StartError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "tallyring", &mut script);
    io::stdout().write_all(&script).map_err(|error| StartError::Other {
        doing: "print the completions",
        error,
        remedy: "Send them to a file that can be written",
    })
}

/// Write `tallyring.1` and a page for each subcommand, `tallyring-serve.1` and so on, into a directory that is there.
///
/// # Errors
/// It cannot be written to.
pub fn write_manual(directory: &Path) -> Result<(), StartError> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    write_pages(command, directory).map_err(|error| StartError::Stopped {
        problem: format!("cannot write manual pages into {}: {error}", directory.display()),
        remedy: "Name a directory that is there and that this user may write",
    })
}

/// The page of a command, and those of its subcommands. Each says whose it is, and of which version.
fn write_pages(command: clap::Command, directory: &Path) -> io::Result<()> {
    for subcommand in command.get_subcommands() {
        write_pages(subcommand.clone(), directory)?;
    }
    let source = concat!("tallyring ", env!("CARGO_PKG_VERSION"));
    Man::new(command).source(source).generate_to(directory).map(|_| ())
}

/// The reference of all that can be configured: `docs/configuration.md`.
pub fn configuration() -> String {
    let mut text = String::from(
        "# Configuration\n\nMade from the flags of `tallyring serve`. Each is also a key of the file that `--config FILE` names, without the \
         dashes in front: `--maxmemory 4gb` is `maxmemory = \"4gb\"`. A flag wins over the file. \
         [`tallyring.toml`](../tallyring.toml) has all keys with their defaults, ready to be changed.\n\n\
         Sizes are bytes, or such as `100mb` and `4gb` (`1kb` is 1,024 bytes, `1k` is 1,000). `CONFIG GET` shows what is in force \
         (`log-level` as `loglevel`), and `CONFIG SET` changes those that can change while the server runs: `maxclients` (lower), `maxmemory`, `timeout`, \
         `request-timeout`, `reply-timeout`, `auth-timeout`, `tcp-keepalive`, `requirepass`, `slowlog-log-slower-than`, \
         `slowlog-max-len`, `latency-monitor-threshold`, `appendonly`, `appendfsync`, `auto-aof-rewrite-percentage` and \
         `auto-aof-rewrite-min-size`.\n",
    );
    let command = Cli::command();
    let serve = command.find_subcommand("serve").expect("it serves");
    let mut heading = None;
    for argument in serve.get_arguments() {
        let Some(flag) = argument.get_long() else { continue };
        // What takes no value says what to do, not how.
        let Some(own_heading) = argument.get_help_heading().filter(|_| argument.get_action().takes_values()) else {
            continue;
        };
        if heading != Some(own_heading) {
            heading = Some(own_heading);
            let _ = write!(text, "\n## {own_heading}\n\n");
        }
        let names = argument.get_value_names().unwrap_or_default();
        let value = names.iter().fold(String::new(), |all, name| format!("{all} {name}"));
        let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        let (help, default) = match help.split_once(" [default: ") {
            Some((help, default)) => (help.to_owned(), format!(" Default: `{}`.", default.trim_end_matches(']'))),
            None => (help, String::new()),
        };
        let _ = writeln!(text, "- `--{flag}{value}`: {help}.{default}");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_reference_of_the_configuration_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
        let text = configuration();
        assert!(text.contains("- `--maxclients COUNT`: Clients at once. Default: `10000`.\n"), "{text}");
        assert!(!text.contains("memory-plan"), "that is no key");
        if std::env::var_os("TALLYRING_BLESS").is_some() {
            fs::write(path, &text).unwrap();
        }
        assert!(
            fs::read_to_string(path).unwrap_or_default() == text,
            "docs/configuration.md is not what the flags say; TALLYRING_BLESS=1 cargo test writes it anew"
        );
    }

    #[test]
    fn every_subcommand_has_a_manual_page() {
        let directory = tempfile::tempdir().unwrap();
        write_manual(directory.path()).unwrap();
        let mut names: Vec<String> = fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort_unstable();
        fn pages(command: &clap::Command, name: &str, names: &mut Vec<String>) {
            names.push(format!("{name}.1"));
            for subcommand in command.get_subcommands() {
                pages(subcommand, &format!("{name}-{}", subcommand.get_name()), names);
            }
        }
        let mut expected = Vec::new();
        pages(&Cli::command(), "tallyring", &mut expected);
        expected.sort_unstable();
        assert_eq!(names, expected);
        let serve = fs::read_to_string(directory.path().join("tallyring-serve.1")).unwrap();
        assert!(serve.contains("\\-\\-maxmemory") && serve.starts_with(".ie"), "{serve}");
        let source = concat!("\"tallyring ", env!("CARGO_PKG_VERSION"), "\"");
        assert!(serve.lines().any(|line| line.starts_with(".TH") && line.contains(source)), "{serve}");
        let error = write_manual(&directory.path().join("missing")).unwrap_err().to_string();
        assert!(error.contains("missing: No such file") && error.ends_with("may write"), "{error}");
    }
}
