//! Generated code does not trip the lints of its users: this file denies what careful programs deny. CI runs clippy on it, too.

#![forbid(unsafe_code)]
#![deny(
    warnings,
    future_incompatible,
    let_underscore,
    missing_debug_implementations,
    missing_docs,
    nonstandard_style,
    rust_2018_idioms,
    single_use_lifetimes,
    trivial_casts,
    trivial_numeric_casts,
    unnameable_types,
    unreachable_pub,
    unused,
    unused_crate_dependencies,
    unused_import_braces,
    unused_lifetimes,
    unused_qualifications,
    unused_results,
    variant_size_differences,
    clippy::all,
    clippy::nursery,
    clippy::pedantic,
    clippy::allow_attributes,
    clippy::as_conversions,
    clippy::default_trait_access,
    clippy::exhaustive_enums,
    clippy::exhaustive_structs,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_inline_in_public_items,
    clippy::panic,
    clippy::unreachable,
    clippy::unwrap_used
)]
#![allow(
    unused_crate_dependencies,
    clippy::derive_partial_eq_without_eq,
    clippy::option_option,
    clippy::redundant_pub_crate,
    reason = "about this file, not about generated code"
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use rpc_core::{Archived, Context, Receiver, Sender, message, service};

/// A message.
#[message]
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Profile {
    /// A field.
    pub name: String,
    /// A field that is not public.
    secret: u64,
}

/// A message with variants.
#[message]
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Choice {
    /// A variant.
    Unit,
    /// A variant with a value.
    Value(f64),
    /// A variant with fields.
    Fields {
        /// A field.
        profile: Profile,
    },
}

/// A recursive message.
#[message(max_depth = 8)]
#[derive(Debug)]
#[non_exhaustive]
pub struct Tree {
    /// A field.
    pub children: Vec<Branch>,
}

/// A recursive message with variants.
#[message(max_depth = 8)]
#[derive(Debug)]
#[non_exhaustive]
pub enum Branch {
    /// A variant.
    Tree(Box<Tree>),
    /// A variant.
    Map(BTreeMap<String, Self>),
}

/// A tuple.
#[message]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pair(pub u8, pub u8);

/// Nothing.
#[message]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Nothing;

/// A service.
#[service]
pub trait Directory {
    /// A method.
    ///
    /// # Errors
    ///
    /// When there is nobody.
    #[rpc(idempotent)]
    async fn lookup(&self, name: &str) -> Result<Profile, Nothing>;
    /// A method that borrows everything.
    async fn all(
        &self,
        cx: &Context,
        block: &[u8],
        one: &Archived<Choice>,
        many: &[Archived<Pair>],
        own: Tree,
    ) -> &str;
    /// A method on the worker pool.
    fn shared(&self) -> Arc<[Profile]>;
    /// A method without a value.
    async fn nothing(&self);
    /// A method that owns everything, and has many arguments.
    ///
    /// # Errors
    ///
    /// When there are too many.
    #[expect(clippy::too_many_arguments, reason = "about this file")]
    fn owned(
        &self,
        a: Vec<u8>,
        b: String,
        c: Box<str>,
        d: Pair,
        e: (),
        f: Box<Tree>,
        g: [u8; 4],
        h: Option<Box<u8>>,
        i: char,
        j: Option<Option<u8>>,
    ) -> Result<(), Nothing>;
    /// A method with streams.
    ///
    /// # Errors
    ///
    /// When it has seen enough.
    async fn streams(
        &self,
        cx: &Context,
        from: Receiver<Profile>,
        name: &str,
        into: Sender<Vec<u8>>,
    ) -> Result<u64, Nothing>;
    /// A method with a stream on the worker pool.
    #[deprecated = "there is a better one"]
    fn import(&self, rows: Receiver<Pair>);
    /// A method without a reply.
    #[rpc(oneway)]
    async fn notify(&self, pair: Pair);
    /// An old method.
    #[deprecated = "there is a better one"]
    async fn old(&self, flag: bool) -> u128;
}

/// What is private is not missed when it is not used.
mod private {
    use rpc_core::{Sender, message, service};

    #[message]
    struct Unused {
        field: u32,
    }

    #[message]
    enum UnusedToo {
        One(Unused),
    }

    #[service]
    trait Internal {
        async fn unused(&self, value: UnusedToo) -> u32;
        async fn unused_stream(&self, values: Sender<UnusedToo>) -> u32;
    }

    #[service]
    pub(crate) trait Crate {
        async fn unused(&self, value: u32) -> u32;
    }

    const _: fn() = || {
        let _ = UnusedToo::One(Unused { field: 1 });
    };
}

#[test]
fn generated_code_is_free_of_warnings() {
    assert_eq!(DirectoryClient::descriptor().methods.len(), 9);
}
