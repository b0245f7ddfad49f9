//! The scripts of `tuning/` against trees of plain files that look like `/sys` and `/proc`, killed wherever they can be.
//!
//! Invariant that all of it is about: whatever happens in between, `revert` leaves every byte as it was before the
//! first `apply`. The last test runs one script against the kernel's own files, in a network namespace.

mod files;
mod tree;

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use tree::{Tree, text};

/// Every group of settings.
const GROUPS: [&str; 5] = ["network", "limits", "memory", "cpu", "irq"];

/// More steps than any script takes in the tree.
const STEP_COUNT_MAX: usize = 500;

fn script(group: &str) -> String {
    format!("{}/tuning/{group}.sh", env!("CARGO_MANIFEST_DIR"))
}

fn command(group: &str, action: &str, tree: &Tree) -> Command {
    let mut command = Command::new(script(group));
    command.arg(action).env("TALLYRING_TUNING_ROOT", tree.root()).stdin(Stdio::null());
    command
}

/// Run to the end, which must be well.
#[track_caller]
fn run(group: &str, action: &str, tree: &Tree) -> String {
    let output = command(group, action, tree).output().expect("it runs");
    assert_eq!(output.status.code(), Some(0), "{group} {action}: {}", text(&output));
    text(&output)
}

/// Run until the `step`-th step, where the script is killed. False when it has fewer steps.
fn run_killed(group: &str, action: &str, tree: &Tree, step: usize) -> bool {
    let mut command = command(group, action, tree);
    let output = command.env("TALLYRING_TUNING_KILL_AT", step.to_string()).output().expect("it runs");
    match output.status.signal() {
        Some(9) => true,
        _ => {
            assert_eq!(output.status.code(), Some(0), "{group} {action}: {}", text(&output));
            false
        }
    }
}

/// What the tree is after a whole apply.
fn applied(group: &str) -> Tree {
    let tree = Tree::new();
    run(group, "apply", &tree);
    tree
}

#[test]
fn check_and_diff_touch_nothing_and_say_what_differs() {
    for group in GROUPS {
        let tree = Tree::new();
        let before = tree.stamps();
        for action in ["check", "diff"] {
            let output = command(group, action, &tree).output().expect("it runs");
            assert_eq!(output.status.code(), Some(1), "{group} {action}: {}", text(&output));
        }
        assert_eq!(tree.stamps(), before, "{group}");
    }
    let output = command("memory", "diff", &Tree::new()).output().expect("it runs");
    assert_eq!(
        text(&output),
        "/sys/kernel/mm/transparent_hugepage/enabled: always -> madvise\n\
         /proc/sys/vm/swappiness: 60 -> 1\n\
         /proc/sys/kernel/numa_balancing: 1 -> 0\n"
    );
}

#[test]
fn apply_writes_the_targets_and_a_second_apply_nothing() {
    for group in GROUPS {
        let tree = applied(group);
        let before = tree.stamps();
        assert_eq!(run(group, "apply", &tree), "", "{group}");
        assert_eq!(tree.stamps(), before, "{group}");
        run(group, "check", &tree);
        assert_eq!(run(group, "diff", &tree), "", "{group}");
    }
    for (group, path, now) in [
        ("network", "proc/sys/net/core/somaxconn", "4096\n"),
        // More than was asked for stays.
        ("network", "proc/sys/net/ipv4/tcp_max_syn_backlog", "65536"),
        ("limits", "proc/sys/kernel/io_uring_disabled", "0\n"),
        ("memory", "sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n"),
        ("cpu", "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "performance\n"),
        ("cpu", "sys/devices/system/cpu/cpu0/cpuidle/state1/disable", "0\n"),
        ("cpu", "sys/devices/system/cpu/cpu0/cpuidle/state2/disable", "1\n"),
        ("irq", "proc/irq/30/smp_affinity_list", "0\n"),
        ("irq", "proc/irq/31/smp_affinity_list", "1\n"),
        ("irq", "proc/irq/32/smp_affinity_list", "0-1\n"),
        ("irq", "sys/class/net/eth0/queues/rx-0/rps_cpus", "3\n"),
        ("irq", "sys/class/net/eth0/queues/tx-0/xps_cpus", "1\n"),
        ("irq", "sys/class/net/eth0/queues/tx-1/xps_cpus", "2\n"),
        ("irq", "sys/class/net/lo/queues/rx-0/rps_cpus", "0\n"),
    ] {
        assert_eq!(applied(group).read(path), now, "{path} after {group}");
    }
}

#[test]
fn options_choose_cores_and_interfaces() {
    let tree = Tree::new();
    let output = command("irq", "apply", &tree).args(["--cores", "1", "--nics", "lo,eth0"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(tree.read("proc/irq/30/smp_affinity_list"), "1\n");
    assert_eq!(tree.read("sys/class/net/eth0/queues/rx-0/rps_cpus"), "00000000,00000000\n", "one core has its queue");
    run("irq", "revert", &tree);
    assert_eq!(tree.bytes(), Tree::new().bytes());
}

#[test]
fn revert_restores_every_byte() {
    for group in GROUPS {
        let tree = applied(group);
        assert_ne!(tree.bytes(), Tree::new().bytes(), "{group}");
        run(group, "revert", &tree);
        assert_eq!(tree.bytes(), Tree::new().bytes(), "{group}");
        assert_eq!(run(group, "revert", &tree), "nothing to revert\n", "{group}");
    }
    // What others changed since the first apply is not what revert goes back to.
    let tree = applied("network");
    tree.write("proc/sys/net/core/somaxconn", "7\n");
    run("network", "apply", &tree);
    run("network", "revert", &tree);
    assert_eq!(tree.bytes(), Tree::new().bytes());
}

#[test]
fn the_groups_journals_do_not_meet() {
    let tree = Tree::new();
    GROUPS.iter().for_each(|group| drop(run(group, "apply", &tree)));
    GROUPS.iter().for_each(|group| drop(run(group, "revert", &tree)));
    assert_eq!(tree.bytes(), Tree::new().bytes());
}

/// Kill `apply` at its n-th step, for every n: `then` is called with what that left.
fn kill_apply_at_each_step(group: &str, then: impl Fn(&Tree)) {
    let steps = (1..STEP_COUNT_MAX).take_while(|step| {
        let tree = Tree::new();
        let killed = run_killed(group, "apply", &tree, *step);
        if killed {
            then(&tree);
        }
        killed
    });
    let count = steps.count();
    assert!((5..STEP_COUNT_MAX - 1).contains(&count), "{group} was killed at {count} steps");
}

#[test]
fn revert_restores_every_byte_after_a_kill_at_any_step() {
    let original = Tree::new().bytes();
    for group in GROUPS {
        kill_apply_at_each_step(group, |tree| {
            // The write under way may have left nothing of the file: those with a journal entry.
            tree.empty_what_is_journalled(group);
            run(group, "revert", tree);
            assert_eq!(tree.bytes(), original, "{group}");
        });
    }
}

#[test]
fn apply_completes_what_a_kill_cut_short() {
    let original = Tree::new().bytes();
    let whole = applied("memory").settings();
    kill_apply_at_each_step("memory", |tree| {
        run("memory", "apply", tree);
        assert_eq!(tree.settings(), whole);
        run("memory", "revert", tree);
        assert_eq!(tree.bytes(), original);
    });
}

#[test]
fn revert_completes_what_a_kill_of_revert_cut_short() {
    let original = Tree::new().bytes();
    for group in GROUPS {
        let whole = applied(group).bytes();
        let steps = (1..STEP_COUNT_MAX).take_while(|step| {
            let tree = Tree::of(&whole);
            let killed = run_killed(group, "revert", &tree, *step);
            run(group, "revert", &tree);
            assert_eq!(tree.bytes(), original, "{group} killed at step {step}");
            killed
        });
        assert!(steps.count() > 3, "{group}");
    }
}

#[test]
fn a_kill_from_outside_at_any_time_is_no_different() {
    let original = Tree::new().bytes();
    for delay_ms in [0, 5, 10, 15, 20, 30, 40, 60] {
        let tree = Tree::new();
        let mut child = command("irq", "apply", &tree).stdout(Stdio::null()).spawn().expect("it runs");
        std::thread::sleep(Duration::from_millis(delay_ms));
        let _ = child.kill();
        child.wait().expect("it ended");
        run("irq", "revert", &tree);
        assert_eq!(tree.bytes(), original, "killed after {delay_ms} ms");
    }
}

#[test]
fn what_is_not_there_is_said_and_left_alone() {
    for group in GROUPS {
        let empty = Tree::empty();
        let output = command(group, "check", &empty).output().expect("it runs");
        match group {
            "cpu" | "irq" => {
                assert_eq!(output.status.code(), Some(1), "{}", text(&output));
                assert!(text(&output).contains("--cores"), "{}", text(&output));
            }
            _ => {
                assert_eq!(output.status.code(), Some(0), "{}", text(&output));
                assert!(text(&output).starts_with("unknown  /"), "{}", text(&output));
                run(group, "apply", &empty);
            }
        }
        assert!(empty.bytes().is_empty(), "{group}");
    }
}

#[test]
fn a_setting_that_cannot_be_written_is_said_and_the_others_are_restored() {
    let tree = Tree::new();
    // The kernel's own file, which nobody can write.
    tree.link("proc/sys/fs/nr_open", "/proc/self/oom_score");
    let output = command("limits", "apply", &tree).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("limits: cannot write 1048576 to /proc/sys/fs/nr_open: "), "{}", text(&output));
    assert_eq!(tree.read("proc/sys/kernel/io_uring_disabled"), "0\n");
    let _ = command("limits", "revert", &tree).output().expect("it runs");
    assert_eq!(tree.read("proc/sys/kernel/io_uring_disabled"), "2\n");
}

#[test]
fn wrong_usage_ends_with_2_and_help_with_0() {
    for (arguments, said) in [
        (&[][..], "say what to do"),
        (&["frobnicate"], "unknown action: frobnicate"),
        (&["check", "--frob", "1"], "unknown option: --frob"),
        (&["check", "--cores"], "--cores needs a value"),
        (&["check", "--cores", "0-"], "not a list of cores: 0-"),
        (&["check", "--cores", "$(id)"], "not a list of cores"),
    ] {
        for group in GROUPS {
            let output = Command::new(script(group)).args(arguments).output().expect("it runs");
            assert_eq!(output.status.code(), Some(2), "{}", text(&output));
            assert!(text(&output).contains(said), "{}", text(&output));
        }
    }
    for group in GROUPS {
        let output = Command::new(script(group)).arg("--help").output().expect("it runs");
        assert_eq!(output.status.code(), Some(0));
        assert!(text(&output).contains("check|diff|apply|revert"), "{}", text(&output));
    }
}

#[test]
fn the_kernels_own_files_take_it_too() {
    // A network namespace has sysctls of its own; /run is made private, so that the machine's journal is not met.
    let lines = "set -e
        mount -t tmpfs tmpfs /run
        cd /proc/sys/net/core
        echo 77 >somaxconn
        \"$0\" apply
        \"$0\" check
        \"$0\" revert
        [ \"$(cat somaxconn)\" = 77 ]
        [ ! -e /run/tallyring-tuning ]";
    let unshared = |program: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--net", "--mount"]).args(program);
        command.output()
    };
    if !unshared(&["true"]).is_ok_and(|output| output.status.success()) {
        eprintln!("left out: this machine lets nobody have a network namespace");
        return;
    }
    let output = unshared(&["sh", "-c", lines, &script("network")]).expect("it runs");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("/proc/sys/net/core/somaxconn: 77 -> 4096"), "{}", text(&output));
}

#[test]
fn shellcheck_has_nothing_to_say() {
    let files = ["lib", "network", "limits", "memory", "cpu", "irq"].map(script);
    match Command::new("shellcheck").args(["--external-sources"]).args(&files).output() {
        Ok(output) => assert!(output.status.success(), "{}", text(&output)),
        Err(_) => assert!(
            std::env::var_os("TALLYRING_REQUIRE_PEERS").is_none_or(|value| value != "1"),
            "shellcheck is not installed, and TALLYRING_REQUIRE_PEERS=1"
        ),
    }
}
