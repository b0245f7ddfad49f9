//! What differs between the workloads of runs that are compared.

use crate::bench::result::{Arrivals, Load, RunResult, Workload};
use crate::bench::units::{grouped, rate};

/// What differs, a line each.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Different {
    /// Of what the server was asked for: its runs are not of the same thing.
    pub asked: Vec<String>,
    /// Of how it was asked.
    pub how: Vec<String>,
}

/// A property: its name, whether it belongs to what was asked for, and its text.
type Property = (&'static str, bool, fn(&Workload) -> String);

const PROPERTIES: [Property; 10] = [
    ("load", true, |workload| match workload.load {
        Load::Closed => "a closed loop".to_owned(),
        Load::Open { rate_per_s, .. } => format!("{} ({rate_per_s})", rate(rate_per_s)),
    }),
    ("arrivals", true, |workload| match workload.load {
        Load::Closed => "none".to_owned(),
        Load::Open { arrivals: Arrivals::Poisson, .. } => "poisson".to_owned(),
        Load::Open { arrivals: Arrivals::Constant, .. } => "constant".to_owned(),
        Load::Open { arrivals: Arrivals::Trace, .. } => "those of a trace".to_owned(),
    }),
    ("commands", true, |workload| workload.mix.clone()),
    ("keys", true, |workload| grouped(workload.key_count)),
    ("bytes of a key", true, |workload| workload.key_bytes.to_string()),
    ("distribution", true, |workload| workload.distribution.clone()),
    ("connections", true, |workload| workload.connection_count.to_string()),
    ("pipeline", true, |workload| workload.pipeline_depth.to_string()),
    ("threads of the generator", false, |workload| workload.thread_count.to_string()),
    ("seconds of warm-up", false, |workload| workload.warmup_s.to_string()),
];

/// All differences. Seeds are those of repetitions.
pub fn differences(a: &[RunResult], b: &[RunResult]) -> Different {
    let mut different = Different::default();
    for (name, is_asked, text) in PROPERTIES {
        let mut texts: Vec<String> = Vec::new();
        for run in a.iter().chain(b) {
            let text = text(&run.workload);
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        if texts.len() > 1 {
            let line = format!("{name}: {}", texts.join(" and "));
            if is_asked { different.asked.push(line) } else { different.how.push(line) }
        }
    }
    different
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::sample;

    type Change = fn(&mut Workload);

    #[test]
    fn each_difference_is_named() {
        let run = sample::run(1, 1, 2_000, 80.0);
        let with = |change: Change| {
            let mut other = run.clone();
            change(&mut other.workload);
            differences(std::slice::from_ref(&run), &[other])
        };
        let asked: [(Change, &str); 8] = [
            (|workload| workload.load = Load::Closed, "load: 2.00 k/s (2000) and a closed loop"),
            (|workload| workload.load = Load::Open { rate_per_s: 2_001.0, arrivals: Arrivals::Poisson }, "(2001)"),
            (|workload| workload.load = Load::Open { rate_per_s: 2_000.0, arrivals: Arrivals::Constant }, "arrivals"),
            (|workload| workload.mix = "get".to_owned(), "commands: incr=90,get=10 and get"),
            (|workload| workload.key_count = 5, "keys: 1,000,000 and 5"),
            (|workload| workload.key_bytes = 200, "bytes of a key: 16 and 200"),
            (|workload| workload.connection_count = 9, "connections: 50 and 9"),
            (|workload| workload.distribution = "latest".to_owned(), "distribution: uniform and latest"),
        ];
        for (change, said) in asked {
            let different = with(change);
            assert!(different.asked.iter().any(|line| line.contains(said)), "{said}: {different:?}");
            assert!(different.how.is_empty());
        }
        let how = with(|workload| (workload.thread_count, workload.warmup_s) = (9, 0.5));
        assert_eq!((how.asked.len(), how.how.len()), (0, 2), "{how:?}");
        assert_eq!(with(|workload| workload.seed = 9), Different::default());
    }
}
