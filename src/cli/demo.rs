//! `calmirror demo`: everything at once, with nothing configured.

mod world;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use anstyle::Style;
use anyhow::Context as _;

use self::world::World;
use super::{
    Out, Output, argument,
    bar::Bar,
    exit::Exit,
    mirror::{Mirror, Request},
    run::{Outside, serve},
    start_logging,
    sync::print_table,
};
use crate::{
    config::{Config, Environment, Secrets, environment},
    server::Server,
    shutdown::Shutdown,
    store::Trigger,
    sync::{Lines, Report},
    telemetry,
};

/// Show it all at once: a local Postgres, a simulated Cal.com, three passes
#[derive(Clone, Debug, clap::Args)]
pub struct DemoArgs {
    /// End after the third pass instead of going on by schedule
    #[arg(long)]
    once: bool,

    /// Where the demo keeps its database and configuration; emptied at each start [default: calmirror-demo, or
    /// calmirror-demo-UID, in the directory for temporary files]
    #[arg(long, value_name = "DIR", value_parser = argument::path())]
    dir: Option<PathBuf>,
}

pub(super) async fn run(args: &DemoArgs, out: &mut Out) -> anyhow::Result<Exit> {
    let shutdown = Shutdown::install()?;
    let dir = args
        .dir
        .clone()
        .unwrap_or_else(|| environment::temp_dir().join(world::default_name()));
    // Paths in the configuration are relative to its own directory.
    let dir =
        std::path::absolute(&dir).with_context(|| format!("{} cannot be found from here", dir.display()))?;
    heading(out, "A simulated Cal.com and a local Postgres")?;
    let world = World::create(&dir).await?;
    if shutdown.token().is_cancelled() {
        return Ok(Exit::Success);
    }
    // A DATABASE_URL that happens to be set is not meant for this.
    let loaded = Config::load(&world.config_path(), &Environment::default(), Secrets::Read)?;
    start_logging(&loaded.config)?;
    let mirror = Arc::new(Mirror::open(loaded.config).await?);
    note(
        out,
        format_args!(
            "Cal.com       {} (simulated, {} users)",
            world.base_url(),
            world.users()
        ),
    )?;
    if let (Some(psql), Output::Text) = (mirror.database.psql_command(), out.format) {
        out.command(2, &format!("Postgres      {psql}"))?;
    }
    note(
        out,
        format_args!("configuration {}", world.config_path().display()),
    )?;
    let server = if args.once {
        None
    } else {
        Some(server(&mirror.config).await?)
    };
    let page = server.as_ref().map(Server::address);
    let exit = tokio::select! {
        exit = three_passes(&world, &mirror, &shutdown, out) => exit?,
        () = shutdown.overdue() => Exit::Failed,
    };
    let stopped = shutdown.token().is_cancelled();
    if !stopped {
        closing(page, &world, &mirror, out)?;
    }
    if server.is_some() && exit == Exit::Success && !stopped {
        let (served, ()) = tokio::join!(
            serve(Arc::clone(&mirror), server, &shutdown, Outside::default()),
            world.live_until(shutdown.token().cancelled_owned())
        );
        served?;
    }
    if let Some(mirror) = Arc::into_inner(mirror) {
        mirror.close().await;
    }
    world.close().await;
    Ok(if stopped { Exit::Success } else { exit })
}

/// Where a browser can look on: at the usual address, or any port where that is taken.
async fn server(config: &Config) -> anyhow::Result<Server> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let usual = config.server.listen.unwrap_or(any);
    match Server::bind(usual).await {
        Ok(server) => Ok(server),
        Err(_) => Ok(Server::bind(any).await?),
    }
}

async fn three_passes(
    world: &World,
    mirror: &Mirror,
    shutdown: &Shutdown,
    out: &mut Out,
) -> anyhow::Result<Exit> {
    heading(out, "First pass: every user is new")?;
    // A line for each of hundreds of inserts would hide the rest.
    let first = passes(mirror, shutdown, Lines::None).await;
    print(out, &first)?;
    if shutdown.token().is_cancelled() {
        return Ok(Exit::Success);
    }
    let late = world.late_user();
    note(
        out,
        format_args!("user {late} is configured, but Cal.com does not have it yet"),
    )?;

    heading(out, "Somebody changes things at Cal.com")?;
    for change in world.change_users()? {
        note(out, change)?;
    }

    heading(
        out,
        "Second pass: only what differs is written, and said field by field",
    )?;
    let second = passes(mirror, shutdown, Lines::Changes).await;
    print(out, &second)?;
    if shutdown.token().is_cancelled() {
        return Ok(Exit::Success);
    }

    heading(out, "Third pass: nothing differs, so nothing is written")?;
    let ledger_before = mirror.database.store.ledger_rows().await?;
    let third = passes(mirror, shutdown, Lines::Changes).await;
    print(out, &third)?;
    let written = mirror.database.store.ledger_rows().await? - ledger_before;
    note(out, format_args!("rows written: {written}"))?;
    Ok([first, second, third]
        .iter()
        .flatten()
        .map(Exit::of_report)
        .max()
        .unwrap_or(Exit::Success))
}

/// One pass over each client, one after the other, so that the bars and lines can be followed.
async fn passes(mirror: &Mirror, shutdown: &Shutdown, lines: Lines) -> Vec<Report> {
    let mut reports = Vec::new();
    for (index, watched) in mirror.clients.iter().enumerate() {
        let request = Request {
            lines,
            ..Request::of(Trigger::Operator)
        };
        let token = shutdown.token();
        // Where each change is a line, these show how far it has come.
        let report = if lines == Lines::None {
            let bar = Bar::of(&watched.client.name);
            let request = Request {
                progress: Some(bar.progress()),
                tell_every: bar.tell_every(),
                ..request
            };
            let pass = mirror.pass(index, request, &token);
            let report = bar.over(&watched.source, pass).await;
            bar.leave();
            report
        } else {
            mirror.pass(index, request, &token).await
        };
        reports.push(report);
    }
    reports
}

fn closing(page: Option<SocketAddr>, world: &World, mirror: &Mirror, out: &mut Out) -> anyhow::Result<()> {
    if out.format == Output::Json {
        return Ok(());
    }
    heading(out, "Look for yourself")?;
    let config = world.config_path();
    let program = environment::program();
    let program = program.display();
    let user = world.changed_user();
    out.command(2, &format!("{program} --config {} status", config.display()))?;
    out.command(
        2,
        &format!("{program} --config {} history {user}", config.display()),
    )?;
    if page.is_none() {
        out.line("  The database is kept; these commands start it again.")?;
    } else if let Some(psql) = mirror.database.psql_command() {
        out.command(2, &format!("{psql} -c 'select * from managed_users_freshness'"))?;
        out.command(
            2,
            &format!(
                "{psql} -c 'select user_id, version, kind, changed from managed_user_changes order by change_id desc limit 5'"
            ),
        )?;
        if let Some(page) = page {
            out.line(format_args!("  http://{page}/"))?;
        }
        heading(
            out,
            "On schedule from here, with a change at Cal.com now and then; Ctrl-C ends it",
        )?;
    }
    Ok(())
}

fn print(out: &mut Out, reports: &[Report]) -> anyhow::Result<()> {
    match out.format {
        Output::Json => reports.iter().try_for_each(|report| out.json(report)),
        Output::Text => telemetry::above_progress(|| print_table(reports, out)),
    }
}

fn heading(out: &mut Out, text: &str) -> anyhow::Result<()> {
    if out.format == Output::Text {
        let bold = Style::new().bold();
        out.line(format_args!("\n{bold}{text}{bold:#}"))?;
    }
    Ok(())
}

fn note(out: &mut Out, text: impl std::fmt::Display) -> anyhow::Result<()> {
    if out.format == Output::Text {
        out.line(format_args!("  {text}"))?;
    }
    Ok(())
}
