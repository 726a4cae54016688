//! Generates client and server from the description.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    Ok(volo_build::Builder::thrift()
        .add_service("bench.thrift")
        .write()?)
}
