//! `calmirror status --watch`: the status as it changes.

use std::{
    collections::HashMap,
    io::{self, IsTerminal, Write},
    time::Duration,
};

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::{Client, Status, read, text};
use crate::{
    cli::{Out, Output, exit::Exit, mirror::Database, out::harmless, terminal},
    clock::{Clock, SystemClock},
    config::Config,
    model::escape_hidden,
    shutdown::Shutdown,
    store::Error,
};

/// For one look at the database.
const PATIENCE: Duration = Duration::from_secs(10);

/// What changes by itself.
const RESTLESS: [&str; 3] = ["lag_s", "last_started_s", "last_heartbeat_at"];

/// Looks at the database every so often until a signal comes. While the database is away, it waits.
///
/// `draws`: a terminal, if it is one, can move its cursor.
pub(super) async fn run(every: Duration, draws: bool, config: Config, out: &mut Out) -> anyhow::Result<Exit> {
    let shutdown = Shutdown::install_quietly()?;
    let token = shutdown.token();
    let Some(database) = token.run_until_cancelled(Database::open(&config.database)).await else {
        return Ok(Exit::Success);
    };
    let database = database?;
    let mut view = View::of(out, every, draws);
    let followed = token
        .run_until_cancelled(follow(every, &config, &database, &mut view, out))
        .await;
    database.close().await;
    if let Some(Err(error)) = followed {
        return Err(error);
    }
    if let View::Screen(_) = view {
        // The terminal has shown the key that ended it.
        out.whole(b"\n")?;
    }
    Ok(Exit::Success)
}

/// Ends with an error only: one that waiting does not mend, or that there is no reader any more.
async fn follow(
    every: Duration,
    config: &Config,
    database: &Database,
    view: &mut View,
    out: &mut Out,
) -> anyhow::Result<()> {
    loop {
        match look(config, database).await {
            Ok(status) => view.show(&status, database.psql_command(), out)?,
            Err(error) if error.is_transient() => view.miss(&error, out)?,
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(every).await;
    }
}

async fn look(config: &Config, database: &Database) -> Result<Status, Error> {
    let looking = async {
        database.revive().await?;
        read(&database.store, config).await
    };
    match tokio::time::timeout(PATIENCE, looking).await {
        Ok(looked) => looked,
        Err(_) => Err(Error::Unavailable(format!(
            "no answer within {} s",
            PATIENCE.as_secs()
        ))),
    }
}

/// How what was seen last is shown, and what that was.
enum View {
    Screen(Box<Screen>),
    Lines(Lines),
    Json(Option<Value>),
}

impl View {
    fn of(out: &Out, every: Duration, draws: bool) -> Self {
        match out.format {
            Output::Json => Self::Json(None),
            Output::Text if draws && io::stdout().is_terminal() => Self::Screen(Box::new(Screen::new(every))),
            Output::Text => Self::Lines(Lines::default()),
        }
    }

    fn show(&mut self, status: &Status, psql: Option<String>, out: &mut Out) -> anyhow::Result<()> {
        match self {
            Self::Screen(screen) => screen.show(status, psql)?,
            Self::Lines(lines) => lines.show(status, out)?,
            Self::Json(last) => {
                let settled = settled(serde_json::to_value(status)?);
                if last.as_ref() != Some(&settled) {
                    out.json(status)?;
                    *last = Some(settled);
                }
            }
        }
        Ok(())
    }

    fn miss(&mut self, error: &Error, out: &mut Out) -> anyhow::Result<()> {
        match self {
            Self::Screen(screen) => screen.miss(error)?,
            Self::Lines(lines) => lines.miss(error, out)?,
            Self::Json(last) => {
                let value = json!({ "unavailable": error.to_string() });
                if last.as_ref().is_none_or(|last| last.get("unavailable").is_none()) {
                    out.json(&value)?;
                    *last = Some(value);
                }
            }
        }
        Ok(())
    }
}

/// Without what changes by itself.
fn settled(mut status: Value) -> Value {
    for client in status["clients"].as_array_mut().into_iter().flatten() {
        for key in RESTLESS {
            client[key] = Value::Null;
        }
    }
    status
}

/// A line for each client that is not as it was.
#[derive(Default)]
struct Lines {
    last: HashMap<String, String>,
    is_away: bool,
}

impl Lines {
    fn show(&mut self, status: &Status, out: &mut Out) -> anyhow::Result<()> {
        if std::mem::take(&mut self.is_away) {
            out.line(format_args!("{} the database is back", now()))?;
        }
        let known = status
            .clients
            .iter()
            .map(|client| (text::name(client, &status.clients), summary(client)));
        let never = status
            .never_passed
            .iter()
            .map(|name| (name.clone(), "no pass yet".to_owned()));
        for (name, line) in known.chain(never) {
            if self.last.get(&name) != Some(&line) {
                out.line(format_args!("{} {name}: {}", now(), escape_hidden(&line)))?;
                self.last.insert(name, line);
            }
        }
        Ok(())
    }

    fn miss(&mut self, error: &Error, out: &mut Out) -> anyhow::Result<()> {
        if !std::mem::replace(&mut self.is_away, true) {
            out.line(format_args!("{} {}", now(), escape_hidden(&error.to_string())))?;
        }
        Ok(())
    }
}

/// A client in one line.
fn summary(client: &Client) -> String {
    let status = &client.status;
    let run = status.last_run_id;
    let pass = match (&status.last_outcome, status.last_observed) {
        (Some(outcome), _) => format!("run {run} {outcome}"),
        (None, None) => format!("run {run} under way"),
        (None, Some(observed)) => format!(
            "run {run} under way, {observed}{} users observed, {} requests, {} changes",
            status
                .last_planned_users
                .map_or_else(String::new, |planned| format!(" of {planned}")),
            status.last_requests.unwrap_or(0),
            status.last_changes.unwrap_or(0),
        ),
    };
    let mut line = format!(
        "{}; {pass}; {} live, {} removed, {} missing, {} rejects",
        status.verdict, status.live_users, status.removed_users, client.watch.missing_users, status.rejects
    );
    if let Some(held) = &client.held {
        line.push_str(&format!("; {} held by run {}", held.users, held.run_id));
    }
    if let Some(error) = &status.last_error {
        line.push_str(&format!("; {error}"));
    }
    line
}

/// The status in place on a terminal: each frame is written over the one before, in one piece.
struct Screen {
    every: Duration,
    /// The status as it was last seen.
    page: Option<(Status, Option<String>)>,
    away_since: Option<DateTime<Utc>>,
    /// Of the frame that stands there: columns of the terminal, and lines.
    drawn: Option<(usize, usize)>,
}

impl Screen {
    fn new(every: Duration) -> Self {
        Self {
            every,
            page: None,
            away_since: None,
            drawn: None,
        }
    }

    fn show(&mut self, status: &Status, psql: Option<String>) -> io::Result<()> {
        self.page = Some((status.clone(), psql));
        self.away_since = None;
        self.draw("")
    }

    fn miss(&mut self, error: &Error) -> io::Result<()> {
        let since = *self.away_since.get_or_insert_with(|| SystemClock.now());
        self.draw(&format!(
            "\nsince {}: {}; what is below was seen before",
            text::instant(since),
            escape_hidden(&error.to_string())
        ))
    }

    fn draw(&mut self, notice: &str) -> io::Result<()> {
        // Some terminals do not say.
        let (columns, lines) = terminal::size().unwrap_or((80, 24));
        let head = format!(
            "{}  every {} s, Ctrl-C ends it{notice}",
            now(),
            self.every.as_secs_f64()
        );
        let mut frame = terminal::fit(&harmless(&head), columns);
        if let Some((status, psql)) = &self.page {
            frame.push_str("\n\n");
            frame.push_str(text::page(status, psql.as_deref(), Some(columns)).trim_end());
        }
        let frame = cut(&frame, columns, lines);
        let mut bytes = match self.drawn {
            None => String::new(),
            Some((width, height)) if width == columns => format!("\r\x1b[{height}A"),
            // What stands there was broken anew by the terminal.
            Some(_) => "\x1b[H\x1b[2J".to_owned(),
        };
        for line in &frame {
            bytes.push_str(line);
            bytes.push_str("\x1b[K\n");
        }
        bytes.push_str("\x1b[J");
        self.drawn = Some((columns, frame.iter().map(|line| rows(line, columns)).sum()));
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes.as_bytes())?;
        stdout.flush()
    }
}

/// As many lines as a terminal has, but for the one where its cursor stands.
fn cut(frame: &str, columns: usize, lines: usize) -> Vec<String> {
    let room = lines.saturating_sub(1).max(1);
    let all: Vec<&str> = frame.lines().collect();
    if all.iter().map(|line| rows(line, columns)).sum::<usize>() <= room {
        return all.into_iter().map(str::to_owned).collect();
    }
    let mut taken = 0;
    let mut shown: Vec<String> = all
        .iter()
        .take_while(|line| {
            taken += rows(line, columns);
            taken < room
        })
        .map(|line| (*line).to_owned())
        .collect();
    shown.push(format!("({} more lines)", all.len() - shown.len()));
    shown
}

/// A command that is kept whole may take more than one line of the terminal.
fn rows(line: &str, columns: usize) -> usize {
    terminal::width(line).div_ceil(columns.max(1)).max(1)
}

fn now() -> String {
    text::instant(SystemClock.now())
}
