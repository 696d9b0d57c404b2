//! Random sources, random servers, and every way of asking: the same tables.

use std::{fmt::Write as _, fs};

use calmirror::{
    config::{Config, Environment, FetchPlan, Listed, Secrets},
    model::UserId,
    simulator::{EmailFilter, ListRoute, Lists, MaxLimit},
    sync::Report,
};
use fastrand::Rng;
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::{Mirror, counts};
use crate::support::world::{World, watch};

const ROUNDS: usize = 3;

/// Ids that no user ever had are watched as well.
const NEVER: i64 = 900_000;

#[tokio::test]
async fn every_way_of_asking_gives_the_same_tables() {
    // Each in a world of its own, and all at once.
    let worlds = (0..12).map(|seed| tokio::spawn(play(seed)));
    for world in worlds {
        world.await.expect("the world's end is no panic");
    }
}

/// The last of these passes are cut somewhere and gone on from.
const WAYS: [(FetchPlan, bool); 6] = [
    (FetchPlan::Get, false),
    (FetchPlan::Bulk, false),
    (FetchPlan::List, false),
    (FetchPlan::Auto, false),
    (FetchPlan::Get, true),
    (FetchPlan::Bulk, true),
];

fn nobody() -> impl Iterator<Item = UserId> {
    (0..3).map(|n| UserId(NEVER + n))
}

/// The users in a file, as an operator gives them: some without an address, some with one that is wrong.
fn list_with_addresses(world: &World, dir: &TempDir, rng: &mut Rng) -> Listed {
    let addresses = world
        .simulator
        .addresses(world.client_id())
        .expect("the client is there");
    let mut file = "user_id,email\n".to_owned();
    for (place, (user, address)) in addresses.iter().enumerate() {
        let given = match rng.u8(0..10) {
            0 => String::new(),
            1 => addresses[rng.usize(..addresses.len())].1.clone(),
            2 => format!(".dots.{place}@example.com"),
            3 => format!("nobody{place}@example.com"),
            _ => address.clone(),
        };
        let given = given.replace('"', "\"\"");
        writeln!(file, "{user},\"{given}\"").expect("writing to a string does not fail");
    }
    for user in nobody() {
        writeln!(file, "{user},{}", addresses[0].1).expect("writing to a string does not fail");
    }
    let path = dir.path().join("users.csv");
    fs::write(&path, file).expect("the directory takes a file");
    let text = format!(
        "[[clients]]\nname = \"acme\"\nid = \"cl1\"\nsecret = {{ env = \"SECRET\" }}\nusers_file = '{}'\n",
        path.display()
    );
    let environment = Environment::from_pairs([("SECRET", "secret"), ("HOME", "/home/ada")]);
    let mut loaded = Config::parse(
        &text,
        &dir.path().join("config.toml"),
        &environment,
        Secrets::Read,
    )
    .unwrap_or_else(|faults| panic!("{faults}"));
    loaded.config.clients.remove(0).watch.listed
}

/// Makes a pass that is asked to stop after some requests, and if it does before its end, one that goes on from there. Whether it did.
async fn cut(world: &World, mirror: &Mirror, rng: &mut Rng) -> (bool, Report) {
    let last = world.simulator.requests().total + rng.u64(1..400);
    let cancel = CancellationToken::new();
    let pass = mirror.pass_until(world, &cancel);
    let stop = async {
        world.simulator.wait_for_requests(last).await;
        cancel.cancel();
        std::future::pending::<()>().await;
    };
    let report = tokio::select! {
        report = pass => report,
        () = stop => unreachable!("it does not end"),
    };
    match &report.error {
        Some(error) if error.contains("asked to stop") => (true, mirror.pass(world).await),
        _ => (false, report),
    }
}

async fn play(seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let users = if rng.bool() {
        rng.usize(1..40)
    } else {
        rng.usize(240..320)
    };
    let world = World::new(users).await;
    let mut mirrors = Vec::new();
    let dir = TempDir::new().expect("there is room for a directory");
    let listed = rng.bool().then(|| list_with_addresses(&world, &dir, &mut rng));
    for (fetch, is_cut) in WAYS {
        let mut mirror = Mirror::new(&world, fetch).await;
        if let Some(listed) = &listed {
            mirror.client.watch.listed = listed.clone();
        } else {
            watch(&mut mirror.client, |users| users.extend(nobody()));
        }
        mirrors.push((fetch, is_cut, mirror));
    }
    for round in 0..ROUNDS {
        if round > 0 {
            change(&world, &mut rng);
        }
        world.simulator.set_lists(server(&mut rng));
        let mut expected = None;
        for (fetch, is_cut, mirror) in &mirrors {
            let (is_cut, report) = if *is_cut {
                cut(&world, mirror, &mut rng).await
            } else {
                (false, mirror.pass(&world).await)
            };
            let found = (counts(&report), mirror.tables().await);
            let (counts, tables) = expected.get_or_insert_with(|| found.clone());
            let which = format!("seed {seed}, round {round}, {fetch:?}, cut: {is_cut}");
            // A pass that goes on does not say what the first has done.
            assert!(
                is_cut || *counts == found.0,
                "{which}: {report:?}, where {counts} was expected"
            );
            assert!(*tables == found.1, "{which}: the tables differ");
        }
    }
}

fn server(rng: &mut Rng) -> Lists {
    let served = |rng: &mut Rng| match rng.u8(0..8) {
        0 => ListRoute::Missing,
        1 => ListRoute::Forbidden,
        _ => ListRoute::Served,
    };
    Lists {
        users: served(rng),
        emails: match rng.u8(0..6) {
            0 => EmailFilter::Ignored,
            1 => EmailFilter::Refused,
            _ => EmailFilter::Honoured,
        },
        max_limit: match rng.u8(0..6) {
            0 => MaxLimit::Refuse(rng.u32(1..250)),
            1 => MaxLimit::Clamp(rng.u32(1..250)),
            _ => MaxLimit::Refuse(250),
        },
        max_url_bytes: (rng.u8(0..4) == 0).then(|| rng.usize(400..8_000)),
        ..Lists::default()
    }
}

fn change(world: &World, rng: &mut Rng) {
    let users = world.simulator.clients()[0].users.clone();
    for _ in 0..rng.usize(0..8) {
        let Some(user) = rng.choice(&users).copied() else {
            return;
        };
        let Some(record) = world.simulator.user_json(user) else {
            continue;
        };
        let Ok(mut record) = serde_json::from_slice::<Map<String, Value>>(&record) else {
            continue;
        };
        match rng.u8(0..9) {
            0 => {
                world.simulator.delete_user(user).expect("the user is there");
                continue;
            }
            1 => {
                let body = json!({ "name": "New", "email": format!("new{}@example.com", rng.u32(..)) });
                world
                    .simulator
                    .create_user(world.client_id(), body)
                    .expect("a new address");
                continue;
            }
            2 => {
                record.insert("name".to_owned(), json!(format!("N{}", rng.u32(..))));
            }
            3 => {
                let odd = ODD[rng.usize(..ODD.len())];
                record.insert("email".to_owned(), json!(format!("{odd}{user}@example.com")));
            }
            4 => {
                let long = "x".repeat(rng.usize(60..400));
                record.insert("email".to_owned(), json!(format!("{long}{user}@example.com")));
            }
            5 => {
                record.remove("timeZone");
            }
            6 => {
                record.insert("timeZone".to_owned(), json!("Europe/Berlin"));
            }
            7 => {
                let Some(other) = rng.choice(&users).copied().filter(|other| *other != user) else {
                    continue;
                };
                swap(world, user, other);
                continue;
            }
            _ => {}
        }
        // Whatever else: the keys are in another order than the server's.
        let respelled = serde_json::to_string_pretty(&record).expect("it is JSON");
        world
            .simulator
            .place_raw(world.client_id(), user, respelled)
            .expect("the record can be placed");
    }
}

const ODD: [&str; 9] = [
    "a+b",
    "we\"ird",
    "com,ma",
    "blank ",
    "ärger",
    "emoji🎉",
    "100%",
    "a&b=c#d",
    ".dots.",
];

fn swap(world: &World, one: i64, other: i64) {
    let read = |user: i64| {
        let record = world.simulator.user_json(user)?;
        serde_json::from_slice::<Map<String, Value>>(&record).ok()
    };
    let Some((mut left, mut right)) = read(one).zip(read(other)) else {
        return;
    };
    let (Some(a), Some(b)) = (left.get("email").cloned(), right.get("email").cloned()) else {
        return;
    };
    left.insert("email".to_owned(), b);
    right.insert("email".to_owned(), a);
    for (user, record) in [(one, left), (other, right)] {
        let record = serde_json::to_string(&record).expect("it is JSON");
        world
            .simulator
            .place_raw(world.client_id(), user, record)
            .expect("the record can be placed");
    }
}
