//! Loads of clusters: where requests go, and what is seen of a node that is gone.

use std::io::{BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tallyring::bench::mix::Mix;
use tallyring::bench::result::{RunResult, Verdict, Verification};
use tallyring::bench::{self, Observer, Progress};

use crate::faulty::{self, Fault, request};
use crate::support::{Process, Server, binary, within};
use crate::{assert_right, described, run};

fn run_commands(server: &Server, commands: &[&str], flags: &str) -> RunResult {
    let mut run = described(server.address(), &format!("--cluster --duration 500ms --keys 2000 {flags}"));
    let commands: Vec<String> = commands.iter().map(|command| (*command).to_owned()).collect();
    run.mix = Arc::new(Mix::of_commands(&commands, 2_000).unwrap());
    bench::run(&run, &mut ()).unwrap()
}

#[test]
fn each_node_gets_its_own_keys() {
    let server = Server::start_with(2, &["--cluster-enabled", "yes"]);
    for flags in ["--rate 10k --keys 2000", "--rate max --pipeline 16 --keys 2000", "--rate max --keys 1"] {
        let flags = format!("--cluster --duration 500ms --mix incr=3,get=1 --connections 8 {flags}");
        assert_right(&run(server.address(), &flags).unwrap());
    }
    // All keys of a request are of one slot, so that a node can serve it.
    let several = "--mix incr,mget:5,mincrby:12 --cluster --duration 500ms --connections 8 --keys 5000";
    for flags in ["--rate 10k", "--rate max --pipeline 8"] {
        let result = run(server.address(), &format!("{several} {flags}")).unwrap();
        assert_right(&result);
        assert!(result.commands.iter().all(|command| !command.latency.response.is_empty()));
    }
    let plain = Server::start(1);
    let error = run(plain.address(), "--cluster --duration 500ms").unwrap_err().to_string();
    assert!(error.contains("CLUSTER"), "{error}");
}

/// Keys of several forms in one command, commands whose keys are all on one node, and commands without a key.
#[test]
fn commands_with_keys_of_several_forms_go_where_their_keys_are() {
    let server = Server::start_with(2, &["--cluster-enabled", "yes"]);
    for flags in ["--rate 4k --connections 8", "--rate 4k --pipeline 4 --threads 2", "--rate max --threads 2"] {
        let result = run_commands(&server, &["MGET {user}a:{key} {user}b:{key}"], flags);
        assert!(matches!(result.verdict, Verdict::Ok | Verdict::Inconclusive { .. }), "{flags}: {:?}", result.verdict);
        assert!(result.requests.answered > 0 && result.requests.errors == 0, "{flags}: {:?}", result.requests);
        let commands = ["INCR a:{key}", "INCR {user}b:{key}", "GET {key}:{key}", "INCR hits", "PING"];
        let result = run_commands(&server, &commands, flags);
        assert_right(&result);
        assert!(result.commands.iter().all(|command| !command.latency.response.is_empty()), "{flags}");
        if flags.contains("4k") {
            // Each as often as the others.
            let counts: Vec<u64> = result.commands.iter().map(|command| command.latency.response.len()).collect();
            assert!(counts.iter().all(|count| (250..550).contains(count)), "{flags}: {counts:?}");
        }
    }
}

#[test]
fn a_thread_without_a_connection_to_each_node_is_refused() {
    let server = Server::start_with(2, &["--cluster-enabled", "yes"]);
    let error = run(server.address(), "--cluster --threads 2 --connections 3").unwrap_err().to_string();
    assert!(error.contains("Choose --connections 4 or more"), "{error}");
}

/// A cluster of two servers that know nothing of it: only this one tells. It ends with the process.
fn cluster_of(nodes: [SocketAddr; 2]) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let range = |start: u16, end: u16, node: SocketAddr| {
        format!("*3\r\n:{start}\r\n:{end}\r\n*3\r\n$9\r\n127.0.0.1\r\n:{}\r\n$1\r\nx\r\n", node.port())
    };
    let slots = format!("*2\r\n{}{}", range(0, 8_191, nodes[0]), range(8_192, 16_383, nodes[1]));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut output = stream.unwrap();
            let mut input = BufReader::new(output.try_clone().unwrap());
            while let Some(request) = request(&mut input) {
                let reply = if request[0] == b"CLUSTER" { &slots } else { "-ERR unknown command\r\n" };
                output.write_all(reply.as_bytes()).unwrap();
            }
        }
    });
    address
}

/// The errors of the load are what counts, though the counters cannot be read any more either.
#[test]
fn slots_that_move_meanwhile_are_a_mismatch_that_says_so() {
    let nodes = [faulty::start(Fault::Moves(200)), faulty::start(Fault::Moves(u64::MAX))];
    let result = run(cluster_of(nodes), "--cluster --rate 2k --duration 500ms --keys 2000 --connections 4").unwrap();
    let Verdict::Mismatch { reason } = &result.verdict else { panic!("{:?}", result.verdict) };
    assert!(reason.contains("MOVED 1 192.0.2.1:7000. Slots moved meanwhile"), "{reason}");
    let Verification::Off { reason } = &result.verification else { panic!("{:?}", result.verification) };
    assert!(reason.contains("Slots moved meanwhile") && !reason.contains("use --cluster"), "{reason}");
    // Before the load begins there is no result.
    let nodes = [faulty::start(Fault::Moves(0)), faulty::start(Fault::Moves(u64::MAX))];
    let flags = "--cluster --rate 2k --duration 500ms --keys 2000 --connections 4";
    let error = run(cluster_of(nodes), flags).unwrap_err();
    assert!(error.to_string().contains("Slots moved meanwhile"), "{error}");
}

/// Takes a node away after a second, and starts it again on its port after a while.
struct Absence {
    node: Server,
    again: Option<Process>,
    length: Duration,
}

impl Absence {
    fn end(&mut self) {
        let address = self.node.address();
        let mut command = Command::new(binary());
        command.args(["serve", "--port", &address.port().to_string(), "--bind", "127.0.0.1", "--threads", "1"]);
        command.args(["--pin", "none", "--appendonly", "no"]);
        self.again = Some(Process::spawn(command));
        within(Duration::from_secs(60), "the node is there again", || TcpStream::connect(address).is_ok());
    }
}

impl Observer for Absence {
    fn phase(&mut self, _: &str) {}

    fn second(&mut self, progress: &Progress) {
        if progress.second == 0 {
            self.node.signal(Signal::KILL);
            self.node.wait();
            std::thread::sleep(self.length);
            self.end();
        }
    }

    fn interrupted(&self) -> bool {
        false
    }
}

/// The users of the keys that a node had wait for it. Nobody else's requests come in their place.
#[test]
fn requests_of_a_node_that_is_gone_wait_for_it() {
    let (here, away) = (Server::start(1), Server::start(1));
    let seed = cluster_of([here.address(), away.address()]);
    let length = Duration::from_millis(600);
    let mut absence = Absence { node: away, again: None, length };
    let flags = "--cluster --rate 2k --duration 3s --keys 2000 --connections 4 --verify no";
    let result = bench::run(&described(seed, flags), &mut absence).unwrap();
    let requests = result.requests;
    assert!(requests.resets >= 2 && requests.resets == requests.reopened, "{requests:?}");
    assert_eq!((requests.intended, requests.sent), (6_000, 6_000));
    // Half of all keys were away for a fifth of the time or more.
    let response = &result.latency.response;
    assert!(response.max() >= length.as_nanos() as u64, "{} ns", response.max());
    let waited_count = response.count_between(length.as_nanos() as u64 / 3, u64::MAX);
    assert!(waited_count >= 300, "{waited_count} of {} waited", response.len());
    let Verdict::Mismatch { reason } = &result.verdict else { panic!("{:?}", result.verdict) };
    assert!(reason.contains("connections were lost"), "{reason}");
}
