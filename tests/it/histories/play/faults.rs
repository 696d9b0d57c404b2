//! What passes meet other than the truth.

use calmirror::simulator::{Answer, Refusal, Script, Target};

use super::Play;
use crate::histories::{
    source::pick,
    steps::{Fault, Whom},
};

/// A fault that so many more passes meet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lasting {
    pub(super) whom: Whom,
    pub(super) fault: Fault,
    pub(super) passes: u8,
}

impl Play<'_> {
    /// Scripts what the next pass meets. `spared` meets none.
    pub(super) fn bring_faults(&self, spared: Option<i64>) {
        self.simulator.clear_scripts();
        let watched = self.watched();
        let mut blocks = 0;
        for Lasting { whom, fault, .. } in &self.faults {
            let users = match whom {
                Whom::One(user) => pick(&watched, *user).into_iter().collect(),
                Whom::EveryOther => watched.iter().copied().step_by(2).collect(),
                Whom::Living => self.source.living(),
            };
            for user in users {
                if Some(user) == spared {
                    continue;
                }
                // A second block without an answer in between lasts a minute.
                if *fault == Fault::TooMany {
                    blocks += 1;
                    if blocks > 1 {
                        continue;
                    }
                }
                let times = match fault {
                    Fault::Hiccup | Fault::TooMany => 1,
                    _ => Script::ALWAYS,
                };
                self.simulator
                    .script(Target::User(user), times, fault.answer(user));
            }
        }
    }

    pub(super) fn faults_fade(&mut self) {
        self.simulator.clear_scripts();
        for lasting in &mut self.faults {
            lasting.passes = lasting.passes.saturating_sub(1);
        }
        self.faults.retain(|lasting| lasting.passes > 0);
    }
}

impl Fault {
    fn answer(self, user: i64) -> Answer {
        let record = format!(r#"{{"status":"success","data":{{"id":{user},"email":"x@example.com""#);
        match self {
            Self::Gone => Answer::Refuse(Refusal::NotOurUser(user)),
            Self::OtherGone => Answer::Refuse(Refusal::NotOurUser(user + 1)),
            Self::RecordMissing => Answer::Refuse(Refusal::RecordMissing),
            Self::NoRoute => Answer::Refuse(Refusal::NoRoute {
                method: "GET".to_owned(),
                path: format!("/v2/oauth-clients/cmhistory/users/{user}"),
            }),
            Self::Withdrawn => Answer::json(410, r#"{"status":"error"}"#),
            Self::Unauthorized => Answer::Refuse(Refusal::WrongSecret),
            Self::Forbidden => Answer::Refuse(Refusal::Forbidden("cmhistory".to_owned())),
            Self::Page(status) => Answer::html(status),
            Self::Hiccup | Self::Broken => Answer::Refuse(Refusal::Unhandled),
            Self::CutShort => Answer::CutShort {
                declared_bytes: 500,
                sent: record.into(),
            },
            Self::Closed => Answer::Close,
            Self::DataNull => Answer::json(200, r#"{"status":"success","data":null}"#),
            Self::SaysError => Answer::json(200, r#"{"status":"error","error":{"code":"X","message":"x"}}"#),
            Self::TooMany => Answer::Respond {
                status: 429,
                headers: vec![("retry-after", "0".to_owned())],
                body: Refusal::TooManyRequests
                    .body("2026-01-02T03:04:05.678Z", "/v2")
                    .into(),
            },
        }
    }
}
