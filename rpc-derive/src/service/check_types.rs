//! The rules for the types of parameters and return values, one function each, named like its test in `tests/ui/fail`.

use syn::{Type, TypeReference};

use super::model::{Form, Holder, Method, Output, Parameter};
use crate::errors::Errors;
use crate::wire_types::{bare, channel, type_arguments};
use crate::{text, wire_types};

/// Checks all rules.
pub(crate) fn check(method: &Method, errors: &mut Errors) {
    for parameter in &method.parameters {
        parameter_reference(parameter, errors);
        parameter_type(parameter, errors);
    }
    return_mut(&method.output, errors);
    return_result(&method.output, errors);
    return_type(&method.output, errors);
}

fn parameter_reference(parameter: &Parameter, errors: &mut Errors) {
    let (Form::OtherReference, Type::Reference(reference)) = (&parameter.form, bare(&parameter.original.ty))
    else {
        return;
    };
    if let Some(channel) = channel(&reference.elem) {
        return errors.at(reference, text::channel_reference(&channel.ident));
    }
    match (reference.mutability, bare(&reference.elem)) {
        (Some(token), _) => errors.at(token, text::PARAMETER_MUT),
        (None, Type::Slice(_)) => errors.at(reference, text::PARAMETER_SLICE),
        (None, Type::TraitObject(_)) => errors.at(reference, text::DYN),
        (None, Type::ImplTrait(_)) => errors.at(reference, text::IMPL),
        (None, _) => errors.at(reference, text::PARAMETER_REFERENCE),
    }
}

fn parameter_type(parameter: &Parameter, errors: &mut Errors) {
    // One that were in order would be of another form.
    if let Form::Owned(ty) = &parameter.form
        && let Some(channel) = channel(ty)
    {
        return errors.at(ty, text::channel_item(&channel.ident));
    }
    match &parameter.form {
        Form::InPlace(ty)
        | Form::SliceInPlace(ty)
        | Form::Owned(ty)
        | Form::Sends(ty)
        | Form::Receives(ty) => wire_types::check(ty, errors),
        Form::Context | Form::Str | Form::Bytes | Form::OtherReference => {}
    }
}

fn return_mut(output: &Output, errors: &mut Errors) {
    if output.value.holder == Holder::BorrowedMut {
        let tokens = output.references().filter_map(|reference| reference.mutability);
        tokens.for_each(|token| errors.at(token, text::RETURN_MUT));
    }
}

fn return_result(output: &Output, errors: &mut Errors) {
    if output.error.is_none()
        && let Some(ty) = output.ty()
        && type_arguments(ty, "Result").is_some()
    {
        errors.at(ty, text::RETURN_RESULT);
    }
}

fn return_type(output: &Output, errors: &mut Errors) {
    for ty in output.user_types() {
        wire_types::check(ty, errors);
    }
}

impl Output {
    /// The return type, if there is one.
    pub(crate) fn ty(&self) -> Option<&Type> {
        match &self.original {
            syn::ReturnType::Default => None,
            syn::ReturnType::Type(_, ty) => Some(bare(ty)),
        }
    }

    /// The reference that is returned, or that is the value of the `Result` that is returned.
    pub(crate) fn references(&self) -> impl Iterator<Item = &TypeReference> {
        let all = self.ty();
        let value = all.and_then(|ty| wire_types::first_type_argument(ty, "Result"));
        all.into_iter().chain(value).filter_map(|ty| match bare(ty) {
            Type::Reference(reference) => Some(reference),
            _ => None,
        })
    }
}
