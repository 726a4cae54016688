use std::collections::HashMap;

use rpc_core::message;

#[message]
struct Outer {
    weights: HashMap<Option<u8>, u32>,
}

fn main() {}
