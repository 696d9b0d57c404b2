//! The commands, one file each, and what they share: arguments, output, exit codes.

pub mod approve;
mod argument;
mod bar;
pub mod check;
mod command;
pub mod completions;
pub mod config;
pub mod demo;
mod examples;
pub mod exit;
mod failure;
pub mod forget;
pub mod grants;
pub mod history;
pub mod init;
pub mod man;
pub mod migrate;
pub mod mirror;
mod out;
pub mod plan;
pub mod prune;
pub mod run;
pub mod simulate;
pub mod status;
pub mod sync;
mod table;
mod terminal;
pub mod verify;

use std::{net::SocketAddr, path::PathBuf};

use anstream::{AutoStream, ColorChoice};
use clap::{Parser, Subcommand, ValueEnum};

use self::exit::Exit;
pub use self::{failure::Failure, out::Out};
use crate::{
    config::{Config, Environment, Loaded, Secrets},
    shutdown::Shutdown,
    telemetry,
};

/// Keep a Postgres table true to what Cal.com says of your managed users
#[derive(Debug, Parser)]
#[command(
    name = "calmirror",
    version,
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
pub struct Cli {
    /// Configuration [default: config.toml, then /etc/calmirror/config.toml]
    #[arg(long, value_name = "FILE", global = true, display_order = 900)]
    config: Option<PathBuf>,

    /// How results are printed
    #[arg(
        long,
        value_name = "FORMAT",
        global = true,
        default_value = "text",
        display_order = 901
    )]
    output: Output,

    #[command(subcommand)]
    command: Command,
}

/// How results are printed on standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    Text,
    /// For programs: one JSON value a line
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show it all at once: a local Postgres, a simulated Cal.com, three passes
    Demo(demo::DemoArgs),
    /// Write a configuration from a client id and its secret's whereabouts, and check it
    Init(init::InitArgs),
    /// Check configuration, database and credentials, with one request a client
    Check(check::CheckArgs),
    /// Show what `sync` would change, and write nothing
    Plan(plan::PlanArgs),
    /// Make one pass over each client
    Sync(sync::SyncArgs),
    /// Make passes on schedule until stopped
    Run,
    /// Show how fresh the mirror is, and what the last passes did
    Status(status::StatusArgs),
    /// Remove the users that a pass held, after asking for each once more
    Approve(approve::ApproveArgs),
    /// Show every change of one user
    History(history::HistoryArgs),
    /// Erase all that the mirror holds of one user, for good
    ///
    /// The row, every version in the ledger, and rejects. What stays is the id and the time, so that no pass mirrors the user
    /// again. Backups and replicas are not reached, and neither is Cal.com.
    Forget(forget::ForgetArgs),
    /// Delete what `[retention]` does not keep, as `run` does once a day
    Prune(prune::PruneArgs),
    /// Compare the mirror with its ledger; with --repair, set right what was edited in Postgres
    Verify(verify::VerifyArgs),
    /// Bring the database's tables up to this version
    Migrate,
    /// Print the SQL for three roles that may do no more than they have to
    ///
    /// The migrator owns the tables and runs `migrate`, `forget` and `verify --repair`; the daemon makes passes; the reader reads
    /// users and their history. The database is not asked. Run the SQL after each upgrade, the first time as a superuser or as
    /// the owner of the tables, and set passwords then.
    Grants(grants::GrantsArgs),
    /// Print the effective configuration, secrets masked
    Config,
    /// Serve a simulated Cal.com
    Simulate(simulate::SimulateArgs),
    /// Print a completion script for a shell
    Completions(completions::CompletionsArgs),
    /// Print the manual page, or write one for each command
    Man(man::ManArgs),
}

impl Cli {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// What kept it from being done. What a command found is in the exit code.
    pub async fn run(self, environment: &Environment) -> anyhow::Result<Exit> {
        let mut out = Out::new(self.output);
        match &self.command {
            Command::Demo(args) => demo::run(args, &mut out).await,
            Command::Init(args) => {
                let args = args.clone().writing_to(self.config.as_deref());
                init_and_check(&args, &mut out, environment).await
            }
            Command::Check(args) if args.health => {
                check::health::run(self.listen(environment), &mut out).await
            }
            Command::Check(args) => {
                let loaded = self.load_quietly(environment, args.secrets())?;
                check::run(args, loaded.config, &loaded.warnings, &mut out).await
            }
            Command::Plan(args) => plan::run(args, self.load(environment, args.secrets())?, &mut out).await,
            Command::Sync(args) => sync::run(args, self.load(environment, Secrets::Read)?, &mut out).await,
            Command::Run => {
                let origin = run::Origin {
                    path: Config::find(self.config.as_deref())?,
                    environment: environment.clone(),
                };
                run::run(self.load(environment, Secrets::Read)?, origin).await
            }
            Command::Status(args) => {
                status::run(
                    args,
                    self.load(environment, Secrets::LeftAlone)?,
                    &mut out,
                    environment,
                )
                .await
            }
            Command::Approve(args) => {
                approve::run(args, self.load(environment, Secrets::Read)?, &mut out).await
            }
            Command::History(args) => {
                history::run(args, self.load(environment, Secrets::LeftAlone)?, &mut out).await
            }
            Command::Forget(args) => {
                forget::run(args, self.load(environment, Secrets::LeftAlone)?, &mut out).await
            }
            Command::Prune(args) => {
                prune::run(args, self.load(environment, Secrets::LeftAlone)?, &mut out).await
            }
            Command::Verify(args) => {
                verify::run(args, self.load(environment, Secrets::LeftAlone)?, &mut out).await
            }
            Command::Migrate => migrate::run(self.load(environment, Secrets::LeftAlone)?, &mut out).await,
            Command::Grants(args) => {
                grants::run(args, &self.load(environment, Secrets::LeftAlone)?, &mut out)
            }
            Command::Config => {
                let config = self.load(environment, Secrets::LeftAlone)?;
                config::run(&config, &mut out)?;
                Ok(Exit::Success)
            }
            Command::Simulate(args) => {
                let shutdown = Shutdown::install()?;
                simulate::run(args, out.format, &mut out.writer, shutdown.token()).await?;
                Ok(Exit::Success)
            }
            Command::Completions(args) => completions::run(args, &mut out),
            Command::Man(args) => man::run(args, &mut out),
        }
    }

    /// Reads the configuration and starts logging as it says. Only what asks Cal.com wants the secrets.
    fn load(&self, environment: &Environment, secrets: Secrets) -> anyhow::Result<Config> {
        let loaded = self.load_quietly(environment, secrets)?;
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        Ok(loaded.config)
    }

    /// The same for a command whose results its warnings are.
    fn load_quietly(&self, environment: &Environment, secrets: Secrets) -> anyhow::Result<Loaded> {
        let path = Config::find(self.config.as_deref())?;
        let loaded = Config::load(&path, environment, secrets)?;
        start_logging(&loaded.config)?;
        Ok(loaded)
    }

    /// Where the daemon of the configuration listens. Nothing is logged.
    fn listen(&self, environment: &Environment) -> anyhow::Result<Option<SocketAddr>> {
        let path = Config::find(self.config.as_deref())?;
        Ok(Config::listen(&path, environment)?)
    }
}

/// With colours by the same conventions as results: `NO_COLOR`, `CLICOLOR_FORCE`, `TERM`, and whether it is a terminal.
fn start_logging(config: &Config) -> anyhow::Result<()> {
    let colour = AutoStream::choice(&std::io::stderr()) != ColorChoice::Never;
    telemetry::init(&config.log, colour)?;
    Ok(())
}

async fn init_and_check(
    args: &init::InitArgs,
    out: &mut Out,
    environment: &Environment,
) -> anyhow::Result<Exit> {
    // What a program reads on standard output is JSON alone.
    let written = match out.format {
        Output::Text => init::write(args, &mut out.writer, environment)?,
        Output::Json => init::write(args, &mut std::io::stderr(), environment)?,
    };
    if out.format == Output::Json {
        out.json(&init::Wrote {
            wrote: args.path.to_string_lossy().into_owned(),
            complete: args.says_who(),
        })?;
    }
    if let Some(config) = written {
        start_logging(&config)?;
        // What there is to warn of, `init` has said.
        return check::run(&check::CheckArgs::default(), config, &[], out).await;
    }
    Ok(Exit::Success)
}
