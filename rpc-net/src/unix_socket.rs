//! [`UnixSocket`]: a connected Unix socket that asks for news of room to write only while there is none.
//!
//! The kernel tells whoever watches a Unix socket for room whenever the peer has read something, however much room there was before: a client and a server that
//! take turns would each be woken once more per call, for nothing. (TCP tells only those who were refused.)

use std::io::{self, IoSlice, Write as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BufMut;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::unix::UCred;
use tokio::runtime::Handle;
use tokio::time::{Sleep, sleep};

/// A Unix socket, registered with a tokio runtime.
#[derive(Debug)]
pub(crate) struct UnixSocket {
    /// Watched for something to read.
    stream: AsyncFd<UnixStream>,
    /// Where it is watched for room, as long as that is worth it.
    room: Mutex<Option<Room>>,
    /// Whose it is: writes may be tried outside of it.
    runtime: Handle,
    /// Who the peer is, or why the kernel does not know.
    peer: Result<UCred, io::ErrorKind>,
}

/// How a socket that had no room for a write waits for some.
#[derive(Debug)]
enum Room {
    Watched {
        /// A duplicate, which can be watched for something else.
        descriptor: AsyncFd<OwnedFd>,
        /// Writes since there was no room.
        calm: u32,
    },
    /// There was no descriptor left: it is tried again then.
    Later(Pin<Box<Sleep>>),
}

/// How soon a write is tried again without a descriptor that tells when.
const LATER: Duration = Duration::from_millis(10);

/// Writes without a refusal after which a socket is not watched for room any more: long bodies run into full buffers much more often.
const CALM: u32 = 64;

impl UnixSocket {
    /// Takes over a socket.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with I/O enabled.
    pub(crate) fn new(stream: tokio::net::UnixStream) -> io::Result<Self> {
        let peer = stream.peer_cred().map_err(|error| error.kind());
        let stream = watch(stream.into_std()?, Interest::READABLE)?;
        Ok(Self {
            stream,
            room: Mutex::new(None),
            runtime: Handle::current(),
            peer,
        })
    }

    /// Takes the socket out of the runtime.
    pub(crate) fn into_std(self) -> UnixStream {
        self.stream.into_inner()
    }

    pub(crate) fn std(&self) -> &UnixStream {
        self.stream.get_ref()
    }

    pub(crate) fn peer_cred(&self) -> io::Result<UCred> {
        self.peer.map_err(io::Error::from)
    }

    pub(crate) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_read_ready(cx).map_ok(drop)
    }

    /// Waits for room, if there was none at the last write; else there may be some.
    pub(crate) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self.room() {
            Some(Room::Watched { descriptor, .. }) => descriptor.poll_write_ready(cx).map_ok(drop),
            Some(Room::Later(sleep)) => sleep.as_mut().poll(cx).map(Ok),
            None => Poll::Ready(Ok(())),
        }
    }

    /// Reads by `read`, if there may be something; `WouldBlock` from it makes the next poll wait.
    pub(crate) fn try_read<R>(&self, read: impl FnOnce(&UnixStream) -> io::Result<R>) -> io::Result<R> {
        self.stream.try_io(Interest::READABLE, read)
    }

    pub(crate) fn try_write(&self, buffer: &[u8]) -> io::Result<usize> {
        self.try_write_by(|mut stream| stream.write(buffer))
    }

    pub(crate) fn try_write_vectored(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        self.try_write_by(|mut stream| stream.write_vectored(buffers))
    }

    fn try_write_by(&self, write: impl Fn(&UnixStream) -> io::Result<usize>) -> io::Result<usize> {
        let mut room = self.room();
        let Some(Room::Watched { descriptor, calm }) = &mut *room else {
            let result = write(self.std());
            let is_refused = matches!(&result, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
            // Room that was made in the meantime is told as soon as it is watched.
            *room = is_refused.then(|| self.watch_for_room());
            return result;
        };
        let result = descriptor.try_io(Interest::WRITABLE, |_| write(self.std()));
        match &result {
            Ok(_) if *calm == CALM => *room = None,
            Ok(_) => *calm += 1,
            Err(_) => *calm = 0,
        }
        result
    }

    fn watch_for_room(&self) -> Room {
        let _entered = self.runtime.enter();
        let duplicate = self.std().as_fd().try_clone_to_owned();
        match duplicate.and_then(|duplicate| watch(duplicate, Interest::WRITABLE)) {
            Ok(descriptor) => Room::Watched { descriptor, calm: 0 },
            Err(_) => Room::Later(Box::pin(sleep(LATER))),
        }
    }

    /// Nothing panics under the lock; if it did, what is watched would still be a socket.
    fn room(&self) -> MutexGuard<'_, Option<Room>> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsFd for UnixSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.std().as_fd()
    }
}

#[allow(
    deprecated,
    reason = "unsafe since tokio 1.54, because of descriptors that do not stay open or the same; these are owned and do"
)]
fn watch<T: AsRawFd>(socket: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(socket, interest)
}

/// Receives once from a socket of any kind into the spare room of `buffer`, uninitialised as it is.
#[expect(
    unsafe_code,
    reason = "tokio's own streams, which read into such memory, cannot be watched for one direction only"
)]
pub(crate) fn receive<B: BufMut>(socket: &impl AsFd, buffer: &mut B) -> io::Result<usize> {
    // SAFETY: `recv` only writes to the slice, and only initialised bytes.
    let spare = unsafe { buffer.chunk_mut().as_uninit_slice_mut() };
    let received = SockRef::from(socket).recv(spare)?;
    // SAFETY: so many bytes of the chunk were received, which has initialised them.
    unsafe { buffer.advance_mut(received) };
    Ok(received)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Read as _;

    use bytes::BytesMut;

    use super::*;

    type TestResult = Result<(), Box<dyn std::error::Error>>;

    /// A socket, and its peer, whose reads wait.
    fn pair() -> io::Result<(UnixSocket, UnixStream)> {
        let (ours, theirs) = tokio::net::UnixStream::pair()?;
        let theirs = theirs.into_std()?;
        theirs.set_nonblocking(false)?;
        Ok((UnixSocket::new(ours)?, theirs))
    }

    /// Writes until there is no room. How much was taken.
    fn fill(socket: &UnixSocket) -> io::Result<usize> {
        let mut taken = 0;
        loop {
            match socket.try_write(&[1; 4096]) {
                Ok(written) => taken += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(taken),
                Err(error) => return Err(error),
            }
        }
    }

    #[tokio::test]
    async fn what_fits_needs_no_second_descriptor() -> TestResult {
        let (socket, mut peer) = pair()?;
        for _ in 0..3 {
            assert_eq!(
                socket.try_write_vectored(&[IoSlice::new(b"ab"), IoSlice::new(b"c")])?,
                3
            );
            peer.read_exact(&mut [0; 3])?;
            poll_fn(|cx| socket.poll_write_ready(cx)).await?;
        }
        assert!(socket.room().is_none());
        Ok(())
    }

    #[tokio::test]
    async fn a_writer_without_room_is_woken_and_forgotten_once_it_has_had_room_for_a_while() -> TestResult {
        let (socket, mut peer) = pair()?;
        let mut taken = fill(&socket)?;
        assert!(socket.room().is_some());
        for round in 0..3 {
            let mut cx = Context::from_waker(std::task::Waker::noop());
            assert!(socket.poll_write_ready(&mut cx).is_pending(), "{round}");
            peer.read_exact(&mut vec![0; taken])?;
            poll_fn(|cx| socket.poll_write_ready(cx)).await?;
            taken = fill(&socket)?;
            assert!(taken > 0, "{round}");
        }
        peer.read_exact(&mut vec![0; taken])?;
        poll_fn(|cx| socket.poll_write_ready(cx)).await?;
        for _ in 0..CALM {
            assert_eq!(socket.try_write(b"a")?, 1);
            peer.read_exact(&mut [0])?;
        }
        assert!(socket.room().is_some());
        assert_eq!(socket.try_write(b"a")?, 1);
        assert!(socket.room().is_none());
        Ok(())
    }

    #[tokio::test]
    async fn room_that_is_made_before_it_is_asked_for_is_noticed() -> TestResult {
        let (socket, mut peer) = pair()?;
        let taken = fill(&socket)?;
        peer.read_exact(&mut vec![0; taken])?;
        poll_fn(|cx| socket.poll_write_ready(cx)).await?;
        assert_eq!(socket.try_write(b"a")?, 1);
        Ok(())
    }

    #[tokio::test]
    async fn a_thread_outside_of_the_runtime_may_find_no_room() -> TestResult {
        let (socket, mut peer) = pair()?;
        let filled = std::thread::scope(|scope| scope.spawn(|| fill(&socket)).join());
        let taken = filled.map_err(|_| "the thread panicked")??;
        peer.read_exact(&mut vec![0; taken])?;
        poll_fn(|cx| socket.poll_write_ready(cx)).await?;
        assert_eq!(socket.try_write(b"a")?, 1);
        Ok(())
    }

    #[tokio::test]
    async fn without_a_descriptor_left_a_write_is_tried_again_for_as_long_as_there_is_no_room() -> TestResult
    {
        let (socket, mut peer) = pair()?;
        let taken = fill(&socket)?;
        *socket.room() = Some(Room::Later(Box::pin(sleep(LATER))));
        poll_fn(|cx| socket.poll_write_ready(cx)).await?;
        let refused = socket.try_write(b"a").err().map(|error| error.kind());
        assert_eq!(refused, Some(io::ErrorKind::WouldBlock));

        *socket.room() = Some(Room::Later(Box::pin(sleep(LATER))));
        peer.read_exact(&mut vec![0; taken])?;
        poll_fn(|cx| socket.poll_write_ready(cx)).await?;
        assert_eq!(socket.try_write(b"a")?, 1);
        assert!(socket.room().is_none());
        Ok(())
    }

    #[tokio::test]
    async fn what_is_received_stands_behind_what_was_there() -> TestResult {
        let (socket, mut peer) = pair()?;
        let mut buffer = BytesMut::with_capacity(64);
        buffer.extend_from_slice(b"ab");
        peer.write_all(b"cdefg")?;
        assert_eq!(receive(socket.std(), &mut (&mut buffer).limit(3))?, 3);
        assert_eq!(buffer, b"abcde"[..]);
        assert_eq!(receive(socket.std(), &mut buffer)?, 2);
        assert_eq!(buffer, b"abcdefg"[..]);
        let error = receive(socket.std(), &mut buffer).err().map(|error| error.kind());
        assert_eq!(error, Some(io::ErrorKind::WouldBlock));
        drop(peer);
        assert_eq!(receive(socket.std(), &mut buffer)?, 0);
        assert_eq!(buffer.len(), 7);
        Ok(())
    }
}
