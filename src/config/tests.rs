//! Flags, keys, defaults and combinations, on a machine that does not exist.

use clap::CommandFactory;
use proptest::prelude::*;

use super::*;
use crate::cli::{self, Cli, Invocation};
use crate::host::{Host, Limit};
use crate::startup::MemoryPlan;

/// Every option with two values, as the flag takes them and as TOML.
const SAMPLES: [(&str, [&str; 2], [&str; 2]); 32] = [
    ("bind", ["10.0.0.1,::1", "127.0.0.2"], ["[\"10.0.0.1\", \"::1\"]", "\"127.0.0.2\""]),
    ("port", ["0", "7000"], ["0", "7000"]),
    ("unixsocket", ["/run/a.sock", "/run/b.sock"], ["\"/run/a.sock\"", "\"/run/b.sock\""]),
    ("unixsocketperm", ["700", "0660"], ["\"700\"", "\"0660\""]),
    ("tcp-backlog", ["5", "6"], ["5", "6"]),
    ("tcp-keepalive", ["0", "60"], ["0", "60"]),
    ("cluster-enabled", ["yes", "no"], ["\"yes\"", "false"]),
    ("metrics-port", ["0", "9121"], ["0", "9121"]),
    ("metrics-bind", ["10.0.0.1,::1", "127.0.0.2"], ["[\"10.0.0.1\", \"::1\"]", "\"127.0.0.2\""]),
    ("threads", ["auto", "3"], ["\"auto\"", "3"]),
    ("pin", ["none", "3"], ["\"none\"", "3"]),
    ("busy-poll", ["always", "50"], ["\"always\"", "50"]),
    ("maxmemory", ["1gb", "1048576"], ["\"1gb\"", "1048576"]),
    ("buffers", ["auto", "64"], ["\"auto\"", "64"]),
    ("maxmemory-clients", ["1gb", "1048576"], ["\"1gb\"", "1048576"]),
    ("appendonly", ["yes", "no"], ["\"yes\"", "false"]),
    ("dir", ["/var/lib/a b", "c"], ["\"/var/lib/a b\"", "\"c\""]),
    ("appendfsync", ["always", "no"], ["\"always\"", "\"no\""]),
    ("auto-aof-rewrite-percentage", ["0", "200"], ["0", "200"]),
    ("auto-aof-rewrite-min-size", ["1mb", "2000"], ["\"1mb\"", "2000"]),
    ("recover", ["yes", "no"], ["\"yes\"", "false"]),
    ("requirepass", ["a b", "c"], ["\"a b\"", "\"c\""]),
    ("enable-debug-command", ["yes", "no"], ["\"yes\"", "false"]),
    ("maxclients", ["1", "2"], ["1", "2"]),
    ("timeout", ["1", "2"], ["1", "2"]),
    ("request-timeout", ["1", "2"], ["1", "2"]),
    ("reply-timeout", ["1", "2"], ["1", "2"]),
    ("auth-timeout", ["1", "2"], ["1", "2"]),
    ("log-level", ["debug", "warning"], ["\"debug\"", "\"warn\""]),
    ("slowlog-log-slower-than", ["-1", "0"], ["-1", "0"]),
    ("slowlog-max-len", ["0", "9"], ["0", "9"]),
    ("latency-monitor-threshold", ["0", "9"], ["0", "9"]),
];

fn host() -> Host {
    let unlimited = Limit { soft: None, hard: None };
    Host {
        cores: vec![0, 1, 2, 3],
        machine_memory_bytes: 64 << 30,
        cgroup_memory_bytes: None,
        memlock: unlimited,
        may_lock_any: false,
        descriptors: unlimited,
        kernel_release: "6.1.0".to_owned(),
        io_uring_disabled: Some(0),
    }
}

fn flags(arguments: &[&str]) -> Options {
    let arguments = ["tallyring", "serve"].iter().chain(arguments);
    let matches = Cli::command().try_get_matches_from(arguments).unwrap_or_else(|error| panic!("{error}"));
    let Invocation::Serve(options) = cli::invocation(&matches).unwrap() else { panic!("it serves") };
    *options
}

fn file(text: &str) -> Result<Options, StartError> {
    Options::parse(text, Path::new("t.toml"))
}

fn resolve(arguments: &[&str]) -> Result<Config, StartError> {
    Config::resolve(flags(arguments), &host())
}

fn refusal(arguments: &[&str]) -> String {
    resolve(arguments).unwrap_err().to_string()
}

/// The flags of `serve` that are options, with their help.
fn option_flags() -> Vec<(String, String)> {
    let command = Cli::command();
    let serve = command.find_subcommand("serve").unwrap();
    let arguments = serve.get_arguments().map(|argument| {
        (argument.get_long().unwrap().to_owned(), argument.get_help().map(ToString::to_string).unwrap_or_default())
    });
    arguments.filter(|(flag, _)| !["config", "help", "print-memory-plan"].contains(&flag.as_str())).collect()
}

#[test]
fn every_flag_is_a_key_and_means_the_same() {
    let mut sampled: Vec<&str> = SAMPLES.iter().map(|sample| sample.0).collect();
    let options = option_flags();
    let mut existing: Vec<&str> = options.iter().map(|(flag, _)| flag.as_str()).collect();
    sampled.sort_unstable();
    existing.sort_unstable();
    assert_eq!(sampled, existing);

    for (name, flag_values, toml_values) in SAMPLES {
        let flag = format!("--{name}");
        let parsed = flag_values.map(|value| flags(&[&flag, value]));
        assert_ne!(parsed[0], parsed[1], "{name}");
        assert_ne!(parsed[0], Options::default(), "{name}");
        for (from_flag, toml_value) in parsed.iter().zip(toml_values) {
            assert_eq!(&file(&format!("{name} = {toml_value}")).unwrap(), from_flag, "{name} = {toml_value}");
        }
    }
}

#[test]
fn a_flag_wins_over_the_file_and_the_rest_of_the_file_stays() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("all.toml");
    let all =
        |values: usize| SAMPLES.map(|(name, _, toml_values)| format!("{name} = {}\n", toml_values[values])).concat();
    fs::write(&path, all(0)).unwrap();
    let config = ["--config", path.to_str().unwrap()];
    assert_eq!(flags(&config), file(&all(0)).unwrap());
    for (name, flag_values, toml_values) in SAMPLES {
        let flag = format!("--{name}");
        let merged = flags(&[config[0], config[1], &flag, flag_values[1]]);
        let line = |values: usize| format!("\n{name} = {}\n", toml_values[values]);
        let changed = format!("\n{}", all(0)).replace(&line(0), &line(1));
        assert_eq!(merged, file(&changed).unwrap(), "{name}");
    }
}

#[test]
fn the_defaults_that_the_help_shows_are_the_defaults() {
    let defaults = resolve(&[]).unwrap();
    for (name, help) in option_flags() {
        let shown = help.split_once("[default: ").unwrap_or_else(|| panic!("--{name} shows no default: {help}")).1;
        let shown = shown.strip_suffix(']').unwrap();
        if shown != "none" {
            assert_eq!(resolve(&[&format!("--{name}"), shown]).unwrap(), defaults, "--{name} {shown}");
        }
    }
}

#[test]
fn the_example_file_lists_every_key_with_its_default() {
    let example = include_str!("../../tallyring.toml");
    assert_eq!(file(example).unwrap(), Options::default());

    // A comment's `#` is followed by a space, a key's is not.
    let lines = example.lines().filter_map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')));
    let keys: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    let options = file(&keys.join("\n")).unwrap();
    assert_eq!(Config::resolve(options, &host()).unwrap(), resolve(&[]).unwrap());

    let named: Vec<&str> = keys.iter().map(|line| line.split_once(" = ").unwrap().0).collect();
    let expected: Vec<String> = option_flags().into_iter().map(|(flag, _)| flag).collect();
    assert_eq!(named, expected);
}

#[test]
fn the_file_s_mistakes_are_named_with_their_line() {
    let says = |text: &str| file(text).unwrap_err().to_string();
    let unknown = says("# tallyring\nprot = 1\n");
    assert!(unknown.starts_with("t.toml:2: unknown key `prot`, expected one of `bind`, `port`"), "{unknown}");
    assert!(says("[network]\nport = 1").contains(":1: unknown key `network`"));
    assert!(says("port = \"6379\"").starts_with("t.toml:1: port: invalid type: string"));
    assert!(says("\n\nport = 70000").starts_with("t.toml:3: port: invalid value: integer `70000`"));
    assert!(says("bind = [\n\"127.0.0.1\",\n\"localhost\"]").starts_with("t.toml:3: bind: invalid IP address"));
    assert!(says("bind = \"localhost\"").starts_with("t.toml:1: bind: \"localhost\": invalid IP address"));
    assert!(says("threads = \"many\"").contains("threads: \"many\" is neither \"auto\" nor a count"));
    assert!(says("threads = 1.5").contains("threads: invalid type: floating point"));
    assert!(says("maxmemory = \"1x\"").contains("maxmemory: \"1x\" is neither \"auto\" nor a size"));
    assert!(says("unixsocketperm = 700").contains("unixsocketperm: invalid type: integer `700`, expected a string"));
    assert!(says("port = 1\nport = 2").starts_with("t.toml:2: duplicate key `port`"));
    assert!(says("port = = 1").starts_with("t.toml:1: "));
    assert!(!says("requirepass = 31337").contains("31337"));
    for text in ["prot = 1", "port = [", "threads = []", "a.b = 1", "bind = [1]", "é = 1", "port = \"é"] {
        let error = file(text).unwrap_err();
        assert!(!error.to_string().contains('\n'), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = Options::read_file(Path::new("/nonexistent/tallyring.toml")).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("cannot read the configuration file /nonexistent/tallyring.toml: No such file"), "{text}");
}

#[test]
fn sizes_are_read_as_redis_reads_them() {
    let bytes = |text: &str| text.parse::<ByteCount>().ok().map(|size| size.0);
    assert_eq!(bytes("0"), Some(0));
    assert_eq!(bytes("1k"), Some(1_000));
    assert_eq!(bytes("1kb"), Some(1_024));
    assert_eq!(bytes("100mb"), Some(100 << 20));
    assert_eq!(bytes("2M"), Some(2_000_000));
    assert_eq!(bytes("1gB"), Some(1 << 30));
    assert_eq!(bytes("3g"), Some(3_000_000_000));
    assert_eq!(bytes("7b"), Some(7));
    assert_eq!(bytes("18446744073709551615"), Some(u64::MAX));
    for wrong in ["", "mb", "-1", "1.5gb", "1 gb", "1tb", "18446744073709551616", "18446744073709551615k", "+1"] {
        assert_eq!(bytes(wrong), None, "{wrong}");
    }
    assert_eq!(ByteCount(8 << 20).to_string(), "8.0 MiB");
    assert_eq!(ByteCount(1_023).to_string(), "1023 bytes");
    assert_eq!(ByteCount(1_536).to_string(), "1.5 KiB");
    assert_eq!(ByteCount(5 << 30).to_string(), "5.0 GiB");
}

#[test]
fn modes_levels_and_answers() {
    let mode = |text: &str| text.parse::<FileMode>().ok().map(|mode| mode.0);
    assert_eq!((mode("700"), mode("0777"), mode("0")), (Some(0o700), Some(0o777), Some(0)));
    assert_eq!([mode("1000"), mode("8"), mode(""), mode("+7"), mode("0o7"), mode("00007")], [None; 6]);
    let level = |text: &str| text.parse::<LogLevel>().ok();
    assert_eq!((level("notice"), level("info")), (Some(LogLevel::Info), Some(LogLevel::Info)));
    assert_eq!((level("warning"), level("verbose")), (Some(LogLevel::Warn), Some(LogLevel::Debug)));
    assert_eq!(level("INFO"), None);
    assert_eq!("yes".parse::<YesNo>(), Ok(YesNo(true)));
    assert!("true".parse::<YesNo>().is_err());
    assert!(!format!("{:?}", flags(&["--requirepass", "geheim"])).contains("geheim"));
}

#[test]
fn core_lists() {
    let cores = |text: &str| match text.parse() {
        Ok(PinChoice::Cores(cores)) => Some(cores),
        _ => None,
    };
    assert_eq!(cores("0,2-5"), Some(vec![0, 2, 3, 4, 5]));
    assert_eq!(cores("3, 1"), Some(vec![3, 1]));
    assert_eq!(cores("7-7"), Some(vec![7]));
    assert_eq!(cores("0-255").map(|cores| cores.len()), Some(256));
    for wrong in ["", "a", "1,", "5-2", "1-", "-1", "1,1", "0-3,2", "0-256", "0-18446744073709551615", "8192", "AUTO"] {
        assert!(wrong.parse::<PinChoice>().is_err(), "{wrong}");
    }
    assert_eq!("auto".parse(), Ok(PinChoice::Auto));
    assert_eq!("none".parse(), Ok(PinChoice::None));
}

#[test]
fn shards_and_their_cores() {
    let pins = |arguments: &[&str]| {
        let config = resolve(arguments).unwrap();
        assert_eq!(config.threads, config.pin.len());
        (config.pin, config.warnings.len())
    };
    assert_eq!(pins(&[]), (vec![Some(0), Some(1), Some(2), Some(3)], 0));
    assert_eq!(pins(&["--threads", "2"]), (vec![Some(0), Some(1)], 0));
    assert_eq!(pins(&["--pin", "3,1"]), (vec![Some(3), Some(1)], 0));
    assert_eq!(pins(&["--pin", "none"]), (vec![None; 4], 0));
    assert_eq!(pins(&["--pin", "none", "--threads", "6"]), (vec![None; 6], 0));
    assert_eq!(pins(&["--threads", "5"]), (vec![None; 5], 1));
    assert!(refusal(&["--threads", "0"]).starts_with("--threads 0 is out of range. Choose from 1 to 256"));
    assert!(refusal(&["--threads", "257"]).starts_with("--threads 257 is out of range"));
    assert!(refusal(&["--pin", "4"]).ends_with("Choose from 0-3"));
    assert!(refusal(&["--pin", "1", "--threads", "2"]).starts_with("--pin names 1 core for --threads 2. "));
    let many = Host { cores: (0..300).collect(), ..host() };
    let config = Config::resolve(Options::default(), &many).unwrap();
    assert_eq!((config.threads, config.pin[255]), (256, Some(255)));
}

#[test]
fn values_and_combinations_that_cannot_be() {
    for (arguments, said) in [
        (&["--maxclients", "0"][..], "--maxclients 0 is out of range"),
        (&["--tcp-keepalive", "32768"], "--tcp-keepalive 32768 is out of range. Choose from 0 to 32767"),
        (&["--tcp-backlog", "0"], "--tcp-backlog 0 is out of range"),
        (&["--timeout", "2147483648"], "--timeout 2147483648 is out of range"),
        (&["--buffers", "15"], "--buffers 15 is out of range. Choose from 16 to 1024"),
        (&["--buffers", "1025"], "--buffers 1025 is out of range"),
        (&["--slowlog-max-len", "1025"], "--slowlog-max-len 1025 is out of range"),
        (&["--bind", "::1,::1"], "--bind names ::1 twice. Name it once"),
        (&["--bind", "127.0.0.1", "--bind", "0.0.0.0"], "--bind names 127.0.0.1 and 0.0.0.0, one of which"),
        (&["--unixsocketperm", "700"], "--unixsocketperm is given without --unixsocket. Give both"),
    ] {
        let text = refusal(arguments);
        assert!(text.starts_with(said), "{text}");
    }
    assert!(refusal(&["--requirepass", &"x".repeat(4_097)]).starts_with("--requirepass is longer than 4096 bytes"));
    assert!(refusal(&["--unixsocket", &"x".repeat(108)]).starts_with("--unixsocket is longer than 107 bytes"));
    assert!(resolve(&["--unixsocket", &"x".repeat(107), "--unixsocketperm", "700"]).is_ok());
    assert!(resolve(&["--bind", "0.0.0.0,::"]).is_ok());

    let nowhere = file("bind = []").unwrap();
    assert!(Config::resolve(nowhere, &host()).unwrap_err().to_string().starts_with("--bind names no address"));
    let unix_only = Config::resolve(file("bind = []\nunixsocket = \"/a\"").unwrap(), &host()).unwrap();
    assert!(unix_only.bind.is_empty());
}

#[test]
fn the_metrics_have_a_port_of_their_own() {
    for arguments in [
        &["--metrics-port", "6379"][..],
        &["--metrics-port", "6379", "--metrics-bind", "0.0.0.0"],
        &["--metrics-port", "6379", "--bind", "0.0.0.0"],
        &["--metrics-port", "6379", "--metrics-bind", "::,127.0.0.1"],
    ] {
        let text = refusal(arguments);
        assert!(text.starts_with("--metrics-port is 6379, as --port. "), "{arguments:?}: {text}");
        assert_eq!(resolve(arguments).unwrap_err().exit_code(), 2);
    }
    let of_shard = refusal(&["--cluster-enabled", "yes", "--metrics-port", "6381"]);
    let expected = "--metrics-port is 6381, the port of shard 1 with --cluster-enabled and --port 6379. ";
    assert!(of_shard.starts_with(expected), "{of_shard}");
    assert!(refusal(&["--cluster-enabled", "yes", "--metrics-port", "6383"]).contains("the port of shard 3"));
    for arguments in [
        &["--metrics-port", "6379", "--metrics-bind", "::"][..],
        &["--metrics-port", "6379", "--metrics-bind", "127.0.0.2"],
        &["--metrics-port", "6381"],
        &["--cluster-enabled", "yes", "--metrics-port", "6384"],
        &["--cluster-enabled", "yes", "--metrics-port", "6378"],
        &["--cluster-enabled", "yes", "--metrics-port", "6381", "--metrics-bind", "::1"],
        &["--cluster-enabled", "yes", "--port", "0", "--metrics-port", "2"],
        &["--port", "0", "--metrics-port", "0"],
    ] {
        assert!(resolve(arguments).is_ok(), "{arguments:?}");
    }
}

#[test]
fn empty_words_switch_off_as_in_redis_conf() {
    let options = file("unixsocket = \"\"\nunixsocketperm = \"0\"\nrequirepass = \"\"").unwrap();
    assert_eq!(Config::resolve(options, &host()).unwrap(), resolve(&[]).unwrap());
}

#[test]
fn the_machine_s_limits_lower_defaults_with_a_warning_and_refuse_wishes() {
    let memlock = Limit { soft: Some(8 << 20), hard: Some(8 << 20) };
    let descriptors = Limit { soft: Some(1_024), hard: Some(1_024) };
    let small = Host { cores: vec![0, 1], memlock, descriptors, ..host() };
    let config = Config::resolve(Options::default(), &small).unwrap();
    assert_eq!(config.maxclients, 1_024 - 32 - 2 * 9);
    assert_eq!(config.fixed_buffer_count, 224);
    assert!(config.warnings[0].starts_with("maxclients is 974 instead of 10000: RLIMIT_NOFILE"));
    assert!(config.warnings[1].starts_with("224 fixed buffers a shard instead of 512: RLIMIT_MEMLOCK is 8.0 MiB"));
    assert_eq!(config.warnings.len(), 2);

    let refused = |arguments: &[&str]| Config::resolve(flags(arguments), &small).unwrap_err().to_string();
    assert!(refused(&["--maxclients", "975"]).starts_with("too few file descriptors: 975 clients"));
    assert!(refused(&["--buffers", "257"]).starts_with("too little memory may be locked"));
    assert!(Config::resolve(flags(&["--maxclients", "974", "--buffers", "256"]), &small).is_ok());
}

#[test]
fn the_counters_get_what_the_fixed_parts_leave() {
    assert_eq!(resolve(&[]).unwrap().maxmemory_bytes, 48 << 30);
    let with = |memory_bytes: u64, arguments: &[&str]| {
        Config::resolve(flags(arguments), &Host { cgroup_memory_bytes: Some(memory_bytes), ..host() })
    };
    let plan = MemoryPlan::new(&with(64 << 30, &[]).unwrap());
    let fixed_bytes = plan.fixed_bytes();
    let tight = with(2 * fixed_bytes, &[]).unwrap();
    assert_eq!(tight.maxmemory_bytes, fixed_bytes - fixed_bytes.div_ceil(9));
    assert!(MemoryPlan::new(&tight).ceiling_bytes() <= Some(2 * fixed_bytes));
    assert!(with(fixed_bytes, &[]).unwrap_err().to_string().starts_with("the fixed parts need"));
    assert!(with(fixed_bytes, &["--maxmemory", "0"]).is_err());
    assert_eq!(with(fixed_bytes + 1, &["--maxmemory", "0"]).unwrap().maxmemory_bytes, 0);
    assert!(with(fixed_bytes + 900, &["--maxmemory", "800"]).is_ok());
    let text = with(fixed_bytes + 900, &["--maxmemory", "801"]).unwrap_err().to_string();
    assert!(text.contains("Lower --maxmemory to 800 or less"), "{text}");
    assert!(with(1 << 30, &["--maxmemory", "18446744073709551615"]).is_err());
    // Three quarters and an eighth of that are more than this machine has beside its fixed parts.
    let small = with(6 * fixed_bytes, &[]).unwrap();
    assert!(small.maxmemory_bytes < 6 * fixed_bytes * 3 / 4);
}

proptest! {
    #[test]
    fn sizes_multiply_or_are_refused(number: u64, unit in 0..7_usize) {
        let (unit, bytes) = [("", 1), ("k", 1_000), ("kb", 1 << 10), ("m", 1_000_000), ("mb", 1 << 20),
            ("g", 1_000_000_000), ("gb", 1_u128 << 30)][unit];
        let product = u128::from(number) * bytes;
        let parsed = format!("{number}{unit}").parse::<ByteCount>().ok().map(|size| u128::from(size.0));
        prop_assert_eq!(parsed, Some(product).filter(|product| *product <= u128::from(u64::MAX)));
    }

    #[test]
    fn ranges_read_back_as_they_were(cores in prop::collection::btree_set(0..400_usize, 1..100)) {
        let cores: Vec<usize> = cores.into_iter().collect();
        prop_assert_eq!(ranges(&cores).parse(), Ok(PinChoice::Cores(cores)));
    }

    #[test]
    fn no_file_is_a_panic(text in "(?s).{0,60}", key in 0..17_usize) {
        let _ = file(&text);
        let _ = file(&format!("{} = {text}", SAMPLES[key].0));
    }
}

#[test]
fn a_cluster_needs_ports() {
    for flag in [&["--cluster"][..], &["--cluster", "yes"], &["--cluster-enabled"], &["--cluster-enabled=yes"]] {
        assert!(resolve(flag).unwrap().cluster_enabled, "{flag:?}");
    }
    assert!(!resolve(&["--cluster", "no"]).unwrap().cluster_enabled);
    assert!(resolve(&["--cluster", "--port", "65531"]).is_ok());
    assert!(resolve(&["--cluster", "--port", "0"]).is_ok());
    let too_high = refusal(&["--cluster", "--port", "65532"]);
    assert!(too_high.starts_with("--port 65532 leaves too few ports for 4 shards"), "{too_high}");
    assert!(too_high.ends_with("Choose a --port of at most 65531"), "{too_high}");
    let no_tcp = file("bind = []\nunixsocket = \"/run/a.sock\"\ncluster-enabled = true").unwrap();
    let refused = Config::resolve(no_tcp, &host()).unwrap_err().to_string();
    assert!(refused.starts_with("--cluster-enabled needs TCP"), "{refused}");
}
