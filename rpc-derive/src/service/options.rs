//! Options: `#[rpc(..)]` on a method.

use std::time::Duration;

use syn::meta::ParseNestedMeta;
use syn::spanned::Spanned as _;
use syn::{Attribute, Expr, Lit, LitStr, Meta, Token};

use super::model::Options;
use crate::errors::Errors;
use crate::text;

/// Reads all `#[rpc(..)]` among the attributes and takes them out.
pub(crate) fn take(attributes: &mut Vec<Attribute>, errors: &mut Errors) -> Options {
    let mut options = Options::default();
    attributes.retain(|attribute| {
        let is_rpc = attribute.path().is_ident("rpc");
        if is_rpc {
            read(attribute, &mut options, errors);
        }
        !is_rpc
    });
    options
}

fn read(attribute: &Attribute, options: &mut Options, errors: &mut Errors) {
    if let Meta::Path(_) | Meta::NameValue(_) = &attribute.meta {
        return errors.at(attribute, text::RPC_KEY);
    }
    let parsed = attribute.parse_nested_meta(|meta| {
        option(&meta, options).unwrap_or_else(|error| errors.push(error));
        // Whatever follows an option that is wrong belongs to it.
        if !meta.input.peek(Token![,]) && !meta.input.is_empty() {
            meta.input.parse::<proc_macro2::TokenStream>()?;
        }
        Ok(())
    });
    if let Err(error) = parsed {
        errors.push(error);
    }
}

fn option(meta: &ParseNestedMeta<'_>, options: &mut Options) -> syn::Result<()> {
    let at_key = |text| Err(syn::Error::new(meta.path.span(), text));
    if meta.path.is_ident("idempotent") {
        flag(meta, &mut options.idempotent)
    } else if meta.path.is_ident("oneway") {
        flag(meta, &mut options.oneway)
    } else if meta.path.is_ident("timeout") {
        if !meta.input.peek(Token![=]) {
            return at_key(text::RPC_TIMEOUT);
        }
        let value: Expr = meta.value()?.parse()?;
        if options.timeout.is_some() {
            return at_key(text::RPC_TWICE);
        }
        let duration = match &value {
            Expr::Lit(literal) => match &literal.lit {
                Lit::Str(text) => duration(text),
                _ => None,
            },
            _ => None,
        };
        options.timeout = Some(duration.ok_or_else(|| syn::Error::new(value.span(), text::RPC_TIMEOUT))?);
        Ok(())
    } else {
        at_key(text::RPC_KEY)
    }
}

/// An option that is said by its name alone.
fn flag(meta: &ParseNestedMeta<'_>, flag: &mut bool) -> syn::Result<()> {
    let text = if *flag {
        text::RPC_TWICE
    } else if meta.input.is_empty() || meta.input.peek(Token![,]) {
        *flag = true;
        return Ok(());
    } else {
        // `idempotent = false` must not be read as `idempotent`.
        text::RPC_FLAG
    };
    Err(syn::Error::new(meta.path.span(), text))
}

/// Reads `250ms`, `2s` or `1m`.
fn duration(text: &LitStr) -> Option<Duration> {
    let text = text.value();
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let milliseconds_per_unit = match text.get(digits.len()..)? {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => return None,
    };
    if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let milliseconds = digits.parse::<u64>().ok()?.checked_mul(milliseconds_per_unit)?;
    (milliseconds > 0).then(|| Duration::from_millis(milliseconds))
}

#[cfg(test)]
mod tests {
    use proc_macro2::Span;

    use super::*;

    fn read(text: &str) -> Option<Duration> {
        duration(&LitStr::new(text, Span::call_site()))
    }

    #[test]
    fn reads_timeouts() {
        assert_eq!(read("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(read("2s"), Some(Duration::from_secs(2)));
        assert_eq!(read("1m"), Some(Duration::from_secs(60)));
    }

    #[test]
    fn refuses_timeouts_that_are_none() {
        for text in [
            "",
            "2",
            "s",
            "0s",
            "-1s",
            "+1s",
            "1.5s",
            "2 s",
            "2h",
            "1s2ms",
            "18446744073709551615m",
            "٣s",
        ] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }
}
