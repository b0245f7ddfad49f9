//! What a load thread receives into and sends from: registered with its ring where the kernel allows it.
//!
//! A thread with more connections than a ring can have buffers, or whose `RLIMIT_MEMLOCK` is too low, takes ordinary
//! memory instead: each operation then costs a little more, nothing else differs.

use std::io;
use std::ops::Range;

use bytes::BytesMut;
use tokio_uring::buf::fixed::FixedBufRegistry;

use crate::limits::FIXED_BUFFER_COUNT_MAX;
use crate::socket::{Buffer, Socket};

/// A cache line.
const LINE_BYTES: usize = 64;

/// Receive into a part, which is not empty. 0 is the end of the stream.
///
/// # Errors
/// What the kernel says.
#[inline]
pub async fn receive(socket: &Socket, buffer: &mut Buffer, part: Range<usize>) -> io::Result<usize> {
    let result;
    (result, *buffer) = socket.receive(std::mem::take(buffer), part).await;
    result
}

/// The same where nothing can be there yet: the answer to what is about to be sent.
///
/// # Errors
/// What the kernel says.
#[inline]
pub async fn receive_next(socket: &Socket, buffer: &mut Buffer, part: Range<usize>) -> io::Result<usize> {
    let result;
    (result, *buffer) = socket.receive_next(std::mem::take(buffer), part).await;
    result
}

/// Send a part, all of it.
///
/// # Errors
/// What the kernel says.
#[inline]
pub async fn send(socket: &Socket, buffer: &mut Buffer, mut part: Range<usize>) -> io::Result<()> {
    while !part.is_empty() {
        let result;
        (result, *buffer) = socket.send(std::mem::take(buffer), part.clone(), true).await;
        match result {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(sent_bytes) => part.start += sent_bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// `count` buffers of at least `bytes`. Within the thread's runtime.
pub fn allocate(count: usize, bytes: usize) -> Vec<Buffer> {
    // A multiple of the cache line keeps neighbours apart, an odd one keeps equal places out of equal cache sets.
    let bytes = (bytes.div_ceil(LINE_BYTES) | 1) * LINE_BYTES;
    if count <= FIXED_BUFFER_COUNT_MAX {
        let mut region = BytesMut::with_capacity(count * bytes);
        // Ones, not zeros: zeroed pages would not be there before they are written to.
        region.resize(count * bytes, 1);
        let registry = FixedBufRegistry::new((0..count).map(|_| region.split_to(bytes)));
        if registry.register().is_ok() {
            return (0..count)
                .map(|index| Buffer::Fixed(registry.check_out(index).expect("no buffer is lent yet")))
                .collect();
        }
    }
    allocate_plain(count, bytes)
}

/// `count` buffers of `bytes` that are not registered.
pub fn allocate_plain(count: usize, bytes: usize) -> Vec<Buffer> {
    (0..count).map(|_| Buffer::Plain(vec![1; bytes].into())).collect()
}
