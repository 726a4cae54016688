//! What receiving costs: reads, copies and memory.

use super::*;

#[test]
fn a_large_body_is_hardly_copied_and_costs_a_read_per_chunk() {
    const CHUNK: usize = 64 << 10;
    const CHUNKS: usize = 256;
    let mut stream = first(1, CHUNK, CHUNKS * CHUNK);
    (1..CHUNKS).for_each(|_| stream.extend(chunk(1, CHUNK)));
    let (reads, copied, received) = pour(&mut Inbox::new(), &stream);
    assert_eq!(received, naive(&stream).received);
    assert!(copied < stream.len() as u64 / 50, "{copied}");
    assert!(reads < CHUNKS + 32, "{reads}");
}

#[test]
fn large_bodies_are_hardly_copied_if_small_frames_and_each_other_come_between() {
    const CHUNK: usize = 64 << 10;
    let mut stream = [first(1, CHUNK, 100 * CHUNK), first(2, CHUNK, 100 * CHUNK)].concat();
    for _ in 1..100 {
        stream.extend(chunk(1, CHUNK));
        stream.extend(frame(header(PLAIN, 3, 100)));
        stream.extend(chunk(2, CHUNK));
    }
    let (_, copied, received) = pour(&mut Inbox::new(), &stream);
    assert_eq!(received, naive(&stream).received);
    assert!(copied < stream.len() as u64 / 10, "{copied}");
}

#[test]
fn bodies_one_after_another_are_hardly_copied_and_cost_a_read_more_than_their_chunks() {
    const LEN: usize = 1 << 20;
    let chunks = (LEN - DIRECT).div_ceil(256 << 10);
    let mut stream = first(1, DIRECT, LEN);
    for start in (DIRECT..LEN).step_by(256 << 10) {
        stream.extend(chunk(1, (LEN - start).min(256 << 10)));
    }
    let mut inbox = Inbox::recycling(LEN);
    pour(&mut inbox, &stream);
    let before = inbox.copied_bytes();
    let bodies = 10;
    let reads: usize = (0..bodies).map(|_| pour(&mut inbox, &stream).0).sum();
    let copied = inbox.copied_bytes() - before;
    // Now and then the receive buffer ends within a first frame.
    assert!(reads <= bodies * (1 + chunks) + bodies / 2, "{reads}");
    assert!(copied <= (bodies * 2 * DIRECT) as u64, "{copied}");
}

/// Small frames are read as without the body once they have shown that chunks are not what comes.
#[test]
fn small_frames_are_read_in_large_pieces_while_a_body_rests() {
    let mut inbox = Inbox::new();
    pour(&mut inbox, &[first(1, 8_000, 16_000), chunk(1, 4_096)].concat());
    assert_eq!(inbox.spare().remaining_mut(), ROOM_BEFORE_CHUNK);
    let large = frame(header(PLAIN, 3, 60_000));
    pour(&mut inbox, &large[..100]);
    let room = inbox.spare().remaining_mut();
    assert!(room >= large.len() - 100, "a frame gets room for what it lacks");
    pour(&mut inbox, &large[100..]);
    let stream: Vec<u8> = (0..20_000).flat_map(|_| frame(header(PLAIN, 3, 64))).collect();
    let (reads, ..) = pour(&mut inbox, &stream);
    assert!(reads < 32, "{reads}");
    assert_eq!((inbox.announced(), inbox.arrived()), (16_000, 12_096));
}

/// P-11
#[test]
fn nothing_is_allocated_on_the_word_of_a_header() {
    let stream = [
        first(1, 1_000, i32::MAX as usize),
        chunk(1, 200_000)[..5_000].to_vec(),
    ]
    .concat();
    let counted = allocation_counter::measure(|| {
        let (.., received) = pour(&mut Inbox::new(), &stream);
        assert_eq!(received.len(), 1);
    });
    assert!(counted.bytes_max < 600 << 10, "{}", counted.bytes_max);
}

/// P-11
#[test]
fn memory_of_a_body_is_as_long_as_the_body_in_the_end_and_never_much_longer() {
    let mut inbox = Inbox::new();
    pour(&mut inbox, &first(1, 1_000, 200_000));
    let start = inbox.bodies[0].memory.as_ref().unwrap().as_ptr();
    let received = pour(&mut inbox, &chunk(1, 199_000)).2;
    assert!(matches!(&received[..], [Received::Body { body, .. }] if body.as_ptr() == start));
    for total in [300_000, 524_289, 1 << 20, 3_333_333] {
        let mut inbox = Inbox::new();
        let (mut received, mut missing) = (Vec::new(), total - 1_000);
        pour(&mut inbox, &first(1, 1_000, total));
        while missing > 0 {
            let memory = inbox.bodies[0].memory.as_ref().unwrap();
            assert!(memory.capacity() <= total + 32 * (BEHIND + ALIGNMENT));
            let stream = chunk(1, missing.min(64 << 10));
            missing -= missing.min(64 << 10);
            received = pour(&mut inbox, &stream).2;
            check_memory(&inbox);
        }
        assert!(matches!(&received[..], [Received::Body { body, .. }] if body.len() == total));
    }
}

#[test]
fn an_idle_inbox_holds_nothing() {
    let mut inbox = Inbox::new();
    pour(&mut inbox, &[first(1, 8, 9_000), chunk(1, 8_992)].concat());
    inbox.release();
    assert_eq!((inbox.bodies.capacity(), inbox.unread().len()), (0, 0));
    let stream = [first(1, 8, 9_000), chunk(1, 8_992)].concat();
    pour(&mut inbox, &stream[..8_000]);
    inbox.release();
    assert_eq!(inbox.received(), 8_000 - 32, "an incomplete body is kept");
    assert_eq!(inbox.expected(), 16 + 8_992);
}

/// All of a body in chunks of 64 KiB.
fn body(inbox: &mut Inbox, call: u32, len: usize) -> Bytes {
    let mut stream = first(call, 64 << 10, len);
    for left in (0..len - (64 << 10)).step_by(64 << 10) {
        stream.extend(chunk(call, (len - (64 << 10) - left).min(64 << 10)));
    }
    let (_, _, received) = pour(inbox, &stream);
    match received.last() {
        Some(Received::Body { body, .. }) => body.clone(),
        other => panic!("{other:?}"),
    }
}

/// How many bytes of memory an inbox keeps for later bodies.
fn kept(inbox: &Inbox) -> usize {
    match &inbox.spent {
        Spent::Own(bodies, _) => bodies.memory(),
        Spent::Nothing | Spent::Shared => 0,
    }
}

#[test]
fn memory_of_a_body_that_was_dropped_is_used_for_the_next_one() {
    let mut inbox = Inbox::recycling(2 << 20);
    let one = body(&mut inbox, 1, 1 << 20);
    let (whole, place) = (one.to_vec(), one.as_ptr());
    let other = body(&mut inbox, 2, 1 << 20);
    assert_ne!(other.as_ptr(), place, "the first is still held");
    assert_eq!(one, whole, "and is as it was");
    drop(one);
    let third = body(&mut inbox, 3, (1 << 20) - 1_000);
    assert_eq!(third.as_ptr(), place);
    assert_eq!(third, body(&mut Inbox::new(), 3, (1 << 20) - 1_000));
    drop((other, third));
    // Not for one that is much shorter, nor longer.
    assert_ne!(body(&mut inbox, 4, 400_000).as_ptr(), place);
    inbox.release();
    assert_eq!(kept(&inbox), 0);
}

#[test]
fn no_more_memory_is_kept_than_was_asked_for_but_that_of_the_last_body() {
    let mut inbox = Inbox::recycling(1 << 20);
    for call in 0..10 {
        body(&mut inbox, call, 300_000 + 1_000 * call as usize);
        assert!(kept(&inbox) <= 1 << 20);
    }
    body(&mut inbox, 10, 5 << 20);
    assert_eq!(kept(&inbox), 5 << 20);
}

/// Receives bytes whole; what begins in chunks is kept.
fn receive(inbox: &mut Inbox, bytes: &[u8]) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let mut room = inbox.spare();
        let len = rest.len().min(room.remaining_mut());
        room.put_slice(&rest[..len]);
        rest = &rest[len..];
        while let Some(received) = next(inbox).unwrap() {
            if let Received::Frame(Frame { header, body }) = received
                && header.flags.contains(Flags::CHUNKED)
            {
                inbox.begin(header.call, &body, header.aux);
            }
        }
    }
}

#[test]
fn a_stream_of_long_frames_alone_is_noticed_until_a_short_one_comes() {
    let mut inbox = Inbox::new();
    // Half of it as frames, half as chunks.
    let half = usize::try_from(BULK_LEN / 2).unwrap();
    for _ in 0..half / LONG_LEN {
        receive(&mut inbox, &frame(header(PLAIN, 1, LONG_LEN)));
    }
    receive(&mut inbox, &first(1, 100, 100 + half));
    for _ in 0..half / CHUNK_LEN {
        assert!(!inbox.is_bulk_only());
        receive(&mut inbox, &chunk(1, CHUNK_LEN));
    }
    assert!(inbox.is_bulk_only());
    receive(&mut inbox, &first(1, 100, 200));
    assert!(inbox.is_bulk_only(), "it begins a body");
    receive(&mut inbox, &chunk(1, 100));
    receive(&mut inbox, &frame(header(PLAIN, 1, LONG_LEN - 1)));
    assert!(!inbox.is_bulk_only());
}

#[test]
fn a_short_frame_beside_a_body_is_taken_to_be_rare_only_after_four_times_as_much() {
    let mut inbox = Inbox::new();
    let bulk_len = usize::try_from(BULK_LEN).unwrap();
    let chunks = |inbox: &mut Inbox, len: usize| {
        for _ in 0..len / CHUNK_LEN {
            receive(inbox, &chunk(1, CHUNK_LEN));
        }
    };
    receive(&mut inbox, &first(1, 100, 100 + 6 * bulk_len));
    chunks(&mut inbox, bulk_len);
    assert!(inbox.is_bulk_only());
    receive(&mut inbox, &frame(header(PLAIN, 2, 8)));
    chunks(&mut inbox, 4 * bulk_len - CHUNK_LEN);
    assert!(!inbox.is_bulk_only());
    chunks(&mut inbox, CHUNK_LEN);
    assert!(inbox.is_bulk_only());
    // Nothing waits behind a body that has arrived.
    chunks(&mut inbox, bulk_len);
    receive(&mut inbox, &frame(header(PLAIN, 2, 8)));
    receive(&mut inbox, &first(1, 100, 100 + 4 * bulk_len));
    chunks(&mut inbox, 4 * bulk_len);
    assert!(inbox.is_bulk_only());
}
