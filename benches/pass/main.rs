//! `cargo bench --bench pass`: what passes of the real program cost, held against what they could cost at least, all in one run.
//!
//! docs/performance.md says what is measured and what each number is.

mod arguments;
mod by_hand;
mod copied;
mod database;
mod document;
mod later;
mod machine;
mod probe;
mod program;
mod requests;
mod round;
mod running;
mod source;
mod stage;
mod table;
mod targets;
mod trials;
mod watched;

use std::{fs, io, path::PathBuf, process::ExitCode, sync::Arc};

use anyhow::{Context as _, anyhow};
use clap::Parser;
use serde::Serialize;
use sqlx::Connection;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    arguments::{Arguments, Plan},
    machine::Machine,
    round::{Round, Setting},
    source::{People, Source},
    stage::Stage,
    targets::{Target, Verdict},
};

/// What goes into the JSON.
#[derive(Debug, Serialize)]
struct Results {
    machine: Machine,
    rounds: Vec<Round>,
    targets: Vec<Target>,
}

fn main() -> ExitCode {
    if let Some(code) = watched::be_parent_if_asked() {
        return code;
    }
    let arguments = Arguments::parse();
    // What passes in this process log costs them something.
    tracing_subscriber::fmt().with_writer(io::sink).init();
    let result = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(run(&arguments)));
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stage = Stage::start().await?;
    let results = tokio::select! {
        results = measure(arguments, &stage) => results,
        // What was started ends with what is dropped here.
        _ = interrupt.recv() => Err(anyhow!("interrupted")),
        _ = terminate.recv() => Err(anyhow!("terminated")),
    };
    stage.stop().await?;
    let results = results?;
    let tables = table::text(&results.machine, &results.rounds, &results.targets);
    println!("{tables}");
    let path = arguments.json.clone().unwrap_or_else(default_json);
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::write(&path, serde_json::to_string_pretty(&results)? + "\n")
        .with_context(|| format!("failed to write {}", path.display()))?;
    eprintln!("{} has the numbers", path.display());
    if let Some(document) = &arguments.write {
        document::write(document, &tables)?;
    }
    let missed = results
        .targets
        .iter()
        .any(|target| target.verdict == Verdict::Missed);
    Ok(ExitCode::from(u8::from(arguments.check && missed)))
}

/// In the directory that Cargo builds in, wherever that is: the program is in a directory of it.
fn default_json() -> PathBuf {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_calmirror"));
    let target = program.ancestors().nth(2).map(PathBuf::from).unwrap_or_default();
    target.join("bench/pass.json")
}

async fn measure(arguments: &Arguments, stage: &Stage) -> anyhow::Result<Results> {
    let mut connection = stage.connect("postgres").await?;
    let machine = Machine::describe(&mut connection).await?;
    connection.close().await?;
    let mut rounds = Vec::new();
    for group in groups(arguments) {
        let users = group.users;
        let people = Arc::new(People::invent(users).await?);
        let mut floors = None;
        for latency_ms in group.latency {
            for plan in group.plans.iter().copied() {
                // Of its own, so that what another round changed is not seen by it.
                let source = Source::start(stage, people.clone(), latency_ms).await?;
                let setting = Setting {
                    users,
                    plan,
                    latency_ms,
                };
                rounds.push(round::measure(stage, &source, setting, &mut floors).await?);
            }
        }
    }
    let targets = targets::all(&rounds);
    Ok(Results {
        machine,
        rounds,
        targets,
    })
}

/// Rounds of the same users.
struct Group {
    users: usize,
    plans: Vec<Plan>,
    latency: Vec<u64>,
}

fn groups(arguments: &Arguments) -> Vec<Group> {
    let (listed, others): (Vec<Plan>, Vec<Plan>) =
        arguments.plans.iter().partition(|plan| **plan == Plan::List);
    let list = (!listed.is_empty()).then(|| Group {
        users: Plan::LISTED,
        plans: vec![Plan::List],
        latency: arguments.latency.clone(),
    });
    let sizes = arguments.sizes().into_iter().map(|users| Group {
        users,
        plans: others.clone(),
        latency: arguments.latency.clone(),
    });
    let million = arguments.million.then(|| Group {
        users: 1_000_000,
        plans: vec![Plan::Bulk],
        latency: vec![0],
    });
    list.into_iter().chain(sizes).chain(million).collect()
}
