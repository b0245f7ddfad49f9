//! What `tuning/` has beside scripts: the seccomp profile, the sysctl drop-in, the units.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

fn path(name: &str) -> String {
    format!("{}/tuning/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn the_seccomp_profile_allows_io_uring_and_each_call_once() {
    let profile: Value = serde_json::from_str(&read("container/seccomp.json")).expect("it is JSON");
    assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
    let groups = profile["syscalls"].as_array().expect("groups");
    assert!(groups.iter().all(|group| group["action"] == "SCMP_ACT_ALLOW" && group["comment"].is_string()));
    let names: Vec<&str> =
        groups.iter().flat_map(|group| group["names"].as_array().expect("names")).filter_map(Value::as_str).collect();
    let distinct: BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!(distinct.len(), names.len(), "no name stands twice");
    for needed in ["io_uring_setup", "io_uring_enter", "io_uring_register", "execve", "accept4", "exit_group"] {
        assert!(distinct.contains(needed), "{needed}");
    }
    // What a server never needs, and what escapes from containers are made of.
    for dangerous in ["ptrace", "mount", "bpf", "kexec_load", "init_module", "unshare", "setns", "process_vm_writev"] {
        assert!(!distinct.contains(dangerous), "{dangerous}");
    }
}

/// Killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_server_runs_under_the_seccomp_profile() {
    // The system's own Python, which the distribution's binding belongs to.
    let python = "/usr/bin/python3";
    let has_binding = Command::new(python).args(["-c", "import seccomp"]).stderr(Stdio::null()).status();
    if !has_binding.is_ok_and(|status| status.success()) {
        let required = std::env::var_os("TALLYRING_REQUIRE_PEERS").is_some_and(|value| value == "1");
        assert!(!required, "python3-seccomp is not installed, and TALLYRING_REQUIRE_PEERS=1");
        eprintln!("left out: python3-seccomp is not installed");
        return;
    }
    let mut command = Command::new(python);
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tuning/under_seccomp.py"));
    command.arg(path("container/seccomp.json")).arg(env!("CARGO_BIN_EXE_tallyring"));
    command.args(["serve", "--port", "0", "--threads", "2", "--pin", "none"]);
    let mut server = Running(command.stderr(Stdio::piped()).spawn().expect("it starts"));
    let log = BufReader::new(server.0.stderr.take().expect("piped"));
    let mut lines = log.lines().map_while(Result::ok);
    let mut seen = Vec::new();
    let address = lines.find_map(|line| {
        seen.push(line.clone());
        Some(line.split_once("listening on ")?.1.to_owned())
    });
    let address = address.unwrap_or_else(|| panic!("it does not listen:\n{}", seen.join("\n")));
    let mut client = TcpStream::connect(address).expect("it listens");
    client.set_read_timeout(Some(std::time::Duration::from_secs(30))).expect("a time limit");
    client.write_all(b"INCR a\r\nINCR a\r\nINFO everything\r\nSHUTDOWN\r\n").expect("it receives");
    let mut replies = Vec::new();
    let _ = client.read_to_end(&mut replies);
    let replies = String::from_utf8_lossy(&replies);
    assert!(replies.starts_with(":1\r\n:2\r\n$") && replies.contains("tallyring_version:"), "{replies}");
    assert_eq!(server.0.wait().expect("it ends").code(), Some(0));
}

#[test]
fn the_sysctl_drop_in_and_the_scripts_have_the_same_targets() {
    let scripts = ["network", "limits", "memory"].map(|group| read(&format!("{group}.sh"))).concat();
    let mut targets: BTreeSet<(String, String)> = BTreeSet::new();
    for line in scripts.lines().filter_map(|line| line.trim().strip_prefix("want ")) {
        let mut words = line.split_whitespace().skip(1);
        let (path, target) = (words.next().expect("a path"), words.next().expect("a target"));
        if let Some(name) = path.strip_prefix("/proc/sys/") {
            targets.insert((name.replace('/', "."), target.to_owned()));
        }
    }
    let drop_in = read("sysctl.d/60-tallyring.conf");
    let lines = drop_in.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let written: BTreeSet<(String, String)> = lines
        .map(|line| {
            let (name, value) = line.split_once(" = ").expect("name = value");
            (name.trim_start_matches('-').to_owned(), value.to_owned())
        })
        .collect();
    // Systemd has a higher one by default, which a script leaves and a drop-in would lower.
    targets.retain(|(name, _)| name != "fs.nr_open");
    assert_eq!(written, targets);
}

#[test]
fn the_units_say_what_the_server_needs() {
    for unit in ["tallyring.service", "tallyring-tuning.service"] {
        for line in read(&format!("systemd/{unit}")).lines() {
            let is_sound = line.is_empty() || line.starts_with(['#', '[']) || line.contains('=');
            assert!(is_sound, "{unit}: {line}");
        }
    }
    let unit = read("systemd/tallyring.service");
    for line in ["Type=notify", "LimitMEMLOCK=infinity", "LimitNOFILE=1048576", "SystemCallFilter=@system-service"] {
        assert!(unit.lines().any(|other| other == line), "{line}");
    }
    // Every script that the unit for the start of the machine names is there.
    for line in read("systemd/tallyring-tuning.service").lines().filter(|line| line.starts_with("Exec")) {
        let script = line.split_once("/usr/lib/tallyring/tuning/").expect("where scripts are").1;
        assert!(std::path::Path::new(&path(script.split(' ').next().expect("a name"))).is_file(), "{line}");
    }
}
