//! The closed loop: each connection sends its next requests as soon as the last ones are answered, so the server sets
//! the pace.

use std::io;
use std::rc::Rc;

use super::buffer::Buffer;
use super::pace::now_ns;
use super::requests::Standing;
use super::thread::{Connection, Thread};

/// Load until the time is over or the requests are used up.
pub async fn load(thread: &Rc<Thread>, connections: &[Rc<Connection>], buffers: Vec<(Buffer, Buffer)>) {
    if thread.run.busy_poll {
        tokio_uring::spawn(poll_busily(thread.clone()));
    }
    let tasks: Vec<_> = connections
        .iter()
        .zip(buffers)
        .map(|(connection, (input, output))| {
            tokio_uring::spawn(go_on(thread.clone(), connection.clone(), input, output))
        })
        .collect();
    for task in tasks {
        task.await.expect("a task that fails ends the process");
    }
}

async fn go_on(thread: Rc<Thread>, connection: Rc<Connection>, input: Buffer, output: Buffer) {
    if let Err(error) = exchange(&thread, &connection, input, output).await {
        thread.lose(&connection, &error);
    }
}

async fn exchange(thread: &Thread, connection: &Connection, mut input: Buffer, mut output: Buffer) -> io::Result<()> {
    let slots = thread.nodes[connection.node].slots.as_ref();
    let mut standing = Standing::default();
    let mut left_count = thread.budget(connection).unwrap_or(u64::MAX);
    let mut now = now_ns();
    while left_count > 0 && !thread.is_over(now) {
        // Those of the warm-up are in no budget.
        let is_warm = now >= thread.span.get().start_ns;
        let wanted_count =
            if is_warm { left_count.min(thread.run.pipeline as u64) } else { thread.run.pipeline as u64 };
        let (count, bytes) = {
            let flight = &mut *connection.flight.borrow_mut();
            let mut requests = thread.requests.borrow_mut();
            let written = requests.write(&mut output, &mut standing, wanted_count as usize, slots, |command, key| {
                flight.push(command, key, now, &thread.rules);
            });
            flight.sent(written.0 as u32, now);
            written
        };
        if is_warm {
            left_count -= count as u64;
        }
        thread.pending_count.set(thread.pending_count.get() + count);
        {
            let mut report = thread.report.borrow_mut();
            report.count_intended(thread.span.get(), now, count as u64);
            if is_warm {
                report.count_sent(thread.span.get(), now, count as u64);
            }
        }
        let result;
        (result, output) = output.send(&connection.socket, 0..bytes).await;
        result?;
        let mut partial_bytes = 0;
        while !connection.flight.borrow().is_empty() {
            let end = input.len();
            let result;
            (result, input) = input.receive(&connection.socket, partial_bytes..end).await;
            let received_bytes = result?;
            if received_bytes == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection"));
            }
            now = now_ns();
            partial_bytes = thread.take_replies(connection, &mut input, partial_bytes + received_bytes, now)?;
        }
    }
    Ok(())
}

/// Keep the ring turning without sleeping.
async fn poll_busily(thread: Rc<Thread>) {
    let (mut event_count, mut before_ns) = (0, now_ns());
    while !thread.stopping.get() {
        let _ = tokio_uring::no_op().await;
        thread.note_spin(&mut event_count, &mut before_ns);
    }
}
