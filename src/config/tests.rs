//! Tests of whole files.

mod faults;
mod notify;
mod overrides;
mod sample;
mod secrets;
mod server;
mod users;

use std::path::Path;

use super::{Config, Environment, Faults, Loaded, Secrets};

/// One client that is in order, to be put below what a test is about.
const CLIENT: &str = r#"
[[clients]]
name = "main"
id = "abc"
secret = { env = "SECRET" }
users = [1]
"#;

fn environment(pairs: &[(&str, &str)]) -> Environment {
    let usual = [("SECRET", "s3cret"), ("HOME", "/home/ada")];
    Environment::from_pairs(usual.into_iter().chain(pairs.iter().copied()))
}

fn parse(text: &str) -> Result<Loaded, Faults> {
    parse_with(text, &[])
}

pub(super) fn parse_with(text: &str, pairs: &[(&str, &str)]) -> Result<Loaded, Faults> {
    Config::parse(text, Path::new("config.toml"), &environment(pairs), Secrets::Read)
}

/// The faults of a file that has some.
fn faults(text: &str) -> String {
    faults_with(text, &[])
}

fn faults_with(text: &str, pairs: &[(&str, &str)]) -> String {
    parse_with(text, pairs)
        .map(drop)
        .expect_err("the text has faults")
        .to_string()
}
