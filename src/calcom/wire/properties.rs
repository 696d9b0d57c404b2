//! For any bytes and for any user.

use std::sync::Arc;

use proptest::{collection::btree_map, option, prelude::*};
use serde_json::{Value, json};

use super::{tests::answer, *};
use crate::model::{Json, ManagedUser};

/// Text that Postgres can store.
fn text() -> impl Strategy<Value = String> {
    any::<String>().prop_map(|text| text.replace('\0', ""))
}

pub(super) fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(text(), inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

prop_compose! {
    pub(super) fn user()(
        id in any::<i64>(),
        (email, time_zone, week_start) in (text(), text(), text()),
        (username, name, bio, locale, avatar_url) in (
            option::of(text()), option::of(text()), option::of(text()), option::of(text()), option::of(text()),
        ),
        // The years that RFC 3339 can spell.
        micros in -62_135_596_800_000_000_i64..253_402_300_800_000_000,
        time_format in option::of(any::<i32>()),
        default_schedule_id in option::of(any::<i64>()),
        metadata in option::of(btree_map(text(), value(), 0..4)),
        extra in btree_map("x[a-z]{1,8}", value().prop_filter("null is absent", |v| !v.is_null()), 0..3),
    ) -> ManagedUser {
        let object = |map: std::collections::BTreeMap<String, Value>| {
            map.into_iter().map(|(key, value)| (key, Json::from(value))).collect()
        };
        ManagedUser {
            id: UserId(id),
            email, username, name, bio, time_zone, week_start,
            created_date: chrono::DateTime::from_timestamp_micros(micros).expect("the range is chrono's"),
            time_format, default_schedule_id, locale, avatar_url,
            metadata: metadata.map(object),
            extra: object(extra),
        }
    }
}

/// The user as the server would send it, nulls spelled or left out.
pub(super) fn wire(user: &ManagedUser, nulls: bool) -> String {
    let mut data = json!({
        "id": user.id.0,
        "email": user.email,
        "username": user.username,
        "name": user.name,
        "bio": user.bio,
        "timeZone": user.time_zone,
        "weekStart": user.week_start,
        "createdDate": crate::model::rfc3339(user.created_date),
        "timeFormat": user.time_format,
        "defaultScheduleId": user.default_schedule_id,
        "locale": user.locale,
        "avatarUrl": user.avatar_url,
        "metadata": user.metadata.clone().map(|object| Value::from(Json::from(object))),
    });
    let fields = data.as_object_mut().expect("it was made as an object");
    for key in user.extra.keys() {
        let value = user.extra.get(key).cloned().expect("the key is its own");
        fields.insert(key.to_owned(), value.into());
    }
    if !nulls {
        fields.retain(|_, value| !value.is_null());
    }
    json!({ "status": "success", "data": data }).to_string()
}

proptest! {
    #[test]
    fn a_valid_record_decodes_to_its_user(user in user(), nulls in any::<bool>()) {
        let body = wire(&user, nulls);
        let observed = decode_answer(&answer(200, body.as_bytes()), user.id, &SecretString::default());
        prop_assert_eq!(observed.expect("a valid answer"), Observation::Present(Arc::new(user)));
    }

    #[test]
    fn no_bytes_panic_and_none_is_a_user_gone(
        status in 100_u16..1000,
        body in proptest::collection::vec(any::<u8>(), 0..200),
        asked in any::<i64>(),
    ) {
        let observed = decode_answer(&answer(status, &body), UserId(asked), &SecretString::default());
        prop_assert!(observed.is_err());
    }

    #[test]
    fn a_damaged_record_is_never_another_user(
        user in user(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut body = wire(&user, true).into_bytes();
        let at = at.index(body.len());
        body[at] = byte;
        match decode_answer(&answer(200, &body), user.id, &SecretString::default()) {
            Ok(observation) => {
                prop_assert_eq!(observation.user_id(), user.id);
                prop_assert!(!matches!(observation, Observation::Gone(_)));
            }
            Err(error) => prop_assert!(error.to_string().len() < 200),
        }
    }

    #[test]
    fn any_json_in_any_field_decodes_or_is_a_fault(
        field in prop::sample::select(vec![
            "id", "email", "username", "timeZone", "createdDate", "timeFormat", "metadata", "new",
        ]),
        json in prop_oneof![value().prop_map(|value| value.to_string()), "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,25})?([eE][+-]?[0-9]{1,20})?"],
    ) {
        let body = format!(r#"{{"status":"success","data":{{"{field}":{json}}}}}"#);
        let observed = decode_answer(&answer(200, body.as_bytes()), UserId(1), &SecretString::default());
        prop_assert!(matches!(observed, Ok(Observation::Unreadable(_))), "a record lacks required fields");
    }
}
