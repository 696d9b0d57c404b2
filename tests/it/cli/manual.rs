//! What can be read of the program: help, manual pages, completions.

use std::{collections::BTreeSet, fs, process::Command};

use crate::support::program::Workplace;

/// The names of the commands, as the help has them.
async fn commands(workplace: &Workplace) -> Vec<String> {
    let help = workplace.run(&["--help"]).await.expect(0).stdout;
    let names: Vec<String> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| Some(line.split_whitespace().next()?.to_owned()))
        .collect();
    assert!(names.len() > 14, "{help}");
    names
}

#[tokio::test]
async fn every_help_ends_with_examples_and_the_first_one_with_exit_codes() {
    let workplace = Workplace::new();
    for command in commands(&workplace).await {
        let help = workplace.run(&[&command, "--help"]).await.expect(0).stdout;
        let (_, examples) = help
            .rsplit_once("\nExamples:\n")
            .unwrap_or_else(|| panic!("{help}"));
        assert!(
            examples
                .lines()
                .all(|line| line.is_empty() || line.starts_with("  ")),
            "{help}"
        );
        assert!(
            examples
                .lines()
                .any(|line| line.contains(&format!("calmirror {command}"))),
            "{help}"
        );
        // A summary is short.
        let short = workplace.run(&[&command, "-h"]).await.expect(0).stdout;
        assert!(!short.contains("Examples:"), "{short}");
    }
    let help = workplace.run(&["--help"]).await.expect(0).stdout;
    let (_, codes) = help.rsplit_once("\nExit codes:\n").expect("they come last");
    let docs = include_str!("../../../docs/operations.md");
    let codes: Vec<(&str, &str)> = codes
        .lines()
        .filter_map(|line| line.trim().split_once(' '))
        .map(|(code, meaning)| (code, meaning.trim()))
        .collect();
    assert_eq!(codes.len(), 7, "{help}");
    for (code, meaning) in codes {
        assert!(
            docs.contains(&format!("| {code} | {meaning} |")),
            "{code} {meaning}"
        );
    }
}

#[tokio::test]
async fn the_manual_has_a_page_for_each_command_and_none_has_a_fault() {
    let workplace = Workplace::new();
    let ended = workplace.run(&["man", "--dir", "pages/man1"]).await.expect(0);
    let dir = workplace.path().join("pages/man1");
    let written: BTreeSet<String> = fs::read_dir(&dir)
        .expect("it was made")
        .map(|entry| {
            entry
                .expect("it can be read")
                .file_name()
                .into_string()
                .expect("a plain name")
        })
        .collect();
    let commands = commands(&workplace).await;
    let expected: BTreeSet<String> = commands
        .iter()
        .map(|command| format!("calmirror-{command}.1"))
        .chain(["calmirror.1".to_owned()])
        .collect();
    assert_eq!(written, expected);
    assert_eq!(ended.stdout.lines().count(), written.len(), "{ended}");
    for page in &written {
        let text = fs::read_to_string(dir.join(page)).expect("it is text");
        for heading in [
            "NAME",
            "SYNOPSIS",
            "DESCRIPTION",
            "OPTIONS",
            "EXIT STATUS",
            "FILES",
            "ENVIRONMENT",
            "EXAMPLES",
            "SEE ALSO",
        ] {
            let is_there = text
                .lines()
                .any(|line| line.replace('"', "") == format!(".SH {heading}"));
            assert!(is_there, "{page} has no {heading}:\n{text}");
        }
        let lint = Command::new("mandoc")
            .args(["-T", "lint", "-W", "warning"])
            .arg(dir.join(page))
            .output()
            .expect("tests/setup installs mandoc");
        assert!(
            lint.status.success(),
            "{page}: {}",
            String::from_utf8_lossy(&lint.stdout)
        );
    }
    // The same page, where nothing is to be written.
    let printed = workplace.run(&["man"]).await.expect(0);
    assert_eq!(
        printed.stdout,
        fs::read_to_string(dir.join("calmirror.1")).expect("it is there")
    );
    for command in &commands {
        assert!(
            printed
                .stdout
                .contains(&format!("{command}(1)").replace('-', "\\-")),
            "{command}: {printed}"
        );
    }
    workplace.write("taken", "");
    let refused = workplace.run(&["man", "--dir", "taken"]).await.expect(1);
    assert!(refused.stderr.contains("taken cannot be made"), "{refused}");
}

#[tokio::test]
async fn the_manual_names_every_variable_that_is_read() {
    let page = Workplace::new()
        .run(&["man"])
        .await
        .expect(0)
        .stdout
        .replace('\\', "");
    let sources = include_str!("../../../src/config/environment.rs");
    let read = sources
        .split("variable(\"")
        .skip(1)
        .chain(sources.split("self.get(\"").skip(1))
        .chain(sources.split("self.directory(\"").skip(1))
        .filter_map(|rest| rest.split('"').next());
    let mut names = 0;
    // PATH and HOME are everybody's; the points at which tests kill the program are nobody's.
    for name in read.filter(|name| !matches!(*name, "PATH" | "HOME" | "FAILPOINTS")) {
        names += 1;
        assert!(page.contains(name), "{name} is not in the manual");
    }
    assert!(names >= 4, "only {names}");
}

#[tokio::test]
async fn every_shell_has_its_script() {
    let workplace = Workplace::new();
    let commands = commands(&workplace).await;
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = workplace.run(&["completions", shell]).await.expect(0).stdout;
        for command in &commands {
            assert!(
                script.contains(command.as_str()),
                "{shell} does not know {command}"
            );
        }
        let file = workplace.write(shell, &script);
        // Not every machine has every shell; bash runs the tests.
        match Command::new(shell).arg("-n").arg(file).output() {
            Ok(parsed) => assert!(parsed.status.success(), "{shell}: {parsed:?}"),
            Err(error) => assert_ne!(shell, "bash", "{error}"),
        }
    }
    let refused = workplace.run(&["completions", "csh"]).await.expect(2);
    assert!(refused.stderr.contains("possible values"), "{refused}");
}

#[tokio::test]
async fn bash_completes_commands_and_options() {
    let workplace = Workplace::new();
    let script = workplace.run(&["completions", "bash"]).await.expect(0).stdout;
    let file = workplace.write("calmirror.bash", &script);
    for (line, completed) in [
        (&["calmirror", "his"][..], "history"),
        (&["calmirror", "status", "--wat"], "--watch"),
        (&["calmirror", "--output", "js"], "json"),
        (&["calmirror", "completions", "fi"], "fish"),
    ] {
        let last = line.len() - 1;
        let ask = format!(
            "source {}; COMP_WORDS=({}); COMP_CWORD={last}; _calmirror calmirror {} {}; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            file.display(),
            line.join(" "),
            line[last],
            line[last - 1],
        );
        let said = Command::new("bash")
            .args(["--norc", "-c", &ask])
            .output()
            .expect("bash runs");
        assert_eq!(
            String::from_utf8_lossy(&said.stdout),
            format!("{completed}\n"),
            "{line:?}: {said:?}"
        );
    }
}
