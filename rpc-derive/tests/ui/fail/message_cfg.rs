use rpc_core::message;


#[message]
struct Profile {
    name: String,
    #[cfg(feature = "score")]
    score: f64,
}

#[message]
enum Choice {
    One,
    #[cfg(unix)]
    Two,
}

fn main() {}
