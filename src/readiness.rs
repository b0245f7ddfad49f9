//! The sockets of a shard's idle connections, waited for in one epoll instance, which the ring waits for.
//!
//! Why they do not wait in the ring themselves: to take a buffer back the kernel looks for the operation on that
//! descriptor among all that wait in the ring. With 10,000 idle connections there, that search took 72% of a shard's
//! time while buffers were short, and stopped everybody for up to half a second. So the ring has only the operations
//! of connections that hold a buffer.
//!
//! Invariant: a socket is reported once each time that it is armed, and no more of them in a turn than a shard can serve
//! quickly: the others stay in the kernel's queue, in order.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{Timespec, epoll};

use crate::limits::READY_COUNT_MAX;
use crate::socket;

/// What an idle connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// A request, or the end of them.
    Readable,
    /// Room for its replies.
    Writable,
    /// The end of its client.
    Gone,
}

/// See the module.
#[derive(Debug)]
pub struct IdleSockets {
    epoll: OwnedFd,
}

impl IdleSockets {
    /// None yet.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn new() -> io::Result<IdleSockets> {
        Ok(IdleSockets { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)? })
    }

    /// Report `token` once when the socket is ready, or has ended. `known`: it has been armed before.
    ///
    /// # Errors
    /// `ENOSPC` beyond `fs.epoll.max_user_watches`.
    pub fn arm(&self, socket: BorrowedFd<'_>, known: bool, token: u64, until: Readiness) -> io::Result<()> {
        let events = match until {
            Readiness::Readable => epoll::EventFlags::IN | epoll::EventFlags::RDHUP,
            Readiness::Writable => epoll::EventFlags::OUT,
            Readiness::Gone => epoll::EventFlags::RDHUP,
        };
        let (events, token) = (events | epoll::EventFlags::ONESHOT, epoll::EventData::new_u64(token));
        match known {
            false => epoll::add(&self.epoll, socket, token, events)?,
            true => epoll::modify(&self.epoll, socket, token, events)?,
        }
        Ok(())
    }

    /// Wait for a turn of the ring in which sockets are ready, and give their tokens to `report`.
    ///
    /// # Errors
    /// What the ring says.
    pub async fn ready(&self, report: impl Fn(u64)) -> io::Result<()> {
        socket::readable(self.epoll.as_raw_fd()).await?;
        let mut events = [const { std::mem::MaybeUninit::uninit() }; READY_COUNT_MAX];
        let (ready, _) = epoll::wait(&self.epoll, &mut events, Some(&Timespec::default()))?;
        ready.iter().for_each(|event| report(event.data.u64()));
        Ok(())
    }
}
