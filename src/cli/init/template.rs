//! The documented sample with an operator's values in place of its own.

use super::InitArgs;
use crate::config::{self, SecretSource};

pub(super) const SAMPLE: &str = include_str!("../../../config.toml");

pub(super) fn fill(args: &InitArgs, secret: &SecretSource) -> String {
    let mut text = String::with_capacity(SAMPLE.len() + 256);
    for line in SAMPLE.lines() {
        let key = line.split_once(" = ").map_or("", |(key, _)| key);
        match value(key, args, secret) {
            Some(value) => {
                text.push_str(&format!("{} = {value}", key.trim_start_matches("# ")));
            }
            // The sample's own users are nobody's.
            None if key == "users" => text.push_str(&format!("# {line}")),
            None => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

/// What the arguments say of a line that begins so; a key that is not said stays as the sample has it.
fn value(key: &str, args: &InitArgs, secret: &SecretSource) -> Option<String> {
    let quoted = |text: &String| config::quoted(text);
    match key {
        "base_url" => args.base_url.as_ref().map(quoted),
        "url" => args.database_url.as_ref().map(quoted),
        "name" => Some(quoted(&args.name)),
        "id" => Some(quoted(&args.client_id)),
        "secret" => Some(match secret {
            SecretSource::Env(name) => format!("{{ env = {} }}", quoted(name)),
            SecretSource::File(path) => {
                format!("{{ file = {} }}", quoted(&path.to_string_lossy().into_owned()))
            }
            SecretSource::Credential(name) => format!("{{ credential = {} }}", quoted(name)),
        }),
        "users" if args.all => Some(quoted(&"all".to_owned())),
        "users" if !args.users.is_empty() => {
            let ids: Vec<_> = args.users.iter().map(i64::to_string).collect();
            Some(format!("[{}]", ids.join(", ")))
        }
        "# users_file" => args.users_file.as_ref().map(quoted),
        "# organization_id" => args.organization.map(|id| id.to_string()),
        _ => None,
    }
}
