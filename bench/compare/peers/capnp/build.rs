//! Generates client and server from the description; needs `capnp`.

fn main() -> capnp::Result<()> {
    capnpc::CompilerCommand::new().file("bench.capnp").run()
}
