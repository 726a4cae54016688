//! The rules of messages, one function each, named like its test in `tests/ui/fail`.

use syn::visit::{self, Visit};
use syn::{Attribute, Data, GenericParam, Ident, Path};

use super::model::Message;
use crate::derive_list::{derives, is_rkyv};
use crate::errors::Errors;
use crate::{text, wire_types};

/// Checks all rules.
pub(crate) fn check(message: &Message, errors: &mut Errors) {
    message_generics(message, errors);
    message_union(message, errors);
    message_variants(message, errors);
    message_discriminant(message, errors);
    message_rkyv_attribute(message, errors);
    message_repr(message, errors);
    message_cfg(message, errors);
    message_max_depth(message, errors);
    message_recursion(message, errors);
    message_field_types(message, errors);
}

fn message_generics(message: &Message, errors: &mut Errors) {
    let generics = &message.original.generics;
    for parameter in &generics.params {
        let text = match parameter {
            GenericParam::Lifetime(_) => text::MESSAGE_LIFETIME,
            GenericParam::Type(_) | GenericParam::Const(_) => text::MESSAGE_GENERICS,
        };
        errors.at(parameter, text);
    }
    if let Some(clause) = generics
        .where_clause
        .as_ref()
        .filter(|_| generics.params.is_empty())
    {
        errors.at(clause, text::MESSAGE_WHERE);
    }
}

fn message_union(message: &Message, errors: &mut Errors) {
    if let Data::Union(data) = &message.data {
        errors.at(data.union_token, text::MESSAGE_UNION);
    }
}

fn message_variants(message: &Message, errors: &mut Errors) {
    if matches!(&message.data, Data::Enum(data) if data.variants.is_empty()) {
        errors.at(&message.original.ident, text::MESSAGE_NO_VARIANTS);
    }
    // The tag is one byte.
    if let Some(variant) = message.variants().nth(256) {
        errors.at(&variant.ident, text::MESSAGE_VARIANTS);
    }
}

fn message_discriminant(message: &Message, errors: &mut Errors) {
    for (_, value) in message
        .variants()
        .filter_map(|variant| variant.discriminant.as_ref())
    {
        errors.at(value, text::MESSAGE_DISCRIMINANT);
    }
}

fn message_rkyv_attribute(message: &Message, errors: &mut Errors) {
    for attribute in all_attributes(message).filter(|attribute| attribute.path().is_ident("rkyv")) {
        errors.at(attribute, text::MESSAGE_RKYV);
    }
    for path in derives(&message.original.attrs)
        .iter()
        .filter(|path| is_rkyv(path))
    {
        errors.at(path, text::MESSAGE_RKYV_DERIVE);
    }
}

fn message_repr(message: &Message, errors: &mut Errors) {
    for attribute in message
        .original
        .attrs
        .iter()
        .filter(|attribute| attribute.path().is_ident("repr"))
    {
        errors.at(attribute, text::MESSAGE_REPR);
    }
}

fn message_cfg(message: &Message, errors: &mut Errors) {
    for attribute in inner_attributes(message).filter(|attribute| attribute.path().is_ident("cfg")) {
        errors.at(attribute, text::MESSAGE_CFG);
    }
}

fn message_max_depth(message: &Message, errors: &mut Errors) {
    if let Some(depth) = &message.max_depth
        && !depth.value.is_some_and(|value| (1..=64).contains(&value))
    {
        errors.at(&depth.original, text::MAX_DEPTH_RANGE);
    }
}

fn message_recursion(message: &Message, errors: &mut Errors) {
    if message.max_depth.is_some() {
        return;
    }
    let mut mentions = Mentions {
        name: &message.original.ident,
        first: None,
    };
    for field in message.fields() {
        mentions.visit_type(&field.ty);
    }
    if let Some(mention) = mentions.first {
        errors.at(mention, text::recursive(&message.name));
    }
}

fn message_field_types(message: &Message, errors: &mut Errors) {
    for field in message.fields() {
        wire_types::check(&field.ty, errors);
    }
}

/// Looks for the first mention of a type in other types.
struct Mentions<'a> {
    name: &'a Ident,
    first: Option<&'a Path>,
}

impl<'a> Visit<'a> for Mentions<'a> {
    fn visit_path(&mut self, path: &'a Path) {
        if path.is_ident(self.name) {
            self.first.get_or_insert(path);
        }
        visit::visit_path(self, path);
    }
}

fn all_attributes(message: &Message) -> impl Iterator<Item = &Attribute> {
    message.original.attrs.iter().chain(inner_attributes(message))
}

/// The attributes of fields and variants.
fn inner_attributes(message: &Message) -> impl Iterator<Item = &Attribute> {
    let of_variants = message.variants().flat_map(|variant| &variant.attrs);
    of_variants.chain(message.fields().flat_map(|field| &field.attrs))
}
