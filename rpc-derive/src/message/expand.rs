//! What a message expands to: the type with rkyv's derives, and its `Wire`.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{Attribute, Data, Field, Fields, parse_quote, parse_quote_spanned};

use super::model::{Message, unraw};

pub(crate) fn expand(message: &Message) -> TokenStream {
    let item = item(message);
    let wire = wire(message);
    let field_checks = field_checks(message);
    quote! {
        #item

        const _: () = {
            #wire
            #field_checks
        };
    }
}

/// The user's type, archived by rkyv field by field through `AsWire`.
fn item(message: &Message) -> TokenStream {
    let mut item = message.original.clone();
    item.attrs.push(parse_quote! {
        #[derive(
            ::rpc_core::__private::rkyv::Archive,
            ::rpc_core::__private::rkyv::Serialize,
            ::rpc_core::__private::rkyv::Deserialize,
        )]
    });
    item.attrs.push(parse_quote!(#[rkyv(crate = ::rpc_core::__private::rkyv)]));
    let mirrored = &message.mirrored;
    item.attrs.push(parse_quote!(#[rkyv(derive(#(#mirrored),*))]));
    let recursive = message.max_depth.is_some();
    if recursive {
        item.attrs.extend(recursive_bounds(message));
    }
    match &mut item.data {
        Data::Struct(data) => data.fields.iter_mut().for_each(|field| archive_as_wire(field, recursive)),
        Data::Enum(data) => {
            let fields = data.variants.iter_mut().flat_map(|variant| &mut variant.fields);
            fields.for_each(|field| archive_as_wire(field, recursive));
        }
        Data::Union(_) => {}
    }
    quote!(#item)
}

/// rkyv asks that each field be archivable before the type is. For a recursive type that never ends, so there the bounds are left out of the
/// derives, and only what does not lead in circles is asked for: `AsWire` needs `Wire`, which `wire` implements without conditions.
fn archive_as_wire(field: &mut Field, recursive: bool) {
    // Errors about the field's type point at the type.
    let span = field.ty.span();
    field.attrs.push(parse_quote_spanned!(span=> #[rkyv(with = ::rpc_core::__private::AsWire)]));
    if recursive {
        field.attrs.push(parse_quote!(#[rkyv(omit_bounds)]));
    }
}

fn recursive_bounds(message: &Message) -> [Attribute; 3] {
    let types: Vec<_> = message.fields().map(|field| &field.ty).collect();
    [
        parse_quote! {
            #[rkyv(serialize_bounds(#(
                ::rpc_core::__private::AsWire: ::rpc_core::__private::rkyv::with::SerializeWith<#types, __S>,
            )*))]
        },
        parse_quote! {
            #[rkyv(deserialize_bounds(#(
                ::rpc_core::__private::AsWire: ::rpc_core::__private::rkyv::with::DeserializeWith<
                    ::rpc_core::__private::Archived<#types>,
                    #types,
                    __D,
                >,
            )*))]
        },
        parse_quote! {
            #[rkyv(bytecheck(bounds(
                __C: ::rpc_core::__private::rkyv::validation::ArchiveContext,
                <__C as ::rpc_core::__private::rkyv::rancor::Fallible>::Error:
                    ::rpc_core::__private::rkyv::rancor::Source,
            )))]
        },
    ]
}

fn wire(message: &Message) -> TokenStream {
    let ident = &message.original.ident;
    let depth = depth(message);
    let definition = definition(message);
    let serialize = serialize(message);
    quote! {
        #[automatically_derived]
        impl ::rpc_core::__private::Wire for #ident {
            type Archived = <Self as ::rpc_core::__private::rkyv::Archive>::Archived;
            type Resolver = <Self as ::rpc_core::__private::rkyv::Archive>::Resolver;
            const DEPTH: u32 = #depth;

            fn describe(schema: &mut ::rpc_core::__private::Schema) -> ::std::string::String {
                static DEFINITION: ::rpc_core::__private::TypeDef = #definition;
                schema.define::<Self>(&DEFINITION)
            }

            fn serialize(
                &self,
                encoder: &mut ::rpc_core::__private::Encoder<'_>,
            ) -> ::core::result::Result<Self::Resolver, ::rpc_core::__private::EncodeError> {
                #serialize
            }

            fn resolve(
                &self,
                resolver: Self::Resolver,
                out: ::rpc_core::__private::rkyv::Place<Self::Archived>,
            ) {
                ::rpc_core::__private::rkyv::Archive::resolve(self, resolver, out);
            }

            fn deserialize(
                archived: &Self::Archived,
                decoder: &mut ::rpc_core::__private::Decoder,
            ) -> ::core::result::Result<Self, ::rpc_core::__private::ArchiveError> {
                ::rpc_core::__private::rkyv::Deserialize::deserialize(archived, decoder)
            }
        }
    }
}

fn depth(message: &Message) -> TokenStream {
    if let Some(depth) = message.stated_depth() {
        return quote!(#depth);
    }
    let depths = message.fields().map(field_depth);
    quote!(::rpc_core::__private::deepest(&[#(#depths),*]))
}

fn serialize(message: &Message) -> TokenStream {
    match message.stated_depth() {
        None => quote!(::rpc_core::__private::rkyv::Serialize::serialize(self, encoder)),
        Some(depth) => quote! {
            ::rpc_core::__private::serialize_nested(encoder, #depth, |encoder| {
                ::rpc_core::__private::rkyv::Serialize::serialize(self, encoder)
            })
        },
    }
}

/// Has the compiler work out the depth of each field now, and not first when a call uses it: so an error of its type shows in `cargo check`, and
/// at the field.
fn field_checks(message: &Message) -> TokenStream {
    let depths = message.fields().map(field_depth);
    quote! {
        const _: &[u32] = &[#(#depths),*];
    }
}

fn field_depth(field: &Field) -> TokenStream {
    let ty = &field.ty;
    quote_spanned!(ty.span()=> <#ty as ::rpc_core::__private::Wire>::DEPTH)
}

/// The `TypeDef` of the message.
fn definition(message: &Message) -> TokenStream {
    let name = &message.name;
    let max_depth = match message.stated_depth() {
        Some(depth) => quote!(::core::option::Option::Some(#depth)),
        None => quote!(::core::option::Option::None),
    };
    let shape = match &message.original.data {
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
    let types = fields.iter().map(|field| &field.ty);
    match fields {
        Fields::Unit => quote!(::rpc_core::__private::Fields::Unit),
        Fields::Unnamed(_) => {
            quote!(::rpc_core::__private::Fields::Unnamed(&[#(::rpc_core::__private::describe::<#types>),*]))
        }
        Fields::Named(_) => {
            let names = fields.iter().filter_map(|field| field.ident.as_ref()).map(unraw);
            quote! {
                ::rpc_core::__private::Fields::Named(&[#((#names, ::rpc_core::__private::describe::<#types>)),*])
            }
        }
    }
}
