//! `cargo bench --bench micro`: what is done for each record, without requests and without a database.

use std::{collections::HashMap, hint::black_box, sync::Arc};

use calmirror::{
    calcom::{Answer, decode_answer},
    compare::{Known, Mirrored, diff},
    model::{ClientId, Fingerprint, Observation, UserId},
    simulator::{Simulator, SimulatorConfig},
};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use reqwest::StatusCode;
use secrecy::SecretString;

/// As many as a pass compares at once.
const BATCH: usize = 500;

/// What a simulated Cal.com has of a batch of users.
struct People {
    client: ClientId,
    secret: SecretString,
    users: Vec<(UserId, Vec<u8>)>,
}

impl People {
    fn invent() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime is built");
        runtime.block_on(async {
            let simulator = Simulator::start(SimulatorConfig {
                users_per_client: BATCH,
                ..SimulatorConfig::default()
            })
            .await
            .expect("a free port is there");
            let client = simulator.clients().remove(0);
            let record = |id: i64| simulator.user_json(id).expect("the user is there").to_vec();
            let users = client.users.iter().map(|id| (UserId(*id), record(*id))).collect();
            simulator.shutdown().await.expect("it ends");
            Self {
                client: ClientId(client.id),
                secret: SecretString::from(client.secret),
                users,
            }
        })
    }

    fn observed(&self) -> Vec<Observation> {
        let observation = |(id, record): &(UserId, Vec<u8>)| decoded(&answer(record), *id, &self.secret);
        self.users.iter().map(observation).collect()
    }

    /// A mirror of them; with another bio of each for `changed`.
    fn known(&self, changed: bool) -> HashMap<UserId, Known> {
        let known = self.observed().into_iter().map(|observation| {
            let Observation::Present(user) = observation else {
                panic!("every user can be read");
            };
            let mut user = Arc::unwrap_or_clone(user);
            if changed {
                user.bio = Some("What it was before.".to_owned());
            }
            let mirrored = Mirrored {
                user,
                client_id: self.client.clone(),
                version: 1,
                removed: false,
            };
            let known = Known {
                mirrored: Some(mirrored),
                ..Known::default()
            };
            (known.mirrored.as_ref().expect("it was just set").user.id, known)
        });
        known.collect()
    }
}

/// The body of the answer to a GET.
fn answer(record: &[u8]) -> Vec<u8> {
    [br#"{"status":"success","data":"#, record, b"}"].concat()
}

fn decoded(body: &[u8], id: UserId, secret: &SecretString) -> Observation {
    let answer = Answer {
        status: StatusCode::OK,
        location: None,
        blocked_until: None,
        rest: None,
        body,
    };
    decode_answer(&answer, id, secret).expect("the answer is a record")
}

fn one_record(criterion: &mut Criterion) {
    let people = People::invent();
    let (id, record) = &people.users[0];
    let body = answer(record);
    let mut group = criterion.benchmark_group("one record");
    group.throughput(Throughput::Bytes(record.len() as u64));
    group.bench_function("decode", |bencher| {
        bencher.iter(|| decoded(black_box(&body), *id, &people.secret));
    });
    group.bench_function("fingerprint", |bencher| {
        bencher.iter(|| Fingerprint::of(black_box(record)));
    });
    group.finish();
}

fn one_batch(criterion: &mut Criterion) {
    let people = People::invent();
    let mut group = criterion.benchmark_group("compare 500");
    group.throughput(Throughput::Elements(BATCH as u64));
    for (name, changed) in [("unchanged", false), ("changed", true)] {
        let known = people.known(changed);
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || people.observed(),
                |observed| diff(&people.client, observed, black_box(&known)),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, one_record, one_batch);
criterion_main!(benches);
