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
    methods: Vec<(MethodId, Route)>,
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
        let routes = self.services.iter().enumerate().flat_map(|(service, methods)| {
            let methods = methods.descriptor().methods.iter().enumerate();
            methods.map(move |(method, descriptor)| (descriptor.id, Route { service, method }))
        });
        let mut methods: Vec<_> = routes.collect();
        methods.sort_by_key(|(id, route)| (*id, route.service));
        for pair in methods.windows(2) {
            if let [(a, one), (b, other)] = pair
                && a == b
                && self.signature(*one) != self.signature(*other)
            {
                let name = self.signature(*other).map_or("", first_line).to_owned();
                return Err(StartError::DuplicateMethod { name });
            }
        }
        methods.dedup_by_key(|(id, _)| *id);
        for (index, service) in self.services.iter().enumerate() {
            if !methods.iter().any(|(_, route)| route.service == index) {
                let name = service.descriptor().name.to_owned();
                return Err(StartError::DuplicateService { name });
            }
        }
        self.methods = methods;
        Ok(())
    }

    pub(crate) fn find(&self, method: MethodId) -> Option<Route> {
        let index = self.methods.binary_search_by_key(&method, |(id, _)| *id).ok()?;
        self.methods.get(index).map(|(_, route)| *route)
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
        let candidates = self
            .methods
            .iter()
            .filter(|(id, _)| id.name_hash() == method.name_hash());
        let signatures: Vec<_> = candidates
            .filter_map(|(_, route)| self.signature(*route))
            .collect();
        if signatures.is_empty() {
            return (Code::UNKNOWN_METHOD, format!("no method with id {method}"));
        }
        // The connection cuts it to what a failure may hold.
        (Code::SCHEMA_MISMATCH, signatures.join("\n\n"))
    }

    /// What a method is.
    pub(crate) fn method(&self, route: Route) -> Option<&'static MethodDescriptor> {
        let descriptor = self.services.get(route.service)?.descriptor();
        descriptor.methods.get(route.method)
    }

    fn signature(&self, route: Route) -> Option<&'static str> {
        self.method(route).map(|method| method.signature.as_str())
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
