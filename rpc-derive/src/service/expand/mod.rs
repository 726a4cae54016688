//! What a service expands to: the trait, its client, its server.

mod client;
mod contract;
mod descriptor;
pub(super) mod fallback;
mod names;
mod server;

use proc_macro2::TokenStream;
use quote::quote;

use self::names::Names;
use super::model::Service;

/// Puts the parts together. What declares no public name is hidden in a constant.
pub(crate) fn expand(service: &Service) -> TokenStream {
    let names = Names::of(service);
    let contract = contract::expand(service);
    let client_type = client::declare(service, &names);
    let server_type = server::declare(service, &names);
    let client = client::implement(service, &names);
    let server = server::implement(service, &names);
    let descriptor = descriptor::expand(service);
    quote! {
        #contract
        #client_type
        #server_type

        const _: () = {
            #descriptor
            #client
            #server
        };
    }
}
