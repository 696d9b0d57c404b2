//! Where the program is killed.

use std::{fs, path::Path};

use calmirror::crash_point::NAMES;

/// A point, and the hits of it at which a pass is killed there; none where a pass of that kind does not come to it.
pub(super) struct Point {
    pub(super) name: &'static str,
    /// Of 1200 users, which are two batches; for a migration's points, of a few into a database without tables.
    pub(super) first_fill: &'static [u32],
    /// Of 640 users, with changes of every kind. Those that have to be compared are one batch.
    pub(super) later_pass: &'static [u32],
}

impl Point {
    pub(super) fn is_of_a_migration(&self) -> bool {
        self.name.starts_with("migration")
    }
}

const fn point(name: &'static str, first_fill: &'static [u32], later_pass: &'static [u32]) -> Point {
    Point {
        name,
        first_fill,
        later_pass,
    }
}

pub(super) const POINTS: [Point; NAMES.len()] = [
    point("migration::inside", &[1], &[]),
    point("migration::before_commit", &[1], &[]),
    point("migration::after_commit", &[1], &[]),
    point("begin::before", &[1], &[1]),
    point("begin::inside", &[1], &[1]),
    point("begin::before_commit", &[1], &[1]),
    point("begin::after_commit", &[1], &[1]),
    point("request::before", &[1, 600, 1200], &[1, 320, 640]),
    point("request::after", &[1, 600, 1200], &[1, 320, 640]),
    point("batch::before", &[1, 2], &[1]),
    point("batch::after_ledger", &[1, 2], &[1]),
    point("batch::after_bookkeeping", &[1, 2], &[1]),
    point("batch::before_commit", &[1, 2], &[1]),
    point("batch::after_commit", &[1, 2], &[1]),
    point("confirmation::before_commit", &[], &[1]),
    point("confirmation::after_commit", &[], &[1]),
    point("removals::before", &[], &[1]),
    point("removals::after_ledger", &[], &[1]),
    point("removals::before_commit", &[], &[1]),
    point("removals::after_commit", &[], &[1]),
    point("finish::before", &[1], &[1]),
    point("finish::inside", &[1], &[1]),
    point("finish::before_commit", &[1], &[1]),
    point("finish::after_commit", &[1], &[1]),
];

/// A pass comes to `name` not before it came to `other`.
pub(super) fn is_from(name: &str, other: &str) -> bool {
    let place = |name| NAMES.iter().position(|known| *known == name).expect("a point");
    place(name) >= place(other)
}

fn count_in_sources(dir: &Path, text: &str) -> usize {
    let entries = fs::read_dir(dir).expect("a directory of sources can be listed");
    entries
        .map(|entry| {
            let path = entry.expect("its entries can be read").path();
            if path.is_dir() {
                count_in_sources(&path, text)
            } else {
                let source = fs::read_to_string(&path).expect("a source is text");
                let code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
                code.map(|line| line.matches(text).count()).sum()
            }
        })
        .sum()
}

#[test]
fn every_point_of_the_sources_is_named_once_and_used_to_kill() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for name in NAMES {
        let places = count_in_sources(&sources, &format!("crash_point!(\"{name}\");"));
        assert_eq!(places, 1, "{name} has one place in the sources");
    }
    let all = count_in_sources(&sources, "crash_point!(\"");
    assert_eq!(all, NAMES.len(), "a point in the sources is not among the names");
    let named: Vec<&str> = POINTS.iter().map(|point| point.name).collect();
    assert_eq!(named, NAMES, "one row for each point, in the same order");
    for point in &POINTS {
        let hits = point.first_fill.len() + point.later_pass.len();
        assert_ne!(hits, 0, "nothing is killed at {}", point.name);
    }
}
