//! The descriptor: signatures and attributes of all methods, worked out once per program.

use proc_macro2::TokenStream;
use quote::quote;

use super::super::model::{Form, Method, Options, Parameter, Service};

pub(super) fn expand(service: &Service, bounds: &TokenStream) -> TokenStream {
    let name = &service.name;
    let methods = service.methods.iter().map(method);
    quote! {
        fn __descriptor() -> &'static ::rpc_core::__private::ServiceDescriptor
        #bounds
        {
            static DESCRIPTOR: ::rpc_core::__private::OnceLock<::rpc_core::__private::ServiceDescriptor> =
                ::rpc_core::__private::OnceLock::new();
            DESCRIPTOR.get_or_init(|| ::rpc_core::__private::ServiceDescriptor::new(#name, &[#(#methods),*]))
        }
    }
}

fn method(method: &Method) -> TokenStream {
    let name = &method.name;
    let arguments = method.listed().map(listed);
    let reply = method.output.wire();
    let timeout = match method.options.timeout.map(|timeout| timeout.as_millis()) {
        None => quote!(::core::option::Option::None),
        Some(milliseconds) => {
            let milliseconds = u64::try_from(milliseconds).unwrap_or(u64::MAX);
            quote!(::core::option::Option::Some(::rpc_core::__private::Duration::from_millis(#milliseconds)))
        }
    };
    let Options {
        idempotent, oneway, ..
    } = method.options;
    let handler_sends = count(method, |form| matches!(form, Form::Sends(_)));
    let handler_receives = count(method, |form| matches!(form, Form::Receives(_)));
    let runs_on = if method.is_async() {
        quote!(Connection)
    } else {
        quote!(Workers)
    };
    quote! {
        ::rpc_core::__private::MethodDef {
            name: #name,
            arguments: const { &[#(#arguments),*] },
            reply: ::rpc_core::__private::describe::<#reply>,
            timeout: #timeout,
            idempotent: #idempotent,
            runs_on: ::rpc_core::__private::RunsOn::#runs_on,
            oneway: #oneway,
            handler_sends: #handler_sends,
            handler_receives: #handler_receives,
        }
    }
}

/// A parameter as the signature lists it: its name and how its type is written.
fn listed(parameter: &Parameter) -> TokenStream {
    let name = parameter
        .ident
        .as_ref()
        .map(|ident| syn::ext::IdentExt::unraw(ident).to_string());
    let ty = parameter.wire();
    let describe = match &parameter.form {
        Form::Sends(_) => quote!(describe_sender),
        Form::Receives(_) => quote!(describe_receiver),
        Form::Context
        | Form::Str
        | Form::Bytes
        | Form::InPlace(_)
        | Form::SliceInPlace(_)
        | Form::Owned(_)
        | Form::OtherReference => quote!(describe),
    };
    quote!((#name, ::rpc_core::__private::#describe::<#ty>))
}

fn count(method: &Method, is_counted: impl Fn(&Form) -> bool) -> u16 {
    let counted = method.channels().filter(|channel| is_counted(&channel.form));
    u16::try_from(counted.count()).unwrap_or(u16::MAX)
}
