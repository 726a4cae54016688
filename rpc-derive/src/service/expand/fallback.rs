//! What a broken service expands to: the trait, and a client and server that do nothing, so that the rest of the program still finds them.

use std::collections::HashSet;

use proc_macro2::TokenStream;
use quote::quote;
use syn::{FnArg, TraitItem, parse_quote};

use super::super::model::{Method, Service};
use super::names::Names;

pub(crate) fn expand(service: &Service) -> TokenStream {
    let Names { client, server, .. } = Names::of(service);
    let contract = contract(service);
    let vis = &service.original.vis;
    quote! {
        #[allow(async_fn_in_trait)]
        #contract

        #[derive(::core::clone::Clone, ::core::fmt::Debug)]
        #[allow(dead_code, missing_docs)]
        #vis struct #client<C> {
            caller: C,
        }

        #[allow(dead_code, missing_docs)]
        impl<C> #client<C> {
            #vis fn new(caller: C) -> Self {
                Self { caller }
            }

            #vis fn caller(&self) -> &C {
                &self.caller
            }
        }

        #[derive(::core::clone::Clone, ::core::fmt::Debug)]
        #[allow(dead_code, missing_docs)]
        #vis struct #server<S> {
            service: ::rpc_core::__private::Arc<S>,
        }

        #[allow(dead_code, missing_docs)]
        impl<S> #server<S> {
            #vis fn new(service: S) -> Self {
                Self::from_arc(::rpc_core::__private::Arc::new(service))
            }

            #vis fn from_arc(service: ::rpc_core::__private::Arc<S>) -> Self {
                Self { service }
            }
        }

        #[automatically_derived]
        impl<S: ::core::marker::Send + ::core::marker::Sync + 'static> ::rpc_core::__private::Dispatch for #server<S> {
            fn descriptor(&self) -> &'static ::rpc_core::__private::ServiceDescriptor {
                ::core::unreachable!("stands in for a service that does not compile")
            }

            fn dispatch(
                &self,
                mut call: ::rpc_core::__private::IncomingCall,
            ) -> impl ::core::future::Future<Output = ::rpc_core::__private::Completed>
            + ::core::marker::Send
            + use<S> {
                async move { call.take_reply().unknown_method() }
            }
        }
    }
}

/// The user's trait, without what the compiler would complain about once more.
fn contract(service: &Service) -> TokenStream {
    let mut contract = service.original.clone();
    contract.auto_token = None;
    contract
        .items
        .retain(|item| matches!(item, TraitItem::Const(_) | TraitItem::Type(_)));
    let mut names = HashSet::new();
    let methods = service.methods.iter().filter(|method| names.insert(&method.name));
    contract
        .items
        .extend(methods.map(|method| TraitItem::Fn(declaration(method))));
    quote!(#contract)
}

fn declaration(method: &Method) -> syn::TraitItemFn {
    let mut declaration = method.original.clone();
    declaration.sig.constness = None;
    declaration.sig.variadic = None;
    for input in &mut declaration.sig.inputs {
        if let FnArg::Typed(parameter) = input {
            parameter.attrs.clear();
            if !matches!(&*parameter.pat, syn::Pat::Ident(pat) if pat.mutability.is_none() && pat.subpat.is_none())
            {
                parameter.pat = parse_quote!(_);
            }
        }
    }
    declaration
}
