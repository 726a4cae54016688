//! Target `bridge`: a call within one process, whose ends hand over to each other with nothing between them but the bridge.
//!
//! There is a channel in each direction. The call ends as its owner ends it: answered once the handler's items have been carried over, or failed at any time.
//! What happens between threads is tested beside the bridge.

use std::fmt::Debug;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use arbitrary::Arbitrary;

use super::bell::Bell;
use super::ends::Ends;
use super::input::Input;
use super::messages::Figure;
use crate::code::Code;
use crate::failure::CallFailure;
use crate::stream::{Bridge, CallChannels, Inbound, Outbound, SenderSide};
use crate::wire::Wire;

/// The type of the items, the window, the longest item; then steps.
pub(super) fn run(input: &mut Input<'_>) {
    match input.byte() % 3 {
        0 => play::<String>(input),
        1 => play::<Figure>(input),
        _ => play::<()>(input),
    }
}

fn play<'a, T: Wire + Arbitrary<'a> + Debug>(input: &mut Input<'a>) {
    let window = 1 + u32::from(input.byte()) * 4;
    let mut game = Game::<T>::new(window, input.len());
    while !input.is_empty() {
        game.step(input);
    }
    game.settle();
}

/// A call with a channel in each direction.
struct Game<T> {
    window: u32,
    max_item: usize,
    caller: Arc<CallChannels>,
    handler: Arc<CallChannels>,
    /// Once the call was started.
    bridge: Option<Arc<Bridge>>,
    forth: Ends<T>,
    back: Ends<T>,
    /// Whether the method has returned, and if so, whether an error: the answer waits for the handler's items.
    returned: Option<bool>,
    answer_woken: Arc<Bell>,
}

impl<T: Wire + Debug> Game<T> {
    fn new(window: u32, max_item: usize) -> Self {
        let ends = || (Arc::new(Outbound::new()), Arc::new(Inbound::new()));
        let ((caller_sends, caller_receives), (handler_sends, handler_receives)) = (ends(), ends());
        let channels = |outbound: &Arc<_>, inbound: &Arc<_>| {
            Arc::new(CallChannels::new(
                vec![Arc::clone(outbound)],
                vec![Arc::clone(inbound)],
            ))
        };
        Self {
            window,
            max_item,
            caller: channels(&caller_sends, &caller_receives),
            handler: channels(&handler_sends, &handler_receives),
            bridge: None,
            forth: Ends::new(caller_sends, SenderSide::Caller, handler_receives),
            back: Ends::new(handler_sends, SenderSide::Handler, caller_receives),
            returned: None,
            answer_woken: Arc::default(),
        }
    }

    fn step<'a>(&mut self, input: &mut Input<'a>)
    where
        T: Arbitrary<'a>,
    {
        match input.byte() % 12 {
            0 | 1 => self.forth.send_or_go_on(input),
            2 | 3 => self.back.send_or_go_on(input),
            4 | 5 => drop(self.forth.receive()),
            6 | 7 => drop(self.back.receive()),
            8 => leave(&mut self.forth, input),
            9 => leave(&mut self.back, input),
            10 => self.connect(),
            _ => self.end_call(input.byte()),
        }
    }

    /// Does what can be done until nothing can, then ends everything in order and does so again, and looks at what came of it.
    fn settle(&mut self) {
        self.connect();
        self.go_on();
        assert!(self.returned.is_none(), "an answer was forgotten");
        for ends in [&mut self.forth, &mut self.back] {
            ends.assert_idle();
            ends.finish();
        }
        self.go_on();
        self.return_from(false);
        self.go_on();
        assert!(self.forth.over, "an answer was forgotten");
        self.forth.assert_ended();
        self.back.assert_ended();
        let owners = self.bridge.as_ref().map(Arc::strong_count);
        assert_eq!(owners, Some(1), "ends of a call that is over keep its bridge");
    }

    fn go_on(&mut self) {
        let mut is_progress = true;
        while is_progress {
            is_progress = self.answer();
            for ends in [&mut self.forth, &mut self.back] {
                is_progress |= ends.receive();
                is_progress |= ends.send_again();
            }
        }
    }

    /// The call is started, once.
    fn connect(&mut self) {
        self.bridge.get_or_insert_with(|| {
            let (caller, handler) = (Arc::clone(&self.caller), Arc::clone(&self.handler));
            Bridge::connect(caller, handler, self.window, self.max_item)
        });
    }

    fn end_call(&mut self, how: u8) {
        match how % 4 {
            0 => drop(self.answer()),
            1 => self.return_from(false),
            2 => self.return_from(true),
            _ => self.fail(),
        }
    }

    /// The method returns.
    fn return_from(&mut self, is_error: bool) {
        if self.bridge.is_some() && self.returned.is_none() && !self.forth.over {
            self.returned = Some(is_error);
            self.answer_woken.ring();
            self.answer();
        }
    }

    /// Answers the call of a method that has returned, if it can be answered now.
    fn answer(&mut self) -> bool {
        let Some((bridge, is_error)) = self.bridge.as_ref().zip(self.returned) else {
            return false;
        };
        if !self.answer_woken.has_rung() {
            return false;
        }
        let waker = Waker::from(Arc::clone(&self.answer_woken));
        if let Poll::Ready(()) = bridge.poll_carried(&Context::from_waker(&waker)) {
            bridge.close(|side, woken| side.returned(is_error, woken));
            self.back.method_failed = is_error;
            self.over();
        }
        true
    }

    /// Its owner gives the call up.
    fn fail(&mut self) {
        if let Some(bridge) = &self.bridge {
            let failure = CallFailure::from_peer(Code::CANCELLED, String::new());
            bridge.close(|side, woken| side.failed(&failure, woken));
            self.back.overtaken |= !self.back.over;
            self.over();
        }
    }

    fn over(&mut self) {
        self.returned = None;
        // A method may return before it has received everything.
        self.forth.overtaken = true;
        self.forth.over = true;
        self.back.over = true;
    }
}

/// Somebody wants no more of a channel.
fn leave<T: Wire + Debug>(ends: &mut Ends<T>, input: &mut Input<'_>) {
    match input.byte() % 4 {
        0 => ends.finish(),
        1 => ends.abort(Code::from_number(u32::from(input.byte()))),
        2 => ends.drop_sender(),
        _ => {
            ends.receiver = None;
            ends.stopped = true;
        }
    }
}
