//! Seeds of `pair`: operations on a client and a server with a slow way between them.
//!
//! Operations 0: start, 3: cancel, 4: reply, 6: fail, 7 and 8: onto the way, 9 and 11: arrive, 13: time, 14: all moves, 15: rare ones.

use super::Seeds;

pub(super) fn seeds() -> Seeds {
    [calls(), ends(), loads()].concat()
}

/// So many calls are started.
fn start(count: usize) -> Vec<u8> {
    [0, 40, 0, 0].repeat(count)
}

fn calls() -> Seeds {
    vec![
        (
            "calls-and-replies",
            [vec![0, 14], start(3), vec![14, 4, 0, 9, 4, 0, 10, 4, 0, 200, 14]].concat(),
        ),
        (
            "calls-before-the-greeting",
            [vec![0], start(17), vec![7, 70, 9, 40, 8, 20, 11, 33, 14]].concat(),
        ),
        (
            "cancel-crosses-reply",
            [vec![0, 14], start(2), vec![14, 4, 0, 9, 3, 0, 3, 0, 14], start(2)].concat(),
        ),
        (
            "deadlines",
            vec![
                1, 14, 0, 5, 9, 0, 0, 6, 3, 0, 7, 255, 13, 15, 0, 14, 13, 0, 15, 14,
            ],
        ),
    ]
}

fn ends() -> Seeds {
    vec![
        (
            "drain-of-the-server",
            [
                vec![2, 14],
                start(3),
                vec![7, 40, 9, 60, 15, 2],
                start(1),
                vec![14],
            ]
            .concat(),
        ),
        (
            "drain-of-the-client",
            [vec![2, 14], start(3), vec![15, 3, 14, 6, 0, 14]].concat(),
        ),
        (
            "drain-in-two-steps",
            [
                vec![2, 14],
                start(3),
                vec![15, 8],
                start(1),
                vec![14, 4, 0, 2, 14],
            ]
            .concat(),
        ),
        (
            "half-close",
            [vec![0, 14], start(3), vec![15, 7, 9, 30, 14, 4, 0, 3, 14]].concat(),
        ),
        (
            "lost",
            [vec![0, 14], start(4), vec![7, 90, 9, 90, 15, 6]].concat(),
        ),
    ]
}

fn loads() -> Seeds {
    vec![
        (
            "large-bodies",
            vec![
                3, 14, 0, 0xfc, 0, 0, 0, 0xfe, 0, 0, 14, 4, 0, 0xfd, 4, 0, 0xff, 8, 0xf1, 11, 0xf0, 14,
            ],
        ),
        (
            "pings-and-memory",
            vec![0, 15, 0, 14, 15, 0, 15, 1, 15, 4, 15, 5, 14],
        ),
        (
            "streams",
            vec![
                2, 14, 0, 9, 0, 8, 14, 16, 0, 0, 0xf1, 16, 0, 1, 5, 18, 0, 0, 0xff, 14, 22, 0, 0, 0, 23, 0,
                0, 0, 14, 20, 0, 0, 3, 21, 0, 0x40, 3, 22, 0, 0x41, 0, 14, 4, 0, 0xff, 14,
            ],
        ),
    ]
}
