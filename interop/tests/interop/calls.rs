//! Calls without channels.

use std::collections::HashSet;

use bytes::Bytes;
use interop::pattern::{body, is_body};

use crate::peer::Peer;

pub(crate) async fn empty_call(peer: &Peer) {
    let reply = peer.client.empty().await.unwrap();
    assert!(reply.metadata().is_empty());
}

/// 270 KB each way: a few chunks.
pub(crate) async fn large_call(peer: &Peer) {
    both_ways(peer, 271_828, 314_159).await;
}

/// 3 MiB each way: many chunks, less than the limit of a body.
pub(crate) async fn very_large_call(peer: &Peer) {
    both_ways(peer, 3 << 20, (3 << 20) - 7).await;
}

async fn both_ways(peer: &Peer, request: usize, answer: u32) {
    let sent = body(request);
    let reply = peer.client.large(&sent, answer).await.unwrap();
    assert!(reply.len() == answer as usize && is_body(&reply));
    let reply = peer.client.large_owned(&sent, answer).owned().await.unwrap();
    assert!(reply.len() == answer as usize && is_body(&reply));
}

pub(crate) async fn special_characters(peer: &Peer) {
    for text in SPECIAL {
        assert_eq!(peer.client.text(text).await.unwrap().as_str(), *text);
    }
}

/// Texts that have broken framings, escapes and terminators elsewhere.
pub(crate) const SPECIAL: &[&str] = &[
    "",
    "\t",
    "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n",
    "\0",
    "before\0after",
    "\r\n\r\n",
    "%00%0d%0a %e2%98%ba \"quoted\" 'single' \\ back",
    "\u{feff}byte order mark, \u{202e}right to left\u{202c}, e\u{301}",
    "\u{10ffff}\u{d7ff}\u{e000}\u{fffd}",
];

/// Over before there is an answer, but not before it was sent: what is called next on the same connection comes behind it.
pub(crate) async fn one_way(peer: &Peer) {
    let sent: Vec<_> = (0..100).map(|number| format!("note {number}")).collect();
    for text in &sent {
        peer.client.note(text).await.unwrap();
    }
    assert_eq!(peer.client.notes().owned().await.unwrap(), sent);
}

/// Answers find their calls.
pub(crate) async fn concurrent_calls(peer: &Peer) {
    let calls: Vec<_> = (0..500)
        .map(|number| {
            let text = format!("{number}-{}", "x".repeat(number * 7 % 5_000));
            let call = peer.client.text(&text).owned();
            tokio::spawn(async move { (text, call.await.unwrap()) })
        })
        .collect();
    let mut seen = HashSet::new();
    for call in calls {
        let (sent, received) = call.await.unwrap();
        assert_eq!(sent, received);
        seen.insert(received);
    }
    assert_eq!(seen.len(), 500);
    assert_eq!(peer.client.large(&Bytes::new(), 0).await.unwrap().len(), 0);
}
