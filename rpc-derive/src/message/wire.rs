//! The `Wire` of a message: field by field.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{Data, Field, Fields, Member};

use super::model::{Message, unraw};

pub(crate) fn expand(message: &Message, bounds: &TokenStream) -> TokenStream {
    let ident = &message.original.ident;
    let archived = message.archived_ident();
    let depth = depth(message);
    let definition = definition(message);
    let serialize = serialize(message);
    let deserialize = deserialize(message);
    quote! {
        #[automatically_derived]
        impl ::rpc_core::__private::Wire for #ident #bounds {
            type Archived = #archived;
            type Resolver = __MirrorResolver;
            const DEPTH: u32 = #depth;

            fn describe(schema: &mut ::rpc_core::__private::Schema) -> ::std::string::String {
                schema.define::<Self>(const { &#definition })
            }

            fn serialize(
                &self,
                encoder: &mut ::rpc_core::__private::Encoder<'_>,
            ) -> ::core::result::Result<__MirrorResolver, ::rpc_core::__private::EncodeError> {
                #serialize
            }

            fn resolve(
                &self,
                resolver: __MirrorResolver,
                out: ::rpc_core::__private::rkyv::Place<#archived>,
            ) {
                <__Mirror as ::rpc_core::__private::rkyv::with::ArchiveWith<Self>>::resolve_with(self, resolver, out);
            }

            fn deserialize(
                archived: &#archived,
                decoder: &mut ::rpc_core::__private::Decoder,
            ) -> ::core::result::Result<Self, ::rpc_core::__private::ArchiveError> {
                #deserialize
            }
        }
    }
}

fn depth(message: &Message) -> TokenStream {
    if let Some(depth) = message.stated_depth() {
        return quote!(#depth);
    }
    let depths = message
        .fields()
        .map(|Field { ty, .. }| quote_spanned!(ty.span()=> <#ty as ::rpc_core::__private::Wire>::DEPTH));
    quote!(::rpc_core::__private::deepest(&[#(#depths),*]))
}

fn serialize(message: &Message) -> TokenStream {
    let resolver = convert(
        message,
        &quote!(self),
        &quote!(Self),
        &quote!(__MirrorResolver),
        |field| quote!(::rpc_core::__private::Wire::serialize(#field, encoder)?),
    );
    match message.stated_depth() {
        None => quote!(::core::result::Result::Ok(#resolver)),
        Some(depth) => quote! {
            ::rpc_core::__private::serialize_nested(encoder, #depth, |encoder| ::core::result::Result::Ok(#resolver))
        },
    }
}

fn deserialize(message: &Message) -> TokenStream {
    let archived = message.archived_ident();
    let native = convert(
        message,
        &quote!(archived),
        &quote!(#archived),
        &quote!(Self),
        |field| quote!(::rpc_core::__private::Wire::deserialize(#field, decoder)?),
    );
    quote!(::core::result::Result::Ok(#native))
}

/// Takes the value `source` of type `from` apart and builds a `to` of its fields, each turned over by `turn`.
fn convert(
    message: &Message,
    source: &TokenStream,
    from: &TokenStream,
    to: &TokenStream,
    turn: impl Fn(&Ident) -> TokenStream,
) -> TokenStream {
    let arm = |variant: TokenStream, fields: &Fields| {
        // `Name { 0: a, 1: b }` is good for all three kinds.
        let members: Vec<Member> = fields.members().collect();
        let bindings: Vec<_> = (0..members.len())
            .map(|index| format_ident!("field_{index}"))
            .collect();
        let turned = bindings.iter().map(&turn);
        quote! {
            #from #variant { #(#members: #bindings),* } => #to #variant { #(#members: #turned),* }
        }
    };
    let arms: Vec<_> = match &message.data {
        Data::Struct(data) => vec![arm(TokenStream::new(), &data.fields)],
        Data::Enum(_) | Data::Union(_) => {
            let arms = message.variants().map(|variant| {
                let ident = &variant.ident;
                arm(quote!(::#ident), &variant.fields)
            });
            arms.collect()
        }
    };
    quote!(match #source { #(#arms,)* })
}

/// The `TypeDef` of the message.
fn definition(message: &Message) -> TokenStream {
    let name = &message.name;
    let max_depth = match message.stated_depth() {
        Some(depth) => quote!(::core::option::Option::Some(#depth)),
        None => quote!(::core::option::Option::None),
    };
    let shape = match &message.data {
        Data::Struct(data) => {
            let fields = fields(&data.fields);
            quote!(Struct(#fields))
        }
        Data::Enum(_) | Data::Union(_) => {
            let variants = message.variants().map(|variant| {
                let name = unraw(&variant.ident);
                let fields = fields(&variant.fields);
                quote!((#name, #fields))
            });
            quote!(Enum(&[#(#variants),*]))
        }
    };
    quote! {
        ::rpc_core::__private::TypeDef {
            name: #name,
            max_depth: #max_depth,
            shape: ::rpc_core::__private::Shape::#shape,
        }
    }
}

fn fields(fields: &Fields) -> TokenStream {
    let describes = fields
        .iter()
        .map(|Field { ty, .. }| quote_spanned!(ty.span()=> ::rpc_core::__private::describe::<#ty>));
    match fields {
        Fields::Unit => quote!(::rpc_core::__private::Fields::Unit),
        Fields::Unnamed(_) => quote!(::rpc_core::__private::Fields::Unnamed(&[#(#describes),*])),
        Fields::Named(_) => {
            let names = fields.iter().filter_map(|field| field.ident.as_ref()).map(unraw);
            quote!(::rpc_core::__private::Fields::Named(&[#((#names, #describes)),*]))
        }
    }
}
