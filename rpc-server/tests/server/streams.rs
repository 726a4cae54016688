//! Streams over real sockets: order, credit, ends, and what becomes of calls that share a connection with them.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rpc_client::Channel;
use rpc_core::{CallError, Code, FailureKind, Limits, SendError, StreamError};
use tokio::task::JoinSet;

use crate::support::flow::{FlowClient, QUARTER, QUARTERS, flows, send_now};
use crate::support::lab::{Event, ExperimentsClient, Lab};
use crate::support::{builder, failure, serve, socket_path, until, within};

/// F10: small items are what streams are for; many of them, in either direction and acknowledged one by one, cost nobody's patience.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_stream_of_tiny_items_is_no_nuisance() {
    const COUNT: u64 = 200_000;
    let lab = Lab::default();
    let server = serve(&lab);
    let client = flows(&server).await;
    let down = tokio::spawn({
        let client = client.clone();
        async move {
            let (mut numbers, call) = client.count(COUNT).open().await.unwrap();
            let mut next = 0;
            while let Some(number) = numbers.recv().await.unwrap() {
                assert_eq!(*number, next);
                next += 1;
            }
            assert_eq!((next, call.await.unwrap().to_native()), (COUNT, COUNT));
        }
    });
    let (mut numbers, call) = within(client.sum(1).open()).await.unwrap();
    for number in 0..COUNT {
        within(numbers.send(&number)).await.unwrap();
    }
    numbers.finish().unwrap();
    assert_eq!(*within(call).await.unwrap(), (0..COUNT).sum::<u64>());
    let (mut to, mut from, call) = within(client.mirror(2).open()).await.unwrap();
    for number in 0..3_000_u32 {
        let item = number.to_le_bytes().to_vec();
        within(to.send(&item)).await.unwrap();
        assert_eq!(within(from.recv()).await.unwrap().unwrap().as_slice(), item);
    }
    to.finish().unwrap();
    assert_eq!(*within(call).await.unwrap(), 3_000);
    within(down).await.unwrap();
    // A connection that had enough of it would have been followed by another one.
    assert_eq!(
        (server.stats().accepted, server.stats().connections_failed),
        (1, 0)
    );
}

/// Of items without bytes a run has nothing but its table, and that is not longer either than the peer accepts.
#[tokio::test]
async fn items_without_bytes_fit_the_smallest_body() {
    const COUNT: u64 = 20_000;
    let server = serve(&Lab::default());
    let limits = Limits {
        max_body: Limits::GUARANTEED_BODY,
        max_frame: Limits::GUARANTEED_BODY,
        ..Limits::default()
    };
    let connecting = Channel::builder()
        .limits(limits)
        .connect(server.addresses()[0].clone());
    let client = FlowClient::new(within(connecting).await.unwrap());
    let (mut ticks, call) = within(client.ticks(COUNT).open()).await.unwrap();
    for _ in 0..COUNT {
        within(ticks.recv()).await.unwrap().unwrap();
    }
    assert!(within(ticks.recv()).await.unwrap().is_none());
    assert_eq!(*within(call).await.unwrap(), COUNT);
}

/// R10: what a producer is ahead of a reader that does not read is the window, what is in one run, and an item; and only this stream waits.
#[tokio::test]
async fn a_slow_reader_suspends_its_producer_and_nobody_else() {
    const LEN: u64 = 10_000;
    let ahead = |window: u32| u64::from(window) + 32 * 1_024 + 2 * LEN;
    for address in [
        "tcp://127.0.0.1:0".to_owned(),
        format!("unix://{}", socket_path().display()),
    ] {
        let lab = Lab::default();
        let server = builder(&lab).listen(address).start().unwrap();
        let channel = within(Channel::connect(server.addresses()[0].clone()))
            .await
            .unwrap();
        let client = FlowClient::new(channel.clone());
        let others = ExperimentsClient::new(channel);
        for (key, at_work) in [(1, false), (2, true)] {
            let len = u32::try_from(LEN).unwrap();
            let (mut blocks, call) = match at_work {
                false => within(client.blocks(key, len).open()).await.unwrap(),
                true => within(client.blocks_at_work(key, len).open()).await.unwrap(),
            };
            until("window is full", || {
                lab.sent(key).load(Ordering::SeqCst) * LEN >= 60_000
            })
            .await;
            for number in 0..100 {
                assert!(within(others.add(number)).await.is_ok(), "others go on");
            }
            let sent = lab.sent(key).load(Ordering::SeqCst);
            let limits = Limits::default();
            assert!(
                sent * LEN <= ahead(limits.stream_credit),
                "{sent} blocks of {LEN} bytes are ahead"
            );
            // It goes on as it is read, and gets ahead by the longest window at most.
            for read in 1..=100 {
                assert_eq!(within(blocks.recv()).await.unwrap().unwrap().len() as u64, LEN);
                let sent = lab.sent(key).load(Ordering::SeqCst);
                assert!(
                    sent.saturating_sub(read) * LEN <= ahead(limits.stream_window),
                    "{sent} sent, {read} read"
                );
            }
            drop(blocks);
            assert!(*within(call).await.unwrap() >= 100);
            assert_eq!(lab.end(key).unwrap(), SendError::Stopped.to_string());
        }
        assert_eq!(server.stats().accepted, 1);
    }
}

/// R10: who reads as fast as items come lets the producer get further ahead, as far as the limits say.
#[tokio::test]
async fn a_fast_reader_has_a_longer_window() {
    const LEN: u32 = 10_000;
    let lab = Lab::default();
    let server = serve(&lab);
    for (key, stream_window) in [(1, 256 << 10), (2, 64 << 10), (3, 0)] {
        let limits = Limits {
            stream_window,
            ..Limits::default()
        };
        let connecting = Channel::builder()
            .limits(limits)
            .connect(server.addresses()[0].clone());
        let client = FlowClient::new(within(connecting).await.unwrap());
        let (mut blocks, _call) = within(client.blocks(key, LEN).open()).await.unwrap();
        let mut longest = 0;
        for read in 0..2_000 {
            let ahead = lab.sent(key).load(Ordering::SeqCst).saturating_sub(read) * u64::from(LEN);
            longest = longest.max(ahead);
            if longest > 200_000 {
                break;
            }
            within(blocks.recv()).await.unwrap().unwrap();
        }
        if stream_window > limits.stream_credit {
            assert!(longest > 200_000, "{longest} bytes ahead");
        } else {
            assert!(longest <= 120_000, "{longest} bytes ahead");
        }
    }
}

/// R10, P29: many windows that are filled at once are more than is queued at a time; what has to wait for that goes on as the socket takes it, without a
/// frame from the other side.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_wait_for_room_in_the_queue_go_on_by_themselves() {
    const STREAMS: u64 = 16;
    const ITEMS: u64 = 60;
    let lab = Lab::default();
    let limits = Limits {
        stream_credit: 1 << 20,
        ..Limits::default()
    };
    let address = format!("unix://{}", socket_path().display());
    let server = builder(&lab).limits(limits).listen(address).start().unwrap();
    let connecting = Channel::builder()
        .limits(limits)
        .connect(server.addresses()[0].clone());
    let client = FlowClient::new(within(connecting).await.unwrap());
    let mut unread = Vec::new();
    for key in 0..STREAMS {
        unread.push(within(client.blocks(key, 16_000).open()).await.unwrap());
    }
    until("every window is full", || {
        (0..STREAMS).all(|key| lab.sent(key).load(Ordering::SeqCst) >= ITEMS)
    })
    .await;
    drop(unread);
    let mut uploads = JoinSet::new();
    for key in STREAMS..2 * STREAMS {
        let client = client.clone();
        uploads.spawn(async move {
            let (mut blocks, call) = client.first_bytes(key).open().await.unwrap();
            for _ in 0..ITEMS {
                blocks.send(&vec![7; 16_000]).await.unwrap();
            }
            blocks.flush().await.unwrap();
            (blocks, call)
        });
    }
    for (blocks, call) in within(uploads.join_all()).await {
        blocks.finish().unwrap();
        for key in STREAMS..2 * STREAMS {
            lab.release(key);
        }
        assert_eq!(within(call).await.unwrap().len() as u64, ITEMS);
    }
}

/// P31: of many streams on a connection, one that nobody reads holds up none of the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_never_read_leaves_the_others_alone() {
    const COUNT: u64 = 20_000;
    let server = serve(&Lab::default());
    let client = flows(&server).await;
    let (mut unread, call) = within(client.count(COUNT).open()).await.unwrap();
    let mut others = JoinSet::new();
    for number in 0..199_u64 {
        let client = client.clone();
        others.spawn(async move {
            // As much as more than a window, for some of them.
            let count = if number % 20 == 0 { COUNT } else { 500 };
            let (mut numbers, call) = client.count(count).open().await.unwrap();
            let mut seen = 0;
            while let Some(number) = numbers.recv().await.unwrap() {
                assert_eq!(*number, seen);
                seen += 1;
            }
            assert_eq!(*call.await.unwrap(), count);
        });
    }
    within(others.join_all()).await;
    let mut seen = 0;
    while let Some(number) = within(unread.recv()).await.unwrap() {
        assert_eq!(*number, seen);
        seen += 1;
    }
    assert_eq!(*within(call).await.unwrap(), COUNT);
}

/// P29: both sides fill their windows before they read.
#[tokio::test]
async fn two_sides_that_send_before_they_receive_do_not_wait_for_each_other() {
    const ROUNDS: u32 = 30;
    let server = serve(&Lab::default());
    let client = flows(&server).await;
    let (mut to, mut from, call) = within(client.fill_first(ROUNDS).open()).await.unwrap();
    let block = vec![7; QUARTER];
    for round in 0..ROUNDS {
        for _ in 0..QUARTERS {
            within(to.send(&block)).await.unwrap();
        }
        if round == 0 {
            assert_eq!(send_now(&mut to, &block).await, None, "the window is full");
        }
        for _ in 0..QUARTERS {
            assert_eq!(within(from.recv()).await.unwrap().unwrap().len(), QUARTER);
        }
    }
    within(call).await.unwrap();
    assert!(within(from.recv()).await.unwrap().is_none());
}

/// P29: many large calls at once, whose arguments and replies fill every buffer on the way in both directions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_calls_both_ways_at_once_do_not_wait_for_each_other() {
    const CALLS: u8 = 120;
    let server = serve(&Lab::default());
    let client = flows(&server).await;
    let mut calls = JoinSet::new();
    for number in 0..CALLS {
        let client = client.clone();
        calls.spawn(async move {
            let block = vec![number; 1 << 20];
            let reply = client.echo_block(&block).await.unwrap();
            assert!(reply.as_slice() == block, "call {number}");
        });
    }
    within(calls.join_all()).await;
    assert_eq!(server.stats().accepted, 1);
}

/// P24: each direction of a call ends by itself, and the other one goes on.
#[tokio::test]
async fn a_half_closed_call_goes_on_in_the_other_direction() {
    const COUNT: u64 = 20_000;
    let server = serve(&Lab::default());
    let client = flows(&server).await;
    // The client has finished, the server sends.
    let (mut numbers, mut same, call) = within(client.receive_then_send().open()).await.unwrap();
    for number in 0..COUNT {
        within(numbers.send(&number)).await.unwrap();
    }
    numbers.finish().unwrap();
    let mut seen = 0;
    while within(same.recv()).await.unwrap().is_some() {
        seen += 1;
    }
    assert_eq!((seen, within(call).await.unwrap().to_native()), (COUNT, COUNT));
    // The server has finished, the client sends.
    let (mut numbers, mut none, call) = within(client.finish_and_sum().open()).await.unwrap();
    assert!(within(none.recv()).await.unwrap().is_none());
    for number in 0..COUNT {
        within(numbers.send(&number)).await.unwrap();
    }
    numbers.finish().unwrap();
    assert_eq!(*within(call).await.unwrap(), (0..COUNT).sum::<u64>());
    // Neither has finished: the method returns, and that ends both.
    let (mut numbers, mut same, call) = within(client.idle(1).open()).await.unwrap();
    within(numbers.send(&1)).await.unwrap();
    drop(call);
    assert!(matches!(within(same.recv()).await, Err(StreamError::Call(_))));
    // Both have finished, and the method still runs: what it returns is not lost.
    let (numbers, mut none, call) = within(client.finish_and_sum().open()).await.unwrap();
    numbers.finish().unwrap();
    assert!(within(none.recv()).await.unwrap().is_none());
    assert_eq!(*within(call).await.unwrap(), 0);
}

/// H3: what a producer has sent before it panics is delivered, and then the failure.
#[tokio::test]
async fn a_producer_that_panics_is_heard_to_the_last_item() {
    let server = serve(&Lab::default());
    let client = flows(&server).await;
    for count in [0, 1, 7, 5_000, 50_000] {
        for at_work in [false, true] {
            let (mut numbers, call) = match at_work {
                false => within(client.panic_after(count).open()).await.unwrap(),
                true => within(client.panic_after_at_work(count).open()).await.unwrap(),
            };
            for number in 0..count {
                assert_eq!(*within(numbers.recv()).await.unwrap().unwrap(), number);
            }
            let Err(StreamError::Call(ended)) = within(numbers.recv()).await else {
                panic!("a panic is no end")
            };
            assert_eq!(ended.code(), Some(Code::INTERNAL));
            let ended = failure(within(call).await);
            assert_eq!(ended.code(), Some(Code::INTERNAL));
            assert!(!ended.text().contains("as the test wants it"), "{ended}");
        }
    }
    assert_eq!(server.stats().handler_panics, 10);
}

/// C4: a receiver that is dropped stops the sender, whichever side it is on, and the call goes on.
#[tokio::test]
async fn dropping_a_receiver_stops_its_sender_only() {
    let lab = Lab::default();
    let server = serve(&lab);
    let client = flows(&server).await;
    for (key, at_work) in [(1, false), (2, true)] {
        let (mut blocks, call) = match at_work {
            false => within(client.blocks(key, 1_000).open()).await.unwrap(),
            true => within(client.blocks_at_work(key, 1_000).open()).await.unwrap(),
        };
        within(blocks.recv()).await.unwrap();
        drop(blocks);
        assert!(*within(call).await.unwrap() > 0);
        assert_eq!(lab.end(key).unwrap(), SendError::Stopped.to_string());
    }
    let (mut unwanted, call) = within(client.spurn(3).open()).await.unwrap();
    let block = vec![7; QUARTER];
    let stopped = loop {
        if let Err(error) = within(unwanted.send(&block)).await {
            break error;
        }
    };
    assert_eq!(stopped, SendError::Stopped);
    lab.release(3);
    within(call).await.unwrap();
}

/// C4: the credit of a channel that is not read comes back with the end of its call: a leak of one window per call would use up what may be held after 16 of them.
#[tokio::test]
async fn credit_of_unread_channels_comes_back() {
    let lab = Lab::default();
    let limits = Limits {
        max_body: 1 << 20,
        max_held: 1 << 20,
        ..Limits::default()
    };
    let server = builder(&lab)
        .limits(limits)
        .listen("tcp://127.0.0.1:0")
        .start()
        .unwrap();
    let client = flows(&server).await;
    for key in 0..100 {
        let (mut numbers, _unread, call) = within(client.idle(key).open()).await.unwrap();
        for number in 0..100 {
            within(numbers.send(&number)).await.unwrap();
        }
        match key % 3 {
            0 => drop(call),
            1 => {
                drop(numbers);
                lab.release(key);
                within(call).await.unwrap();
            }
            _ => {
                lab.release(key);
                within(call).await.unwrap();
            }
        }
    }
    assert_eq!(server.stats().accepted, 1);
}

/// C4, P-53: a method may return before its items have left. They come before its answer; and if nobody wants them, the answer does not wait.
#[tokio::test]
async fn a_method_may_return_before_its_items_have_left() {
    let limits = Limits {
        max_body: 16_384,
        stream_credit: 16_384,
        ..Limits::default()
    };
    let server = serve(&Lab::default());
    let connecting = Channel::builder()
        .limits(limits)
        .connect(server.addresses()[0].clone());
    let client = FlowClient::new(within(connecting).await.unwrap());
    // Each needs a frame of its own.
    let (mut blocks, call) = within(client.two(9_000, 9_001).open()).await.unwrap();
    assert_eq!(within(blocks.recv()).await.unwrap().unwrap().len(), 9_000);
    assert_eq!(within(blocks.recv()).await.unwrap().unwrap().len(), 9_001);
    assert!(within(blocks.recv()).await.unwrap().is_none());
    within(call).await.unwrap();
    for _ in 0..10 {
        let (blocks, call) = within(client.two(9_000, 9_001).open()).await.unwrap();
        drop(blocks);
        within(call).await.unwrap();
    }
}

/// R10: items and the end behind them leave by themselves, without their sender doing anything more.
#[tokio::test]
async fn items_leave_by_themselves() {
    let lab = Lab::default();
    let limits = Limits {
        max_body: 16_384,
        stream_credit: 16_384,
        ..Limits::default()
    };
    let server = builder(&lab)
        .limits(limits)
        .listen("tcp://127.0.0.1:0")
        .start()
        .unwrap();
    let client = flows(&server).await;
    let (mut blocks, call) = within(client.first_bytes(1).open()).await.unwrap();
    // Each needs a frame of its own, and the second uses up the credit.
    for (mark, len) in [(1, 9_000), (2, 9_000)] {
        assert_eq!(send_now(&mut blocks, &vec![mark; len]).await, Some(Ok(())));
    }
    blocks.finish().unwrap();
    lab.release(1);
    assert_eq!(within(call).await.unwrap().as_slice(), [1, 2]);
}

/// C3: a send that is given up while the window is full has not sent its item, whether it was polled once or waited for some time.
#[tokio::test]
async fn an_item_whose_send_was_given_up_is_not_sent() {
    let lab = Lab::default();
    let server = serve(&lab);
    let client = flows(&server).await;
    for key in 0..20 {
        let (mut blocks, call) = within(client.first_bytes(key).open()).await.unwrap();
        for _ in 0..QUARTERS {
            within(blocks.send(&vec![7; QUARTER])).await.unwrap();
        }
        let unwanted = vec![9; QUARTER];
        for _ in 0..key {
            assert_eq!(send_now(&mut blocks, &unwanted).await, None);
        }
        let given_up = tokio::time::timeout(Duration::from_millis(key), blocks.send(&unwanted));
        assert!(given_up.await.is_err());
        // One that is under way when the window opens, and given up or not: it says what it was.
        lab.release(key);
        let raced = send_now(&mut blocks, &vec![8; QUARTER]).await;
        within(blocks.send(&vec![7; 1])).await.unwrap();
        blocks.finish().unwrap();
        let mut expected = vec![7; QUARTERS];
        expected.extend(raced.map(|sent| sent.map(|()| 8).unwrap()));
        expected.push(7);
        assert_eq!(within(call).await.unwrap().as_slice(), expected);
    }
}

/// P18: a client's stream that breaks off, however it does, is never a clean end for its handler.
#[tokio::test]
async fn a_client_stream_that_breaks_off_is_an_error_for_its_handler() {
    let lab = Lab::default();
    let server = serve(&lab);
    let client = flows(&server).await;
    for (key, at_work) in [(1, false), (2, true)] {
        let (mut numbers, call) = match at_work {
            false => within(client.sum(key).open()).await.unwrap(),
            true => within(client.sum_at_work(key).open()).await.unwrap(),
        };
        within(numbers.send(&5)).await.unwrap();
        drop(numbers);
        let text = StreamError::Aborted {
            code: Code::CANCELLED,
        }
        .to_string();
        match within(call).await {
            Err(CallError::Method(error)) => assert_eq!(error, text),
            other => panic!("{other:?}"),
        }
        assert_eq!(lab.end(key), Some(format!("Err({text:?})")));
    }
    // The call is dropped: an async handler is, too, and a job's stream fails.
    for (key, at_work) in [(3, false), (4, true)] {
        let (mut numbers, call) = match at_work {
            false => within(client.sum(key).open()).await.unwrap(),
            true => within(client.sum_at_work(key).open()).await.unwrap(),
        };
        within(numbers.send(&5)).await.unwrap();
        until("handler started", || lab.saw(Event::Started(key))).await;
        drop(call);
        let error = numbers.send(&6).await.unwrap_err();
        assert!(
            matches!(error, SendError::Ended(Some(ref failure)) if failure.kind() == FailureKind::Cancelled)
        );
        drop(numbers);
    }
    until("handler stopped", || lab.saw(Event::Dropped(3))).await;
    until("job was told", || lab.end(4).is_some()).await;
    assert!(lab.end(4).unwrap().contains("cancelled"), "{:?}", lab.end(4));
    assert_eq!(lab.end(3), None, "it was stopped where it waited");
}
