//! Parses a trait into the model. Whatever the model can hold passes; the rules are checked later.

use proc_macro2::{Span, TokenStream};
use syn::ext::IdentExt as _;
use syn::parse::Parser as _;
use syn::spanned::Spanned as _;
use syn::{FnArg, Item, LitStr, Pat, PatType, ReturnType, Token, TraitItem, TraitItemFn, Type, parse_quote};

use super::model::{Form, Holder, Method, Output, Parameter, Service, Target, Value};
use super::options;
use crate::errors::Errors;
use crate::text;
use crate::wire_types::{bare, is_ident, is_named, is_str, type_arguments};

/// Reads an item and the macro's arguments. `None` with an error if it is no trait.
pub(crate) fn parse(arguments: TokenStream, item: TokenStream, errors: &mut Errors) -> Option<Service> {
    let stated_name = parse_arguments(arguments, errors);
    let original = match syn::parse2::<Item>(item) {
        Ok(Item::Trait(item)) => item,
        Ok(_) => {
            errors.push(syn::Error::new(Span::call_site(), text::SERVICE_ITEM));
            return None;
        }
        Err(error) => {
            errors.push(error);
            return None;
        }
    };
    let functions = original.items.iter().filter_map(|item| match item {
        TraitItem::Fn(function) => Some(function.clone()),
        _ => None,
    });
    let methods = functions.map(|function| method(function, errors)).collect();
    let name = stated_name
        .as_ref()
        .map_or_else(|| original.ident.unraw().to_string(), LitStr::value);
    Some(Service {
        original,
        stated_name,
        name,
        methods,
    })
}

fn parse_arguments(arguments: TokenStream, errors: &mut Errors) -> Option<LitStr> {
    let mut name = None;
    let parser = syn::meta::parser(|meta| {
        if !meta.path.is_ident("name") {
            return Err(syn::Error::new(meta.path.span(), text::SERVICE_ARGUMENT));
        }
        if !meta.input.peek(Token![=]) {
            return Err(syn::Error::new(meta.path.span(), text::SERVICE_ARGUMENT));
        }
        name = Some(
            meta.value()?
                .parse()
                .map_err(|error| syn::Error::new(error.span(), text::SERVICE_ARGUMENT))?,
        );
        Ok(())
    });
    if let Err(error) = parser.parse2(arguments) {
        errors.push(error);
    }
    name
}

fn method(mut original: TraitItemFn, errors: &mut Errors) -> Method {
    let options = options::take(&mut original.attrs, errors);
    let parameters = original.sig.inputs.iter().filter_map(|input| match input {
        FnArg::Typed(typed) => Some(parameter(typed.clone())),
        FnArg::Receiver(_) => None,
    });
    let parameters = parameters.collect();
    let output = output(original.sig.output.clone());
    let name = original.sig.ident.unraw().to_string();
    Method {
        original,
        name,
        options,
        parameters,
        output,
    }
}

fn parameter(original: PatType) -> Parameter {
    let ident = match &*original.pat {
        Pat::Ident(pat) if pat.by_ref.is_none() && pat.mutability.is_none() && pat.subpat.is_none() => {
            Some(pat.ident.clone())
        }
        _ => None,
    };
    let form = form(&original.ty);
    Parameter {
        original,
        ident,
        form,
    }
}

fn form(ty: &Type) -> Form {
    let Type::Reference(reference) = bare(ty) else {
        return by_value(bare(ty));
    };
    if reference.mutability.is_some() {
        return Form::OtherReference;
    }
    match bare(&reference.elem) {
        elem if is_str(elem) => Form::Str,
        elem if is_named(elem, "Context") => Form::Context,
        Type::Slice(slice) if is_ident(&slice.elem, "u8") => Form::Bytes,
        Type::Slice(slice) => {
            argument_of(&slice.elem, "Archived").map_or(Form::OtherReference, Form::SliceInPlace)
        }
        elem => argument_of(elem, "Archived").map_or(Form::OtherReference, Form::InPlace),
    }
}

/// A channel, or what the handler owns.
fn by_value(ty: &Type) -> Form {
    if let Some(item) = argument_of(ty, "Sender") {
        return Form::Sends(item);
    }
    argument_of(ty, "Receiver").map_or_else(|| Form::Owned(ty.clone()), Form::Receives)
}

/// The `T` of `…::Name<T>`.
fn argument_of(ty: &Type, name: &str) -> Option<Type> {
    match <[Type; 1]>::try_from(type_arguments(ty, name)?) {
        Ok([ty]) => Some(ty),
        Err(_) => None,
    }
}

fn output(original: ReturnType) -> Output {
    let ty = match &original {
        ReturnType::Default => parse_quote!(()),
        ReturnType::Type(_, ty) => bare(ty).clone(),
    };
    match type_arguments(&ty, "Result").map(<[Type; 2]>::try_from) {
        Some(Ok([value, error])) => Output {
            original,
            value: returned(&value),
            error: Some(error),
        },
        Some(Err(_)) | None => Output {
            original,
            value: returned(&ty),
            error: None,
        },
    }
}

fn returned(ty: &Type) -> Value {
    if let Type::Reference(reference) = bare(ty) {
        let holder = if reference.mutability.is_some() {
            Holder::BorrowedMut
        } else {
            Holder::Borrowed
        };
        return Value {
            holder,
            target: target(&reference.elem),
        };
    }
    match type_arguments(ty, "Arc").map(<[Type; 1]>::try_from) {
        Some(Ok([ty])) => Value {
            holder: Holder::Shared,
            target: target(&ty),
        },
        Some(Err(_)) | None => Value {
            holder: Holder::Owned,
            target: Target::Type(bare(ty).clone()),
        },
    }
}

fn target(ty: &Type) -> Target {
    match bare(ty) {
        Type::Slice(slice) => Target::Slice((*slice.elem).clone()),
        ty if is_str(ty) => Target::Str,
        ty => Target::Type(ty.clone()),
    }
}
