//! Where fulmar keeps its own state: one directory a source, named after its path.

use crate::cli::Shared;
use crate::exit::{Failure, Result};
use fulmar_model::escape;
use fulmar_tree::{Tree, hash_bytes};
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Staged files are open until they are visible, a few batches of them; many systems grant more than the default only
/// when asked.
pub fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

/// Text of a path for messages.
pub fn shown(path: &Path) -> String {
    escape(path.as_os_str().as_bytes()).to_string()
}

/// A name, as [`shown`], as a word for a shell: what a hint tells to paste must reach fulmar as it is.
pub fn pasted(shown: &str) -> String {
    // Only what could not be printed was escaped, in a way that shells with `$'...'` read.
    if shown.contains('\\') {
        return format!("$'{}'", shown.replace('\'', "\\'"));
    }
    fulmar_link::shell_quote(shown.as_ref()).to_string_lossy().into_owned()
}

/// A command to paste: `fulmar WORDS...`, with the options that let it find the same state and socket.
pub fn command(shared: &Shared, words: &str) -> String {
    let option = |name: &str, value: &Option<PathBuf>| match value {
        // It may be pasted elsewhere.
        Some(path) => {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            format!(" {name} {}", pasted(&shown(&path)))
        }
        None => String::new(),
    };
    let (state, control) = (option("--state-dir", &shared.state_dir), option("--control", &shared.control));
    format!("fulmar {words}{state}{control}")
}

/// The source's real path; an error names what is wrong with it.
pub fn source(given: &Path) -> Result<PathBuf> {
    let real = std::fs::canonicalize(given).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Failure::usage(format!("source {} does not exist", shown(given)))
            .hint("name the directory that is to be replicated first, its replicas after it"),
        _ => Failure::usage(format!("source {}: {error}", shown(given))),
    })?;
    if !real.is_dir() {
        return Err(Failure::usage(format!("source {} is not a directory", shown(given)))
            .hint(format!("replicate the directory it is in: {}", shown(real.parent().unwrap_or(Path::new("/"))))));
    }
    Ok(real)
}

/// The state directory as given, or the default.
pub fn base(shared: &Shared) -> Result<PathBuf> {
    if let Some(given) = &shared.state_dir {
        return std::path::absolute(given).map_err(Failure::failed);
    }
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from("/var/lib/fulmar"));
    }
    let from = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    from("XDG_STATE_HOME")
        .or_else(|| Some(from("HOME")?.join(".local/state")))
        .map(|base| base.join("fulmar"))
        .ok_or_else(|| Failure::usage("no place for state: neither --state-dir, XDG_STATE_HOME nor HOME is set"))
}

/// Directory of the state of one source.
pub fn of_tree(base: &Path, source: &Path) -> PathBuf {
    let name = source.file_name().map(|name| name.as_bytes().to_vec()).unwrap_or_default();
    let plain: String = name
        .iter()
        .filter(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        .take(40)
        .map(|b| char::from(*b))
        .collect();
    let digest = hash_bytes(source.as_os_str().as_bytes()).short();
    base.join("trees").join(format!("{}-{digest}", plain.trim_start_matches('.')))
}

/// Makes the directory of a source's state, after checking that it is not inside the source or a replica of this machine.
pub fn create<'a>(base: &Path, source: &Path, replicas: impl Iterator<Item = &'a Path>) -> Result<PathBuf> {
    if let Some(holder) = holder(base, source, replicas)? {
        return Err(Failure::usage(format!("the state directory {} is inside the {holder}", shown(base)))
            .hint("put it elsewhere: --state-dir /var/lib/fulmar"));
    }
    let path = of_tree(base, source);
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(|error| {
        let failure = anyhow::Error::new(error).context(format!("create the state directory {}", shown(&path)));
        Failure::failed(failure).hint("choose a place you may write to: --state-dir ~/.local/state/fulmar")
    })?;
    // For `status` without an argument: which source this is.
    std::fs::write(path.join("source"), source.as_os_str().as_bytes()).map_err(Failure::failed)?;
    Ok(path)
}

/// What a path is in, or would be: "source", or "replica" of this machine.
pub fn holder<'a>(
    base: &Path,
    source: &Path,
    mut replicas: impl Iterator<Item = &'a Path>,
) -> Result<Option<&'static str>> {
    let existing = base.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let source_root = std::fs::metadata(source).map_err(Failure::failed)?;
    let tree = Tree::open(existing).map_err(Failure::failed)?;
    let device = |d: fulmar_model::Device| rustix::fs::makedev(d.major, d.minor);
    let inside = tree.ancestors().map_err(Failure::failed)?;
    let is_inside =
        |root: &Metadata| inside.iter().any(|above| (device(above.device), above.inode) == (root.dev(), root.ino()));
    // A replica that does not exist has nothing inside yet: only its name tells.
    let is_replica = |path: &Path| std::fs::metadata(path).map_or(base.starts_with(path), |root| is_inside(&root));
    if is_inside(&source_root) {
        return Ok(Some("source"));
    }
    Ok(replicas.any(is_replica).then_some("replica"))
}

/// The control socket of the tree that `fulmar COMMAND` speaks of.
pub fn control(shared: &Shared, tree: Option<&Path>, command: &str) -> Result<PathBuf> {
    if let Some(given) = &shared.control {
        return Ok(given.clone());
    }
    let base = base(shared)?;
    let Some(tree) = tree else { return the_only_one(shared, &base, command) };
    // The source may be gone; that is when one asks.
    let real = std::fs::canonicalize(tree).or_else(|_| std::path::absolute(tree)).map_err(Failure::failed)?;
    let socket = of_tree(&base, &real).join("control.sock");
    if crate::control::listens(&socket) == Some(false) {
        Err(not_followed(shared, &base, &real, command))
    } else {
        Ok(socket)
    }
}

/// The control socket of the tree that a path is in.
pub fn control_of(shared: &Shared, path: &Path, command: &str) -> Result<PathBuf> {
    let base = base(shared)?;
    let trees = running(&base)?;
    // Of sources inside one another the innermost.
    let found =
        trees.iter().filter(|(source, _)| path.starts_with(source)).max_by_key(|(source, _)| source.as_os_str().len());
    match found {
        Some((_, socket)) => Ok(socket.clone()),
        None if trees.is_empty() => the_only_one(shared, &base, command),
        None => Err(Failure::usage(format!("{} is in no source that is followed", shown(path)))
            .hint(format!("list what is followed: {}", self::command(shared, "status")))),
    }
}

fn the_only_one(shared: &Shared, base: &Path, command: &str) -> Result<PathBuf> {
    let running = running(base)?;
    match &running[..] {
        [(_, socket)] => Ok(socket.clone()),
        [] => Err(Failure::failed(anyhow::anyhow!("no fulmar follow is running (looked in {})", shown(base)))
            .hint(format!("start one: {}", self::command(shared, START)))),
        many => {
            let names: Vec<_> = many.iter().map(|(source, _)| shown(source)).collect();
            Err(Failure::usage(format!("more than one tree is followed: {}", names.join(", "))).hint(format!(
                "name one of them: {}",
                self::command(shared, &format!("{command} {}", pasted(&names[0])))
            )))
        }
    }
}

fn not_followed(shared: &Shared, base: &Path, tree: &Path, command: &str) -> Failure {
    let paste = |words: &str| self::command(shared, words);
    let hint = match running(base).as_deref() {
        Ok([(source, _)]) => format!("this one is: {}", paste(&format!("{command} {}", pasted(&shown(source))))),
        Ok([_, _, ..]) => format!("list what is followed: {}", paste("status")),
        _ if tree.is_dir() => {
            format!("start it: {}", paste(&format!("follow {} REPLICA", pasted(&shown(tree)))))
        }
        _ => format!("start one: {}", paste(START)),
    };
    Failure::failed(anyhow::anyhow!("{} is not followed (looked in {})", shown(tree), shown(base))).hint(hint)
}

/// Sources that are followed at the moment, and their sockets.
pub fn running(base: &Path) -> Result<Vec<(PathBuf, PathBuf)>> {
    let directory = base.join("trees");
    let trees = match std::fs::read_dir(&directory) {
        Ok(trees) => trees,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            let failure =
                anyhow::Error::new(error).context(format!("look for what is followed in {}", shown(&directory)));
            return Err(Failure::failed(failure).hint(SAME_USER));
        }
    };
    let mut found = Vec::new();
    for tree in trees.flatten() {
        let socket = tree.path().join("control.sock");
        if crate::control::listens(&socket) == Some(true) {
            let source = std::fs::read(tree.path().join("source")).unwrap_or_default();
            found.push((PathBuf::from(std::ffi::OsStr::from_bytes(&source)), socket));
        }
    }
    found.sort();
    Ok(found)
}

/// What `status`, `wait` and `approve` need.
const START: &str = "follow SOURCE REPLICA";
/// What helps where the state or its socket may not be read.
pub const SAME_USER: &str = "run it as the user that runs fulmar follow";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_pasted_means_the_same_to_a_shell() {
        for name in ["/srv/www", "/srv/my www", "/it's", "/a\nb\u{1b}[2J'", "/back\\slash", "/$HOME `id`"] {
            let script = format!("printf %s {}", pasted(&shown(Path::new(name))));
            let said = std::process::Command::new("bash").args(["-c", &script]).output().expect("a shell");
            assert_eq!(String::from_utf8_lossy(&said.stdout), name, "{script}");
        }
    }
}
