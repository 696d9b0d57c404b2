//! The results as Markdown, which is as good on a terminal.

use std::fmt::Write as _;

use crate::{
    by_hand::ByHand,
    machine::Machine,
    round::{Came, Case, Kind, Measured, Round},
    targets::Target,
};

/// All that is printed.
pub(crate) fn text(machine: &Machine, rounds: &[Round], targets: &[Target]) -> String {
    let mut text = format!("{machine}\n\nPasses:\n\n{}", passes(rounds));
    for (heading, table) in [
        ("What they are held against, in seconds", floors(rounds)),
        ("Microseconds of a pass for each user", growth(rounds)),
        ("Targets", verdicts(targets)),
    ] {
        text.push_str(&format!("\n{heading}:\n\n{table}"));
    }
    let ways = ways(rounds);
    if !ways.is_empty() {
        text.push_str(&format!(
            "\nWays to write the rows of a first fill, in seconds:\n\n{ways}"
        ));
    }
    text
}

fn measured(rounds: &[Round]) -> impl Iterator<Item = (&Round, &Measured)> {
    rounds.iter().filter_map(|round| match &round.came {
        Came::Measured(measured) => Some((round, &**measured)),
        Came::Refused(_) => None,
    })
}

fn setting(round: &Round) -> Vec<String> {
    let setting = round.setting;
    vec![
        setting.plan.to_string(),
        setting.latency_ms.to_string(),
        setting.users.to_string(),
    ]
}

fn passes(rounds: &[Round]) -> String {
    let headings = [
        "plan",
        "ms",
        "users",
        "pass",
        "seconds",
        "median",
        "sync",
        "users/s",
        "requests",
        "× requests",
        "× database",
        "× probe",
        "WAL KiB",
        "user tuples",
        "own tuples",
        "RSS MiB",
        "CPU µs/user",
    ];
    let mut rows = Vec::new();
    for round in rounds {
        match &round.came {
            Came::Measured(measured) => {
                rows.extend(
                    measured
                        .cases
                        .iter()
                        .map(|case| [setting(round), pass(case)].concat()),
                );
            }
            Came::Refused(_) => rows.push([setting(round), vec!["refused".to_owned()]].concat()),
        }
    }
    aligned(&headings, rows)
}

fn pass(case: &Case) -> Vec<String> {
    vec![
        case.kind.as_str().to_owned(),
        format!("{:.3}", case.seconds.best),
        format!("{:.3}", case.seconds.median),
        format!("{:.3}", case.alone.best),
        format!("{:.0}", case.users_per_s),
        case.requests.to_string(),
        format!("{:.2}", case.ratio_to_requests),
        format!("{:.2}", case.ratio_to_database),
        case.ratio_to_probe
            .map_or(String::new(), |ratio| format!("{ratio:.2}")),
        format!("{:.1}", case.written.wal_bytes as f64 / 1024.0),
        case.written.user_tuples.to_string(),
        case.written.own_tuples.to_string(),
        format!("{:.1}", case.peak_rss_mib),
        format!("{:.1}", case.cpu_us_per_user),
    ]
}

fn floors(rounds: &[Round]) -> String {
    let headings = [
        "plan",
        "ms",
        "users",
        "requests alone",
        "median",
        "database: read",
        "median",
        "database: write",
        "median",
        "bare probe",
        "median",
        "by hand",
        "source CPU µs/request",
    ];
    let rows = measured(rounds).map(|(round, measured)| {
        let mut row = setting(round);
        for seconds in [
            &measured.requests,
            &measured.database.read,
            &measured.database.write,
            &measured.probe,
        ] {
            row.push(format!("{:.3}", seconds.best));
            row.push(format!("{:.3}", seconds.median));
        }
        row.push(match &measured.by_hand {
            Some(ByHand::Took(seconds)) => format!("{:.3}", seconds.best),
            Some(ByHand::Skipped(why)) => format!("SKIPPED: {why}"),
            None => String::new(),
        });
        let source = measured
            .case(Kind::Unchanged)
            .and_then(|case| case.source_cpu_us_per_request);
        row.push(source.map_or(String::new(), |cpu| format!("{cpu:.0}")));
        row
    });
    aligned(&headings, rows.collect())
}

/// One row a plan, latency and kind of pass, one column a number of users.
fn growth(rounds: &[Round]) -> String {
    let mut sizes: Vec<usize> = measured(rounds).map(|(round, _)| round.setting.users).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let columns: Vec<String> = sizes.iter().map(|size| format!("{size} users")).collect();
    let mut headings = vec!["plan", "ms", "pass"];
    headings.extend(columns.iter().map(String::as_str));
    let mut lines: Vec<_> = measured(rounds)
        .map(|(round, _)| (round.setting.plan, round.setting.latency_ms))
        .collect();
    lines.sort_unstable();
    lines.dedup();
    let mut rows = Vec::new();
    for (plan, latency) in lines {
        for kind in [Kind::FirstFill, Kind::Unchanged, Kind::Changed] {
            let mut row = vec![plan.to_string(), latency.to_string(), kind.as_str().to_owned()];
            row.extend(sizes.iter().map(|users| {
                let case = measured(rounds).find_map(|(round, measured)| {
                    let setting = round.setting;
                    ((setting.plan, setting.latency_ms, setting.users) == (plan, latency, *users))
                        .then(|| measured.case(kind))?
                });
                case.map_or(String::new(), |case| format!("{:.1}", 1e6 / case.users_per_s))
            }));
            rows.push(row);
        }
    }
    aligned(&headings, rows)
}

fn verdicts(targets: &[Target]) -> String {
    let rows = targets.iter().map(|target| {
        vec![
            target.what.clone(),
            target.limit.clone(),
            target.measured.clone().unwrap_or_default(),
            target.verdict.as_str().to_owned(),
        ]
    });
    aligned(&["target", "limit", "measured", "verdict"], rows.collect())
}

fn ways(rounds: &[Round]) -> String {
    let mut rows = Vec::new();
    let mut seen = Vec::new();
    for (round, measured) in measured(rounds) {
        let users = round.setting.users;
        if seen.contains(&users) {
            continue;
        }
        seen.push(users);
        for (way, seconds) in &measured.database.ways {
            rows.push(vec![users.to_string(), way.clone(), format!("{seconds:.3}")]);
        }
    }
    if rows.is_empty() {
        String::new()
    } else {
        aligned(&["users", "way", "seconds"], rows)
    }
}

fn aligned(headings: &[&str], mut rows: Vec<Vec<String>>) -> String {
    for row in &mut rows {
        row.resize(headings.len(), String::new());
        for cell in row {
            // Neither may stand in a cell.
            *cell = cell.replace('|', "/").replace('\n', " ");
        }
    }
    let widths: Vec<usize> = headings
        .iter()
        .enumerate()
        .map(|(column, heading)| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells
                .chain([heading.chars().count(), 3])
                .max()
                .unwrap_or_default()
        })
        .collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::from("|");
        for (cell, width) in cells.zip(&widths) {
            write!(line, " {cell:<width$} |").unwrap_or_default();
        }
        line + "\n"
    };
    let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    let mut text = line(&mut headings.iter().copied());
    text.push_str(&line(&mut rule.iter().map(String::as_str)));
    for row in &rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}
