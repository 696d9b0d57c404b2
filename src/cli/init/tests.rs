use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use clap::Parser;
use secrecy::ExposeSecret;

use super::{InitArgs, InitError, template::SAMPLE, write};
use crate::config::{Config, Environment, Faults, Secrets};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: InitArgs,
}

/// The arguments of `init` for a file in this directory; words are separated by blanks.
fn args(directory: &Path, words: &str) -> InitArgs {
    let path = directory.join("config.toml");
    let path = path.to_str().expect("a plain path");
    let words = words.split_whitespace();
    Line::try_parse_from(["init", "--path", path].into_iter().chain(words))
        .expect("the arguments are in order")
        .args
}

fn environment() -> Environment {
    Environment::from_pairs([("SECRET", "s3cret"), ("HOME", "/home/ada")])
}

fn run(args: &InitArgs) -> anyhow::Result<(Option<Config>, String)> {
    let mut out = Vec::new();
    let config = write(args, &mut out, &environment())?;
    Ok((config, String::from_utf8(out)?))
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path)
        .expect("the file is there")
        .permissions()
        .mode()
        & 0o777
}

#[test]
fn the_sample_has_each_key_that_is_filled_in_once() {
    for key in ["base_url", "url", "name", "id", "secret", "users", "# users_file"] {
        let lines = SAMPLE
            .lines()
            .filter(|line| line.starts_with(&format!("{key} = ")));
        assert_eq!(lines.count(), 1, "{key}");
    }
}

#[test]
fn what_is_said_is_filled_in_and_reads_back() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let args = args(
        directory.path(),
        "--client-id abc --secret-env SECRET --users 7,3 --name eu --base-url https://api.cal.eu \
         --database-url postgres://ada:hunter2@db/cal",
    );
    let (config, out) = run(&args).expect("it is written");
    let config = config.expect("it is whole");
    assert_eq!(out, format!("wrote {}\n", args.path.display()));
    assert_eq!(config.calcom.base_url.as_str(), "https://api.cal.eu/");
    assert_eq!(config.database.url.masked(), "postgres://ada:***@db/cal");
    let client = &config.clients[0];
    assert_eq!((client.name.as_str(), client.id.as_str()), ("eu", "abc"));
    assert_eq!(client.secret.expose_secret(), "s3cret");
    assert_eq!(
        client.watch.listed.iter().map(|user| user.0).collect::<Vec<_>>(),
        [3, 7]
    );
    assert_eq!(mode(&args.path), 0o600);
    let text = fs::read_to_string(&args.path).expect("it is there");
    assert_eq!(text.lines().count(), SAMPLE.lines().count());
    assert!(!text.contains("s3cret"));
    let again = Config::load(&args.path, &environment(), Secrets::Read)
        .expect("it reads back")
        .config;
    assert_eq!(again.effective_toml(), config.effective_toml());
}

#[test]
fn a_file_that_exists_is_kept_unless_forced() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("config.toml");
    fs::write(&path, "mine").expect("a file");
    let words = "--client-id abc --secret-env SECRET --users 1";
    let error = run(&args(directory.path(), words)).expect_err("it exists");
    assert!(
        matches!(error.downcast_ref(), Some(InitError::Exists(_))),
        "{error}"
    );
    assert_eq!(fs::read_to_string(&path).expect("it is there"), "mine");
    let words = format!("{words} --force --database-url postgres://ada:hunter2@db/cal");
    run(&args(directory.path(), &words)).expect("it is overwritten");
    Config::load(&path, &environment(), Secrets::Read).expect("it is in order");
    assert_eq!(mode(&path), 0o600);
    assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 1);
}

#[test]
fn without_users_it_says_what_to_fill_in() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let args = args(directory.path(), "--client-id abc --secret-credential cal");
    let (config, out) = run(&args).expect("it is written");
    assert!(config.is_none());
    assert!(
        out.contains("fill in `users` or `users_file` of client \"main\""),
        "{out}"
    );
    let text = fs::read_to_string(&args.path).expect("it is there");
    assert!(text.contains("\n# users = [1, 2, 3]\n"), "{text}");
    assert!(text.contains("\nsecret = { credential = \"cal\" }\n"), "{text}");
}

#[test]
fn what_cannot_be_right_is_not_written() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let args = args(
        directory.path(),
        "--client-id a/b --secret-env SECRET --users 1 --base-url api.cal.com --database-url mysql://a:hunter2@db",
    );
    let error = run(&args).expect_err("three faults");
    let faults = error.downcast_ref::<Faults>().expect("they are faults");
    assert_eq!(faults.iter().count(), 3, "{faults}");
    assert!(!format!("{error:#}").contains("hunter2"));
    assert!(!args.path.exists());
}

#[test]
fn what_is_not_there_yet_is_said_after_writing() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let words = "--client-id abc --secret-file secret --users-file users.txt";
    let args = args(directory.path(), words);
    let error = run(&args).expect_err("both are missing");
    let faults = error.downcast_ref::<Faults>().expect("they are faults");
    assert_eq!(faults.iter().count(), 2, "{faults}");
    assert!(args.path.exists());
    fs::write(directory.path().join("secret"), "s3cret\n").expect("a file");
    fs::write(directory.path().join("users.txt"), "1\n").expect("a file");
    Config::load(&args.path, &environment(), Secrets::Read).expect("now it is whole");
    let no_check = InitArgs {
        force: true,
        no_check: true,
        ..args
    };
    assert!(run(&no_check).expect("it is written").0.is_none());
}

#[test]
fn exactly_one_place_of_the_secret_is_given() {
    for words in ["--client-id a", "--client-id a --secret-env A --secret-file b"] {
        let line = ["init"].into_iter().chain(words.split_whitespace());
        assert!(Line::try_parse_from(line).is_err(), "{words}");
    }
}
