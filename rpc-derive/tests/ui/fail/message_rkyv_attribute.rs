use rpc_core::message;


#[message]
#[derive(rkyv::Archive)]
#[rkyv(compare(PartialEq))]
struct Profile {
    #[rkyv(with = Skip)]
    name: String,
}

fn main() {}
