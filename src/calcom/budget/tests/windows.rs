//! What is left of the server's windows, and what another process may take over of it.

use super::*;

fn shown<'a>(
    suffix: &'static str,
    limit: &'a str,
    remaining: &'a str,
    reset: &'a str,
) -> [(&'static str, &'a str); 3] {
    let [a, b, c] = match suffix {
        "default" => [
            "x-ratelimit-limit-default",
            "x-ratelimit-remaining-default",
            "x-ratelimit-reset-default",
        ],
        _ => [
            "x-ratelimit-limit-short",
            "x-ratelimit-remaining-short",
            "x-ratelimit-reset-short",
        ],
    };
    [(a, limit), (b, remaining), (c, reset)]
}

/// How many more may go before one has to wait.
async fn room(budget: &Budget) -> usize {
    let mut permits = Vec::new();
    while budget.hold().is_none() && permits.len() < 1000 {
        permits.push(granted(budget).await);
    }
    // They were never made.
    permits.len()
}

fn told(budget: &Budget, permit: &Permit<'_>, lines: &[(&'static str, &str)]) -> Option<Hold> {
    let lines = lines.iter().map(|(name, value)| {
        let value = HeaderValue::from_str(value).expect("the test's value is valid");
        (HeaderName::from_static(name), value)
    });
    permit.answered(StatusCode::OK, &lines.collect(), DateTime::UNIX_EPOCH);
    budget.hold()
}

#[tokio::test(start_paused = true)]
async fn a_fiftieth_of_the_limit_is_left_to_somebody_else() {
    for (limit, remaining, expected) in [("500", "13", 3), ("500", "10", 0), ("40", "3", 3), ("49", "1", 1)] {
        let budget = Budget::new(0);
        let permit = granted(&budget).await;
        told(&budget, &permit, &shown("default", limit, remaining, "9"));
        drop(permit);
        assert_eq!(room(&budget).await, expected, "{remaining} of {limit}");
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_takes_more_at_once_is_left_more_but_no_more_than_a_tenth() {
    for (then, expected) in [("180", 180 - 40), ("120", 120 - 50)] {
        let budget = Budget::new(0);
        let (first, second) = (granted(&budget).await, granted(&budget).await);
        told(&budget, &first, &shown("default", "500", "201", "9"));
        drop(first);
        // One of them is our own.
        told(&budget, &second, &shown("default", "500", then, "9"));
        drop(second);
        assert_eq!(room(&budget).await, expected, "{then}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_lost_may_be_counted_by_the_server_unless_it_was_over_before_what_is_answered() {
    // Of a window that is first heard of after it, as of one that is known.
    for is_known in [false, true] {
        let budget = Budget::new(0);
        if is_known {
            let permit = granted(&budget).await;
            told(&budget, &permit, &shown("default", "40", "14", "9"));
        }
        let (first, second) = (granted(&budget).await, granted(&budget).await);
        tokio::time::sleep(Duration::from_millis(1)).await;
        drop(second);
        // At the very moment: whichever the server counted first.
        let third = granted(&budget).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
        let fourth = granted(&budget).await;
        let heard = async |permit: Permit<'_>, remaining: &str| {
            told(&budget, &permit, &shown("default", "40", remaining, "9"));
            drop(permit);
            budget.state().rate_state(Instant::now()).remaining
        };
        // Two are under way, and one was lost.
        assert_eq!(heard(first, "13").await, Some(13 - 3), "{is_known}");
        assert_eq!(heard(third, "12").await, Some(12 - 2), "{is_known}");
        assert_eq!(heard(fourth, "10").await, Some(10), "{is_known}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_of_several_windows_counts() {
    let budget = Budget::new(0);
    let permit = granted(&budget).await;
    let lines = [
        shown("default", "500", "300", "50"),
        shown("short", "20", "2", "3"),
    ]
    .concat();
    assert_eq!(told(&budget, &permit, &lines), None);
    drop(permit);
    assert_eq!(room(&budget).await, 2);
    assert_eq!(
        wait_for_permit(&budget).await.as_secs(),
        4,
        "the short one is over"
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_overtaken_brings_nothing_back() {
    let budget = Budget::new(0);
    let (slow, quick) = (granted(&budget).await, granted(&budget).await);
    told(&budget, &quick, &shown("default", "40", "3", "9"));
    drop(quick);
    told(&budget, &slow, &shown("default", "40", "9", "9"));
    drop(slow);
    assert_eq!(room(&budget).await, 3);
}

#[tokio::test(start_paused = true)]
async fn what_may_be_counted_already_is_given_back_by_its_answer() {
    let budget = Budget::new(0);
    let (first, second) = (granted(&budget).await, granted(&budget).await);
    let held = told(&budget, &second, &shown("default", "40", "1", "9"));
    assert!(matches!(held, Some(Hold::Answers(Some(_)))), "{held:?}");
    // Counted before the other, so one is left.
    let waited = async {
        tokio::join!(wait_for_permit(&budget), async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            told(&budget, &first, &shown("default", "40", "2", "7"));
        })
        .0
    };
    assert_eq!(waited.await.as_secs(), 2);
}

#[tokio::test(start_paused = true)]
async fn before_its_first_answer_a_window_holds_the_limit_and_no_more() {
    let budget = Budget::new(0);
    let permit = granted(&budget).await;
    told(&budget, &permit, &shown("default", "100", "2", "9"));
    drop(permit);
    tokio::time::advance(Duration::from_secs(10)).await;
    let mut under_way = Vec::new();
    while budget.hold().is_none() {
        under_way.push(granted(&budget).await);
    }
    assert_eq!(under_way.len(), 98);
    // One that ends without an answer makes room for the next.
    under_way.pop();
    assert_eq!(budget.hold(), None);
}

#[tokio::test(start_paused = true)]
async fn what_was_left_behind_counts_until_the_first_answer() {
    let state = RateState {
        remaining: Some(2),
        resets_in: Some(Duration::from_secs(30)),
        blocked_for: None,
    };
    let budget = Budget::new(0);
    budget.resume(state);
    let (first, second) = (granted(&budget).await, granted(&budget).await);
    assert!(budget.hold().is_some());
    assert_eq!(told(&budget, &first, &shown("default", "40", "30", "20")), None);
    drop((first, second));
    let budget = Budget::new(0);
    budget.resume(state);
    assert_eq!(room(&budget).await, 2);
    assert_eq!(wait_for_permit(&budget).await.as_secs(), 30, "the window is over");
}

#[tokio::test(start_paused = true)]
async fn what_was_left_behind_never_makes_better_what_is_known() {
    let budget = Budget::new(0);
    let permit = granted(&budget).await;
    told(&budget, &permit, &shown("default", "40", "5", "20"));
    drop(permit);
    let left = |remaining| RateState {
        remaining: Some(remaining),
        resets_in: Some(Duration::from_secs(1)),
        blocked_for: None,
    };
    budget.resume(left(30));
    assert_eq!(budget.rate_state().remaining, Some(5));
    budget.resume(left(3));
    assert_eq!(budget.rate_state().remaining, Some(3));
    assert_eq!(room(&budget).await, 3);
}

#[tokio::test(start_paused = true)]
async fn a_block_that_another_process_met_is_waited_out() {
    let budget = Budget::new(450);
    budget.resume(RateState {
        blocked_for: Some(Duration::from_secs(40)),
        ..RateState::default()
    });
    assert_eq!(wait_for_permit(&budget).await.as_secs(), 40);
}

#[tokio::test(start_paused = true)]
async fn what_another_process_has_to_know_is_what_is_left_and_how_long() {
    let budget = Budget::new(0);
    assert!(budget.rate_state().is_unknown());
    let (first, under_way) = (granted(&budget).await, granted(&budget).await);
    told(&budget, &first, &shown("default", "500", "111", "20"));
    let state = budget.rate_state();
    assert_eq!(
        (state.remaining, state.resets_in, state.blocked_for),
        (Some(100), Some(Duration::from_secs(21)), None)
    );
    answer(&under_way, 429, &[("retry-after", "20")]).expect("a 429 is a block");
    let state = budget.rate_state();
    assert_eq!(
        (state.remaining, state.blocked_for),
        (None, Some(Duration::from_secs(21)))
    );
    answer(&under_way, 429, &[("retry-after", "3000")]).expect("a 429 is a block");
    assert!(budget.rate_state().is_unknown(), "starting anew asks again");
}

#[tokio::test(start_paused = true)]
async fn the_first_window_of_a_pass_and_each_block_are_news() {
    let budget = Budget::new(0);
    let is_news = async || {
        let limit = Duration::from_secs(1);
        tokio::time::timeout(limit, budget.news()).await.is_ok()
    };
    assert!(!is_news().await);
    let permit = granted(&budget).await;
    told(&budget, &permit, &shown("default", "500", "111", "20"));
    assert!(is_news().await);
    told(&budget, &permit, &shown("default", "500", "110", "20"));
    assert!(!is_news().await);
    budget.begin_pass(0);
    told(&budget, &permit, &shown("default", "500", "109", "18"));
    assert!(is_news().await, "a pass has begun");
    answer(&permit, 429, &[("retry-after", "20")]).expect("a 429 is a block");
    assert!(is_news().await);
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_pass_heard_last_is_no_news_of_the_next_one() {
    let budget = Budget::new(0);
    let permit = granted(&budget).await;
    told(&budget, &permit, &shown("default", "500", "111", "20"));
    budget.begin_pass(0);
    let news = tokio::time::timeout(Duration::from_secs(1), budget.news());
    assert!(news.await.is_err(), "nobody waited for it then");
}
