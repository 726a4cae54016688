//! Job: a handler that waits for a worker, and how its answer comes back to the call.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Instant;

use crate::context::CallControl;
use crate::incoming::Completed;

/// Where plain `fn` handlers run: the worker pool of a server, or the caller's own thread in tests.
pub trait Workers: Send + Sync + fmt::Debug {
    /// Puts a job in the queue, or runs it.
    ///
    /// # Errors
    ///
    /// [`WorkersFull`] at once if the queue is full; never waits.
    fn submit(&self, job: Job) -> Result<(), WorkersFull>;
}

/// The worker queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkersFull {
    /// How many jobs it holds.
    pub limit: usize,
}

/// A handler that waits for a worker.
///
/// Its call gets exactly one answer: the handler's, or when the job is dropped without one (the handler panicked, the pool is gone) a failure.
pub struct Job {
    deadline: Option<Instant>,
    /// Gone once it was run.
    work: Option<Box<dyn Work>>,
    /// Gone once the call has its answer.
    control: Option<Arc<CallControl>>,
}

/// What becomes of a job when its turn has come.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Verdict {
    Run,
    Expired,
    Cancelled,
}

impl Job {
    pub(crate) fn new(
        deadline: Option<Instant>,
        control: &Arc<CallControl>,
        run: impl FnOnce(Verdict) -> Completed + Send + 'static,
    ) -> Self {
        Self {
            deadline,
            work: Some(fill(control.desk().take_memory(), run)),
            control: Some(Arc::clone(control)),
        }
    }

    /// Whether its call has expired or was cancelled: [`run`](Self::run) only answers it then.
    pub fn is_over(&self, now: Instant) -> bool {
        let is_cancelled = self
            .control
            .as_ref()
            .is_some_and(|control| control.is_cancelled());
        is_cancelled || self.deadline.is_some_and(|deadline| deadline <= now)
    }

    /// Runs the handler, unless its call has expired or was cancelled. Its panic passes through; the call is answered all the same.
    pub fn run(mut self, now: Instant) {
        let is_cancelled = self
            .control
            .as_ref()
            .is_some_and(|control| control.is_cancelled());
        let verdict = if is_cancelled {
            Verdict::Cancelled
        } else if self.deadline.is_some_and(|deadline| deadline <= now) {
            Verdict::Expired
        } else {
            Verdict::Run
        };
        let Some(mut work) = self.work.take() else { return };
        if let Some(completed) = work.run(verdict) {
            self.answer(completed, Some(work));
        }
    }

    /// Leaves the answer for the call. Who waits for it is woken when nothing here refers to the call any more, so that its control can be used for the next one.
    fn answer(&mut self, completed: Completed, memory: Option<Box<dyn Work>>) {
        let Some(control) = self.control.take() else {
            return;
        };
        let waiting = control.desk().leave(completed, memory);
        drop(control);
        if let Some(waker) = waiting {
            waker.wake();
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if let Some(control) = &self.control {
            let completed = Completed::panicked(control);
            self.answer(completed, None);
        }
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

/// The handler of a job, in memory that can hold that of another call of the same method.
trait Work: Send {
    /// Runs it, the first time.
    fn run(&mut self, verdict: Verdict) -> Option<Completed>;

    fn as_any(&mut self) -> &mut dyn Any;
}

struct Handler<F>(Option<F>);

impl<F: FnOnce(Verdict) -> Completed + Send + 'static> Work for Handler<F> {
    fn run(&mut self, verdict: Verdict) -> Option<Completed> {
        self.0.take().map(|run| run(verdict))
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}

/// Puts a handler into memory that had one of the same type, or into new memory.
fn fill<F>(memory: Option<Box<dyn Work>>, run: F) -> Box<dyn Work>
where
    F: FnOnce(Verdict) -> Completed + Send + 'static,
{
    let Some(mut memory) = memory else {
        return Box::new(Handler(Some(run)));
    };
    match memory.as_any().downcast_mut::<Handler<F>>() {
        Some(handler) => handler.0 = Some(run),
        None => memory = Box::new(Handler(Some(run))),
    }
    memory
}

/// Where a job leaves its answer for the call that waits, and its memory for the next job of the same slot.
#[derive(Default)]
pub(crate) struct Desk(Mutex<Left>);

#[derive(Default)]
struct Left {
    completed: Option<Completed>,
    waiting: Option<Waker>,
    memory: Option<Box<dyn Work>>,
}

impl Desk {
    pub(crate) fn poll(&self, waker: &Waker) -> Poll<Completed> {
        let mut left = self.lock();
        match left.completed.take() {
            Some(completed) => Poll::Ready(completed),
            None => {
                left.waiting = Some(waker.clone());
                Poll::Pending
            }
        }
    }

    /// Forgets an answer that nobody waits for.
    pub(crate) fn clear(&self) {
        self.lock().completed = None;
    }

    /// The same for the next call: only the memory stays.
    pub(crate) fn reset(&mut self) {
        let left = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        left.completed = None;
        left.waiting = None;
    }

    fn take_memory(&self) -> Option<Box<dyn Work>> {
        self.lock().memory.take()
    }

    /// Leaves an answer. Who waits for it is to be woken.
    fn leave(&self, completed: Completed, memory: Option<Box<dyn Work>>) -> Option<Waker> {
        let mut left = self.lock();
        left.completed = Some(completed);
        left.memory = memory;
        left.waiting.take()
    }

    fn lock(&self) -> MutexGuard<'_, Left> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").finish_non_exhaustive()
    }
}
