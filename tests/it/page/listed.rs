//! Which passes are listed.

use super::Site;
use crate::support::world::store;

#[tokio::test]
async fn ticks_that_were_skipped_push_no_pass_off_the_page() {
    let site = Site::new(2, false).await;
    for _ in 0..3 {
        site.pass().await;
    }
    let passes: Vec<i64> = sqlx::query_scalar("select run_id from sync_runs order by run_id desc")
        .fetch_all(&site.world.pool)
        .await
        .expect("the passes can be read");
    // As a pass that hangs leaves them behind, after the passes that ended before. Not of the days whose changes are counted.
    sqlx::raw_sql(
        "insert into sync_runs (client_id, client_name, trigger, outcome, started_at, finished_at)
         select client_id, client_name, 'schedule', 'skipped', now() - interval '60 days', now()
         from sync_state, generate_series(1, 50000);
         analyze sync_runs",
    )
    .execute(&site.world.pool)
    .await
    .expect("rows can be written");
    let read = "select idx_tup_fetch + seq_tup_read from pg_stat_user_tables where relname = 'sync_runs'";
    let before = site.count(read).await;
    let store = store(&site.world.db, 1);
    let ids = [site.world.client_id().to_owned()];
    let recent = store
        .recent(&ids, 2, 30, 200)
        .await
        .expect("the database answers");
    let listed: Vec<i64> = recent.passes.iter().map(|pass| pass.run_id).collect();
    assert_eq!(listed, passes[..2]);
    store.close().await;
    // Nor are they read in passing.
    let after = site.count(read).await;
    assert!(after - before < 1_000, "{} rows", after - before);
    let page = site.html("/").await;
    for run in passes {
        let row = format!("<th class=\"number\" scope=\"row\">{run}</th>");
        assert!(page.contains(&row), "no run {run} in {page}");
    }
    site.close().await;
}
