//! Turns: how long the task of a connection goes on before the runtime looks at others.

use std::task::Context;

use tokio::runtime::Handle;
use tokio::task::coop::has_budget_remaining;

/// The turns that the task of a connection takes in one poll, each of which is bounded in what it reads and writes.
///
/// On a runtime with one worker it takes one, as everybody else waits for its end. On one with several, a task that yields makes its worker search for work, find that same
/// task, and wake another worker to go on searching: system calls, and often a change of cores, with every turn of a long body. Others have the other workers there, so the
/// task takes a few turns first.
#[derive(Debug, Default)]
pub struct Turns {
    taken: u32,
}

/// Turns in a row, where there are several workers: about 1 MiB of a long body.
const IN_A_ROW: u32 = 8;

impl Turns {
    /// A turn has ended that left something to do: whether the next one follows at once. If not, the task was seen to by [`yield_to_others`].
    pub fn go_on(&mut self, cx: &mut Context<'_>) -> bool {
        self.taken += 1;
        let goes_on = self.taken < in_a_row() && has_budget_remaining();
        if !goes_on {
            yield_to_others(cx);
        }
        goes_on
    }
}

fn in_a_row() -> u32 {
    if has_several_workers() { IN_A_ROW } else { 1 }
}

/// Whether the current runtime has several workers.
pub(crate) fn has_several_workers() -> bool {
    Handle::try_current().is_ok_and(|runtime| runtime.metrics().num_workers() > 1)
}

/// Has the task polled again after the runtime has looked at its sockets and at whoever else is ready. A task that only woke itself would keep a runtime of one worker from looking
/// for as long as it has something to do.
pub fn yield_to_others(cx: &mut Context<'_>) {
    let _ = std::pin::pin!(tokio::task::yield_now()).poll(cx);
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use tokio::runtime::{Builder, Runtime};

    use super::*;

    /// How many turns a task takes that always has something to do, in each of two polls.
    fn turns(runtime: &Runtime) -> [u32; 2] {
        let task = runtime.spawn(async {
            let mut taken = Vec::new();
            poll_fn(move |cx| {
                let (mut turns, mut count) = (Turns::default(), 1);
                while turns.go_on(cx) {
                    count += 1;
                }
                taken.push(count);
                match taken[..] {
                    [first, second] => Poll::Ready([first, second]),
                    _ => Poll::Pending,
                }
            })
            .await
        });
        runtime.block_on(task).unwrap()
    }

    #[test]
    fn where_nobody_else_would_work_meanwhile_every_turn_yields() {
        let runtime = Builder::new_current_thread().build().unwrap();
        assert_eq!(turns(&runtime), [1, 1]);
        let runtime = Builder::new_multi_thread().worker_threads(1).build().unwrap();
        assert_eq!(turns(&runtime), [1, 1]);
    }

    #[test]
    fn among_several_workers_a_few_turns_follow_each_other() {
        let runtime = Builder::new_multi_thread().worker_threads(2).build().unwrap();
        assert_eq!(turns(&runtime), [IN_A_ROW, IN_A_ROW]);
    }
}
