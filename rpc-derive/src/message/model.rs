//! Message: what `#[message]` knows of a type.

use proc_macro2::{Group, Span, TokenStream, TokenTree};
use quote::ToTokens as _;
use syn::ext::IdentExt as _;
use syn::parse::Parser as _;
use syn::spanned::Spanned as _;
use syn::{Data, DeriveInput, Field, Fields, Ident, Item, LitInt, Path, Token, Variant};

use crate::derive_list::derives;
use crate::errors::Errors;
use crate::text;

/// A message type.
pub(crate) struct Message {
    /// The item as the user wrote it.
    pub(crate) original: DeriveInput,
    /// Its fields or variants, with `Self` spelled out: elsewhere it would mean another type.
    pub(crate) data: Data,
    /// Its name in signatures.
    pub(crate) name: String,
    /// The stated depth, if it is recursive.
    pub(crate) max_depth: Option<MaxDepth>,
    /// The derived traits that its archived form gets, too.
    pub(crate) mirrored: Vec<Path>,
}

/// `max_depth = N`.
pub(crate) struct MaxDepth {
    /// The number as the user wrote it.
    pub(crate) original: LitInt,
    /// `None` if it does not even fit.
    pub(crate) value: Option<u32>,
}

/// Traits that every type of the allow-list has in archived form if it has them at all.
const MIRRORED: [&str; 3] = ["Debug", "PartialEq", "Eq"];

impl Message {
    /// All fields, of all variants.
    pub(crate) fn fields(&self) -> impl Iterator<Item = &Field> {
        let (of_struct, of_variants) = match &self.data {
            Data::Struct(data) => (Some(&data.fields), None),
            Data::Enum(data) => (None, Some(&data.variants)),
            Data::Union(_) => (None, None),
        };
        let of_variants = of_variants.into_iter().flatten().map(|variant| &variant.fields);
        of_struct.into_iter().chain(of_variants).flat_map(Fields::iter)
    }

    /// All variants; none for a struct.
    pub(crate) fn variants(&self) -> impl Iterator<Item = &Variant> {
        match &self.data {
            Data::Enum(data) => Some(data.variants.iter()),
            Data::Struct(_) | Data::Union(_) => None,
        }
        .into_iter()
        .flatten()
    }

    pub(crate) fn is_enum(&self) -> bool {
        matches!(self.data, Data::Enum(_))
    }

    /// The depth that the macro may rely on, once it was checked.
    pub(crate) fn stated_depth(&self) -> Option<u32> {
        self.max_depth.as_ref().and_then(|depth| depth.value)
    }
}

/// Reads an item and the macro's arguments. `None` with an error if it is neither struct, enum nor union.
pub(crate) fn parse(arguments: TokenStream, item: TokenStream, errors: &mut Errors) -> Option<Message> {
    let max_depth = parse_arguments(arguments, errors);
    let original = match syn::parse2::<Item>(item) {
        Ok(Item::Struct(item)) => DeriveInput::from(item),
        Ok(Item::Enum(item)) => DeriveInput::from(item),
        Ok(Item::Union(item)) => DeriveInput::from(item),
        Ok(_) => {
            errors.push(syn::Error::new(Span::call_site(), text::MESSAGE_ITEM));
            return None;
        }
        Err(error) => {
            errors.push(error);
            return None;
        }
    };
    let mirrored = derives(&original.attrs)
        .into_iter()
        .filter(|path| {
            path.segments
                .last()
                .is_some_and(|last| MIRRORED.iter().any(|name| last.ident == name))
        })
        .collect();
    let name = unraw(&original.ident);
    let data = spell_out_self(&original);
    Some(Message {
        original,
        data,
        name,
        max_depth,
        mirrored,
    })
}

fn spell_out_self(original: &DeriveInput) -> Data {
    let mut data = original.data.clone();
    let spell_out = |field: &mut Field| {
        let ty = replace_self(field.ty.to_token_stream(), &original.ident);
        // What was a type with `Self` is one with another name.
        if let Ok(ty) = syn::parse2(ty) {
            field.ty = ty;
        }
    };
    match &mut data {
        Data::Struct(data) => data.fields.iter_mut().for_each(spell_out),
        Data::Enum(data) => data
            .variants
            .iter_mut()
            .flat_map(|variant| &mut variant.fields)
            .for_each(spell_out),
        Data::Union(_) => {}
    }
    data
}

fn replace_self(tokens: TokenStream, name: &Ident) -> TokenStream {
    let replace = |token| match token {
        TokenTree::Ident(ident) if ident == "Self" => {
            let mut name = name.clone();
            name.set_span(ident.span());
            TokenTree::Ident(name)
        }
        TokenTree::Group(group) => {
            let mut replaced = Group::new(group.delimiter(), replace_self(group.stream(), name));
            replaced.set_span(group.span());
            TokenTree::Group(replaced)
        }
        token @ (TokenTree::Ident(_) | TokenTree::Punct(_) | TokenTree::Literal(_)) => token,
    };
    tokens.into_iter().map(replace).collect()
}

fn parse_arguments(arguments: TokenStream, errors: &mut Errors) -> Option<MaxDepth> {
    let mut max_depth = None;
    let parser = syn::meta::parser(|meta| {
        if !meta.path.is_ident("max_depth") {
            return Err(syn::Error::new(meta.path.span(), text::MESSAGE_ARGUMENT));
        }
        if !meta.input.peek(Token![=]) {
            return Err(syn::Error::new(meta.path.span(), text::MAX_DEPTH_RANGE));
        }
        let original: LitInt = meta
            .value()?
            .parse()
            .map_err(|error| syn::Error::new(error.span(), text::MAX_DEPTH_RANGE))?;
        let value = original.base10_parse().ok();
        max_depth = Some(MaxDepth { original, value });
        Ok(())
    });
    if let Err(error) = parser.parse2(arguments) {
        errors.push(error);
    }
    max_depth
}

/// A name as signatures write it: without `r#`.
pub(crate) fn unraw(ident: &Ident) -> String {
    ident.unraw().to_string()
}
