//! Messages: what the targets `archive` and `dispatch` send to and fro.

#![allow(clippy::use_self, reason = "a message names itself")]

use std::time::Duration;

use arbitrary::Arbitrary;
use serde::{Deserialize, Serialize};

use crate::message;

/// A structure of an aligned and an out-of-line field.
#[message]
#[derive(Arbitrary, Clone, Debug, PartialEq)]
pub(super) struct Point {
    pub(super) at: (f64, i16),
    pub(super) label: String,
}

/// An enumeration with every form of variant.
#[message]
#[derive(Arbitrary, Clone, Debug, PartialEq)]
pub(super) enum Figure {
    Nothing,
    Circle { centre: Point, radius: u32 },
    Line(Point, Option<Box<Point>>),
    Area(Vec<Point>, [u8; 3]),
    Pause(Duration),
}

/// A recursive structure of little depth.
#[message(max_depth = 6)]
#[derive(Arbitrary, Clone, Debug, PartialEq)]
pub(super) struct Tree {
    pub(super) label: String,
    pub(super) children: Vec<Tree>,
}

/// The same with more depth: an archive of it may be one of [`Tree`], or nested too deep for it.
#[message(max_depth = 64)]
#[derive(Arbitrary, Clone, Debug, PartialEq)]
pub(super) struct TallTree {
    pub(super) label: String,
    pub(super) children: Vec<TallTree>,
}

/// A recursive enumeration of the greatest depth.
#[message(max_depth = 64)]
#[derive(Arbitrary, Clone, Debug, PartialEq)]
pub(super) enum Chain {
    End,
    Link(Box<Chain>),
    Fork {
        left: Box<Chain>,
        right: Option<Box<Chain>>,
        label: String,
    },
}

/// An error of a method.
#[message]
#[derive(Arbitrary, Clone, Debug, PartialEq)]
pub(super) struct Refusal {
    pub(super) reason: String,
}

/// A type that only has serde's derives.
#[derive(Arbitrary, Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Plot {
    pub(super) title: String,
    pub(super) points: Vec<(i32, Option<u64>)>,
    pub(super) style: Style,
    pub(super) ticks: Vec<()>,
    pub(super) inner: Option<Box<Self>>,
}

impl Plot {
    /// Whether it is within what a serde value may cost its reader, by far.
    pub(super) fn is_modest(&self) -> bool {
        let plots = std::iter::successors(Some(self), |plot| plot.inner.as_deref());
        plots.clone().count() < 20 && plots.map(|plot| plot.ticks.len()).sum::<usize>() < 500
    }
}

/// An enumeration that only has serde's derives.
#[derive(Arbitrary, Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) enum Style {
    Plain,
    Dashed(Vec<u8>),
    Coloured { rgb: [u8; 3], names: Vec<String> },
}
