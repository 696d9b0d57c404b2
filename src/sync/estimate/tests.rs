use chrono::TimeZone as _;
use proptest::prelude::*;

use super::*;

/// Users with addresses of 30 bytes each.
fn known(users: u64) -> Population {
    Population {
        users,
        with_address: users,
        address_bytes: users * 30,
        everyone: false,
    }
}

fn all_plans(population: &Population, reach: &Reach) -> [Option<u64>; 3] {
    PLANS.map(|plan| requests(plan, population, reach))
}

#[test]
fn known_users_are_asked_for_250_at_a_time() {
    let reach = Reach::default();
    assert_eq!(
        all_plans(&known(100_000), &reach),
        [Some(100_000), Some(400), None]
    );
    // Longer addresses: it is their bytes that fill a request.
    let long = Population {
        address_bytes: 100_000 * 60,
        ..known(100_000)
    };
    assert_eq!(requests(FetchPlan::Bulk, &long, &reach), Some(800));
    // Whoever has no known address is asked for alone.
    let some = Population {
        with_address: 99_000,
        address_bytes: 99_000 * 30,
        ..known(100_000)
    };
    assert_eq!(requests(FetchPlan::Bulk, &some, &reach), Some(396 + 1_000));
    assert_eq!(choose(FetchPlan::Auto, &some, &reach), FetchPlan::Bulk);
}

#[test]
fn addresses_of_a_query_are_taken_to_be_as_long_as_the_known_ones() {
    let some = Population {
        with_address: 10_000,
        address_bytes: 10_000 * 60,
        ..known(100_000)
    };
    let all = some.with_all_addresses();
    assert_eq!(
        all,
        Population {
            with_address: 100_000,
            address_bytes: 100_000 * 60,
            ..some
        }
    );
    assert_eq!(requests(FetchPlan::Bulk, &all, &Reach::default()), Some(800));
    // Where none is known, as many go into a request as it may ask for.
    let none = Population {
        with_address: 0,
        address_bytes: 0,
        ..some
    };
    assert_eq!(
        requests(FetchPlan::Bulk, &none.with_all_addresses(), &Reach::default()),
        Some(400)
    );
    assert_eq!(Population::default().with_all_addresses(), Population::default());
}

#[test]
fn a_list_takes_its_pages_and_one_that_shows_its_end() {
    let list = |users, limit| {
        let reach = Reach {
            users: limit,
            ..Reach::default()
        };
        requests(FetchPlan::List, &known(users), &reach)
    };
    let found = [0, 249, 250, 499, 500, 501].map(|users| list(users, 250));
    assert_eq!(found, [Some(1), Some(1), Some(2), Some(2), Some(2), None]);
    // A server that gives less at once: 350 users on the pages at 0, 100, 200 and 250; the others one by one.
    assert_eq!(list(400, 100), Some(4 + 50));
}

#[test]
fn discovery_comes_on_top_and_the_list_does_not_reach_everyone() {
    let reach = Reach::default();
    let everyone = Population {
        everyone: true,
        ..known(10_000)
    };
    assert_eq!(
        all_plans(&everyone, &reach),
        [Some(10_002), Some(42), Some(2 + 9_500)]
    );
    let few = Population {
        users: 0,
        ..Population::default()
    };
    assert_eq!(all_plans(&few, &reach), [Some(0), Some(0), Some(1)]);
    let unseen = Population {
        everyone: true,
        ..few
    };
    assert_eq!(all_plans(&unseen, &reach), [Some(1), Some(1), Some(1)]);
}

#[test]
fn what_is_configured_is_chosen_and_otherwise_the_fewest_requests() {
    let reach = Reach::default();
    for plan in PLANS {
        assert_eq!(choose(plan, &known(100_000), &reach), plan);
    }
    let auto = |population: &Population, reach: &Reach| choose(FetchPlan::Auto, population, reach);
    assert_eq!(auto(&known(0), &reach), FetchPlan::Get);
    assert_eq!(auto(&known(1), &reach), FetchPlan::Get, "the simplest of equals");
    assert_eq!(auto(&known(2), &reach), FetchPlan::Bulk);
    let unknown = |users| Population {
        users,
        ..Population::default()
    };
    assert_eq!(auto(&unknown(400), &reach), FetchPlan::List);
    assert_eq!(auto(&unknown(501), &reach), FetchPlan::Get);
    let deaf = Reach {
        by_addresses: false,
        ..reach
    };
    assert_eq!(auto(&known(100_000), &deaf), FetchPlan::Get);
    assert_eq!(auto(&known(500), &deaf), FetchPlan::List);
}

#[test]
fn the_first_burst_takes_no_time() {
    assert_eq!(duration(1_000_000, 0, None), None);
    assert_eq!(duration(25, 450, None), Some(Duration::ZERO));
    assert_eq!(duration(475, 450, None), Some(Duration::from_secs(60)));
    assert_eq!(duration(90_025, 450, None), Some(Duration::from_secs(12_000)));
    assert_eq!(
        duration(11, 10, None),
        Some(Duration::from_secs(60)),
        "a burst of one at least"
    );
}

#[test]
fn what_the_server_allows_counts_where_it_is_less_than_our_own_rate() {
    let allowance = Some(Allowance {
        requests: 490,
        window: Duration::from_secs(60),
    });
    for rate in [0, 450, 100_000] {
        assert_eq!(duration(0, rate, allowance), Some(Duration::ZERO));
    }
    assert_eq!(duration(490, 0, allowance), Some(Duration::ZERO));
    assert_eq!(duration(491, 0, allowance), Some(Duration::from_secs(60)));
    assert_eq!(
        duration(4_900, 100_000, allowance),
        Some(Duration::from_secs(9 * 60))
    );
    assert_eq!(
        duration(90_025, 450, allowance),
        Some(Duration::from_secs(12_000)),
        "ours is less"
    );
    assert_eq!(
        duration(u64::MAX, 0, allowance),
        Some(Duration::from_secs(60 * u64::from(u32::MAX)))
    );
}

#[test]
fn a_pass_that_outlasts_the_tick_says_so_beforehand_with_its_end() {
    let at = |hour, minute, second| {
        Utc.with_ymd_and_hms(2026, 3, 1, hour, minute, second)
            .single()
            .expect("such a time")
    };
    let now = at(12, 0, 0);
    let tick = at(12, 5, 0);
    assert_eq!(
        late(now, tick, Duration::from_secs(300), true),
        None,
        "just in time"
    );
    assert_eq!(
        late(now, tick, Duration::from_millis(1_330_400), true).as_deref(),
        Some(
            "the pass is expected to end at 2026-03-01T12:22:10Z, after the next tick (2026-03-01T12:05:00Z): that tick \
             waits for it, and further ones are skipped; choose a slower schedule.cron or a higher requests_per_minute"
        )
    );
    let never = late(now, tick, Duration::MAX, false).expect("later than any tick");
    assert!(never.contains("in more years than there are"), "{never}");
    assert!(never.ends_with("choose a slower schedule.cron"), "{never}");
}

fn population() -> impl Strategy<Value = Population> {
    (0..2_000_000_u64, 0.0..=1.0_f64, 0..200_u64, any::<bool>()).prop_map(
        |(users, share, bytes, everyone)| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "some share of them"
            )]
            let with_address = ((users as f64 * share) as u64).min(users);
            Population {
                users,
                with_address,
                address_bytes: with_address * bytes,
                everyone,
            }
        },
    )
}

fn reach() -> impl Strategy<Value = Reach> {
    (0..=250_usize, 0..=7_500_usize, any::<bool>()).prop_map(|(users, address_bytes, by_addresses)| Reach {
        users,
        address_bytes,
        by_addresses,
    })
}

proptest! {
    #[test]
    fn auto_never_takes_more_than_get(population in population(), reach in reach()) {
        let auto = requests(FetchPlan::Auto, &population, &reach);
        prop_assert!(auto.is_some());
        for plan in PLANS {
            if let Some(others) = requests(plan, &population, &reach) {
                prop_assert!(auto <= Some(others), "{plan:?}");
            }
        }
    }

    #[test]
    fn more_users_never_take_fewer_requests(
        population in population(), reach in reach(), unknown in 0..1_000_u64, known in 0..1_000_u64, bytes in 0..100_u64,
    ) {
        let more = Population {
            users: population.users + unknown + known,
            with_address: population.with_address + known,
            address_bytes: population.address_bytes + known * bytes,
            everyone: population.everyone,
        };
        // A plan that is not possible takes more than any number.
        let cost = |plan, population| requests(plan, population, &reach).unwrap_or(u64::MAX);
        for plan in [FetchPlan::Auto, FetchPlan::Get, FetchPlan::Bulk, FetchPlan::List] {
            prop_assert!(cost(plan, &population) <= cost(plan, &more), "{plan:?}");
        }
        prop_assert!(duration(cost(FetchPlan::Get, &population), 450, None) <= duration(cost(FetchPlan::Get, &more), 450, None));
    }
}
