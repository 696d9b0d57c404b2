use std::{
    convert::Infallible,
    pin::{Pin, pin},
    task::{Context, Poll},
};

use axum::body::Bytes;
use futures_util::FutureExt;
use http_body::Frame;

use super::*;

const TIMEOUT: Duration = Duration::from_secs(30);

fn bodies() -> Bodies {
    Bodies::new(1 << 20, TIMEOUT)
}

/// A body that comes a kilobyte at a time.
struct Chunks {
    left: usize,
    /// The whole length, if that is told beforehand.
    told: Option<u64>,
    /// It does not end.
    held_open: bool,
}

impl http_body::Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left > 0 {
            self.left -= 1;
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b' '; 1024])))));
        }
        if self.held_open {
            Poll::Pending
        } else {
            Poll::Ready(None)
        }
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.told
            .map_or_else(http_body::SizeHint::default, http_body::SizeHint::with_exact)
    }
}

fn response(bytes: usize, held_open: bool) -> Response {
    let chunks = Chunks {
        left: bytes / 1024,
        told: None,
        held_open,
    };
    axum::http::Response::new(reqwest::Body::wrap(chunks)).into()
}

/// A body that tells its length, whether or not so much comes.
fn telling(told: usize, bytes: usize) -> Response {
    let chunks = Chunks {
        left: bytes / 1024,
        told: Some(told.try_into().expect("it is no more than 64 bits")),
        held_open: false,
    };
    axum::http::Response::new(reqwest::Body::wrap(chunks)).into()
}

#[tokio::test]
async fn no_more_than_two_bodies_are_large_at_a_time() {
    let bodies = bodies();
    let begun = Instant::now();
    let large = || response(SMALL_BYTES + 1024, false);
    let (mut first, mut second, mut third) = (large(), large(), large());
    let first = bodies
        .read(&mut first, begun)
        .await
        .expect("it is within the cap");
    let second = bodies
        .read(&mut second, begun)
        .await
        .expect("it is within the cap");
    let mut reading = pin!(bodies.read(&mut third, begun));
    assert!(reading.as_mut().now_or_never().is_none(), "the third waits");
    for _ in 0..20 {
        let small = bodies.read(&mut response(SMALL_BYTES, false), begun).await;
        assert_eq!(small.expect("small ones do not wait").bytes.len(), SMALL_BYTES);
    }
    assert!(reading.as_mut().now_or_never().is_none(), "the third still waits");
    drop(first);
    let third = reading.await.expect("it is within the cap");
    assert_eq!(third.bytes.len(), SMALL_BYTES + 1024);
    assert_eq!(second.bytes.len(), SMALL_BYTES + 1024);
}

#[tokio::test(start_paused = true)]
async fn waiting_for_large_bodies_takes_from_the_time_of_the_request() {
    let bodies = bodies();
    let begun = Instant::now();
    let mut endless = [response(SMALL_BYTES * 2, true), response(SMALL_BYTES * 2, true)];
    let [first, second] = &mut endless;
    let (mut first, mut second) = (pin!(bodies.read(first, begun)), pin!(bodies.read(second, begun)));
    // A task may do so much at once and no more.
    while bodies.large.available_permits() > 0 {
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        tokio::task::yield_now().await;
    }
    let error = bodies
        .read(&mut response(SMALL_BYTES * 2, false), begun)
        .await
        .expect_err("nobody makes room");
    assert!(
        matches!(error, Error::Unreachable(Obstacle::TimeOut, None)),
        "{error}"
    );
    assert_eq!(begun.elapsed(), TIMEOUT);
}

#[tokio::test]
async fn a_body_takes_no_more_memory_than_it_may_have_bytes() {
    let bodies = Bodies::new(700 * 1024, TIMEOUT);
    let read = bodies
        .read(&mut response(650 * 1024, false), Instant::now())
        .await;
    assert_eq!(read.expect("it is within the cap").bytes.capacity(), 700 * 1024);
    let error = bodies
        .read(&mut response(701 * 1024, false), Instant::now())
        .await
        .expect_err("it is more than the cap");
    assert!(
        matches!(error, Error::TooLarge { limit } if limit == 700 * 1024),
        "{error}"
    );
}

#[tokio::test]
async fn large_bodies_of_known_length_take_no_more_leave_than_they_need() {
    let bodies = bodies();
    let mut held = Vec::new();
    // 2 MiB are shared, and each of these takes 5 of their 32 parts.
    let bytes = SMALL_BYTES + 1024;
    for _ in 0..6 {
        let read = bodies.read(&mut telling(bytes, bytes), Instant::now()).await;
        let body = read.expect("it is within the cap");
        assert_eq!((body.bytes.len(), body.bytes.capacity()), (bytes, bytes));
        held.push(body);
    }
    let mut seventh = telling(bytes, bytes);
    let mut reading = pin!(bodies.read(&mut seventh, Instant::now()));
    assert!(
        reading.as_mut().now_or_never().is_none(),
        "there are 2 parts left"
    );
    held.pop();
    assert_eq!(reading.await.expect("it is within the cap").bytes.len(), bytes);
}

#[tokio::test]
async fn a_length_that_is_only_told_takes_no_memory() {
    let bodies = bodies();
    let error = bodies
        .read(&mut telling(usize::MAX, 1024), Instant::now())
        .await
        .expect_err("so much is never read");
    assert!(
        matches!(error, Error::TooLarge { limit } if limit == 1 << 20),
        "{error}"
    );
    let body = bodies.read(&mut telling(1 << 20, 1024), Instant::now()).await;
    let body = body.expect("there is no less to it");
    assert_eq!((body.bytes.len(), body.bytes.capacity()), (1024, SMALL_BYTES));
}

#[tokio::test]
async fn an_ordinary_body_is_put_in_one_place_from_the_start() {
    let bodies = bodies();
    let bytes = 120 * 1024;
    let known = bodies.read(&mut telling(bytes, bytes), Instant::now()).await;
    assert_eq!(known.expect("it is within the cap").bytes.capacity(), bytes);
    let unknown = bodies.read(&mut response(bytes, false), Instant::now()).await;
    assert_eq!(
        unknown.expect("it is within the cap").bytes.capacity(),
        SMALL_BYTES
    );
    let single = bodies.read(&mut response(1024, false), Instant::now()).await;
    assert_eq!(single.expect("it is within the cap").bytes.capacity(), 1024);
}

#[tokio::test]
async fn the_memory_of_a_large_body_serves_the_next_one() {
    let bodies = bodies();
    let mut before = None;
    for _ in 0..3 {
        // Too large, in the end, or whole: its memory comes back either way.
        for length in [SMALL_BYTES * 2, bodies.max_bytes + 1024] {
            let read = bodies.read(&mut response(length, false), Instant::now()).await;
            assert_eq!(read.is_ok(), length <= bodies.max_bytes);
        }
        let spare = bodies.spare();
        let places: Vec<_> = spare
            .iter()
            .map(|spare| (spare.as_ptr(), spare.capacity()))
            .collect();
        assert_eq!(places.len(), 1);
        assert_eq!(*before.get_or_insert_with(|| places.clone()), places);
    }
}
