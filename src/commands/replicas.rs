//! From what was typed to the settings of a primary: every question that can be asked before anything is touched.

use crate::cli::{AuditArgs, IoPriority, Shared, Trees};
use crate::commands::rsh::{is_ssh, shell};
use crate::exit::{Failure, Result};
use crate::state::pasted;
use crate::{identity, state};
use fulmar_link::{Invocation, Link, shell_quote};
use fulmar_model::{Depth, Filter, QueueId, ReplicaId, escape};
use fulmar_primary::{AuditSettings, Endpoint, Error, Mode, Periodic, Settings, Target};
use fulmar_tree::audit::{Scope, readers};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A replica as typed.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Here(PathBuf),
    There { host: OsString, port: Option<u16>, path: OsString },
}

/// Everything a primary must be told.
pub fn settings(trees: &Trees, shared: &Shared, mode: Mode, settle: (Duration, Duration)) -> Result<Settings> {
    let source = state::source(&trees.source)?;
    let (filter, places) = (filter(trees)?, places(trees)?);
    let base = state::base(shared)?;
    let local = places.iter().filter_map(|(_, place)| match place {
        Place::Here(path) => Some(path.as_path()),
        Place::There { .. } => None,
    });
    let boot = identity::boot();
    // What is wrong with it is told before anything is made.
    shell(trees.rsh.as_deref())?;
    let directory = state::create(&base, &source, local)?;
    let endpoints = endpoints(places, trees, boot)?;
    Ok(Settings {
        tree: identity::tree(&source),
        source,
        state: directory,
        mode,
        endpoints,
        profile: trees.profile,
        patterns: patterns(trees),
        filter,
        adopt: trees.adopt,
        durability: trees.durability,
        delete: trees.delete,
        approve_removals: false,
        fresh_queue: QueueId(identity::random()),
        boot,
        privileged: rustix::process::geteuid().is_root(),
        clock: identity::now_ms,
        settle,
        periodic: Periodic { quick: None, deep: None, slice: Periodic::SLICE, rate: Periodic::RATE, random: 0 },
        advice: |name, error| hint(Some(name), error),
    })
}

/// The same for an audit, which makes nothing and has no state.
pub fn audit_settings(trees: &Trees, audit: &AuditArgs) -> Result<AuditSettings> {
    let source = state::source(&trees.source)?;
    let (filter, places) = (filter(trees)?, places(trees)?);
    let (boot, idle) = (identity::boot(), audit.io_priority == IoPriority::Idle);
    Ok(AuditSettings {
        scope: Scope::default(),
        source,
        endpoints: endpoints(places, trees, boot)?,
        profile: trees.profile,
        patterns: patterns(trees),
        filter,
        threads: readers(Depth::Deep, idle),
        rate: audit.rate,
        idle,
        boot,
        privileged: rustix::process::geteuid().is_root(),
    })
}

/// Replicas that are directories of this machine.
pub fn local(trees: &Trees) -> Result<Vec<PathBuf>> {
    let here = |(_, place)| match place {
        Place::Here(path) => Some(path),
        Place::There { .. } => None,
    };
    Ok(places(trees)?.into_iter().filter_map(here).collect())
}

fn patterns(trees: &Trees) -> Vec<Box<[u8]>> {
    trees.exclude.iter().map(|pattern| pattern.as_bytes().into()).collect()
}

fn filter(trees: &Trees) -> Result<Filter> {
    let patterns = trees.exclude.iter().map(|pattern| pattern.as_bytes());
    Filter::new(trees.profile, patterns)
        .map_err(|error| Failure::usage(error).hint("the syntax is that of gitignore(5): --exclude '*.tmp'"))
}

fn places(trees: &Trees) -> Result<Vec<(String, Place)>> {
    let mut places = Vec::new();
    for given in &trees.replica {
        places.push((escape(given.as_bytes()).to_string(), place(given)?));
    }
    refuse_doubles(&places)?;
    refuse_nested(&places)?;
    Ok(places)
}

fn endpoints(places: Vec<(String, Place)>, trees: &Trees, boot: fulmar_model::Id) -> Result<Vec<Endpoint>> {
    let endpoint = |(name, place)| Ok(Endpoint { name, target: target(place, trees, boot)? });
    places.into_iter().map(endpoint).collect()
}

/// Options of a replica served by this process.
pub fn serving(boot: fulmar_model::Id) -> fulmar_replica::Options {
    fulmar_replica::Options {
        fresh: ReplicaId(identity::random()),
        boot,
        clock: identity::now_ms,
        privileged: rustix::process::geteuid().is_root(),
        host: identity::host,
    }
}

fn target(place: Place, trees: &Trees, boot: fulmar_model::Id) -> Result<Target> {
    Ok(match place {
        Place::Here(path) => {
            let options = serving(boot);
            let runtime = tokio::runtime::Handle::current();
            Target::Here(Arc::new(move |link: Link, lender| {
                let path = path.clone();
                runtime.spawn(async move {
                    // The primary is told over the link; here it is only worth a word in the log.
                    if let Err(error) = fulmar_replica::serve_beside(path, link, options, lender).await {
                        tracing::debug!(%error, "the replica's side of the session ended");
                    }
                });
            }))
        }
        Place::There { host, port, path } => {
            let (program, mut arguments) = shell(trees.rsh.as_deref())?;
            if let Some(port) = port {
                arguments.extend(["-p".into(), port.to_string().into()]);
            }
            arguments.push(host);
            arguments.extend(["fulmar".into(), "serve".into(), "--stdio".into(), shell_quote(&path)]);
            Target::Program(Invocation { program, arguments, rate: trees.bwlimit })
        }
    })
}

/// `/path`, `[user@]host:/path`, `ssh://[user@]host[:port]/path`.
fn place(given: &OsStr) -> Result<Place> {
    let bytes = given.as_bytes();
    let bad = |what: &str| {
        Failure::usage(format!("replica {}: {what}", escape(bytes)))
            .hint("write /path, [user@]host:/path or ssh://[user@]host[:port]/path")
    };
    if bytes.is_empty() {
        return Err(bad("is empty"));
    }
    if let Some(rest) = bytes.strip_prefix(b"ssh://") {
        let slash = rest.iter().position(|b| *b == b'/').ok_or_else(|| bad("has no path"))?;
        let (authority, path) = rest.split_at(slash);
        let (host, port) = match authority.iter().rposition(|b| *b == b':') {
            // A colon inside [..] belongs to an IPv6 address.
            Some(colon) if !authority[colon..].contains(&b']') => {
                let port = std::str::from_utf8(&authority[colon + 1..]).ok().and_then(|text| text.parse().ok());
                (&authority[..colon], Some(port.ok_or_else(|| bad("has a port that is no number"))?))
            }
            _ => (authority, None),
        };
        return there(host, port, path).ok_or_else(|| bad("has no host, or one that looks like an option"));
    }
    if bytes.starts_with(b"fulmar://") {
        return Err(bad("fulmar:// is not supported by this version"));
    }
    let colon = bytes.iter().position(|b| *b == b':');
    let slash = bytes.iter().position(|b| *b == b'/');
    match colon {
        // A colon behind a slash belongs to a file name, as for scp and rsync.
        Some(colon) if slash.is_none_or(|slash| colon < slash) => {
            there(&bytes[..colon], None, &bytes[colon + 1..]).ok_or_else(|| bad("has no host or no path"))
        }
        _ => std::path::absolute(Path::new(given)).map(Place::Here).map_err(Failure::failed),
    }
}

fn there(host: &[u8], port: Option<u16>, path: &[u8]) -> Option<Place> {
    let host = host.strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]")).unwrap_or(host);
    // ssh would take a host with a leading dash for an option.
    if host.is_empty() || host.starts_with(b"-") || path.is_empty() {
        return None;
    }
    Some(Place::There { host: OsString::from_vec(host.to_vec()), port, path: OsString::from_vec(path.to_vec()) })
}

/// The same directory twice, whatever it is called.
fn refuse_doubles(places: &[(String, Place)]) -> Result<()> {
    let identity = |place: &Place| match place {
        Place::Here(path) => match std::fs::metadata(path) {
            Ok(there) => format!("{}:{}", there.dev(), there.ino()),
            Err(_) => {
                let parent = path.parent().and_then(|parent| std::fs::canonicalize(parent).ok());
                let parent = parent.unwrap_or_else(|| path.parent().unwrap_or(Path::new("/")).to_owned());
                state::shown(&parent.join(path.file_name().unwrap_or_default()))
            }
        },
        Place::There { host, port, path } => format!("{host:?} {port:?} {path:?}"),
    };
    let mut seen = std::collections::HashMap::new();
    for (name, place) in places {
        if let Some(first) = seen.insert(identity(place), name) {
            return Err(
                Failure::usage(format!("{name} and {first} are the same directory")).hint("name each replica once")
            );
        }
    }
    Ok(())
}

/// A replica in another one: each would take the other's files for strays.
fn refuse_nested(places: &[(String, Place)]) -> Result<()> {
    let real: Vec<_> = places.iter().map(|(name, place)| (name, host(place), real(place))).collect();
    for (inner, inner_host, inside) in &real {
        let holds =
            |(_, host, path): &&(_, _, PathBuf)| host == inner_host && path != inside && inside.starts_with(path);
        if let Some((outer, _, _)) = real.iter().find(holds) {
            return Err(Failure::usage(format!("the replica {inner} is inside the replica {outer}"))
                .hint("choose a directory outside the source and outside of every other replica"));
        }
    }
    Ok(())
}

fn host(place: &Place) -> Option<(&OsStr, Option<u16>)> {
    match place {
        Place::Here(_) => None,
        Place::There { host, port, .. } => Some((host, *port)),
    }
}

/// The path behind symlinks as far as it exists; of other hosts, the path as typed.
fn real(place: &Place) -> PathBuf {
    match place {
        Place::Here(path) => {
            let there = path.ancestors().find_map(|above| Some((above, std::fs::canonicalize(above).ok()?)));
            match there {
                Some((above, real)) => real.join(path.strip_prefix(above).unwrap_or(Path::new(""))),
                None => path.clone(),
            }
        }
        Place::There { path, .. } => PathBuf::from(path),
    }
}

/// The failure of a primary, or of one replica, for a person.
pub fn explain(name: Option<&str>, error: Error) -> Failure {
    use fulmar_wire::Refusal;
    let hint = hint(name, &error);
    let usage = matches!(&error, Error::Refused { reason, .. } if *reason != Refusal::Busy);
    let error = match error {
        Error::Tree(locked @ fulmar_tree::Error::Locked { .. }) => {
            anyhow::Error::new(locked).context("another fulmar works on this source")
        }
        error => anyhow::Error::new(error),
    };
    let error = match name {
        Some(name) => error.context(format!("replica {name}")),
        None => error,
    };
    Failure { exit: if usage { crate::exit::Exit::Usage } else { crate::exit::Exit::Failed }, error, hint }
}

/// What a person can do about that.
fn hint(name: Option<&str>, error: &Error) -> Option<String> {
    use fulmar_wire::Refusal;
    match error {
        Error::Refused { reason, .. } => match reason {
            Refusal::NotEmpty => Some("keep what is there and bring it up to date: add --adopt".to_owned()),
            Refusal::OtherTree => Some(
                "choose another directory; if the source has moved, remove .fulmar/identity there and add --adopt"
                    .to_owned(),
            ),
            Refusal::Nested => {
                Some("choose a directory outside the source and outside of every other replica".to_owned())
            }
            Refusal::Busy => Some("wait until it has ended, or end it".to_owned()),
            Refusal::Unusable => Some(format!(
                "a replica is a directory, or a name in one that may be written to; look with: {}",
                look(name)
            )),
            Refusal::OldTerm => None,
        },
        Error::Link(fulmar_link::Error::Banner { .. }) => {
            Some(format!("the shell of the other host must print nothing; test with: {} true | od -c", login(name)))
        }
        Error::Link(fulmar_link::Error::Exited { program, status: Some(127), .. }) => Some(match is_ssh(program) {
            true => format!(
                "is fulmar installed on the other host, where its PATH finds it? test with: {} fulmar --version",
                login(name)
            ),
            false => "what --rsh names, or fulmar behind it, is not where PATH finds it; run it by hand, with the host and \
                 fulmar --version behind it"
                .to_owned(),
        }),
        Error::Link(fulmar_link::Error::Exited { program, .. }) if is_ssh(program) => {
            Some(format!("the login must work without questions; test with: {} true", login(name)))
        }
        Error::Link(fulmar_link::Error::Exited { .. }) => Some(
            "it must reach the other host without questions; run what --rsh names by hand, with the host and true behind it"
                .to_owned(),
        ),
        Error::Link(fulmar_link::Error::Spawn { .. }) => {
            Some("is it installed on this host? --rsh CMD names what is run".to_owned())
        }
        Error::Link(fulmar_link::Error::Preface(_)) => Some("install the same version on both hosts".to_owned()),
        Error::Store(fulmar_store::Error::Newer { path, .. }) => {
            let path = state::shown(path);
            let (file, aside) = (pasted(&path), pasted(&format!("{path}.newer")));
            Some(format!("use the newer fulmar, or begin anew, which costs a comparison: mv {file} {aside}"))
        }
        Error::Store(fulmar_store::Error::Locked { path }) => {
            Some(format!("see who has it: fuser -v {}", pasted(&state::shown(path))))
        }
        Error::Store(fulmar_store::Error::Access { path, .. }) => {
            let path = pasted(&state::shown(path));
            Some(format!(
                "is there room, and does the disk work? look with: df -h {path}; another place: --state-dir DIR"
            ))
        }
        Error::Watch(fulmar_watch::Error::Instance(_)) => {
            Some("sysctl -w fs.inotify.max_user_instances=1024; or more open files: ulimit -n 65536".to_owned())
        }
        Error::Tree(fulmar_tree::Error::Locked { holder, .. }) => {
            Some(format!("look at it: ps -fp {0}; or end it: kill {0}", holder.trim()))
        }
        _ => None,
    }
}

/// What reaches the host of a replica, to be pasted.
fn login(name: Option<&str>) -> String {
    match name.map(|name| place(name.as_ref())) {
        Some(Ok(Place::There { host, port, .. })) => {
            let port = port.map_or_else(String::new, |port| format!("-p {port} "));
            format!("ssh {port}{}", pasted(&host.to_string_lossy()))
        }
        _ => "ssh HOST".to_owned(),
    }
}

/// What shows who may write at a replica's place, to be pasted.
fn look(name: Option<&str>) -> String {
    let list = |path: &Path| {
        let parent =
            path.parent().map_or(path, |above| if above.as_os_str().is_empty() { Path::new(".") } else { above });
        // The name was escaped when it was taken.
        format!("ls -ld {} {}", pasted(&parent.to_string_lossy()), pasted(&path.to_string_lossy()))
    };
    match name.map(|name| place(name.as_ref())) {
        Some(Ok(Place::Here(path))) => list(&path),
        Some(Ok(Place::There { path, .. })) => format!("{} {}", login(name), pasted(&list(Path::new(&path)))),
        _ => "ls -ld PATH".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_name_the_host_and_the_port_of_the_replica() {
        assert_eq!(login(Some("me@mail2:/srv")), "ssh me@mail2");
        assert_eq!(login(Some("ssh://mail2:2222/srv")), "ssh -p 2222 mail2");
        assert_eq!(login(None), "ssh HOST");
        assert_eq!(look(Some("/srv/my www")), "ls -ld /srv '/srv/my www'");
        assert_eq!(look(Some("mail2:/srv/www")), "ssh mail2 'ls -ld /srv /srv/www'");
        assert_eq!(look(Some("mail2:www")), "ssh mail2 'ls -ld . www'");
    }

    #[test]
    fn replicas_are_told_apart_as_by_scp() {
        let remote = |host: &str, port, path: &str| Place::There { host: host.into(), port, path: path.into() };
        for (given, expected) in [
            ("/srv/a:b", Place::Here("/srv/a:b".into())),
            ("mail2:/srv", remote("mail2", None, "/srv")),
            ("me@mail2:/srv", remote("me@mail2", None, "/srv")),
            ("ssh://me@mail2:2222/srv", remote("me@mail2", Some(2222), "/srv")),
            ("ssh://[::1]:22/srv", remote("::1", Some(22), "/srv")),
            ("ssh://[::1]/srv", remote("::1", None, "/srv")),
        ] {
            assert_eq!(place(given.as_ref()).expect("a replica"), expected, "{given}");
        }
        for bad in ["", ":/srv", "host:", "-oProxyCommand=x:/srv", "ssh://host", "ssh://host:no/srv", "fulmar://h/t"] {
            assert!(place(bad.as_ref()).is_err(), "{bad}");
        }
    }
}
