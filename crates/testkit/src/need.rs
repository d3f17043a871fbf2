//! What a test needs from the machine it runs on.
//!
//! A developer's machine may lack a program or root's powers: the test says that it is skipped and passes. In CI
//! (`CI=true`) a test that cannot run is a failure, so nothing is skipped for ever without anybody knowing.

use std::path::PathBuf;

/// Whether `program` can be run. Says `skipped: …` when not; panics when `CI=true`.
pub fn need(program: &str) -> bool {
    find(program).is_some() || skipped(&format!("{program} is not installed"))
}

/// Whether the test runs as root, which `what` needs. Same policy as [`need`].
pub fn need_root(what: &str) -> bool {
    is_root() || skipped(&format!("{what} needs root"))
}

/// Whether the effective user is root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The full path of `program`, wherever administrators have it.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let sbin = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    // A program that is given with its full path stays as it is.
    let mut places = std::env::split_paths(&path).chain(sbin).map(|directory| directory.join(program));
    places.find(|place| place.is_file())
}

/// Says `skipped: …` with the reason; panics when `CI=true`. Always `false`: the test cannot run.
pub fn skipped(why: &str) -> bool {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "this test cannot run in CI: {why}");
    eprintln!("skipped: {why}");
    false
}
