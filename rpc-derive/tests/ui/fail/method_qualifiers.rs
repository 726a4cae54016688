use rpc_core::service;


#[service]
trait Directory {
    const fn constant(&self) -> u32;
    unsafe fn dangerous(&self) -> u32;
    extern "C" fn foreign(&self) -> u32;
}

fn main() {}
