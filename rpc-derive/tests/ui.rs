//! What the macros accept and refuse: `tests/ui/fail` has one file per rule, with the exact words.

/// The texts of the compiler differ between its versions: they are those of the toolchain that the project pins.
#[test]
fn accepts_and_refuses_with_the_right_words() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/ui/pass/*.rs");
    cases.compile_fail("tests/ui/fail/*.rs");
}
