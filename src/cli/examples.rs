//! Examples of each command, for `--help` and the manual pages.

/// A command line, and what it does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Example {
    pub(super) line: &'static str,
    pub(super) does: &'static str,
}

const fn example(line: &'static str, does: &'static str) -> Example {
    Example { line, does }
}

/// The way in.
pub(super) const TOP: &[Example] = &[
    example("calmirror demo", "See it work, with nothing configured"),
    example(
        "calmirror init --client-id ID --secret-file calcom-secret --users 1001,1002",
        "Write config.toml, and check it",
    ),
    example("calmirror plan", "See what a pass would change"),
    example("calmirror sync", "Make one pass over each client"),
    example("calmirror run", "Make passes on schedule"),
    example("calmirror status", "See whether the mirror can be trusted"),
];

/// Those of a command; none of one that does not exist.
pub(super) fn of(command: &str) -> &'static [Example] {
    COMMANDS
        .iter()
        .find(|(name, _)| *name == command)
        .map_or(&[], |(_, examples)| examples)
}

const COMMANDS: &[(&str, &[Example])] = &[
    (
        "demo",
        &[
            example("calmirror demo", "Three passes, then on schedule until Ctrl-C"),
            example(
                "calmirror demo --once --dir /tmp/cal",
                "Three passes, with all files in /tmp/cal",
            ),
        ],
    ),
    (
        "init",
        &[
            example(
                "calmirror init --client-id ID --secret-env CAL_SECRET --users 1001,1002",
                "Mirror two users; the secret is in an environment variable",
            ),
            example(
                "calmirror init --client-id ID --secret-file calcom-secret --all --database-url postgres://mirror@db/cal",
                "Mirror everyone whom Cal.com lists, into a Postgres of yours",
            ),
            example(
                "calmirror init --client-id ID --secret-credential calcom-secret --users-file users.csv --no-check",
                "Write the file for a systemd unit, where the credential will be",
            ),
        ],
    ),
    (
        "check",
        &[
            example("calmirror check", "See whether a pass would work"),
            example(
                "calmirror check --health",
                "Ask the daemon of this configuration whether it is alive, as a container does",
            ),
            example(
                "calmirror check --offline",
                "See whether the daemon would take the configuration",
            ),
            example(
                "calmirror check --notify",
                "See the rest, and whether the webhook takes a message",
            ),
        ],
    ),
    (
        "plan",
        &[
            example("calmirror plan", "See what a pass over each client would change"),
            example(
                "calmirror plan --client acme --output json",
                "The same of one client, for a program",
            ),
            example(
                "calmirror plan --requests",
                "See how many requests a pass takes, and how long",
            ),
        ],
    ),
    (
        "sync",
        &[
            example("calmirror sync", "Make one pass over each client"),
            example(
                "calmirror sync --client acme --client globex",
                "Make one over each of these two",
            ),
            example(
                "calmirror sync --accept-source",
                "Make one although calcom.base_url is another than before",
            ),
        ],
    ),
    (
        "run",
        &[
            example("calmirror run", "Make passes on schedule until Ctrl-C"),
            example(
                "calmirror --config /etc/calmirror/config.toml run",
                "The same by another configuration",
            ),
        ],
    ),
    (
        "status",
        &[
            example(
                "calmirror status",
                "See whether the mirror can be trusted, and what waits",
            ),
            example(
                "calmirror status --watch",
                "Follow it, looking again every 2 seconds",
            ),
            example(
                "calmirror status --watch 10 --output json",
                "Have a line of JSON for each change, looking every 10 seconds",
            ),
        ],
    ),
    (
        "approve",
        &[example(
            "calmirror approve 17",
            "Remove the users that run 17 held, as `calmirror status` names it",
        )],
    ),
    (
        "history",
        &[
            example("calmirror history 1001", "See every change of user 1001"),
            example(
                "calmirror history 1001 --output json",
                "The same with the whole row at each version",
            ),
        ],
    ),
    (
        "forget",
        &[example(
            "calmirror forget 1001",
            "Erase user 1001; take the id out of the configuration as well",
        )],
    ),
    (
        "prune",
        &[
            example("calmirror prune --dry-run", "See what would be deleted"),
            example("calmirror prune", "Delete it now, whenever it was last done"),
        ],
    ),
    (
        "verify",
        &[
            example("calmirror verify", "See whether anybody edited the mirror"),
            example("calmirror verify --repair", "Set right what was edited"),
            example(
                "calmirror verify --instants 0",
                "Leave out what analysts query, which takes longest",
            ),
        ],
    ),
    (
        "migrate",
        &[example(
            "calmirror migrate",
            "Make or upgrade the tables ahead of the first pass",
        )],
    ),
    (
        "grants",
        &[
            example(
                "calmirror grants | psql -v ON_ERROR_STOP=1 \"$ADMIN_URL\"",
                "Make the roles, or bring their rights up to this version",
            ),
            example(
                "calmirror grants --with-ledger-retention",
                "Print them where retention.ledger_days is set",
            ),
        ],
    ),
    (
        "config",
        &[
            example("calmirror config", "See every key with its value in force"),
            example(
                "CALMIRROR__LOG__LEVEL=debug calmirror config --output json",
                "The same for a program, with a key set by the environment",
            ),
        ],
    ),
    (
        "simulate",
        &[
            example(
                "calmirror simulate",
                "Serve two clients of 100 users each on port 5555",
            ),
            example(
                "calmirror simulate --clients 1 --users 100000 --users-dir . --change-every 5",
                "Serve many users, with a file of their ids, and a change every five seconds",
            ),
        ],
    ),
    (
        "completions",
        &[
            example(
                "calmirror completions bash > /usr/share/bash-completion/completions/calmirror",
                "Install them for bash",
            ),
            example(
                "source <(calmirror completions bash)",
                "Have them in this shell only",
            ),
        ],
    ),
    (
        "man",
        &[
            example("calmirror man | man -l -", "Read the manual"),
            example(
                "calmirror man --dir /usr/local/share/man/man1",
                "Install a page for each command",
            ),
        ],
    ),
];
