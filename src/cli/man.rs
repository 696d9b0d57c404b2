//! `calmirror man`: the manual, made of what `--help` is made of.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::Command;
use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};

use super::{
    Out,
    command::command,
    examples::{self, Example},
    exit::{CODES, Exit},
};

/// Print the manual page, or write one for each command
#[derive(Clone, Debug, clap::Args)]
pub struct ManArgs {
    /// Write `calmirror.1`, and a page for each command, to this directory
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// When what stands here, and not in the commands, was last written.
const DATE: &str = "2026-11-23";

/// What the program reads and writes beside the database.
const FILES: [(&str, &str); 5] = [
    (
        "config.toml",
        "The configuration, in the directory where the command is run.",
    ),
    (
        "/etc/calmirror/config.toml",
        "The configuration where there is none in that directory.",
    ),
    (
        "/etc/calmirror/environment",
        "Variables for the systemd unit, such as DATABASE_URL.",
    ),
    (
        "$STATE_DIRECTORY, $XDG_DATA_HOME/calmirror, ~/.local/share/calmirror",
        "The embedded Postgres, where database.data_dir is not set: the first of these that there is.",
    ),
    (
        "$CREDENTIALS_DIRECTORY",
        "Secrets that systemd hands over, for secret = { credential = \"name\" }.",
    ),
];

/// Variables that are read.
pub(super) const ENVIRONMENT: [(&str, &str); 10] = [
    (
        "CALMIRROR__SECTION__KEY",
        "Overrides a key of the configuration, as CALMIRROR__DATABASE__URL does database.url.",
    ),
    (
        "DATABASE_URL",
        "The database, unless CALMIRROR__DATABASE__URL says otherwise.",
    ),
    (
        "PG_BIN_DIR",
        "The directory of the Postgres programs that an embedded database is to use.",
    ),
    ("NO_COLOR", "Set to anything: no colours."),
    ("CLICOLOR", "Set to 0: no colours."),
    (
        "CLICOLOR_FORCE",
        "Set to anything: colours also where there is no terminal.",
    ),
    (
        "TERM",
        "Set to dumb: no colours, no progress bar, and --watch prints lines.",
    ),
    (
        "TMPDIR",
        "Where short-lived files, and those of the demo, are kept.",
    ),
    ("NOTIFY_SOCKET", "Where systemd hears how the daemon is."),
    (
        "WATCHDOG_USEC, WATCHDOG_PID",
        "How often systemd wants a sign of life, and of which process.",
    ),
];

pub(super) fn run(args: &ManArgs, out: &mut Out) -> anyhow::Result<Exit> {
    let mut command = command();
    command.build();
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        whole(&command, &mut page)?;
        out.whole(tidy(&page).as_bytes())?;
        return Ok(Exit::Success);
    };
    fs::create_dir_all(dir).with_context(|| format!("{} cannot be made", dir.display()))?;
    let mut written = vec![write(dir, "calmirror.1", |page| whole(&command, page))?];
    for part in command.get_subcommands() {
        let name = format!("calmirror-{}.1", part.get_name());
        written.push(write(dir, &name, |page| of_command(part, page))?);
    }
    for path in written {
        out.line(format_args!("wrote {}", path.display()))?;
    }
    Ok(Exit::Success)
}

fn write(
    dir: &Path,
    name: &str,
    render: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
) -> anyhow::Result<PathBuf> {
    let path = dir.join(name);
    let mut page = Vec::new();
    render(&mut page)?;
    fs::write(&path, tidy(&page)).with_context(|| format!("{} cannot be written", path.display()))?;
    Ok(path)
}

/// Without the breaks beside blank lines that lists of values come with, of which mandoc warns.
fn tidy(page: &[u8]) -> String {
    let page = String::from_utf8_lossy(page);
    let lines: Vec<&str> = page.lines().collect();
    let is_blank = |line: Option<&&str>| line.is_some_and(|line| line.is_empty());
    let mut tidy = String::with_capacity(page.len());
    for (place, line) in lines.iter().enumerate() {
        let is_beside = is_blank(place.checked_sub(1).and_then(|before| lines.get(before)))
            || is_blank(lines.get(place + 1));
        if *line != ".br" || !is_beside {
            tidy.push_str(line);
            tidy.push('\n');
        }
    }
    tidy
}

/// The page of the program.
fn whole(command: &Command, page: &mut Vec<u8>) -> io::Result<()> {
    let man = man(command, "calmirror".to_owned());
    man.render_title(page)?;
    man.render_name_section(page)?;
    man.render_synopsis_section(page)?;
    man.render_description_section(page)?;
    man.render_options_section(page)?;
    man.render_subcommands_section(page)?;
    let commands: Vec<String> = command
        .get_subcommands()
        .map(|command| format!("calmirror-{}", command.get_name()))
        .collect();
    rest(examples::TOP, commands.iter().map(String::as_str), page)
}

/// The page of one command.
fn of_command(command: &Command, page: &mut Vec<u8>) -> io::Result<()> {
    let man = man(command, format!("calmirror-{}", command.get_name()));
    man.render_title(page)?;
    man.render_name_section(page)?;
    man.render_synopsis_section(page)?;
    man.render_description_section(page)?;
    man.render_options_section(page)?;
    rest(examples::of(command.get_name()), ["calmirror"].into_iter(), page)
}

fn man(command: &Command, title: String) -> Man {
    let version = env!("CARGO_PKG_VERSION");
    Man::new(command.clone())
        .title(title)
        .date(DATE)
        .source(format!("calmirror {version}"))
        .manual("calmirror")
}

fn rest<'a>(
    examples: &[Example],
    see_also: impl Iterator<Item = &'a str>,
    page: &mut Vec<u8>,
) -> io::Result<()> {
    let mut roff = Roff::new();
    roff.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in CODES {
        item(&mut roff, &code.to_string(), meaning);
    }
    for (heading, items) in [("FILES", &FILES[..]), ("ENVIRONMENT", &ENVIRONMENT[..])] {
        roff.control("SH", [heading]);
        for (name, meaning) in items {
            item(&mut roff, name, meaning);
        }
    }
    roff.control("SH", ["EXAMPLES"]);
    for Example { line, does } in examples {
        item(&mut roff, line, does);
    }
    roff.control("SH", ["SEE ALSO"]);
    let mut pages: Vec<String> = see_also.map(|page| format!("{page}(1)")).collect();
    pages.extend(["psql(1)".to_owned(), "systemd.exec(5)".to_owned()]);
    let mut line = Vec::new();
    for (place, page) in pages.iter().enumerate() {
        let (name, section) = page.split_once('(').unwrap_or((page, ""));
        line.push(bold(name));
        let end = if place + 1 < pages.len() { ", " } else { "" };
        line.push(roman(format!("({section}{end}")));
    }
    roff.text(line);
    roff.to_writer(page)
}

/// A term, and below it what it means.
fn item(roff: &mut Roff, term: &str, meaning: &str) {
    roff.control("TP", []);
    roff.text([bold(term)]);
    roff.text([roman(meaning)]);
}
