//! What passes are meant to cost at most.

use serde::Serialize;

use crate::{
    arguments::Plan,
    round::{Came, Case, Kind, Measured, Round, Setting},
};

/// One thing that was promised, for one round.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Target {
    pub(crate) what: String,
    /// With the limit.
    pub(crate) limit: String,
    pub(crate) measured: Option<String>,
    pub(crate) verdict: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    Met,
    Missed,
    NotMeasured,
}

impl Verdict {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Missed => "missed",
            Self::NotMeasured => "not measured",
        }
    }
}

/// All targets, in the order of the rounds.
pub(crate) fn all(rounds: &[Round]) -> Vec<Target> {
    let mut targets = Targets::default();
    for round in rounds {
        let setting = round.setting;
        match &round.came {
            Came::Measured(measured) => {
                targets.of_round(setting, measured);
                targets.of_memory(setting, measured, rounds);
            }
            Came::Refused(why) => targets.0.push(Target {
                what: name(setting, "all of it"),
                limit: String::new(),
                measured: Some(why.clone()),
                verdict: Verdict::NotMeasured,
            }),
        }
    }
    targets.0
}

fn name(setting: Setting, what: &str) -> String {
    format!(
        "{}, {} ms, {} users: {what}",
        setting.plan, setting.latency_ms, setting.users
    )
}

#[derive(Default)]
struct Targets(Vec<Target>);

impl Targets {
    fn at_most(&mut self, setting: Setting, what: &str, measured: f64, limit: f64, unit: &str) {
        self.0.push(Target {
            what: name(setting, what),
            limit: format!("≤ {limit}{unit}"),
            measured: Some(format!("{measured:.2}{unit}")),
            verdict: if measured <= limit {
                Verdict::Met
            } else {
                Verdict::Missed
            },
        });
    }

    /// What the last ratio is for a process that makes this one pass.
    fn beside(&mut self, case: &Case, ratio: f64) {
        if let Some(measured) = self.0.last_mut().and_then(|target| target.measured.as_mut()) {
            let alone = ratio * case.alone.best / case.seconds.best;
            measured.push_str(&format!("; sync: {alone:.2} ×"));
        }
    }

    fn of_round(&mut self, setting: Setting, measured: &Measured) {
        let (Some(fill), Some(unchanged), Some(changed)) = (
            measured.case(Kind::FirstFill),
            measured.case(Kind::Unchanged),
            measured.case(Kind::Changed),
        ) else {
            return;
        };
        self.at_most(
            setting,
            "WAL of an unchanged pass",
            unchanged.written.wal_bytes as f64 / 1024.0,
            64.0,
            " KiB",
        );
        self.at_most(
            setting,
            "tuples of users touched by an unchanged pass",
            unchanged.written.user_tuples as f64,
            0.0,
            "",
        );
        // The slower floor is that of which the pass takes the fewer times.
        let slower = |case: &Case| case.ratio_to_requests.min(case.ratio_to_database);
        if setting.plan == Plan::Get {
            self.of_gets(setting, measured, unchanged);
        } else {
            self.at_most(
                setting,
                "an unchanged pass, to the slower floor",
                slower(unchanged),
                2.0,
                " ×",
            );
            self.beside(unchanged, slower(unchanged));
            self.at_most(
                setting,
                "1 % changed, to the slower floor",
                slower(changed),
                2.5,
                " ×",
            );
            self.beside(changed, slower(changed));
            if let Some(ratio) = unchanged.ratio_to_probe {
                self.at_most(setting, "an unchanged pass, to the bare probe", ratio, 2.0, " ×");
                self.beside(unchanged, ratio);
            }
            if setting.latency_ms == 0 {
                self.at_most(
                    setting,
                    "processor time of an unchanged user",
                    unchanged.cpu_us_per_user,
                    8.0,
                    " µs",
                );
            }
        }
        // Either is enough: the larger of the two bounds.
        let fill = (fill.ratio_to_database / 1.5).min(fill.ratio_to_requests / 1.3);
        self.at_most(
            setting,
            "first fill, to 1.5 × database or 1.3 × requests",
            fill,
            1.0,
            " ×",
        );
    }

    fn of_gets(&mut self, setting: Setting, measured: &Measured, unchanged: &Case) {
        if let Some(ratio) = unchanged.ratio_to_probe {
            self.at_most(setting, "an unchanged pass, to the bare probe", ratio, 1.5, " ×");
            self.beside(unchanged, ratio);
        }
        if setting.latency_ms > 0 {
            let possible = Plan::Get.concurrency() as f64 / (setting.latency_ms as f64 / 1e3);
            let share = unchanged.users_per_s / possible;
            let alone = setting.users as f64 / measured.requests.best / possible;
            self.0.push(Target {
                what: name(setting, "requests a second, of connections / latency"),
                limit: "≥ 90 %".to_owned(),
                measured: Some(format!(
                    "{:.1} %; requests alone: {:.1} %",
                    share * 100.0,
                    alone * 100.0
                )),
                verdict: if share >= 0.9 {
                    Verdict::Met
                } else {
                    Verdict::Missed
                },
            });
        }
    }

    fn of_memory(&mut self, setting: Setting, measured: &Measured, rounds: &[Round]) {
        const FEW: usize = 10_000;
        if setting.users <= FEW {
            return;
        }
        let few = rounds.iter().find_map(|round| match &round.came {
            Came::Measured(few)
                if (round.setting.users, round.setting.plan, round.setting.latency_ms)
                    == (FEW, setting.plan, setting.latency_ms) =>
            {
                Some(few)
            }
            _ => None,
        });
        for kind in [Kind::FirstFill, Kind::Unchanged, Kind::Changed] {
            let Some(case) = measured.case(kind) else {
                continue;
            };
            let what = format!("peak memory, {}", kind.as_str());
            self.at_most(setting, &what, case.peak_rss_mib, 64.0, " MiB");
            if let Some(few) = few.and_then(|few| few.case(kind)) {
                let what = format!("peak memory beyond that of {FEW} users, {}", kind.as_str());
                self.at_most(setting, &what, case.peak_rss_mib - few.peak_rss_mib, 16.0, " MiB");
            }
        }
    }
}
