//! The Dockerfile, as far as it can be followed without an engine.

use std::{fs, path::Path, process::Command};

use super::{read, shipped};

/// A build in a container sees only what the Dockerfile copies and .dockerignore lets through.
#[test]
fn the_image_is_built_from_everything_that_the_build_reads() {
    let dockerfile = read("Dockerfile");
    let ignore = read(".dockerignore");
    for needed in [
        "Cargo.toml",
        "Cargo.lock",
        ".cargo",
        ".sqlx",
        "migrations",
        "build.rs",
        "config.toml",
        "src",
    ] {
        let copied = dockerfile
            .lines()
            .any(|line| line.starts_with("COPY") && line.split(' ').any(|word| word == needed));
        assert!(copied, "the Dockerfile does not copy {needed}");
        assert!(
            ignore.lines().any(|line| line == format!("!{needed}")),
            ".dockerignore keeps {needed} out"
        );
    }
}

/// What a source includes must be in the image's build: a directory that is copied, or a file that is.
#[test]
fn no_source_includes_what_the_image_is_not_built_from() {
    let root = shipped("");
    let mut found = 0;
    let mut dirs = vec![shipped("src")];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).expect("a directory of sources can be listed") {
            let path = entry.expect("its entries can be read").path();
            if path.is_dir() {
                dirs.push(path);
                continue;
            }
            if path.extension().is_none_or(|extension| extension != "rs") {
                continue;
            }
            let text = fs::read_to_string(&path).expect("a source is text");
            for included in ["include_str!(\"", "include_bytes!(\""]
                .iter()
                .flat_map(|macro_name| text.split(macro_name).skip(1))
                .filter_map(|rest| rest.split('"').next())
            {
                found += 1;
                let target = dir.join(included).canonicalize();
                let target = target.unwrap_or_else(|error| panic!("{}: {included}: {error}", path.display()));
                let target = target.strip_prefix(&root).expect("it is in the repository");
                assert!(
                    target.starts_with("src") || target == Path::new("config.toml"),
                    "{} includes {}, which the Dockerfile does not copy",
                    path.display(),
                    target.display()
                );
            }
        }
    }
    assert!(found >= 3, "only {found} are included");
}

/// Each target of Cargo.toml needs a file, or cargo refuses the manifest: those that the image does not copy it makes up.
#[test]
fn the_images_manifest_is_whole_with_empty_sources() {
    let dockerfile = read("Dockerfile");
    let made = dockerfile
        .split("\nRUN ")
        .nth(1)
        .and_then(|run| run.split("&& cargo build").next())
        .expect("the first RUN makes up sources, and builds");
    let context = tempfile::tempdir().expect("the temporary directory takes another one");
    for file in ["Cargo.toml", "Cargo.lock"] {
        fs::copy(shipped(file), context.path().join(file)).expect("it can be copied");
    }
    let script = made.replace("\\\n", " ");
    let ended = Command::new("sh")
        .args(["-ec", script.trim()])
        .current_dir(context.path())
        .status();
    assert!(ended.expect("sh can be run").success(), "{script}");
    let ended = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--locked",
            "--offline",
            "--format-version=1",
        ])
        .current_dir(context.path())
        .output()
        .expect("cargo can be run");
    assert!(
        ended.status.success(),
        "{}",
        String::from_utf8_lossy(&ended.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&ended.stdout).expect("cargo prints JSON");
    for target in metadata["packages"][0]["targets"]
        .as_array()
        .expect("a package has targets")
    {
        let path = Path::new(target["src_path"].as_str().expect("a target has a file"));
        // It comes with the sources.
        if !path.ends_with("build.rs") {
            assert!(path.exists(), "the Dockerfile makes up no {}", path.display());
        }
    }
}

#[test]
fn the_image_is_no_roots_and_asks_the_program_whether_it_is_well() {
    let dockerfile = read("Dockerfile");
    let last = dockerfile
        .rsplit("\nFROM ")
        .next()
        .expect("there is a final image");
    let line = |start: &str| {
        let line = last.lines().map(str::trim).find(|line| line.starts_with(start));
        line.unwrap_or_else(|| panic!("no {start} in the final image"))
    };
    assert!(last.starts_with("gcr.io/distroless/"), "{last}");
    let user = line("USER ").trim_start_matches("USER ");
    let deployment = super::yaml("packaging/kubernetes/deployment.yaml");
    let pod = &deployment["spec"]["template"]["spec"]["securityContext"];
    let (uid, gid) = (pod["runAsUser"].as_u64(), pod["runAsGroup"].as_u64());
    assert_eq!(user, format!("{}:{}", uid.expect("a uid"), gid.expect("a gid")));
    assert_ne!(uid, Some(0));
    assert_eq!(
        line("CMD [\"/usr"),
        r#"CMD ["/usr/local/bin/calmirror", "check", "--health"]"#
    );
    assert!(last.contains("HEALTHCHECK"));
    assert_eq!(line("STOPSIGNAL"), "STOPSIGNAL SIGTERM");
    // Without a shell, each of them must be a list.
    for start in ["ENTRYPOINT", "CMD"] {
        assert!(line(start).contains('['), "{}", line(start));
    }
}

/// There is no engine here.
#[test]
fn the_image_is_built_and_started_in_ci() {
    let workflow = super::yaml(".github/workflows/ci.yml");
    let steps = workflow["jobs"]["image"]["steps"].as_sequence();
    let steps = steps.expect("there is a job for the image").iter();
    let runs: Vec<_> = steps.filter_map(|step| step["run"].as_str()).collect();
    assert_eq!(
        runs,
        [
            "docker build --tag calmirror .",
            "docker run --rm --read-only calmirror --version"
        ]
    );
}
