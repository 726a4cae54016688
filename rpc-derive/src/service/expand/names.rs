//! Names: the identifiers that generated code introduces.

use std::collections::HashSet;

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens as _, format_ident};

use super::super::model::{Method, Service};

/// The names that belong to a service.
pub(super) struct Names {
    /// `DirectoryClient`.
    pub(super) client: Ident,
    /// `DirectoryServer`.
    pub(super) server: Ident,
    /// The type parameter of the client. A message of the same name would be hidden by it, so then it is another.
    pub(super) caller: Ident,
    /// The type parameter of the server's methods.
    pub(super) service: Ident,
}

impl Names {
    pub(super) fn of(service: &Service) -> Self {
        let mut taken = HashSet::new();
        collect(service.original.to_token_stream(), &mut taken);
        Self {
            client: format_ident!("{}Client", service.ident()),
            server: format_ident!("{}Server", service.ident()),
            caller: free("C", &taken),
            service: free("S", &taken),
        }
    }
}

/// The function that answers the calls of one method.
pub(super) fn answer(method: &Method) -> Ident {
    format_ident!("__answer_{}", method.name, span = method.ident().span())
}

/// The local variable that owns an argument.
pub(super) fn owned(index: usize) -> Ident {
    format_ident!("owned_{index}")
}

/// The local variable that holds the handler's end of a channel.
pub(super) fn channel(index: usize) -> Ident {
    format_ident!("channel_{index}")
}

fn free(wish: &str, taken: &HashSet<String>) -> Ident {
    let mut name = wish.to_owned();
    while taken.contains(&name) {
        name.push_str(wish);
    }
    Ident::new(&name, Span::call_site())
}

fn collect(tokens: TokenStream, words: &mut HashSet<String>) {
    for token in tokens {
        match token {
            TokenTree::Ident(ident) => {
                words.insert(ident.to_string());
            }
            TokenTree::Group(group) => collect(group.stream(), words),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}
