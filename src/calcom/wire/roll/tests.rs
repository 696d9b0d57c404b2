use super::{super::tests::answer, *};
use crate::{
    calcom::{Disposition, Scope},
    model::Observation,
};

fn client() -> ClientId {
    ClientId("abc".to_owned())
}

fn record(id: i64, email: &str) -> String {
    format!(
        r#"{{"id":{id},"email":"{email}","timeZone":"UTC","weekStart":"Sunday","createdDate":"2024-04-01T00:00:00.000Z"}}"#
    )
}

fn envelope(records: &[&str]) -> String {
    format!(r#"{{"status":"success","data":[{}]}}"#, records.join(","))
}

fn target(id: i64, email: &str, record: Option<&str>) -> Target {
    Target {
        id: UserId(id),
        email: Some(email.to_owned()),
        fingerprint: record.map(|record| Fingerprint::of(record.as_bytes())),
    }
}

fn roll(targets: &[Target], records: &[&str]) -> Roll {
    let body = envelope(records);
    let secret = SecretString::default();
    decode_roll(&answer(200, body.as_bytes()), targets, &client(), &secret).expect("a good answer")
}

fn ids(roll: &Roll) -> Vec<i64> {
    roll.seen.iter().map(|seen| seen.user_id().0).collect()
}

fn refusal(targets: &[Target], status: u16, body: &str) -> Error {
    let secret = SecretString::from("s3cr3t");
    decode_roll(&answer(status, body.as_bytes()), targets, &client(), &secret)
        .expect_err("this holds no users")
}

fn failure(message: &str, details: &str) -> String {
    format!(
        r#"{{"status":"error","error":{{"code":"BadRequestException","message":{message},"details":{details}}}}}"#
    )
}

#[test]
fn the_same_bytes_are_unchanged_and_others_are_read() {
    let (same, old, new) = (
        record(1, "a+abc@x.org"),
        record(2, "b+abc@x.org"),
        record(2, "new+abc@x.org"),
    );
    let targets = [
        target(1, "a+abc@x.org", Some(&same)),
        target(2, "b+abc@x.org", Some(&old)),
    ];
    let roll = roll(&targets, &[&same, &new]);
    assert_eq!((roll.records, roll.unasked), (2, 0));
    assert_eq!(roll.seen[0], Seen::Unchanged(UserId(1)));
    let Seen::Observed {
        observation: Observation::Present(user),
        fingerprint,
    } = &roll.seen[1]
    else {
        panic!("not a user: {:?}", roll.seen[1]);
    };
    assert_eq!((user.id, user.email.as_str()), (UserId(2), "new+abc@x.org"));
    assert_eq!(*fingerprint, Some(Fingerprint::of(new.as_bytes())));
}

#[test]
fn spaces_around_a_record_are_not_of_it() {
    let same = record(1, "a+abc@x.org");
    let spaced = format!(" \n{same}\t");
    let roll = roll(&[target(1, "a@x.org", Some(&same))], &[&spaced]);
    assert_eq!(roll.seen, [Seen::Unchanged(UserId(1))]);
}

#[test]
fn a_record_that_cannot_be_mirrored_is_a_reject_of_its_user_without_a_fingerprint() {
    let body = r#"{"id":1.0,"email":7}"#;
    let roll = roll(&[target(1, "a@x.org", None)], &[body]);
    let [
        Seen::Observed {
            observation: Observation::Unreadable(reject),
            fingerprint: None,
        },
    ] = &roll.seen[..]
    else {
        panic!("not a reject: {roll:?}");
    };
    assert_eq!((reject.id, reject.record.as_str()), (UserId(1), body));
}

#[test]
fn what_has_no_readable_id_is_counted_only() {
    let targets = [target(1, "a@x.org", None)];
    let records = [
        "7",
        "null",
        "[]",
        r#""text""#,
        "{}",
        r#"{"id":"1"}"#,
        r#"{"id":1.5}"#,
        r#"{"id":1,"\ud800":2}"#,
    ];
    let nothing = Roll {
        records: records.len(),
        ..Roll::default()
    };
    assert_eq!(roll(&targets, &records), nothing);
    assert_eq!(roll(&targets, &[]), Roll::default());
}

#[test]
fn of_an_id_that_comes_twice_in_a_record_the_last_counts() {
    let twice = r#"{"id":9,"id":1}"#;
    assert_eq!(ids(&roll(&[target(1, "a@x.org", None)], &[twice])), [1]);
    let roll = roll(&[target(9, "a@x.org", None)], &[twice]);
    assert_eq!((ids(&roll), roll.unasked), (vec![], 1));
}

#[test]
fn a_user_that_comes_twice_is_seen_only_if_both_records_are_the_same() {
    let (one, other) = (record(1, "a+abc@x.org"), record(1, "b+abc@x.org"));
    let third = record(3, "c+abc@x.org");
    for known in [None, Some(one.as_str()), Some(other.as_str())] {
        let targets = [target(1, "a@x.org", known), target(3, "c@x.org", None)];
        let same = roll(&targets, &[&one, &third, &one]);
        assert_eq!((ids(&same), same.records), (vec![1, 3], 3));
        for records in [
            &[&one, &other, &third][..],
            &[&one, &other, &one, &third],
            &[&one, &other, &other, &third],
            &[&other, &third, &one],
        ] {
            let records: Vec<_> = records.iter().map(|record| record.as_str()).collect();
            assert_eq!(ids(&roll(&targets, &records)), [3]);
        }
    }
}

#[test]
fn nobody_is_seen_who_was_not_asked_for_and_strangers_are_counted() {
    let targets = [target(1, "Ann+abc@x.org", None), target(2, "bob@x.org", None)];
    let known_addresses = [record(7, "ann@X.org"), record(8, "BOB+ABC@x.org")];
    let strangers = [record(9, "carol+abc@x.org"), r#"{"id":10}"#.to_owned()];
    let all: Vec<&str> = known_addresses
        .iter()
        .chain(&strangers)
        .map(String::as_str)
        .collect();
    let roll = roll(&targets, &all);
    assert_eq!((ids(&roll), roll.records, roll.unasked), (vec![], 4, 2));
}

#[test]
fn users_who_swapped_their_addresses_are_seen_by_their_ids() {
    let targets = [target(1, "a@x.org", None), target(2, "b@x.org", None)];
    let roll = roll(&targets, &[&record(1, "b+abc@x.org"), &record(2, "a+abc@x.org")]);
    assert_eq!((ids(&roll), roll.unasked), (vec![1, 2], 0));
}

#[test]
fn a_page_is_of_whoever_is_on_it() {
    let (known, new) = (record(1, "a+abc@x.org"), record(2, "b+abc@x.org"));
    let fingerprints = HashMap::from([(Fingerprint::of(known.as_bytes()), UserId(1))]);
    let body = envelope(&[&known, &new, "7"]);
    let roll = decode_page(
        &answer(200, body.as_bytes()),
        &fingerprints,
        &SecretString::default(),
    );
    let roll = roll.expect("a good answer");
    assert_eq!((ids(&roll), roll.records, roll.unasked), (vec![1, 2], 3, 0));
    assert_eq!(roll.seen[0], Seen::Unchanged(UserId(1)));
}

#[test]
fn of_an_answer_with_far_too_many_records_the_first_are_read_and_all_are_counted() {
    let records: Vec<String> = (0..1500).map(|id| format!(r#"{{"id":{id}}}"#)).collect();
    let records: Vec<&str> = records.iter().map(String::as_str).collect();
    let body = envelope(&records);
    let roll = decode_page(
        &answer(200, body.as_bytes()),
        &HashMap::new(),
        &SecretString::default(),
    );
    let roll = roll.expect("a good answer");
    assert_eq!((roll.seen.len(), roll.records), (1000, 1500));
}

#[test]
fn what_is_no_array_of_records_proves_nothing() {
    let one = record(1, "a@x.org");
    for body in [
        "",
        "<html>",
        "[]",
        r#"{"status":"success"}"#,
        r#"{"status":"success","data":null}"#,
        r#"{"status":"success","data":{}}"#,
        r#"{"status":"error","data":[]}"#,
        &format!(r#"{{"status":"success","data":{one}}}"#),
    ] {
        assert!(matches!(refusal(&[], 200, body), Error::Garbled(_)), "{body}");
    }
    let whole = envelope(&[&one, &one]);
    for cut in 1..whole.len() {
        let error = refusal(&[target(1, "a@x.org", Some(&one))], 200, &whole[..cut]);
        assert!(matches!(error, Error::CutOff(None)), "{cut}: {error}");
    }
}

#[test]
fn a_refused_address_is_not_shown() {
    for body in [
        failure(r#""Invalid email oops \"john smith\"""#, "null"),
        failure(
            r#""Bad Request Exception""#,
            r#"{"errors":[{"property":"emails","value":"oops","constraints":{"isEmail":"oops must be an email"}}]}"#,
        ),
    ] {
        let error = refusal(&[], 400, &body);
        assert!(matches!(error, Error::InvalidAddress(_)), "{error}");
        assert_eq!(error.scope(), Scope::Size);
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("oops") && !shown.contains("smith"), "{shown}");
    }
}

#[test]
fn a_refused_limit_tells_the_most() {
    let violation = |rule: &str| {
        let errors = format!(r#"{{"errors":[{{"property":"limit","constraints":{rule}}}]}}"#);
        failure(r#""Bad Request Exception""#, &errors)
    };
    for (body, most) in [
        (
            violation(r#"{"max":"limit must not be greater than 100"}"#),
            Some(100),
        ),
        (
            violation(r#"{"isInt":"x","max":"limit must not be greater than 50."}"#),
            Some(50),
        ),
        (violation(r#"{"max":"limit must not be greater than 0"}"#), None),
        (violation(r#"{"max":7}"#), None),
        (violation("null"), None),
        (
            failure(r#""limit must not be greater than 25""#, "null"),
            Some(25),
        ),
        (failure(r#""limit must be a number""#, r#""text""#), None),
    ] {
        for error in [
            refusal(&[], 400, &body),
            decode_page(
                &answer(400, body.as_bytes()),
                &HashMap::new(),
                &SecretString::default(),
            )
            .expect_err("this holds no users"),
        ] {
            assert!(
                matches!(error, Error::LimitRefused { max } if max == most),
                "{body}: {error}"
            );
            assert_eq!(error.scope(), Scope::Route);
        }
    }
}

#[test]
fn a_user_cannot_lower_the_limit_by_an_address() {
    let body = failure(r#""Invalid email limit must not be greater than 1""#, "null");
    assert!(matches!(refusal(&[], 400, &body), Error::InvalidAddress(_)));
    let body = failure(r#""no such limit must not be greater than 1""#, "null");
    assert!(matches!(refusal(&[], 400, &body), Error::BadRequest(_)));
}

#[test]
fn a_server_that_does_not_know_the_parameter_is_a_matter_of_the_route() {
    let errors = r#"{"errors":[{"property":"emails","constraints":{"whitelistValidation":"property emails should not exist"}}]}"#;
    for (status, body) in [
        (400, failure(r#""Bad Request Exception""#, errors)),
        (400, "<html>".to_owned()),
        (
            404,
            failure(r#""User with ID 1 is not part of this OAuth client.""#, "null"),
        ),
        (405, String::new()),
        (501, failure(r#""no""#, "null")),
    ] {
        let error = refusal(&[target(1, "a@x.org", None)], status, &body);
        assert_eq!(error.scope(), Scope::Route, "{status} {error}");
    }
}

#[test]
fn what_is_too_long_tells_the_bytes_of_its_addresses() {
    let targets = [
        target(1, "a+abc@x.org", None),
        target(2, "b+c@x.org", None),
        Target::unknown(UserId(3)),
    ];
    for status in [413, 414, 431] {
        let error = refusal(&targets, status, "<html>");
        assert!(matches!(error, Error::TooLong { bytes: 20 }), "{error}");
        assert_eq!(
            (error.scope(), error.disposition()),
            (Scope::Size, Disposition::Skip)
        );
    }
}
