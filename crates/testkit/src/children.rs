//! Processes that a process under test has started: who they are, and their sudden end.

use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// The running children of `parent`, in ascending order; those that have ended and wait to be collected do not count.
pub fn children(parent: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("proc is mounted").filter_map(Result::ok);
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut found = pids.filter(|pid| running(*pid) == Some(parent)).collect::<Vec<_>>();
    found.sort_unstable();
    found
}

/// The running children of `ancestor`, theirs, and so on, every parent before its children.
pub fn descendants(ancestor: u32) -> Vec<u32> {
    let mut found = children(ancestor);
    let mut next = 0;
    while let Some(parent) = found.get(next) {
        found.extend(children(*parent));
        next += 1;
    }
    found
}

/// Kills `pid` (SIGKILL) and waits until it runs no more. Only for a process that a test has started, or its children.
#[track_caller]
pub fn kill(pid: u32) {
    let process = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a pid");
    // It may end by itself at the same moment.
    let _ = kill_process(process, Signal::KILL);
    crate::until(Duration::from_secs(20), "a killed process is gone", || match running(pid) {
        None => Ok(()),
        Some(parent) => Err(format!("{pid}, child of {parent}, is still there")),
    });
}

/// The parent of `pid`, unless it has ended.
fn running(pid: u32) -> Option<u32> {
    // See proc_pid_stat(5): the name is in brackets and may hold any character; state and parent follow.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some(parent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn children_of_children_are_descendants() {
        let mut shell = Command::new("sh").args(["-c", "cat; exit"]).stdin(Stdio::piped()).spawn().unwrap();
        let cat = crate::until(Duration::from_secs(20), "the shell has a child", || {
            children(shell.id()).first().copied().ok_or_else(|| "none".to_owned())
        });
        let found = descendants(std::process::id());
        let place = |pid| found.iter().position(|other| *other == pid);
        assert!(place(shell.id()).is_some() && place(shell.id()) < place(cat), "{found:?}");
        drop(shell.stdin.take());
        assert!(shell.wait().unwrap().success());
    }

    #[test]
    fn a_child_is_found_until_it_is_killed() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        assert!(children(std::process::id()).contains(&child.id()));
        kill(child.id());
        assert!(!children(std::process::id()).contains(&child.id()), "nobody has collected it, and it is gone");
        assert!(!child.wait().unwrap().success());
    }
}
