//! The closed loop: each connection sends its next requests as soon as the last ones are answered, so the server sets
//! the pace.

use std::io;
use std::rc::Rc;

use super::buffer;
use super::pace::now_ns;
use super::reopen::{closed_by_server, reopen};
use super::requests::Standing;
use super::thread::{Connection, Thread};
use crate::socket::Buffer;

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

/// A connection's part of the load, opened again where it is lost.
async fn go_on(thread: Rc<Thread>, connection: Rc<Connection>, mut input: Buffer, mut output: Buffer) {
    let mut left_count = thread.budget(&connection).unwrap_or(u64::MAX);
    while let Err(error) = exchange(&thread, &connection, &mut left_count, &mut input, &mut output).await {
        thread.lose(&connection, &error);
        if !reopen(&thread, &connection).await {
            return;
        }
    }
}

async fn exchange(
    thread: &Thread,
    connection: &Connection,
    left_count: &mut u64,
    input: &mut Buffer,
    output: &mut Buffer,
) -> io::Result<()> {
    let socket = connection.socket();
    let part = thread.nodes[connection.node].part.as_ref();
    let mut standing = Standing::default();
    let mut now = now_ns();
    while *left_count > 0 && !thread.is_over(now) {
        // Those of the warm-up are in no budget.
        let is_warm = now >= thread.span.get().start_ns;
        let pipeline = thread.run.pipeline as u64;
        let wanted_count = if is_warm { pipeline.min(*left_count) } else { pipeline };
        let (count, bytes) = {
            let flight = &mut *connection.flight.borrow_mut();
            let mut requests = thread.requests.borrow_mut();
            let written = requests.write(output, &mut standing, wanted_count as usize, part, |command, key| {
                flight.push(command, key, now, &thread.rules);
            });
            flight.sent(written.0 as u32, now);
            written
        };
        if is_warm {
            *left_count -= count as u64;
        }
        thread.pending_count.set(thread.pending_count.get() + count);
        {
            let mut report = thread.report.borrow_mut();
            report.count_intended(thread.span.get(), now, count as u64);
            if is_warm {
                report.count_sent(thread.span.get(), now, count as u64);
            }
        }
        buffer::send(&socket, output, 0..bytes).await?;
        let mut partial_bytes = 0;
        while !connection.flight.borrow().is_empty() {
            let end = input.len();
            let received_bytes = buffer::receive(&socket, input, partial_bytes..end).await?;
            if received_bytes == 0 {
                return Err(closed_by_server());
            }
            now = now_ns();
            partial_bytes = thread.take_replies(connection, input, partial_bytes + received_bytes, now)?;
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
