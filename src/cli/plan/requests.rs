//! `calmirror plan --requests`: what each way of asking would take, without asking.

use serde::Serialize;

use crate::{
    calcom::Source,
    cli::{
        Out, Output,
        exit::{Exit, unless_closed},
        mirror::{Mirror, Watched},
        table::{ago, aligned, wrapped},
    },
    config::FetchPlan,
    store::{Error, Store},
    sync::{
        self,
        estimate::{self, Population},
        with_retries,
    },
};

/// One client. Serialized as `--output json` prints it.
#[derive(Debug, Serialize)]
struct Requests {
    client: String,
    /// Known before a pass: whom discovery finds is not among them, and without tables neither is what a query gives.
    users: u64,
    with_address: u64,
    address_bytes: u64,
    /// `users = "all"`.
    everyone: bool,
    /// `users_sql`.
    sql: bool,
    /// The database has tables. Without, the query was not run.
    #[serde(skip)]
    tables: bool,
    /// 0: no limit of our own.
    requests_per_minute: u32,
    configured: FetchPlan,
    chosen: FetchPlan,
    plans: Plans,
    /// From the next tick to the one after it.
    #[serde(skip)]
    tick_s: Option<f64>,
}

/// Null where a plan is not possible.
#[derive(Debug, Serialize)]
struct Plans {
    get: Option<Cost>,
    bulk: Option<Cost>,
    list: Option<Cost>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Cost {
    requests: u64,
    /// Null without a limit of our own.
    duration_s: Option<f64>,
}

/// Prints what passes over the selected clients would take. Cal.com is asked nothing.
pub(super) async fn run(selected: &[usize], mut mirror: Mirror, out: &mut Out) -> anyhow::Result<Exit> {
    mirror.read_only();
    let counted = count(selected, &mirror).await;
    mirror.close().await;
    unless_closed(print(&counted?, out))?;
    Ok(Exit::Success)
}

async fn count(selected: &[usize], mirror: &Mirror) -> Result<Vec<Requests>, Error> {
    let store = &mirror.database.store;
    let tables = match with_retries(|| store.pending_migrations()).await {
        Ok(0) => true,
        Ok(_) => {
            return Err(Error::NotMigrated {
                schema: store.schema().to_owned(),
            });
        }
        Err(Error::NotMigrated { .. }) => false,
        Err(error) => return Err(error),
    };
    let mut clients = Vec::with_capacity(selected.len());
    for &client in selected {
        clients.push(of_client(&mirror.clients[client], tables.then_some(store)).await?);
    }
    Ok(clients)
}

/// Without tables, nobody's address is known.
async fn of_client(watched: &Watched, store: Option<&Store>) -> Result<Requests, Error> {
    let client = &watched.client;
    let watch = &client.watch;
    let population = match store {
        Some(store) => {
            let known = sync::Watched::of(client, store).await?;
            let given = |users: &[_]| watch.listed.addresses(users);
            let counted =
                with_retries(|| store.population(&client.id, known.ids(), given, watch.all, None)).await?;
            let population = Population::of(counted, watch.all);
            if known.is_queried_for_addresses() {
                population.with_all_addresses()
            } else {
                population
            }
        }
        None => Population {
            users: watch.listed.len() as u64,
            everyone: watch.all,
            ..Population::default()
        },
    };
    Ok(Requests::of(watched, population, store.is_some()))
}

impl Requests {
    fn of(watched: &Watched, population: Population, tables: bool) -> Self {
        let client = &watched.client;
        let reach = &watched.source.reach();
        let rate = client.requests_per_minute;
        let cost = |plan| {
            estimate::requests(plan, &population, reach).map(|requests| Cost {
                requests,
                duration_s: estimate::duration(requests, rate, None).map(|duration| duration.as_secs_f64()),
            })
        };
        Self {
            client: client.name.clone(),
            users: population.users,
            with_address: population.with_address,
            address_bytes: population.address_bytes,
            everyone: population.everyone,
            sql: client.watch.sql.is_some(),
            tables,
            requests_per_minute: rate,
            configured: client.fetch,
            chosen: estimate::choose(client.fetch, &population, reach),
            plans: Plans {
                get: cost(FetchPlan::Get),
                bulk: cost(FetchPlan::Bulk),
                list: cost(FetchPlan::List),
            },
            tick_s: watched.time_between_ticks().map(|time| time.as_secs_f64()),
        }
    }

    fn cost(&self, plan: FetchPlan) -> Option<Cost> {
        match plan {
            FetchPlan::Auto => None,
            FetchPlan::Get => self.plans.get,
            FetchPlan::Bulk => self.plans.bulk,
            FetchPlan::List => self.plans.list,
        }
    }

    /// Why a plan is the chosen one.
    fn why(&self, plan: FetchPlan) -> &'static str {
        if plan != self.chosen {
            ""
        } else if self.configured == FetchPlan::Auto {
            "chosen: the fewest requests"
        } else {
            "chosen by the configuration"
        }
    }
}

fn print(clients: &[Requests], out: &mut Out) -> anyhow::Result<()> {
    match out.format {
        Output::Json => clients.iter().try_for_each(|client| out.json(client)),
        Output::Text => print_text(clients, out),
    }
}

fn print_text(clients: &[Requests], out: &mut Out) -> anyhow::Result<()> {
    let headings = [
        "client",
        "users",
        "known address",
        "plan",
        "requests",
        "takes",
        "",
    ];
    let rows = clients.iter().flat_map(|client| {
        estimate::PLANS.into_iter().enumerate().map(|(place, plan)| {
            let first = |text: String| if place == 0 { text } else { String::new() };
            let cost = client.cost(plan);
            [
                first(client.client.clone()),
                first(client.users.to_string()),
                first(client.with_address.to_string()),
                name(plan).to_owned(),
                cost.map_or_else(dash, |cost| cost.requests.to_string()),
                cost.and_then(|cost| cost.duration_s).map_or_else(dash, takes),
                client.why(plan).to_owned(),
            ]
        })
    });
    let columns = out.columns();
    out.line(aligned(headings, rows, columns))?;
    for client in clients {
        for note in notes(client) {
            out.line(wrapped("    ", &format!("{}: {note}", client.client), columns))?;
        }
    }
    Ok(())
}

/// What the numbers do not say.
fn notes(client: &Requests) -> Vec<String> {
    let mut notes = Vec::new();
    if client.everyone {
        notes.push(
            "users = \"all\": counted are the mirror's live users and the pages of the client's list; whom discovery \
             finds beyond them comes on top"
                .to_owned(),
        );
    }
    if client.sql && !client.tables {
        notes.push(
            "the users that users_sql gives are not counted, for it is not run before there are tables"
                .to_owned(),
        );
    }
    let cost = client.cost(client.chosen);
    if cost.is_none() {
        notes.push("the configured plan cannot show so many users: the client's list ends at 500".to_owned());
    }
    if client.requests_per_minute == 0 {
        notes.push("requests_per_minute = 0: how long a pass takes is for the server to say".to_owned());
    }
    let takes_s = cost.and_then(|cost| cost.duration_s);
    if let (Some(takes_s), Some(tick_s)) = (takes_s, client.tick_s)
        && takes_s > tick_s
    {
        notes.push(format!(
            "a pass takes longer than the {} from one tick to the next, so ticks are skipped; choose a slower \
             schedule.cron or a higher requests_per_minute",
            ago(tick_s)
        ));
    }
    notes
}

const fn name(plan: FetchPlan) -> &'static str {
    match plan {
        FetchPlan::Auto => "auto",
        FetchPlan::Get => "get",
        FetchPlan::Bulk => "bulk",
        FetchPlan::List => "list",
    }
}

fn dash() -> String {
    "-".to_owned()
}

fn takes(seconds: f64) -> String {
    // Half a second is not nothing.
    ago(seconds.ceil())
}
