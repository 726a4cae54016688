//! Messages: every kind of field goes there and back, signatures and depths are as stated.

mod support;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use rpc_core::schema::Schema;
use rpc_core::{ArchiveError, EncodeError, Wire, message};

use crate::support::{archive, read, round_trip};

#[message]
#[derive(Clone, Debug, PartialEq)]
struct Scalars {
    flag: bool,
    letter: char,
    small: (u8, i8),
    u: (u16, u32, u64, u128),
    i: (i16, i32, i64, i128),
    f: (f32, f64),
    count: NonZeroU32,
}

#[message]
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Everything {
    pub(crate) scalars: Scalars,
    pub(crate) text: String,
    pub(crate) boxed_text: Box<str>,
    pub(crate) list: Vec<String>,
    pub(crate) nested: Vec<Vec<u32>>,
    pub(crate) slice: Box<[u64]>,
    pub(crate) boxed: Box<Scalars>,
    pub(crate) maybe: Option<Box<u64>>,
    pub(crate) outcome: Result<u8, String>,
    pub(crate) pair: (u8, String),
    pub(crate) single: (u64,),
    pub(crate) array: [u32; 3],
    pub(crate) texts: [String; 2],
    pub(crate) hash_map: HashMap<String, Vec<u8>>,
    pub(crate) tree_map: BTreeMap<u32, Choice>,
    pub(crate) hash_set: HashSet<u64>,
    pub(crate) tree_set: BTreeSet<String>,
    pub(crate) bytes: Bytes,
    pub(crate) span: Duration,
    pub(crate) moment: SystemTime,
    pub(crate) address: IpAddr,
    pub(crate) socket: SocketAddr,
    pub(crate) unit: (),
    pub(crate) choices: Vec<Choice>,
    pub(crate) r#type: Nothing,
}

#[message]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    Nothing,
    Tuple(u32, String),
    Struct {
        retry_after: Duration,
        r#match: Option<String>,
    },
    Inner(Point),
}

#[message]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Point(i64, i64);

#[message]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Nothing;

fn scalars() -> Scalars {
    Scalars {
        flag: true,
        letter: 'ß',
        small: (255, -128),
        u: (u16::MAX, u32::MAX, u64::MAX, u128::MAX),
        i: (i16::MIN, i32::MIN, i64::MIN, i128::MIN),
        f: (1.5, -0.25),
        count: NonZeroU32::MIN,
    }
}

fn choices() -> Vec<Choice> {
    vec![
        Choice::Nothing,
        Choice::Tuple(7, "seven".into()),
        Choice::Struct {
            retry_after: Duration::from_millis(5),
            r#match: Some("a longer text".into()),
        },
        Choice::Inner(Point(-1, 1)),
    ]
}

fn everything() -> Everything {
    Everything {
        scalars: scalars(),
        text: "a text that is longer than eight bytes".into(),
        boxed_text: "short".into(),
        list: vec!["one".into(), "a second and longer one".into()],
        nested: vec![vec![1, 2], vec![], vec![3]],
        slice: vec![1, 2, 3].into(),
        boxed: Box::new(scalars()),
        maybe: Some(Box::new(1 << 40)),
        outcome: Err("wrong".into()),
        pair: (1, "pair".into()),
        single: (9,),
        array: [1, 2, 3],
        texts: ["a".into(), "b".into()],
        hash_map: [("k".to_owned(), vec![1, 2]), ("another".to_owned(), vec![])].into(),
        tree_map: (1..).zip(choices()).collect(),
        hash_set: [3, 1, 2].into(),
        tree_set: ["x".to_owned(), "y".to_owned()].into(),
        bytes: Bytes::from_static(b"some bytes"),
        span: Duration::new(3, 999_999_999),
        moment: SystemTime::UNIX_EPOCH - Duration::from_nanos(1),
        address: IpAddr::V6(Ipv6Addr::LOCALHOST),
        socket: SocketAddr::from((Ipv4Addr::LOCALHOST, 80)),
        unit: (),
        choices: choices(),
        r#type: Nothing,
    }
}

/// P-70
#[test]
fn every_kind_of_field_goes_there_and_back() {
    assert_eq!(round_trip(&everything()), everything());
    assert_eq!(round_trip(&Nothing), Nothing);
}

/// P-70
#[test]
fn fields_are_read_in_place_under_their_own_names() {
    let bytes = archive(&everything()).unwrap();
    read::<Everything, _>(&bytes, |archived: &ArchivedEverything| {
        assert_eq!(archived.text.as_str(), everything().text);
        assert_eq!(archived.scalars.small.0, 255);
        assert_eq!(archived.hash_map.get("k").unwrap().as_slice(), [1, 2]);
        assert!(archived.hash_set.contains(&3));
        assert_eq!(archived.r#type, ArchivedNothing);
        assert!(matches!(&archived.choices[1], ArchivedChoice::Tuple(number, text) if *number == 7 && text == "seven"));
        assert!(matches!(&archived.choices[2], ArchivedChoice::Struct { r#match, .. } if r#match.is_some()));
    })
    .unwrap();
}

#[test]
fn derived_traits_are_on_the_archived_form_too() {
    let bytes = archive(&Choice::Tuple(7, "seven".into())).unwrap();
    let same = read::<Choice, _>(&bytes, |one| {
        assert_eq!(format!("{one:?}"), "Tuple(7, \"seven\")");
        one == one && *one != ArchivedChoice::Nothing
    });
    assert!(same.unwrap());
}

#[test]
fn depth_is_that_of_the_deepest_field() {
    assert_eq!(<Scalars as Wire>::DEPTH, 0);
    assert_eq!(<Nothing as Wire>::DEPTH, 0);
    assert_eq!(<Choice as Wire>::DEPTH, 1);
    assert_eq!(<Everything as Wire>::DEPTH, 2);
}

#[message]
pub(crate) struct One {
    a: u32,
}

#[message(max_depth = 4)]
#[derive(Clone, Debug, PartialEq, Eq)]
struct Tree {
    label: String,
    children: Vec<Self>,
}

/// The same bytes as `Tree`, and deeper.
#[message(max_depth = 64)]
struct DeepTree {
    label: String,
    children: Vec<Self>,
}

/// Long enough to lie out of line.
const LONG: &str = "more than eight bytes";

fn tree(levels: u32) -> Tree {
    let children = if levels == 0 {
        vec![]
    } else {
        vec![tree(levels - 1), tree(0)]
    };
    Tree {
        label: LONG.into(),
        children,
    }
}

fn deep_tree(levels: u32) -> DeepTree {
    let children = if levels == 0 {
        vec![]
    } else {
        vec![deep_tree(levels - 1), deep_tree(0)]
    };
    DeepTree {
        label: LONG.into(),
        children,
    }
}

#[message(max_depth = 8)]
#[derive(Clone, Debug, PartialEq)]
struct Node {
    value: u8,
    next: Option<Box<Self>>,
}

#[message(max_depth = 16)]
#[derive(Clone, Debug, PartialEq)]
enum Json {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Self>),
    Object(BTreeMap<String, Self>),
}

#[message(max_depth = 6)]
#[derive(Clone, Debug, PartialEq)]
struct Folder {
    name: String,
    entries: Vec<Entry>,
}

#[message(max_depth = 6)]
#[derive(Clone, Debug, PartialEq)]
enum Entry {
    File(String),
    Folder(Box<Folder>),
}

fn list(length: u8) -> Node {
    Node {
        value: length,
        next: (length > 1).then(|| Box::new(list(length - 1))),
    }
}

fn folders(levels: u32) -> Folder {
    let entry = if levels == 0 {
        Entry::File("f".into())
    } else {
        Entry::Folder(Box::new(folders(levels - 1)))
    };
    Folder {
        name: "d".into(),
        entries: vec![entry],
    }
}

#[test]
fn recursive_messages_go_there_and_back() {
    assert_eq!(round_trip(&tree(3)), tree(3));
    assert_eq!(round_trip(&list(9)), list(9));
    let json = Json::Object(BTreeMap::from([
        (
            "a".into(),
            Json::List(vec![
                Json::Null,
                Json::Bool(true),
                Json::Number(0.5),
                Json::Text(LONG.into()),
            ]),
        ),
        (
            "b".into(),
            Json::Object(BTreeMap::from([("c".into(), Json::List(vec![]))])),
        ),
    ]));
    assert_eq!(round_trip(&json), json);
}

#[test]
fn messages_that_contain_each_other_go_there_and_back() {
    assert_eq!(round_trip(&folders(2)), folders(2));
}

/// P-71: what a side sends is exactly what the other accepts.
#[test]
fn a_value_at_the_stated_depth_is_sent_and_accepted_and_a_deeper_one_is_neither() {
    assert_eq!(<Tree as Wire>::DEPTH, 4);
    // A tree of n levels nests n + 1 lists, the innermost of them empty.
    let hostile = archive(&deep_tree(3)).unwrap();
    assert_eq!(read::<Tree, _>(&hostile, |_| ()), Ok(()));
    assert_eq!(archive(&tree(3)), Ok(hostile));

    let hostile = archive(&deep_tree(4)).unwrap();
    assert_eq!(read::<Tree, _>(&hostile, |_| ()), Err(ArchiveError::Invalid));
    assert_eq!(archive(&tree(4)), Err(EncodeError::TooDeep { limit: 4 }));
}

fn lists(levels: u32, innermost: Json) -> Json {
    if levels == 0 {
        innermost
    } else {
        Json::List(vec![lists(levels - 1, innermost)])
    }
}

/// P-71: a short text lies within its value, a long one is one level deeper. P-70
#[test]
fn values_that_lie_in_place_do_not_count() {
    assert_eq!(
        round_trip(&lists(16, Json::Text("in place".into()))),
        lists(16, Json::Text("in place".into()))
    );
    assert_eq!(
        round_trip(&lists(15, Json::Text(LONG.into()))),
        lists(15, Json::Text(LONG.into()))
    );
    assert_eq!(
        archive(&lists(16, Json::Text(LONG.into()))),
        Err(EncodeError::TooDeep { limit: 16 })
    );
    assert_eq!(
        archive(&lists(17, Json::Null)),
        Err(EncodeError::TooDeep { limit: 16 })
    );
}

/// P-71
#[test]
fn a_cycle_of_types_shares_its_depth() {
    // Each folder nests a list and a box.
    assert!(archive(&folders(2)).is_ok());
    assert_eq!(archive(&folders(3)), Err(EncodeError::TooDeep { limit: 6 }));
}

/// P-71: a recursive value may itself be nested in something else.
#[test]
fn depth_is_counted_from_the_outermost_recursive_value() {
    let forest = vec![vec![tree(3), tree(3)], vec![]];
    assert_eq!(<Vec<Vec<Tree>> as Wire>::DEPTH, 6);
    assert_eq!(round_trip(&forest), forest);
    assert_eq!(archive(&vec![tree(4)]), Err(EncodeError::TooDeep { limit: 4 }));
}

fn signature_of<T: Wire>() -> String {
    rpc_core::schema::signature(
        "S",
        "m",
        &[("value", rpc_core::wire::describe::<T>)],
        <()>::describe,
        false,
    )
}

mod other {
    /// A namesake of another type.
    #[rpc_core::message]
    pub(crate) struct One {
        pub(crate) b: u64,
    }
}

/// P-60
#[test]
fn definitions_are_written_as_rust() {
    let expected = "S.m(value: (Choice, Nothing)) -> ()
enum Choice {
    Nothing,
    Tuple(u32, String),
    Struct { retry_after: Duration, match: Option<String> },
    Inner(Point),
}
struct Nothing;
struct Point(i64, i64);";
    assert_eq!(signature_of::<(Choice, Nothing)>(), expected);
}

/// P-60
#[test]
fn namesakes_are_numbered() {
    let expected = "S.m(value: (One, One#2, One)) -> ()
struct One {
    a: u32,
}
struct One#2 {
    b: u64,
}";
    assert_eq!(signature_of::<(One, other::One, One)>(), expected);
}

/// P-60
#[test]
fn the_stated_depth_is_part_of_the_signature() {
    let expected = "S.m(value: Json) -> ()
enum Json(max_depth = 16) {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Json>),
    Object(Map<String, Json>),
}";
    assert_eq!(signature_of::<Json>(), expected);
    let expected = "S.m(value: Folder) -> ()
struct Folder(max_depth = 6) {
    name: String,
    entries: Vec<Entry>,
}
enum Entry(max_depth = 6) {
    File(String),
    Folder(Box<Folder>),
}";
    assert_eq!(signature_of::<Folder>(), expected);
}

/// P-60: raw identifiers are written without `r#`.
#[test]
fn all_types_have_their_owned_names() {
    let mut schema = Schema::default();
    assert_eq!(Everything::describe(&mut schema), "Everything");
    let signature = signature_of::<Everything>();
    for line in [
        "boxed_text: String",
        "slice: Vec<u64>",
        "hash_map: Map<String, Vec<u8>>",
        "tree_map: Map<u32, Choice>",
        "hash_set: Set<u64>",
        "bytes: Vec<u8>",
        "outcome: Result<u8, String>",
        "texts: [String; 2]",
        "single: (u64,)",
        "type: Nothing",
        "unit: ()",
    ] {
        assert!(
            signature.contains(&format!("    {line},\n")),
            "{line} in\n{signature}"
        );
    }
}

#[test]
fn a_message_can_be_declared_in_a_function() {
    #[message]
    #[derive(Debug, PartialEq)]
    struct Local {
        text: String,
    }
    let local = Local { text: LONG.into() };
    assert_eq!(round_trip(&local), local);
}
