//! The trait itself: what the user wrote, with futures that can move between threads.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{ItemTrait, ReturnType, TraitItem, TypeParamBound, parse_quote};

use super::super::model::{Method, Service};

pub(super) fn expand(service: &Service) -> TokenStream {
    let items = service
        .methods
        .iter()
        .map(|method| TraitItem::Fn(declaration(method)))
        .collect();
    let mut contract = ItemTrait {
        items,
        ..service.original.clone()
    };
    for (name, bound) in [
        ("Send", parse_quote!(::core::marker::Send)),
        ("Sync", parse_quote!(::core::marker::Sync)),
    ] {
        if !contract.supertraits.iter().any(|bound| is_trait(bound, name)) {
            contract.supertraits.push(bound);
        }
    }
    if !contract
        .supertraits
        .iter()
        .any(|bound| matches!(bound, TypeParamBound::Lifetime(_)))
    {
        contract.supertraits.push(parse_quote!('static));
    }
    contract.colon_token.get_or_insert_default();
    quote!(#contract)
}

/// `async fn f(&self) -> T` becomes `fn f(&self) -> impl Future<Output = T> + Send`, which an `async fn` implements.
fn declaration(method: &Method) -> syn::TraitItemFn {
    let mut declaration = method.original.clone();
    if declaration.sig.asyncness.take().is_some() {
        let output = match &declaration.sig.output {
            ReturnType::Default => quote!(()),
            ReturnType::Type(_, ty) => quote!(#ty),
        };
        declaration.sig.output = parse_quote! {
            -> impl ::core::future::Future<Output = #output> + ::core::marker::Send
        };
    }
    declaration
}

fn is_trait(bound: &TypeParamBound, name: &str) -> bool {
    matches!(bound, TypeParamBound::Trait(bound) if bound.path.segments.last().is_some_and(|last| last.ident == name))
}
