//! Generates the service from its description; needs `protoc`.

fn main() -> std::io::Result<()> {
    tonic_prost_build::compile_protos("adder.proto")
}
