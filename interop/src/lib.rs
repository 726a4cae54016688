//! One contract for every way in which a call can go, and the service that keeps it. The tests call it over TCP and over a Unix socket, in a process of its own.

pub mod contract;
pub mod pattern;
pub mod process;
pub mod service;
