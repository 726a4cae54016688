//! What the macros accept and refuse: `tests/ui/fail` has one file per rule, with the exact words.

use std::process::Command;

/// The compiler whose words the files hold. Others say the same things in other words, so there only what is accepted is tested.
const COMPILER: &str = "rustc 1.95.";

#[test]
fn accepts_and_refuses_with_the_right_words() {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("--version").output().unwrap().stdout;
    let cases = trybuild::TestCases::new();
    cases.pass("tests/ui/pass/*.rs");
    if version.starts_with(COMPILER.as_bytes()) {
        cases.compile_fail("tests/ui/fail/*.rs");
    }
}
