//! The page of very many clients, whose passes begin and end at any time.

use std::{collections::BTreeSet, time::Instant};

use calmirror::sync::Progress;
use chrono::{DateTime, Utc};
use futures_util::future::join_all;

use super::Site;

/// Readers at the same time, and how often each of them asks.
const READERS: usize = 8;
const TIMES: usize = 5;

impl Site {
    /// When by the database's clock all of the page was read.
    async fn read_at(&self) -> DateTime<Utc> {
        let overview = self.get("/api/v1/overview").await.json();
        overview["now"]
            .as_str()
            .and_then(|now| now.parse().ok())
            .expect("a time")
    }

    /// Somewhere a pass begins and ends.
    fn news(&self, client: usize) {
        let name = format!("client-{client}");
        drop(self.live.begins(&name, Progress::default()));
    }
}

#[tokio::test]
async fn passes_that_come_and_go_do_not_make_a_read_of_each_page() {
    let site = Site::new(1, false).await;
    site.pass().await;
    let started = Instant::now();
    let readers = (0..READERS).map(|reader| {
        let site = &site;
        async move {
            let mut reads = Vec::new();
            for time in 0..TIMES {
                let before: DateTime<Utc> = site.world.value("select clock_timestamp()").await;
                site.news(reader * TIMES + time);
                let read = site.read_at().await;
                assert!(read >= before, "news are not to be missed: {before} {read}");
                reads.push(read);
            }
            reads
        }
    });
    let reads: BTreeSet<_> = join_all(readers).await.into_iter().flatten().collect();
    // One at the beginning and one for each second, and one for the second that is not over.
    let most = started.elapsed().as_secs() + 2;
    assert!(
        reads.len() as u64 <= most,
        "{} reads for {} pages in {:?}",
        reads.len(),
        READERS * TIMES,
        started.elapsed()
    );
    site.close().await;
}
