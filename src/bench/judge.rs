//! What a run is worth, and who could not go faster: from facts alone, so that each rule can be tested.

use hdrhistogram::Histogram;

use super::histogram::percentile_ns;
use super::result::{Bottleneck, Load, Requests, Verdict, Verification};
use super::target::{MOVED, is_redirection};

/// A thread that is busy for this share of the time has no reserve: what it measures is itself.
pub const BUSY_SHARE_MAX: f64 = 0.95;

/// In less time than this nobody is seen to be busy: what threads do before and after it weighs too much.
const BUSY_NS_MIN: u64 = 100_000_000;

/// A closed loop whose thread was kept from running for this share of the time measures what kept it.
const KEPT_SHARE_MAX: f64 = 0.5;

/// From this share on it is said.
const KEPT_SHARE_MIN: f64 = 0.1;

/// The server's busiest thread is its limit from this share on.
const SERVER_SHARE_MIN: f64 = 0.90;

/// Less lateness of the generator's own than this at a quantile never spoils a result, nor less than this share of the
/// response time there. Where samples are too few for the higher ones, the lower ones decide.
const LATENESS_RULES: [Rule; 4] = [
    Rule { quantile: 0.99, name: "p99", lateness_ns: 100_000, share: 0.10 },
    Rule { quantile: 0.999, name: "p99.9", lateness_ns: 1_000_000, share: 0.25 },
    Rule { quantile: 0.9, name: "p90", lateness_ns: 100_000, share: 0.10 },
    Rule { quantile: 0.5, name: "p50", lateness_ns: 100_000, share: 0.10 },
];

/// So much lateness at a quantile spoils no result: the generator's user has a goal there, beside which it is small.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    /// The share of the requests; 1 is all of them.
    pub quantile: f64,
    /// Lateness in nanoseconds.
    pub lateness_ns: u64,
}

struct Rule {
    quantile: f64,
    name: &'static str,
    lateness_ns: u64,
    share: f64,
}

/// An open loop that achieves less of its rate than this was held up.
pub const ACHIEVED_SHARE_MIN: f64 = 0.995;

/// What is known of a run.
#[derive(Debug)]
pub struct Facts<'a> {
    /// How it was loaded.
    pub load: Load,
    /// How many requests there were.
    pub requests: Requests,
    /// The measured time in nanoseconds.
    pub measured_ns: u64,
    /// The times of all requests from their intended time on.
    pub response: &'a Histogram<u64>,
    /// What of the lateness is the generator's own.
    pub own_lateness: &'a Histogram<u64>,
    /// Lateness within all of these, if there are any, spoils nothing.
    pub tolerances: &'a [Tolerance],
    /// Share of the time that each thread of the generator was busy.
    pub generator_busy: Vec<f64>,
    /// Share of the time for which others kept the generator's most hindered thread from running.
    pub generator_kept: f64,
    /// Share of a core that the server used, all its threads and the busiest, where it can be seen.
    pub server: Option<(f64, f64)>,
    /// Segments sent again.
    pub retransmits: Option<u64>,
    /// Whether the counters are right.
    pub verification: &'a Verification,
    /// How many requests were answered with errors, those before and after the measured time too, and the first error.
    pub errors: Option<(u64, &'a str)>,
    /// Each node was asked for its own keys.
    pub is_cluster: bool,
    /// How the first connection that was lost ended.
    pub reset: Option<&'a str>,
    /// Why the run ended before its time.
    pub cut_short: Option<&'a str>,
}

impl Facts<'_> {
    /// The verdict; what is worst comes first.
    pub fn verdict(&self) -> Verdict {
        if let Verification::Failed { findings } = self.verification {
            return Verdict::Mismatch { reason: findings.join("; ") };
        }
        if let Some((count, text)) = self.errors {
            let when = match self.requests.errors {
                0 => ", all of them before or after the measured time",
                _ => "",
            };
            let moved = if self.is_cluster && is_redirection(text) { MOVED } else { "" };
            let reason = format!("{count} requests were answered with errors{when}, the first: {text}{moved}");
            return Verdict::Mismatch { reason };
        }
        if let Some(reason) = self.cut_short {
            return Verdict::Partial { reason: reason.to_owned() };
        }
        let Requests { intended, sent, withheld, unanswered, resets, reopened, .. } = self.requests;
        let unsent = intended.saturating_sub(sent).saturating_sub(withheld);
        if resets > 0 {
            let how = self.reset.unwrap_or_default();
            let reason = format!(
                "{resets} connections were lost, the first: {how}; {reopened} were opened again; {unanswered} requests were \
                 never answered, and {unsent} could not be sent; the response times are without them"
            );
            return Verdict::Mismatch { reason };
        }
        if let Some(reason) = self.is_busy() {
            return Verdict::Inconclusive { reason };
        }
        if withheld > 0 {
            let reason = format!(
                "the generator did not come to {withheld} of {intended} requests: it cannot offer this rate, or was kept \
                 from running; give it more --threads and cores of their own (--pin), or lower the rate"
            );
            return Verdict::Inconclusive { reason };
        }
        if unanswered + unsent > 0 {
            let reason = format!(
                "the server did not keep up: when the time of grace was over {unanswered} requests were not answered, and \
                 {unsent} could not be sent; the response times are without them"
            );
            return Verdict::Mismatch { reason };
        }
        if self.requests.answered == 0 {
            let reason = match intended {
                0 => {
                    "no request was to be sent within the measured time: choose a higher --rate or a longer --duration"
                }
                _ => "nothing was answered within the measured time",
            };
            return Verdict::Inconclusive { reason: reason.to_owned() };
        }
        match self.is_late().or_else(|| self.is_kept()) {
            Some(reason) => Verdict::Inconclusive { reason },
            None => Verdict::Ok,
        }
    }

    /// The generator had no reserve.
    fn is_busy(&self) -> Option<String> {
        let busiest = self.busiest();
        self.is_saturated().then(|| {
            format!(
                "the generator was busy for {:.0}% of the time: give it more --threads, or fewer --connections with a \
                 deeper --pipeline",
                100.0 * busiest
            )
        })
    }

    /// Other programs had the generator's cores.
    fn is_kept(&self) -> Option<String> {
        let is_kept =
            self.load == Load::Closed && self.measured_ns >= BUSY_NS_MIN && self.generator_kept > KEPT_SHARE_MAX;
        is_kept.then(|| {
            format!(
                "others kept the generator from running for {:.0}% of the time: leave it a core of its own (--pin)",
                100.0 * self.generator_kept
            )
        })
    }

    /// The generator did not send when it should have.
    fn is_late(&self) -> Option<String> {
        if self.load == Load::Closed || self.is_tolerated() {
            return None;
        }
        LATENESS_RULES.iter().find_map(|rule| {
            let late_ns = percentile_ns(self.own_lateness, rule.quantile)?;
            let response_ns = percentile_ns(self.response, rule.quantile)?;
            let is_late = late_ns > rule.lateness_ns && late_ns as f64 > rule.share * response_ns as f64;
            is_late.then(|| {
                format!(
                    "the generator was late by {} us at {}, which the response times contain: leave it a core of its \
                     own (--pin, --busy-poll), or lower the rate",
                    late_ns / 1_000,
                    rule.name
                )
            })
        })
    }

    fn is_tolerated(&self) -> bool {
        let is_within = |of: &Tolerance| self.own_lateness.value_at_quantile(of.quantile) <= of.lateness_ns;
        !self.tolerances.is_empty() && self.tolerances.iter().all(is_within)
    }

    fn is_saturated(&self) -> bool {
        self.measured_ns >= BUSY_NS_MIN && self.busiest() >= BUSY_SHARE_MAX
    }

    fn busiest(&self) -> f64 {
        self.generator_busy.iter().copied().fold(0.0, f64::max)
    }

    fn is_achieved(&self) -> bool {
        self.requests.achieved_share(self.load, self.measured_ns).is_some_and(|share| share >= ACHIEVED_SHARE_MIN)
    }

    /// Who could not go faster.
    pub fn bottleneck(&self) -> Bottleneck {
        let withheld = self.requests.withheld;
        let summary = if withheld > 0 {
            format!("the generator: it did not come to {withheld} of {} requests", self.requests.intended)
        } else if self.requests.answered == 0 {
            let asked = self.requests.intended > 0;
            if asked { "the server answered nothing" } else { "none: no request was to be sent" }.to_owned()
        } else if self.is_saturated() {
            format!("the generator: its busiest thread had work for {:.0}% of the time", 100.0 * self.busiest())
        } else if self.is_achieved() {
            "none: the offered rate was achieved".to_owned()
        } else if self.generator_kept >= KEPT_SHARE_MIN
            && self.server.is_none_or(|(_, busiest)| busiest < SERVER_SHARE_MIN)
        {
            format!("the generator: others kept it from running for {:.0}% of the time", 100.0 * self.generator_kept)
        } else {
            match self.server {
                Some((_, busiest)) if busiest >= SERVER_SHARE_MIN => {
                    format!("the server: its busiest thread used {:.0}% of a core", 100.0 * busiest)
                }
                Some((_, busiest)) => format!(
                    "neither had its cores full (the server's busiest thread {:.0}%, the generator's {:.0}%): the \
                     time goes into the network, the waking of threads, or other programs",
                    100.0 * busiest,
                    100.0 * self.busiest()
                ),
                None => format!(
                    "the server or the network: the generator's busiest thread had work for {:.0}% of the time",
                    100.0 * self.busiest()
                ),
            }
        };
        Bottleneck {
            generator_busy: self.generator_busy.clone(),
            server_cpu: self.server.map(|(all, _)| all),
            server_thread_cpu: self.server.map(|(_, busiest)| busiest),
            retransmits: self.retransmits,
            summary,
        }
    }
}

#[cfg(test)]
mod tests;
