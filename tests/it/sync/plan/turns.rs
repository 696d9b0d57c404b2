//! Many plans, each held against the pass that follows it.

use std::{collections::BTreeMap, time::Duration};

use calmirror::{
    model::{RunOutcome, UserId},
    simulator::{Answer, Refusal, Target},
};
use serde_json::json;

use super::{everything, made, plan};
use crate::support::world::World;

/// The users whose removals wait for an operator.
async fn held(world: &World) -> Vec<i64> {
    sqlx::query_scalar("select user_id from held_removals order by user_id")
        .fetch_all(&world.pool)
        .await
        .expect("what is held can be read")
}

/// Changes of the world between two passes, by dice.
struct Fortune {
    dice: fastrand::Rng,
    /// Users that were deleted, as they were.
    gone: BTreeMap<i64, Vec<u8>>,
    /// Users that are not asked for yet.
    later: Vec<UserId>,
}

impl Fortune {
    fn turn(&mut self, world: &mut World) {
        world.simulator.clear_scripts();
        let client = world.client_id().to_owned();
        world.removal.confirmations = self.dice.u32(1..=3);
        world.removal.max_count = self.dice.u32(0..=5);
        world.removal.max_percent = self.dice.choice([0.0, 10.0, 40.0]).expect("one of three");
        let an_hour = Duration::from_secs(3600);
        world.removal.min_age = if self.dice.u8(..5) == 0 {
            an_hour
        } else {
            Duration::ZERO
        };
        let joining = self.dice.usize(0..=3).min(self.later.len());
        crate::support::world::watch(&mut world.client, |users| {
            users.extend(self.later.drain(..joining))
        });
        // Now and then a client loses everyone, and nobody vouches for it.
        let all_leave = self.dice.u8(..12) == 0;
        for user in world.users() {
            let is_gone = self.gone.contains_key(&user);
            match self.dice.u8(..100) {
                0..12 if !is_gone => self.leave(world, user),
                _ if all_leave && !is_gone => self.leave(world, user),
                0..20 if is_gone => {
                    let record = self.gone.remove(&user).expect("it is gone");
                    world
                        .simulator
                        .place_raw(&client, user, record)
                        .expect("it can come back");
                }
                12..30 => {
                    let change = json!({ "bio": self.dice.u8(..4).to_string(), "timeZone": "Asia/Tokyo" });
                    // A record that is no managed user's cannot be changed.
                    world.simulator.patch_user(user, change).ok();
                }
                30..34 if !is_gone => {
                    let record = world.simulator.user_json(user).expect("it is there").to_vec();
                    world
                        .simulator
                        .place_raw(&client, user, "{}")
                        .expect("the record can be placed");
                    self.gone.insert(user, record);
                }
                34..37 => {
                    let answer = Answer::Refuse(Refusal::RecordMissing);
                    world.simulator.script(Target::User(user), u32::MAX, answer);
                }
                _ => {}
            }
        }
        if self.dice.u8(..12) == 0 {
            let answer = Answer::Refuse(Refusal::WrongSecret);
            world.simulator.script(Target::Any, u32::MAX, answer);
        }
    }

    fn leave(&mut self, world: &World, user: i64) {
        let record = world.simulator.user_json(user).expect("it is there").to_vec();
        world.simulator.delete_user(user).expect("it can go");
        self.gone.insert(user, record);
    }
}

#[tokio::test]
async fn what_a_plan_says_is_what_the_next_pass_does() {
    let mut seen = BTreeMap::<String, u32>::new();
    for seed in 0..4 {
        let mut world = World::new(24).await;
        let later = crate::support::world::watch(&mut world.client, |users| users.split_off(12));
        crate::support::world::watch(&mut world.client, |users| users.push(UserId(999_999)));
        let mut fortune = Fortune {
            dice: fastrand::Rng::with_seed(seed),
            gone: BTreeMap::from([(999_999, b"{}".to_vec())]),
            later,
        };
        for turn in 0..20 {
            if turn > 0 {
                fortune.turn(&mut world);
            }
            let at = format!("seed {seed}, turn {turn}");
            let before = everything(&world).await;
            let (first, said) = plan(&world).await;
            let (second, again) = plan(&world).await;
            assert_eq!(said, again, "{at}: the same twice");
            assert_eq!(first.report.outcome, second.report.outcome, "{at}");
            assert_eq!(
                everything(&world).await,
                before,
                "{at}: a plan leaves everything as it is"
            );

            let report = world.pass().await;
            assert_eq!(made(&world).await, said.changes, "{at}: {:?}", report.error);
            // A set that waits outlives a pass that did not see everyone.
            if report.outcome == RunOutcome::Held || report.outcome.is_complete() {
                assert_eq!(held(&world).await, said.held(), "{at}: {:?}", report.error);
            }
            let foreseen = &first.report;
            let counts = |r: &calmirror::sync::Report| {
                [
                    r.observed,
                    r.inserted,
                    r.updated,
                    r.removed,
                    r.restored,
                    r.unchanged,
                    r.rejected,
                    r.missing,
                ]
            };
            assert_eq!(foreseen.outcome, report.outcome, "{at}: {:?}", report.error);
            assert_eq!(counts(foreseen), counts(&report), "{at}");
            assert_eq!(first.is_pending(), report.changes() > 0, "{at}");
            for line in said.changes.values() {
                *seen.entry(line.kind.clone()).or_default() += 1;
            }
            for fate in said.gone.values() {
                *seen.entry(format!("{fate:?}")).or_default() += 1;
            }
            *seen.entry(report.outcome.to_string()).or_default() += 1;
        }
    }
    for part in [
        "insert", "update", "restore", "removal", "Held", "Waits", "applied", "partial", "held", "failed",
    ] {
        assert!(seen.contains_key(part), "no {part} in {seen:?}");
    }
}

#[tokio::test]
async fn what_nobody_vouches_for_is_held_in_the_plan_as_in_the_pass() {
    let world = World::new(12).await;
    world.pass().await;
    let mut fortune = Fortune {
        dice: fastrand::Rng::with_seed(0),
        gone: BTreeMap::new(),
        later: Vec::new(),
    };
    for user in world.users() {
        fortune.leave(&world, user);
    }
    let cause = |report: &calmirror::sync::Report| {
        let error = report.error.clone().expect("a held pass says why");
        error
            .split_once(": nothing is")
            .map_or(error.clone(), |(cause, _)| cause.to_owned())
    };
    for turn in 1..=3 {
        let (plan, said) = plan(&world).await;
        let report = world.pass().await;
        assert_eq!(plan.report.outcome, RunOutcome::Held);
        assert_eq!(cause(&plan.report), cause(&report));
        let expected = if turn == 1 { Vec::new() } else { world.users() };
        assert_eq!(said.held(), expected, "turn {turn}");
        assert_eq!(held(&world).await, expected, "turn {turn}");
    }
    // What was said without a control counts for nothing once there is one.
    let user = world.users()[0];
    let record = fortune.gone.remove(&user).expect("it is gone");
    world
        .simulator
        .place_raw(world.client_id(), user, record)
        .expect("it can come back");
    let (plan, said) = plan(&world).await;
    assert_eq!(
        (plan.report.outcome, said.held()),
        (RunOutcome::NoChange, Vec::new())
    );
    assert_eq!(world.pass().await.outcome, RunOutcome::NoChange);
    assert_eq!(held(&world).await, [0; 0]);
}
