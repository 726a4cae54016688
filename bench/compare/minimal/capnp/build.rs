//! Generates the service from its description; needs `capnp`.

fn main() -> capnp::Result<()> {
    capnpc::CompilerCommand::new().file("adder.capnp").run()
}
