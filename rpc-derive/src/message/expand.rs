//! What a message expands to: the type as the user wrote it, its archived form, and its `Wire`.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned as _;

use super::archived::out_of_the_way;
use super::model::Message;
use super::{archived, mirror, wire};

pub(crate) fn expand(message: &Message) -> TokenStream {
    let item = &message.original;
    let field_checks = field_checks(message);
    let checked = generated(message, &quote!(#[cfg(not(doc))]), &bounds(message));
    // The bounds always hold; in the documentation of each type they would be noise.
    let documented = generated(message, &quote!(#[cfg(doc)]), &TokenStream::new());
    quote!(#item #field_checks #checked #documented)
}

fn generated(message: &Message, cfg: &TokenStream, bounds: &TokenStream) -> TokenStream {
    let archived = archived::expand(message, bounds);
    let mirror = mirror::expand(message, bounds);
    let wire = wire::expand(message, bounds);
    quote! {
        #cfg
        #archived

        #cfg
        #[allow(clippy::all, clippy::pedantic, clippy::nursery)]
        const _: () = {
            #mirror
            #wire
        };
    }
}

/// `where Field: Wire`, for each field.
///
/// The compiler reports a bound that does not hold once, at the field, and believes it from there on; without the bounds it would find a dozen
/// things that follow from it. (For a type that contains itself the bounds would lead in circles.)
fn bounds(message: &Message) -> TokenStream {
    if message.max_depth.is_some() {
        return TokenStream::new();
    }
    let bounds = message.fields().map(|field| {
        let native = out_of_the_way(message, &field.ty);
        quote_spanned!(field.ty.span()=> #native: ::rpc_core::__private::Wire)
    });
    quote!(where #(#bounds),*)
}

/// Has the compiler work out the depth of each field now, and not first when a call uses it: a type that is refused by its depth, such as a list of
/// values of size zero, is refused in `cargo check`, and at the field.
fn field_checks(message: &Message) -> TokenStream {
    let depths = message.fields().map(|field| {
        let ty = &field.ty;
        quote_spanned!(ty.span()=> ::rpc_core::__private::DepthOf::<#ty>::DEPTH)
    });
    quote! {
        const _: &[::core::primitive::u32] = {
            #[allow(unused_imports)]
            use ::rpc_core::__private::NoDepth as _;
            &[#(#depths),*]
        };
    }
}
