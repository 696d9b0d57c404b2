//! The command line as clap knows it, with what ends each `--help`: examples, and the exit codes.

use std::fmt::Write as _;

use clap::{
    Command, CommandFactory as _, FromArgMatches as _,
    builder::{StyledStr, Styles},
};

use super::{
    Cli, Output,
    examples::{self, Example},
    exit::CODES,
};
use crate::config::environment::arguments;

/// All commands, with their examples.
pub(super) fn command() -> Command {
    let command = Cli::command().after_long_help(top_help());
    let names: Vec<String> = command
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .collect();
    names.into_iter().fold(command, |command, name| {
        let help = help(examples::of(&name));
        command.mut_subcommand(name, |command| command.after_long_help(help))
    })
}

impl Cli {
    /// Reads the command line of the process.
    ///
    /// # Errors
    ///
    /// What clap has to say instead: a fault of the arguments, or the help that was asked for.
    pub fn read() -> Result<Self, clap::Error> {
        let mut command = command();
        let matches = command.try_get_matches_from_mut(arguments())?;
        Self::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
    }

    /// How results, and errors, are printed.
    pub fn output(&self) -> Output {
        self.output
    }
}

impl Output {
    /// What a command line that cannot be read asked for.
    pub fn of_arguments() -> Self {
        let mut said = arguments().skip_while(|argument| argument != "--output");
        let is_json = arguments().any(|argument| argument == "--output=json")
            || said.nth(1).is_some_and(|format| format == "json");
        if is_json { Self::Json } else { Self::Text }
    }
}

fn help(examples: &[Example]) -> StyledStr {
    let mut text = String::new();
    push_examples(&mut text, examples);
    text.into()
}

fn top_help() -> StyledStr {
    let mut text = String::new();
    push_examples(&mut text, examples::TOP);
    text.push_str("\n\n");
    push_heading(&mut text, "Exit codes");
    for (code, meaning) in CODES {
        write!(text, "\n  {code:<3} {meaning}").expect("writing to a string does not fail");
    }
    text.into()
}

fn push_heading(text: &mut String, heading: &str) {
    let style = *Styles::styled().get_header();
    write!(text, "{style}{heading}:{style:#}").expect("writing to a string does not fail");
}

fn push_examples(text: &mut String, examples: &[Example]) {
    push_heading(text, "Examples");
    for Example { line, does } in examples {
        write!(text, "\n  {line}\n      {does}").expect("writing to a string does not fail");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The arguments of the calmirror in a line of shell.
    fn words(line: &str) -> impl Iterator<Item = &str> {
        line.split_whitespace()
            .skip_while(|word| !word.ends_with("calmirror"))
            .take_while(|word| !matches!(*word, "|" | ">"))
            .map(|word| word.trim_end_matches(')'))
    }

    #[test]
    fn every_command_has_examples_and_each_of_them_can_be_read() {
        let commands = command();
        let mut all: Vec<(&str, &Example)> = examples::TOP.iter().map(|example| ("", example)).collect();
        for part in commands.get_subcommands() {
            let own = examples::of(part.get_name());
            assert!(!own.is_empty(), "{} has none", part.get_name());
            all.extend(own.iter().map(|example| (part.get_name(), example)));
        }
        for (name, Example { line, does }) in all {
            let line = line.replace("(calmirror", "( calmirror");
            let matches = command()
                .try_get_matches_from(words(&line))
                .unwrap_or_else(|error| panic!("{line}: {error}"));
            assert!(
                name.is_empty() || matches.subcommand_name() == Some(name),
                "{line} is no example of {name}"
            );
            assert!(
                !does.ends_with('.') && does.starts_with(char::is_uppercase),
                "{does}"
            );
        }
    }
}
