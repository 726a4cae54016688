//! The macros `#[service]` and `#[message]`: a trait becomes a client and a dispatcher, a type becomes a message.
//!
//! Both take the same way: *parse* the item into a model that keeps the user's syntax nodes, *check* every rule of the language and report all
//! that is broken at once, then *expand* the model, which cannot fail. A broken item is expanded to a stand-in, so that the user sees what is
//! wrong with it and not what follows from that.
//!
//! Users find both in `rpc-core`. Generated code names `::rpc_core::__private`, `::core` and `::std`, and nothing else.

#![forbid(unsafe_code)]
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "the enums of syn grow with the language, and a rule is about one or two of their variants"
)]

mod derive_list;
mod errors;
mod message;
mod service;
mod text;
mod wire_types;

use proc_macro::TokenStream;

/// Makes a struct or enum a message: an argument, a reply, an error, or a part of these.
///
/// ```
/// use rpc_core::message;
///
/// #[message]
/// #[derive(Clone, Debug, PartialEq)]
/// pub struct Profile {
///     pub name: String,
///     pub tags: Vec<String>,
///     pub score: f64,
/// }
///
/// #[message(max_depth = 32)]
/// pub struct Tree {
///     pub label: String,
///     pub children: Vec<Tree>,
/// }
/// ```
///
/// The archived form, `ArchivedProfile`, has the same fields in archived form, and those of the traits `Debug`, `PartialEq` and `Eq` that are
/// derived *below* the macro. A type that implements one of them by hand does so for its archived form, too, if a message that contains it derives
/// the trait.
///
/// A type that contains itself states how deep out-of-line values (`String`, `Vec`, `Box`, …) may be nested in it, 1 to 64: a deeper value is
/// neither sent nor accepted. In a cycle of several types each states it.
///
/// Which types a field may have is said at `rpc_core::Wire`. There are no generics, no references and no `usize` on the wire. What takes no room
/// cannot be the element of a list: its number alone could ask for any amount of memory.
///
/// ```compile_fail,E0080
/// # use rpc_core::message;
/// #[message]
/// struct Nothing;
///
/// #[message]
/// struct Counted {
///     nothings: Vec<Nothing>, // write `u32`
/// }
/// ```
#[proc_macro_attribute]
pub fn message(arguments: TokenStream, item: TokenStream) -> TokenStream {
    message::run(arguments.into(), item.into()).into()
}

/// Makes a trait a service: `Directory` gets `DirectoryClient`, by which it is called, and `DirectoryServer`, by which it is served.
///
/// `#[service(name = "Other")]` gives it another name on the wire.
///
/// # Methods
///
/// An `async fn` runs on the task of its connection, a plain `fn` on the worker pool. Both take `&self`, then if they like `cx: &Context`,
/// then up to 12 arguments and up to 8 channels, in any order:
///
/// | parameter | handler | client takes |
/// |---|---|---|
/// | `&str`, `&[u8]` | borrows from the receive buffer | the same |
/// | `&Archived<T>`, `&[Archived<T>]` | reads in place | `&T`, `&[T]` |
/// | `T` | owns a copy | `&T`; a scalar by value |
/// | `Sender<T>` | sends items | nothing, and is given a `Receiver<T>` |
/// | `Receiver<T>` | receives items | nothing, and is given a `Sender<T>` |
///
/// A channel is known by its name: the type is written `Sender<T>` or `Receiver<T>`, with whatever path before it. A call of a method with channels
/// is opened first; then the caller has its ends of the channels, in the order of the parameters, and behind them the call itself.
///
/// They return nothing, `T`, `&T`, `&str` or `&[T]` borrowed from `self`, or `Arc<T>`; or a `Result` of one of these and an error message.
/// How a value is handed over is not part of the signature: `T`, `&T` and `Arc<T>` are the same on the wire.
///
/// # Attributes of methods
///
/// * `#[rpc(idempotent)]`: running it twice does no harm.
/// * `#[rpc(oneway)]`: no reply is wanted. The call has ended for its caller once it was sent; whether the method ran is not known. Such a method returns
///   nothing and has no channels.
/// * `#[rpc(timeout = "2s")]`: the time a call may take unless the caller says otherwise; `ms`, `s` or `m`.
///
/// # Examples
///
/// ```
/// use rpc_core::{message, service};
///
/// #[message]
/// pub struct NotFound;
///
/// #[service]
/// pub trait Directory {
///     /// The mail address of a person.
///     #[rpc(idempotent, timeout = "250ms")]
///     async fn address(&self, name: &str) -> Result<String, NotFound>;
/// }
///
/// # async fn example<C: rpc_core::Caller>(caller: C) -> Result<(), rpc_core::CallError<NotFound>> {
/// let directory = DirectoryClient::new(caller);
/// let address = directory.address("ada").await?;
/// println!("{}", address.as_str());
/// # Ok(())
/// # }
/// ```
///
/// With a stream in each direction:
///
/// ```
/// use rpc_core::{Receiver, Sender, service};
///
/// #[service]
/// pub trait Directory {
///     /// Sends all names that begin with one of the prefixes; returns their number.
///     async fn search(&self, prefixes: Receiver<String>, limit: u64, names: Sender<String>) -> u64;
/// }
///
/// struct Names(Vec<String>);
///
/// impl Directory for Names {
///     async fn search(&self, mut prefixes: Receiver<String>, limit: u64, mut names: Sender<String>) -> u64 {
///         let mut found = 0;
///         // A stream that does not end in order ends here, too: then the call has failed, and nobody waits for what is returned.
///         while let Ok(Some(prefix)) = prefixes.recv().await {
///             for name in self.0.iter().filter(|name| name.starts_with(prefix.as_str())) {
///                 if found == limit || names.send(name).await.is_err() {
///                     return found;
///                 }
///                 found += 1;
///             }
///         }
///         found
///     }
/// }
///
/// # async fn example<C: rpc_core::Caller>(directory: DirectoryClient<C>) -> Result<(), Box<dyn std::error::Error>> {
/// let (mut prefixes, mut names, search) = directory.search(100).open().await?;
/// prefixes.send(&"a".to_owned()).await?;
/// prefixes.finish()?;
/// while let Some(name) = names.recv().await? {
///     println!("{}", name.as_str()); // read where it was received
/// }
/// println!("{} in all", *search.await?);
/// # Ok(())
/// # }
/// ```
#[proc_macro_attribute]
pub fn service(arguments: TokenStream, item: TokenStream) -> TokenStream {
    service::run(arguments.into(), item.into()).into()
}
