//! What the journal is told: which counters change, what they are when their frame ends, and which have gone.
//!
//! A counter that changes is marked, and its record is made when the frame has ended, some hundred counters at a time. A
//! frame is a state that there was all the same: one that changes before its record is made has that made first, with
//! what it was.

use super::Counters;
use super::cell;
use super::cells::CellRef;
use crate::journal::changes::{Recorder, Taken};

/// Counters whose records are made together.
const BATCH_COUNT: usize = 64;

impl Counters {
    /// Record changes from now on.
    pub fn start_recording(&mut self, recorder: Box<Recorder>) {
        assert!(self.recorder.is_none(), "one journal at a time");
        self.recorder = Some(recorder);
    }

    /// Record no more; the frames that the recorder still has are whole.
    pub fn stop_recording(&mut self) -> Option<Box<Recorder>> {
        self.make_records(usize::MAX);
        if let Some(recorder) = &mut self.recorder {
            let frame = recorder.sequence();
            make_records_of(&mut self.cells, recorder, frame, usize::MAX);
        }
        self.recorder.take()
    }

    /// Where changes are recorded.
    #[inline]
    pub fn recorder(&self) -> Option<&Recorder> {
        self.recorder.as_deref()
    }

    /// Where changes are recorded.
    #[inline]
    pub fn recorder_mut(&mut self) -> Option<&mut Recorder> {
        self.recorder.as_deref_mut()
    }

    /// End the frame that is being filled, unless the one before has not been taken, and make about `count` records: more
    /// where the next one fills faster.
    pub fn take_frame(&mut self, count: usize) -> Taken {
        let Some(recorder) = &mut self.recorder else { return Taken::Nothing };
        recorder.end_frame();
        self.make_records(count);
        while self.recorder().is_some_and(Recorder::is_behind) {
            self.make_records(BATCH_COUNT);
        }
        self.recorder.as_mut().map_or(Taken::Nothing, |recorder| recorder.take())
    }

    /// Make about `count` records of the frame that has ended.
    pub(super) fn make_records(&mut self, count: usize) {
        if let Some(recorder) = &mut self.recorder
            && let Some(frame) = recorder.ended_sequence()
        {
            make_records_of(&mut self.cells, recorder, frame, count);
        }
    }

    /// To be called before a counter changes, goes or takes another cell: the frame that has ended has what it is.
    #[inline(always)]
    pub(super) fn settle(&mut self, cell: CellRef) {
        if self.recorder.is_some() {
            self.settle_recorded(cell);
        }
    }

    /// Apart, as the next one: without a journal nothing of it is in the way.
    #[inline(never)]
    fn settle_recorded(&mut self, cell: CellRef) {
        if let Some(recorder) = &mut self.recorder
            && let Some(frame) = recorder.ended_sequence()
            && self.cells.unmark(cell, frame)
        {
            let cell = self.cells.get(cell);
            recorder.put(frame, cell::key(cell), cell::entry(cell));
        }
    }

    /// A counter has changed, or is new.
    #[inline(always)]
    pub(super) fn note_change(&mut self, cell: CellRef) {
        if self.recorder.is_some() {
            self.note_recorded(cell);
        }
    }

    #[inline(never)]
    fn note_recorded(&mut self, cell: CellRef) {
        if let Some(recorder) = &mut self.recorder {
            recorder.count_change();
            if self.cells.mark(cell, recorder.sequence()) {
                let cell = self.cells.get(cell);
                recorder.expect_put(cell::key(cell).len(), !cell::is_lasting(cell));
            }
        }
    }

    /// A counter is about to go from this cell to another one. Whether a record of it is still to be made does not matter:
    /// it will change.
    pub(super) fn note_leaving(&mut self, cell: CellRef) {
        self.settle(cell);
        self.unmark(cell);
    }

    /// A counter is about to be deleted.
    pub(super) fn note_delete(&mut self, cell: CellRef) {
        self.note_leaving(cell);
        if let Some(recorder) = &mut self.recorder {
            recorder.count_change();
            recorder.delete(cell::key(self.cells.get(cell)));
        }
    }

    /// A counter has expired and is about to go. Whoever replays the journal sees that too, if the journal has the expiry.
    pub(super) fn note_expired(&mut self, cell: CellRef) {
        self.settle(cell);
        if self.unmark(cell)
            && let Some(recorder) = &mut self.recorder
        {
            recorder.delete(cell::key(self.cells.get(cell)));
        }
    }

    /// No record is to be made of what a cell has; false if none was.
    fn unmark(&mut self, cell: CellRef) -> bool {
        let Some(recorder) = &mut self.recorder else { return false };
        let marked = self.cells.unmark(cell, recorder.sequence());
        if marked {
            let cell = self.cells.get(cell);
            recorder.expect_no_put(cell::key(cell).len(), !cell::is_lasting(cell));
        }
        marked
    }
}

/// Make about `count` records of counters that have a frame's mark.
fn make_records_of(cells: &mut super::Cells, recorder: &mut Recorder, frame: u64, count: usize) {
    let mut made_count = 0;
    let mut batch = [CellRef::NONE; BATCH_COUNT];
    while made_count < count && recorder.expects_puts(frame) {
        let batch_count = cells.take_marked(frame, &mut batch);
        assert!(batch_count > 0, "as many counters are marked as records are expected");
        for cell in &batch[..batch_count] {
            let cell = cells.get(*cell);
            recorder.put(frame, cell::key(cell), cell::entry(cell));
        }
        made_count += batch_count;
    }
}
