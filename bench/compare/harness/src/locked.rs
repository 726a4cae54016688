//! Which version of a package `Cargo.lock` has.

/// The lock file that this was built with.
const LOCK: &str = include_str!("../../Cargo.lock");

/// The version of `package`; of several the newest, which comes last.
pub fn locked_version(package: &str) -> String {
    let name = format!("name = \"{package}\"\n");
    let entry = LOCK
        .split("[[package]]\n")
        .filter(|entry| entry.starts_with(&name))
        .last();
    let version = entry.and_then(|entry| entry.lines().find_map(|line| line.strip_prefix("version = ")));
    version.map_or_else(|| "?".to_owned(), |version| version.trim_matches('"').to_owned())
}
