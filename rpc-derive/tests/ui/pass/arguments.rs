//! Every shape of argument, called as clients do.

use std::collections::BTreeMap;

use rpc_core::{Archived, Call, Caller, Context, message, service};

#[message]
pub struct Profile {
    pub name: String,
}

#[service]
pub trait Arguments {
    async fn none(&self);
    async fn context(&self, cx: &Context);
    async fn text(&self, cx: &Context, text: &str);
    async fn block(&self, block: &[u8]);
    async fn in_place(&self, profile: &Archived<Profile>);
    async fn in_place_by_path(&self, profile: &rpc_core::Archived<Vec<Profile>>);
    async fn slice_in_place(&self, profiles: &[Archived<Profile>], numbers: &[Archived<u64>]);
    async fn owned(&self, profile: Profile, profiles: Vec<Profile>, map: BTreeMap<String, u8>);
    async fn scalars(&self, a: bool, b: char, c: f64, d: u8, e: i128);
    async fn containers(&self, a: Option<String>, b: Result<u8, String>, c: (u8, [u16; 3]), d: ());
    fn on_workers(&self, cx: &Context, text: &str, own: String);
    async fn r#raw(&self, r#type: u8);
}

pub fn call<C: Caller>(client: &ArgumentsClient<C>, profile: &Profile, profiles: &Vec<Profile>) -> Call<C, ()> {
    let _ = client.none();
    let _ = client.context();
    let _ = client.text("text");
    let _ = client.block(b"block");
    let _ = client.in_place(profile);
    let _ = client.in_place_by_path(profiles);
    let _ = client.slice_in_place(profiles, &[1, 2]);
    let _ = client.owned(profile, profiles, &BTreeMap::new());
    let _ = client.scalars(true, 'a', 1.0, 2, 3);
    let _ = client.containers(&None, &Ok(1), &(1, [1, 2, 3]), &());
    let _ = client.on_workers("text", &"text".to_owned());
    client.raw(7)
}

fn main() {}
