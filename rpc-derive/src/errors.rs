//! Errors: collects all that is wrong with an item, so that one build shows all of it.

use std::fmt::Display;

use proc_macro2::TokenStream;
use quote::ToTokens;

/// What is wrong with an item so far. It has to be asked in the end: dropping it without is a mistake of this crate, and panics.
#[derive(Debug, Default)]
pub(crate) struct Errors {
    list: Vec<syn::Error>,
    asked: bool,
}

impl Errors {
    /// Notes an error at the syntax that is responsible for it.
    pub(crate) fn at(&mut self, node: impl ToTokens, text: impl Display) {
        self.list.push(syn::Error::new_spanned(node, text));
    }

    /// Notes an error of syn's parser.
    pub(crate) fn push(&mut self, error: syn::Error) {
        self.list.push(error);
    }

    /// All errors as tokens that make the compiler report them, if there are any.
    pub(crate) fn finish(mut self) -> Result<(), TokenStream> {
        self.asked = true;
        let all = std::mem::take(&mut self.list)
            .into_iter()
            .reduce(|mut all, error| {
                all.combine(error);
                all
            });
        all.map_or(Ok(()), |all| Err(all.into_compile_error()))
    }
}

impl Drop for Errors {
    fn drop(&mut self) {
        assert!(
            self.asked || std::thread::panicking(),
            "errors were collected, and never reported"
        );
    }
}

#[cfg(test)]
mod tests {
    use quote::quote;

    use super::*;

    #[test]
    fn reports_all_errors_at_once() {
        let mut errors = Errors::default();
        errors.at(quote!(a), "first");
        errors.at(quote!(b), "second");
        let tokens = errors.finish().unwrap_err().to_string();
        assert!(tokens.contains("first") && tokens.contains("second"), "{tokens}");
    }

    #[test]
    fn cannot_be_forgotten() {
        let forgotten = std::panic::catch_unwind(|| drop(Errors::default()));
        assert!(forgotten.is_err());
        Errors::default().finish().unwrap();
    }
}
