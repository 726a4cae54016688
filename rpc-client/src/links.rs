//! Links: the connections of a channel, and which of them a call takes.

use std::iter;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

use rpc_core::{CallFailure, FailureKind};
use tokio::sync::watch;
use tokio::time::timeout_at;

use crate::channel::Inner;
use crate::connection::Shared;
use crate::dial::dial;
use crate::error::ConnectError;
use crate::load::Offer;
use crate::reconnect::{Dial, Link, Step};

/// The connections of a channel. Each is dialled, lost and made again by itself.
///
/// A call takes the one that is least busy (see [`Load`](crate::load::Load)); those that are equally busy take turns. If even that one is busy, another one is opened,
/// for the calls that follow: one attempt at a time, so that there are no more connections than calls keep busy.
#[derive(Debug)]
pub(crate) struct Links {
    first: Link,
    others: Box<[Link]>,
    /// Where the next call begins to look.
    turn: AtomicUsize,
}

/// What the links have to offer to a call.
#[derive(Debug, Default)]
struct Survey {
    /// The link whose connection is least busy, and how busy that is.
    best: Option<(usize, u64)>,
    is_dialling: bool,
    /// A link without a connection.
    gone: Option<usize>,
}

/// The attempts that a call has waited for.
#[derive(Clone, Copy, Debug)]
struct Waited {
    count: usize,
    /// The link of the last one.
    last: usize,
}

impl Links {
    /// `count` links, of which the first has a connection.
    pub(crate) fn new(shared: Arc<Shared>, count: usize) -> Self {
        let links = Self {
            first: Link::new(count > 1),
            others: (1..count).map(|_| Link::new(true)).collect(),
            turn: AtomicUsize::new(0),
        };
        links.first.finish(Ok(shared));
        links
    }

    /// How many connections there may be: at least one.
    pub(crate) fn len(&self) -> usize {
        1 + self.others.len()
    }

    /// The connections. It may turn out that some take no calls any more.
    pub(crate) fn current(&self) -> impl Iterator<Item = Arc<Shared>> {
        self.iter().filter_map(Link::current)
    }

    /// The connections that take calls.
    pub(crate) fn up(&self) -> impl Iterator<Item = Arc<Shared>> {
        let up = |link: &&Link| matches!(link.offer(), Offer::Up(_));
        self.iter().filter(up).filter_map(Link::current)
    }

    /// The longest call that all servers accept, as they said when they last greeted.
    pub(crate) fn max_body(&self) -> u32 {
        let others = self.others.iter().map(Link::max_body);
        others.fold(self.first.max_body(), u32::min)
    }

    /// Lets go of the connections, which end when their calls have.
    pub(crate) fn close(&self) {
        for shared in self.current() {
            shared.close();
        }
    }

    fn iter(&self) -> impl Iterator<Item = &Link> {
        iter::once(&self.first).chain(&self.others)
    }

    /// The link at a position below `len`.
    fn get(&self, index: usize) -> &Link {
        let other = index.checked_sub(1).and_then(|index| self.others.get(index));
        other.unwrap_or(&self.first)
    }

    fn survey(&self) -> Survey {
        let mut survey = Survey::default();
        let start = self.turn.fetch_add(1, Ordering::Relaxed) % self.len();
        for index in (start..self.len()).chain(0..start) {
            match self.get(index).offer() {
                Offer::Up(load) if survey.best.is_none_or(|(_, best)| load < best) => {
                    survey.best = Some((index, load));
                }
                Offer::Up(_) => {}
                Offer::Dialling => survey.is_dialling = true,
                Offer::Gone => survey.gone = survey.gone.or(Some(index)),
            }
        }
        survey
    }

    /// What a call does for which [`pick`] has found nothing, and at which link.
    fn next_step(&self, unusable: Option<&Arc<Shared>>, waited: Option<Waited>) -> (usize, Step) {
        if !self.others.is_empty() {
            let best = self.survey().best;
            if let Some((index, shared)) =
                best.and_then(|(index, _)| Some((index, self.get(index).current()?)))
            {
                return (index, Step::Use(shared));
            }
            // No longer than it takes each link to fail once.
            let attempt = self.iter().map(Link::attempt).enumerate();
            let attempt = attempt.filter(|_| waited.is_none_or(|waited| waited.count < self.len()));
            if let Some((index, attempt)) = attempt
                .filter_map(|(index, attempt)| Some((index, attempt?)))
                .next()
            {
                return (index, Step::Wait(attempt));
            }
        }
        if let Some(Waited { last, .. }) = waited {
            return (last, self.get(last).next_step(unusable, true));
        }
        let mut step = (0, self.first.next_step(unusable, false));
        for (link, index) in self.others.iter().zip(1..) {
            if !matches!(step, (_, Step::Fail(_))) {
                break;
            }
            step = (index, link.next_step(unusable, false));
        }
        step
    }

    /// Takes note of how an attempt ended.
    fn finish(&self, index: usize, result: Result<Arc<Shared>, ConnectError>) {
        let is_up = result.is_ok();
        self.get(index).finish(result);
        if is_up && !self.others.is_empty() {
            // Calls that wait for a slot elsewhere may have one here.
            for shared in self.up() {
                shared.wake_queued();
            }
        }
    }
}

/// The connection for a call, if there is one. It may turn out that it takes no calls any more.
pub(crate) fn pick(channel: &Arc<Inner>) -> Option<Arc<Shared>> {
    let links = &channel.links;
    if links.others.is_empty() {
        return links.first.current();
    }
    let survey = links.survey();
    let (index, load) = survey.best?;
    if load > 0 {
        open_another(channel, &survey);
    }
    links.get(index).current()
}

/// Has another connection made for a call that waits for a slot of those that there are.
pub(crate) fn open_for_queued(channel: &Arc<Inner>) {
    open_another(channel, &channel.links.survey());
}

fn open_another(channel: &Arc<Inner>, survey: &Survey) {
    if let Some(gone) = survey.gone.filter(|_| !survey.is_dialling)
        && let Some(dial) = channel.links.get(gone).open()
    {
        make_attempt(channel, gone, dial);
    }
}

/// Finds a connection other than `unusable`, within the call's deadline.
///
/// # Errors
///
/// The attempt to connect failed, or did so a short while ago; or the deadline has passed. The call was not sent.
pub(crate) async fn find(
    channel: Arc<Inner>,
    unusable: Option<Arc<Shared>>,
    deadline: Option<Instant>,
) -> Result<Arc<Shared>, CallFailure> {
    let Some(deadline) = deadline else {
        return find_eventually(&channel, unusable).await;
    };
    let found = {
        // A call may be polled outside of the runtime; only making a timer needs it.
        let _runtime = channel.runtime.enter();
        timeout_at(deadline.into(), find_eventually(&channel, unusable))
    };
    found.await.unwrap_or_else(|_| {
        let text = format!("time ran out while connecting to {}", channel.address);
        Err(CallFailure::local(FailureKind::DeadlineExceeded, false, text))
    })
}

async fn find_eventually(
    channel: &Arc<Inner>,
    unusable: Option<Arc<Shared>>,
) -> Result<Arc<Shared>, CallFailure> {
    let mut waited: Option<Waited> = None;
    loop {
        let (index, step) = channel.links.next_step(unusable.as_ref(), waited);
        let mut attempt = match step {
            Step::Use(shared) => return Ok(shared),
            Step::Fail(failure) => return Err(failure),
            Step::Wait(attempt) => attempt,
            Step::Dial(dial) => make_attempt(channel, index, dial),
        };
        // Nothing is ever sent: the error says that the attempt has ended.
        let _ = attempt.changed().await;
        waited = Some(Waited {
            count: waited.map_or(0, |waited| waited.count) + 1,
            last: index,
        });
    }
}

/// Dials in a task of its own: the call that began it may be dropped, and others wait as well. What is returned tells when it has ended.
///
/// No lock is held here, since a runtime that has been shut down drops the task at once, which ends the attempt.
fn make_attempt(channel: &Arc<Inner>, index: usize, begun: Dial) -> watch::Receiver<()> {
    let Dial { done, attempt, old } = begun;
    if let Some(old) = old {
        old.close();
    }
    let (address, settings) = (channel.address.clone(), channel.settings);
    let keep_alive = channel.keep_alive.clone();
    let under_way = Attempt {
        channel: Arc::downgrade(channel),
        index,
        ended: false,
        _done: done,
    };
    channel.runtime.spawn(async move {
        let result = dial(&address, &settings, keep_alive).await;
        under_way.end(result);
    });
    attempt
}

/// An attempt to connect. However it ends, those who wait for it learn of it.
struct Attempt {
    /// Weak, so that an attempt that takes its time does not keep a channel that everybody has dropped.
    channel: Weak<Inner>,
    index: usize,
    ended: bool,
    /// Dropped last, after the link was told.
    _done: watch::Sender<()>,
}

impl Attempt {
    fn end(mut self, result: Result<Arc<Shared>, ConnectError>) {
        self.ended = true;
        match (self.channel.upgrade(), result) {
            (Some(channel), result) => channel.links.finish(self.index, result),
            (None, Ok(shared)) => shared.close(),
            (None, Err(_)) => {}
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        // The runtime has dropped the task.
        if let Some(channel) = self.channel.upgrade() {
            channel.links.finish(self.index, Err(ConnectError::Runtime));
        }
    }
}
