//! Signatures and ids of generated methods, pinned: whatever moves one of them breaks every client that is in use.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use rpc_core::{Archived, Context, MethodDescriptor, Receiver, Sender, ServiceDescriptor, message, service};

#[message]
pub(crate) struct Profile {
    name: String,
    tags: Vec<String>,
    score: f64,
}

#[message]
pub(crate) enum LookupError {
    Busy { retry_after: Duration },
    Gone(u32, String),
    Missing,
}

#[message(max_depth = 32)]
pub(crate) struct Tree {
    label: String,
    children: Vec<Self>,
    notes: BTreeMap<String, Note>,
}

#[message(max_depth = 32)]
pub(crate) enum Note {
    Text(Box<str>),
    About(Box<Tree>),
}

mod old {
    /// A namesake of another type.
    #[rpc_core::message]
    pub(crate) struct Profile {
        pub(crate) name: String,
    }
}

#[service]
trait Directory {
    async fn lookup(&self, name: &str) -> Result<Profile, LookupError>;
    fn digest(&self, block: &[u8]) -> u64;
    async fn put(&self, cx: &Context, profile: &Archived<Profile>) -> Result<(), LookupError>;
    async fn migrate(&self, old: &[Archived<old::Profile>], new: Profile) -> Arc<old::Profile>;
    async fn plant(&self, tree: Tree) -> &Tree;
    async fn nothing(&self);
}

#[service(name = "Types")]
trait EveryType {
    async fn names(&self, r#type: Box<str>, bytes: Bytes, map: HashMap<u32, bool>, set: BTreeSet<String>);
    async fn times(&self, span: Duration, moment: SystemTime) -> ((), (u8,), [i64; 3]);
    fn slice(&self) -> &[Option<char>];
}

#[service(name = "Directory")]
trait WithChannels {
    async fn scan(&self, prefix: &str, rows: Sender<Profile>) -> u64;
    fn import(&self, cx: &Context, r#in: Receiver<Vec<u8>>, dry: bool, out: Sender<(u8, String)>);
    async fn both(&self, from: Receiver<old::Profile>, into: Sender<Profile>) -> Result<(), LookupError>;
    #[rpc(oneway)]
    async fn notify(&self, profile: &Archived<old::Profile>);
    #[rpc(oneway)]
    fn tell(&self, text: &str);
}

fn method<'a>(service: &'a ServiceDescriptor, name: &str) -> &'a MethodDescriptor {
    service
        .methods
        .iter()
        .find(|method| method.name == name)
        .expect("method exists")
}

fn assert_pinned(service: &ServiceDescriptor, pinned: &[(&str, u64, &str)]) {
    for (name, id, signature) in pinned {
        let method = method(service, name);
        assert_eq!(method.signature, *signature);
        assert_eq!(method.id.0, *id, "{name}: {:#018x}", method.id.0);
    }
    assert_eq!(service.methods.len(), pinned.len());
}

/// P-60, P-61. The numbers were worked out a second time from the specification alone.
#[test]
fn signatures_and_ids_are_pinned() {
    assert_pinned(
        DirectoryClient::descriptor(),
        &[
            ("lookup", 0xbb1b_588a_3d69_caf4, LOOKUP),
            (
                "digest",
                0x24a8_da8f_bd2a_ff29,
                "Directory.digest(block: Vec<u8>) -> u64",
            ),
            ("put", 0x48a3_01c5_8a24_70bd, PUT),
            ("migrate", 0xb298_88ea_8ae9_302c, MIGRATE),
            ("plant", 0x705d_9ae0_1f1b_f0a8, PLANT),
            ("nothing", 0x866e_3bcb_2b25_bc79, "Directory.nothing() -> ()"),
        ],
    );
}

/// P-60, P-61
#[test]
fn types_are_written_as_what_they_are_on_the_wire() {
    assert_pinned(
        EveryTypeClient::descriptor(),
        &[
            (
                "names",
                0x5c03_9e84_56a9_9e94,
                "Types.names(type: String, bytes: Vec<u8>, map: Map<u32, bool>, set: Set<String>) -> ()",
            ),
            (
                "times",
                0x23cf_2ed7_e83a_d82f,
                "Types.times(span: Duration, moment: SystemTime) -> ((), (u8,), [i64; 3])",
            ),
            (
                "slice",
                0xca9a_715b_9ba7_15b5,
                "Types.slice() -> Vec<Option<char>>",
            ),
        ],
    );
}

/// P-60, P-61
#[test]
fn channels_are_listed_in_their_place_and_one_way_methods_say_so() {
    assert_pinned(
        WithChannelsClient::descriptor(),
        &[
            ("scan", 0xa8c5_77cc_3522_8e2b, SCAN),
            (
                "import",
                0xf05f_6530_4fb6_e8dd,
                "Directory.import(in: Receiver<Vec<u8>>, dry: bool, out: Sender<(u8, String)>) -> ()",
            ),
            ("both", 0x5d65_9b4e_83da_4016, BOTH),
            ("notify", 0x1122_a7c7_2ddc_c7ea, NOTIFY),
            (
                "tell",
                0xb1df_793c_a98d_22fc,
                "Directory.tell(text: String) -> () oneway",
            ),
        ],
    );
}

const SCAN: &str = "Directory.scan(prefix: String, rows: Sender<Profile>) -> u64
struct Profile {
    name: String,
    tags: Vec<String>,
    score: f64,
}";

const BOTH: &str =
    "Directory.both(from: Receiver<Profile>, into: Sender<Profile#2>) -> Result<(), LookupError>
struct Profile {
    name: String,
}
struct Profile#2 {
    name: String,
    tags: Vec<String>,
    score: f64,
}
enum LookupError {
    Busy { retry_after: Duration },
    Gone(u32, String),
    Missing,
}";

const NOTIFY: &str = "Directory.notify(profile: Profile) -> () oneway
struct Profile {
    name: String,
}";

const LOOKUP: &str = "Directory.lookup(name: String) -> Result<Profile, LookupError>
struct Profile {
    name: String,
    tags: Vec<String>,
    score: f64,
}
enum LookupError {
    Busy { retry_after: Duration },
    Gone(u32, String),
    Missing,
}";

const PUT: &str = "Directory.put(profile: Profile) -> Result<(), LookupError>
struct Profile {
    name: String,
    tags: Vec<String>,
    score: f64,
}
enum LookupError {
    Busy { retry_after: Duration },
    Gone(u32, String),
    Missing,
}";

const MIGRATE: &str = "Directory.migrate(old: Vec<Profile>, new: Profile#2) -> Profile
struct Profile {
    name: String,
}
struct Profile#2 {
    name: String,
    tags: Vec<String>,
    score: f64,
}";

const PLANT: &str = "Directory.plant(tree: Tree) -> Tree
struct Tree(max_depth = 32) {
    label: String,
    children: Vec<Tree>,
    notes: Map<String, Note>,
}
enum Note(max_depth = 32) {
    Text(String),
    About(Box<Tree>),
}";
