//! What the documents say that can be compared with what there is.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::support::TestDb;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

const DOCUMENTS: [&str; 6] = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "docs/architecture.md",
    "docs/operations.md",
    "docs/queries.md",
];

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The cells of a Markdown table below a heading, without its own headings.
fn table(document: &str, heading: &str) -> Vec<Vec<String>> {
    let start = document
        .find(&format!("\n## {heading}\n"))
        .unwrap_or_else(|| panic!("there is no heading {heading}"));
    document[start..]
        .lines()
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| {
            line.trim_matches('|')
                .split('|')
                .map(|cell| cell.trim().to_owned())
                .collect()
        })
        .collect()
}

#[tokio::test]
async fn the_readme_has_the_columns_of_the_table_word_for_word() {
    let db = TestDb::new().await;
    let pool = db.pool().await;
    let columns: Vec<(String, String, String)> = sqlx::query_as(
        "select attname::text,
            case format_type(atttypid, atttypmod)
                when 'timestamp with time zone' then 'timestamptz' else format_type(atttypid, atttypmod)
            end || case when attnotnull then '' else ', null' end,
            col_description(attrelid, attnum)
         from pg_attribute
         where attrelid = 'managed_users'::regclass and attnum > 0 and not attisdropped
         order by attnum",
    )
    .fetch_all(&pool)
    .await
    .expect("the catalogue can be read");
    let expected: Vec<Vec<String>> = columns
        .into_iter()
        // Markdown would take it for a tag.
        .map(|(name, kind, comment)| vec![format!("`{name}`"), kind, comment.replace('<', "\\<")])
        .collect();
    let found = table(&read("README.md"), "The table");
    let lines = expected
        .iter()
        .map(|row| format!("| {} |", row.join(" | ")))
        .collect::<Vec<_>>();
    assert_eq!(found, expected, "the rows should be:\n{}", lines.join("\n"));
    pool.close().await;
}

fn sources(dir: &Path, text: &mut String) {
    for entry in fs::read_dir(dir).expect("a directory of sources can be listed") {
        let path: PathBuf = entry.expect("its entries can be read").path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(&path).expect("a source is text"));
        }
    }
}

fn all_sources() -> String {
    let mut code = String::new();
    for dir in ["src", "tests"] {
        sources(&Path::new(ROOT).join(dir), &mut code);
    }
    code
}

#[test]
fn every_test_in_a_column_shown_by_is_there() {
    let code = all_sources();
    let document = read("docs/operations.md");
    let mut shown = false;
    let mut named = 0;
    for line in document.lines() {
        if !line.starts_with('|') {
            shown = false;
        } else if line.ends_with("| shown by |") {
            shown = true;
        } else if shown && !line.starts_with("|---") {
            let cell = line.trim_matches('|').rsplit('|').next().unwrap_or_default();
            let tests: Vec<&str> = cell.split('`').skip(1).step_by(2).collect();
            assert!(!tests.is_empty(), "no test in: {line}");
            for test in tests {
                let is_there = code.contains(&format!("fn {test}("));
                assert!(is_there, "there is no test {test}");
                named += 1;
            }
        }
    }
    assert!(named >= 12, "only {named} tests are named");
}

#[test]
fn every_test_that_a_promise_names_is_there() {
    let code = all_sources();
    let promises = table(&read("docs/architecture.md"), "Promises");
    assert!(promises.len() >= 11, "only {} promises", promises.len());
    for promise in &promises {
        let tests: Vec<&str> = promise[2].split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "no test of: {}", promise[1]);
        for test in tests {
            let is_there = code.contains(&format!("fn {test}("));
            assert!(is_there, "there is no test {test}");
        }
    }
}

#[test]
fn links_between_documents_lead_somewhere() {
    for document in DOCUMENTS {
        let text = read(document);
        let dir = Path::new(ROOT).join(document);
        let dir = dir.parent().expect("a document is in a directory");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            if !file.is_empty() && !file.contains("://") {
                assert!(
                    dir.join(file).exists(),
                    "{document} links to {link}, which is not there"
                );
            }
        }
    }
}
