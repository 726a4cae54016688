//! `#[service]`: parse, check, expand.

mod check;
mod check_types;
mod expand;
mod model;
mod options;
mod parse;

use proc_macro2::TokenStream;
use quote::quote;

use crate::errors::Errors;

pub(crate) fn run(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let parsed = parse::parse(arguments, item, &mut errors);
    if let Some(service) = &parsed {
        check::check(service, &mut errors);
    }
    match (parsed, errors.finish()) {
        (Some(service), Ok(())) => expand::expand(&service),
        (Some(service), Err(errors)) => {
            let stand_in = expand::fallback::expand(&service);
            quote!(#errors #stand_in)
        }
        (None, Ok(())) => TokenStream::new(),
        (None, Err(errors)) => errors,
    }
}
