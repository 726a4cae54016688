//! Generates the service from its description.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    Ok(volo_build::Builder::thrift()
        .add_service("adder.thrift")
        .write()?)
}
