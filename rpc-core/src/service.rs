//! Services: what generated dispatchers implement, and what a method is.

use std::sync::Arc;
use std::time::Duration;

use crate::id::MethodId;
use crate::incoming::{Completed, IncomingCall};
use crate::middleware::{ServerLayer, ServerMiddleware};
use crate::schema::{Describe, fingerprint, signature};

/// A service as its trait declares it.
#[derive(Debug)]
#[non_exhaustive]
pub struct ServiceDescriptor {
    /// The name on the wire.
    pub name: &'static str,
    /// Its methods, in the order of the trait.
    pub methods: Vec<MethodDescriptor>,
}

/// A method as its signature and attributes declare it.
#[derive(Debug)]
#[non_exhaustive]
pub struct MethodDescriptor {
    /// The name of its service.
    pub service: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Its id on the wire.
    pub id: MethodId,
    /// Its full structure as text, of which the id is the fingerprint.
    pub signature: String,
    /// The time a call may take unless the caller says otherwise: `#[rpc(timeout = "…")]`.
    pub timeout: Option<Duration>,
    /// Whether running it twice does no harm: `#[rpc(idempotent)]`.
    pub idempotent: bool,
    /// Where its handler runs.
    pub runs_on: RunsOn,
    /// Whether its caller wants no answer: `#[rpc(oneway)]`.
    pub oneway: bool,
    /// Channels on which its handler sends: parameters `Sender<T>`.
    pub handler_sends: u16,
    /// Channels on which its handler receives: parameters `Receiver<T>`.
    pub handler_receives: u16,
}

impl MethodDescriptor {
    /// Whether its calls have channels.
    pub fn has_channels(&self) -> bool {
        self.handler_sends > 0 || self.handler_receives > 0
    }
}

/// Where a handler runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunsOn {
    /// `async fn`: on the task of its connection.
    Connection,
    /// `fn`: on the worker pool.
    Workers,
}

/// What the macro knows of a method.
#[derive(Debug)]
pub struct MethodDef {
    /// Its name.
    pub name: &'static str,
    /// Its arguments and channels: names and types.
    pub arguments: &'static [(&'static str, Describe)],
    /// The type it returns.
    pub reply: Describe,
    /// See [`MethodDescriptor::timeout`].
    pub timeout: Option<Duration>,
    /// See [`MethodDescriptor::idempotent`].
    pub idempotent: bool,
    /// See [`MethodDescriptor::runs_on`].
    pub runs_on: RunsOn,
    /// See [`MethodDescriptor::oneway`].
    pub oneway: bool,
    /// See [`MethodDescriptor::handler_sends`].
    pub handler_sends: u16,
    /// See [`MethodDescriptor::handler_receives`].
    pub handler_receives: u16,
}

impl ServiceDescriptor {
    /// Works out signatures and ids. Generated code does it once per program.
    pub fn new(name: &'static str, methods: &[MethodDef]) -> Self {
        let describe = |method: &MethodDef| {
            let signature = signature(name, method.name, method.arguments, method.reply, method.oneway);
            MethodDescriptor {
                service: name,
                name: method.name,
                id: fingerprint(&signature),
                signature,
                timeout: method.timeout,
                idempotent: method.idempotent,
                runs_on: method.runs_on,
                oneway: method.oneway,
                handler_sends: method.handler_sends,
                handler_receives: method.handler_receives,
            }
        };
        Self {
            name,
            methods: methods.iter().map(describe).collect(),
        }
    }
}

/// A service that can be called: implemented by the generated `…Server` types.
pub trait Dispatch: Send + Sync + 'static {
    /// What the service is.
    fn descriptor(&self) -> &'static ServiceDescriptor;

    /// Runs one call. The future owns the call and everything it borrows from; dropping it cancels an `async fn` handler.
    ///
    /// Never panics on what the peer sent; a panic of the handler passes through.
    ///
    /// (`use<Self>`: the future borrows nothing from `&self`, so that it can outlive the reference.)
    fn dispatch(&self, call: IncomingCall) -> impl Future<Output = Completed> + Send + use<Self>;

    /// What a call calls; none if its method is out of range.
    fn method_of(&self, call: &IncomingCall) -> Option<&'static MethodDescriptor> {
        self.descriptor().methods.get(call.method)
    }

    /// Puts a middleware in front of this service. See [`middleware`](crate::middleware).
    fn layer<M: ServerMiddleware>(self, middleware: M) -> ServerLayer<M, Self>
    where
        Self: Sized,
    {
        ServerLayer::new(middleware, self)
    }
}

impl<D: Dispatch> Dispatch for Arc<D> {
    fn descriptor(&self) -> &'static ServiceDescriptor {
        D::descriptor(self)
    }

    fn dispatch(&self, call: IncomingCall) -> impl Future<Output = Completed> + Send + use<D> {
        D::dispatch(self, call)
    }
}
