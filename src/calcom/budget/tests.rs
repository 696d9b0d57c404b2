use std::collections::VecDeque;

use reqwest::header::{HeaderName, HeaderValue};

use super::*;

fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    lines
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect()
}

fn answer(permit: &Permit<'_>, status: u16, lines: &[(&'static str, &'static str)]) -> Option<Block> {
    let status = StatusCode::from_u16(status).expect("the test's status is valid");
    permit.answered(status, &headers(lines), DateTime::UNIX_EPOCH)
}

async fn wait_for_permit(budget: &Budget) -> Duration {
    let before = Instant::now();
    drop(budget.permit().await);
    before.elapsed()
}

#[tokio::test(start_paused = true)]
async fn no_minute_holds_more_than_the_server_allows() {
    let budget = Budget::new(450);
    let minute = Duration::from_secs(60);
    let mut sent = VecDeque::new();
    let mut most = 0;
    let start = Instant::now();
    for _ in 0..2000 {
        drop(budget.permit().await);
        let now = Instant::now();
        sent.push_back(now);
        while sent.front().is_some_and(|&first| now - first >= minute) {
            sent.pop_front();
        }
        most = most.max(sent.len());
    }
    assert!(most <= 476, "{most} requests within one minute");
    let elapsed = start.elapsed().as_secs();
    assert!(
        (255..=275).contains(&elapsed),
        "2000 at 450 a minute took {elapsed} s"
    );
}

#[tokio::test(start_paused = true)]
async fn a_rate_of_none_never_waits() {
    let budget = Budget::new(0);
    let start = Instant::now();
    for _ in 0..10_000 {
        drop(budget.permit().await);
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_block_silences_every_request_until_it_is_over() {
    let budget = Budget::new(0);
    let permit = budget.permit().await;
    let block = answer(&permit, 429, &[("x-ratelimit-reset-default", "20")]).expect("a 429 is a block");
    assert!(block.begins);
    drop(permit);
    let (one, two) = tokio::join!(wait_for_permit(&budget), wait_for_permit(&budget));
    assert_eq!(one.as_secs(), 21);
    assert_eq!(two.as_secs(), 21);
}

#[tokio::test(start_paused = true)]
async fn a_block_that_says_nothing_lasts_a_minute() {
    let budget = Budget::new(0);
    let permit = budget.permit().await;
    answer(&permit, 429, &[]).expect("a 429 is a block");
    assert_eq!(wait_for_permit(&budget).await.as_secs(), 61);
}

#[tokio::test(start_paused = true)]
async fn another_429_that_was_under_way_lengthens_the_block_but_does_not_begin_one() {
    let budget = Budget::new(0);
    let (first, second) = (budget.permit().await, budget.permit().await);
    let begun = answer(&first, 429, &[("retry-after", "10")]).expect("a 429 is a block");
    let longer = answer(&second, 429, &[("retry-after", "30")]).expect("a 429 is a block");
    assert!(begun.begins && !longer.begins);
    assert!(longer.until > begun.until);
    let shorter = answer(&second, 429, &[("retry-after", "1")]).expect("a 429 is a block");
    assert_eq!(shorter.until, longer.until, "a block never gets shorter");
    assert_eq!(wait_for_permit(&budget).await.as_secs(), 31);
}

#[tokio::test(start_paused = true)]
async fn a_block_right_after_a_block_is_taken_as_a_whole_minute() {
    let budget = Budget::new(0);
    for expected in [2, 61, 61] {
        let permit = budget.permit().await;
        let block = answer(&permit, 429, &[("retry-after", "1")]).expect("a 429 is a block");
        assert!(block.begins);
        drop(permit);
        assert_eq!(wait_for_permit(&budget).await.as_secs(), expected);
    }
    let permit = budget.permit().await;
    assert_eq!(answer(&permit, 200, &[]), None);
    answer(&permit, 429, &[("retry-after", "1")]).expect("a 429 is a block");
    drop(permit);
    assert_eq!(
        wait_for_permit(&budget).await.as_secs(),
        2,
        "an answer came in between"
    );
}

#[tokio::test(start_paused = true)]
async fn a_window_that_is_used_up_is_waited_for() {
    let budget = Budget::new(0);
    let (first, second, third) = (
        budget.permit().await,
        budget.permit().await,
        budget.permit().await,
    );
    let left = |remaining| {
        [
            ("x-ratelimit-remaining-default", remaining),
            ("x-ratelimit-reset-default", "9"),
        ]
    };
    assert_eq!(answer(&first, 200, &left("3")), None);
    assert_eq!(budget.quiet(), None, "three are left for the two under way");
    answer(&first, 200, &left("2"));
    assert!(
        budget.quiet().is_some(),
        "two are left, and two may be on their way to them"
    );
    drop((first, second, third));
    assert_eq!(wait_for_permit(&budget).await.as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn what_remains_without_a_reset_is_no_reason_to_wait() {
    let budget = Budget::new(0);
    let permit = budget.permit().await;
    answer(&permit, 200, &[("x-ratelimit-remaining-default", "0")]);
    answer(
        &permit,
        200,
        &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "soon")],
    );
    assert_eq!(budget.quiet(), None);
}
