use std::collections::VecDeque;

use reqwest::header::{HeaderName, HeaderValue};

use super::*;

mod against_a_server;
mod windows;

fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    lines
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect()
}

fn answer(permit: &Permit<'_>, status: u16, lines: &[(&'static str, &'static str)]) -> Option<Block> {
    let status = StatusCode::from_u16(status).expect("the test's status is valid");
    permit
        .answered(status, &headers(lines), DateTime::UNIX_EPOCH)
        .block
}

async fn granted(budget: &Budget) -> Permit<'_> {
    budget
        .permit(|_| ())
        .await
        .expect("no silence is too long to wait for")
}

async fn wait_for_permit(budget: &Budget) -> Duration {
    let before = Instant::now();
    drop(granted(budget).await);
    before.elapsed()
}

#[tokio::test(start_paused = true)]
async fn another_rate_holds_from_the_next_pass_on_and_brings_no_second_burst() {
    let budget = Budget::new(450);
    for _ in 0..25 {
        assert_eq!(wait_for_permit(&budget).await, Duration::ZERO);
    }
    // The same rate is nothing new.
    budget.begin_pass(450);
    assert!(wait_for_permit(&budget).await >= Duration::from_millis(133));
    budget.begin_pass(600);
    assert!(
        wait_for_permit(&budget).await >= Duration::from_millis(99),
        "no burst of 33"
    );
    assert!(
        wait_for_permit(&budget).await <= Duration::from_millis(101),
        "but the new rate"
    );
    budget.begin_pass(0);
    assert_eq!(wait_for_permit(&budget).await, Duration::ZERO);
    assert_eq!(budget.most_within(Duration::from_secs(60)), u64::MAX);
}

#[tokio::test(start_paused = true)]
async fn no_minute_holds_more_than_the_server_allows() {
    let budget = Budget::new(450);
    let minute = Duration::from_secs(60);
    let mut sent = VecDeque::new();
    let mut most = 0;
    let start = Instant::now();
    for _ in 0..2000 {
        drop(granted(&budget).await);
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
        drop(granted(&budget).await);
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_block_silences_every_request_until_it_is_over() {
    let budget = Budget::new(0);
    let permit = granted(&budget).await;
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
    let permit = granted(&budget).await;
    answer(&permit, 429, &[]).expect("a 429 is a block");
    assert_eq!(wait_for_permit(&budget).await.as_secs(), 61);
}

#[tokio::test(start_paused = true)]
async fn another_429_that_was_under_way_lengthens_the_block_but_does_not_begin_one() {
    let budget = Budget::new(0);
    let (first, second) = (granted(&budget).await, granted(&budget).await);
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
        let permit = granted(&budget).await;
        let block = answer(&permit, 429, &[("retry-after", "1")]).expect("a 429 is a block");
        assert!(block.begins);
        drop(permit);
        assert_eq!(wait_for_permit(&budget).await.as_secs(), expected);
    }
    let permit = granted(&budget).await;
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
        granted(&budget).await,
        granted(&budget).await,
        granted(&budget).await,
    );
    let left = |remaining| {
        [
            ("x-ratelimit-remaining-default", remaining),
            ("x-ratelimit-reset-default", "9"),
        ]
    };
    assert_eq!(answer(&first, 200, &left("3")), None);
    assert_eq!(budget.hold(), None, "three are left for the two under way");
    answer(&first, 200, &left("2"));
    assert!(
        budget.hold().is_some(),
        "two are left, and two may be on their way to them"
    );
    drop((first, second, third));
    assert_eq!(wait_for_permit(&budget).await.as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn what_remains_without_a_reset_is_no_reason_to_wait() {
    let budget = Budget::new(0);
    let permit = granted(&budget).await;
    answer(&permit, 200, &[("x-ratelimit-remaining-default", "0")]);
    answer(
        &permit,
        200,
        &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "soon")],
    );
    assert_eq!(budget.hold(), None);
}

#[tokio::test(start_paused = true)]
async fn a_block_that_is_too_long_to_wait_for_refuses_at_once_until_it_is_over() {
    let budget = Budget::new(0);
    let permit = granted(&budget).await;
    let block = answer(&permit, 429, &[("retry-after", "86400")]).expect("a 429 is a block");
    assert!(!block.is_waited_for);
    drop(permit);
    let before = Instant::now();
    let until = budget.permit(|_| ()).await.expect_err("it is an hour off");
    assert_eq!(before.elapsed(), Duration::ZERO);
    assert_eq!(until, block.until);
    assert_eq!(
        until - before,
        Duration::from_secs(3601),
        "nobody is silenced for a day"
    );
    tokio::time::advance(Duration::from_secs(3601)).await;
    assert_eq!(wait_for_permit(&budget).await, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn the_longest_block_that_is_waited_for_is_waited_for() {
    let budget = Budget::new(0);
    let permit = granted(&budget).await;
    let block = answer(&permit, 429, &[("retry-after", "300")]).expect("a 429 is a block");
    assert!(block.is_waited_for);
    drop(permit);
    assert_eq!(wait_for_permit(&budget).await.as_secs(), 301);
}

#[tokio::test(start_paused = true)]
async fn a_server_in_trouble_is_given_a_short_rest_but_no_long_one() {
    let heard = |permit: &Permit<'_>, status, rest| {
        let status = StatusCode::from_u16(status).expect("the test's status is valid");
        permit.answered(status, &headers(&[("retry-after", rest)]), DateTime::UNIX_EPOCH)
    };
    for (status, asked, rest, wait) in [
        (503, "3", Some(3), 3),
        (500, "10", Some(10), 10),
        (503, "11", Some(11), 0),
        (503, "0", None, 0),
        (503, "soon", None, 0),
        (200, "3", None, 0),
    ] {
        let budget = Budget::new(0);
        let permit = granted(&budget).await;
        let heard = heard(&permit, status, asked);
        assert_eq!(heard.rest.map(|rest| rest.as_secs()), rest, "{status} {asked}");
        drop(permit);
        assert_eq!(wait_for_permit(&budget).await.as_secs(), wait, "{status} {asked}");
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_is_told_what_for() {
    let budget = Budget::new(0);
    let told = std::cell::RefCell::new(Vec::new());
    let wait = async || {
        let permit = budget.permit(|silence| {
            told.borrow_mut()
                .push((silence.left().as_secs(), silence.is_block))
        });
        permit.await.expect("no silence is too long to wait for")
    };
    let permit = wait().await;
    answer(
        &permit,
        200,
        &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "9")],
    );
    drop(permit);
    let permit = wait().await;
    answer(&permit, 429, &[("retry-after", "4")]);
    drop(permit);
    drop(wait().await);
    assert_eq!(*told.borrow(), [(10, false), (5, true)]);
}
