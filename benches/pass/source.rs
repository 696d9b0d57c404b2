//! The simulated Cal.com in a process of its own, and what is known of its users without asking it.

use std::{collections::HashMap, fs, path::Path, sync::Arc};

use anyhow::{Context as _, ensure};
use calmirror::simulator::{Simulator, SimulatorConfig};
use reqwest::header::{HeaderMap, HeaderValue};
use serde::Deserialize;
use url::form_urlencoded::byte_serialize;

use crate::{arguments::Plan, requests, stage::Stage, watched::Watched};

/// The client that is simulated, and its users as they are at the start: they follow from the seed.
#[derive(Debug)]
pub(crate) struct People {
    pub(crate) client_id: String,
    pub(crate) secret: String,
    /// Ascending.
    pub(crate) users: Vec<Person>,
}

#[derive(Clone, Debug)]
pub(crate) struct Person {
    pub(crate) id: i64,
    /// Without the client's suffix.
    pub(crate) email: String,
}

/// The running simulator.
#[derive(Debug)]
pub(crate) struct Source {
    process: Watched,
    pub(crate) base_url: String,
    pub(crate) people: Arc<People>,
}

impl People {
    /// Invents them here as the simulator will.
    pub(crate) async fn invent(users: usize) -> anyhow::Result<Self> {
        #[derive(Deserialize)]
        struct Record {
            email: String,
        }
        let simulator = Simulator::start(SimulatorConfig {
            users_per_client: users,
            ..SimulatorConfig::default()
        })
        .await?;
        let client = simulator.clients().pop().context("there is one client")?;
        let suffix = format!("+{}", client.id);
        let person = |id| {
            let record = simulator.user_json(id).context("it was just listed")?;
            let record: Record = serde_json::from_slice(&record)?;
            let email = record.email.replace(&suffix, "");
            anyhow::Ok(Person { id, email })
        };
        let users = client
            .users
            .iter()
            .map(|id| person(*id))
            .collect::<Result<_, _>>()?;
        simulator.shutdown().await?;
        Ok(Self {
            client_id: client.id,
            secret: client.secret,
            users,
        })
    }

    /// The file that a configuration names in `users_file`.
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let mut writer = csv::Writer::from_path(path)?;
        writer.write_record(["user_id", "email"])?;
        for user in &self.users {
            writer.write_record([&user.id.to_string(), &user.email])?;
        }
        writer.flush()?;
        Ok(())
    }

    pub(crate) fn headers(&self) -> anyhow::Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        headers.insert("x-cal-secret-key", HeaderValue::from_str(&self.secret)?);
        headers.insert("x-cal-client-id", HeaderValue::from_str(&self.client_id)?);
        headers.insert("accept", HeaderValue::from_static("application/json"));
        Ok(headers)
    }
}

impl Source {
    /// Starts `calmirror simulate` without a limit of requests.
    pub(crate) async fn start(stage: &Stage, people: Arc<People>, latency_ms: u64) -> anyhow::Result<Self> {
        let users = people.users.len().to_string();
        let latency = format!("{latency_ms}ms");
        let program = [
            env!("CARGO_BIN_EXE_calmirror"),
            "simulate",
            "--port=0",
            "--clients=1",
            "--rate-limit=0",
            "--users",
            &users,
            "--latency",
            &latency,
        ];
        let mut process = Watched::start(stage.dir(), "simulate", &program)?;
        let printed = process.printed("Serving until").await?;
        let value = |key: &str| {
            let line = printed
                .lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
            let value = line.with_context(|| format!("it names no {key}: {printed}"))?;
            anyhow::Ok(value.trim_matches('"').to_owned())
        };
        ensure!(value("id")? == people.client_id, "it has invented another client");
        Ok(Self {
            base_url: value("base_url")?,
            process,
            people,
        })
    }

    /// The addresses that a plan asks for, for all users.
    pub(crate) fn urls(&self, plan: Plan) -> Vec<String> {
        let users = format!(
            "{}/v2/oauth-clients/{}/users",
            self.base_url, self.people.client_id
        );
        let people = &self.people.users;
        match plan {
            Plan::Get => people.iter().map(|user| format!("{users}/{}", user.id)).collect(),
            Plan::Bulk => lines_of_addresses(people.iter().map(|user| user.email.as_str()))
                .into_iter()
                .map(|emails| format!("{users}?limit=250&emails={emails}"))
                .collect(),
            Plan::List => (0..people.len().div_ceil(250))
                .map(|page| format!("{users}?limit=250&offset={}", page * 250))
                .collect(),
        }
    }

    /// Gives every hundredth user another bio, by requests; says how many that were.
    pub(crate) async fn change(&self, bio: &str) -> anyhow::Result<usize> {
        let client = requests::client()?;
        let body = serde_json::to_string(&HashMap::from([("bio", bio)]))?;
        let urls = self.urls(Plan::Get);
        let urls: Vec<String> = urls.into_iter().step_by(100).collect();
        let headers = self.people.headers()?;
        let changed = urls.len();
        requests::in_parallel(Plan::Get.concurrency(), Arc::new(urls), move |url| {
            let request = client
                .patch(url)
                .headers(headers.clone())
                .header("content-type", "application/json")
                .body(body.clone());
            async move {
                request.send().await?.error_for_status()?.bytes().await?;
                Ok(())
            }
        })
        .await?;
        Ok(changed)
    }

    /// Seconds of processor time that the simulator has used; none where the system does not say.
    pub(crate) fn cpu_s(&self) -> Option<f64> {
        /// What Linux counts in, whatever it is built with.
        const TICKS_A_SECOND: f64 = 100.0;
        let process = self.process.process().ok()?;
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // The name before it, in brackets, may hold anything.
        let (_, fields) = stat.rsplit_once(')')?;
        let ticks = |field: usize| fields.split_whitespace().nth(field)?.parse::<u64>().ok();
        Some((ticks(11)? + ticks(12)?) as f64 / TICKS_A_SECOND)
    }
}

/// As many addresses in each as one request may ask for, and as the first line of a request may hold.
fn lines_of_addresses<'a>(emails: impl Iterator<Item = &'a str>) -> Vec<String> {
    const USERS: usize = 250;
    const BYTES: usize = 7_500;
    let mut lines = Vec::new();
    let (mut line, mut users) = (String::new(), 0);
    for email in emails {
        let email: String = byte_serialize(email.as_bytes()).collect();
        if users == USERS || (users > 0 && line.len() + 1 + email.len() > BYTES) {
            lines.push(std::mem::take(&mut line));
            users = 0;
        }
        if users > 0 {
            line.push(',');
        }
        line.push_str(&email);
        users += 1;
    }
    if users > 0 {
        lines.push(line);
    }
    lines
}
