//! Exclusion patterns, asked of git and of fulmar.

use fulmar_model::{Filter, Profile, RelPath};
use fulmar_testkit::{Random, fresh_seed, need};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Filters that are tried, of up to three patterns each.
const FILTERS: usize = 400;
const NAMES: [&str; 26] = [
    "a", "b", "ab", "ba", "aab", "a1", "1", "A", "B1", "a.b", ".a", "a b", "-", "a-b", "_", "[", "]", "[a]", "a]", "!",
    "#a", ":", "^a", "*", "\\a", "\u{e4}",
];
/// What patterns are made of.
const PIECES: [&str; 38] = [
    "a",
    "b",
    "a",
    "b",
    "1",
    "A",
    ".",
    "-",
    " ",
    "/",
    "/",
    "/",
    "*",
    "*",
    "?",
    "**/",
    "/**/",
    "/**",
    "[ab]",
    "[!a]",
    "[^b1]",
    "[a-z]",
    "[]a]",
    "[a-]",
    "[--a]",
    "[\\]a]",
    "[[:digit:]]",
    "[[:alpha:]_]",
    "[![:upper:]]",
    "[[:punct:]a-b]",
    "[[:lower:]-z]",
    "[[:x]",
    "[[:]]",
    "[[a:]",
    "\\*",
    "\\[",
    "[[:alnum:][:space:]]",
    "\u{e4}",
];

fn pattern(random: &mut Random) -> String {
    let mut pattern = String::new();
    let ahead = ["", "", "", "!", "/", "**/"];
    pattern.push_str(ahead[random.below(ahead.len())]);
    for _ in 0..=random.below(4) {
        pattern.push_str(PIECES[random.below(PIECES.len())]);
    }
    if random.below(6) == 0 {
        pattern.push('/');
    }
    pattern
}

/// What git makes of it is not what its manual says: two stars that are no component of their own are one. Git takes the text
/// before the first of them off, and what is left begins with two stars. It takes off as much before any other wildcard, too, and
/// looks for the end of what is left where the path may have none.
fn is_by_the_manual(pattern: &str) -> bool {
    let stars = |part: &str| part.contains("**") && part != "**";
    !pattern.split('/').any(stars) && !pattern.contains("//")
}

fn grow(random: &mut Random, root: &Path, at: &str, depth: usize, paths: &mut Vec<(String, bool)>) {
    for _ in 0..6 {
        let name = NAMES[random.below(NAMES.len())];
        let path = if at.is_empty() { name.to_owned() } else { format!("{at}/{name}") };
        if paths.iter().any(|(known, _)| *known == path) {
            continue;
        }
        let directory = depth < 3 && random.below(2) == 0;
        paths.push((path.clone(), directory));
        if directory {
            fs::create_dir(root.join(&path)).unwrap();
            grow(random, root, &path, depth + 1, paths);
        } else {
            fs::write(root.join(&path), "").unwrap();
        }
    }
}

fn git(root: &Path, arguments: &[&str]) -> Command {
    let mut git = Command::new("git");
    git.current_dir(root).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1").env("XDG_CONFIG_HOME", "/nonexistent");
    git
}

/// As git is told: a colon at the front would be the beginning of something else.
fn given(path: &str) -> String {
    format!("./{path}")
}

/// For each path, whether git ignores it.
fn ignored(root: &Path, patterns: &[String], paths: &[(String, bool)]) -> Vec<bool> {
    fs::write(root.join(".git/info/exclude"), patterns.join("\n") + "\n").unwrap();
    let mut child = git(root, &["check-ignore", "--no-index", "--stdin", "-z"]).spawn().unwrap();
    let mut names = child.stdin.take().unwrap();
    let asked: Vec<u8> = paths.iter().flat_map(|(path, _)| (given(path) + "\0").into_bytes()).collect();
    let asking = std::thread::spawn(move || names.write_all(&asked).unwrap());
    let output = child.wait_with_output().unwrap();
    asking.join().unwrap();
    assert!(matches!(output.status.code(), Some(0 | 1)), "{}", output.status);
    let told: std::collections::HashSet<_> = output.stdout.split(|byte| *byte == 0).collect();
    paths.iter().map(|(path, _)| told.contains(given(path).as_bytes())).collect()
}

#[test]
fn patterns_exclude_what_git_ignores() {
    if !need("git") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    assert!(git(root, &["init", "-q"]).status().unwrap().success());
    let mut random = Random::new(fresh_seed());
    let mut paths = Vec::new();
    grow(&mut random, root, "", 0, &mut paths);
    let (mut compared, mut excluded) = (0, 0);
    while compared < FILTERS {
        let patterns: Vec<_> =
            (0..=random.below(3)).map(|_| pattern(&mut random)).filter(|one| is_by_the_manual(one)).collect();
        // One with a flaw, which git lets match nothing, is refused.
        let Ok(filter) = Filter::new(Profile::Plain, patterns.iter().map(|pattern| pattern.as_bytes())) else {
            continue;
        };
        compared += 1;
        for ((path, directory), expected) in paths.iter().zip(ignored(root, &patterns, &paths)) {
            let ours = filter.excludes(&RelPath::parse(path.as_bytes()).unwrap(), *directory);
            assert_eq!(ours, expected, "{patterns:?} on {path:?}, git says {expected}");
            excluded += usize::from(ours);
        }
    }
    assert!(excluded > FILTERS / 20, "hardly anything was excluded: {excluded}");
}
