//! The real program as a child: one pass, and all that can be seen of it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use sqlx::PgConnection;

use crate::{
    arguments::Plan,
    source::Source,
    stage::{self, Stage, Written},
    watched::{Ended, Usage, Watched},
};

/// A configuration of the program, for one client, one plan and one database.
#[derive(Debug)]
pub(crate) struct Program<'a> {
    stage: &'a Stage,
    source: &'a Source,
    config: PathBuf,
}

/// What `sync --output json` says of a pass, as far as it is wanted.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Report {
    pub(crate) inserted: usize,
    pub(crate) updated: usize,
    pub(crate) unchanged: usize,
    pub(crate) requests: u64,
    pub(crate) duration_s: f64,
    error: Option<String>,
}

/// One pass.
#[derive(Clone, Debug)]
pub(crate) struct Pass {
    pub(crate) report: Report,
    pub(crate) usage: Usage,
    /// Of the simulator meanwhile.
    pub(crate) source_cpu_s: Option<f64>,
}

/// What a pass is to have found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected {
    pub(crate) inserted: usize,
    pub(crate) updated: usize,
    pub(crate) unchanged: usize,
}

impl Expected {
    pub(crate) const fn unchanged(users: usize) -> Self {
        Self {
            inserted: 0,
            updated: 0,
            unchanged: users,
        }
    }

    pub(crate) fn holds(&self, inserted: usize, updated: usize, unchanged: usize) -> anyhow::Result<()> {
        let found = (inserted, updated, unchanged);
        ensure!(
            found == (self.inserted, self.updated, self.unchanged),
            "a pass found {found:?} users inserted, updated and unchanged, and not {self:?}",
        );
        Ok(())
    }
}

impl<'a> Program<'a> {
    pub(crate) fn new(
        stage: &'a Stage,
        source: &'a Source,
        plan: Plan,
        database: &str,
    ) -> anyhow::Result<Self> {
        let users = stage.dir().join(format!("{database}.csv"));
        source.people.write(&users)?;
        let secret = stage.dir().join("secret");
        fs::write(&secret, &source.people.secret)?;
        let config = stage.dir().join(format!("{database}.toml"));
        // A JSON string is a TOML one as well.
        let text = |text: &str| serde_json::Value::from(text);
        fs::write(
            &config,
            format!(
                "[calcom]\nbase_url = {}\nfetch = {}\nrequests_per_minute = 0\nconcurrency = {}\n\n\
                 [database]\nurl = {}\n\n\
                 [[clients]]\nname = \"bench\"\nid = {}\nsecret = {{ file = {} }}\nusers_file = {}\n",
                text(&source.base_url),
                text(plan.as_str()),
                plan.concurrency(),
                text(&stage.url(database)?),
                text(&source.people.client_id),
                text(&secret.to_string_lossy()),
                text(&users.to_string_lossy()),
            ),
        )?;
        Ok(Self {
            stage,
            source,
            config,
        })
    }

    pub(crate) fn config(&self) -> &Path {
        &self.config
    }

    /// What the program has against the plan, if it does not know it.
    pub(crate) async fn refusal(&self) -> anyhow::Result<Option<String>> {
        const KEY: &str = "calcom.fetch: ";
        let ended = self.run(&["config"]).await?;
        if ended.code == 0 {
            return Ok(None);
        }
        let said = ended.stderr.split_once(KEY).map(|(_, said)| said);
        let said = said.and_then(|said| said.split([';', '\n']).next());
        let said = said.with_context(|| format!("the configuration is refused: {}", ended.stderr))?;
        Ok(Some(said.to_owned()))
    }

    pub(crate) async fn migrate(&self) -> anyhow::Result<()> {
        self.run(&["migrate"]).await?.expect_success()?;
        Ok(())
    }

    /// Makes a pass while nobody else is connected, and sees what it writes. `connection` is to the same database.
    pub(crate) async fn writing_pass(
        &self,
        connection: &mut PgConnection,
        expected: Expected,
    ) -> anyhow::Result<(Pass, Written)> {
        let before = stage::done(connection).await?;
        let pass = self.pass(expected).await?;
        Ok((pass, stage::done(connection).await?.since(before)))
    }

    /// Makes a pass, and holds it against what it is to find.
    pub(crate) async fn pass(&self, expected: Expected) -> anyhow::Result<Pass> {
        let source_before = self.source.cpu_s();
        let ended = self
            .run(&["--output=json", "sync"])
            .await?
            .expect_success()
            .context("a pass failed")?;
        let source_cpu_s = source_before
            .zip(self.source.cpu_s())
            .map(|(before, after)| after - before);
        let report: Report = serde_json::from_str(ended.stdout.trim())
            .with_context(|| format!("a pass did not report itself: {}", ended.stdout))?;
        ensure!(report.error.is_none(), "a pass failed: {report:?}");
        expected.holds(report.inserted, report.updated, report.unchanged)?;
        Ok(Pass {
            report,
            usage: ended.usage,
            source_cpu_s,
        })
    }

    async fn run(&self, arguments: &[&str]) -> anyhow::Result<Ended> {
        let config = self.config.to_string_lossy();
        let mut program = vec![env!("CARGO_BIN_EXE_calmirror"), "--config", &config];
        program.extend(arguments);
        Watched::start(self.stage.dir(), "program", &program)?.end().await
    }
}
