//! Every query of docs/queries.md gives the result that is printed below it.

use calmirror::store::{Settings, Store};
use sqlx::{AssertSqlSafe, Column, Connection, Row, ValueRef, postgres::PgConnection};

use crate::support::{TestDb, story::Story};

const DOC: &str = include_str!("../../docs/queries.md");

/// Stands in the document for what differs each time.
const VOLATILE: &str = "…";

/// The day on which the document asks. `now()` of its queries is found here, because pg_catalog comes last; the views
/// have their own.
const THEN: &str = "
    create schema clock;
    create function clock.now() returns timestamptz language sql stable
        as $$ select timestamptz '2025-04-10 12:00:00+00' $$;
    set search_path to clock, public, pg_catalog;
    set timezone to 'UTC';
";

#[derive(Debug, Default)]
struct Query {
    heading: String,
    sentence: String,
    sql: String,
    /// Headings first.
    result: Vec<Vec<String>>,
}

/// The sections of the document, one for each sql block.
fn queries(doc: &str) -> Vec<Query> {
    let mut queries: Vec<Query> = Vec::new();
    let mut heading = "";
    let mut sentence = String::new();
    let mut in_sql = false;
    for line in doc.lines() {
        if line == "```sql" {
            in_sql = true;
            queries.push(Query {
                heading: heading.to_owned(),
                sentence: std::mem::take(&mut sentence),
                ..Query::default()
            });
        } else if in_sql && line == "```" {
            in_sql = false;
        } else if let (true, Some(query)) = (in_sql, queries.last_mut()) {
            query.sql.push_str(line);
            query.sql.push('\n');
        } else if let Some(text) = line.strip_prefix("## ") {
            heading = text;
            sentence.clear();
        } else if line.starts_with('|') {
            let query = queries.last_mut().expect("a result comes after its query");
            assert_eq!(query.heading, heading, "a result comes after its query");
            if !line.starts_with("|-") {
                query.result.push(cells(line));
            }
        } else {
            sentence.push_str(line);
        }
    }
    queries
}

fn cells(line: &str) -> Vec<String> {
    let line = line.trim().trim_start_matches('|').trim_end_matches('|');
    line.split('|').map(|cell| cell.trim().to_owned()).collect()
}

/// Each query of the document.
pub(crate) fn documented() -> Vec<String> {
    queries(DOC).into_iter().map(|query| query.sql).collect()
}

/// As text, the way psql shows it; null is empty.
async fn answer(connection: &mut PgConnection, query: &Query) -> Vec<Vec<String>> {
    let rows = sqlx::raw_sql(AssertSqlSafe(query.sql.clone()))
        .fetch_all(connection)
        .await
        .unwrap_or_else(|error| panic!("{}: {error}", query.heading));
    let first = rows
        .first()
        .unwrap_or_else(|| panic!("{}: no row", query.heading));
    let headings = first.columns().iter().map(|column| column.name().to_owned());
    let mut table = vec![headings.collect::<Vec<_>>()];
    for row in &rows {
        let cells = (0..row.len()).map(|index| {
            let value = row.try_get_raw(index).expect("the column is there");
            if value.is_null() {
                return String::new();
            }
            value
                .as_str()
                .expect("values of a simple query are text")
                .to_owned()
        });
        table.push(cells.collect());
    }
    table
}

fn is_as_printed(printed: &[Vec<String>], found: &[Vec<String>]) -> bool {
    let cell =
        |(printed, found): (&String, &String)| printed == found || (printed == VOLATILE && !found.is_empty());
    let row = |(printed, found): (&Vec<String>, &Vec<String>)| {
        printed.len() == found.len() && printed.iter().zip(found).all(cell)
    };
    printed.len() == found.len() && printed.iter().zip(found).all(row)
}

fn markdown(table: &[Vec<String>]) -> String {
    let width = |column: usize| {
        table
            .iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..table[0].len()).map(width).collect();
    let line = |cells: Vec<String>| format!("|{}|\n", cells.join("|"));
    let padded = |row: &Vec<String>| {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!(" {cell:width$} "));
        line(cells.collect())
    };
    let rule = line(widths.iter().map(|width| "-".repeat(width + 2)).collect());
    let rows: Vec<String> = table.iter().map(padded).collect();
    format!("{}{rule}{}", rows[0], rows[1..].concat())
}

#[test]
fn every_query_has_a_heading_a_sentence_and_a_result() {
    let queries = queries(DOC);
    assert!(queries.len() >= 10, "only {} queries", queries.len());
    assert_eq!(queries.len(), DOC.matches("```sql").count());
    for query in &queries {
        assert!(
            !query.heading.is_empty(),
            "a query without a heading:\n{}",
            query.sql
        );
        assert!(query.sentence.ends_with('.'), "{}: no sentence", query.heading);
        assert!(query.result.len() >= 2, "{}: no result", query.heading);
    }
    let mut headings: Vec<&str> = queries.iter().map(|query| query.heading.as_str()).collect();
    headings.sort_unstable();
    headings.dedup();
    assert_eq!(headings.len(), queries.len(), "a heading comes twice");
}

#[tokio::test]
async fn every_query_gives_the_result_that_is_printed() {
    let db = TestDb::new().await;
    let settings = Settings {
        schema: "public".to_owned(),
        max_connections: 2,
        pgbouncer: false,
    };
    let store = Store::open(db.connect_options(), &settings);
    let pool = db.pool().await;
    Story::of_then(&store, &pool).tell().await;
    let mut connection = PgConnection::connect_with(&db.connect_options())
        .await
        .expect("the test's database takes connections");
    sqlx::raw_sql(THEN)
        .execute(&mut connection)
        .await
        .expect("the day can be set");
    let mut wrong = Vec::new();
    for query in &queries(DOC) {
        let found = answer(&mut connection, query).await;
        if !is_as_printed(&query.result, &found) {
            wrong.push(format!("## {}\n{}", query.heading, markdown(&found)));
        }
    }
    assert!(
        wrong.is_empty(),
        "docs/queries.md prints other results than these:\n\n{}",
        wrong.join("\n")
    );
    connection.close().await.expect("the connection closes");
    pool.close().await;
    store.close().await;
}

#[test]
fn a_wrong_result_is_noticed() {
    let table = |text: &str| text.lines().map(cells).collect::<Vec<_>>();
    let printed = table("| id | lag |\n| 1 | … |");
    assert!(is_as_printed(&printed, &table("| id | lag |\n| 1 | 00:10:00 |")));
    for found in [
        "| id | lag |\n| 2 | 00:10:00 |",
        "| id | lag |\n| 1 | |",
        "| id | age |\n| 1 | 00:10:00 |",
        "| id | lag |\n| 1 | 00:10:00 |\n| 2 | 00:10:00 |",
        "| id | lag |",
    ] {
        assert!(!is_as_printed(&printed, &table(found)), "{found}");
    }
}
