//! Generated code means what it says, whatever the names around it mean.

#![allow(
    dead_code,
    non_camel_case_types,
    clippy::unwrap_used,
    reason = "the names are there to be in the way, and handlers are part of the test"
)]

mod support;

mod shadowed {
    //! A module in which no common name has its common meaning.

    pub(crate) struct Vec;
    pub(crate) struct Option;
    pub(crate) struct Some;
    pub(crate) struct None;
    pub(crate) struct Ok;
    pub(crate) struct Err;
    pub(crate) struct Box;
    pub(crate) struct Arc;
    pub(crate) struct Future;
    pub(crate) struct Send;
    pub(crate) struct Sync;
    pub(crate) struct Clone;
    pub(crate) struct Debug;
    pub(crate) struct Default;
    pub(crate) struct Wire;
    pub(crate) struct Encoder;
    pub(crate) struct Call;
    pub(crate) struct Caller;
    pub(crate) struct Dispatch;
    pub(crate) struct Archive;
    pub(crate) struct Serialize;
    pub(crate) struct Deserialize;
    pub(crate) struct Drop;
    pub(crate) struct From;
    pub(crate) struct Into;
    pub(crate) struct Fn;
    pub(crate) struct Iterator;
    pub(crate) struct Opening;
    pub(crate) struct StreamCall;
    pub(crate) struct UserChannels;
    pub(crate) struct PartialEq;
    pub(crate) mod core {}
    pub(crate) mod std {}
    pub(crate) mod alloc {}
    pub(crate) mod rkyv {}
    pub(crate) mod rpc_core {}

    /// Messages with the names of common types, and of the type parameters that the macro would like to use.
    #[::rpc_core::message]
    pub(crate) struct String {
        pub(crate) bytes: ::std::vec::Vec<u8>,
        pub(crate) text: ::std::string::String,
    }

    #[::rpc_core::message]
    pub(crate) enum Result {
        Ok(u8),
        Err(C),
    }

    #[::rpc_core::message]
    #[derive(::core::fmt::Debug)]
    pub(crate) struct C(pub(crate) u8);

    #[::rpc_core::message]
    pub(crate) struct S {
        pub(crate) call: u8,
        pub(crate) reply: u8,
        pub(crate) encoder: u8,
        pub(crate) resolver: u8,
        pub(crate) out: u8,
    }

    /// Messages with the names of the ends of channels: without type arguments they are messages like others.
    #[::rpc_core::message]
    #[derive(::core::fmt::Debug)]
    pub(crate) struct Sender {
        pub(crate) name: ::std::string::String,
    }

    #[::rpc_core::message]
    #[derive(::core::fmt::Debug)]
    pub(crate) struct Receiver(pub(crate) u8);

    /// Names that the derives of rkyv use for themselves.
    #[::rpc_core::message]
    pub(crate) struct Tag(u8);

    #[::rpc_core::message]
    pub(crate) enum VariantTag {
        Tag(Tags, [Discriminant; 2]),
        Variant {
            tag: Tag,
            discriminant: ::core::option::Option<Discriminant>,
        },
        Discriminant,
    }

    #[::rpc_core::message]
    pub(crate) enum Discriminant {
        Zero,
        One,
    }

    #[::rpc_core::message]
    pub(crate) enum Tags {
        Tag(Tag),
        Tags(::std::vec::Vec<Tag>),
    }

    #[::rpc_core::message(max_depth = 3)]
    pub(crate) struct Tree {
        pub(crate) trees: ::std::vec::Vec<Self>,
    }

    #[::rpc_core::service]
    pub(crate) trait Service {
        async fn echo(&self, text: String) -> Result;
        async fn strings(&self, arguments: &str, reply: &[u8]) -> ::core::result::Result<&str, C>;
        fn parameters(&self, c: C, s: &::rpc_core::Archived<S>) -> ::core::option::Option<S>;
        async fn names(
            &self,
            call: u8,
            service: u8,
            caller: u8,
            returned: u8,
            error: u8,
            owned_0: u8,
        ) -> Tree;
        async fn letter(&self, from: Sender, to: Receiver) -> Receiver;
        async fn channels(
            &self,
            opening: u8,
            ends: ::rpc_core::Sender<Sender>,
            channels: &str,
            channel_0: ::rpc_core::Receiver<C>,
            call: ::rpc_core::Sender<String>,
            reply: u8,
        ) -> Receiver;
        async fn fmt(&self, f: u8) -> u8;
        async fn dispatch(&self) -> u8;
        #[expect(clippy::wrong_self_convention, reason = "a name that the server has, too")]
        fn from_arc(&self) -> u8;
    }
}

use std::sync::Arc;

use rpc_core::{Archived, Receiver, Sender};

struct Server;

impl shadowed::Service for Server {
    async fn echo(&self, text: shadowed::String) -> shadowed::Result {
        text.bytes
            .first()
            .map_or(shadowed::Result::Err(shadowed::C(1)), |byte| {
                shadowed::Result::Ok(*byte)
            })
    }

    async fn strings(&self, arguments: &str, reply: &[u8]) -> Result<&str, shadowed::C> {
        if arguments.len() == reply.len() {
            Ok("equal")
        } else {
            Err(shadowed::C(2))
        }
    }

    fn parameters(&self, c: shadowed::C, s: &Archived<shadowed::S>) -> Option<shadowed::S> {
        Some(shadowed::S {
            call: c.0,
            reply: s.reply,
            encoder: s.encoder,
            resolver: s.resolver,
            out: s.out,
        })
    }

    async fn names(
        &self,
        call: u8,
        service: u8,
        caller: u8,
        returned: u8,
        error: u8,
        owned_0: u8,
    ) -> shadowed::Tree {
        let trees = 0..call + service + caller + returned + error + owned_0;
        shadowed::Tree {
            trees: trees.map(|_| shadowed::Tree { trees: vec![] }).collect(),
        }
    }

    async fn letter(&self, from: shadowed::Sender, to: shadowed::Receiver) -> shadowed::Receiver {
        shadowed::Receiver(to.0 + from.name.bytes().next().map_or(0, |byte| byte - b'a'))
    }

    async fn channels(
        &self,
        opening: u8,
        mut ends: Sender<shadowed::Sender>,
        channels: &str,
        mut channel_0: Receiver<shadowed::C>,
        call: Sender<shadowed::String>,
        reply: u8,
    ) -> shadowed::Receiver {
        call.finish().unwrap();
        let name = channels.to_owned();
        ends.send(&shadowed::Sender { name }).await.unwrap();
        let received = channel_0.recv().await.unwrap().unwrap();
        shadowed::Receiver(opening + reply + received.0)
    }

    async fn fmt(&self, f: u8) -> u8 {
        f
    }

    async fn dispatch(&self) -> u8 {
        8
    }

    fn from_arc(&self) -> u8 {
        9
    }
}

#[test]
fn calls_work_where_all_names_are_taken() {
    let server = shadowed::ServiceServer::from_arc(Arc::new(Server));
    let client = shadowed::ServiceClient::new(support::InProcess::new(server));
    let text = shadowed::String {
        bytes: vec![5],
        text: "text".to_owned(),
    };
    assert!(matches!(
        support::run(client.echo(&text).owned()),
        Ok(shadowed::Result::Ok(5))
    ));
    assert_eq!(
        support::run(client.strings("two", b"two")).unwrap().as_str(),
        "equal"
    );
    let s = shadowed::S {
        call: 1,
        reply: 2,
        encoder: 3,
        resolver: 4,
        out: 5,
    };
    let returned = support::run(client.parameters(&shadowed::C(7), &s).owned())
        .unwrap()
        .unwrap();
    assert_eq!((returned.call, returned.out), (7, 5));
    assert_eq!(
        support::run(client.names(1, 0, 1, 0, 1, 0)).unwrap().trees.len(),
        3
    );
    let from = shadowed::Sender { name: "f".to_owned() };
    assert_eq!(
        support::run(client.letter(&from, &shadowed::Receiver(4)))
            .unwrap()
            .0,
        9
    );
    assert_eq!(support::run(client.fmt(3).owned()), Ok(3));
    assert_eq!(support::run(client.dispatch().owned()), Ok(8));
    assert_eq!(support::run(client.from_arc().owned()), Ok(9));
    assert_eq!(
        shadowed::ServiceClient::descriptor().methods[0]
            .signature
            .lines()
            .next(),
        Some("Service.echo(text: String) -> Result")
    );
}

#[test]
fn channels_work_where_all_names_are_taken() {
    let server = shadowed::ServiceServer::from_arc(Arc::new(Server));
    let client = shadowed::ServiceClient::new(support::InProcess::new(server));
    let received = support::bridge::block_on(async {
        let opening = client.channels(1, "channels", 2);
        let (mut ends, mut channel_0, mut call, running) = opening.open().await.unwrap();
        assert_eq!(ends.recv().await.unwrap().unwrap().name.as_str(), "channels");
        assert!(call.recv().await.unwrap().is_none());
        channel_0.send(&shadowed::C(4)).await.unwrap();
        running.await.unwrap().0
    });
    assert_eq!(received, 7);
}
