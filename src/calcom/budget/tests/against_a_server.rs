//! The budget against a model of the server's bucket, in virtual time.

use std::{cell::RefCell, pin::pin};

use futures_util::future::{join_all, select};
use proptest::prelude::*;
use tokio::time::sleep;

use super::*;

const WINDOW: Duration = Duration::from_secs(60);

/// Cal.com's limit for one client: a window from the first hit, a block for whoever goes over, in which hits count.
#[derive(Debug)]
struct Server {
    limit: u64,
    hits: u64,
    window_ends: Instant,
    block_ends: Instant,
    /// Requests of ours that were refused.
    refused: u64,
    /// Requests of ours that were counted.
    ours: u64,
    strangers: u64,
    /// Of the stranger's hits those that an answer that has reached us has shown.
    shown: u64,
    /// The same, when each request of ours was let go that is still on its way there.
    shown_to: Vec<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Verdict {
    blocked: bool,
    remaining: u64,
    reset: u128,
    strangers: u64,
}

impl Server {
    fn new(limit: u64) -> Self {
        let now = Instant::now();
        Self {
            limit,
            hits: 0,
            window_ends: now,
            block_ends: now,
            refused: 0,
            ours: 0,
            strangers: 0,
            shown: 0,
            shown_to: Vec::new(),
        }
    }

    /// Not of one who would go over by itself, nor of one who takes more than the burn while a request of ours is on its way.
    fn admits_stranger(&self, burn: u64) -> bool {
        let known = self
            .shown_to
            .iter()
            .fold(self.shown, |least, shown| least.min(*shown));
        let is_full = self.hits >= self.limit && self.window_ends > Instant::now();
        !is_full && self.strangers - known < burn
    }

    fn hit(&mut self) -> Verdict {
        let now = Instant::now();
        if self.window_ends <= now {
            self.hits = 0;
            self.window_ends = now + WINDOW;
        }
        self.hits += 1;
        if self.block_ends <= now && self.hits > self.limit {
            self.block_ends = now + WINDOW;
        }
        let blocked = self.block_ends > now;
        let ends = if blocked {
            self.block_ends
        } else {
            self.window_ends
        };
        Verdict {
            blocked,
            remaining: self.limit.saturating_sub(self.hits),
            reset: (ends - now).as_millis().div_ceil(1000),
            strangers: self.strangers,
        }
    }
}

/// Who asks how, and who else.
#[derive(Clone, Copy, Debug)]
struct Case {
    limit: u64,
    requests: u64,
    concurrency: usize,
    requests_per_minute: u32,
    /// On the way there or back, at most.
    latency_ms: u64,
    /// Of a hundred answers, those that are lost on the way.
    lost_percent: u64,
    /// The stranger's pause between two hits, at most; none: there is no stranger.
    stranger_ms: Option<u64>,
    /// What the stranger takes at most before an answer of ours shows it.
    burn: u64,
    seed: u64,
}

/// What came of it.
#[derive(Debug)]
struct Outcome {
    server: Server,
    answered: u64,
    took: Duration,
}

/// A case under way.
struct Play {
    case: Case,
    budget: Budget,
    server: RefCell<Server>,
    random: RefCell<fastrand::Rng>,
    to_do: RefCell<u64>,
}

impl Case {
    fn play(self) -> Outcome {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime can be built");
        runtime.block_on(async {
            let play = Play {
                case: self,
                budget: Budget::new(self.requests_per_minute),
                server: RefCell::new(Server::new(self.limit)),
                random: RefCell::new(fastrand::Rng::with_seed(self.seed)),
                to_do: RefCell::new(self.requests),
            };
            play.run().await
        })
    }
}

impl Play {
    async fn run(self) -> Outcome {
        let started = Instant::now();
        let workers = join_all((0..self.case.concurrency).map(|_| self.work()));
        drop(select(pin!(workers), pin!(self.interfere())).await);
        let left = *self.to_do.borrow();
        Outcome {
            answered: self.case.requests - left,
            server: self.server.into_inner(),
            took: started.elapsed(),
        }
    }

    async fn work(&self) {
        loop {
            let left = *self.to_do.borrow();
            if left == 0 {
                return;
            }
            self.to_do.replace(left - 1);
            while !self.ask().await {}
        }
    }

    /// One try. False where it has to be made again.
    async fn ask(&self) -> bool {
        let permit = granted(&self.budget).await;
        let shown = self.server.borrow().shown;
        self.server.borrow_mut().shown_to.push(shown);
        self.on_the_way().await;
        let verdict = {
            let mut server = self.server.borrow_mut();
            let arrived = server.shown_to.iter().position(|to| *to == shown);
            server.shown_to.swap_remove(arrived.expect("it was on its way"));
            server.ours += 1;
            server.hit()
        };
        self.on_the_way().await;
        if self.random.borrow_mut().u64(0..100) < self.case.lost_percent {
            return false;
        }
        let line = |name: &'static str, value: String| {
            let value = HeaderValue::from_str(&value).expect("a number is a value");
            (HeaderName::from_static(name), value)
        };
        let headers = HeaderMap::from_iter([
            line("x-ratelimit-limit-default", self.case.limit.to_string()),
            line("x-ratelimit-remaining-default", verdict.remaining.to_string()),
            line("x-ratelimit-reset-default", verdict.reset.to_string()),
        ]);
        let mut server = self.server.borrow_mut();
        server.shown = server.shown.max(verdict.strangers);
        let status = if verdict.blocked {
            server.refused += 1;
            StatusCode::TOO_MANY_REQUESTS
        } else {
            StatusCode::OK
        };
        permit.answered(status, &headers, DateTime::UNIX_EPOCH);
        !verdict.blocked
    }

    async fn on_the_way(&self) {
        let latency = self.random.borrow_mut().u64(0..=self.case.latency_ms);
        sleep(Duration::from_millis(latency)).await;
    }

    async fn interfere(&self) {
        let Some(pause) = self.case.stranger_ms else {
            return std::future::pending().await;
        };
        loop {
            let pause = self.random.borrow_mut().u64(0..=pause).max(1);
            sleep(Duration::from_millis(pause)).await;
            let mut server = self.server.borrow_mut();
            if server.admits_stranger(self.case.burn) {
                server.strangers += 1;
                server.hit();
            }
        }
    }
}

fn case() -> impl Strategy<Value = Case> {
    let stranger = proptest::option::of(1..2000_u64);
    let server = (40..=600_u64, 0..=150_u64, 0..=3_u64, stranger);
    (server, 1..=3000_u64, 1..=32_usize, any::<u64>()).prop_map(|(server, requests, concurrency, seed)| {
        let (limit, latency_ms, lost_percent, stranger_ms) = server;
        Case {
            limit,
            requests,
            concurrency,
            requests_per_minute: 0,
            latency_ms,
            lost_percent,
            stranger_ms,
            burn: limit / 50,
            seed,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_stranger_within_the_reserve_neither_has_us_blocked_nor_makes_us_slow(case in case()) {
        let outcome = case.play();
        prop_assert_eq!(outcome.server.refused, 0);
        prop_assert_eq!(outcome.answered, case.requests);
        let hits = u32::try_from(outcome.server.ours + outcome.server.strangers).expect("few");
        let limit = u32::try_from(case.limit).expect("small");
        // As long as the windows that the hits of both fill, or as the requests are on their way.
        let windows = WINDOW * hits / limit;
        let way = Duration::from_millis(case.latency_ms) * hits / u32::try_from(case.concurrency).expect("small");
        let most = windows.max(way).mul_f64(1.1) + WINDOW;
        prop_assert!(outcome.took <= most, "{:?} rather than {:?}", outcome.took, most);
    }
}

#[test]
fn five_thousand_unknown_users_at_the_hosted_limit_are_asked_for_without_a_block() {
    for (requests_per_minute, stranger_ms) in [(450, None), (450, Some(8000)), (0, None), (0, Some(300))] {
        let outcome = Case {
            limit: 500,
            requests: 5000,
            concurrency: 8,
            requests_per_minute,
            latency_ms: 100,
            lost_percent: 0,
            stranger_ms,
            burn: 10,
            seed: 7,
        }
        .play();
        assert_eq!(
            (outcome.server.refused, outcome.answered),
            (0, 5000),
            "{requests_per_minute} {stranger_ms:?}"
        );
        let minutes = outcome.took.as_secs_f64() / 60.0;
        assert!(minutes <= 5000.0 / 450.0 * 1.05 + 1.0, "{minutes} minutes");
    }
}

#[test]
fn a_sudden_large_burn_blocks_and_everyone_is_asked_for_all_the_same() {
    let outcome = Case {
        limit: 500,
        requests: 1000,
        concurrency: 8,
        requests_per_minute: 0,
        latency_ms: 100,
        lost_percent: 0,
        stranger_ms: Some(1),
        burn: 300,
        seed: 7,
    }
    .play();
    assert!(outcome.server.refused > 0, "the model does block");
    assert_eq!(outcome.answered, 1000);
}
