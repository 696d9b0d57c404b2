//! `calmirror init`: from a client id and a secret's whereabouts to a first pass.

use std::fs;

use super::Setup;

impl Setup {
    /// The configuration that the others tests start with is in the way here.
    async fn bare(users: usize) -> Self {
        let setup = Self::new(1, users).await;
        fs::remove_file(setup.workplace.path().join("config.toml")).expect("it was written");
        setup
    }
}

#[tokio::test]
async fn it_writes_checks_and_the_first_pass_works() {
    let setup = Setup::bare(3).await;
    let client = &setup.clients[0];
    let users = client
        .users
        .iter()
        .map(i64::to_string)
        .collect::<Vec<_>>()
        .join(",");
    let init = [
        "init",
        "--client-id",
        &client.id,
        "--secret-env",
        "SECRET_ACME",
        "--users",
        &users,
        "--base-url",
        &setup.base_url,
        "--database-url",
        &setup.database_url,
    ];
    let ended = setup.run(&init).await.expect(0);
    assert!(ended.stdout.starts_with("wrote config.toml\n"), "{ended}");
    assert!(ended.stdout.contains("ok     database: "), "{ended}");
    assert!(ended.stdout.contains("ok     main: "), "{ended}");
    let path = setup.workplace.path().join("config.toml");
    let written = fs::read_to_string(&path).expect("it is written");
    assert!(!written.contains(&client.secret));
    assert!(
        written.lines().filter(|line| line.starts_with("# ")).count() > 20,
        "it is commented: {written}"
    );

    let ended = setup.run(&["--output", "json", "sync"]).await.expect(0);
    assert_eq!(ended.json()[0]["inserted"], 3);
    let ended = setup.run(&["--output", "json", "sync"]).await.expect(0);
    assert_eq!(ended.json()[0]["outcome"], "no_change");

    let ended = setup.run(&init).await.expect(2);
    assert!(
        ended.stderr.contains("config.toml exists") && ended.stderr.contains("--force"),
        "{ended}"
    );
    assert_eq!(fs::read_to_string(&path).expect("it is still there"), written);
    setup.run(&[&init[..], &["--force"]].concat()).await.expect(0);
}

#[tokio::test]
async fn it_writes_the_file_that_the_other_commands_are_told_of() {
    let setup = Setup::bare(2).await;
    let init = [
        "init",
        "--client-id",
        "cl1",
        "--secret-env",
        "SECRET_ACME",
        "--no-check",
    ];
    setup
        .run(&[&["--config", "other.toml"][..], &init].concat())
        .await
        .expect(0);
    assert!(setup.workplace.path().join("other.toml").exists());
    assert!(!setup.workplace.path().join("config.toml").exists());
}

#[tokio::test]
async fn a_fault_is_told_and_the_file_is_there_to_be_mended() {
    let setup = Setup::bare(2).await;
    let client = &setup.clients[0];
    let secret = setup.workplace.write("secret", "not-it\n");
    let users = client
        .users
        .iter()
        .map(|id| format!("{id}\n"))
        .collect::<String>();
    setup.workplace.write("users.txt", &users);
    let ended = setup
        .run(&[
            "init",
            "--client-id",
            &client.id,
            "--secret-file",
            "secret",
            "--users-file",
            "users.txt",
            "--base-url",
            &setup.base_url,
            "--database-url",
            &setup.database_url,
            "--name",
            "clinic",
        ])
        .await
        .expect(1);
    assert!(ended.stdout.contains("fault  clinic: "), "{ended}");
    assert!(ended.stdout.contains("the secret is wrong"), "{ended}");
    fs::write(secret, &client.secret).expect("the file takes another secret");
    setup.run(&["check"]).await.expect(0);
    setup.run(&["sync"]).await.expect(0);
}

#[tokio::test]
async fn without_users_it_says_what_to_fill_in() {
    let setup = Setup::bare(2).await;
    let ended = setup
        .run(&[
            "init",
            "--client-id",
            &setup.clients[0].id,
            "--secret-env",
            "SECRET_ACME",
        ])
        .await
        .expect(0);
    assert!(ended.stdout.contains("fill in `users`"), "{ended}");
    assert_eq!(setup.simulator.requests().total, 0);
    let ended = setup.run(&["sync"]).await.expect(2);
    assert!(ended.stderr.contains("users"), "{ended}");
}
