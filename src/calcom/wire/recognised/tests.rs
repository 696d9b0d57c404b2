use proptest::{collection::vec, prelude::*};

use super::*;

fn answer(data: &str) -> String {
    format!(r#"{{"status":"success","data":{data}}}"#)
}

/// What is told apart: who is known, and the records of the others.
fn told(recognised: &Recognised<'_>) -> Vec<(Fingerprint, Result<UserId, String>)> {
    let told = |each: &Each<'_>| {
        let record = match each.record {
            Bytes::Known(user) => Ok(user),
            Bytes::New(raw) => Err(raw.get().to_owned()),
        };
        (each.fingerprint, record)
    };
    recognised.each.iter().map(told).collect()
}

/// As all of the answer is read.
fn read(
    body: &str,
    known: &impl Fn(&Fingerprint) -> Option<UserId>,
) -> Option<Vec<(Fingerprint, Result<UserId, String>)>> {
    let Records { raws, count } = data(body.as_bytes()).ok()?;
    let each = raws.into_iter().map(|raw| Each::of(raw, known)).collect();
    Some(told(&Recognised { each, count }))
}

fn at_a_glance(
    body: &str,
    known: &impl Fn(&Fingerprint) -> Option<UserId>,
) -> Option<Vec<(Fingerprint, Result<UserId, String>)>> {
    let recognised = Recognised::at_a_glance(usual_data(body.as_bytes())?, known)?;
    assert_eq!(recognised.count, recognised.each.len());
    Some(told(&recognised))
}

fn nobody(_: &Fingerprint) -> Option<UserId> {
    None
}

/// Records in which other ones seem to begin and to end.
fn record() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => (0..9_u8).prop_map(|id| format!(r#"{{"id":{id},"name":"a"}}"#)),
        1 => (0..9_u8).prop_map(|id| format!(r#"{{"id":{id},"metadata":{{"list":[{{"a":1}},{{"b":2}}]}}}}"#)),
        1 => (0..9_u8).prop_map(|id| format!(r#"{{"id":{id},"bio":"}},{{\"id\":1}},{{"}}"#)),
        1 => Just(r#"{}"#.to_owned()),
        1 => Just(r#""},{""#.to_owned()),
        1 => Just(r#"[{"id":1},{"id":2}]"#.to_owned()),
        1 => Just("12".to_owned()),
    ]
}

proptest! {
    #[test]
    fn what_is_told_apart_at_a_glance_is_what_reading_tells_apart(
        records in vec((record(), any::<bool>()), 0..8),
        separator in prop::sample::select(vec![",", ",", ",", " , ", "", ",,"]),
        known_parts in vec(any::<bool>(), 8),
        cut in prop::option::weighted(0.3, any::<prop::sample::Index>()),
        byte in prop::option::weighted(0.3, (any::<prop::sample::Index>(), prop::sample::select(b"{}[],\"\\ x".to_vec()))),
    ) {
        let texts: Vec<&str> = records.iter().map(|(record, _)| record.as_str()).collect();
        let mut body = answer(&format!("[{}]", texts.join(separator))).into_bytes();
        if let Some((at, byte)) = byte {
            let at = at.index(body.len());
            body[at] = byte;
        }
        if let Some(cut) = cut {
            body.truncate(cut.index(body.len()));
        }
        let body = String::from_utf8(body).expect("all of it is ASCII");
        // Only what was read once has a fingerprint: objects.
        let prints: Vec<Fingerprint> = texts
            .iter()
            .zip(known_parts)
            .filter(|(text, known)| *known && text.starts_with('{'))
            .map(|(text, _)| Fingerprint::of(text.as_bytes()))
            .collect();
        let known = |print: &Fingerprint| prints.iter().position(|known| known == print).map(|at| UserId(at as i64));
        if let Some(told) = at_a_glance(&body, &known) {
            prop_assert_eq!(Some(told), read(&body, &known));
        }
    }
}

#[test]
fn an_answer_as_it_is_usually_spelled_is_told_apart_at_a_glance() {
    let (known, changed, nested) = (
        r#"{"id":1,"name":"},{\"id\":9"}"#,
        r#"{"id":2,"name":"b"}"#,
        r#"{"id":3,"metadata":{"list":[{"a":1},{"b":2}]}}"#,
    );
    let print = Fingerprint::of(known.as_bytes());
    let lookup = |other: &Fingerprint| (*other == print).then_some(UserId(1));
    for records in [
        vec![known],
        vec![changed],
        vec![nested],
        vec![known, changed, nested],
        vec![nested, changed, known, known],
    ] {
        let body = answer(&format!("[{}]", records.join(",")));
        let told = at_a_glance(&body, &lookup).expect("it is spelled as usual");
        let texts: Vec<&str> = told
            .iter()
            .map(|(_, record)| record.as_ref().map_or_else(String::as_str, |_| known))
            .collect();
        assert_eq!(texts, records);
    }
}

#[test]
fn any_other_answer_is_left_to_reading() {
    for body in [
        answer("[]"),
        answer(r#"[{"id":1} ,{"id":2}]"#),
        answer(r#"[{"id":1}, {"id":2},{"id":3}]"#),
        answer(r#"[{"id":1},{"id":2},]"#),
        answer(r#"[{"id":1},{"id":2}"#),
        answer(r#"[{"id":1}]} "#),
        answer(r#"[{"id":1}],"data":[]"#),
        answer(r#"{"id":1}"#),
        r#"{"data":[{"id":1}],"status":"success"}"#.to_owned(),
        r#"{"status":"error","data":[{"id":1}]}"#.to_owned(),
    ] {
        assert_eq!(at_a_glance(&body, &nobody), None, "{body}");
    }
    // More than are kept are counted, which takes reading.
    let many = vec!["{}"; Records::MOST + 1].join(",");
    assert_eq!(at_a_glance(&answer(&format!("[{many}]")), &nobody), None);
}
