//! Passes over users that the mirror has, and what stands beside them.

use sqlx::PgConnection;

use crate::{
    probe,
    program::{Expected, Pass, Program},
    requests::{self, Asking},
    round::{Kind, Passes, Setting, say, seconds},
    running::Running,
    source::Source,
    stage::{self, Written},
    trials::{Seconds, trials},
};

pub(crate) struct Later {
    pub(crate) requests: Seconds,
    pub(crate) probe: Seconds,
    pub(crate) unchanged: Passes,
    pub(crate) changed: Passes,
}

impl Later {
    /// `connection` is to the database of the program, to which nobody else is connected.
    pub(crate) async fn measure(
        program: &Program<'_>,
        source: &Source,
        setting: Setting,
        connection: &mut PgConnection,
    ) -> anyhow::Result<Self> {
        let changes = Changes { source, setting };
        let asking = Asking::new(source, setting.plan)?;
        let (unchanged_written, changed_written) = written(program, &changes, connection).await?;
        // Its answers open the connections that are kept.
        probe::learn(&asking, connection).await?;
        stage::settle(connection).await?;
        let running = Running::start(program, setting.users).await?;
        // By turns, so that a machine that is slower for a while is so for all of them.
        let unchanged = Expected::unchanged(setting.users);
        let turns = trials(async |_| {
            let requests = requests::floor(&asking).await?;
            let probe = probe::measure(&asking, setting.users, connection).await?;
            let running = running.pass(unchanged).await?;
            Ok(((requests, probe), (running, program.pass(unchanged).await?)))
        })
        .await?;
        let (floors, turns): (Vec<_>, Vec<_>) = turns.into_iter().unzip();
        let (requests, probe): (Vec<_>, Vec<_>) = floors.into_iter().unzip();
        let (requests, probe) = (Seconds::of(requests), Seconds::of(probe));
        say(setting, &format!("requests alone: {requests}"));
        say(setting, &format!("bare probe: {probe}"));
        let unchanged = both(setting, Kind::Unchanged, turns, unchanged_written);
        let turns = trials(async |trial| {
            let expected = changes.make(&format!("trial {trial}, running")).await?;
            let running = running.pass(expected).await?;
            let expected = changes.make(&format!("trial {trial}")).await?;
            Ok((running, program.pass(expected).await?))
        })
        .await?;
        running.stop().await;
        Ok(Self {
            requests,
            probe,
            unchanged,
            changed: both(setting, Kind::Changed, turns, changed_written),
        })
    }
}

/// What an unchanged pass writes, and one with 1 % changed.
async fn written(
    program: &Program<'_>,
    changes: &Changes<'_>,
    connection: &mut PgConnection,
) -> anyhow::Result<(Written, Written)> {
    let unchanged = Expected::unchanged(changes.setting.users);
    stage::settle(connection).await?;
    // The first change to a page after a checkpoint logs all of it: this pass has those of the tables that each pass
    // writes to.
    program.pass(unchanged).await?;
    let (_, of_unchanged) = program.writing_pass(connection, unchanged).await?;
    let changed = changes.make("what is written").await?;
    let (_, of_changed) = program.writing_pass(connection, changed).await?;
    Ok((of_unchanged, of_changed))
}

fn both(setting: Setting, kind: Kind, turns: Vec<(f64, Pass)>, written: Written) -> Passes {
    let (running, alone): (Vec<_>, Vec<_>) = turns.into_iter().unzip();
    let running = Seconds::of(running);
    say(
        setting,
        &format!("{}: {running}; sync: {}", kind.as_str(), seconds(&alone)),
    );
    Passes {
        alone,
        running,
        written,
    }
}

/// Changes at the source.
struct Changes<'a> {
    source: &'a Source,
    setting: Setting,
}

impl Changes<'_> {
    /// Changes every hundredth user, and gives what the next pass is to find. `what` is another one each time.
    async fn make(&self, what: &str) -> anyhow::Result<Expected> {
        let Setting { users, plan, .. } = self.setting;
        let updated = self
            .source
            .change(&format!("Changed for {what}, by {plan}"))
            .await?;
        Ok(Expected {
            inserted: 0,
            updated,
            unchanged: users - updated,
        })
    }
}
