//! `docs/security.md` names a test for each threat. Here it is seen that these tests are there.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// Has steps that are no Rust tests.
const SCRIPT: &str = "deploy/dev/test";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The rows of the tables whose third column is `Test`: what they are about, and the tests, as package and name.
fn rows(page: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut rows = Vec::new();
    let mut is_ours = false;
    for line in page.lines() {
        let Some(line) = line.strip_prefix('|') else {
            is_ours = false;
            continue;
        };
        let cells: Vec<&str> = line.trim_end_matches('|').split('|').map(str::trim).collect();
        match cells[..] {
            [_, _, "Test"] => is_ours = true,
            [dashes, ..] if dashes.starts_with("--") => {}
            [threat, done, tests] if is_ours => {
                assert!(!done.is_empty(), "nothing is done: {threat}");
                // `-p package name`
                let tests = tests.split('`').skip(1).step_by(2).map(|test| {
                    match test.split(' ').collect::<Vec<_>>()[..] {
                        ["-p", package, name] => (package.to_owned(), name.to_owned()),
                        [SCRIPT, step] => (SCRIPT.to_owned(), format!("step_{step}")),
                        _ => panic!("expected `-p package name` or `{SCRIPT} step`, got {test}"),
                    }
                });
                rows.push((threat.to_owned(), tests.collect()));
            }
            _ => assert!(!is_ours, "expected three columns in |{line}"),
        }
    }
    rows
}

/// All Rust sources of a package, in one text each.
fn sources(folder: &Path, into: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if !path.ends_with("target") {
                sources(&path, into);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(std::fs::read_to_string(path).unwrap());
        }
    }
}

fn packages() -> BTreeMap<String, PathBuf> {
    let mut packages = BTreeMap::new();
    for folder in ["libs", "services", "."] {
        for entry in std::fs::read_dir(repository().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let Ok(manifest) = std::fs::read_to_string(path.join("Cargo.toml")) else { continue };
            let Some(name) = manifest.lines().find_map(|line| line.strip_prefix("name = ")) else { continue };
            packages.insert(name.trim_matches('"').to_owned(), path);
        }
    }
    packages
}

/// Whether a function of that name is a test: what makes it one stands in the lines before it.
fn is_test(source: &str, name: &str) -> bool {
    let lines: Vec<&str> = source.lines().collect();
    let defines = |line: &str| {
        let line = line.trim_start();
        let line = line.strip_prefix("async ").unwrap_or(line);
        line.strip_prefix("fn ")
            .and_then(|line| line.strip_prefix(name))
            .is_some_and(|rest| rest.starts_with('('))
    };
    (0..lines.len()).filter(|at| defines(lines[*at])).any(|at| {
        let before = lines[..at].iter().rev().take_while(|line| {
            let line = line.trim_start();
            line.starts_with("#[") || line.starts_with("//")
        });
        let mut before = before.map(|line| line.trim_start());
        before.any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
            // Properties are written inside a macro, which takes their attribute.
            || source.contains("proptest!") && lines[at.saturating_sub(3)..at].iter().any(|line| line.contains("#[test]"))
    })
}

#[test]
fn every_threat_names_a_test_and_every_named_test_is_there() {
    let page = std::fs::read_to_string(repository().join("docs/security.md")).unwrap();
    let (rows, packages) = (rows(&page), packages());
    assert!(rows.len() >= 40, "{} threats: the tables are not read as they should be", rows.len());
    let mut known: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut missing = Vec::new();
    for (threat, tests) in &rows {
        if tests.is_empty() {
            missing.push(format!("{threat}: no test is named"));
        }
        for (package, name) in tests {
            if package == SCRIPT {
                let script = std::fs::read_to_string(repository().join(SCRIPT)).unwrap();
                if !script.lines().any(|line| line.starts_with(&format!("{name}()"))) {
                    missing.push(format!("{threat}: {SCRIPT} has no {name}"));
                }
                continue;
            }
            let Some(folder) = packages.get(package) else {
                missing.push(format!("{threat}: there is no package {package}"));
                continue;
            };
            let sources = known.entry(package.clone()).or_insert_with(|| {
                let mut all = Vec::new();
                sources(folder, &mut all);
                all
            });
            if !sources.iter().any(|source| is_test(source, name)) {
                missing.push(format!("{threat}: {package} has no test {name}"));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// Every crate that is not ours comes from the one registry, and is what it was when it was chosen.
#[test]
fn every_crate_of_the_program_has_its_checksum() {
    let lock = std::fs::read_to_string(repository().join("Cargo.lock")).unwrap();
    let own = packages();
    let value = |block: &str, key: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
        line.map(|value| value.trim_matches('"').to_owned())
    };
    let mut crates = 0;
    for block in lock.split("[[package]]").skip(1) {
        let name = value(block, "name").unwrap();
        if own.contains_key(&name) && value(block, "source").is_none() {
            continue;
        }
        let source = value(block, "source");
        assert_eq!(
            source.as_deref(),
            Some("registry+https://github.com/rust-lang/crates.io-index"),
            "{name}"
        );
        assert_eq!(value(block, "checksum").map_or(0, |sum| sum.len()), 64, "{name}");
        crates += 1;
    }
    assert!(crates > 200, "{crates} crates: Cargo.lock is not read as it should be");
}

#[test]
fn a_test_that_is_gone_or_none_is_not_taken_for_one() {
    let source = "#[test]\nfn good() {}\n\nfn helper() {}\n#[tokio::test]\nasync fn also_good() {}\n// fn gone() {}\n\
                  #[test]\n#[cfg(unix)]\nfn cut() {}\n";
    for (name, want) in [
        ("good", true),
        ("also_good", true),
        ("helper", false),
        ("gone", false),
        ("goo", false),
        ("cut", true),
    ] {
        assert_eq!(is_test(source, name), want, "{name}");
    }
    let page = "| Threat | What is done | Test |\n|---|---|---|\n| a | b | `-p x y`, `-p x z` |\n| c | d | |\n\n| no | e |\n";
    let read = rows(page);
    assert_eq!(read.len(), 2);
    assert_eq!((read[0].1.len(), read[1].1.len()), (2, 0));
}
