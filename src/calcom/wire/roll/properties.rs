//! For any bytes, any users and any spelling of their records.

use proptest::{collection::vec, prelude::*};

use super::{
    super::{
        decode_answer,
        properties::{user, value, wire},
        tests::answer,
    },
    *,
};
use crate::model::{ManagedUser, Observation};

fn rolled(targets: &[Target], body: &[u8]) -> Result<Roll, Error> {
    let client = ClientId("abc".to_owned());
    decode_roll(&answer(200, body), targets, &client, &SecretString::default())
}

fn paged(known: &HashMap<Fingerprint, UserId>, body: &[u8]) -> Result<Roll, Error> {
    decode_page(&answer(200, body), known, &SecretString::default())
}

/// What the record proves when it comes alone.
fn alone(record: &str, asked: UserId) -> Observation {
    let body = format!(r#"{{"status":"success","data":{record}}}"#);
    let answer = answer(200, body.as_bytes());
    decode_answer(&answer, asked, &SecretString::default()).expect("an object is a record")
}

/// The user's record in another spelling: other fields first, other spaces, some fields twice.
fn respelled(user: &ManagedUser, nulls: bool, turn: usize, space: &str, twice: bool) -> String {
    let body: serde_json::Value = serde_json::from_str(&wire(user, nulls)).expect("it was made as JSON");
    let fields = body["data"].as_object().expect("it was made as an object");
    let mut fields: Vec<String> = fields
        .iter()
        .map(|(name, value)| {
            format!(
                "{space}{}{space}:{space}{value}{space}",
                serde_json::Value::from(name.as_str())
            )
        })
        .collect();
    let turn = turn % fields.len();
    fields.rotate_left(turn);
    if twice {
        // The last one counts.
        fields.insert(0, r#""id":-1"#.to_owned());
        fields.insert(0, r#""email":null"#.to_owned());
    }
    format!("{{{}}}", fields.join(","))
}

fn spelling() -> impl Strategy<Value = (bool, usize, String, bool)> {
    (any::<bool>(), any::<usize>(), "[ \n\t]{0,2}", any::<bool>())
}

/// Records that are hardly one: any JSON under an id.
fn strange() -> impl Strategy<Value = (i64, String)> {
    let field = prop::sample::select(vec!["email", "timeZone", "createdDate", "metadata", "new"]);
    (any::<i64>(), field, value())
        .prop_map(|(id, field, value)| (id, format!(r#"{{"{field}":{value},"id":{id}}}"#)))
}

fn list(records: &[String]) -> Vec<u8> {
    format!(r#"{{"status":"success","data":[{}]}}"#, records.join(" ,\n")).into_bytes()
}

prop_compose! {
    /// Records of different users, each in some spelling.
    fn records()(
        users in vec((user(), spelling()), 0..5),
        strange in vec(strange(), 0..3),
    ) -> Vec<(UserId, String)> {
        let mut records: Vec<_> = users
            .iter()
            .map(|(user, (nulls, turn, space, twice))| (user.id, respelled(user, *nulls, *turn, space, *twice)))
            .chain(strange.into_iter().map(|(id, record)| (UserId(id), record)))
            .collect();
        records.sort_by_key(|(id, _)| *id);
        records.dedup_by_key(|(id, _)| *id);
        records
    }
}

proptest! {
    #[test]
    fn a_roll_proves_of_each_user_what_its_record_alone_does(
        records in records(),
        known in vec(any::<bool>(), 8),
        stale in vec(any::<bool>(), 8),
        asked in vec(any::<bool>(), 8),
    ) {
        let texts: Vec<String> = records.iter().map(|(_, record)| record.clone()).collect();
        let body = list(&texts);
        let mut targets = Vec::new();
        let mut expected = Vec::new();
        let mut on_page = Vec::new();
        for (at, (id, record)) in records.iter().enumerate() {
            let alone = alone(record, *id);
            let is_present = matches!(alone, Observation::Present(_));
            let of_this = Fingerprint::of(record.as_bytes());
            let before = Fingerprint::of(format!("what {id} was before").as_bytes());
            let fingerprint = match (known[at] && is_present, stale[at]) {
                (true, false) => Some(of_this),
                (true, true) => Some(before),
                (false, _) => None,
            };
            let seen = if fingerprint == Some(of_this) {
                Seen::Unchanged(*id)
            } else {
                Seen::Observed { observation: alone.clone(), fingerprint: is_present.then_some(of_this) }
            };
            on_page.push(seen.clone());
            if asked[at] {
                expected.push(seen);
                targets.push(Target { id: *id, email: None, fingerprint });
            }
        }
        let roll = rolled(&targets, &body).expect("a good answer");
        prop_assert_eq!(&roll.seen, &expected);
        prop_assert_eq!(roll.records, records.len());
        prop_assert_eq!(roll.unasked, records.len() - expected.len());

        let unchanged = on_page.iter().zip(&records).filter(|(seen, _)| matches!(seen, Seen::Unchanged(_)));
        let known = unchanged.map(|(_, (id, record))| (Fingerprint::of(record.as_bytes()), *id));
        let page = paged(&known.collect(), &body).expect("a good answer");
        prop_assert_eq!(page.seen, on_page);
    }

    #[test]
    fn no_bytes_panic_and_none_is_a_user(
        status in 100_u16..1000,
        body in vec(any::<u8>(), 0..200),
        id in any::<i64>(),
    ) {
        let targets = [Target::unknown(UserId(id))];
        let client = ClientId("abc".to_owned());
        let secret = SecretString::default();
        prop_assert!(decode_roll(&answer(status, &body), &targets, &client, &secret).is_err());
        prop_assert!(decode_page(&answer(status, &body), &HashMap::new(), &secret).is_err());
    }

    #[test]
    fn a_damaged_answer_shows_nobody_else(
        records in records(),
        asked in vec(any::<bool>(), 8),
        known in any::<bool>(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let texts: Vec<String> = records.iter().map(|(_, record)| record.clone()).collect();
        let mut body = list(&texts);
        let at = at.index(body.len());
        body[at] = byte;
        let targets: Vec<Target> = records
            .iter()
            .zip(asked)
            .filter(|(_, asked)| *asked)
            .map(|((id, record), _)| Target {
                fingerprint: known.then(|| Fingerprint::of(record.as_bytes())),
                ..Target::unknown(*id)
            })
            .collect();
        match rolled(&targets, &body) {
            Ok(roll) => {
                let mut ids: Vec<UserId> = roll.seen.iter().map(Seen::user_id).collect();
                prop_assert!(ids.iter().all(|id| targets.iter().any(|target| target.id == *id)));
                ids.sort();
                ids.dedup();
                prop_assert_eq!(ids.len(), roll.seen.len());
                prop_assert!(roll.seen.len() + roll.unasked <= roll.records);
                let gone = |seen: &Seen| {
                    matches!(seen, Seen::Observed { observation: Observation::Gone(_), .. })
                };
                prop_assert!(!roll.seen.iter().any(gone));
            }
            Err(error) => prop_assert!(error.to_string().len() < 200),
        }
    }

    #[test]
    fn any_envelope_of_a_refusal_is_an_error_of_one_line(
        status in prop::sample::select(vec![400_u16, 401, 403, 404, 413, 414, 429, 431, 500]),
        code in "[A-Za-z_]{0,12}",
        message in any::<String>(),
        details in value(),
        property in prop::sample::select(vec!["limit", "emails", "offset"]),
        rule in any::<String>(),
    ) {
        let errors = serde_json::json!([{ "property": property, "constraints": { "max": rule } }, details]);
        for details in [details, serde_json::json!({ "errors": errors })] {
            let body = serde_json::json!({
                "status": "error",
                "error": { "code": code, "message": message, "details": details },
            });
            let body = body.to_string();
            let client = ClientId("abc".to_owned());
            let error = decode_roll(&answer(status, body.as_bytes()), &[], &client, &SecretString::default())
                .expect_err("a refusal holds no users");
            let shown = error.to_string();
            prop_assert!(!shown.contains('\n') && shown.chars().count() < 400, "{}", shown);
        }
    }
}
