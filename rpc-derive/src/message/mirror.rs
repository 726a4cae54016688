//! The mirror: a private twin of the message, by which rkyv's derive writes the archived form.
//!
//! Writing an enum in place takes unsafe code, which is rkyv's to generate. Deriving on a twin keeps rkyv's attributes and helper types out of the
//! user's type, its module, and its documentation.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{Data, Field, Fields};

use super::archived::out_of_the_way;
use super::model::Message;

pub(crate) fn expand(message: &Message, bounds: &TokenStream) -> TokenStream {
    let native = &message.original.ident;
    let body = match &message.data {
        Data::Struct(data) => {
            let fields = fields(message, &data.fields);
            if matches!(data.fields, Fields::Named(_)) {
                quote!(struct __Mirror #bounds #fields)
            } else {
                quote!(struct __Mirror #fields #bounds;)
            }
        }
        Data::Enum(_) | Data::Union(_) => {
            let variants = message.variants().map(|variant| {
                let ident = &variant.ident;
                let fields = fields(message, &variant.fields);
                quote!(#ident #fields)
            });
            quote!(enum __Mirror #bounds { #(#variants),* })
        }
    };
    quote! {
        #[derive(::rpc_core::__private::rkyv::Archive)]
        #[rkyv(
            crate = ::rpc_core::__private::rkyv,
            remote = #native,
            as = ::rpc_core::__private::Archived<#native>,
        )]
        #[allow(dead_code)]
        pub #body
    }
}

fn fields(message: &Message, fields: &Fields) -> TokenStream {
    let list = fields.iter().map(
        |Field {
             ident,
             colon_token,
             ty,
             ..
         }| {
            let with = quote_spanned!(ty.span()=> #[rkyv(with = ::rpc_core::__private::AsWire)]);
            let ty = out_of_the_way(message, ty);
            quote!(#with #ident #colon_token #ty)
        },
    );
    match fields {
        Fields::Named(_) => quote!({ #(#list),* }),
        Fields::Unnamed(_) => quote!((#(#list),*)),
        Fields::Unit => TokenStream::new(),
    }
}
