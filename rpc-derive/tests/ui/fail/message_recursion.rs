use rpc_core::message;


#[message]
struct Tree {
    label: String,
    children: Vec<Tree>,
}

#[message]
enum List {
    End,
    Node(u32, Option<Box<Self>>),
}

fn main() {}
