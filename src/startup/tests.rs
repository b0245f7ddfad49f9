//! Messages, limits and the plan's arithmetic, on a machine that does not exist; and real sockets in a directory.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;

use proptest::prelude::*;

use super::*;
use crate::config::Options;
use crate::host::Limit;
use crate::limits::{LARGE_REPLY_BYTES_MAX, QUEUES_BYTES_MAX};
use crate::mesh::Batch;

fn host() -> Host {
    let unlimited = Limit { soft: None, hard: None };
    Host {
        cores: (0..4).collect(),
        machine_memory_bytes: 64 << 30,
        cgroup_memory_bytes: None,
        memlock: unlimited,
        may_lock_any: false,
        descriptors: unlimited,
        kernel_release: "6.1.0-18-amd64".to_owned(),
        io_uring_disabled: Some(0),
    }
}

fn with_memlock(bytes: u64) -> Host {
    Host { memlock: Limit { soft: Some(bytes), hard: Some(bytes) }, ..host() }
}

fn config(toml: &str) -> Config {
    Config::resolve(Options::parse(toml, Path::new("t")).unwrap(), &host()).unwrap()
}

fn ring_error(errno: Errno, host: &Host) -> String {
    classify_ring_error(errno.into(), host).to_string()
}

#[test]
fn ring_errors_name_what_is_in_the_way() {
    let disabled = Host { io_uring_disabled: Some(2), ..host() };
    assert_eq!(
        ring_error(Errno::PERM, &disabled),
        "io_uring is disabled on this machine (kernel.io_uring_disabled is 2). Enable it: sysctl kernel.io_uring_disabled=0"
    );
    let for_a_group = Host { io_uring_disabled: Some(1), ..host() };
    assert!(ring_error(Errno::PERM, &for_a_group).contains("io_uring_disabled is 1"));
    let before_the_sysctl = Host { io_uring_disabled: None, ..host() };
    for host in [host(), before_the_sysctl] {
        for errno in [Errno::PERM, Errno::ACCESS, Errno::NOSYS] {
            let text = ring_error(errno, &host);
            assert!(text.starts_with("io_uring is blocked (") && text.contains("seccomp"), "{text}");
        }
    }
    let old = Host { kernel_release: "5.15.0-91-generic".to_owned(), ..host() };
    for errno in [Errno::INVAL, Errno::NOSYS] {
        assert_eq!(
            ring_error(errno, &old),
            "the kernel is too old: this is 5.15.0-91-generic, Linux 6.0 or newer is needed. Upgrade the kernel"
        );
    }
    assert!(ring_error(Errno::PERM, &old).starts_with("io_uring is blocked"));
    assert!(ring_error(Errno::NOMEM, &host()).contains("RLIMIT_MEMLOCK"));
    assert!(ring_error(Errno::MFILE, &host()).starts_with("out of file descriptors"));
    assert!(ring_error(Errno::INVAL, &host()).starts_with("cannot set up io_uring: Invalid argument"));
    let unknown = classify_ring_error(io::Error::other("strange"), &host());
    assert!(unknown.to_string().starts_with("cannot set up io_uring: strange"));
}

#[test]
fn bind_errors_name_the_address_and_the_flag() {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 80));
    let said = |errno: Errno| classify_bind_error(errno.into(), address, "port").to_string();
    assert_eq!(
        said(Errno::ADDRINUSE),
        "127.0.0.1:80 is taken by another program. Stop that one, or choose another --port"
    );
    assert!(said(Errno::ACCESS).starts_with("this user may not listen on 127.0.0.1:80. Choose a --port of 1024"));
    assert!(said(Errno::ADDRNOTAVAIL).starts_with("this machine has no address 127.0.0.1. "));
    assert!(said(Errno::AFNOSUPPORT).starts_with("this machine has no address 127.0.0.1. "));
    assert!(said(Errno::MFILE).starts_with("out of file descriptors"));
    assert!(said(Errno::NOBUFS).starts_with("cannot listen on 127.0.0.1:80: "));
}

#[test]
fn a_port_that_is_really_taken_is_told_so() {
    let first = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = first.local_addr().unwrap();
    let error = classify_bind_error(TcpListener::bind(address).unwrap_err(), address, "metrics-port");
    assert!(matches!(error, StartError::PortTaken { .. }), "{error}");
    let elsewhere = SocketAddr::from(([192, 0, 2, 1], 0)); // TEST-NET-1 (RFC 5737)
    let error = classify_bind_error(TcpListener::bind(elsewhere).unwrap_err(), elsewhere, "metrics-port");
    assert!(matches!(error, StartError::AddressUnavailable { .. }), "{error}");
}

#[test]
fn only_a_socket_that_nobody_serves_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tallyring.sock");
    assert!(clear_unix_socket_path(&path).is_ok());

    let listener = UnixListener::bind(&path).unwrap();
    assert!(matches!(clear_unix_socket_path(&path), Err(StartError::UnixSocketTaken { .. })));
    assert!(path.exists());

    drop(listener);
    assert!(clear_unix_socket_path(&path).is_ok());
    assert!(!path.exists());

    std::fs::write(&path, "precious").unwrap();
    let text = clear_unix_socket_path(&path).unwrap_err().to_string();
    assert!(text.starts_with("cannot create the socket") && text.contains("File exists"), "{text}");
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");

    let nowhere = directory.path().join("missing/tallyring.sock");
    assert!(clear_unix_socket_path(&nowhere).is_ok());
    let error = classify_unix_socket_error(UnixListener::bind(&nowhere).unwrap_err(), &nowhere);
    assert!(error.to_string().contains("missing/tallyring.sock: No such file"), "{error}");
}

#[test]
fn fixed_buffers_fit_the_locked_memory() {
    let count = |toml: &str, host: &Host| fixed_buffer_count(&config(toml), host);
    assert_eq!(count("", &host()).unwrap(), 512);
    assert_eq!(count("maxclients = 100", &host()).unwrap(), 50);
    assert_eq!(count("maxclients = 1", &host()).unwrap(), FIXED_BUFFER_COUNT_MIN);
    assert_eq!(count("buffers = 1024", &host()).unwrap(), 1_024);

    // 8 MiB, the default of an ordinary user: an eighth is left alone.
    let default = with_memlock(8 << 20);
    assert_eq!(count("threads = 1", &default).unwrap(), 448);
    assert_eq!(count("threads = 2", &default).unwrap(), 224);
    assert_eq!(count("threads = 28", &default).unwrap(), 16);
    let text = count("threads = 29", &default).unwrap_err().to_string();
    assert_eq!(
        text,
        "too little memory may be locked: the fixed buffers need an RLIMIT_MEMLOCK of 8.3 MiB, it is 8.0 MiB. Raise it (ulimit -l 8485, or LimitMEMLOCK=8485K in the systemd unit), or lower --buffers or --threads"
    );
    assert_eq!(count("threads = 1\nbuffers = 512", &default).unwrap(), 512);
    assert!(count("threads = 1\nbuffers = 513", &default).is_err());
    assert!(count("", &with_memlock(64 << 10)).is_err());
    assert!(count("", &with_memlock(0)).is_err());
    assert_eq!(count("", &Host { may_lock_any: true, ..with_memlock(0) }).unwrap(), 512);
}

#[test]
fn clients_fit_the_descriptors() {
    let with = |count: u64| Host { descriptors: Limit { soft: Some(count), hard: None }, ..host() };
    let limit = |asked, count| client_limit(asked, 10_000, 2, 1, &with(count));
    assert_eq!(limit(None, 1 << 20).unwrap(), 10_000);
    assert_eq!(limit(None, 1_024).unwrap(), 974);
    assert_eq!(limit(None, 82).unwrap(), 32);
    assert_eq!(limit(Some(974), 1_024).unwrap(), 974);
    assert_eq!(limit(Some(1), 51).unwrap(), 1);
    assert_eq!(client_limit(Some(u32::MAX), 10_000, 2, 1, &host()).unwrap(), u32::MAX);
    for (asked, count) in [(None, 81), (None, 0), (Some(975), 1_024), (Some(1), 50)] {
        assert!(matches!(limit(asked, count), Err(StartError::TooFewDescriptors { .. })), "{asked:?} {count}");
    }
    assert_eq!(
        limit(Some(10_000), 1_024).unwrap_err().to_string(),
        "too few file descriptors: 10000 clients and the server itself need 10050, RLIMIT_NOFILE is 1024. Raise it (ulimit -n 10050, or LimitNOFILE=10050 in the systemd unit), or lower --maxclients or --threads"
    );
}

#[test]
fn the_plan_adds_up() {
    let bytes = |plan: &MemoryPlan, name: &str| {
        plan.parts.iter().filter(|part| part.name == name).map(Part::bytes).sum::<u64>()
    };
    let two = MemoryPlan::new(&config(
        "threads = 2\nmaxclients = 1000\nbuffers = 64\nmaxmemory = \"1gb\"\nmetrics-port = 9121",
    ));
    assert_eq!(bytes(&two, "fixed buffers"), 2 * 64 * 16_384);
    assert_eq!(bytes(&two, "connections"), 1_000 * 1_472);
    assert_eq!(bytes(&two, "mesh batches"), 2 * (128 + 1) * Batch::BYTES as u64);
    assert_eq!(bytes(&two, "transaction queues"), 2 * QUEUES_BYTES_MAX as u64);
    assert_eq!(bytes(&two, "large replies"), 2 * 2 * 2 * LARGE_REPLY_BYTES_MAX as u64);
    assert_eq!(two.fixed_bytes(), two.parts.iter().map(|part| part.count * part.each_bytes).sum::<u64>());
    assert_eq!(two.ceiling_bytes(), Some(two.fixed_bytes() + (1 << 30) + (1 << 27)));
    assert_eq!(two.ceiling_bytes_with(0), None);
    assert_eq!(two.ceiling_bytes_with(800), Some(two.fixed_bytes() + 900));
    assert_eq!(two.ceiling_bytes_with(u64::MAX), Some(u64::MAX));
    let lines = two.lines();
    assert_eq!(lines[0], "fixed buffers: 128 x 16.0 KiB = 2.0 MiB");
    assert_eq!(lines[lines.len() - 3], "counters: 1.0 GiB (maxmemory)");
    assert_eq!(lines[lines.len() - 2], "counters that get longer: 128.0 MiB (an eighth of maxmemory)");
    assert_eq!(lines.len(), two.parts.len() + 3);
    assert_eq!(two.to_string(), lines.join("\n"));

    let one = MemoryPlan::new(&config("threads = 1\nmaxmemory = 0"));
    assert_eq!(bytes(&one, "mesh batches"), 0);
    assert!(!one.to_string().contains("mesh") && !one.to_string().contains("metrics"));
    assert_eq!(one.ceiling_bytes(), None);
    assert!(one.to_string().contains("ceiling: none"));
}

#[test]
fn the_page_on_memory_shows_the_plan() {
    let plan = MemoryPlan::new(&config("threads = 1\nmaxclients = 10000\nbuffers = 512\nmaxmemory = \"16gb\""));
    let page = include_str!("../../docs/memory.md");
    for line in plan.lines() {
        assert!(page.contains(&format!("memory: {line}\n")), "docs/memory.md lacks this line:\nmemory: {line}");
    }
}

#[test]
fn only_wrong_words_exit_with_2() {
    let error = StartError::Option { flag: "port", problem: "is".into(), remedy: "Do".into() };
    assert_eq!(error.exit_code(), 2);
    assert_eq!(classify_ring_error(Errno::PERM.into(), &host()).exit_code(), 1);
    assert_eq!(StartError::MemoryTooSmall { fixed_bytes: 2, memory_bytes: 1 }.exit_code(), 1);
}

/// The first words of each error that `startup.rs` defines, as far as they are the same each time.
fn fixed_texts() -> Vec<&'static str> {
    let errors = include_str!("../startup.rs").split("#[error(").skip(1);
    let texts = errors.filter_map(|rest| rest.split_once('"')?.1.split_once('"')).map(|(text, _)| text);
    let words = |text: &'static str| text.split(['{', '}', ':', '(', '.', ';', ',']).map(str::trim);
    texts.filter_map(|text| words(text).find(|words| words.contains(' '))).collect()
}

#[test]
fn the_operations_guide_has_every_error() {
    let guide = include_str!("../../docs/operations.md");
    let texts = fixed_texts();
    assert!(texts.len() > 15, "{texts:?}");
    for text in texts {
        assert!(guide.contains(text), "docs/operations.md says nothing about: {text}");
    }
}

proptest! {
    #[test]
    fn what_is_chosen_always_fits(threads in 1..=256_usize, clients in 1..20_000_u32, bytes in 0..1_u64 << 32) {
        let config = Config { threads, pin: vec![None; threads], maxclients: clients, buffers: None, ..config("") };
        match fixed_buffer_count(&config, &with_memlock(bytes)) {
            Ok(count) => {
                prop_assert!((FIXED_BUFFER_COUNT_MIN..=FIXED_BUFFER_COUNT_MAX).contains(&count));
                prop_assert!((count * threads * FIXED_BUFFER_BYTES) as u64 <= bytes);
            }
            Err(error) => {
                prop_assert!((FIXED_BUFFER_COUNT_MIN * threads * FIXED_BUFFER_BYTES) as u64 > bytes - bytes / 8);
                // The remedy helps.
                let StartError::MemlockTooLow { needed_bytes, .. } = error else { panic!("{error}") };
                prop_assert!(fixed_buffer_count(&config, &with_memlock(needed_bytes)).is_ok());
            }
        }
    }
}
