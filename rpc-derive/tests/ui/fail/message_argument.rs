use rpc_core::message;


#[message(depth = 3)]
struct Unknown;

#[message(max_depth)]
struct WithoutValue;

fn main() {}
