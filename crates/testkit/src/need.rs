//! What a test needs from the machine it runs on.
//!
//! A developer's machine may lack a program or root's powers: the test says that it is skipped and passes. In CI
//! (`CI=true`) a test that cannot run is a failure, so nothing is skipped for ever without anybody knowing.

/// Whether `program` can be run. Says `skipped: …` when not; panics when `CI=true`.
pub fn need(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let sbin = ["/usr/sbin", "/sbin"].map(std::path::PathBuf::from);
    let found = program.starts_with('/') && std::path::Path::new(program).exists()
        || std::env::split_paths(&path).chain(sbin).any(|directory| directory.join(program).is_file());
    found || skipped(&format!("{program} is not installed"))
}

/// Whether the test runs as root, which `what` needs. Same policy as [`need`].
pub fn need_root(what: &str) -> bool {
    is_root() || skipped(&format!("{what} needs root"))
}

/// Whether the effective user is root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn skipped(why: &str) -> bool {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "this test cannot run in CI: {why}");
    eprintln!("skipped: {why}");
    false
}
