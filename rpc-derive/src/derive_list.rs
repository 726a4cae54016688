//! DeriveList: what the user derives for an item, as far as the macro can see.

use syn::punctuated::Punctuated;
use syn::{Attribute, Path, Token};

/// The paths in all `#[derive(..)]` attributes of an item. A list that does not parse counts as empty: the compiler reports it.
pub(crate) fn derives(attributes: &[Attribute]) -> Vec<Path> {
    attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("derive"))
        .filter_map(|attribute| {
            attribute
                .parse_args_with(Punctuated::<Path, Token![,]>::parse_terminated)
                .ok()
        })
        .flatten()
        .collect()
}

/// Whether a path leads into rkyv.
pub(crate) fn is_rkyv(path: &Path) -> bool {
    path.segments.len() > 1 && path.segments.iter().any(|segment| segment.ident == "rkyv")
}

/// Whether any trait of rkyv is derived.
pub(crate) fn derives_rkyv(attributes: &[Attribute]) -> bool {
    derives(attributes).iter().any(is_rkyv)
}
