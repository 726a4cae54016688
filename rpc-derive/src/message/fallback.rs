//! What a broken message expands to: the type itself, so that the rest of the program still finds it.

use std::slice;

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Attribute, Data};

use super::model::Message;
use crate::derive_list::derives_rkyv;

pub(crate) fn expand(message: &Message) -> TokenStream {
    let mut item = message.original.clone();
    // Without its derive, rkyv's attribute would be one more error; and its derive would be one without its crate.
    let keep = |attribute: &Attribute| {
        !attribute.path().is_ident("rkyv") && !derives_rkyv(slice::from_ref(attribute))
    };
    item.attrs.retain(keep);
    match &mut item.data {
        Data::Struct(data) => data.fields.iter_mut().for_each(|field| field.attrs.retain(keep)),
        Data::Enum(data) => {
            for variant in &mut data.variants {
                variant.attrs.retain(keep);
                variant
                    .fields
                    .iter_mut()
                    .for_each(|field| field.attrs.retain(keep));
            }
        }
        Data::Union(_) => {}
    }
    let wire = message.original.generics.params.is_empty().then(|| wire(message));
    quote!(#item #wire)
}

/// An implementation that makes the type acceptable as an argument or field. It never runs: the program does not compile.
fn wire(message: &Message) -> TokenStream {
    let (vis, ident) = (&message.original.vis, &message.original.ident);
    let archived = format_ident!("Archived{}", ident);
    let text = "stands in for a message that does not compile";
    quote! {
        #[allow(dead_code, missing_docs)]
        #vis type #archived = ::core::primitive::u8;

        #[automatically_derived]
        impl ::rpc_core::__private::Wire for #ident {
            type Archived = #archived;
            type Resolver = ();
            const DEPTH: u32 = 0;

            fn describe(_: &mut ::rpc_core::__private::Schema) -> ::std::string::String {
                ::core::unreachable!(#text)
            }

            fn serialize(
                &self,
                _: &mut ::rpc_core::__private::Encoder<'_>,
            ) -> ::core::result::Result<(), ::rpc_core::__private::EncodeError> {
                ::core::unreachable!(#text)
            }

            fn resolve(&self, _: (), _: ::rpc_core::__private::rkyv::Place<#archived>) {}

            fn deserialize(
                _: &#archived,
                _: &mut ::rpc_core::__private::Decoder,
            ) -> ::core::result::Result<Self, ::rpc_core::__private::ArchiveError> {
                ::core::unreachable!(#text)
            }
        }
    }
}
