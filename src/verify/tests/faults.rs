//! Faults of single versions.

use super::*;

#[test]
fn only_the_first_version_may_be_folded_and_it_has_a_beginning() {
    let event = |name: &str| Event::Observed {
        name: name.to_owned(),
        created: 0,
    };
    let history = History::of(&["a", "b", "c", "d"].map(event));
    let faults = |entries: &[Entry]| -> Vec<Fault> {
        let found = compared(&shape(), entries, None, &[]).into_iter();
        let fault = |finding| match finding {
            Finding::Ledger { fault, .. } => Some(fault),
            _ => None,
        };
        found.filter_map(fault).collect()
    };
    let entries = folded(&history, 2);
    assert_eq!(faults(&entries), []);
    let mut twice = entries.clone();
    twice[1].folded = entries[0].folded;
    twice[1].kind = "insert".to_owned();
    twice[1].changed = entries[0].changed.clone();
    assert_eq!(faults(&twice), [Fault::InsertAgain]);
    let mut endless = entries.clone();
    endless[0].folded = Some(Folded {
        at: endless[0].observed_at,
        first_seen_at: None,
        removed_at: None,
    });
    assert_eq!(faults(&endless), [Fault::NoTime]);
    let mut unmarked = entries;
    unmarked[0].folded = None;
    assert_eq!(faults(&unmarked), [Fault::Gap { expected: 1 }]);
}

#[test]
fn kinds_that_contradict_each_other_are_faults() {
    let gone = Event::Gone;
    for (events, which, kind, expected) in [
        (
            vec![observed("a"), gone.clone(), gone.clone(), observed("b")],
            2,
            "removal",
            Fault::RemovalOfRemoved,
        ),
        (
            vec![observed("a"), observed("b")],
            1,
            "restore",
            Fault::RestoreOfLive,
        ),
        (
            vec![observed("a"), gone.clone(), observed("b")],
            2,
            "update",
            Fault::UpdateOfRemoved,
        ),
        (vec![observed("a")], 0, "restore", Fault::FirstNotInsert),
    ] {
        let mut history = History::of(&events);
        history.entries[which].kind = kind.to_owned();
        if expected == Fault::RemovalOfRemoved {
            history.entries[which].after = history.entries[1].after.clone();
            history.entries[which].changed = JsonObject::default().into();
        }
        let findings = history.compared(None, &[]);
        assert!(
            findings
                .iter()
                .any(|finding| matches!(finding, Finding::Ledger { fault, .. } if *fault == expected)),
            "{expected:?}: {findings:?}"
        );
    }
}

#[test]
fn an_edit_that_a_pass_set_right_is_told_of_and_is_no_difference() {
    let mut history = History::of(&[observed("a"), observed("b")]);
    history.entries[1].changed = json!({"name": {"old": "edited", "new": "b"}}).into();
    let findings = history.compared(history.last(), &[]);
    let [
        finding @ Finding::Overwritten {
            version: 2, fields, ..
        },
    ] = &findings[..]
    else {
        panic!("{findings:?}")
    };
    assert!(!finding.is_difference());
    assert_eq!(fields[0].to_string(), r#"name: found "edited", true "a""#);
}
