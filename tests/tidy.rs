//! The rules of the house that a compiler does not check: which crate may know which, headers, sizes, names, and what no
//! test may do. Reads the sources; knows nothing but the standard library.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Non-test lines above which a file has more than one subject.
const LINES_MAX: usize = 600;

/// From the top down. An arrow may only point to a crate further down. `testkit` serves tests of all.
const ORDER: &[&str] = &[
    "fulmar",
    "fulmar-primary",
    "fulmar-replica",
    "fulmar-link",
    "fulmar-store",
    "fulmar-watch",
    "fulmar-tree",
    "fulmar-wire",
    "fulmar-delta",
    "fulmar-model",
];

/// Packages with the only crates that may use them.
const HOMES: &[(&str, &[&str])] = &[
    ("clap", &["fulmar"]),
    ("indicatif", &["fulmar"]),
    ("anyhow", &["fulmar"]),
    ("tracing-subscriber", &["fulmar"]),
    ("rusqlite", &["fulmar-store"]),
    ("inotify", &["fulmar-watch"]),
    ("zstd", &["fulmar-link"]),
    ("tokio", &["fulmar", "fulmar-primary", "fulmar-replica", "fulmar-link"]),
    ("tokio-util", &["fulmar", "fulmar-primary", "fulmar-replica", "fulmar-link"]),
];

#[derive(Default)]
struct Package {
    dependencies: Vec<String>,
    dev_dependencies: Vec<String>,
}

#[test]
fn arrows_between_crates_point_down_only() {
    let packages = packages();
    for name in ORDER {
        assert!(packages.contains_key(*name), "{name} is not there any more: ORDER is out of date");
    }
    let rank = |name: &str| ORDER.iter().position(|other| *other == name);
    let mut faults = Vec::new();
    for (name, package) in packages.iter().filter(|(name, _)| *name != "fulmar-testkit") {
        let own = rank(name).unwrap_or_else(|| panic!("{name} has no place in ORDER"));
        for dependency in package.dependencies.iter().filter(|dependency| dependency.starts_with("fulmar")) {
            if rank(dependency).is_none_or(|other| other <= own) {
                faults.push(format!("{name} → {dependency}"));
            }
            if [&**name, dependency] == ["fulmar-primary", "fulmar-replica"] {
                faults.push(format!("{name} → {dependency}: the two sides know each other by messages only"));
            }
        }
        for dependency in package
            .dev_dependencies
            .iter()
            .filter(|dependency| dependency.starts_with("fulmar-") && *dependency != "fulmar-testkit")
        {
            if rank(dependency).is_none_or(|other| other < own) {
                faults.push(format!("tests of {name} → {dependency}"));
            }
        }
    }
    assert_none(&faults, "arrows that do not point down");
}

#[test]
fn a_package_is_used_where_it_belongs_and_nowhere_else() {
    let mut faults = Vec::new();
    for (name, package) in packages() {
        for (dependency, homes) in HOMES {
            if package.dependencies.iter().any(|used| used == dependency) && !homes.contains(&&*name) {
                faults.push(format!("{name} uses {dependency}, which belongs to {homes:?}"));
            }
        }
        if package.dependencies.iter().any(|used| used == "fulmar-testkit") {
            faults.push(format!("{name} ships the testkit"));
        }
    }
    assert_none(&faults, "packages in the wrong place");
}

#[test]
fn what_the_workspace_declares_is_used() {
    let packages = packages();
    let used = |name: &str| {
        let lists = packages.values().flat_map(|package| package.dependencies.iter().chain(&package.dev_dependencies));
        lists.into_iter().any(|used| used == name)
    };
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("a manifest is UTF-8");
    let declared = manifest.split_once("[workspace.dependencies]\n").expect("a list of packages").1;
    let names = declared.lines().take_while(|line| !line.starts_with('[')).filter(|line| !line.starts_with('#'));
    let names = names.filter_map(|line| Some(line.split_once(" = ")?.0.to_owned()));
    assert_none(&names.filter(|name| !used(name)).collect::<Vec<_>>(), "packages that nobody uses");
}

#[test]
fn every_file_says_what_it_is() {
    let sources = sources();
    let faults =
        sources.iter().filter(|source| !source.text.starts_with("//!")).map(|source| source.name()).collect::<Vec<_>>();
    assert_none(&faults, "files without a `//!` header on their first line");
}

#[test]
fn no_file_has_more_than_one_subject() {
    let mut faults = Vec::new();
    for source in sources() {
        let lines = source.shipped().lines().count();
        if lines > LINES_MAX {
            faults.push(format!("{}: {lines} lines", source.name()));
        }
        let words = source.path.components().filter_map(|part| Path::new(part.as_os_str()).file_stem()?.to_str());
        for word in words
            .filter(|word| ["util", "utils", "common", "helper", "helpers", "misc", "types", "manager"].contains(word))
        {
            faults.push(format!("{}: \"{word}\" names no subject", source.name()));
        }
    }
    assert_none(&faults, "files that are too long or named after nothing");
}

#[test]
fn no_test_sleeps_and_none_is_switched_off() {
    // In pieces, so that this file does not find itself.
    let banned = [concat!("thread::", "sleep"), concat!("time::", "sleep"), concat!("#[", "ignore")];
    let mut faults = Vec::new();
    for source in sources() {
        let tests = if source.is_test() { &source.text } else { source.tests() };
        faults.extend(lines_with(tests, &banned).map(|line| format!("{}: {line}", source.name())));
    }
    assert_none(&faults, "sleeps and ignored tests");
}

#[test]
fn nothing_is_left_undone_and_no_lint_is_silenced_without_a_reason() {
    let (unfinished, silenced) =
        ([concat!("to", "do!("), concat!("un", "implemented!("), concat!("db", "g!(")], [concat!("[", "allow(")]);
    let mut faults = Vec::new();
    for source in sources() {
        let code =
            source.text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
        let bare = lines_with(&code, &silenced).filter(|line| !line.contains("reason = "));
        faults.extend(lines_with(&code, &unfinished).chain(bare).map(|line| format!("{}: {line}", source.name())));
    }
    assert_none(&faults, "unfinished or silenced code");
}

#[test]
fn unsafe_code_stays_in_the_system_call_shims() {
    let homes = ["crates/watch/", "crates/tree/", "crates/testkit/src/syscall.rs"];
    let mut faults = Vec::new();
    for source in sources()
        .iter()
        .filter(|source| !homes.iter().any(|home| source.path.starts_with(home) || source.name().starts_with(home)))
    {
        let banned = [concat!("un", "safe {"), concat!("un", "safe fn"), concat!("un", "safe impl")];
        faults.extend(lines_with(&source.text, &banned).map(|line| format!("{}: {line}", source.name())));
    }
    assert_none(&faults, "unsafe code outside watch and tree");
}

struct Source {
    /// Relative to the root of the project.
    path: PathBuf,
    text: String,
}

impl Source {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn is_test(&self) -> bool {
        self.path.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "testkit")
            || self.name().ends_with("tests.rs")
    }

    /// What comes before the tests at the end of the file.
    fn shipped(&self) -> &str {
        self.text.split_at(self.tests_begin()).0
    }

    fn tests(&self) -> &str {
        self.text.split_at(self.tests_begin()).1
    }

    fn tests_begin(&self) -> usize {
        let marks = self.text.match_indices("\n#[cfg(test)]\n").map(|(at, _)| at);
        let mut modules = marks.filter(|at| {
            self.text[at + 14..].trim_start().starts_with("mod ")
                && !self.text[at + 14..].lines().next().unwrap_or("").ends_with(';')
        });
        modules.next().unwrap_or(self.text.len())
    }
}

fn lines_with<'a>(text: &'a str, banned: &'a [&str]) -> impl Iterator<Item = &'a str> {
    text.lines().map(str::trim).filter(move |line| banned.iter().any(|word| line.contains(word)))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    let mut open = ["src", "crates", "tests", "benches", "fuzz"].map(|name| root().join(name)).to_vec();
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten() {
            let path = entry.expect("a readable directory").path();
            if path.is_dir() && path.file_name().is_none_or(|name| name != "target") {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("sources are UTF-8");
                found.push(Source { path: path.strip_prefix(root()).expect("below the root").to_path_buf(), text });
            }
        }
    }
    assert!(found.len() > 20, "only {} sources found", found.len());
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn packages() -> BTreeMap<String, Package> {
    let crates = fs::read_dir(root().join("crates"))
        .expect("there are crates")
        .map(|entry| entry.expect("a readable directory").path());
    let manifests = crates.chain([root().to_path_buf()]).map(|directory| directory.join("Cargo.toml"));
    manifests
        .filter(|path| path.exists())
        .map(|path| package(&fs::read_to_string(path).expect("a manifest is UTF-8")))
        .collect()
}

/// As much TOML as our own manifests use: section headers, and keys at the start of lines.
fn package(manifest: &str) -> (String, Package) {
    let (mut name, mut package, mut section) = (String::new(), Package::default(), "");
    for line in manifest.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_end_matches(']');
            continue;
        }
        let Some((key, value)) = line.split_once('=') else { continue };
        let key = key.trim().split('.').next().unwrap_or_default().to_owned();
        match section {
            "package" if key == "name" => name = value.trim().trim_matches('"').to_owned(),
            "workspace.dependencies" => {}
            _ if section.ends_with("dev-dependencies") => package.dev_dependencies.push(key),
            _ if section.ends_with("dependencies") => package.dependencies.push(key),
            _ => {}
        }
    }
    (name, package)
}

#[track_caller]
fn assert_none(faults: &[String], what: &str) {
    assert!(faults.is_empty(), "{what}:\n  {}", faults.join("\n  "));
}
