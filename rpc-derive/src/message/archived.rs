//! The archived form of a message: the type that is read in place.

use proc_macro2::{Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens as _, quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{Data, Field, Fields, Type};

use super::model::{Message, unraw};

pub(crate) fn expand(message: &Message, bounds: &TokenStream) -> TokenStream {
    let vis = &message.original.vis;
    let ident = message.archived_ident();
    let attributes = attributes(message);
    let body = match &message.data {
        Data::Struct(data) => {
            let fields = fields(message, &data.fields);
            if matches!(data.fields, Fields::Named(_)) {
                quote!(struct #ident #bounds #fields)
            } else {
                quote!(struct #ident #fields #bounds;)
            }
        }
        Data::Enum(_) | Data::Union(_) => {
            let variants = message.variants().map(|variant| {
                let ident = &variant.ident;
                let doc = format!("The archived form of `{}`.", unraw(ident));
                let fields = fields(message, &variant.fields);
                quote!(#[doc = #doc] #ident #fields)
            });
            quote!(enum #ident #bounds { #(#variants),* })
        }
    };
    quote!(#attributes #vis #body)
}

fn attributes(message: &Message) -> TokenStream {
    let doc = format!("The archived form of [`{}`], read in place.", message.name);
    let derives = &message.mirrored;
    let non_exhaustive = message
        .original
        .attrs
        .iter()
        .filter(|attribute| attribute.path().is_ident("non_exhaustive"));
    let bounds = message.max_depth.is_some().then(recursive_bounds);
    let repr = if message.is_enum() { quote!(u8) } else { quote!(C) };
    quote! {
        #[doc = #doc]
        #[derive(
            #(#derives,)*
            ::rpc_core::__private::rkyv::Portable,
            ::rpc_core::__private::rkyv::bytecheck::CheckBytes,
        )]
        #[rkyv(crate = ::rpc_core::__private::rkyv)]
        #[bytecheck(crate = ::rpc_core::__private::rkyv::bytecheck)]
        #bounds
        #[repr(#repr)]
        #[allow(dead_code, clippy::all, clippy::pedantic, clippy::nursery)]
        #(#non_exhaustive)*
    }
}

/// The derive would ask that each field can be checked before the type can. For a type that contains itself that never ends: there such bounds are
/// left out (`omit_bounds`), and what the containers of the allow-list need is asked for instead.
fn recursive_bounds() -> TokenStream {
    quote! {
        #[bytecheck(bounds(
            __C: ::rpc_core::__private::rkyv::validation::ArchiveContext,
            <__C as ::rpc_core::__private::rkyv::rancor::Fallible>::Error:
                ::rpc_core::__private::rkyv::rancor::Source,
        ))]
    }
}

fn fields(message: &Message, fields: &Fields) -> TokenStream {
    let list = fields.iter().map(|field| archived_field(message, field));
    match fields {
        Fields::Named(_) => quote!({ #(#list),* }),
        Fields::Unnamed(_) => quote!((#(#list),*)),
        Fields::Unit => TokenStream::new(),
    }
}

fn archived_field(message: &Message, field: &Field) -> TokenStream {
    let Field {
        vis,
        ident,
        colon_token,
        ty,
        ..
    } = field;
    let omit_bounds = message
        .max_depth
        .is_some()
        .then(|| quote!(#[bytecheck(omit_bounds)]));
    let doc = ident.as_ref().map(|ident| {
        let doc = format!("The archived form of `{}`.", unraw(ident));
        quote!(#[doc = #doc])
    });
    let native = out_of_the_way(message, ty);
    let archived = quote_spanned!(ty.span()=> ::rpc_core::__private::Archived<#native>);
    quote!(#doc #omit_bounds #vis #ident #colon_token #archived)
}

/// The type of a field, written so that the names inside the derives do not hide it.
///
/// For enums the derives of rkyv and bytecheck declare types such as `Tag` next to the code that names the types of the fields. A message that is
/// called `Tag` is then reached by way of its module.
pub(super) fn out_of_the_way(message: &Message, ty: &Type) -> TokenStream {
    let tokens = ty.to_token_stream();
    if message.is_enum() {
        qualify(tokens)
    } else {
        tokens
    }
}

fn qualify(tokens: TokenStream) -> TokenStream {
    let mut qualified = TokenStream::new();
    let mut within_path = false;
    for token in tokens {
        let is_separator = matches!(&token, TokenTree::Punct(punct) if punct.as_char() == ':');
        match token {
            TokenTree::Ident(mut ident) if !within_path && is_hidden(&ident) => {
                // At the user's place, but of the macro's making: lints have nothing to say about it.
                let span = ident.span().resolved_at(Span::call_site());
                ident.set_span(span);
                qualified.extend(quote_spanned!(span=> self::#ident));
            }
            TokenTree::Group(group) => {
                let mut inner = Group::new(group.delimiter(), qualify(group.stream()));
                inner.set_span(group.span());
                qualified.extend([TokenTree::Group(inner)]);
            }
            token @ (TokenTree::Ident(_) | TokenTree::Punct(_) | TokenTree::Literal(_)) => {
                qualified.extend([token])
            }
        }
        within_path = is_separator;
    }
    qualified
}

fn is_hidden(ident: &Ident) -> bool {
    let name = ident.to_string();
    matches!(name.as_str(), "Tag" | "Discriminant" | "ArchivedTag")
        || name.starts_with("Variant")
        || name.starts_with("ArchivedVariant")
}

impl Message {
    /// `ArchivedProfile`, at the place of the user's name: there an editor jumps to.
    pub(super) fn archived_ident(&self) -> Ident {
        let span: Span = self.original.ident.span();
        Ident::new(&format!("Archived{}", self.name), span)
    }
}
