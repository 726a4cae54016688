use rpc_core::message;


#[message]
fn function() {}

fn main() {}
