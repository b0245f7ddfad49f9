//! What shards ask each other, and the answers. A shard asks itself the same way, without a message.

use std::rc::Rc;

use super::Shard;
use super::hold::Holder;
use crate::connection::Connection;
use crate::counters::{Counters, Visit};
use crate::glob;
use crate::journal::changes::Room;
use crate::latency::Event;
use crate::limits::{KEY_BYTES_MAX, SCAN_STEP_BYTES_MAX, SCAN_STEP_COMPARISON_COUNT_MAX};
use crate::mesh::{Answer, Ask, Keys, Message};

/// Counters that one step of `RANDOMKEY` looks at where most have expired.
const RANDOM_VISIT_COUNT: usize = 1_000;

impl Shard {
    /// Ask a shard (this one too) something. `holder`: the asker holds it.
    pub async fn ask(self: &Rc<Self>, waiter: u32, target: usize, holder: bool, ask: Ask) -> Answer {
        if touches_counters(&ask) {
            self.waiters.borrow_mut()[waiter as usize].touched.insert(target);
        }
        if target != self.index {
            self.waiters.borrow_mut()[waiter as usize].left_count = 1;
            let ask = Box::new(ask);
            self.mesh.push(target, Message::Ask { from: self.index as u16, waiter, holder, ask });
            self.mesh.wake(target);
        } else if matches!(ask, Ask::Hold) {
            self.waiters.borrow_mut()[waiter as usize].left_count = 1;
            self.want_hold(Holder::Own { waiter });
        } else {
            // Nobody but a holder asks for what has to be recorded, except for a flush, which makes room.
            if !holder && touches_counters(&ask) {
                self.until_released().await;
            }
            return self.answer(ask);
        }
        self.returned(waiter).await;
        let answer = self.waiters.borrow_mut()[waiter as usize].answer.take();
        *answer.expect("who is woken has an answer")
    }

    /// Handle what other shards send, for as long as the shard runs.
    pub async fn receive_messages(self: Rc<Self>) {
        loop {
            self.mesh.woken().await;
            for source in self.mesh.sources() {
                let mut answered = false;
                while let Some(message) = self.mesh.pop(source) {
                    // While the shard is held, only its holder's messages are handled, and there is room for those.
                    while !self.hold.held.get() && self.room(Room::WINDOW).is_none() {
                        self.until_room(Room::WINDOW).await;
                    }
                    answered |= self.handle(message);
                }
                if answered {
                    self.mesh.wake(source);
                }
            }
            self.publish_memory();
            self.note_message();
        }
    }

    /// Handle a message. True when something was sent back, to a shard that is still to be woken.
    pub(super) fn handle(self: &Rc<Self>, message: Message) -> bool {
        match message {
            Message::Execute { ref batch, .. } if self.hold.held.get() && !batch.holder => self.defer(message),
            Message::Ask { ref ask, holder: false, .. } if self.hold.held.get() && touches_counters(ask) => {
                self.defer(message)
            }
            Message::Execute { from, waiter, mut batch } => {
                match batch.holder || self.has_room(Room::WINDOW) {
                    true => batch.execute(&mut self.counters.borrow_mut()),
                    false => batch.execute_reads(&mut self.counters.borrow_mut()),
                }
                self.note_changes();
                self.mesh.push(usize::from(from), Message::Executed { waiter, batch });
                true
            }
            Message::Executed { waiter, batch } => {
                self.come_back(waiter, |waiter| waiter.executed.push(batch));
                false
            }
            Message::Ask { from, waiter, ask, .. } => match *ask {
                Ask::Hold => {
                    self.want_hold(Holder::Other { shard: usize::from(from), waiter });
                    false
                }
                ask => {
                    let answer = Box::new(self.answer(ask));
                    self.mesh.push(usize::from(from), Message::Answer { waiter, answer });
                    true
                }
            },
            Message::Answer { waiter, answer } => {
                self.come_back(waiter, |waiter| waiter.answer = Some(answer));
                false
            }
            Message::Accepted(accepted) => {
                Connection::start(self, *accepted);
                false
            }
        }
    }

    /// Answer a question at once. `Hold` is not one of these.
    fn answer(self: &Rc<Self>, ask: Ask) -> Answer {
        let touches = touches_counters(&ask);
        let answer = self.answer_now(ask);
        if touches {
            self.note_changes();
        }
        answer
    }

    fn answer_now(self: &Rc<Self>, ask: Ask) -> Answer {
        let now_ms = self.clock.now().unix_ms;
        let mut counters = self.counters.borrow_mut();
        match ask {
            Ask::Hold => unreachable!("a hold is granted, not answered"),
            Ask::Release => {
                drop(counters);
                self.release();
                Answer::Done
            }
            Ask::StopRecording => {
                drop(counters);
                self.stop_recording();
                Answer::Done
            }
            Ask::ChangedFrame => {
                drop(counters);
                Answer::Count(self.changed_frame())
            }
            Ask::EndFrame(tick_s) => {
                drop(counters);
                self.end_frame_of(tick_s);
                Answer::Done
            }
            Ask::Link(links) => {
                if let Some(recorder) = counters.recorder_mut() {
                    recorder.link(links.into_iter());
                }
                Answer::Done
            }
            Ask::KeyCount => Answer::Count(counters.key_count()),
            Ask::SlotKeyCount(slot) => Answer::Count(counters.slot_key_count(slot)),
            Ask::Flush => {
                counters.flush(now_ms);
                Answer::Done
            }
            Ask::Scan { cursor, count, pattern } => scan(&counters, cursor, count, pattern.as_deref(), now_ms),
            Ask::Random(pick) => {
                // Whoever holds the shard has it to itself, and nothing but its own changes happen.
                let is_held = self.hold.held.get();
                let visit_count = if is_held { usize::MAX } else { RANDOM_VISIT_COUNT };
                let key = counters.random(pick, now_ms, visit_count).map(Box::from);
                if key.is_none() && !is_held {
                    counters.sweep(now_ms, RANDOM_VISIT_COUNT);
                }
                Answer::Key(key)
            }
            Ask::Entry(key) => Answer::Entry(counters.entry(self.key(&key), now_ms)),
            Ask::Take(key) => Answer::Entry(counters.take(self.key(&key), now_ms)),
            Ask::Put(key, entry) => Answer::Put(counters.put(self.key(&key), entry)),
            Ask::PutMoved(key, entry) => Answer::Put(counters.put_moved(self.key(&key), entry)),
            Ask::Watch(key) => Answer::Count(counters.watch(self.key(&key), now_ms)),
            Ask::WatchedVersion(key) => Answer::Count(counters.watched_version(self.key(&key), now_ms)),
            Ask::Unwatch(key) => {
                counters.unwatch(self.key(&key));
                Answer::Done
            }
            Ask::Report => {
                drop(counters);
                Answer::Report(Box::new(self.report()))
            }
            Ask::Histogram(which) => {
                Answer::Histogram(self.stats.borrow_mut().latency.histogram(which).cloned().map(Box::new))
            }
            Ask::Spikes => {
                let stats = self.stats.borrow();
                Answer::Spikes(Event::ALL.map(|event| stats.latency.monitor.series(event).clone()))
            }
            Ask::ResetSpikes(events) => {
                let monitor = &mut self.stats.borrow_mut().latency.monitor;
                let reset = Event::ALL.map(|event| events[event as usize] && monitor.reset(event));
                Answer::ResetSpikes(reset)
            }
            Ask::ResetStats => {
                counters.reset_stats();
                self.stats.borrow_mut().reset();
                Answer::Done
            }
            Ask::FollowSettings => {
                drop(counters);
                self.live();
                Answer::Done
            }
            Ask::Clients { filter, from } => self.client_lines(&filter, from),
            Ask::KillClients(filter) => Answer::Count(self.kill_clients(&filter)),
            Ask::Monitor { monitor, sample } => {
                self.monitors.attach(monitor.into(), sample);
                Answer::Done
            }
            Ask::Monitored(monitor) => {
                let mut monitored = self.monitors.take(monitor.into());
                self.stats.borrow_mut().counts.monitor_missed_count += monitored.missed_count;
                monitored.tell_missed(self.clock.unix_us(), self.index);
                Answer::Monitored(monitored)
            }
            Ask::Unmonitor(monitor) => {
                self.monitors.detach(monitor.into());
                Answer::Done
            }
            Ask::Slowlog(count) => Answer::Slowlog(self.stats.borrow().slow_entries(count)),
            Ask::SlowlogReset => {
                self.stats.borrow_mut().reset_slow();
                Answer::Done
            }
        }
    }
}

/// Whether a transaction's hold must keep this question waiting.
fn touches_counters(ask: &Ask) -> bool {
    !matches!(
        ask,
        Ask::Hold
            | Ask::Release
            | Ask::StopRecording
            | Ask::Report
            | Ask::Histogram(_)
            | Ask::Spikes
            | Ask::ResetSpikes(_)
            | Ask::ResetStats
            | Ask::FollowSettings
            | Ask::Clients { .. }
            | Ask::KillClients(_)
            | Ask::Monitor { .. }
            | Ask::Monitored(_)
            | Ask::Unmonitor(_)
            | Ask::Slowlog(_)
            | Ask::SlowlogReset
            | Ask::Unwatch(_)
    )
}

/// One step of `SCAN` or `KEYS`: as many keys as that, or until the bytes of keys or the comparisons are enough for one.
fn scan(counters: &Counters, cursor: u64, count: u64, pattern: Option<&[u8]>, now_ms: i64) -> Answer {
    let mut keys = Keys::with_room();
    let mut comparison_count = 0;
    let cursor = counters.scan_until(cursor, count, now_ms, &mut |key, _| {
        comparison_count += pattern.map_or(0, |pattern| glob::comparison_count_max(pattern, key));
        if pattern.is_none_or(|pattern| glob::matches(pattern, key)) {
            keys.push(key);
        }
        // Those of one position are of one step, or it would begin with them again.
        let has_room = keys.bytes() + 2 * KEY_BYTES_MAX <= SCAN_STEP_BYTES_MAX;
        if has_room && comparison_count < SCAN_STEP_COMPARISON_COUNT_MAX { Visit::Next } else { Visit::Last }
    });
    Answer::Keys { cursor, keys }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::{Op, Seed};
    use crate::limits::{SCAN_STEP_COUNT, SLOT_COUNT};

    #[test]
    fn a_pattern_that_is_hard_to_match_makes_more_steps_and_not_longer_ones() {
        let seed = Seed::of_process();
        let mut counters = Counters::new(0..SLOT_COUNT as u16);
        let keys: Vec<Vec<u8>> = (0..100).map(|number| format!("{number:0>1000}").into_bytes()).collect();
        for key in &keys {
            counters.apply(seed.key(key), Op::Add(1), 0);
        }
        // Some of these have the same position.
        let tagged: Vec<Vec<u8>> = (0..1_000).map(|number| format!("{{a}}{number:0>67}").into_bytes()).collect();
        let steps = |counters: &Counters, pattern: &[u8]| {
            let (mut cursor, mut step_count, mut key_count) = (0, 0, 0);
            loop {
                let answer = scan(counters, cursor, SCAN_STEP_COUNT, Some(pattern), 0);
                let Answer::Keys { cursor: next, keys } = answer else { unreachable!("it is a scan") };
                assert!(next == 0 || next != cursor, "it goes on");
                (cursor, step_count, key_count) = (next, step_count + 1, key_count + keys.len());
                if cursor == 0 {
                    return (step_count, key_count);
                }
            }
        };
        assert_eq!(steps(&counters, b"*9"), (1, 10));
        let class = [b"*[".to_vec(), b"x".repeat(4_000), b"9]".to_vec()].concat();
        assert_eq!(steps(&counters, &class), (100, 10));
        counters.flush(0);
        for key in &tagged {
            counters.apply(seed.key(key), Op::Add(1), 0);
        }
        let (step_count, key_count) = steps(&counters, &class);
        assert!((900..=1_000).contains(&step_count) && key_count == 100, "{step_count} steps, {key_count} keys");
    }
}
