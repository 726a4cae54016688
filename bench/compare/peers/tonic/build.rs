//! Generates client and server from the description; needs `protoc`.

fn main() -> std::io::Result<()> {
    // `Bytes` instead of `Vec<u8>` where it is large: bodies are sent from, and received into, shared memory.
    tonic_prost_build::configure()
        .bytes(".bench.Body")
        .compile_protos(&["bench.proto"], &["."])
}
