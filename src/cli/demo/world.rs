//! What the demo mirrors: a simulated Cal.com, and a configuration for it.

use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::simulator::{RateLimit, Simulator, SimulatorConfig};

const CLIENTS: usize = 2;
const USERS_PER_CLIENT: usize = 150;

const STOP_LIMIT: Duration = Duration::from_secs(3);

/// Names a directory as the demo's, which it may empty.
const MARKER: &str = ".calmirror-demo";

/// Now and then, for somebody who watches.
const CHANGE_EVERY: Duration = Duration::from_secs(20);

pub(super) struct World {
    simulator: Simulator,
    dir: PathBuf,
    /// A user who is on the configuration's list but comes to Cal.com only later: client, id, record.
    late: (String, i64, Vec<u8>),
    /// Users whom changes befall, in turn.
    ids: Vec<i64>,
}

impl World {
    /// Starts the simulator, and writes the configuration into an emptied directory.
    pub(super) async fn create(dir: &Path) -> anyhow::Result<Self> {
        prepare(dir).await?;
        let simulator = Simulator::start(SimulatorConfig {
            clients: CLIENTS,
            users_per_client: USERS_PER_CLIENT,
            rate_limit: RateLimit::OFF,
            ..SimulatorConfig::default()
        })
        .await?;
        let clients = simulator.clients();
        let ids: Vec<i64> = (0..USERS_PER_CLIENT)
            .flat_map(|place| {
                clients
                    .iter()
                    .filter_map(move |client| client.users.get(place).copied())
            })
            .collect();
        let mut config = config_text(dir, &simulator);
        for client in &clients {
            let secret = dir.join(format!("{}.secret", client.name));
            write_private(&secret, &client.secret)?;
            write!(
                config,
                "\n[[clients]]\nname = \"{}\"\nid = \"{}\"\nsecret = {{ file = {} }}\nusers = {:?}\n",
                client.name,
                client.id,
                toml_string(&secret),
                client.users,
            )?;
        }
        let last = clients.last().context("the simulator has clients")?;
        let id = *last.users.last().context("the simulator has users")?;
        let record = simulator
            .user_json(id)
            .context("a listed user has a record")?
            .to_vec();
        simulator.delete_user(id)?;
        let world = Self {
            late: (last.id.clone(), id, record),
            simulator,
            dir: dir.to_owned(),
            ids,
        };
        write_private(&world.config_path(), &config)?;
        Ok(world)
    }

    pub(super) fn config_path(&self) -> PathBuf {
        self.dir.join("config.toml")
    }

    pub(super) fn base_url(&self) -> String {
        self.simulator.base_url()
    }

    pub(super) fn users(&self) -> usize {
        self.ids.len()
    }

    /// The user who comes with [`World::change_users`].
    pub(super) fn late_user(&self) -> i64 {
        self.late.1
    }

    /// A user whom [`World::change_users`] changes.
    pub(super) fn changed_user(&self) -> i64 {
        self.ids[0]
    }

    /// Changes some users and lets one more come. Returns what was done, a line each.
    pub(super) fn change_users(&self) -> anyhow::Result<Vec<String>> {
        let changes = [
            ("moves to Tokyo", json!({ "timeZone": "Asia/Tokyo" })),
            (
                "now starts the week on Monday, by a 12 hour clock",
                json!({ "weekStart": "Monday", "timeFormat": 12 }),
            ),
            ("gets a bio", json!({ "bio": "Answers within a day." })),
            (
                "is put on another plan",
                json!({ "metadata": { "plan": "team", "seats": 12 } }),
            ),
            ("reads Portuguese", json!({ "locale": "pt-BR" })),
        ];
        let mut done = Vec::new();
        for (id, (what, patch)) in self.ids.iter().zip(changes) {
            self.simulator.patch_user(*id, patch)?;
            done.push(format!("user {id} {what}"));
        }
        let (client, id, record) = &self.late;
        self.simulator.place_raw(client, *id, record)?;
        done.push(format!("user {id} is created"));
        Ok(done)
    }

    /// Goes on changing a user now and then, until the future ends.
    pub(super) async fn live_until(&self, end: impl Future<Output = ()>) {
        tokio::select! {
            changed = self.simulator.live(CHANGE_EVERY) => {
                if let Err(error) = changed {
                    tracing::warn!(error = %error, "the simulator refused a change");
                }
            }
            () = end => {}
        }
    }

    pub(super) async fn close(self) {
        if let Err(error) = self.simulator.shutdown().await {
            tracing::warn!(error = %error, "the simulator did not end well");
        }
    }
}

fn config_text(dir: &Path, simulator: &Simulator) -> String {
    format!(
        "# Written by `calmirror demo`.\n\n\
         [calcom]\nbase_url = \"{}\"\nrequests_per_minute = 0\n\n\
         [database]\nurl = \"embedded\"\ndata_dir = {}\n\n\
         [schedule]\ncron = \"*/15 * * * * *\"\n\n\
         # The people of the simulator are invented, so their values may be shown.\n\
         [log]\nvalues = \"full\"\n\n\
         [server]\nshow_values = true\n",
        simulator.base_url(),
        toml_string(&dir.join("postgres")),
    )
}

/// A path as a TOML string: basic strings escape as JSON does.
fn toml_string(path: &Path) -> String {
    Value::from(path.to_string_lossy().as_ref()).to_string()
}

/// The directory of this user's demo, below the one for temporary files.
pub(super) fn default_name() -> String {
    match nix::unistd::geteuid() {
        root if root.is_root() => "calmirror-demo".to_owned(),
        user => format!("calmirror-demo-{user}"),
    }
}

/// Makes the directory, or empties it if it is an earlier demo's and none runs there.
async fn prepare(dir: &Path) -> anyhow::Result<()> {
    let context = || format!("failed to prepare {}", dir.display());
    if dir.exists() {
        let is_empty = fs::read_dir(dir).with_context(context)?.next().is_none();
        if !is_empty && !dir.join(MARKER).exists() {
            bail!(
                "{} is not empty and not a demo's: give another one with --dir",
                dir.display()
            );
        }
        // The server of a demo that was just ended takes a moment to stop.
        let ended = async {
            while is_running(dir) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        if tokio::time::timeout(STOP_LIMIT, ended).await.is_err() {
            bail!(
                "a demo runs in {}: end it first, or give another directory with --dir",
                dir.display()
            );
        }
        fs::remove_dir_all(dir).with_context(context)?;
    }
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent).with_context(context)?;
    }
    // Fails if somebody else was faster, as everybody can be in a directory for temporary files.
    fs::create_dir(dir).with_context(context)?;
    // The server's own user, when we are root, has to pass through.
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).with_context(context)?;
    fs::write(dir.join(MARKER), "").with_context(context)
}

/// Whether the server of the directory's database is alive, by the process that its first line names.
fn is_running(dir: &Path) -> bool {
    let pid = fs::read_to_string(dir.join("postgres/data/postmaster.pid"))
        .ok()
        .and_then(|text| text.lines().next()?.trim().parse::<i32>().ok());
    pid.is_some_and(|pid| {
        matches!(
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None),
            Ok(()) | Err(nix::errno::Errno::EPERM)
        )
    })
}

fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("failed to write {}", path.display()))
}
