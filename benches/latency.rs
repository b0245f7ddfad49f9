//! What recording latencies costs: `cargo bench --bench latency`.
//!
//! Prints nanoseconds a batch of one kind of command, the median of the rounds and their spread, for what the path of a
//! request does: the clock reads, the records of a window and of its send. Batches of 1 and of 64 commands, alone in a lap
//! of the shard's loop and with fifteen others, which share all readings but one; durations drawn around those of a busy
//! server.

use std::hint::black_box;
use std::time::Instant;

use tallyring::clock::Clock;
use tallyring::latency::{Latency, Stage};
use tallyring::session::Calls;

const ROUND_COUNT: usize = 9;
const BATCH_COUNT: u64 = 400_000;

fn main() {
    println!("medians of {ROUND_COUNT} rounds of {BATCH_COUNT} batches [least .. most], in ns a batch");
    for lap_count in [1, 16] {
        println!("{lap_count} in a lap");
        measure("clock reads", || {
            let clock = Clock::new();
            move |batch| read(&clock, batch % lap_count == 0)
        });
        for count in [1, 64] {
            measure(&format!("records, {count} commands"), || {
                let mut recording = Recording::default();
                move |batch| recording.record(count, batch % lap_count == 0)
            });
            measure(&format!("both, {count} commands"), || {
                let clock = Clock::new();
                let mut recording = Recording::default();
                move |batch| {
                    read(&clock, batch % lap_count == 0);
                    recording.record(count, batch % lap_count == 0);
                }
            });
        }
    }
    measure("the durations themselves", || {
        let mut durations = Durations(1);
        move |_| {
            for typical_ns in [500, 2_000, 8_000] {
                black_box(durations.next_ns(typical_ns));
            }
        }
    });
}

/// What a batch reads of the clock: encoded; and the first of a lap: received, executed from, sent.
fn read(clock: &Clock, is_first: bool) {
    for _ in 0..if is_first { 4 } else { 1 } {
        black_box(clock.now());
    }
}

/// What batches of one kind of command record. Those of a lap have waited for the same time, and are sent at once.
struct Recording {
    latency: Latency,
    durations: Durations,
    queue_ns: u64,
    whole_ns: u64,
}

impl Default for Recording {
    fn default() -> Recording {
        Recording { latency: Latency::default(), durations: Durations(1), queue_ns: 0, whole_ns: 0 }
    }
}

impl Recording {
    fn record(&mut self, count: u32, is_first: bool) {
        let Recording { latency, durations, queue_ns, whole_ns } = self;
        let (execute_ns, send_ns) = (durations.next_ns(2_000), durations.next_ns(8_000));
        if is_first {
            *queue_ns = durations.next_ns(500);
            *whole_ns = *queue_ns + durations.next_ns(10_000);
        }
        latency.record_stage(Stage::Queue, *queue_ns, u64::from(count));
        latency.record_stage(Stage::Execute, execute_ns, u64::from(count));
        latency.record_command(Calls { command: 1, count }, *whole_ns);
        latency.record_stage(Stage::Send, send_ns, u64::from(count));
        latency.record_stage(Stage::Whole, *whole_ns, u64::from(count));
    }
}

fn measure<F: FnMut(u64)>(name: &str, make: impl Fn() -> F) {
    let mut batch = make();
    let mut rounds: Vec<f64> = (0..=ROUND_COUNT)
        .map(|_| {
            let start = Instant::now();
            (0..BATCH_COUNT).for_each(&mut batch);
            start.elapsed().as_nanos() as f64 / BATCH_COUNT as f64
        })
        .skip(1) // the first touches the memory
        .collect();
    rounds.sort_by(f64::total_cmp);
    let (least, most) = (rounds[0], rounds[ROUND_COUNT - 1]);
    println!("{name:28} {:7.1}  [{least:.1} .. {most:.1}]", rounds[ROUND_COUNT / 2]);
}

/// Durations from a tenth to three times a typical one, from a xorshift generator (Marsaglia 2003).
struct Durations(u64);

impl Durations {
    fn next_ns(&mut self, typical_ns: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        typical_ns / 10 + self.0 % (3 * typical_ns)
    }
}
