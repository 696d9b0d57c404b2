//! What the documents say that can be compared with what there is.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::support::TestDb;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

const DOCUMENTS: [&str; 8] = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "docs/architecture.md",
    "docs/operations.md",
    "docs/output.md",
    "docs/performance.md",
    "docs/queries.md",
];

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The names between backticks.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

fn cells(line: &str) -> Vec<String> {
    line.trim_matches('|')
        .split('|')
        .map(|cell| cell.trim().to_owned())
        .collect()
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
        .map(cells)
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

/// All of the code, to look for tests in.
fn code() -> String {
    let mut code = String::new();
    for dir in ["src", "tests"] {
        sources(&Path::new(ROOT).join(dir), &mut code);
    }
    code
}

#[test]
fn every_test_that_a_promise_names_is_there() {
    let code = code();
    let promises = table(&read("docs/architecture.md"), "Promises");
    assert!(promises.len() >= 11, "only {} promises", promises.len());
    for promise in &promises {
        let tests = quoted(&promise[2]);
        assert!(!tests.is_empty(), "no test of: {}", promise[1]);
        for test in tests {
            let is_there = code.contains(&format!("fn {test}("));
            assert!(is_there, "there is no test {test}");
        }
    }
}

#[test]
fn every_test_that_operators_are_shown_is_there() {
    let code = code();
    let document = read("docs/operations.md");
    let mut rows = 0;
    let mut is_shown = false;
    for line in document.lines() {
        let cells = cells(line);
        let last = cells.last().map_or("", String::as_str);
        if !line.starts_with('|') {
            is_shown = false;
        } else if last == "shown by" {
            is_shown = true;
        } else if is_shown && !last.starts_with("---") {
            rows += 1;
            let tests = quoted(last);
            assert!(!tests.is_empty(), "no test of: {line}");
            for test in tests {
                let is_there = code.contains(&format!("fn {test}("));
                assert!(is_there, "there is no test {test}");
            }
        }
    }
    assert!(rows >= 30, "only {rows} rows");
}

#[test]
fn every_unhappy_answer_that_is_tested_is_in_the_table() {
    let mut code = String::new();
    sources(&Path::new(ROOT).join("tests/it/upstreams"), &mut code);
    let document = read("docs/operations.md");
    let mut tests = 0;
    for test in code.split("#[tokio::test]\nasync fn ").skip(1) {
        let name = test.split('(').next().unwrap_or_default();
        tests += 1;
        assert!(document.contains(&format!("`{name}`")), "{name} is in no table");
    }
    assert!(tests >= 40, "only {tests} tests");
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
