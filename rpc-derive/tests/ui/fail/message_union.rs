use rpc_core::message;


#[message]
union Number {
    integer: u32,
    float: f32,
}

fn main() {}
