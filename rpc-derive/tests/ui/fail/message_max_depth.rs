use rpc_core::message;


#[message(max_depth = 0)]
struct Flat;

#[message(max_depth = 65)]
struct Deep;

#[message(max_depth = 99999999999)]
struct TooDeepToCount;

#[message(max_depth = "8")]
struct Text;

fn main() {}
