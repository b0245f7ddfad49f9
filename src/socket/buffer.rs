//! What is received into and sent from: memory that stays where it is when its owner is moved.

use std::ops::{Deref, DerefMut};

use tokio_uring::buf::fixed::FixedBuf;

/// See the module. An operation owns it while it is under way.
pub enum Buffer {
    /// Registered with the ring.
    Fixed(FixedBuf),
    /// Not.
    Plain(Box<[u8]>),
}

impl Buffer {
    /// Its index, if it is registered.
    pub(super) fn index(&self) -> Option<u16> {
        match self {
            Buffer::Fixed(buffer) => Some(buffer.buf_index()),
            Buffer::Plain(_) => None,
        }
    }
}

impl Default for Buffer {
    /// An empty one: what is left of one that an operation has.
    fn default() -> Buffer {
        Buffer::Plain(Box::default())
    }
}

impl From<FixedBuf> for Buffer {
    fn from(buffer: FixedBuf) -> Buffer {
        Buffer::Fixed(buffer)
    }
}

impl Deref for Buffer {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Buffer::Fixed(buffer) => buffer,
            Buffer::Plain(bytes) => bytes,
        }
    }
}

impl DerefMut for Buffer {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            Buffer::Fixed(buffer) => buffer,
            Buffer::Plain(bytes) => bytes,
        }
    }
}
