//! The rules of `ARCHITECTURE.md` that a program can check.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// Which crate of ours may depend on which. What is not listed must not be.
const ARROWS: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("contract", &["core"]),
    ("protocol", &["core"]),
    ("sealing", &[]),
    ("lifecycle", &[]),
    ("database", &[]),
    ("store", &["core", "database", "sealing"]),
    ("server", &["core", "protocol", "sealing", "contract", "lifecycle", "store"]),
    ("engine", &["core", "contract"]),
    ("docker", &["core", "contract", "engine"]),
    ("runner", &["core", "contract", "protocol", "sealing", "lifecycle", "database", "engine", "docker"]),
    ("client", &["core", "protocol"]),
    ("cli", &["core", "client", "protocol", "server", "runner", "lifecycle"]),
    ("testbed", &["core", "contract"]),
];

/// Libraries that only these crates may name.
const OUTSIDE: &[(&str, &[&str])] = &[
    ("axum", &["server", "runner"]),
    ("sqlx", &["database"]),
    ("bollard", &["docker"]),
    ("reqwest", &["runner", "client"]),
    ("clap", &["cli"]),
    ("tokio", &["lifecycle", "database", "store", "server", "engine", "docker", "runner", "client", "cli"]),
];

fn metadata() -> serde_json::Value {
    let output =
        Command::new(env!("CARGO")).args(["metadata", "--format-version", "1", "--no-deps", "--offline"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The normal dependencies of each of our crates; those for tests and builds do not count.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = metadata();
    let ours = |name: &str| name.strip_prefix("legwork-").map(str::to_owned);
    metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| {
            let name = ours(package["name"].as_str().unwrap()).expect("every package is called legwork-…");
            let dependencies = package["dependencies"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|dependency| dependency["kind"].is_null())
                .map(|dependency| dependency["name"].as_str().unwrap().to_owned())
                .collect();
            (name, dependencies)
        })
        .collect()
}

#[test]
fn the_arrows_point_one_way() {
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    for (name, dependencies) in dependencies() {
        if name == "e2e" {
            continue;
        }
        let allowed = allowed.get(name.as_str()).unwrap_or_else(|| panic!("{name} is missing in the table of arrows"));
        for dependency in dependencies.iter().filter_map(|dependency| dependency.strip_prefix("legwork-")) {
            assert!(allowed.contains(&dependency), "{name} must not depend on {dependency}");
        }
    }
}

#[test]
fn outside_libraries_stay_where_they_belong() {
    let dependencies = dependencies();
    for (library, crates) in OUTSIDE {
        for (name, of_crate) in &dependencies {
            let free = name == "e2e" || crates.contains(&name.as_str());
            assert!(free || !of_crate.contains(*library), "{name} must not use {library}");
        }
    }
}

#[test]
fn architecture_md_tells_of_every_crate() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = std::fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    for (name, _) in ARROWS.iter().filter(|(name, _)| *name != "testbed") {
        assert!(page.contains(&format!("`crates/{name}`")), "ARCHITECTURE.md does not mention crates/{name}");
    }
}

/// Every `crate::path::function` and `` `file.rs` `` that the walkthroughs name must exist.
#[test]
fn the_walkthroughs_name_what_the_code_has() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = std::fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let mut sources = String::new();
    read_sources(&root.join("crates"), &mut sources);
    let walkthroughs = page.split("## Walkthroughs").nth(1).expect("ARCHITECTURE.md has a section `## Walkthroughs`");
    let mut named = 0;
    for word in walkthroughs.split('`').skip(1).step_by(2) {
        let Some(name) = word.strip_suffix("()") else { continue };
        let name = name.rsplit("::").next().unwrap();
        assert!(sources.contains(&format!("fn {name}")), "the walkthroughs name {word}, which the code does not have");
        named += 1;
    }
    assert!(named >= 20, "the walkthroughs name only {named} functions");
}

fn read_sources(folder: &Path, into: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}
