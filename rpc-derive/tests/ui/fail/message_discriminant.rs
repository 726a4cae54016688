use rpc_core::message;


#[message]
enum Level {
    Low = 1,
    High = 10,
}

fn main() {}
