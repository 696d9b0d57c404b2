//! One round: a client of so many users, asked for in one way, first filled, then unchanged, then with 1 % changed.

use anyhow::Context as _;
use serde::Serialize;
use sqlx::Connection;

use crate::{
    arguments::Plan,
    by_hand::{self, ByHand},
    database::{self, Floors},
    later::Later,
    program::{Expected, Pass, Program},
    source::Source,
    stage::{self, Stage, Written},
    trials::{Seconds, trials},
};

/// The database that passes are measured in, and the one that it is a copy of.
const DATABASE: &str = "bench";
const EMPTY: &str = "bench_empty";

/// By hand, every answer is a file: more of them than this measure the file system.
const MOST_BY_HAND: usize = 100_000;
/// Of fewer users it is mostly the start of three programs.
const LEAST_BY_HAND: usize = 10_000;

/// What a round is of.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Setting {
    pub(crate) users: usize,
    pub(crate) plan: Plan,
    pub(crate) latency_ms: u64,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Round {
    #[serde(flatten)]
    pub(crate) setting: Setting,
    #[serde(flatten)]
    pub(crate) came: Came,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Came {
    Measured(Box<Measured>),
    /// The program does not take the configuration; its words.
    Refused(String),
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Measured {
    pub(crate) requests: Seconds,
    pub(crate) database: Floors,
    pub(crate) probe: Seconds,
    pub(crate) by_hand: Option<ByHand>,
    pub(crate) cases: Vec<Case>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    FirstFill,
    Unchanged,
    Changed,
}

/// Passes of one kind. Times are the program's own `duration_s`; what a pass uses is that of the fastest one of a process of its own.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Case {
    pub(crate) kind: Kind,
    /// Of a process that has just made a pass; of a first fill, whose process never has, as in `alone`.
    pub(crate) seconds: Seconds,
    /// Of `calmirror sync`, a process for each pass.
    pub(crate) alone: Seconds,
    pub(crate) users_per_s: f64,
    pub(crate) requests: u64,
    pub(crate) ratio_to_requests: f64,
    pub(crate) ratio_to_database: f64,
    /// Of an unchanged pass.
    pub(crate) ratio_to_probe: Option<f64>,
    #[serde(flatten)]
    pub(crate) written: Written,
    /// The largest of all passes.
    pub(crate) peak_rss_mib: f64,
    /// Of the whole process, from its start to its end.
    pub(crate) cpu_us_per_user: f64,
    pub(crate) source_cpu_us_per_request: Option<f64>,
}

impl Kind {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::FirstFill => "first fill",
            Self::Unchanged => "unchanged",
            Self::Changed => "1 % changed",
        }
    }
}

impl Measured {
    pub(crate) fn case(&self, kind: Kind) -> Option<&Case> {
        self.cases.iter().find(|case| case.kind == kind)
    }
}

/// Measures a round. The database's floors are measured in the first of as many users.
pub(crate) async fn measure(
    stage: &Stage,
    source: &Source,
    setting: Setting,
    floors: &mut Option<Floors>,
) -> anyhow::Result<Round> {
    let Setting { users, plan, .. } = setting;
    let empty = Program::new(stage, source, plan, EMPTY)?;
    if let Some(said) = empty.refusal().await? {
        say(setting, &format!("refused: {said}"));
        let came = Came::Refused(said);
        return Ok(Round { setting, came });
    }
    stage.create(EMPTY, None).await?;
    empty.migrate().await?;
    let program = Program::new(stage, source, plan, DATABASE)?;
    let fills = trials(async |_| {
        stage.create(DATABASE, Some(EMPTY)).await?;
        let mut connection = stage.connect(DATABASE).await?;
        stage::settle(&mut connection).await?;
        let expected = Expected {
            inserted: users,
            updated: 0,
            unchanged: 0,
        };
        let filled = program.writing_pass(&mut connection, expected).await?;
        connection.close().await?;
        Ok(filled)
    })
    .await?;
    let (fills, written): (Vec<_>, Vec<_>) = fills.into_iter().unzip();
    let fills = Passes {
        running: seconds(&fills),
        alone: fills,
        written: written.into_iter().next_back().unwrap_or_default(),
    };
    say(
        setting,
        &format!("{}: {}", Kind::FirstFill.as_str(), fills.running),
    );
    let mut connection = stage.connect(DATABASE).await?;
    stage::settle(&mut connection).await?;
    let database = match floors {
        Some(floors) => floors.clone(),
        None => floors
            .insert(
                database::floors(&mut connection)
                    .await
                    .context("the database alone")?,
            )
            .clone(),
    };
    say(
        setting,
        &format!(
            "database alone: {:.3} s to read, {:.3} s to write",
            database.read.best, database.write.best
        ),
    );
    let by_hand = if setting.latency_ms == 0 && (LEAST_BY_HAND..=MOST_BY_HAND).contains(&users) {
        Some(
            by_hand::measure(stage, source, plan, DATABASE, &mut connection)
                .await
                .context("by hand")?,
        )
    } else {
        None
    };
    match &by_hand {
        Some(ByHand::Took(seconds)) => say(setting, &format!("by hand: {:.3} s", seconds.best)),
        Some(ByHand::Skipped(why)) => say(setting, &format!("by hand: SKIPPED, {why}")),
        None => {}
    }
    let later = Later::measure(&program, source, setting, &mut connection).await?;
    connection.close().await?;
    stage.drop(DATABASE).await?;
    let Later {
        requests,
        probe,
        unchanged,
        changed,
    } = later;
    let case = |kind, passes: &Passes| {
        let floor = if kind == Kind::FirstFill {
            &database.write
        } else {
            &database.read
        };
        Case::of(kind, users, passes, (&requests, floor, &probe))
    };
    let cases = vec![
        case(Kind::FirstFill, &fills)?,
        case(Kind::Unchanged, &unchanged)?,
        case(Kind::Changed, &changed)?,
    ];
    let came = Came::Measured(Box::new(Measured {
        requests,
        database,
        probe,
        by_hand,
        cases,
    }));
    Ok(Round { setting, came })
}

/// Of one kind, each made in both ways.
pub(crate) struct Passes {
    pub(crate) alone: Vec<Pass>,
    pub(crate) running: Seconds,
    pub(crate) written: Written,
}

impl Case {
    fn of(
        kind: Kind,
        users: usize,
        passes: &Passes,
        (requests, database, probe): (&Seconds, &Seconds, &Seconds),
    ) -> anyhow::Result<Self> {
        let best = passes
            .alone
            .iter()
            .min_by(|left, right| left.report.duration_s.total_cmp(&right.report.duration_s))
            .context("no pass was made")?;
        let seconds = passes.running.clone();
        let peak = passes
            .alone
            .iter()
            .map(|pass| pass.usage.peak_rss_bytes)
            .max()
            .unwrap_or_default();
        Ok(Self {
            kind,
            users_per_s: users as f64 / seconds.best,
            requests: best.report.requests,
            ratio_to_requests: seconds.best / requests.best,
            ratio_to_database: seconds.best / database.best,
            ratio_to_probe: (kind == Kind::Unchanged).then_some(seconds.best / probe.best),
            written: passes.written,
            peak_rss_mib: peak as f64 / 1024.0 / 1024.0,
            cpu_us_per_user: best.usage.cpu_s * 1e6 / users as f64,
            source_cpu_us_per_request: best
                .source_cpu_s
                .map(|seconds| seconds * 1e6 / best.report.requests as f64),
            alone: self::seconds(&passes.alone),
            seconds,
        })
    }
}

pub(crate) fn seconds(passes: &[Pass]) -> Seconds {
    Seconds::of(passes.iter().map(|pass| pass.report.duration_s).collect())
}

pub(crate) fn say(setting: Setting, what: &str) {
    eprintln!(
        "{} users, {}, {} ms: {what}",
        setting.users, setting.plan, setting.latency_ms
    );
}
