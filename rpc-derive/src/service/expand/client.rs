//! The client: one method per method of the service, generic over what calls are started by.

use proc_macro2::{Ident, Span, TokenStream};
use quote::quote;
use syn::ext::IdentExt;
use syn::{Attribute, Type};

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
    if !method.has_channels() {
        return quote! {
            #attributes
            #vis fn #ident(&self, #(#parameters),*) -> ::rpc_core::__private::Call<#caller, #value #(, #error)*> {
                ::rpc_core::__private::Call::new(&self.caller, &__descriptor().methods[#index], &(#(#arguments,)*))
            }
        };
    }
    let ends: Vec<_> = method.channels().filter_map(End::of).collect();
    let types = ends.iter().map(End::ty);
    // Parameters may have any name; these locals are not in their way.
    let (opening, opened) = (local("opening"), local("ends"));
    let made = ends.iter().map(|end| end.make(&opening));
    quote! {
        #attributes
        #vis fn #ident(&self, #(#parameters),*)
            -> ::rpc_core::__private::StreamCall<#caller, (#(#types,)*), #value #(, #error)*>
        {
            let mut #opening = ::rpc_core::__private::Opening::new(&self.caller, &__descriptor().methods[#index]);
            let #opened = (#(#made,)*);
            #opening.call(&(#(#arguments,)*), #opened)
        }
    }
}

fn local(name: &str) -> Ident {
    Ident::new(name, Span::mixed_site())
}

/// The caller's end of a channel: the other one than the handler's.
enum End<'a> {
    Receives(&'a Type),
    Sends(&'a Type),
}

impl<'a> End<'a> {
    fn of(parameter: &'a Parameter) -> Option<Self> {
        match &parameter.form {
            Form::Sends(item) => Some(Self::Receives(item)),
            Form::Receives(item) => Some(Self::Sends(item)),
            Form::Context
            | Form::Str
            | Form::Bytes
            | Form::InPlace(_)
            | Form::SliceInPlace(_)
            | Form::Owned(_)
            | Form::OtherReference => None,
        }
    }

    fn ty(&self) -> TokenStream {
        match self {
            Self::Receives(item) => quote!(::rpc_core::__private::Receiver<#item>),
            Self::Sends(item) => quote!(::rpc_core::__private::Sender<#item>),
        }
    }

    fn make(&self, opening: &Ident) -> TokenStream {
        match self {
            Self::Receives(item) => quote!(#opening.receiver::<#item>()),
            Self::Sends(item) => quote!(#opening.sender::<#item>()),
        }
    }
}

/// What of the method's attributes is for its callers.
fn attributes(service: &Service, method: &Method) -> TokenStream {
    let is_doc = |attribute: &&Attribute| attribute.path().is_ident("doc");
    let is_for_callers =
        |attribute: &&Attribute| is_doc(attribute) || attribute.path().is_ident("deprecated");
    let carried = method.original.attrs.iter().filter(is_for_callers);
    let is_documented = method.original.attrs.iter().any(|attribute| is_doc(&attribute));
    let doc = (!is_documented).then(|| {
        let doc = format!("Calls [`{}::{}`].", service.ident(), method.ident());
        let ends = ends_doc(method).map(|doc| quote!(#[doc = ""] #[doc = #doc]));
        quote!(#[doc = #doc] #ends)
    });
    // The attribute is not seen in the documentation of the trait, so it is said whether or not there is other documentation.
    let oneway = method.options.oneway.then(|| {
        quote! {
            #[doc = ""]
            #[doc = "One-way: the call has ended for its caller once it was sent. Whether the method ran is not known."]
        }
    });
    quote!(#doc #(#carried)* #oneway)
}

/// What there is when a call with channels is opened.
fn ends_doc(method: &Method) -> Option<String> {
    let ends = method.channels().map(|channel| {
        let name = channel.ident.as_ref().map(IdentExt::unraw);
        let name = name.map(|name| name.to_string()).unwrap_or_default();
        let end = match &channel.form {
            Form::Sends(_) => "receives what the method sends",
            _ => "sends what the method receives",
        };
        format!("`{name}`, which {end}")
    });
    let ends: Vec<_> = ends.collect();
    (!ends.is_empty()).then(|| {
        format!(
            "When it is opened there are: {}; and the call itself, for what the method returns.",
            ends.join("; ")
        )
    })
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
        Form::Context | Form::Sends(_) | Form::Receives(_) | Form::OtherReference => TokenStream::new(),
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
        Form::Context | Form::Sends(_) | Form::Receives(_) | Form::OtherReference => TokenStream::new(),
    }
}

fn is_scalar(ty: &Type) -> bool {
    const SCALARS: [&str; 14] = [
        "bool", "char", "f32", "f64", "i8", "i16", "i32", "i64", "i128", "u8", "u16", "u32", "u64", "u128",
    ];
    SCALARS.iter().any(|scalar| is_ident(ty, scalar))
}
