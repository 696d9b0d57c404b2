//! A server without room: a disk that is full, connections that are all taken.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::Command,
};

use nix::unistd::geteuid;
use sqlx::{Connection as _, PgConnection};

use super::{
    server::Server,
    stage::{Stage, the_line},
};

/// A file system of one megabyte, which root alone can make.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(owner: &Server) -> Option<Self> {
        if !geteuid().is_root() {
            return None;
        }
        let dir = tempfile::Builder::new()
            .prefix("calmirror-disk-")
            .tempdir()
            .expect("the temporary directory takes another one")
            .keep();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(&dir)
            .output()
            .is_ok_and(|output| output.status.success());
        if !mounted {
            fs::remove_dir(&dir).expect("it is empty");
            return None;
        }
        let (uid, gid) = owner.owner();
        chown(&dir, Some(uid), Some(gid)).expect("it is ours to give");
        Some(Self(dir))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The server may still have files there; it lets go of them when it ends.
        let unmounted = Command::new("umount").arg("--lazy").arg(&self.0).status();
        if unmounted.is_ok_and(|status| status.success()) {
            fs::remove_dir(&self.0).ok();
        }
    }
}

#[tokio::test]
async fn a_disk_that_is_full_stops_passes_until_there_is_room() {
    let server = Server::start().await;
    let Some(disk) = SmallDisk::mount(&server) else {
        // Written past the harness, which keeps what is printed.
        writeln!(
            std::io::stderr(),
            "SKIPPED: a full disk, which only root can make"
        )
        .expect("standard error is open");
        server.stop().await;
        return;
    };
    let stage = Stage::on(&server, 20).await;
    stage.sync().await.expect(0);
    let fresh = stage.fresh_as_of().await;
    stage
        .execute(&format!(
            "create tablespace small location '{}'",
            disk.path().display()
        ))
        .await;
    stage
        .execute("alter table managed_user_changes set tablespace small")
        .await;
    stage
        .execute("create table filling (page text) tablespace small; alter table filling alter page set storage plain")
        .await;
    let mut fill = stage.pool.acquire().await.expect("the database answers");
    while sqlx::query("insert into filling values (repeat('x', 8000))")
        .execute(&mut *fill)
        .await
        .is_ok()
    {}
    drop(fill);
    // More than the room that is left in the ledger's last page.
    for user in 0..20 {
        stage.change(user, "Antarctica/Troll");
    }
    let ended = stage.sync().await.expect(75);
    let line = the_line(&ended);
    for text in [
        "the database has no room",
        "No space left on device (53100)",
        "give the server disk",
    ] {
        assert!(line.contains(text), "no {text:?} in {line}");
    }
    assert_eq!(stage.fresh_as_of().await, fresh, "freshness moved");
    stage.execute("drop table filling").await;
    // Files are given back by a checkpoint.
    stage.execute("checkpoint").await;
    stage.sync().await.expect(0);
    stage.assert_true(40).await;
    stage
        .execute("alter table managed_user_changes set tablespace pg_default")
        .await;
    stage.pool.close().await;
    server.stop().await;
}

#[tokio::test]
async fn a_server_whose_connections_are_all_taken_is_waited_for() {
    let server = Server::start_with(&[
        ("max_connections", "6"),
        ("superuser_reserved_connections", "0"),
        ("max_wal_senders", "0"),
    ])
    .await;
    let stage = Stage::on(&server, 5).await;
    stage.sync().await.expect(0);
    let fresh = stage.fresh_as_of().await;
    let mut taken = Vec::new();
    while let Ok(connection) = PgConnection::connect_with(&server.connect_options()).await {
        taken.push(connection);
    }
    let ended = stage.sync().await.expect(75);
    let line = the_line(&ended);
    assert!(
        line.contains("the database has no room") && line.contains("(53300)") && line.contains("connections"),
        "{line}"
    );
    assert_eq!(stage.fresh_as_of().await, fresh, "freshness moved");
    for connection in taken {
        connection.close().await.expect("the connection closes");
    }
    stage.sync().await.expect(0);
    stage.assert_true(5).await;
    stage.pool.close().await;
    server.stop().await;
}
