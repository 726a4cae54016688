//! Router: from the method id on the wire to the method of a service.

use std::sync::Arc;

use rpc_core::{Code, Dispatch, MethodDescriptor, MethodId};

use crate::error::StartError;
use crate::slot::{HandlerSlot, Service, erase};

/// Where a method is: which service, which of its methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) service: usize,
    pub(crate) method: usize,
}

/// The services of one server.
#[derive(Default)]
pub(crate) struct Router {
    services: Vec<Arc<dyn Service>>,
    /// Sorted by id.
    methods: Vec<Entry>,
}

#[derive(Clone, Copy)]
struct Entry {
    route: Route,
    descriptor: &'static MethodDescriptor,
}

impl Router {
    pub(crate) fn add<D: Dispatch>(&mut self, service: D) {
        self.services.push(erase(service));
    }

    /// Sorts the methods. Versions of a service share those that did not change: they are answered by the version that was added first (P-62).
    ///
    /// A service that has no method left to itself is the same one added again, a mistake. So would be one id for two signatures, if chance ever
    /// brought that about.
    pub(crate) fn build(&mut self) -> Result<(), StartError> {
        let entries = self.services.iter().enumerate().flat_map(|(service, methods)| {
            let methods = methods.descriptor().methods.iter().enumerate();
            methods.map(move |(method, descriptor)| Entry {
                route: Route { service, method },
                descriptor,
            })
        });
        let mut methods: Vec<_> = entries.collect();
        methods.sort_by_key(|entry| (entry.descriptor.id, entry.route.service));
        for pair in methods.windows(2) {
            if let [one, other] = pair
                && one.descriptor.id == other.descriptor.id
                && one.descriptor.signature != other.descriptor.signature
            {
                let name = first_line(other.descriptor.signature.as_str()).to_owned();
                return Err(StartError::DuplicateMethod { name });
            }
        }
        methods.dedup_by_key(|entry| entry.descriptor.id);
        for (index, service) in self.services.iter().enumerate() {
            if !methods.iter().any(|entry| entry.route.service == index) {
                let name = service.descriptor().name.to_owned();
                return Err(StartError::DuplicateService { name });
            }
        }
        self.methods = methods;
        Ok(())
    }

    /// Where a method is, and what it is.
    pub(crate) fn find(&self, method: MethodId) -> Option<(Route, &'static MethodDescriptor)> {
        let id = |entry: &Entry| entry.descriptor.id;
        let index = self.methods.binary_search_by_key(&method, id).ok()?;
        let Entry { route, descriptor } = *self.methods.get(index)?;
        Some((route, descriptor))
    }

    /// Room for a handler of a service.
    pub(crate) fn new_slot(&self, service: usize) -> Option<Box<dyn HandlerSlot>> {
        self.services.get(service).map(|service| service.new_slot())
    }

    pub(crate) fn service_count(&self) -> usize {
        self.services.len()
    }

    /// Whether any method runs on the worker pool.
    pub(crate) fn needs_workers(&self) -> bool {
        let mut methods = self
            .services
            .iter()
            .flat_map(|service| &service.descriptor().methods);
        methods.any(|method| method.runs_on == rpc_core::service::RunsOn::Workers)
    }

    /// The failure for a method that is not here (P-38).
    pub(crate) fn unknown(&self, method: MethodId) -> (Code, String) {
        let candidates = (self.methods.iter())
            .map(|entry| entry.descriptor)
            .filter(|descriptor| descriptor.id.name_hash() == method.name_hash());
        let signatures: Vec<_> = candidates
            .map(|descriptor| descriptor.signature.as_str())
            .collect();
        if signatures.is_empty() {
            return (Code::UNKNOWN_METHOD, format!("no method with id {method}"));
        }
        // The connection cuts it to what a failure may hold.
        (Code::SCHEMA_MISMATCH, signatures.join("\n\n"))
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
