use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use rpc_core::{Archived, message};

#[message]
struct Everything {
    count: usize,
    offset: Option<isize>,
    text: &'static str,
    block: &'static [u8],
    number: &'static u32,
    shared: Arc<String>,
    counted: Rc<String>,
    cell: RefCell<u32>,
    locked: HashMap<String, Mutex<u32>>,
    pointer: *const u8,
    function: fn(u32) -> u32,
    dynamic: Box<dyn ToString>,
    borrowed: std::borrow::Cow<'static, str>,
    archived: Archived<String>,
}

fn main() {}
