//! Whom a client's passes look at: everyone, a query, a file with addresses; and the memory that a long file takes.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{BufWriter, Write as _},
};

use super::Setup;
use crate::support::program::Workplace;

#[tokio::test]
async fn a_check_says_where_the_number_of_users_is_not_known() {
    let setup = Setup::new(3, 2).await;
    let mut text = format!(
        "[calcom]\nbase_url = \"{}\"\nrequests_per_minute = 0\n[database]\nurl = \"{}\"\n",
        setup.base_url, setup.database_url
    );
    let listed = format!("users = {:?}", setup.clients[2].users);
    let users = [
        "users = \"all\"",
        "users_sql = \"select 1 as user_id\"",
        listed.as_str(),
    ];
    for (client, users) in setup.clients.iter().zip(users) {
        write!(
            text,
            "[[clients]]\nname = \"{}\"\nid = \"{}\"\nsecret = {{ env = \"{}\" }}\n{users}\n",
            client.name,
            client.id,
            super::secret_variable(client),
        )
        .expect("writing to a string does not fail");
    }
    setup.workplace.write("config.toml", &text);
    let ended = setup.run(&["check"]).await.expect(0);
    let names: Vec<_> = setup.clients.iter().map(|client| client.name.as_str()).collect();
    let warning = format!("warn   {}: ", names[1]);
    let lines: Vec<_> = ended
        .stdout
        .lines()
        .filter(|line| line.starts_with("ok ") || line.starts_with(&warning))
        .collect();
    assert_eq!(
        lines[0],
        format!(
            "ok     config: clients: 3, users: 2, everyone of {}, by query for {}",
            names[0], names[1]
        )
    );
    assert_eq!(
        lines[2],
        format!("ok     {}: the list of users answers", names[0])
    );
    assert_eq!(
        lines[3],
        format!(
            "warn   {}: credentials are right, but user 1 is not one of this client's; with users_sql, 1 user is known beforehand",
            names[1]
        )
    );
    assert!(
        lines[4].starts_with(&format!("ok     {}: user ", names[2])),
        "{ended}"
    );
}

#[tokio::test]
async fn init_writes_a_configuration_for_everyone() {
    let workplace = Workplace::new();
    let variables = [("SECRET", "s3cret"), ("HOME", "/home/ada")];
    let init = [
        "init",
        "--client-id",
        "cl1",
        "--secret-env",
        "SECRET",
        "--no-check",
    ];
    let everyone = [&init[..], &["--all", "--organization", "42"]].concat();
    workplace.run_with(&variables, &everyone).await.expect(0);
    let written = fs::read_to_string(workplace.path().join("config.toml")).expect("it is written");
    assert!(
        written.contains("\nusers = \"all\"\n") && written.contains("\norganization_id = 42\n"),
        "{written}"
    );
    let ended = workplace
        .run_with(&variables, &["--output", "json", "config"])
        .await
        .expect(0);
    let client = &ended.json()[0]["clients"][0];
    assert_eq!(
        (&client["users"], &client["organization_id"]),
        (&"all".into(), &42.into())
    );
    for wrong in [
        &["--all", "--users", "1"][..],
        &["--organization", "42"],
        &["--all", "--organization", "0"],
    ] {
        workplace
            .run_with(&variables, &[&init[..], &["--force"], wrong].concat())
            .await
            .expect(2);
    }
}

/// A file of so many users with their addresses, the last one first.
fn write_users(workplace: &Workplace, users: u32) {
    let file = File::create(workplace.path().join("users.csv")).expect("the directory takes a file");
    let mut file = BufWriter::new(file);
    writeln!(file, "user_id,email").expect("it takes a line");
    for user in (1..=users).rev() {
        writeln!(file, "{user},user-number-{user}@example.com").expect("it takes a line");
    }
    file.flush().expect("it takes them all");
}

/// The most memory that reading a file of so many users took, in KiB. `None` where the system does not tell.
async fn peak(users: u32) -> Option<u64> {
    let workplace = Workplace::new();
    workplace.write(
        "config.toml",
        "[[clients]]\nname = \"acme\"\nid = \"cl1\"\nsecret = { env = \"SECRET\" }\nusers_file = \"users.csv\"\n",
    );
    write_users(&workplace, users);
    let program = workplace.start_with(&[("SECRET", "s3cret"), ("HOME", "/home/ada")], &["config"]);
    let status = format!("/proc/{}/status", program.id());
    let mut peak = None;
    let watch = async {
        // It only grows, and is gone with the process.
        while let Some(now) = fs::read_to_string(&status).ok().as_deref().and_then(high_water) {
            peak = Some(now);
            tokio::task::yield_now().await;
        }
    };
    let (ended, ()) = tokio::join!(program.end(), watch);
    let ended = ended.expect(0);
    let shown = format!("# users: {users}, from 1 to {users}\n");
    assert!(ended.stdout.ends_with(&shown), "{ended}");
    peak
}

fn high_water(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

#[tokio::test]
async fn a_million_users_with_addresses_take_less_than_a_list_of_them() {
    let (Some(few), Some(many)) = (peak(10_000).await, peak(1_000_000).await) else {
        eprintln!(
            "SKIPPED: this system does not tell how much memory a process takes, as Linux does in /proc"
        );
        return;
    };
    eprintln!("10,000 users take {few} KiB, a million {many} KiB");
    assert!(
        many < few + 8 * 1024,
        "a million users take {many} KiB, 10,000 take {few} KiB"
    );
}
