//! Runs of the same thing on a real server are called equal, however unsteady the machine is.

use tallyring::bench::compare::{Finding, compare};

use crate::run;
use crate::support::Server;

/// Two sets of three runs of one server each time, taking turns as `--vs` has them. By chance one comparison in twenty may
/// find a difference. `TALLYRING_SAME_PAIRS=40` makes so many comparisons, of runs that are long enough for p99, in 8
/// minutes, and asks for 95% of them; otherwise there are two, of which one may be called different.
#[test]
fn the_same_server_is_called_equal_to_itself() {
    let many = std::env::var("TALLYRING_SAME_PAIRS").ok().and_then(|pairs| pairs.parse::<usize>().ok());
    let (pair_count, flags) = match many {
        Some(pair_count) => (pair_count, "--rate 25k --duration 1700ms --keys 10000"),
        None => (2, "--rate 10k --duration 400ms --keys 10000"),
    };
    let server = Server::start(1);
    let mut equal_count = 0;
    for pair in 0..pair_count {
        let mut sides = [Vec::new(), Vec::new()];
        for repetition in 0..3 {
            for turn in 0..2 {
                let seed = 3 * pair + repetition;
                let result = run(server.address(), &format!("{flags} --seed {seed}")).unwrap();
                sides[(turn + repetition) % 2].push(result);
            }
        }
        let comparison = compare(&sides[0], &sides[1], false);
        let is_equal = comparison.finding() == Finding::Equal;
        equal_count += usize::from(is_equal);
        if many.is_some() || !is_equal {
            println!("comparison {pair}:\n{}", comparison.table());
        }
    }
    println!("{equal_count} of {pair_count} comparisons of the same server with itself found no difference");
    let least_count = if many.is_some() { (pair_count * 95).div_ceil(100) } else { 1 };
    assert!(equal_count >= least_count, "{equal_count} of {pair_count}");
}
