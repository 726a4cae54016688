use rpc_core::message;


struct Plain;

#[message]
struct Outer {
    name: String,
    plain: Option<Plain>,
}

#[message]
enum Choice {
    One(Plain),
}

fn main() {}
