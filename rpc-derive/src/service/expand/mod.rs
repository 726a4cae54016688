//! What a service expands to: the trait, its client, its server.

mod client;
mod contract;
mod descriptor;
pub(super) mod fallback;
mod names;
mod server;

use std::collections::HashSet;

use proc_macro2::TokenStream;
use quote::{ToTokens as _, quote, quote_spanned};
use syn::spanned::Spanned as _;

use self::names::Names;
use super::model::{Method, Service};

/// Puts the parts together. What declares no public name is hidden in a constant.
pub(crate) fn expand(service: &Service) -> TokenStream {
    let names = Names::of(service);
    let contract = contract::expand(service);
    let client_type = client::declare(service, &names);
    let server_type = server::declare(service, &names);
    let checked = implementations(service, &names, &quote!(#[cfg(not(doc))]), &bounds(service));
    // The bounds always hold; in the documentation of each method they would be noise.
    let documented = implementations(service, &names, &quote!(#[cfg(doc)]), &TokenStream::new());
    quote! {
        #contract
        #client_type
        #server_type
        #checked
        #documented
    }
}

fn implementations(service: &Service, names: &Names, cfg: &TokenStream, bounds: &TokenStream) -> TokenStream {
    let client = client::implement(service, names, bounds);
    let server = server::implement(service, names, bounds);
    let descriptor = descriptor::expand(service, bounds);
    quote! {
        #cfg
        #[allow(clippy::all, clippy::pedantic, clippy::nursery)]
        const _: () = {
            #descriptor
            #client
            #server
        };
    }
}

/// `where T: Wire`, for each type that the user has written.
///
/// The compiler reports a bound that does not hold once, at the type, and believes it from there on; without the bounds it would find a dozen
/// things that follow from it.
fn bounds(service: &Service) -> TokenStream {
    let mut seen = HashSet::new();
    let types = service.methods.iter().flat_map(Method::user_types);
    let types = types.filter(|ty| seen.insert(ty.to_token_stream().to_string()));
    let bounds = types.map(|ty| quote_spanned!(ty.span()=> #ty: ::rpc_core::__private::Wire));
    quote!(where #(#bounds),*)
}
