//! `packaging/check` where the tools that it needs are missing.

use std::{fs, os::unix::fs::symlink, process::Command};

use super::shipped;

/// What the script itself needs.
const PLAIN: [&str; 9] = [
    "bash", "cat", "cp", "dirname", "env", "grep", "mktemp", "rm", "sed",
];

#[test]
fn a_check_without_its_tools_says_so_and_is_a_fault_in_ci() {
    let dir = tempfile::tempdir().expect("the temporary directory takes another one");
    let path = crate::support::environment("PATH").expect("there is a PATH");
    for name in PLAIN {
        let program = path.split(':').map(|dir| format!("{dir}/{name}"));
        let program = program
            .into_iter()
            .find(|program| fs::exists(program).unwrap_or(false));
        let program = program.unwrap_or_else(|| panic!("there is no {name}"));
        symlink(program, dir.path().join(name)).expect("the directory takes a link");
    }
    let check = |ci: &str| {
        let ended = Command::new("bash")
            .arg(shipped("packaging/check"))
            .env_clear()
            .env("PATH", dir.path())
            .env("CI", ci)
            .output()
            .expect("bash can be run");
        (
            ended.status.code(),
            String::from_utf8_lossy(&ended.stdout).into_owned(),
        )
    };
    let (code, said) = check("");
    assert_eq!(code, Some(0), "{said}");
    for file in ["calmirror.service", "packaging/prometheus", "docker-compose.yml"] {
        assert!(
            said.contains(&format!("SKIPPED the check of {file}: no ")),
            "{said}"
        );
    }
    let (code, said) = check("true");
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(said.lines().count(), 1, "it ends with the first: {said}");
}
