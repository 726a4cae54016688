//! Tasks: the floor for clients whose calls are made by tasks of their own, as those of every framework are. They share a connection: a lock, a table of those who wait, and a driver that
//! writes what has gathered and wakes whose answer has come.

use std::collections::VecDeque;
use std::io;
use std::mem::{replace, take};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use harness::{Address, Block, Client, ListSums, Result, data};

use crate::echo::{self, FRAME};
use crate::socket::{Socket, closed};

/// A connection, as its callers see it.
#[derive(Clone)]
pub(crate) struct Tasks(Arc<Shared>);

struct Shared {
    socket: Socket,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Frames that were not written.
    out: Vec<u8>,
    slots: Vec<Slot>,
    /// Slots that are free.
    free: Vec<usize>,
    /// Slots of those who wait, in the order of their calls, which is that of the answers.
    waiting: VecDeque<usize>,
    /// To be woken for what is to be written.
    driver: Option<Waker>,
    has_ended: bool,
}

enum Slot {
    Free,
    Waiting(Waker),
    Answered(Block),
}

impl Tasks {
    /// Connects, and starts the driver.
    pub(crate) async fn connect(address: &Address) -> Result<Self> {
        let socket = Socket::connect(address).await?;
        let state = Mutex::default();
        let tasks = Self(Arc::new(Shared { socket, state }));
        let mut driver = Driver {
            shared: Arc::clone(&tasks.0),
            input: vec![0; echo::READ],
            filled: 0,
            woken: Vec::new(),
            has_yielded: false,
        };
        tokio::spawn(async move {
            // Those who wait are told that there is no more, whatever the reason is.
            let _ = std::future::poll_fn(|cx| driver.poll(cx)).await;
            driver.end();
        });
        Ok(tasks)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a call. One that is alone is written at once, so that nothing but the socket is between it and the server.
    fn start(&self, block: &Block, waker: &Waker) -> Result<usize> {
        let mut state = self.lock();
        if state.has_ended {
            return Err(closed());
        }
        let is_alone = state.free.len() == state.slots.len() && state.out.is_empty();
        let slot = state.free.pop().unwrap_or(state.slots.len());
        let waiting = Slot::Waiting(waker.clone());
        match state.slots.get_mut(slot) {
            Some(free) => *free = waiting,
            None => state.slots.push(waiting),
        }
        state.waiting.push_back(slot);
        echo::frame(block, &mut state.out);
        if is_alone {
            // What the socket does not take, and its errors, are the driver's.
            let _ = self.write(&mut state);
        }
        let driver = (!state.out.is_empty()).then(|| state.driver.take()).flatten();
        drop(state);
        if let Some(driver) = driver {
            driver.wake();
        }
        Ok(slot)
    }

    fn poll_answer(&self, slot: usize, waker: &Waker) -> Poll<Result<Block>> {
        let mut state = self.lock();
        let has_ended = state.has_ended;
        match &mut state.slots[slot] {
            Slot::Waiting(_) if has_ended => Poll::Ready(Err(closed())),
            Slot::Waiting(registered) => {
                registered.clone_from(waker);
                Poll::Pending
            }
            Slot::Free => Poll::Ready(Err(data::wrong("a call that has been answered"))),
            Slot::Answered(block) => {
                let block = *block;
                state.slots[slot] = Slot::Free;
                state.free.push(slot);
                Poll::Ready(Ok(block))
            }
        }
    }

    /// Writes what there is. Whether the socket has taken all of it.
    fn write(&self, state: &mut State) -> io::Result<bool> {
        match self.socket.try_write(&state.out) {
            Ok(count) => drop(state.out.drain(..count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(state.out.is_empty())
    }
}

/// Reads and writes for all.
struct Driver {
    shared: Arc<Shared>,
    input: Vec<u8>,
    filled: usize,
    woken: Vec<Waker>,
    /// Whether callers were given the chance to queue more before the next write.
    has_yielded: bool,
}

impl Driver {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.shared.lock().driver = Some(cx.waker().clone());
        while self.shared.socket.poll_read_ready(cx)?.is_ready() {
            match self.shared.socket.try_read(&mut self.input[self.filled..]) {
                Ok(0) => return Poll::Ready(Err(closed())),
                Ok(count) => {
                    self.filled += count;
                    self.answer()?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
        let mut state = self.shared.lock();
        if !state.out.is_empty() && !replace(&mut self.has_yielded, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.has_yielded = false;
        while !state.out.is_empty() && !self.shared.write(&mut state)? {
            ready!(self.shared.socket.poll_write_ready(cx))?;
        }
        Poll::Pending
    }

    /// Hands out the complete frames.
    fn answer(&mut self) -> Result<()> {
        let complete = echo::complete(&self.input[..self.filled])?;
        let mut state = self.shared.lock();
        for frame in self.input[..complete].chunks_exact(FRAME) {
            let slot = state.waiting.pop_front();
            let slot = slot.ok_or_else(|| data::wrong("an answer too many"))?;
            let block = frame
                .last_chunk()
                .ok_or_else(|| data::wrong("the length of a frame"))?;
            if let Slot::Waiting(waker) = replace(&mut state.slots[slot], Slot::Answered(*block)) {
                self.woken.push(waker);
            }
        }
        drop(state);
        self.input.copy_within(complete..self.filled, 0);
        self.filled -= complete;
        self.woken.drain(..).for_each(Waker::wake);
        Ok(())
    }

    fn end(&self) {
        let mut state = self.shared.lock();
        state.has_ended = true;
        let waiting = take(&mut state.waiting);
        for slot in waiting {
            if let Slot::Waiting(waker) = &state.slots[slot] {
                waker.wake_by_ref();
            }
        }
    }
}

/// A call.
struct Echo<'a> {
    shared: &'a Shared,
    block: &'a Block,
    slot: Option<usize>,
}

impl Future for Echo<'_> {
    type Output = Result<Block>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.slot {
            Some(slot) => self.shared.poll_answer(slot, cx.waker()),
            None => {
                self.slot = Some(self.shared.start(self.block, cx.waker())?);
                Poll::Pending
            }
        }
    }
}

impl Client for Tasks {
    type Echo = Block;

    async fn echo(&self, block: &Block) -> Result<Block> {
        let shared = &*self.0;
        Echo {
            shared,
            block,
            slot: None,
        }
        .await
    }

    async fn list(&self) -> Result<ListSums> {
        Err("tasks echo only".into())
    }

    async fn blob(&self, _: u64) -> Result<u64> {
        Err("tasks echo only".into())
    }

    async fn items(&self, _: u64) -> Result<u64> {
        Err("tasks echo only".into())
    }
}
