//! The server over real sockets: with generated clients, and with scripted peers that send bytes as PROTOCOL.md describes them, or worse.
//!
//! Rows `F1`, `R5`, … are those of the catalogue of bad inputs and faults. In every test with a hostile peer another client, the *probe*, keeps
//! working and loses nothing.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod age;
mod burst;
mod busy_poll;
mod cancel;
mod drain;
mod end_to_end;
mod faults;
mod given_up;
mod handlers;
mod health;
mod hostile_peer;
mod lifecycle;
mod limits;
mod memory;
mod receive_buffer;
mod resets;
mod shutdown;
mod stopped;
mod streams;
mod support;
mod versions;
