use rpc_core::service;


#[service]
struct Directory;

fn main() {}
