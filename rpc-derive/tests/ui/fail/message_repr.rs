use rpc_core::message;


#[message]
#[repr(C, packed)]
struct Packed {
    a: u8,
    b: u32,
}

#[message]
#[repr(u16)]
enum Wide {
    One,
}

fn main() {}
