use rpc_core::{Receiver, Sender, service};


#[service]
trait Directory {
    #[rustfmt::skip]
    async fn many(
        &self, a: Sender<u8>, b: Sender<u8>, c: Receiver<u8>, d: u8, e: Sender<u8>, f: Sender<u8>,
        g: Receiver<u8>, h: Sender<u8>, i: Sender<u8>, j: u8, k: Receiver<u8>, l: Sender<u8>,
    );
}

fn main() {}
