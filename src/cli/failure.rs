//! How an error that ended a command is told.

use serde::Serialize;

use super::{Output, exit::Exit};
use crate::{
    config::{Fault, Faults},
    model::{escape_hidden, escape_hidden_but_breaks},
    server,
    simulator::SimulatorError,
    store,
};

/// What ended a command. Serialized as the last line of standard error with `--output json`.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    pub error: String,
    /// What the operator can do, where the error itself does not say it.
    pub remedy: Option<String>,
    pub exit_code: u8,
    /// Of a configuration: everything that is wrong with it.
    pub faults: Vec<FaultLine>,
}

/// One fault of a configuration.
#[derive(Clone, Debug, Serialize)]
pub struct FaultLine {
    /// A file with line and column, or a variable.
    pub place: String,
    pub key: String,
    pub message: String,
    pub remedy: String,
}

impl Failure {
    pub fn of(error: &anyhow::Error) -> Self {
        let faults = error.chain().find_map(|cause| cause.downcast_ref::<Faults>());
        Self {
            error: format!("{error:#}"),
            remedy: remedy(error),
            exit_code: Exit::of_error(error).code(),
            faults: faults
                .into_iter()
                .flat_map(Faults::iter)
                .map(FaultLine::of)
                .collect(),
        }
    }

    /// Of a command line that cannot be read.
    pub fn of_arguments(error: &clap::Error) -> Self {
        let text = error.render().to_string();
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let first = lines.next().unwrap_or_default();
        Self {
            error: first.strip_prefix("error: ").unwrap_or(first).to_owned(),
            remedy: Some(lines.collect::<Vec<_>>().join("; ")),
            exit_code: Exit::Usage.code(),
            faults: Vec::new(),
        }
    }

    /// On standard error: for people, or as one line of JSON.
    pub fn tell(&self, output: Output) {
        match output {
            Output::Text => {
                anstream::eprintln!("error: {}", escape_hidden_but_breaks(&self.error));
                if let Some(remedy) = &self.remedy {
                    anstream::eprintln!("       {}", escape_hidden_but_breaks(remedy));
                }
            }
            Output::Json => {
                // It holds strings and a number only.
                let line = serde_json::to_string(self).unwrap_or_default();
                anstream::eprintln!("{}", escape_hidden(&line));
            }
        }
    }
}

impl FaultLine {
    fn of(fault: &Fault) -> Self {
        Self {
            place: fault.place.to_string(),
            key: fault.key.clone(),
            message: fault.message.clone(),
            remedy: fault.remedy.clone(),
        }
    }
}

/// What can be done about it, which an error does not say itself.
fn remedy(error: &anyhow::Error) -> Option<String> {
    let of_cause = |cause: &(dyn std::error::Error + 'static)| {
        let of_store = cause
            .downcast_ref::<store::Error>()
            .and_then(store::Error::remedy);
        let of_server = || cause.downcast_ref::<server::Error>().map(server::Error::remedy);
        let of_simulator = || {
            cause
                .downcast_ref::<SimulatorError>()
                .and_then(SimulatorError::remedy)
        };
        of_store.or_else(of_server).or_else(of_simulator)
    };
    error.chain().find_map(of_cause).map(str::to_owned)
}
