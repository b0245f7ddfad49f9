//! How the binary ends when it does not serve: exit code, and what it says on which stream.

use std::process::{Command, Output};

fn tallyring(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tallyring")).args(arguments).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn help_and_version_end_well() {
    let help = tallyring(&["serve", "--help"]);
    let text = String::from_utf8(help.stdout).unwrap();
    assert_eq!(help.status.code(), Some(0));
    for heading in ["Network:", "Threads:", "Memory:", "Security:", "Clients:", "Logging:", "Examples:"] {
        assert!(text.contains(heading), "{heading} is missing in {text}");
    }
    let version = tallyring(&["--version"]);
    assert_eq!(version.status.code(), Some(0));
    assert_eq!(String::from_utf8(version.stdout).unwrap(), format!("tallyring {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_usage_ends_with_2_and_says_what_is_wrong() {
    for (arguments, said) in [
        (&[][..], "Usage: tallyring"),
        (&["serves"], "serve"),
        (&["serve", "--prot", "1"], "--port"),
        (&["serve", "--port", "70000"], "'--port <PORT>'"),
        (&["serve", "--maxmemory", "1x"], "\"1x\" is neither \"auto\" nor a size"),
        (&["serve", "--buffers", "1"], "tallyring: --buffers 1 is out of range. Choose from 16 to 1024\n"),
        (&["serve", "--config", "/nonexistent"], "tallyring: cannot read the configuration file /nonexistent"),
    ] {
        let output = tallyring(arguments);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(said), "{text}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn an_unknown_key_is_named_with_its_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tallyring.toml");
    std::fs::write(&path, "port = 7000\nprot = 1\n").unwrap();
    let output = tallyring(&["serve", "--config", path.to_str().unwrap()]);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(2));
    assert!(text.contains("tallyring.toml:2: unknown key `prot`"), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
}

#[test]
fn the_doctor_tells_by_text_json_and_exit_code() {
    let here = tallyring(&["doctor", "--json", "--skip", "virtual-machine,swap"]);
    assert!(matches!(here.status.code(), Some(0 | 3 | 4)), "{}", stderr(&here));
    let findings: serde_json::Value = serde_json::from_slice(&here.stdout).unwrap();
    let named = |name: &str| findings.as_array().unwrap().iter().any(|finding| finding["name"] == name);
    assert!(named("memlock") && !named("swap"));

    let nowhere = tempfile::tempdir().unwrap();
    let nowhere = tallyring(&["doctor", "--root", nowhere.path().to_str().unwrap(), "--bind", "0.0.0.0"]);
    let text = String::from_utf8(nowhere.stdout).unwrap();
    assert_eq!(nowhere.status.code(), Some(0), "{text}");
    assert!(text.contains("\n0 must, 0 should, "), "{text}");
    assert!(text.ends_with(" unknown, 0 ok\n"), "{text}");

    for (arguments, said) in [
        (
            &["doctor", "--skip", "nosuch"][..],
            "tallyring: --skip names \"nosuch\", which is no check. Choose from kernel, ",
        ),
        (&["doctor", "--pid", "4194305"], "tallyring: --pid 4194305 is no process here. "),
        (&["doctor", "--buffers", "1"], "tallyring: --buffers 1 is out of range"),
        (&["doctor", "--config", "/nonexistent"], "tallyring: cannot read the configuration file /nonexistent"),
    ] {
        let output = tallyring(arguments);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).starts_with(said), "{}", stderr(&output));
    }
}
