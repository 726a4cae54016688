//! Service: what `#[service]` knows of a trait.

use std::time::Duration;

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Ident, ItemTrait, LitStr, PatType, ReturnType, TraitItemFn, Type};

/// A service.
pub(crate) struct Service {
    /// The trait as the user wrote it.
    pub(crate) original: ItemTrait,
    /// `name = "…"`, if it was given.
    pub(crate) stated_name: Option<LitStr>,
    /// The name on the wire.
    pub(crate) name: String,
    /// Its methods in order: the order of their indices.
    pub(crate) methods: Vec<Method>,
}

/// A method of a service.
pub(crate) struct Method {
    /// The method as the user wrote it, without `#[rpc(..)]`.
    pub(crate) original: TraitItemFn,
    /// Its name in signatures.
    pub(crate) name: String,
    /// What `#[rpc(..)]` says.
    pub(crate) options: Options,
    /// Everything behind the receiver.
    pub(crate) parameters: Vec<Parameter>,
    /// What it returns.
    pub(crate) output: Output,
}

/// What `#[rpc(..)]` says about a method.
#[derive(Clone, Copy, Default)]
pub(crate) struct Options {
    pub(crate) timeout: Option<Duration>,
    pub(crate) idempotent: bool,
    pub(crate) oneway: bool,
}

/// A parameter behind the receiver.
pub(crate) struct Parameter {
    /// The parameter as the user wrote it.
    pub(crate) original: PatType,
    /// Its name; `None` for a pattern.
    pub(crate) ident: Option<Ident>,
    /// How the handler takes it.
    pub(crate) form: Form,
}

/// How a handler takes a parameter.
pub(crate) enum Form {
    /// `&Context`: nothing on the wire.
    Context,
    /// `&str`.
    Str,
    /// `&[u8]`.
    Bytes,
    /// `&Archived<T>`.
    InPlace(Type),
    /// `&[Archived<T>]`.
    SliceInPlace(Type),
    /// `T`.
    Owned(Type),
    /// `Sender<T>`: a channel on which the handler sends.
    Sends(Type),
    /// `Receiver<T>`: a channel on which the handler receives.
    Receives(Type),
    /// Another reference: an error.
    OtherReference,
}

/// What a method returns.
pub(crate) struct Output {
    /// The return type as the user wrote it.
    pub(crate) original: ReturnType,
    /// The value: all of the return type, or the first part of a `Result`.
    pub(crate) value: Value,
    /// The error of a `Result`.
    pub(crate) error: Option<Type>,
}

/// A value that is returned.
pub(crate) struct Value {
    pub(crate) holder: Holder,
    pub(crate) target: Target,
}

/// How a value is handed over. It does not matter on the wire.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    /// `T`.
    Owned,
    /// `&T`.
    Borrowed,
    /// `&mut T`: an error.
    BorrowedMut,
    /// `Arc<T>`.
    Shared,
}

/// What is behind the reference, or the type itself.
pub(crate) enum Target {
    Str,
    Slice(Type),
    Type(Type),
}

impl Service {
    pub(crate) fn ident(&self) -> &Ident {
        &self.original.ident
    }
}

impl Method {
    pub(crate) fn ident(&self) -> &Ident {
        &self.original.sig.ident
    }

    /// Whether its handler runs on the task of the connection.
    pub(crate) fn is_async(&self) -> bool {
        self.original.sig.asyncness.is_some()
    }

    /// The parameters that its signature lists, in order: arguments and channels.
    pub(crate) fn listed(&self) -> impl Iterator<Item = &Parameter> {
        self.parameters
            .iter()
            .filter(|parameter| !matches!(parameter.form, Form::Context))
    }

    /// The parameters that are sent with the call, in order.
    pub(crate) fn arguments(&self) -> impl Iterator<Item = &Parameter> {
        self.listed().filter(|parameter| !parameter.is_channel())
    }

    /// The parameters that are channels of the call, in order.
    pub(crate) fn channels(&self) -> impl Iterator<Item = &Parameter> {
        self.parameters.iter().filter(|parameter| parameter.is_channel())
    }

    /// Whether its calls have channels.
    pub(crate) fn has_channels(&self) -> bool {
        self.channels().next().is_some()
    }

    /// The types that the user has written for what is on the wire.
    pub(crate) fn user_types(&self) -> impl Iterator<Item = &Type> {
        let arguments = self
            .parameters
            .iter()
            .filter_map(|parameter| match &parameter.form {
                Form::InPlace(ty)
                | Form::SliceInPlace(ty)
                | Form::Owned(ty)
                | Form::Sends(ty)
                | Form::Receives(ty) => Some(ty),
                Form::Context | Form::Str | Form::Bytes | Form::OtherReference => None,
            });
        arguments.chain(self.output.user_types())
    }

    /// The tuple of the arguments as owned types.
    pub(crate) fn wire_arguments(&self) -> TokenStream {
        let types = self.arguments().map(Parameter::wire);
        quote!((#(#types,)*))
    }
}

impl Parameter {
    /// Whether it is a channel of the call.
    pub(crate) fn is_channel(&self) -> bool {
        matches!(self.form, Form::Sends(_) | Form::Receives(_))
    }

    /// The owned type that stands for it, or for an item of it, on the wire.
    pub(crate) fn wire(&self) -> TokenStream {
        match &self.form {
            Form::Str => quote!(::std::string::String),
            Form::Bytes => quote!(::std::vec::Vec<::core::primitive::u8>),
            Form::InPlace(ty) | Form::Owned(ty) | Form::Sends(ty) | Form::Receives(ty) => quote!(#ty),
            Form::SliceInPlace(ty) => quote!(::std::vec::Vec<#ty>),
            Form::Context | Form::OtherReference => quote!(()),
        }
    }
}

impl Output {
    /// The types that the user has written for what is on the wire.
    pub(crate) fn user_types(&self) -> impl Iterator<Item = &Type> {
        let value = match &self.value.target {
            Target::Str => None,
            Target::Slice(ty) | Target::Type(ty) => Some(ty),
        };
        value.into_iter().chain(&self.error)
    }

    /// The owned type of everything that is returned.
    pub(crate) fn wire(&self) -> TokenStream {
        let value = self.value.wire();
        match &self.error {
            None => value,
            Some(error) => quote!(::core::result::Result<#value, #error>),
        }
    }
}

impl Value {
    /// The owned type that stands for it on the wire.
    pub(crate) fn wire(&self) -> TokenStream {
        match &self.target {
            Target::Str => quote!(::std::string::String),
            Target::Slice(ty) => quote!(::std::vec::Vec<#ty>),
            Target::Type(ty) => quote!(#ty),
        }
    }
}
