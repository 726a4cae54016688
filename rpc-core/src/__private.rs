//! The exact paths that generated code may name. No part of it is stable.

pub use std::sync::{Arc, OnceLock};
pub use std::time::Duration;

pub use rkyv;

pub use crate::archive::{Archive, ArchiveError, Decoder};
pub use crate::call::{Call, Caller};
pub use crate::context::Context;
pub use crate::encode::{EncodeError, Encoder};
pub use crate::incoming::{Completed, IncomingCall};
pub use crate::schema::{Fields, Schema, Shape, TypeDef};
pub use crate::service::{Dispatch, MethodDef, MethodDescriptor, RunsOn, ServiceDescriptor};
pub use crate::stream::{Opening, Receiver, Sender, StreamCall};
pub use crate::wire::{
    Archived, AsWire, ByRef, BySlice, ByStr, DepthOf, MAX_DEPTH, NoDepth, Wire, deepest, describe,
    describe_receiver, describe_sender, serialize_nested,
};
