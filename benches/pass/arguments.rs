//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use serde::Serialize;

/// Measure passes of the program against what they could cost at least
#[derive(Clone, Debug, Parser)]
#[command(name = "cargo bench --bench pass --")]
pub(crate) struct Arguments {
    /// Users of the client, for one round of cases each
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [1_000, 10_000, 100_000],
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    pub(crate) users: Vec<usize>,

    /// How users are asked for; `list` has a round of its own, of as many users as can be listed
    #[arg(long, value_name = "PLAN", value_delimiter = ',', default_values_t = [Plan::Get, Plan::Bulk, Plan::List])]
    pub(crate) plans: Vec<Plan>,

    /// Milliseconds before each answer of the simulated Cal.com
    #[arg(long, value_name = "MS", value_delimiter = ',', default_values_t = [0, 20])]
    pub(crate) latency: Vec<u64>,

    /// A round of 1,000,000 users besides, asked for by `bulk` and answered without latency
    #[arg(long)]
    pub(crate) million: bool,

    /// Only 1,000 and 10,000 users
    #[arg(long, conflicts_with = "users")]
    pub(crate) quick: bool,

    /// Where the numbers go
    #[arg(long, value_name = "PATH")]
    pub(crate) json: Option<PathBuf>,

    /// Put the tables into this document, between its markers
    #[arg(long, value_name = "DOCUMENT")]
    pub(crate) write: Option<PathBuf>,

    /// End with 1 where a target is missed
    #[arg(long)]
    pub(crate) check: bool,

    /// What `cargo bench` passes
    #[arg(long, hide = true)]
    bench: bool,
}

impl Arguments {
    pub(crate) fn sizes(&self) -> Vec<usize> {
        if self.quick {
            vec![1_000, 10_000]
        } else {
            self.users.clone()
        }
    }
}

/// How a pass asks for its users: the values of `calcom.fetch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Plan {
    Get,
    Bulk,
    List,
}

impl Plan {
    /// The most users that can be listed.
    pub(crate) const LISTED: usize = 500;

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Bulk => "bulk",
            Self::List => "list",
        }
    }

    /// Requests at a time.
    pub(crate) const fn concurrency(self) -> usize {
        match self {
            Self::Get => 32,
            Self::Bulk | Self::List => 8,
        }
    }
}

impl std::fmt::Display for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
