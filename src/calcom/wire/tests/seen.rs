//! One user, of whom it is known in which bytes it came last.

use super::*;

fn seen(status: u16, body: &str, fingerprint: Option<Fingerprint>) -> Result<Seen, Error> {
    let target = Target {
        fingerprint,
        ..Target::unknown(ASKED)
    };
    decode_seen(
        &answer(status, body.as_bytes()),
        &target,
        &SecretString::from("s3cr3t"),
    )
}

/// The data of an answer as it is usually spelled.
fn data_of(body: &str) -> &str {
    body.split_once("\"data\":")
        .and_then(|(_, rest)| rest.strip_suffix('}'))
        .expect("an answer has data")
}

fn print_of(body: &str) -> Option<Fingerprint> {
    Some(Fingerprint::of(data_of(body).as_bytes()))
}

#[test]
fn the_same_bytes_are_the_same_user_and_others_are_read() {
    let (old, new) = (record(&[]), record(&[("bio", Some(r#""new""#))]));
    let respelled = format!(r#"{{ "data" : {}, "status":"success"}}"#, data_of(&old));
    for body in [&old, &respelled] {
        let seen = seen(200, body, print_of(&old)).expect("a good answer");
        assert_eq!(seen, Seen::Unchanged(ASKED), "{body}");
    }
    for (body, known) in [(&new, print_of(&old)), (&new, None), (&respelled, None)] {
        let expected = present(body);
        match seen(200, body, known) {
            Ok(Seen::Observed {
                observation: Observation::Present(user),
                fingerprint,
            }) => {
                assert_eq!(*user, expected);
                let of_record = if body == &new {
                    print_of(&new)
                } else {
                    print_of(&old)
                };
                assert_eq!(fingerprint, of_record);
            }
            other => panic!("not a user that was read: {other:?}"),
        }
    }
}

#[test]
fn known_bytes_prove_nothing_in_an_answer_that_does_not() {
    let good = record(&[]);
    let data = data_of(&good);
    let known = print_of(&good);
    for (status, body) in [
        (500, good.clone()),
        (404, good.clone()),
        (200, data.to_owned()),
        (200, good[..good.len() - 1].to_owned()),
        (200, format!("{good}}}")),
        (200, format!(r#"{{"status":"error","data":{data}}}"#)),
        (200, format!(r#"{{"status":"success","data":[{data}]}}"#)),
    ] {
        seen(status, &body, known).expect_err(&body);
    }
}
