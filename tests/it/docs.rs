//! What the documents say that can be compared with what there is.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::support::{TestDb, program::Workplace};

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

/// Of a document, as GitHub makes them.
pub(crate) fn anchors(document: &str) -> BTreeSet<String> {
    let headings = document.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let heading = line.trim_start_matches('#').trim().to_lowercase();
            let kept = heading
                .chars()
                .filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

#[test]
fn links_between_documents_lead_somewhere() {
    for document in DOCUMENTS {
        let text = read(document);
        let path = Path::new(ROOT).join(document);
        let dir = path.parent().expect("a document is in a directory");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            if file.contains("://") {
                continue;
            }
            let target = if file.is_empty() {
                path.clone()
            } else {
                dir.join(file)
            };
            assert!(target.exists(), "{document} links to {link}, which is not there");
            if !anchor.is_empty() {
                let linked = fs::read_to_string(&target).expect("a document is text");
                assert!(
                    anchors(&linked).contains(anchor),
                    "{document} links to {link}, which has no such heading"
                );
            }
        }
    }
}

#[test]
fn the_contents_have_every_section_in_its_order() {
    let document = read("docs/operations.md");
    let (contents, sections) = document.split_once("\n## ").expect("there are sections");
    let sections = format!("\n## {sections}");
    let headings: Vec<&str> = sections
        .split("\n## ")
        .skip(1)
        .filter_map(|section| section.lines().next())
        .collect();
    let listed: Vec<&str> = contents
        .split('[')
        .skip(1)
        .filter_map(|rest| rest.split("](").next())
        .collect();
    assert_eq!(listed, headings);
}

#[test]
fn every_test_that_a_text_names_is_there() {
    let code = code();
    let mut named = 0;
    for document in ["docs/architecture.md", "docs/operations.md", "CONTRIBUTING.md"] {
        let text = read(document);
        for name in quoted(&text) {
            let is_name = name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
            // Tests are whole sentences; columns, keys and metrics are not.
            let is_other = ["calmirror_", "process_", "managed_"]
                .iter()
                .any(|start| name.starts_with(start));
            if is_name && !is_other && name.matches('_').count() >= 4 {
                named += 1;
                assert!(
                    code.contains(&format!("fn {name}(")),
                    "{document}: there is no test {name}"
                );
            }
        }
    }
    assert!(named >= 200, "only {named} are named");
}

/// What documents tell people to type: the words after `calmirror`, up to whatever ends a command.
fn typed(text: &str) -> Vec<Vec<&str>> {
    let mut found = Vec::new();
    for line in text.lines() {
        // Examples are indented, others are in backticks.
        let pieces = if line.starts_with("    ") {
            vec![line]
        } else {
            quoted(line)
        };
        for piece in pieces {
            let words: Vec<&str> = piece.split_whitespace().collect();
            for (position, word) in words.iter().enumerate() {
                if *word == "calmirror"
                    || word.ends_with("bin/calmirror")
                    || word.ends_with("release/calmirror")
                {
                    let rest = words[position + 1..].iter().copied();
                    found.push(
                        rest.take_while(|word| !["|", ">", "<", "&&"].contains(word))
                            .collect(),
                    );
                }
            }
        }
    }
    found
}

/// The global options take a value, and stand in front of the command.
fn without_global<'a>(words: &[&'a str]) -> Vec<&'a str> {
    let mut rest = words.iter().copied();
    let mut kept = Vec::new();
    while let Some(word) = rest.next() {
        if ["--config", "--output"].contains(&word) {
            rest.next();
        } else {
            kept.push(word);
        }
    }
    kept
}

#[tokio::test]
async fn every_command_that_a_document_shows_is_one() {
    let workplace = Workplace::new();
    let all = workplace.run(&["--help"]).await.expect(0).stdout;
    let commands: Vec<&str> = all
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|name| !name.is_empty())
        .collect();
    let mut shown = BTreeSet::new();
    for document in DOCUMENTS.into_iter().chain([
        "config.toml",
        "docker-compose.yml",
        "packaging/calmirror.service",
        "packaging/live/compose.env",
    ]) {
        let text = read(document);
        for words in typed(&text) {
            let words = without_global(&words);
            let Some(command) = words.first().filter(|word| commands.contains(word)) else {
                continue;
            };
            let help = workplace.run(&[command, "--help"]).await.expect(0).stdout;
            for option in words.iter().filter(|word| word.starts_with("--")) {
                let option = option.split('=').next().unwrap_or_default();
                let has = help.lines().any(|line| {
                    let line = line.trim_start();
                    line.split([' ', ',', '[', '=']).any(|word| word == option)
                });
                assert!(has, "{document}: calmirror {command} has no {option}");
            }
            shown.insert((*command).to_owned());
        }
    }
    assert!(shown.len() >= 15, "only {shown:?}");
}
