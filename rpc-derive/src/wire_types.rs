//! The rules for types that cross the wire, as far as they can be seen from their names. The trait `Wire` decides; this says it better.

use syn::visit::{self, Visit};
use syn::{GenericArgument, Path, PathArguments, Type};

use crate::errors::Errors;
use crate::text;

/// Reports whatever in an owned type cannot cross the wire.
pub(crate) fn check(ty: &Type, errors: &mut Errors) {
    Rules { errors }.visit_type(ty);
}

struct Rules<'e> {
    errors: &'e mut Errors,
}

impl<'ast> Visit<'ast> for Rules<'_> {
    fn visit_type(&mut self, ty: &'ast Type) {
        let text = match ty {
            Type::Reference(reference) => match &*reference.elem {
                Type::Slice(_) => text::REFERENCE_TO_SLICE,
                elem if is_str(elem) => text::REFERENCE_TO_STR,
                _ => text::REFERENCE,
            },
            Type::Ptr(_) => text::POINTER,
            Type::BareFn(_) => text::FUNCTION,
            Type::TraitObject(_) => text::DYN,
            Type::ImplTrait(_) => text::IMPL,
            Type::Infer(_) => text::INFER,
            Type::Never(_) => text::NEVER,
            Type::Macro(_) => text::MACRO_TYPE,
            // Everything else consists of types and paths.
            _ => return visit::visit_type(self, ty),
        };
        self.errors.at(ty, text);
    }

    fn visit_path(&mut self, path: &'ast Path) {
        if let Some(first) = path.segments.first().filter(|first| first.ident == "Self") {
            self.errors.at(first, text::SELF_TYPE);
        }
        if path.is_ident("usize") || path.is_ident("isize") {
            self.errors.at(path, text::MACHINE_SIZED);
        }
        // Without type arguments it is a message that happens to have this name.
        if let Some(last) = path.segments.last().filter(|last| !last.arguments.is_none()) {
            let name = last.ident.to_string();
            match name.as_str() {
                "Arc" | "Cell" | "Mutex" | "OnceCell" | "OnceLock" | "Rc" | "RefCell" | "RwLock" => {
                    self.errors.at(&last.ident, text::shared(name));
                }
                "Archived" => self.errors.at(&last.ident, text::ARCHIVED_OWNED),
                "Receiver" | "Sender" => return self.errors.at(path, text::channel_place(name)),
                _ => {}
            }
        }
        visit::visit_path(self, path);
    }

    fn visit_generic_argument(&mut self, argument: &'ast GenericArgument) {
        if let GenericArgument::Lifetime(lifetime) = argument {
            self.errors.at(lifetime, text::LIFETIME);
        }
        visit::visit_generic_argument(self, argument);
    }

    // The length of an array may be any constant expression.
    fn visit_expr(&mut self, _: &'ast syn::Expr) {}
}

/// A type without the invisible brackets that macros put around it, and without round ones.
pub(crate) fn bare(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => bare(&group.elem),
        Type::Paren(paren) => bare(&paren.elem),
        _ => ty,
    }
}

/// Whether a type is written `str`.
pub(crate) fn is_str(ty: &Type) -> bool {
    is_ident(ty, "str")
}

/// Whether a type is written as this one word.
pub(crate) fn is_ident(ty: &Type, name: &str) -> bool {
    matches!(bare(ty), Type::Path(path) if path.qself.is_none() && path.path.is_ident(name))
}

/// Whether the last word of a type's path is `name`.
pub(crate) fn is_named(ty: &Type, name: &str) -> bool {
    last_segment(ty).is_some_and(|last| last.ident == name)
}

/// The type arguments of `…::Name<A, B>`, if it is written like that.
pub(crate) fn type_arguments(ty: &Type, name: &str) -> Option<Vec<Type>> {
    let last = last_segment(ty).filter(|last| last.ident == name)?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else {
        return None;
    };
    let types = arguments.args.iter().map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty.clone()),
        _ => None,
    });
    types.collect()
}

/// The first type argument of `…::Name<A, B>`.
pub(crate) fn first_type_argument<'a>(ty: &'a Type, name: &str) -> Option<&'a Type> {
    let last = last_segment(ty).filter(|last| last.ident == name)?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else {
        return None;
    };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    })
}

/// Whether a type is written `()`.
pub(crate) fn is_unit(ty: &Type) -> bool {
    matches!(bare(ty), Type::Tuple(tuple) if tuple.elems.is_empty())
}

/// The last word of the type of a channel, with whatever arguments. Without any it is a message that happens to have this name.
pub(crate) fn channel(ty: &Type) -> Option<&syn::PathSegment> {
    last_segment(ty)
        .filter(|last| last.ident == "Sender" || last.ident == "Receiver")
        .filter(|last| !last.arguments.is_none())
}

fn last_segment(ty: &Type) -> Option<&syn::PathSegment> {
    match bare(ty) {
        Type::Path(path) if path.qself.is_none() => path.path.segments.last(),
        _ => None,
    }
}
