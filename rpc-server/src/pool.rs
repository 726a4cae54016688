//! Worker pool: a fixed number of threads behind one bounded queue, for handlers that block or compute.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rpc_core::incoming::{Job, Workers, WorkersFull};

use crate::slot::discard_panic;
use crate::stats::Counters;

/// The queue that connections put jobs into.
pub(crate) struct Queue {
    state: Mutex<State>,
    /// Signalled for each new job, and for all when the pool stops.
    changed: Condvar,
    /// Signalled when the last thread has ended.
    ended: Condvar,
    limit: usize,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Threads that have not ended.
    threads: usize,
    stopping: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next job, in the order of arrival; `None` once the pool stops and nothing is queued.
    fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            if state.stopping {
                state.threads -= 1;
                if state.threads == 0 {
                    self.ended.notify_all();
                }
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Workers for Queue {
    fn submit(&self, job: Job) -> Result<(), WorkersFull> {
        let now = Instant::now();
        let mut state = self.lock();
        let over = state.make_room(self.limit, now);
        let result = if state.stopping || state.jobs.len() >= self.limit {
            Err(WorkersFull { limit: self.limit })
        } else {
            state.jobs.push_back(job);
            Ok(())
        };
        // Jobs end, and refused ones are dropped, after the lock: each answers its call.
        drop(state);
        for job in over {
            job.run(now);
        }
        if result.is_ok() {
            self.changed.notify_one();
        }
        result
    }
}

impl State {
    /// Takes jobs that nobody waits for any more out of a full queue. It looks at the oldest ones only: a refusal must not cost more the longer the queue is.
    fn make_room(&mut self, limit: usize, now: Instant) -> Vec<Job> {
        let mut over = Vec::new();
        if self.jobs.len() >= limit {
            for index in (0..self.jobs.len().min(OLDEST)).rev() {
                if self.jobs.get(index).is_some_and(|job| job.is_over(now)) {
                    over.extend(self.jobs.remove(index));
                }
            }
        }
        over
    }
}

/// How many jobs of a full queue are looked at when there is another one.
const OLDEST: usize = 32;

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("queued", &self.lock().jobs.len())
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// The threads of the pool.
#[derive(Debug)]
pub(crate) struct Pool {
    queue: Arc<Queue>,
}

impl Pool {
    /// Starts `threads` workers behind a queue of at most `limit` jobs. No threads: every job is refused.
    pub(crate) fn start(threads: usize, limit: usize, counters: &Arc<Counters>) -> std::io::Result<Self> {
        let limit = if threads == 0 { 0 } else { limit };
        let (changed, ended) = (Condvar::new(), Condvar::new());
        let pool = Self {
            queue: Arc::new(Queue {
                state: Mutex::default(),
                changed,
                ended,
                limit,
            }),
        };
        for number in 0..threads {
            let (queue, counters) = (Arc::clone(&pool.queue), Arc::clone(counters));
            let work = move || {
                while let Some(job) = queue.next() {
                    run(job, &counters);
                }
            };
            // Counted before it runs, so that it cannot end uncounted; a failure drops the pool, and nobody waits for it.
            pool.queue.lock().threads += 1;
            std::thread::Builder::new()
                .name(format!("rpc-worker-{number}"))
                .spawn(work)?;
        }
        Ok(pool)
    }

    pub(crate) fn queue(&self) -> Arc<Queue> {
        Arc::clone(&self.queue)
    }

    /// Refuses new jobs; the threads end once the queue is empty.
    pub(crate) fn stop(&self) {
        self.queue.lock().stopping = true;
        self.queue.changed.notify_all();
    }

    /// Drops what is still queued and waits for the jobs that run, at most `patience`. A job that does not come to an end keeps its
    /// thread; nothing can stop it but the end of the process.
    pub(crate) fn join(&self, patience: Duration) {
        self.stop();
        let mut state = self.queue.lock();
        let jobs = std::mem::take(&mut state.jobs);
        drop(state);
        // Outside of the lock: a job that is dropped answers its call.
        drop(jobs);
        let state = self.queue.lock();
        let waited = self
            .queue
            .ended
            .wait_timeout_while(state, patience, |state| state.threads > 0);
        drop(waited);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Runs one job. A panic ends the job, never the thread.
fn run(job: Job, counters: &Counters) {
    let now = Instant::now();
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| job.run(now))) {
        counters.handler_panics.add(1);
        discard_panic(payload);
    }
}
