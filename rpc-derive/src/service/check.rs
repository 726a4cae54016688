//! The rules of services and their methods, one function each, named like its test in `tests/ui/fail`.

use std::collections::HashSet;

use syn::spanned::Spanned as _;
use syn::{FnArg, GenericParam, Lifetime, Receiver, Signature, TraitItem, Type, TypeReference};

use super::check_types;
use super::model::{Form, Method, Service};
use crate::errors::Errors;
use crate::text;
use crate::wire_types::{bare, is_named, is_unit};

/// Names of functions that every client has.
const RESERVED: [&str; 4] = ["caller", "clone", "descriptor", "new"];

/// The number of arguments for which tuples have an archived form.
const MAX_ARGUMENTS: usize = 12;

/// The number of channels for which `ChannelEnds` is implemented.
const MAX_CHANNELS: usize = 8;

/// Checks all rules.
pub(crate) fn check(service: &Service, errors: &mut Errors) {
    service_name(service, errors);
    service_generics(service, errors);
    service_qualifiers(service, errors);
    service_members(service, errors);
    method_duplicate(service, errors);
    for method in &service.methods {
        method_reserved_name(method, errors);
        method_cfg(method, errors);
        method_generics(method, errors);
        method_lifetime(method, errors);
        method_qualifiers(method, errors);
        method_body(method, errors);
        method_receiver(method, errors);
        parameter_name(method, errors);
        parameter_attribute(method, errors);
        context_place(method, errors);
        argument_count(method, errors);
        channel_count(method, errors);
        oneway(method, errors);
        check_types::check(method, errors);
    }
}

fn service_name(service: &Service, errors: &mut Errors) {
    let Some(stated) = &service.stated_name else {
        return;
    };
    let mut bytes = service.name.bytes();
    let first = bytes
        .next()
        .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    if !first || !bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        errors.at(stated, text::SERVICE_NAME);
    }
}

fn service_generics(service: &Service, errors: &mut Errors) {
    let generics = &service.original.generics;
    for parameter in &generics.params {
        errors.at(parameter, text::SERVICE_GENERICS);
    }
    if let Some(clause) = generics
        .where_clause
        .as_ref()
        .filter(|_| generics.params.is_empty())
    {
        errors.at(clause, text::SERVICE_WHERE);
    }
}

fn service_qualifiers(service: &Service, errors: &mut Errors) {
    if let Some(token) = &service.original.unsafety {
        errors.at(token, text::SERVICE_UNSAFE);
    }
    if let Some(token) = &service.original.auto_token {
        errors.at(token, text::SERVICE_AUTO);
    }
}

fn service_members(service: &Service, errors: &mut Errors) {
    for item in &service.original.items {
        match item {
            TraitItem::Fn(_) => {}
            TraitItem::Type(item) => errors.at(&item.ident, text::SERVICE_ASSOCIATED_TYPE),
            TraitItem::Const(item) => errors.at(&item.ident, text::SERVICE_ASSOCIATED_CONST),
            item => errors.at(item, text::SERVICE_MEMBER),
        }
    }
    if service.original.items.is_empty() {
        errors.at(service.ident(), text::SERVICE_EMPTY);
    }
}

fn method_duplicate(service: &Service, errors: &mut Errors) {
    let mut names = HashSet::new();
    for method in &service.methods {
        if !names.insert(&method.name) {
            errors.at(method.ident(), text::METHOD_DUPLICATE);
        }
    }
}

fn method_reserved_name(method: &Method, errors: &mut Errors) {
    if RESERVED.contains(&method.name.as_str()) {
        errors.at(method.ident(), text::reserved(&method.name));
    }
}

fn method_cfg(method: &Method, errors: &mut Errors) {
    for attribute in method
        .original
        .attrs
        .iter()
        .filter(|attribute| attribute.path().is_ident("cfg"))
    {
        errors.at(attribute, text::METHOD_CFG);
    }
}

fn method_generics(method: &Method, errors: &mut Errors) {
    let generics = &method.original.sig.generics;
    for parameter in &generics.params {
        let text = match parameter {
            GenericParam::Lifetime(_) => text::METHOD_LIFETIME,
            GenericParam::Type(_) | GenericParam::Const(_) => text::METHOD_GENERICS,
        };
        errors.at(parameter, text);
    }
    if let Some(clause) = generics
        .where_clause
        .as_ref()
        .filter(|_| generics.params.is_empty())
    {
        errors.at(clause, text::METHOD_WHERE);
    }
}

/// Lifetimes of references; where a lifetime is introduced that is the error, and uses of it are not reported.
fn method_lifetime(method: &Method, errors: &mut Errors) {
    let signature = &method.original.sig;
    let introduced = signature.generics.lifetimes().any(|_| true);
    let receiver = signature
        .receiver()
        .and_then(|receiver| receiver.reference.as_ref()?.1.as_ref());
    let parameters = method
        .parameters
        .iter()
        .filter_map(|parameter| reference_lifetime(&parameter.original.ty));
    let output = method
        .output
        .references()
        .filter_map(|reference| reference.lifetime.as_ref());
    let named = |lifetime: &&Lifetime| lifetime.ident != "_";
    for lifetime in receiver
        .into_iter()
        .chain(parameters)
        .chain(output)
        .filter(named)
        .filter(|_| !introduced)
    {
        errors.at(lifetime, text::METHOD_LIFETIME);
    }
}

fn reference_lifetime(ty: &Type) -> Option<&Lifetime> {
    match bare(ty) {
        Type::Reference(TypeReference { lifetime, .. }) => lifetime.as_ref(),
        _ => None,
    }
}

fn method_qualifiers(method: &Method, errors: &mut Errors) {
    let Signature {
        constness,
        unsafety,
        abi,
        variadic,
        ..
    } = &method.original.sig;
    if let Some(token) = constness {
        errors.at(token, text::METHOD_CONST);
    }
    if let Some(token) = unsafety {
        errors.at(token, text::METHOD_UNSAFE);
    }
    if let Some(abi) = abi {
        errors.at(abi, text::METHOD_EXTERN);
    }
    if let Some(variadic) = variadic {
        errors.at(variadic, text::METHOD_VARIADIC);
    }
}

fn method_body(method: &Method, errors: &mut Errors) {
    if let Some(body) = &method.original.default {
        errors.push(syn::Error::new(body.brace_token.span.open(), text::METHOD_BODY));
    }
}

fn method_receiver(method: &Method, errors: &mut Errors) {
    match method.original.sig.inputs.first() {
        Some(FnArg::Receiver(Receiver {
            reference: Some(_),
            mutability: None,
            colon_token: None,
            ..
        })) => {}
        Some(FnArg::Receiver(receiver)) => errors.at(receiver, text::METHOD_RECEIVER),
        Some(FnArg::Typed(_)) | None => errors.at(method.ident(), text::METHOD_NO_RECEIVER),
    }
}

fn parameter_name(method: &Method, errors: &mut Errors) {
    for parameter in method
        .parameters
        .iter()
        .filter(|parameter| parameter.ident.is_none())
    {
        errors.at(&parameter.original.pat, text::PARAMETER_PATTERN);
    }
}

fn parameter_attribute(method: &Method, errors: &mut Errors) {
    for attribute in method
        .parameters
        .iter()
        .flat_map(|parameter| &parameter.original.attrs)
    {
        errors.at(attribute, text::PARAMETER_ATTRIBUTE);
    }
}

fn context_place(method: &Method, errors: &mut Errors) {
    for (index, parameter) in method.parameters.iter().enumerate() {
        let ty = &parameter.original.ty;
        match &parameter.form {
            Form::Context if index > 0 => errors.at(ty, text::CONTEXT_PLACE),
            Form::Owned(owned) if is_named(owned, "Context") => errors.at(ty, text::CONTEXT_OWNED),
            Form::Context
            | Form::Str
            | Form::Bytes
            | Form::InPlace(_)
            | Form::SliceInPlace(_)
            | Form::Owned(_)
            | Form::Sends(_)
            | Form::Receives(_)
            | Form::OtherReference => {}
        }
    }
}

fn argument_count(method: &Method, errors: &mut Errors) {
    if let Some(argument) = method.arguments().nth(MAX_ARGUMENTS) {
        errors.push(syn::Error::new(argument.original.span(), text::METHOD_ARGUMENTS));
    }
}

fn channel_count(method: &Method, errors: &mut Errors) {
    if let Some(channel) = method.channels().nth(MAX_CHANNELS) {
        errors.push(syn::Error::new(channel.original.span(), text::METHOD_CHANNELS));
    }
}

fn oneway(method: &Method, errors: &mut Errors) {
    if !method.options.oneway {
        return;
    }
    if let Some(ty) = method.output.ty().filter(|ty| !is_unit(ty)) {
        errors.at(ty, text::ONEWAY_RETURN);
    }
    for channel in method.channels() {
        errors.at(&channel.original.ty, text::ONEWAY_CHANNEL);
    }
}
