//! Places: where a call waits for a slot when its channel has several connections.

use std::sync::Arc;
use std::task::Waker;

use crate::calls::{Outgoing, Start};
use crate::connection::Shared;
use crate::links::Links;
use crate::waiting::Ticket;

/// The places of a call in the lines of all connections that are up. The first connection that has a slot for it gets it; then it leaves the other lines.
///
/// So a call waits only while no connection has a slot, whichever comes to have one, and those that came first go first at each of them. Dropping it leaves
/// all lines; a slot that one of them had granted goes to the next.
#[derive(Debug)]
pub(crate) struct Places(Vec<Place>);

#[derive(Debug)]
struct Place {
    shared: Arc<Shared>,
    /// None once it was used up.
    ticket: Option<Ticket>,
}

impl Places {
    /// Those of a call that one connection has just put in its line.
    pub(crate) fn new(shared: Arc<Shared>, ticket: Ticket) -> Self {
        let ticket = Some(ticket);
        Self(vec![Place { shared, ticket }])
    }

    /// Asks every connection in whose line the call is, and joins the lines of those that have come up since. What became of the call at the one that did not
    /// let it wait; none if it waits, or if no connection is left.
    pub(crate) fn start(
        &mut self,
        links: &Links,
        call: &mut Outgoing,
        waker: &Waker,
    ) -> Option<(Arc<Shared>, Start)> {
        for place in &mut self.0 {
            match place.shared.start(call, place.ticket.take(), waker) {
                Start::Waiting(ticket) => place.ticket = Some(ticket),
                // Its line is dissolved.
                Start::Unusable => {}
                start @ (Start::Failed(_) | Start::Started(_) | Start::Sent) => {
                    return Some((Arc::clone(&place.shared), start));
                }
            }
        }
        self.0.retain(|place| place.ticket.is_some());
        for shared in links.up() {
            if self.0.iter().any(|place| Arc::ptr_eq(&place.shared, &shared)) {
                continue;
            }
            match shared.start(call, None, waker) {
                Start::Waiting(ticket) => self.0.push(Place {
                    shared,
                    ticket: Some(ticket),
                }),
                Start::Unusable => {}
                start @ (Start::Failed(_) | Start::Started(_) | Start::Sent) => return Some((shared, start)),
            }
        }
        None
    }

    /// Whether no connection has a place for the call.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        for Place { shared, ticket } in &self.0 {
            if let Some(ticket) = ticket {
                shared.leave(ticket);
            }
        }
    }
}
