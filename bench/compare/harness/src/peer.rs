//! Peer: what a framework has to be able to do to be measured.

use crate::address::Address;
use crate::data::{Block, ListSums};
use crate::lane::{Lanes, Task};
use crate::options::Options;
use crate::server::Ready;
use crate::{Result, locked_version};

/// A framework, or a floor. Its program's `main` calls [`main::<Self>()`](crate::main).
#[expect(
    async_fn_in_trait,
    reason = "a server is run by block_on, so nobody needs its future to be Send"
)]
pub trait Peer: 'static {
    /// The package whose version is reported, as it is named in `Cargo.lock`.
    const PACKAGE: &'static str;
    /// Whether its tasks are not `Send`: client and server then run inside of a `LocalSet`, and `spawn_local` works.
    const IS_LOCAL: bool = false;
    /// Names of options that only this peer has, such as `server-mode`.
    const EXTRA: &'static [&'static str] = &[];
    /// One connection.
    type Connection: Connection;

    /// What it is called in reports.
    fn name(options: &Options) -> &'static str;

    /// The version that is reported.
    fn version() -> String {
        locked_version(Self::PACKAGE)
    }

    /// Why it does not do what is asked for, if it does not.
    fn absent(options: &Options) -> Option<String> {
        let _ = options;
        None
    }

    /// What a reader has to know: which settings were made.
    fn note(options: &Options) -> Option<String> {
        let _ = options;
        None
    }

    /// Runs the server, as long as the process lives: listens at `address`, tells `ready` where that is, and serves.
    async fn serve(address: Address, options: &Options, ready: Ready) -> Result<()>;
}

/// A connection of the client's side.
#[expect(
    async_fn_in_trait,
    reason = "connections are made by block_on, so nobody needs the future to be Send"
)]
pub trait Connection: Sized + 'static {
    /// Connects. A framework with a greeting waits for it.
    async fn connect(address: &Address, options: &Options) -> Result<Self>;

    /// Starts `lanes` on this connection. For a cloneable [`Client`] this is
    ///
    /// ```ignore
    /// lanes.start(|lane| tokio::spawn(lane.run(self.clone())))
    /// ```
    ///
    /// or `spawn_local`; it is written where the type is concrete, so that nobody has to promise that futures are `Send`.
    fn spawn(&self, lanes: &Lanes) -> Vec<Task>;
}

/// A client that is called as its framework means it to be called: by one `async fn` per call.
#[expect(
    async_fn_in_trait,
    reason = "whether the futures are Send is seen where they are spawned"
)]
pub trait Client: Clone + 'static {
    /// An answer, wherever its bytes are. One that cannot be read is empty.
    type Echo: AsRef<[u8]>;

    /// Sends 64 bytes and gets them back.
    async fn echo(&self, block: &Block) -> Result<Self::Echo>;

    /// Gets the list of [`records`](crate::data::records), and sums it in whatever form it came.
    async fn list(&self) -> Result<ListSums>;

    /// Gets `len` bytes of [`blob`](crate::data::blob), and walks over them with a [`PageWalk`](crate::data::PageWalk).
    async fn blob(&self, len: u64) -> Result<u64>;

    /// Gets a stream of `count` [`item`](crate::data::item)s, and checks them with an [`ItemWalk`](crate::data::ItemWalk).
    async fn items(&self, count: u64) -> Result<u64>;
}
