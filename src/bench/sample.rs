//! Runs that nobody made, with plausible noise, for the tests of what is printed, written and compared.

use super::fingerprint::Fingerprint;
use super::histogram::{Packed, Recorded, empty};
use super::result::{
    Arrivals, Bottleneck, CommandLatencies, FORMAT, Latencies, Load, Requests, RunResult, Second, Server, Verdict,
    Verification, Workload,
};

/// A generator of random numbers that is good enough for noise (xorshift*; Marsaglia 2003, Vigna 2016).
pub struct Noise(u64);

impl Noise {
    pub fn new(seed: u64) -> Noise {
        Noise(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// Between 0 and 1, neither included.
    pub fn uniform(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    /// Standard normal (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

/// `seconds` seconds at `rate_per_s`; `median_us` is that of the service time, whose tail is heavy.
pub fn run(seed: u64, seconds: u64, rate_per_s: u64, median_us: f64) -> RunResult {
    let mut noise = Noise::new(seed);
    let mut whole = Latencies::default();
    let mut series = Vec::new();
    // What one sample stands for, so that a test does not take as long as a run.
    let weight = (rate_per_s / 2_000).max(1);
    for second in 0..seconds {
        let (mut response, mut service, mut lateness) = (empty(), empty(), empty());
        // A second in ten is disturbed, as on any machine that others use too.
        let disturbed = if noise.uniform() < 0.1 { 1.5 } else { 1.0 };
        for _ in 0..rate_per_s / weight {
            let service_ns =
                1e3 * median_us * disturbed * (0.25 * noise.normal() + 0.02 * noise.normal().powi(4)).exp();
            let late_ns = 2e3 * (0.5 * noise.normal()).exp();
            response.record_n((service_ns + late_ns) as u64, weight).unwrap();
            service.record_n(service_ns as u64, weight).unwrap();
            lateness.record_n(late_ns as u64, weight).unwrap();
        }
        whole.response.add(&response).unwrap();
        whole.service.add(&service).unwrap();
        whole.lateness.add(&lateness).unwrap();
        let answered = response.len();
        series.push(Second {
            start_ns: second * 1_000_000_000,
            length_ns: 1_000_000_000,
            intended: answered,
            sent: answered,
            answered,
            errors: 0,
            response: Packed::new(&response),
            service: Packed::new(&service),
            lateness: Packed::new(&lateness),
        });
    }
    let answered = whole.response.len();
    RunResult {
        format: FORMAT,
        version: "0.1.0".to_owned(),
        command_line: ["tallyring", "bench", "--rate", "100k", "--mix", "incr=90,get=10"].map(str::to_owned).into(),
        started_unix_ms: 1_795_500_000_000,
        measured_ns: seconds * 1_000_000_000,
        host: Fingerprint {
            hostname: "load-1".to_owned(),
            cpu: "AMD EPYC 9354P".to_owned(),
            core_count: 16,
            memory_bytes: 64 << 30,
            kernel: "6.12.0".to_owned(),
            governor: Some("performance".to_owned()),
            ..Fingerprint::default()
        },
        server: Server {
            address: "192.0.2.7:6379".to_owned(),
            software: Some("redis 7.2.5".to_owned()),
            same_host: false,
        },
        workload: Workload {
            load: Load::Open { rate_per_s: rate_per_s as f64, arrivals: Arrivals::Poisson },
            connection_count: 50,
            thread_count: 2,
            pipeline_depth: 1,
            key_count: 1_000_000,
            key_bytes: 16,
            distribution: "uniform".to_owned(),
            mix: "incr=90,get=10".to_owned(),
            seed,
            warmup_s: 2.0,
        },
        requests: Requests {
            intended: answered,
            sent: answered,
            withheld: 0,
            answered,
            errors: 0,
            unanswered: 0,
            resets: 0,
            reopened: 0,
        },
        commands: vec![
            CommandLatencies { tag: "incr".to_owned(), latency: whole.clone() },
            CommandLatencies { tag: "get".to_owned(), latency: Latencies::default() },
        ],
        latency: whole,
        seconds: series,
        late: None,
        verification: Verification::Passed { acknowledged: answered, unknown: 0, grown: answered },
        bottleneck: Bottleneck {
            generator_busy: vec![0.31, 0.34],
            server_cpu: Some(0.82),
            server_thread_cpu: Some(0.79),
            retransmits: Some(0),
            summary: "none: the offered rate was met and nobody was busy all the time".to_owned(),
        },
        verdict: Verdict::Ok,
    }
}

/// Have `count` requests of a run answered so long after its end.
pub fn answer_late(run: &mut RunResult, count: u64, late_ns: u64) {
    let (mut response, mut service, mut lateness) = (empty(), empty(), empty());
    response.record_n(late_ns + 500_000_000, count).unwrap();
    service.record_n(late_ns + 400_000_000, count).unwrap();
    lateness.record_n(100_000_000, count).unwrap();
    let one = [&mut run.latency, &mut run.commands[0].latency];
    for latency in one {
        latency.response.add(&response).unwrap();
        latency.service.add(&service).unwrap();
        latency.lateness.add(&lateness).unwrap();
    }
    run.requests.intended += count;
    run.requests.sent += count;
    run.late = Some(Second {
        start_ns: run.measured_ns,
        length_ns: late_ns,
        intended: 0,
        sent: 0,
        answered: count,
        errors: 0,
        response: Packed::new(&response),
        service: Packed::new(&service),
        lateness: Packed::new(&lateness),
    });
}

/// A histogram of fixed samples that has a value in most buckets of five decades.
pub fn decades() -> Recorded {
    let mut recorded = Recorded::default();
    for step in 0..5_000_u64 {
        let value_ns = (800.0 * 10_f64.powf(step as f64 / 1_000.0)) as u64;
        recorded.record_n(value_ns, 1 + (5_000 - step) * (5_000 - step) / 1_000).unwrap();
    }
    recorded
}
