//! The descriptor: signatures and attributes of all methods, worked out once per program.

use proc_macro2::TokenStream;
use quote::quote;

use super::super::model::{Method, Service};

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
    let arguments = method.arguments().map(|parameter| {
        let name = parameter
            .ident
            .as_ref()
            .map(|ident| syn::ext::IdentExt::unraw(ident).to_string());
        let ty = parameter.wire();
        quote!((#name, ::rpc_core::__private::describe::<#ty>))
    });
    let reply = method.output.wire();
    let timeout = match method.options.timeout.map(|timeout| timeout.as_millis()) {
        None => quote!(::core::option::Option::None),
        Some(milliseconds) => {
            let milliseconds = u64::try_from(milliseconds).unwrap_or(u64::MAX);
            quote!(::core::option::Option::Some(::rpc_core::__private::Duration::from_millis(#milliseconds)))
        }
    };
    let idempotent = method.options.idempotent;
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
        }
    }
}
