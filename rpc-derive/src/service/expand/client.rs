//! The client: one method per method of the service, generic over what calls are started by.

use proc_macro2::TokenStream;
use quote::quote;
use syn::Attribute;

use super::super::model::{Form, Method, Parameter, Service};
use super::names::Names;
use crate::wire_types::is_ident;

/// The type, as users see it.
pub(super) fn declare(service: &Service, names: &Names) -> TokenStream {
    let Names { client, .. } = names;
    let vis = &service.original.vis;
    let doc = format!(
        "Calls a [`{}`], by whatever calls are started by: a connection, or a service in this process.",
        service.ident()
    );
    quote! {
        #[doc = #doc]
        #[derive(::core::clone::Clone, ::core::fmt::Debug)]
        #[allow(dead_code)]
        #vis struct #client<C> {
            caller: C,
        }
    }
}

/// Its methods.
pub(super) fn implement(service: &Service, names: &Names, bounds: &TokenStream) -> TokenStream {
    let Names { client, caller, .. } = names;
    let vis = &service.original.vis;
    let methods = service
        .methods
        .iter()
        .enumerate()
        .map(|(index, method)| call(service, method, index, names));
    quote! {
        #[allow(dead_code)]
        impl #client<()> #bounds {
            /// What the service is: its methods with their signatures, ids and attributes.
            #vis fn descriptor() -> &'static ::rpc_core::__private::ServiceDescriptor {
                __descriptor()
            }
        }

        #[allow(dead_code)]
        impl<#caller: ::rpc_core::__private::Caller> #client<#caller> #bounds {
            /// A client that starts its calls by `caller`.
            #vis fn new(caller: #caller) -> Self {
                Self { caller }
            }

            /// What its calls are started by.
            #vis fn caller(&self) -> &#caller {
                &self.caller
            }

            #(#methods)*
        }
    }
}

fn call(service: &Service, method: &Method, index: usize, names: &Names) -> TokenStream {
    let caller = &names.caller;
    let vis = &service.original.vis;
    let ident = method.ident();
    let attributes = attributes(service, method);
    let parameters = method.arguments().map(parameter);
    let arguments = method.arguments().map(argument);
    let value = method.output.value.wire();
    let error = method.output.error.iter();
    quote! {
        #attributes
        #vis fn #ident(&self, #(#parameters),*) -> ::rpc_core::__private::Call<#caller, #value #(, #error)*> {
            ::rpc_core::__private::Call::new(&self.caller, &__descriptor().methods[#index], &(#(#arguments,)*))
        }
    }
}

/// What of the method's attributes is for its callers.
fn attributes(service: &Service, method: &Method) -> TokenStream {
    let is_doc = |attribute: &&Attribute| attribute.path().is_ident("doc");
    let is_for_callers =
        |attribute: &&Attribute| is_doc(attribute) || attribute.path().is_ident("deprecated");
    let carried = method.original.attrs.iter().filter(is_for_callers);
    let doc = format!("Calls [`{}::{}`].", service.ident(), method.ident());
    let doc = method
        .original
        .attrs
        .iter()
        .all(|attribute| !is_doc(&attribute))
        .then(|| quote!(#[doc = #doc]));
    quote!(#doc #(#carried)*)
}

/// The parameter as a caller gives it: nothing is copied but scalars.
fn parameter(parameter: &Parameter) -> TokenStream {
    let (ident, original) = (&parameter.ident, &parameter.original.ty);
    match &parameter.form {
        Form::Str | Form::Bytes => quote!(#ident: #original),
        Form::InPlace(ty) => quote!(#ident: &#ty),
        Form::SliceInPlace(ty) => quote!(#ident: &[#ty]),
        Form::Owned(ty) if is_scalar(ty) => quote!(#ident: #ty),
        Form::Owned(ty) => quote!(#ident: &#ty),
        Form::Context | Form::OtherReference => TokenStream::new(),
    }
}

/// The same as part of what is archived.
fn argument(parameter: &Parameter) -> TokenStream {
    let ident = &parameter.ident;
    match &parameter.form {
        Form::Str => quote!(::rpc_core::__private::ByStr(#ident)),
        Form::Bytes | Form::SliceInPlace(_) => quote!(::rpc_core::__private::BySlice(#ident)),
        Form::Owned(ty) if is_scalar(ty) => quote!(::rpc_core::__private::ByRef(&#ident)),
        Form::InPlace(_) | Form::Owned(_) => quote!(::rpc_core::__private::ByRef(#ident)),
        Form::Context | Form::OtherReference => TokenStream::new(),
    }
}

fn is_scalar(ty: &syn::Type) -> bool {
    const SCALARS: [&str; 14] = [
        "bool", "char", "f32", "f64", "i8", "i16", "i32", "i64", "i128", "u8", "u16", "u32", "u64", "u128",
    ];
    SCALARS.iter().any(|scalar| is_ident(ty, scalar))
}
