//! Files of users, with addresses beside the ids.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    fs::{self, File},
    path::Path,
    thread,
};

use proptest::prelude::*;
use tempfile::TempDir;

use super::{CLIENT, ids};
use crate::{
    config::{Config, Environment, Listed, Secrets, Watch},
    model::UserId,
};

/// A client whose `users_file` is users.csv in a directory.
fn load(directory: &Path, users: &str) -> Result<(Watch, Vec<String>), String> {
    let path = directory.join("config.toml");
    let text = format!("{}users_file = 'users.csv'\n", CLIENT.replace("[1]", users));
    fs::write(&path, text).expect("the configuration");
    let environment = Environment::from_pairs([("SECRET", "x"), ("HOME", "/home/ada")]);
    let plain = |text: String| text.replace(&format!("{}/", directory.display()), "");
    match Config::load(&path, &environment, Secrets::Read) {
        Ok(loaded) => {
            let warnings = loaded.warnings.iter().map(ToString::to_string).map(plain);
            Ok((loaded.config.clients[0].watch.clone(), warnings.collect()))
        }
        Err(faults) => Err(plain(faults.to_string())),
    }
}

fn directory(csv: impl AsRef<[u8]>) -> TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    fs::write(directory.path().join("users.csv"), csv).expect("a file in it");
    directory
}

fn addresses(listed: &Listed, users: &[i64]) -> Vec<(i64, String)> {
    let users: Vec<_> = users.iter().copied().map(UserId).collect();
    let found = listed.addresses(&users).into_iter();
    found.map(|(user, address)| (user.0, address)).collect()
}

#[track_caller]
fn assert_addresses(listed: &Listed, users: &[i64], expected: &[(i64, &str)]) {
    let found = addresses(listed, users);
    let found: Vec<_> = found
        .iter()
        .map(|(user, address)| (*user, address.as_str()))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn a_file_may_give_addresses_beside_the_ids() {
    let directory = directory(
        "\u{feff}# from the app\r\nname, email ,user_id\r\n\"Lovelace,\nAda\",ada@example.com,7\r\n\r\n# \"\r\nBob,, 3\r\n\
         Cy,\"c,y\"\"@example.com\",5\r\nDa,dä@example.com,11",
    );
    let (watch, warnings) = load(directory.path(), "[1, 7]").expect("it is in order");
    assert_eq!(ids(&watch.listed), [1, 3, 5, 7, 11]);
    assert_eq!(warnings, [""; 0]);
    assert_eq!(watch.listed.known_addresses(), 3);
    let all = [
        (5, "c,y\"@example.com"),
        (7, "ada@example.com"),
        (11, "dä@example.com"),
    ];
    assert_addresses(&watch.listed, &[1, 3, 5, 7, 11], &all);
    assert_addresses(&watch.listed, &[3, 7], &all[1..2]);
    assert_addresses(&watch.listed, &[2, 99], &[]);
    let (everyone, _) = load(directory.path(), "'all'").expect("it is in order");
    assert!(everyone.all);
    assert_addresses(&everyone.listed, &[3, 5, 7, 11], &all);
}

#[test]
fn a_file_without_the_column_has_no_addresses() {
    let directory = directory("user_id,Email\n1,ada@example.com\n2,not one\n");
    let (watch, _) = load(directory.path(), "[1]").expect("other columns are not looked at");
    assert_eq!(watch.listed.known_addresses(), 0);
    assert_addresses(&watch.listed, &[1, 2], &[]);
}

#[test]
fn of_two_addresses_of_a_user_the_first_counts() {
    let lines = "user_id,email\n2,\n5,a@x\n2,b@x\n5,a@x\n2,c@x\n";
    let found = directory(lines);
    let (watch, warnings) = load(found.path(), "[1]").expect("it is in order");
    assert_addresses(&watch.listed, &[1, 2, 5], &[(2, "b@x"), (5, "a@x")]);
    let found = directory(format!("{lines}5,d@x\n5,a@x\n"));
    let (_, more) = load(found.path(), "[1]").expect("it is in order");
    insta::assert_snapshot!([warnings, more].concat().join("\n"), @"
    config.toml:7:14: clients.main.users_file: 1 line gives a user another address than a line before in users.csv; the first one counts
    config.toml:7:14: clients.main.users_file: 2 lines give a user another address than a line before in users.csv; the first one counts
    ");
}

#[test]
fn bad_addresses_are_named_by_their_lines_and_not_shown() {
    let mut text = "user_id,email\n".to_owned();
    for user in 1..=13 {
        writeln!(text, "{user},hunter{user}").expect("writing to a string does not fail");
    }
    let found = load(directory(text).path(), "[1]").expect_err("no address has an @");
    insta::assert_snapshot!(found, @r#"
    users.csv:2:1: clients.main.users_file: the email has no @
    users.csv:3:1: clients.main.users_file: the email has no @
    users.csv:4:1: clients.main.users_file: the email has no @
    users.csv:5:1: clients.main.users_file: the email has no @
    users.csv:6:1: clients.main.users_file: the email has no @
    users.csv:7:1: clients.main.users_file: the email has no @
    users.csv:8:1: clients.main.users_file: the email has no @
    users.csv:9:1: clients.main.users_file: the email has no @
    users.csv:10:1: clients.main.users_file: the email has no @
    users.csv:11:1: clients.main.users_file: the email has no @
    users.csv:12:1: clients.main.users_file: and 3 more from here on
    "#);
}

#[test]
fn a_file_that_cannot_be_used_is_one_fault() {
    let latin = load(directory(b"user_id,name\n1,\xfcmit\nx,y\n").path(), "[1]");
    let large = directory("user_id,email\n1,a@x\n");
    let file = File::options()
        .write(true)
        .open(large.path().join("users.csv"))
        .expect("it is there");
    file.set_len(5 << 30).expect("most of it takes no room");
    let large = load(large.path(), "[1]");
    let piped = tempfile::tempdir().expect("a temporary directory");
    let pipe = piped.path().join("users.csv");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    let written = thread::spawn({
        let pipe = pipe.clone();
        move || fs::write(pipe, "user_id,email\n1,a@x\n")
    });
    let with_addresses = load(piped.path(), "[1]");
    written.join().expect("no panic").expect("somebody reads");
    let written = thread::spawn(move || fs::write(pipe, "# ids\nuser_id,name\n4,ada\n"));
    let (watch, _) = load(piped.path(), "[1]").expect("ids are read once");
    written.join().expect("no panic").expect("somebody reads");
    assert_eq!(ids(&watch.listed), [1, 4]);
    let found = [latin, large, with_addresses].map(|loaded| loaded.expect_err("it cannot be used"));
    insta::assert_snapshot!(found.join("\n"), @"
    config.toml:7:14: clients.main.users_file: users.csv is not UTF-8; save it as plain text
    config.toml:7:14: clients.main.users_file: users.csv has more than 4 GiB, which is too much for a file with addresses; leave out its column email
    config.toml:7:14: clients.main.users_file: users.csv is no regular file, so that its addresses cannot be read when they are needed; write it to a file, or leave out its column email
    ");
}

#[test]
fn an_address_is_left_out_once_its_line_is_another() {
    let directory = directory("user_id,email\n4,d@x\n1,a@x\n3,c@x\n2,b@x\n");
    let path = directory.path().join("users.csv");
    let (watch, _) = load(directory.path(), "[1]").expect("it is in order");
    let users = [1, 2, 3, 4];
    assert_addresses(
        &watch.listed,
        &users,
        &[(1, "a@x"), (2, "b@x"), (3, "c@x"), (4, "d@x")],
    );
    for (text, expected) in [
        // An address that changed is a newer one.
        (
            &b"user_id,email\n4,D@x\n9,a@x\n3,c@x\n2,bx\n\n"[..],
            &[(3, "c@x"), (4, "D@x")][..],
        ),
        (b"user_id,email\n4,\xff@x\n1,a@x\n", &[(1, "a@x")]),
        (b"user_id,email\n5,d@x\n41,a@x\n3,\"c@x\n2,b@x\n", &[]),
        (b"", &[]),
    ] {
        fs::write(&path, text).expect("the file is written anew");
        assert_addresses(&watch.listed, &users, expected);
    }
    fs::remove_file(path).expect("it is there");
    assert_addresses(&watch.listed, &users, &[]);
}

/// A field of a CSV, with what has a meaning there.
fn field() -> impl Strategy<Value = String> {
    prop::collection::vec(
        prop::sample::select(vec!["a", "ü", "\"", ",", "\n", "\r\n", " ", "#", "@", ""]),
        0..6,
    )
    .prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn each_user_gets_its_own_address_in_whatever_order_and_form(
        rows in prop::collection::vec((1..400_i64, field(), any::<bool>(), field()), 0..300),
        asked in prop::collection::btree_set(1..400_i64, 0..200),
        columns in prop::sample::select(vec![[0, 1, 2], [2, 0, 1], [1, 2, 0]]),
        is_crlf in any::<bool>(),
    ) {
        let mut csv = csv::WriterBuilder::new()
            .terminator(if is_crlf { csv::Terminator::CRLF } else { csv::Terminator::Any(b'\n') })
            .from_writer(Vec::new());
        let mut write = |fields: [&str; 3]| {
            csv.write_record(columns.map(|column| fields[column])).expect("writing to memory does not fail");
        };
        write(["user_id", "email", "note"]);
        let mut expected = HashMap::new();
        for (user, name, has_address, note) in &rows {
            // A line that begins with # is a comment, so no first field does.
            let name: String = name.chars().filter(|c| !c.is_control()).collect();
            let address = if *has_address { format!("a{name}@x") } else { String::new() };
            let note = format!("a{note}");
            write([&user.to_string(), &address, &note]);
            if *has_address {
                expected.entry(*user).or_insert(address);
            }
        }
        let text = csv.into_inner().expect("writing to memory does not fail");
        let directory = directory(text);
        let (watch, _) = load(directory.path(), "[1]").map_err(TestCaseError::fail)?;
        let asked: Vec<_> = asked.into_iter().collect();
        let wanted: BTreeMap<_, _> = asked.iter().filter_map(|user| Some((*user, expected.get(user)?.clone()))).collect();
        prop_assert_eq!(addresses(&watch.listed, &asked), wanted.into_iter().collect::<Vec<_>>());
    }
}
