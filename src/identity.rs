//! Random and derived identities, and what this machine calls itself.

use fulmar_model::{Id, TreeId};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// 128 random bits.
pub fn random() -> Id {
    let mut bytes = [0; 16];
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    assert_eq!(filled.ok(), Some(bytes.len()), "Linux always gives 16 random bytes once it has booted");
    Id(bytes)
}

/// 64 random bits.
pub fn random_number() -> u64 {
    let Id(bytes) = random();
    let mut half = [0; 8];
    half.copy_from_slice(&bytes[..8]);
    u64::from_be_bytes(half)
}

/// Identity of the tree at a path of this machine. Derived, not stored: losing the state directory must not make the
/// replicas strangers.
pub fn tree(source: &Path) -> TreeId {
    let machine = std::fs::read("/etc/machine-id").unwrap_or_else(|_| {
        // Containers may have none; the host name tells them apart.
        host()
    });
    let seed = [b"fulmar tree\n", &*machine, b"\n", source.as_os_str().as_bytes()].concat();
    let mut id = [0; 16];
    id.copy_from_slice(&fulmar_tree::hash_bytes(&seed).0[..16]);
    TreeId(Id(id))
}

/// The kernel's boot id; zero where it cannot be read, which matches no other machine's.
pub fn boot() -> Id {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    Id::parse(text.trim()).unwrap_or_else(|_| random())
}

/// What this machine calls itself.
pub fn host() -> Vec<u8> {
    rustix::system::uname().nodename().to_bytes().to_vec()
}

/// Milliseconds since 1970.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
