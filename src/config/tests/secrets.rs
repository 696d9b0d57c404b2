//! Secrets, and the files of users, from where they are kept.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::Path,
};

use secrecy::ExposeSecret;
use tempfile::TempDir;

use crate::config::{Config, Environment, Loaded, Place, SecretSource, Secrets};

fn directory(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for (name, text) in files {
        let path = directory.path().join(name);
        fs::write(&path, text).expect("a file in it");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its mode");
    }
    directory
}

fn load(directory: &Path, client: &str, environment: &[(&str, &str)]) -> Result<Loaded, String> {
    load_with(Secrets::Read, directory, client, environment)
}

fn load_with(
    secrets: Secrets,
    directory: &Path,
    client: &str,
    environment: &[(&str, &str)],
) -> Result<Loaded, String> {
    let text = format!("[[clients]]\nname = 'main'\nid = 'abc'\n{client}\n");
    let path = directory.join("config.toml");
    fs::write(&path, text).expect("the configuration");
    let environment = [("HOME", "/home/ada")]
        .into_iter()
        .chain(environment.iter().copied());
    Config::load(&path, &Environment::from_pairs(environment), secrets).map_err(|faults| {
        faults
            .to_string()
            .replace(&format!("{}/", directory.display()), "")
    })
}

#[test]
fn a_secret_comes_from_any_of_three_places() {
    let directory = directory(&[("secret", "of a file\r\n"), ("cal", "of systemd\n")]);
    let path = directory.path().to_str().expect("a plain path");
    let variables = [("SECRET", "of the environment"), ("CREDENTIALS_DIRECTORY", path)];
    for (secret, expected, source) in [
        (
            "{ env = 'SECRET' }",
            "of the environment",
            SecretSource::Env("SECRET".to_owned()),
        ),
        (
            "{ file = 'secret' }",
            "of a file",
            SecretSource::File(directory.path().join("secret")),
        ),
        (
            "{ credential = 'cal' }",
            "of systemd",
            SecretSource::Credential("cal".to_owned()),
        ),
    ] {
        let client = format!("users = [1]\nsecret = {secret}");
        let loaded = load(directory.path(), &client, &variables).expect("in order");
        let client = &loaded.config.clients[0];
        assert_eq!(client.secret.expose_secret(), expected);
        assert_eq!(client.secret_source, source);
        assert_eq!(loaded.warnings, []);
    }
}

#[test]
fn a_secret_that_others_can_read_is_warned_of() {
    let directory = directory(&[("secret", "x")]);
    let path = directory.path().join("secret");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("its mode");
    let loaded = load(directory.path(), "users = [1]\nsecret.file = 'secret'", &[]).expect("in order");
    let warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].contains("clients.main.secret: "), "{warnings:?}");
    assert!(
        warnings[0].contains("can be read by others; chmod 600"),
        "{warnings:?}"
    );
}

#[test]
fn a_secret_that_is_not_there_is_a_fault() {
    let directory = directory(&[("empty", "\n"), ("two", "a\nb\n"), ("blank", " a\n")]);
    let fault = |secret: &str, variables: &[(&str, &str)]| {
        let client = format!("users = [1]\nsecret = {secret}");
        load(directory.path(), &client, variables)
            .map(drop)
            .expect_err("the secret is at fault")
            .replace(&directory.path().display().to_string(), "DIR")
    };
    let found = [
        fault("{ env = 'NO_SUCH' }", &[]),
        fault("{ env = 'hun.ter2' }", &[]),
        fault("{ env = 'EMPTY' }", &[("EMPTY", "")]),
        fault("{ file = 'none' }", &[]),
        fault("{ file = 'empty' }", &[]),
        fault("{ file = 'two' }", &[]),
        fault("{ file = 'blank' }", &[]),
        fault("{ file = '.' }", &[]),
        fault("{ credential = 'cal' }", &[]),
        fault(
            "{ credential = 'cal' }",
            &[("CREDENTIALS_DIRECTORY", "/run/nowhere")],
        ),
        fault("{ credential = '../cal' }", &[("CREDENTIALS_DIRECTORY", "/run")]),
        fault("'hunter2'", &[]),
        fault("7", &[]),
        fault("{}", &[]),
        fault("{ env = 'A', file = 'b' }", &[]),
        fault("{ evn = 'A' }", &[]),
    ];
    insta::assert_snapshot!(found.join("\n"), @r#"
    config.toml:5:18: clients.main.secret: the environment variable NO_SUCH is unset or empty; set it to the client's secret
    config.toml:5:18: clients.main.secret: env must be the name of an environment variable; the secret is that variable's value
    config.toml:5:18: clients.main.secret: the environment variable EMPTY is unset or empty; set it to the client's secret
    config.toml:5:19: clients.main.secret: none cannot be read: No such file or directory (os error 2); write the client's secret into it; a relative path is relative to the directory of the configuration file
    config.toml:5:19: clients.main.secret: empty is empty; write the client's secret into it
    config.toml:5:19: clients.main.secret: the file two holds a character that no secret has, such as a line break; copy the client's secret anew, and nothing else
    config.toml:5:19: clients.main.secret: the file blank begins or ends with white space; copy the client's secret anew, and nothing else
    config.toml:5:19: clients.main.secret: . cannot be read: Is a directory (os error 21); name a file with the client's secret in it
    config.toml:5:25: clients.main.secret: CREDENTIALS_DIRECTORY is not set, so systemd passed no credentials; add LoadCredential=cal:/path/of/the/secret to the unit
    config.toml:5:25: clients.main.secret: /run/nowhere/cal cannot be read: No such file or directory (os error 2); LoadCredential=cal:/path/of/the/secret in the unit must name a file with the client's secret in it
    config.toml:5:25: clients.main.secret: "../cal" is no credential's name; write the name alone, as in LoadCredential=name:path
    config.toml:5:10: clients.main.secret: must not stand in this file, which tends to be copied and committed; write { env = "NAME" }, { file = "path" } or { credential = "name" }
    config.toml:5:10: clients.main.secret: must say where the secret is, not be a whole number; write { env = "NAME" }, { file = "path" } or { credential = "name" }
    config.toml:5:10: clients.main.secret: says nothing; write { env = "NAME" }, { file = "path" } or { credential = "name" }
    config.toml:5:10: clients.main.secret: says both env and file; keep one of them
    config.toml:5:12: clients.main.secret.evn: unknown key; did you mean "env"?
    "#);
}

#[test]
fn whatever_is_wrong_with_a_secret_of_any_kind_there_is_a_remedy() {
    let large = "x".repeat(100_000);
    let directory = directory(&[
        ("empty", "\n"),
        ("two", "a\nb\n"),
        ("blank", " a\n"),
        ("large", &large),
    ]);
    let pipe = directory.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    let path = directory.path().to_str().expect("a plain path");
    let odd = OsStr::from_bytes(b"\xff");
    let environment = [
        ("CREDENTIALS_DIRECTORY", OsStr::new(path)),
        ("GOOD", OsStr::new("whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz")),
        ("BLANK", OsStr::new(" a")),
        ("ODD", odd),
    ];
    let keys = [
        "[server]\ntoken = ",
        "[notify]\nwebhook_secret = { env = 'GOOD' }\nwebhook_url = ",
        "[notify]\nwebhook_url = { env = 'GOOD' }\nwebhook_secret = ",
        "[[clients]]\nname = 'main'\nid = 'abc'\nusers = [1]\nsecret = ",
    ];
    let places = [
        "{ env = 'NO_SUCH' }",
        "{ env = 'BLANK' }",
        "{ env = 'ODD' }",
        "{ file = 'none' }",
        "{ file = 'empty' }",
        "{ file = 'two' }",
        "{ file = 'blank' }",
        "{ file = 'large' }",
        "{ file = 'pipe' }",
        "{ file = '.' }",
        "{ credential = 'none' }",
        "{ credential = 'empty' }",
        "{ credential = 'a/b' }",
        "'hunter2'",
        "7",
        "{}",
    ];
    for (key, place) in keys.iter().flat_map(|key| places.map(|place| (key, place))) {
        let file = directory.path().join("config.toml");
        fs::write(&file, format!("{key}{place}\n")).expect("the configuration");
        let found = Config::load(&file, &Environment::from_pairs(environment), Secrets::Read);
        let faults = found.expect_err(place);
        let last = key.rsplit('\n').next().and_then(|last| last.split(' ').next());
        let of_key: Vec<_> = faults
            .iter()
            .filter(|fault| fault.key.rsplit('.').next() == last)
            .collect();
        assert!(!of_key.is_empty(), "{key}{place}: {faults}");
        for fault in of_key {
            assert!(matches!(fault.place, Place::Line { .. }), "{fault}");
            assert_ne!(fault.remedy, "", "{fault}");
        }
    }
}

#[test]
fn users_of_the_list_and_of_the_file_are_merged() {
    let directory = directory(&[
        ("lines", "9\n3 # ada\n\n# nobody\n7\n"),
        ("table.csv", "\u{feff}name,user_id\n\"Lovelace, Ada\",3\nBob,9\n"),
        ("bad", &(0..14).map(|n| format!("x{n}\n")).collect::<String>()),
        ("wrong.csv", "name,userid\nada,1\n"),
        ("none", "# nobody yet\n"),
    ]);
    let variables = [("SECRET", "x")];
    let users = |client: &str| {
        let client = format!("secret = {{ env = 'SECRET' }}\n{client}");
        let loaded = load(directory.path(), &client, &variables)?;
        Ok::<_, String>(
            loaded.config.clients[0]
                .watch
                .listed
                .iter()
                .map(|user| user.0)
                .collect::<Vec<_>>(),
        )
    };
    assert_eq!(
        users("users = [5, 3, 5]\nusers_file = 'lines'"),
        Ok(vec![3, 5, 7, 9])
    );
    assert_eq!(users("users = []\nusers_file = 'table.csv'"), Ok(vec![3, 9]));
    let bad = ["bad", "wrong.csv", "none", "missing"]
        .map(|file| users(&format!("users_file = '{file}'")).expect_err("the file is at fault"));
    insta::assert_snapshot!(bad.join("\n--\n"), @r#"
    bad:1:1: clients.main.users_file: a user id must be a whole number from 1 to 9223372036854775807, not "x0"
    bad:2:1: clients.main.users_file: a user id must be a whole number from 1 to 9223372036854775807, not "x1"
    bad:3:1: clients.main.users_file: a user id must be a whole number from 1 to 9223372036854775807, not "x2"
    bad:4:1: clients.main.users_file: a user id must be a whole number from 1 to 9223372036854775807, not "x3"
    bad:5:1: clients.main.users_file: a user id must be a whole number from 1 to 9223372036854775807, not "x4"
    bad:6:1: clients.main.users_file: a user id must be a whole number from 1 to 9223372036854775807, not "x5"
    bad:7:1: clients.main.users_file: a user id must be a whole number from 1 to 9223372036854775807, not "x6"
    bad:8:1: clients.main.users_file: a user id must be a whole number from 1 to 9223372036854775807, not "x7"
    bad:9:1: clients.main.users_file: a user id must be a whole number from 1 to 9223372036854775807, not "x8"
    bad:10:1: clients.main.users_file: a user id must be a whole number from 1 to 9223372036854775807, not "x9"
    bad:11:1: clients.main.users_file: and 4 more from here on
    --
    wrong.csv:1:1: clients.main.users_file: must have a column user_id; is it the one called "userid"?
    --
    config.toml:5:14: clients.main.users_file: gives no user; write one id a line into the file, or a CSV with a column user_id
    --
    config.toml:5:14: clients.main.users_file: missing cannot be read: No such file or directory (os error 2); a relative path is relative to the directory of the configuration file
    "#);
}

#[test]
fn secrets_that_are_left_alone_are_checked_for_their_form_only() {
    let directory = directory(&[]);
    let load = |secret: &str| {
        let client = format!("users = [1]\nsecret = {secret}");
        load_with(Secrets::LeftAlone, directory.path(), &client, &[])
    };
    for secret in [
        "{ env = 'NOT_SET' }",
        "{ file = 'not-there' }",
        "{ credential = 'not-passed' }",
    ] {
        let loaded = load(secret).unwrap_or_else(|faults| panic!("{secret}: {faults}"));
        assert_eq!(loaded.config.clients[0].secret.expose_secret(), "");
        assert_eq!(loaded.warnings.len(), 0);
    }
    for secret in [
        "'in the file itself'",
        "{}",
        "{ env = 'A', file = 'b' }",
        "{ env = 'not a name' }",
        "{ credential = '../elsewhere' }",
        "{ vault = 'x' }",
    ] {
        load(secret).expect_err(secret);
    }
}
