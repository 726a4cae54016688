//! `#[message]`: parse, check, expand.

mod archived;
mod check;
mod expand;
mod fallback;
mod mirror;
mod model;
mod wire;

use proc_macro2::TokenStream;
use quote::quote;

use crate::errors::Errors;

pub(crate) fn run(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let parsed = model::parse(arguments, item, &mut errors);
    if let Some(message) = &parsed {
        check::check(message, &mut errors);
    }
    match (parsed, errors.finish()) {
        (Some(message), Ok(())) => expand::expand(&message),
        (Some(message), Err(errors)) => {
            let stand_in = fallback::expand(&message);
            quote!(#errors #stand_in)
        }
        (None, Ok(())) => TokenStream::new(),
        (None, Err(errors)) => errors,
    }
}
