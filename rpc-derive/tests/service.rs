//! Services: every shape of argument and return value goes there and back through client, dispatcher and user's method.

mod support;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rpc_core::service::RunsOn;
use rpc_core::{
    Archived, CallError, CallFailure, Code, Context, Dispatch, FailureKind, MethodId, message, service,
};

use crate::support::{InProcess, answer, archive, assert_spawnable, run};

#[message]
#[derive(Clone, Debug, PartialEq)]
struct Profile {
    name: String,
    tags: Vec<String>,
    score: f64,
}

#[message]
#[derive(Clone, Debug, PartialEq, Eq)]
enum LookupError {
    Busy { retry_after: Duration },
    Gone(u32, String),
    Missing,
}

/// A service with every shape, as `async fn` and as `fn`.
#[service]
#[expect(clippy::too_many_arguments, reason = "as many as there can be")]
trait Shapes {
    async fn nothing(&self);
    fn nothing_on_workers(&self);
    async fn context(&self, cx: &Context) -> bool;
    fn context_on_workers(&self, cx: &Context, text: &str) -> String;

    async fn text(&self, text: &str) -> String;
    async fn block(&self, block: &[u8]) -> u64;
    async fn in_place(&self, profile: &Archived<Profile>) -> String;
    async fn slice_in_place(&self, profiles: &[Archived<Profile>]) -> u64;
    async fn owned(&self, profile: Profile) -> Profile;
    async fn scalar(&self, number: u64, letter: char) -> (u64, char);
    async fn container(&self, map: HashMap<String, Vec<u32>>, pair: (u8, Option<String>)) -> Vec<u32>;
    fn all(
        &self,
        text: &str,
        block: &[u8],
        profile: &Archived<Profile>,
        profiles: &[Archived<Profile>],
        own: Profile,
        number: i128,
        r#type: Box<str>,
    ) -> String;
    async fn twelve(
        &self,
        a: u8,
        b: u8,
        c: u8,
        d: u8,
        e: u8,
        f: u8,
        g: u8,
        h: u8,
        i: u8,
        j: u8,
        k: u8,
        l: &str,
    ) -> u32;

    async fn by_reference(&self, key: &str) -> &Profile;
    fn text_by_reference(&self) -> &str;
    async fn slice_by_reference(&self) -> &[Profile];
    async fn shared(&self) -> Arc<Profile>;
    async fn shared_text(&self) -> Arc<str>;
    fn shared_slice(&self) -> Arc<[Profile]>;

    async fn fallible(&self, code: u8) -> Result<Profile, LookupError>;
    async fn fallible_nothing(&self, code: u8) -> Result<(), LookupError>;
    async fn fallible_reference(&self, code: u8) -> Result<&Profile, LookupError>;
    fn fallible_text(&self, code: u8) -> Result<&str, LookupError>;
    async fn fallible_slice(&self, code: u8) -> Result<&[Profile], LookupError>;
    fn fallible_shared(&self, code: u8) -> Result<Arc<Profile>, LookupError>;
    async fn r#match(&self) -> u8;
}

struct Store {
    profiles: Vec<Profile>,
    shared: Arc<Profile>,
}

fn ada() -> Profile {
    Profile {
        name: "ada lovelace".into(),
        tags: vec!["first".into(), "programmer".into()],
        score: 1.5,
    }
}

fn error(code: u8) -> Result<(), LookupError> {
    match code {
        0 => Ok(()),
        1 => Err(LookupError::Missing),
        2 => Err(LookupError::Busy {
            retry_after: Duration::from_millis(20),
        }),
        _ => Err(LookupError::Gone(code.into(), "long gone by now".into())),
    }
}

impl Shapes for Store {
    async fn nothing(&self) {}

    fn nothing_on_workers(&self) {}

    async fn context(&self, cx: &Context) -> bool {
        std::future::ready(()).await;
        cx.is_cancelled()
    }

    fn context_on_workers(&self, cx: &Context, text: &str) -> String {
        format!("{} {text}", cx.peer().address)
    }

    async fn text(&self, text: &str) -> String {
        std::future::ready(()).await;
        text.to_uppercase()
    }

    async fn block(&self, block: &[u8]) -> u64 {
        block.iter().map(|byte| u64::from(*byte)).sum()
    }

    async fn in_place(&self, profile: &Archived<Profile>) -> String {
        std::future::ready(()).await;
        profile.name.as_str().to_owned()
    }

    async fn slice_in_place(&self, profiles: &[Archived<Profile>]) -> u64 {
        std::future::ready(()).await;
        profiles.iter().map(|profile| profile.tags.len() as u64).sum()
    }

    async fn owned(&self, profile: Profile) -> Profile {
        std::future::ready(()).await;
        profile
    }

    async fn scalar(&self, number: u64, letter: char) -> (u64, char) {
        (number, letter)
    }

    async fn container(&self, map: HashMap<String, Vec<u32>>, pair: (u8, Option<String>)) -> Vec<u32> {
        map.get(&pair.1.unwrap_or_default()).cloned().unwrap_or_default()
    }

    fn all(
        &self,
        text: &str,
        block: &[u8],
        profile: &Archived<Profile>,
        profiles: &[Archived<Profile>],
        own: Profile,
        number: i128,
        r#type: Box<str>,
    ) -> String {
        let counts = (block.len(), profiles.len());
        format!(
            "{text} {counts:?} {} {} {number} {type}",
            profile.name.as_str(),
            own.name
        )
    }

    async fn twelve(
        &self,
        a: u8,
        b: u8,
        c: u8,
        d: u8,
        e: u8,
        f: u8,
        g: u8,
        h: u8,
        i: u8,
        j: u8,
        k: u8,
        l: &str,
    ) -> u32 {
        let bytes = [a, b, c, d, e, f, g, h, i, j, k];
        bytes.map(u32::from).iter().sum::<u32>() + l.parse::<u32>().unwrap_or(0)
    }

    async fn by_reference(&self, key: &str) -> &Profile {
        std::future::ready(()).await;
        self.profiles
            .iter()
            .find(|profile| profile.name == key)
            .unwrap_or(&self.shared)
    }

    fn text_by_reference(&self) -> &str {
        &self.shared.name
    }

    async fn slice_by_reference(&self) -> &[Profile] {
        &self.profiles
    }

    async fn shared(&self) -> Arc<Profile> {
        Arc::clone(&self.shared)
    }

    async fn shared_text(&self) -> Arc<str> {
        "shared text".into()
    }

    fn shared_slice(&self) -> Arc<[Profile]> {
        self.profiles.as_slice().into()
    }

    async fn fallible(&self, code: u8) -> Result<Profile, LookupError> {
        error(code).map(|()| ada())
    }

    async fn fallible_nothing(&self, code: u8) -> Result<(), LookupError> {
        error(code)
    }

    async fn fallible_reference(&self, code: u8) -> Result<&Profile, LookupError> {
        error(code).map(|()| &*self.shared)
    }

    fn fallible_text(&self, code: u8) -> Result<&str, LookupError> {
        error(code).map(|()| self.shared.name.as_str())
    }

    async fn fallible_slice(&self, code: u8) -> Result<&[Profile], LookupError> {
        error(code).map(|()| self.profiles.as_slice())
    }

    fn fallible_shared(&self, code: u8) -> Result<Arc<Profile>, LookupError> {
        error(code).map(|()| Arc::clone(&self.shared))
    }

    async fn r#match(&self) -> u8 {
        7
    }
}

fn server() -> ShapesServer<Store> {
    ShapesServer::new(Store {
        profiles: profiles(),
        shared: Arc::new(ada()),
    })
}

fn profiles() -> Vec<Profile> {
    ["grace hopper", "anita borg"]
        .map(|name| Profile {
            name: name.into(),
            ..ada()
        })
        .into()
}

fn client() -> ShapesClient<InProcess<ShapesServer<Store>>> {
    ShapesClient::new(InProcess::new(server()))
}

/// Makes a call, as a task of its own, and takes its value.
macro_rules! call {
    ($($call:tt)*) => { run(assert_spawnable(client().$($call)*.owned())) };
}

#[test]
fn arguments_of_every_shape_arrive() {
    let others = [ada(), ada()];
    assert_eq!(call!(nothing()), Ok(()));
    assert_eq!(call!(nothing_on_workers()), Ok(()));
    assert_eq!(
        call!(text("a text that is long")),
        Ok("A TEXT THAT IS LONG".to_owned())
    );
    assert_eq!(call!(block(&[1, 2, 3])), Ok(6));
    assert_eq!(call!(in_place(&ada())), Ok(ada().name));
    assert_eq!(call!(slice_in_place(&others)), Ok(4));
    assert_eq!(call!(owned(&ada())), Ok(ada()));
    assert_eq!(call!(scalar(1 << 40, 'ß')), Ok((1 << 40, 'ß')));
    let map = HashMap::from([("key".to_owned(), vec![1, 2])]);
    assert_eq!(call!(container(&map, &(0, Some("key".into())))), Ok(vec![1, 2]));
    let all = call!(all("text", b"block", &ada(), &others, &ada(), -1, &"box".into()));
    assert_eq!(all.unwrap(), "text (5, 2) ada lovelace ada lovelace -1 box");
    assert_eq!(call!(twelve(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, "12")), Ok(78));
    assert_eq!(call!(r#match()), Ok(7));
}

#[test]
fn the_context_is_handed_over_beside_the_arguments() {
    assert_eq!(call!(context()), Ok(false));
    assert_eq!(
        call!(context_on_workers("text")),
        Ok("in-process text".to_owned())
    );
}

#[test]
fn values_of_every_shape_come_back() {
    assert_eq!(call!(by_reference("anita borg")).unwrap().name, "anita borg");
    assert_eq!(call!(text_by_reference()), Ok(ada().name));
    assert_eq!(call!(slice_by_reference()), Ok(profiles()));
    assert_eq!(call!(shared()), Ok(ada()));
    assert_eq!(call!(shared_text()), Ok("shared text".to_owned()));
    assert_eq!(call!(shared_slice()), Ok(profiles()));
    assert_eq!(call!(fallible(0)), Ok(ada()));
    assert_eq!(call!(fallible_nothing(0)), Ok(()));
    assert_eq!(call!(fallible_reference(0)), Ok(ada()));
    assert_eq!(call!(fallible_text(0)), Ok(ada().name));
    assert_eq!(call!(fallible_slice(0)), Ok(profiles()));
    assert_eq!(call!(fallible_shared(0)), Ok(ada()));
}

#[test]
fn errors_of_the_method_come_back_as_such() {
    assert_eq!(call!(fallible(1)), Err(CallError::Method(LookupError::Missing)));
    let busy = LookupError::Busy {
        retry_after: Duration::from_millis(20),
    };
    assert_eq!(call!(fallible_nothing(2)), Err(CallError::Method(busy.clone())));
    assert_eq!(call!(fallible_text(2)), Err(CallError::Method(busy)));
    let gone = LookupError::Gone(3, "long gone by now".into());
    assert_eq!(call!(fallible_reference(3)), Err(CallError::Method(gone.clone())));
    assert_eq!(call!(fallible_slice(3)), Err(CallError::Method(gone.clone())));
    assert_eq!(call!(fallible_shared(3)), Err(CallError::Method(gone)));
}

#[test]
fn replies_are_read_in_place() {
    let reply = run(client().fallible(0)).unwrap();
    let range = reply.as_bytes().as_ptr_range();
    assert_eq!(reply.name.as_str(), "ada lovelace");
    assert!(range.contains(&reply.name.as_str().as_ptr()));
}

#[service]
trait Addresses {
    async fn addresses(
        &self,
        text: &str,
        block: &[u8],
        value: &Archived<Profile>,
        values: &[Archived<Profile>],
    ) -> Vec<u64>;
    fn addresses_on_workers(&self, text: &str, block: &[u8]) -> Vec<u64>;
}

struct Here;

impl Addresses for Here {
    async fn addresses(
        &self,
        text: &str,
        block: &[u8],
        value: &Archived<Profile>,
        values: &[Archived<Profile>],
    ) -> Vec<u64> {
        let addresses = [
            text.as_ptr().addr(),
            block.as_ptr().addr(),
            value.name.as_ptr().addr(),
            values.as_ptr().addr(),
        ];
        addresses.map(|address| address as u64).into()
    }

    fn addresses_on_workers(&self, text: &str, block: &[u8]) -> Vec<u64> {
        [text.as_ptr().addr() as u64, block.as_ptr().addr() as u64].into()
    }
}

#[test]
fn borrowed_arguments_point_into_the_bytes_of_the_call() {
    let dispatch = AddressesServer::new(Here);
    let text = "a text that is long".to_owned();
    let arguments = archive(&(text.clone(), vec![7_u8; 100], ada(), vec![ada()])).unwrap();
    let on_workers = archive(&(text, vec![7_u8; 100])).unwrap();
    for (method, arguments) in [(0, arguments), (1, on_workers)] {
        // Aligned as in a receive buffer, so dispatching copies nothing.
        let arguments = support::aligned(&arguments);
        let range = arguments.as_ptr_range();
        let range = range.start.addr() as u64..range.end.addr() as u64;
        let reply = answer(&dispatch, method, arguments).unwrap();
        let addresses = rpc_core::Archive::<Vec<u64>>::validate(reply.body)
            .unwrap()
            .deserialize()
            .unwrap();
        assert!(
            addresses.iter().all(|address| range.contains(address)),
            "{addresses:x?} in {range:x?}"
        );
    }
}

/// P-37
#[test]
fn arguments_that_are_no_archive_are_refused_and_the_method_does_not_run() {
    let refused = |method: &str, bytes: Vec<u8>| {
        let index = ShapesClient::descriptor()
            .methods
            .iter()
            .position(|served| served.name == method);
        answer(&server(), index.unwrap(), support::aligned(&bytes)).unwrap_err()
    };
    for method in ["text", "all", "owned", "nothing_on_workers"] {
        let failure = refused(method, vec![0xff; 48]);
        assert_eq!(failure.code(), Some(Code::INVALID_ARCHIVE), "{method}");
        assert!(!failure.may_have_run());
    }
    // A valid archive of a pair, out of which the map cannot be read: its keys are in the wrong order (P-73).
    let entries = vec![("b".to_owned(), vec![0_u32]), ("a".to_owned(), vec![])];
    let arguments = archive(&(entries, (0_u8, None::<String>))).unwrap();
    assert_eq!(
        refused("container", arguments).code(),
        Some(Code::INVALID_ARCHIVE)
    );
}

#[test]
fn a_method_index_out_of_range_is_a_failure() {
    let failure = answer(&server(), usize::MAX, Bytes::new()).unwrap_err();
    assert_eq!(failure.code(), Some(Code::UNKNOWN_METHOD));
}

#[test]
fn client_and_server_can_be_cloned_and_printed() {
    let server = AddressesServer::from_arc(Arc::new(Here));
    let client = AddressesClient::new(InProcess::new(server.clone()));
    assert_eq!(format!("{server:?}"), "AddressesServer { .. }");
    assert_eq!(
        format!("{:?}", client.caller()),
        "InProcess(AddressesServer { .. })"
    );
    let clients = [client.clone(), client];
    assert_eq!(
        format!("{:?}", clients[0]),
        "AddressesClient { caller: InProcess(AddressesServer { .. }) }"
    );
}

mod versions {
    //! A service before and after a change: one method has changed, one is new, one is as before.

    pub(crate) mod one {
        use rpc_core::{message, service};

        #[message]
        pub(crate) struct Profile {
            pub(crate) name: String,
        }

        #[service]
        pub(crate) trait Directory {
            async fn lookup(&self, name: &str) -> Option<Profile>;
            fn digest(&self, block: &[u8]) -> u64;
        }
    }

    pub(crate) mod two {
        use rpc_core::{message, service};

        #[message]
        pub(crate) struct Profile {
            pub(crate) name: String,
            pub(crate) score: f64,
        }

        #[service(name = "Directory")]
        pub(crate) trait DirectoryOfToday {
            async fn count(&self) -> u64;
            async fn lookup(&self, name: &str) -> Option<Profile>;
            async fn digest(&self, block: Vec<u8>) -> u64;
        }
    }
}

fn ids(descriptor: &rpc_core::ServiceDescriptor) -> HashMap<&'static str, MethodId> {
    descriptor
        .methods
        .iter()
        .map(|method| (method.name, method.id))
        .collect()
}

/// P-62, P-38
#[test]
fn methods_that_did_not_change_keep_their_ids() {
    let one = ids(versions::one::DirectoryClient::descriptor());
    let two = ids(versions::two::DirectoryOfTodayClient::descriptor());
    assert_eq!(
        one["digest"], two["digest"],
        "how an argument is taken and where the handler runs is not on the wire"
    );
    assert_ne!(one["lookup"], two["lookup"]);
    assert_eq!(one["lookup"].name_hash(), two["lookup"].name_hash());
    assert!(!one.contains_key("count"));
}

#[service]
trait Options {
    #[rpc(idempotent)]
    async fn idempotent(&self);
    #[rpc(timeout = "250ms")]
    fn quick(&self);
    #[rpc(idempotent, timeout = "1m")]
    #[deprecated = "there is a quicker one"]
    async fn slow(&self);
    async fn plain(&self);
}

#[test]
fn options_are_in_the_descriptor() {
    let methods = &OptionsClient::descriptor().methods;
    let options: Vec<_> = methods
        .iter()
        .map(|method| (method.idempotent, method.timeout, method.runs_on))
        .collect();
    let expected = [
        (true, None, RunsOn::Connection),
        (false, Some(Duration::from_millis(250)), RunsOn::Workers),
        (true, Some(Duration::from_secs(60)), RunsOn::Connection),
        (false, None, RunsOn::Connection),
    ];
    assert_eq!(options, expected);
}

#[test]
fn a_client_of_another_version_is_told_that_the_method_is_unknown() {
    let client = OptionsClient::new(InProcess::new(server()));
    let error = run(client.plain()).unwrap_err();
    assert_eq!(
        error.failure().map(CallFailure::kind),
        Some(FailureKind::UnknownMethod)
    );
}

#[test]
fn a_service_can_be_declared_in_a_function() {
    #[service]
    trait Local {
        async fn double(&self, number: u32) -> u32;
    }
    struct Twice;
    impl Local for Twice {
        async fn double(&self, number: u32) -> u32 {
            number * 2
        }
    }
    let server = LocalServer::new(Twice);
    assert_eq!(server.descriptor().name, "Local");
    assert_eq!(
        run(LocalClient::new(InProcess::new(server)).double(4).owned()),
        Ok(8)
    );
}
