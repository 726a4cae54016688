//! The server: from an incoming call to the user's method and back to an encoded answer.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned as _;

use super::super::model::{Form, Holder, Method, Parameter, Service, Target, Value};
use super::names::{self, Names};

/// The type, as users see it.
pub(super) fn declare(service: &Service, names: &Names) -> TokenStream {
    let Names { server, .. } = names;
    let vis = &service.original.vis;
    let doc = format!(
        "Serves a [`{}`]: answers the calls that a server, or a test, hands to it.",
        service.ident()
    );
    quote! {
        #[doc = #doc]
        #[allow(dead_code)]
        #vis struct #server<S> {
            service: ::rpc_core::__private::Arc<S>,
        }
    }
}

/// Its methods and the functions that answer calls.
pub(super) fn implement(service: &Service, names: &Names, bounds: &TokenStream) -> TokenStream {
    let inherent = inherent(service, names);
    let dispatch = dispatch(service, names, bounds);
    let answers = service
        .methods
        .iter()
        .map(|method| answer(service, method, names, bounds));
    quote! {
        #inherent
        #dispatch
        #(#answers)*
    }
}

fn inherent(service: &Service, names: &Names) -> TokenStream {
    let Names { server, .. } = names;
    let vis = &service.original.vis;
    let name = server.to_string();
    quote! {
        #[allow(dead_code)]
        impl<S> #server<S> {
            /// Serves this service.
            #vis fn new(service: S) -> Self {
                Self::from_arc(::rpc_core::__private::Arc::new(service))
            }

            /// Serves a service that is used elsewhere, too.
            #vis fn from_arc(service: ::rpc_core::__private::Arc<S>) -> Self {
                Self { service }
            }
        }

        #[automatically_derived]
        impl<S> ::core::clone::Clone for #server<S> {
            fn clone(&self) -> Self {
                Self::from_arc(::rpc_core::__private::Arc::clone(&self.service))
            }
        }

        #[automatically_derived]
        impl<S> ::core::fmt::Debug for #server<S> {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.debug_struct(#name).finish_non_exhaustive()
            }
        }
    }
}

fn dispatch(service: &Service, names: &Names, bounds: &TokenStream) -> TokenStream {
    let type_parameter = &names.service;
    let Names { server, .. } = names;
    let contract = service.ident();
    let arms = service.methods.iter().enumerate().map(|(index, method)| {
        let answer = names::answer(method);
        if method.is_async() {
            quote!(#index => #answer(&*service, &mut call).await,)
        } else {
            quote!(#index => call.on_workers(move |mut call| #answer(&*service, &mut call)).await,)
        }
    });
    quote! {
        #[automatically_derived]
        impl<#type_parameter: #contract> ::rpc_core::__private::Dispatch for #server<#type_parameter> #bounds {
            fn descriptor(&self) -> &'static ::rpc_core::__private::ServiceDescriptor {
                __descriptor()
            }

            fn dispatch(
                &self,
                mut call: ::rpc_core::__private::IncomingCall,
            ) -> impl ::core::future::Future<Output = ::rpc_core::__private::Completed>
            + ::core::marker::Send
            + use<#type_parameter> {
                let service = ::rpc_core::__private::Arc::clone(&self.service);
                async move {
                    match call.method {
                        #(#arms)*
                        _ => call.take_reply().unknown_method(),
                    }
                }
            }
        }
    }
}

/// The function that answers one call of one method. Its caller owns the call, and with it the bytes from which the arguments borrow: a call is a few hundred bytes, which stay where
/// they are.
fn answer(service: &Service, method: &Method, names: &Names, bounds: &TokenStream) -> TokenStream {
    let answer = names::answer(method);
    let Names {
        service: type_parameter,
        ..
    } = names;
    let (contract, ident) = (service.ident(), method.ident());
    let asyncness = method.is_async().then(|| quote!(async));
    let awaiting = method.is_async().then(|| quote!(.await));
    let allow = deprecated(method).then(|| quote!(#[allow(deprecated)]));
    let wire_arguments = method.wire_arguments();
    let owned = method
        .arguments()
        .enumerate()
        .map(|(index, parameter)| own(parameter, index));
    let channels = method
        .has_channels()
        .then(|| quote!(let mut channels = call.take_channels();));
    let ends = method
        .channels()
        .enumerate()
        .map(|(index, parameter)| end(parameter, index));
    let handed = handed(method);
    let reply = reply(method);
    quote! {
        #allow
        #asyncness fn #answer<#type_parameter: #contract>(
            service: &#type_parameter,
            call: &mut ::rpc_core::__private::IncomingCall,
        ) -> ::rpc_core::__private::Completed
        #bounds
        {
            let reply = call.take_frame();
            #channels
            let arguments = match call.arguments::<#wire_arguments>() {
                ::core::result::Result::Ok(arguments) => arguments,
                ::core::result::Result::Err(error) => return call.invalid(reply, error),
            };
            #(#owned)*
            #(#ends)*
            let returned = <#type_parameter as #contract>::#ident(service, #(#handed),*) #awaiting;
            #reply
        }
    }
}

/// Deserialises an argument that the handler takes by value.
fn own(parameter: &Parameter, index: usize) -> TokenStream {
    let Form::Owned(ty) = &parameter.form else {
        return TokenStream::new();
    };
    let local = names::owned(index);
    let index = syn::Index::from(index);
    quote! {
        let #local = match call.owned::<#ty>(&arguments.#index) {
            ::core::result::Result::Ok(value) => value,
            ::core::result::Result::Err(error) => return call.invalid(reply, error),
        };
    }
}

/// Takes the handler's end of a channel. Its type is the one that the user has written: another `Sender` is reported there.
fn end(parameter: &Parameter, index: usize) -> TokenStream {
    let local = names::channel(index);
    let (method, item) = match &parameter.form {
        Form::Sends(item) => (quote!(sender), item),
        Form::Receives(item) => (quote!(receiver), item),
        Form::Context
        | Form::Str
        | Form::Bytes
        | Form::InPlace(_)
        | Form::SliceInPlace(_)
        | Form::Owned(_)
        | Form::OtherReference => return TokenStream::new(),
    };
    let ty = &parameter.original.ty;
    quote_spanned!(ty.span()=> let #local: #ty = channels.#method::<#item>();)
}

/// What the handler is called with, in the order of its parameters.
fn handed(method: &Method) -> Vec<TokenStream> {
    let (mut arguments, mut channels) = (0.., 0..);
    let parameters = method.parameters.iter();
    let handed = parameters.filter_map(|parameter| match &parameter.form {
        Form::Context => Some(quote!(&call.context)),
        Form::Sends(_) | Form::Receives(_) => channels.next().map(|index| {
            let local = names::channel(index);
            quote!(#local)
        }),
        Form::Str
        | Form::Bytes
        | Form::InPlace(_)
        | Form::SliceInPlace(_)
        | Form::Owned(_)
        | Form::OtherReference => arguments.next().map(|index| argument(parameter, index)),
    });
    handed.collect()
}

/// An argument as the handler takes it.
fn argument(parameter: &Parameter, index: usize) -> TokenStream {
    let local = names::owned(index);
    let index = syn::Index::from(index);
    match &parameter.form {
        Form::Str => quote!(arguments.#index.as_str()),
        Form::Bytes | Form::SliceInPlace(_) => quote!(arguments.#index.as_slice()),
        Form::InPlace(_) => quote!(&arguments.#index),
        Form::Owned(_) => quote!(#local),
        Form::Context | Form::Sends(_) | Form::Receives(_) | Form::OtherReference => TokenStream::new(),
    }
}

/// Encodes what the handler returned.
fn reply(method: &Method) -> TokenStream {
    let value = borrowed(&method.output.value);
    if method.output.error.is_none() {
        return quote!(call.value(reply, &#value));
    }
    quote! {
        match returned {
            ::core::result::Result::Ok(returned) => call.value(reply, &#value),
            ::core::result::Result::Err(error) => call.error(reply, &::rpc_core::__private::ByRef(&error)),
        }
    }
}

/// The variable `returned`, lent to the encoder.
fn borrowed(value: &Value) -> TokenStream {
    let reference = match value.holder {
        Holder::Owned => quote!(&returned),
        Holder::Borrowed | Holder::BorrowedMut => quote!(returned),
        Holder::Shared => quote!(&*returned),
    };
    match &value.target {
        Target::Str => quote!(::rpc_core::__private::ByStr(#reference)),
        Target::Slice(_) => quote!(::rpc_core::__private::BySlice(#reference)),
        Target::Type(_) => quote!(::rpc_core::__private::ByRef(#reference)),
    }
}

fn deprecated(method: &Method) -> bool {
    method
        .original
        .attrs
        .iter()
        .any(|attribute| attribute.path().is_ident("deprecated"))
}
