use rpc_core::message;


#[message]
struct Page<T> {
    items: Vec<T>,
}

#[message]
struct Text<'a> {
    text: Box<Name<'a>>,
}

#[message]
struct Block<const N: usize> {
    bytes: [u8; N],
}

#[message]
struct Bounded
where
    u8: Copy,
{
    field: u8,
}

fn main() {}
