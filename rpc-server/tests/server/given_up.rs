//! Futures that are dropped, at every point: the connection stays in step, and nothing is left behind.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use rpc_client::Channel;
use rpc_core::{FailureKind, StreamError};
use rpc_server::Server;

use crate::support::flow::{FlowClient, Flows, QUARTER};
use crate::support::lab::{Event, ExperimentsClient, Lab};
use crate::support::{Client, failure, serve, until, within};

/// Polls a future so many times, with turns of everything else in between, and gives it up. Its result, if there was one before that.
async fn given_up<F: Future>(future: F, polls: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    for _ in 0..polls {
        let polled = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await;
        if let Poll::Ready(result) = polled {
            return Some(result);
        }
        // The driver of the connection runs on this runtime.
        tokio::task::yield_now().await;
    }
    None
}

async fn both(server: &Server) -> (Client, Flows) {
    let channel = within(Channel::connect(server.addresses()[0].clone()))
        .await
        .unwrap();
    (ExperimentsClient::new(channel.clone()), FlowClient::new(channel))
}

const POLLS: usize = 12;

/// C1, C2: calls, short ones and such whose frame is half written.
#[tokio::test]
async fn calls_are_given_up_at_every_poll() {
    let lab = Lab::default();
    let server = serve(&lab);
    let (client, streams) = both(&server).await;
    let large = vec![7; 3 << 20];
    for polls in 0..POLLS {
        given_up(client.echo("text"), polls).await;
        given_up(client.hold(1), polls).await;
        given_up(client.add_at_work(1).owned(), polls).await;
        given_up(streams.echo_block(&large), polls).await;
        // The probe's own arguments come through whole, whatever was left half done before them.
        let text = format!("probe {polls}");
        assert_eq!(within(client.echo(&text).owned()).await.unwrap(), text);
    }
    let held = || lab.count(|event| *event == Event::Started(1));
    until("handlers have stopped", || {
        lab.count(|event| *event == Event::Dropped(1)) == held()
    })
    .await;
    assert_eq!(
        (server.stats().accepted, server.stats().connections_failed),
        (1, 0)
    );
}

/// C1: everything that is a future of a call with channels.
#[tokio::test]
async fn streams_are_given_up_at_every_poll() {
    let lab = Lab::default();
    let server = serve(&lab);
    let (client, streams) = both(&server).await;
    let block = vec![7; QUARTER];
    for polls in 0..POLLS {
        given_up(streams.mirror(1).open(), polls).await;
        given_up(streams.blocks_at_work(2, 1_000).open(), polls).await;
        // A receive, and then one that is not given up: nothing is lost in between.
        let (mut numbers, call) = within(streams.count(1_000).open()).await.unwrap();
        let mut next = 0;
        while next < 1_000 {
            if let Some(number) = given_up(numbers.recv(), polls % 4).await {
                assert_eq!(*number.unwrap().unwrap(), next);
                next += 1;
            } else if polls % 4 < 2 {
                assert_eq!(*within(numbers.recv()).await.unwrap().unwrap(), next);
                next += 1;
            }
        }
        given_up(call, polls).await;
        // A send.
        let (mut to, from, call) = within(streams.mirror(3).open()).await.unwrap();
        for _ in 0..20 {
            if let Some(sent) = given_up(to.send(&block), polls).await {
                sent.unwrap();
            }
        }
        given_up(to.flush(), polls).await;
        drop((to, from));
        given_up(call, polls).await;
        // A call that runs.
        let (numbers, unread, call) = within(streams.idle(4).open()).await.unwrap();
        given_up(call, polls).await;
        drop((numbers, unread));
        let text = format!("probe {polls}");
        assert_eq!(within(client.echo(&text).owned()).await.unwrap(), text);
    }
    until("nothing runs any more", || {
        let started = lab.count(|event| matches!(event, Event::Started(_)));
        lab.count(|event| matches!(event, Event::Dropped(_) | Event::Finished(_))) == started
    })
    .await;
    assert_eq!(
        (server.stats().accepted, server.stats().connections_failed),
        (1, 0)
    );
}

/// C1: the orders in which the parts of one call can be dropped.
#[tokio::test]
async fn the_parts_of_a_call_are_dropped_in_any_order() {
    let lab = Lab::default();
    let server = serve(&lab);
    let (client, streams) = both(&server).await;
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let (mut to, mut from, call) = within(streams.mirror(1).open()).await.unwrap();
        within(to.send(&vec![1])).await.unwrap();
        within(from.recv()).await.unwrap().unwrap();
        let (mut to, mut from, mut call) = (Some(to), Some(from), Some(call));
        for part in order {
            match part {
                0 => drop(to.take()),
                1 => drop(from.take()),
                _ => drop(call.take()),
            }
            tokio::task::yield_now().await;
        }
        within(client.echo("text")).await.unwrap();
    }
    until("nothing runs any more", || {
        lab.count(|event| matches!(event, Event::Dropped(1) | Event::Finished(1))) == 6
    })
    .await;
}

/// C5: the connection goes, and whoever waits for something of it is told: a send, a receive, a flush, the call, and an opening.
#[tokio::test]
async fn everybody_who_waits_for_a_stream_is_told_of_its_end() {
    let lab = Lab::default();
    let server = serve(&lab);
    let (_, streams) = both(&server).await;
    let mut waiting = Vec::new();
    for key in 0..5 {
        let (to, from, call) = within(streams.mirror(key).open()).await.unwrap();
        waiting.push((to, from, call));
    }
    let mut tasks = tokio::task::JoinSet::new();
    for (mut to, mut from, call) in waiting {
        tasks.spawn(async move { while to.send(&vec![7; QUARTER]).await.is_ok() {} });
        tasks.spawn(async move {
            // Not read before the window is full, so that senders do wait.
            tokio::task::yield_now().await;
            loop {
                match from.recv().await {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("a clean end"),
                    Err(StreamError::Call(lost)) => {
                        break assert_eq!(lost.kind(), FailureKind::ConnectionLost);
                    }
                    Err(other) => panic!("{other:?}"),
                }
            }
        });
        tasks.spawn(async move {
            let lost = failure(call.await);
            assert_eq!(
                (lost.kind(), lost.may_have_run()),
                (FailureKind::ConnectionLost, true)
            );
        });
    }
    until("all run", || (0..5).all(|key| lab.saw(Event::Started(key)))).await;
    drop(server);
    within(tasks.join_all()).await;
    let refused = failure(within(streams.count(1).open()).await);
    assert!(!refused.may_have_run(), "{refused}");
}

/// P18, C7: the client's runtime is shut down in the middle of streams: handlers see an error or are dropped, and what is left of the client neither hangs nor
/// panics outside of it.
#[test]
fn a_runtime_that_is_shut_down_ends_its_streams() {
    let lab = Lab::default();
    let server = serve(&lab);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (numbers, more, mut blocks, calls) = runtime.block_on(async {
        let (client, streams) = both(&server).await;
        let (mut numbers, sum) = streams.sum(1).open().await.unwrap();
        let (mut more, sum_at_work) = streams.sum_at_work(2).open().await.unwrap();
        let (blocks, down) = streams.blocks(3, 100).open().await.unwrap();
        numbers.send(&1).await.unwrap();
        more.send(&1).await.unwrap();
        until("all run", || (1..=3).all(|key| lab.saw(Event::Started(key)))).await;
        within(client.echo("behind them")).await.unwrap();
        (numbers, more, blocks, (sum, sum_at_work, down))
    });
    drop(runtime);
    let (mut numbers, mut more) = (numbers, more);
    assert!(numbers.blocking_send(&2).is_err());
    assert!(more.blocking_send(&2).is_err());
    let ended = loop {
        match blocks.blocking_recv() {
            Ok(Some(_)) => {}
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    assert!(matches!(ended, Some(StreamError::Call(_))), "{ended:?}");
    let (mut sum, sum_at_work, down) = calls;
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(Err(_)) = Pin::new(&mut sum).poll(&mut cx) else {
        panic!("the call has not ended")
    };
    drop((sum, sum_at_work, down, numbers, more, blocks));
    let is_over = |key| lab.saw(Event::Dropped(key)) || lab.saw(Event::Finished(key));
    crate::support::until_blocking("handlers are over", || (1..=3).all(is_over));
    for key in [1, 2] {
        assert!(
            lab.end(key).is_none_or(|end| end.starts_with("Err(")),
            "{:?}",
            lab.end(key)
        );
    }
    crate::support::until_blocking("connection is forgotten", || server.stats().connections == 0);
}
