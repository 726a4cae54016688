//! Signatures: the full structure of a method as text, and the fingerprint that is its id on the wire (PROTOCOL.md section 6).

use std::any::TypeId;
use std::collections::VecDeque;
use std::fmt::Write as _;

use crate::id::MethodId;

/// Names a type in a signature, and notes its definition if it has one. [`Wire::describe`](crate::Wire::describe) of a type.
pub type Describe = fn(&mut Schema) -> String;

/// The definition of a message type: what `#[message]` knows of it.
#[derive(Debug)]
pub struct TypeDef {
    /// The name of the type as declared.
    pub name: &'static str,
    /// The stated depth of a recursive type.
    pub max_depth: Option<u32>,
    /// What it consists of.
    pub shape: Shape,
}

/// Whether a type is a structure or an enumeration.
#[derive(Debug)]
pub enum Shape {
    /// A structure with its fields.
    Struct(Fields),
    /// An enumeration with its variants in order.
    Enum(&'static [(&'static str, Fields)]),
}

/// The fields of a structure or variant, in order.
#[derive(Debug)]
pub enum Fields {
    /// None, and no brackets.
    Unit,
    /// Fields without names.
    Unnamed(&'static [Describe]),
    /// Fields with names.
    Named(&'static [(&'static str, Describe)]),
}

/// The definitions that one signature mentions, in the order of their first mention.
#[derive(Debug, Default)]
pub struct Schema {
    known: Vec<(TypeId, &'static str, String)>,
    undefined: VecDeque<(String, &'static TypeDef)>,
}

impl Schema {
    /// The name of the message type `T` in this signature; its definition follows the first line.
    pub fn define<T: 'static>(&mut self, definition: &'static TypeDef) -> String {
        let id = TypeId::of::<T>();
        if let Some((_, _, name)) = self.known.iter().find(|(known, ..)| *known == id) {
            return name.clone();
        }
        let namesakes = self
            .known
            .iter()
            .filter(|(_, name, _)| *name == definition.name)
            .count();
        let name = match namesakes {
            0 => definition.name.to_owned(),
            others => format!("{}#{}", definition.name, others + 1),
        };
        self.known.push((id, definition.name, name.clone()));
        self.undefined.push_back((name.clone(), definition));
        name
    }

    /// Writes the definitions that are still owed, breadth-first.
    fn definitions(&mut self) -> String {
        let mut text = String::new();
        while let Some((name, definition)) = self.undefined.pop_front() {
            text.push('\n');
            self.definition(&mut text, &name, definition);
        }
        text
    }

    fn definition(&mut self, text: &mut String, name: &str, definition: &TypeDef) {
        let depth = definition
            .max_depth
            .map(|depth| format!("(max_depth = {depth})"))
            .unwrap_or_default();
        match &definition.shape {
            Shape::Struct(Fields::Unit) => {
                text.extend(["struct ", name, &depth, ";"]);
            }
            Shape::Struct(fields @ Fields::Unnamed(_)) => {
                text.extend(["struct ", name, &depth, &self.inline(fields), ";"]);
            }
            Shape::Struct(Fields::Named(fields)) => {
                text.extend(["struct ", name, &depth, " {\n"]);
                for (field, describe) in *fields {
                    text.extend(["    ", field, ": ", &describe(self), ",\n"]);
                }
                text.push('}');
            }
            Shape::Enum(variants) => {
                text.extend(["enum ", name, &depth, " {\n"]);
                for (variant, fields) in *variants {
                    text.extend(["    ", variant, &self.inline(fields), ",\n"]);
                }
                text.push('}');
            }
        }
    }

    /// Fields on one line, as they follow the name of a variant.
    fn inline(&mut self, fields: &Fields) -> String {
        match fields {
            Fields::Unit => String::new(),
            Fields::Unnamed(fields) => {
                let types: Vec<_> = fields.iter().map(|describe| describe(self)).collect();
                format!("({})", types.join(", "))
            }
            Fields::Named([]) => " {}".to_owned(),
            Fields::Named(fields) => {
                let fields: Vec<_> = fields
                    .iter()
                    .map(|(name, describe)| format!("{name}: {}", describe(self)))
                    .collect();
                format!(" {{ {} }}", fields.join(", "))
            }
        }
    }
}

/// Writes the signature of a method (P-60).
pub fn signature(
    service: &str,
    method: &str,
    arguments: &[(&str, Describe)],
    reply: Describe,
    oneway: bool,
) -> String {
    let mut schema = Schema::default();
    let arguments: Vec<_> = arguments
        .iter()
        .map(|(name, describe)| format!("{name}: {}", describe(&mut schema)))
        .collect();
    let mut text = format!(
        "{service}.{method}({}) -> {}",
        arguments.join(", "),
        reply(&mut schema)
    );
    if oneway {
        text.push_str(" oneway");
    }
    let definitions = schema.definitions();
    text.push_str(&definitions);
    text
}

/// The id of the method with this signature (P-61).
pub fn fingerprint(signature: &str) -> MethodId {
    let name = signature.split('(').next().unwrap_or_default();
    let upper = hash(name) & 0xffff_0000_0000_0000;
    let lower = hash(signature) & 0x0000_ffff_ffff_ffff;
    MethodId(upper | lower)
}

/// 64-bit FNV-1a with a finalizer that spreads the last bytes over all bits.
fn hash(text: &str) -> u64 {
    let mut x = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |x, byte| {
        (x ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    x ^= x >> 33;
    x = x.wrapping_mul(0xff51_afd7_ed55_8ccd);
    x ^= x >> 33;
    x = x.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ (x >> 33)
}

/// Sets two signatures side by side for a person: both in full, then the lines in which they differ.
pub fn compare(ours: &str, theirs: &str) -> String {
    let mut text = String::new();
    let quote = |text: &mut String, title: &str, signature: &str| {
        let _ = writeln!(text, "  {title}");
        for line in signature.lines() {
            let _ = writeln!(text, "    {line}");
        }
    };
    quote(&mut text, "this client:", ours);
    quote(&mut text, "the server:", theirs);
    text.push_str("  difference:");
    let missing = |text: &mut String, mark: char, from: &str, other: &str| {
        for line in from
            .lines()
            .filter(|line| !other.lines().any(|there| there == *line))
        {
            let _ = write!(text, "\n    {mark} {}", line.trim_start());
        }
    };
    let before = text.len();
    missing(&mut text, '-', ours, theirs);
    missing(&mut text, '+', theirs, ours);
    if text.len() == before {
        text.push_str(" the order of the lines");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Wire;

    fn describe<T: Wire>(schema: &mut Schema) -> String {
        T::describe(schema)
    }

    /// P-61: pinned, so that another compiler, machine or refactoring cannot move them.
    #[test]
    fn fingerprints_are_pinned() {
        let plain = signature(
            "Echo",
            "echo",
            &[("text", describe::<String>)],
            describe::<String>,
            false,
        );
        assert_eq!(plain, "Echo.echo(text: String) -> String");
        assert_eq!(fingerprint(&plain), MethodId(PLAIN));
        assert_eq!(hash(""), EMPTY);
    }

    // Worked out by another implementation of P-61.
    const PLAIN: u64 = 0x9492_1b22_0883_5c3c;
    const EMPTY: u64 = 0xefd0_1f60_ba99_2926;

    #[test]
    fn the_upper_bits_depend_on_the_name_alone() {
        let one = fingerprint("Echo.echo(text: String) -> String");
        let two = fingerprint("Echo.echo(text: String, times: u32) -> String");
        assert_eq!(one.name_hash(), two.name_hash());
        assert_ne!(one, two);
        assert_ne!(
            one.name_hash(),
            fingerprint("Echo.shout(text: String) -> String").name_hash()
        );
    }

    #[test]
    fn a_comparison_names_the_lines_that_differ() {
        let text = compare(
            "S.m(p: P) -> ()\nstruct P {\n    a: u32,\n}",
            "S.m(p: P) -> ()\nstruct P {\n    a: u64,\n}",
        );
        assert!(
            text.ends_with("difference:\n    - a: u32,\n    + a: u64,"),
            "{text}"
        );
    }
}
