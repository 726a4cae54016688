//! The texts of all errors: what is wrong; what to write instead.

use std::fmt::Display;

// Types, in messages and services.
pub(crate) const MACHINE_SIZED: &str =
    "the size of `usize` and `isize` depends on the machine; write `u64` or `u32`, `i64` or `i32`";
pub(crate) const REFERENCE_TO_STR: &str = "references do not cross the wire; write `String`";
pub(crate) const REFERENCE_TO_SLICE: &str = "references do not cross the wire; write `Vec<_>`";
pub(crate) const REFERENCE: &str = "references do not cross the wire; write the type without `&`";
pub(crate) const POINTER: &str = "pointers do not cross the wire; write the type itself, or `Box<_>`";
pub(crate) const FUNCTION: &str = "functions do not cross the wire; send the data that decides what to do";
pub(crate) const DYN: &str = "`dyn` types do not cross the wire; write an enum of the possible types";
pub(crate) const IMPL: &str = "`impl` types do not cross the wire; write the concrete type";
pub(crate) const INFER: &str = "the type has to be said; write it instead of `_`";
pub(crate) const NEVER: &str = "`!` does not cross the wire; leave the type out, or write an enum";
pub(crate) const MACRO_TYPE: &str = "the macro does not see what this expands to; write the type";
pub(crate) const SELF_TYPE: &str =
    "`Self` is the service and does not cross the wire; write the name of a message";
pub(crate) const LIFETIME: &str =
    "borrowed data does not cross the wire; write an owned type, without a lifetime";
pub(crate) const ARCHIVED_OWNED: &str =
    "archived values can only be borrowed; write `&Archived<T>` as the whole type of an argument, or `T`";

pub(crate) fn shared(name: impl Display) -> String {
    format!("`{name}` is about sharing memory and does not cross the wire; write the type inside it")
}

// Channels; `end` is `Sender` or `Receiver`.
pub(crate) const METHOD_CHANNELS: &str =
    "a method has at most 8 channels; send an enum of what goes the same way on one of them";

pub(crate) fn channel_place(end: impl Display) -> String {
    format!("channels are parameters of methods; write `rows: {end}<T>` there")
}

pub(crate) fn channel_reference(end: impl Display) -> String {
    format!("a channel is taken by value; write `rows: {end}<T>`")
}

pub(crate) fn channel_item(end: impl Display) -> String {
    format!("a channel has items of one type; write `rows: {end}<T>`")
}

// Messages.
pub(crate) const MESSAGE_ITEM: &str = "`#[message]` is for structs and enums";
pub(crate) const MESSAGE_ARGUMENT: &str = "unknown argument of `#[message]`; there is `max_depth = 32`";
pub(crate) const MESSAGE_GENERICS: &str =
    "a message has no type parameters, its signature names concrete types; write one message per type";
pub(crate) const MESSAGE_LIFETIME: &str = "a message owns its fields; write owned types, without a lifetime";
pub(crate) const MESSAGE_WHERE: &str =
    "a message has no type parameters, so there is nothing to say here; remove the clause";
pub(crate) const MESSAGE_UNION: &str = "what a union holds is not known from its bytes; write an enum";
pub(crate) const MESSAGE_NO_VARIANTS: &str = "an enum without variants has no values to send; add a variant";
pub(crate) const MESSAGE_VARIANTS: &str =
    "an enum on the wire has at most 256 variants; split it into enums within an enum";
pub(crate) const MESSAGE_DISCRIMINANT: &str = "variants are numbered in the order of declaration; remove the value, and send an integer if it means something";
pub(crate) const MESSAGE_RKYV: &str = "`#[message]` decides how the type is archived; remove the attribute";
pub(crate) const MESSAGE_RKYV_DERIVE: &str = "`#[message]` derives rkyv's traits; remove the derive";
pub(crate) const MESSAGE_REPR: &str =
    "`#[message]` decides the layout on the wire, and no other matters; remove the attribute";
pub(crate) const MESSAGE_CFG: &str = "a field or variant that exists in some builds only makes their signatures differ; put `#[cfg]` on the whole type";
pub(crate) const MAX_DEPTH_RANGE: &str = "`max_depth` is 1 to 64, as in `#[message(max_depth = 32)]`";

pub(crate) fn recursive(name: impl Display) -> String {
    format!("`{name}` contains itself: state how deep it may be nested, `#[message(max_depth = 32)]`")
}

// Services: the trait.
pub(crate) const SERVICE_ITEM: &str = "`#[service]` is for traits";
pub(crate) const SERVICE_ARGUMENT: &str = "unknown argument of `#[service]`; there is `name = \"Other\"`";
pub(crate) const SERVICE_NAME: &str =
    "the name on the wire consists of letters, digits and `_`, and does not begin with a digit";
pub(crate) const SERVICE_GENERICS: &str =
    "a service has no type parameters, its signatures name concrete types; write one trait per type";
pub(crate) const SERVICE_WHERE: &str =
    "a service has no type parameters; write a supertrait behind `:` instead of a `where` clause";
pub(crate) const SERVICE_UNSAFE: &str = "calling a service is always safe; remove `unsafe`";
pub(crate) const SERVICE_AUTO: &str = "an auto trait has no methods; remove `auto`";
pub(crate) const SERVICE_EMPTY: &str = "a service has at least one method; write one";
pub(crate) const SERVICE_ASSOCIATED_TYPE: &str =
    "a service has methods only; write the concrete type where it is used";
pub(crate) const SERVICE_ASSOCIATED_CONST: &str =
    "a service has methods only; write a method that returns the value";
pub(crate) const SERVICE_MEMBER: &str = "a service has methods only; write an `async fn` or a `fn`";

// Services: methods.
pub(crate) const METHOD_GENERICS: &str =
    "a method has no type parameters, its signature names concrete types; write one method per type";
pub(crate) const METHOD_LIFETIME: &str = "lifetimes are worked out by the macro; leave them out";
pub(crate) const METHOD_WHERE: &str =
    "a method has no type parameters, so there is nothing to say here; remove the clause";
pub(crate) const METHOD_CONST: &str = "a call is not a constant; remove `const`";
pub(crate) const METHOD_UNSAFE: &str = "calling a service is always safe; remove `unsafe`";
pub(crate) const METHOD_EXTERN: &str = "calls have no ABI; remove `extern`";
pub(crate) const METHOD_VARIADIC: &str = "a method has a fixed number of arguments; write a `Vec<_>`";
pub(crate) const METHOD_BODY: &str =
    "methods are implemented by the server; end the line with `;`, and put shared code into a function";
pub(crate) const METHOD_CFG: &str =
    "a method that exists in some builds only changes the service; put `#[cfg]` on the whole trait";
pub(crate) const METHOD_DUPLICATE: &str = "two methods of the same name; give one of them another name";
pub(crate) const METHOD_NO_RECEIVER: &str =
    "a method works on a running service; write `&self` as its first parameter";
pub(crate) const METHOD_RECEIVER: &str =
    "a service is shared by its calls; write `&self`, and use a lock or atomics to change it";
pub(crate) const METHOD_ARGUMENTS: &str = "a method has at most 12 arguments; put some into a message";

pub(crate) fn reserved(name: impl Display) -> String {
    format!("the generated client has a function `{name}` of its own; give the method another name")
}

// Services: parameters and return types.
pub(crate) const PARAMETER_PATTERN: &str =
    "a parameter's name is part of the signature; write a name instead of a pattern";
pub(crate) const PARAMETER_ATTRIBUTE: &str = "attributes on parameters have no effect; remove it";
pub(crate) const PARAMETER_MUT: &str = "an argument is a value that arrived, not a place to write to; write it without `mut`, and return the result";
pub(crate) const PARAMETER_REFERENCE: &str =
    "in place only archived values can be read; write `&Archived<T>` to borrow, or `T` to own it";
pub(crate) const PARAMETER_SLICE: &str =
    "in place only archived values can be read; write `&[Archived<T>]` to borrow, or `Vec<T>` to own it";
pub(crate) const CONTEXT_PLACE: &str = "the context comes first; write it right behind `&self`";
pub(crate) const CONTEXT_OWNED: &str = "the context is borrowed; write `cx: &Context`";
pub(crate) const RETURN_MUT: &str = "what is returned is only read; write `&` without `mut`";
pub(crate) const RETURN_RESULT: &str =
    "the error is part of the signature; write `Result<T, E>` with both types";

// Attributes of methods.
pub(crate) const RPC_KEY: &str = "unknown option; there are `idempotent`, `oneway` and `timeout = \"2s\"`";
pub(crate) const RPC_TWICE: &str = "this option is given twice; remove one";
pub(crate) const RPC_FLAG: &str = "this option has no value; write its name alone, or leave it out";
pub(crate) const ONEWAY_RETURN: &str =
    "nobody waits for the reply of a one-way method; remove the return type, or `oneway`";
pub(crate) const ONEWAY_CHANNEL: &str = "a one-way call has ended for its caller once it was sent, and channels end with their call; remove the channel, or `oneway`";
pub(crate) const RPC_TIMEOUT: &str =
    "a timeout is a positive whole number with a unit; write \"250ms\", \"2s\" or \"1m\"";
