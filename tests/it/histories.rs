//! Random histories of a client, against a real Postgres: after every pass, every promise is held against what was
//! really served.
//!
//! A history is made of one seed: the same steps each time. Passes that stop after so many polls stop where the sockets
//! have brought them by then, which is not always the same place. `tests/histories` plays more histories than a test run
//! does, and the same one many times.

mod play;
mod source;
mod steps;

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use tokio::runtime::{self, Runtime};

use self::{play::Stage, steps::History};
use crate::support::environment;

/// Each plays its histories one after the other, on a database of its own. More than there are cores, because histories
/// wait now and then: for the next try after a fault, and for disks.
const PLAYERS: u64 = 4;

/// A history has two dozen steps at most, and each try at a smaller one takes a fraction of a second.
const SHRINK: Duration = Duration::from_secs(60);

#[test]
fn random_histories_keep_every_promise() {
    let number = |name: &str, default: u64| {
        environment(name).map_or(default, |text| {
            text.parse()
                .unwrap_or_else(|_| panic!("{name} is no number: {text}"))
        })
    };
    let first = number("HISTORIES_SEED", 1);
    let count = number("HISTORIES_COUNT", 500);
    let times = number("HISTORIES_TIMES", 1);
    let failures = play_all(first, count, times);
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

/// Plays the histories of so many seeds, each so many times, until one fails.
fn play_all(first: u64, count: u64, times: u64) -> Vec<String> {
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let failures = Mutex::new(Vec::new());
    let player = || {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime can be built");
        let mut stage = runtime.block_on(Stage::new());
        while !stop.load(Ordering::Relaxed) {
            let played = next.fetch_add(1, Ordering::Relaxed);
            if played >= count.saturating_mul(times) {
                break;
            }
            if played > 0 && played.is_multiple_of(100) {
                eprintln!("{played} histories have begun");
            }
            let seed = first.wrapping_add(played % count);
            let _blame = Blame(seed);
            if let Some(failure) = play_one(&runtime, &mut stage, seed, &stop) {
                failures
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(format!("history {} {failure}", played + 1));
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..PLAYERS.min(count.saturating_mul(times)) {
            scope.spawn(player);
        }
    });
    failures.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Names the seed of a history that panics.
struct Blame(u64);

impl Drop for Blame {
    fn drop(&mut self) {
        if thread::panicking() {
            let seed = self.0;
            eprintln!("seed {seed} panics, again: tests/histories --seed {seed} --count 1");
        }
    }
}

/// Plays the history of a seed. Where it is the first that fails: why, and the smallest part of it that fails too.
fn play_one(runtime: &Runtime, stage: &mut Stage, seed: u64, stop: &AtomicBool) -> Option<String> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let mut tree = steps::history()
        .new_tree(&mut runner)
        .expect("nothing of a history is filtered out");
    let mut play = |history: &History| runtime.block_on(stage.play(history));
    let why = play(&tree.current()).err()?;
    if stop.swap(true, Ordering::Relaxed) {
        return None;
    }
    eprintln!("seed {seed} fails {why}\nand is made smaller now");
    let mut smallest = (tree.current(), why);
    let began = Instant::now();
    let mut smaller = tree.simplify();
    while smaller && began.elapsed() < SHRINK {
        let history = tree.current();
        // What fails by the way of its polls does not do so each time.
        let played = (0..3).try_for_each(|_| play(&history));
        smaller = match played {
            Ok(()) => tree.complicate(),
            Err(why) => {
                smallest = (history, why);
                tree.simplify()
            }
        };
    }
    let (history, why) = smallest;
    let steps: Vec<String> = (0..)
        .zip(&history.steps)
        .map(|(number, step): (u32, _)| format!("  {number}: {step:?}\n"))
        .collect();
    Some(format!(
        "fails {why}\nwith {} users, {:?}, and these steps:\n{}seed {seed}, again: tests/histories --seed {seed} --count 1",
        history.users,
        history.removal,
        steps.concat(),
    ))
}
