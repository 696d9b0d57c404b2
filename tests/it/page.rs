//! The status page, over HTTP and in a real browser.

mod accessible;
mod histories;
mod listed;
mod lively;
mod many;
mod pictures;
mod said;
mod signed_in;
mod states;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use calmirror::{
    config::{self, Config},
    live::Live,
    schedule::Cron,
    server::{ClientView, Context, Server, View},
    simulator::{Answer, RateLimit, Simulator, SimulatorConfig, Target},
    sync::{Pass, Progress, Report},
};
use chrono_tz::Tz;
use secrecy::SecretString;
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::support::{
    TestDb,
    http::{self, Answer as HttpAnswer},
    world::{World, store},
};

/// The server of a world whose passes are those of the daemon: it knows of them while they run.
struct Site {
    world: World,
    live: Live,
    address: SocketAddr,
    closing: CancellationToken,
    _views: watch::Sender<Arc<View>>,
    server: JoinSet<()>,
}

impl Site {
    async fn new(users: usize, show_values: bool) -> Self {
        let simulator = Simulator::start(SimulatorConfig {
            users_per_client: users,
            rate_limit: RateLimit::OFF,
            ..SimulatorConfig::default()
        })
        .await
        .expect("the simulator starts");
        let mut world = World::with(simulator, TestDb::new().await).await;
        world.client.requests_per_minute = 450;
        Self::of(world, show_values).await
    }

    async fn of(world: World, show_values: bool) -> Self {
        let view = view(&world, show_values);
        Self::showing(world, view).await
    }

    async fn showing(world: World, view: View) -> Self {
        let (live, closing) = (Live::default(), CancellationToken::new());
        let (views, view) = watch::channel(Arc::new(view));
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = Server::bind(any).await.expect("there are free ports");
        let address = server.address();
        let context = Context::new(view, live.clone(), closing.clone());
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            server.serve(context).await;
        });
        Self {
            world,
            live,
            address,
            closing,
            _views: views,
            server: serving,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    async fn get(&self, path: &str) -> HttpAnswer {
        http::request(self.address, "GET", path, &[], "").await
    }

    async fn html(&self, path: &str) -> String {
        let answer = self.get(path).await;
        String::from_utf8(answer.body).expect("pages are text")
    }

    /// A pass as the daemon makes it.
    async fn pass(&self) -> Report {
        let progress = Progress::default();
        let under_way = self.live.begins(&self.world.client.name, progress.clone());
        let base_url = self.world.simulator.base_url();
        let pass = Pass {
            progress: Some(&progress),
            ..self.world.prepare(&self.world.store, &base_url)
        };
        let report = pass.run(&CancellationToken::new()).await;
        drop(under_way);
        self.live.ended(report.clone());
        report
    }

    /// Twenty users, of whom eight are gone at the source: a pass has held their removals.
    async fn held(show_values: bool) -> (Self, Report) {
        let site = Self::new(20, show_values).await;
        site.pass().await;
        for user in &site.world.users()[..8] {
            site.world
                .simulator
                .delete_user(*user)
                .expect("the user is there");
        }
        site.pass().await;
        let report = site.pass().await;
        (site, report)
    }

    /// The next answer about this user does not come before the simulator's release.
    fn hang_at(&self, user: i64) {
        self.world.simulator.script(Target::User(user), 1, Answer::Hang);
    }

    async fn count(&self, query: &'static str) -> i64 {
        self.world.value(query).await
    }

    /// Ends the server as the daemon does.
    async fn close(mut self) {
        self.closing.cancel();
        while let Some(ended) = self.server.join_next().await {
            ended.expect("the server does not panic");
        }
    }
}

fn view(world: &World, show_values: bool) -> View {
    let cron = Cron::parse(&world.client.cron, Tz::UTC).expect("it is a schedule");
    View {
        config: Config {
            calcom: config::Calcom {
                base_url: world.simulator.base_url().parse().expect("an address"),
                fetch: config::FetchPlan::Get,
                requests_per_minute: 450,
                concurrency: 8,
                timeout: std::time::Duration::from_secs(10),
                max_answer_bytes: 1024 * 1024,
            },
            database: config::Database {
                url: config::DatabaseUrl::Postgres(SecretString::from(world.db.url())),
                schema: "public".to_owned(),
                max_connections: 2,
                pgbouncer: false,
            },
            schedule: config::Schedule {
                cron: world.client.cron.clone(),
                timezone: Tz::UTC,
                at_start: true,
            },
            removal: world.removal,
            retention: config::Retention::default(),
            log: config::Log {
                format: config::LogFormat::Text,
                values: config::LogValues::Masked,
                level: "info".to_owned(),
            },
            server: config::Server {
                show_values,
                ..config::Server::default()
            },
            notify: config::Notify::default(),
            clients: vec![world.client.clone()],
        },
        own_store: store(&world.db, 2),
        store: store(&world.db, 2).looking_on(),
        clients: vec![ClientView {
            client: world.client.clone(),
            source: world.source.clone(),
            cron,
        }],
    }
}

#[tokio::test]
async fn who_shows_it_cannot_write_it() {
    let site = Site::new(1, false).await;
    site.pass().await;
    let user = calmirror::model::UserId(site.world.users()[0]);
    let onlooker = crate::support::world::store(&site.world.db, 1).looking_on();
    assert!(onlooker.user_counts().await.is_ok(), "it can be read");
    let refused = onlooker.forget(user).await;
    let said = refused.expect_err("nothing there writes").to_string();
    assert!(said.contains("read-only"), "{said}");
    assert_eq!(site.count("select count(*) from managed_users").await, 1);
    onlooker.close().await;
    site.close().await;
}
