use chrono::{DateTime, Utc};
use proptest::{collection::btree_map, option, prelude::*};

use super::*;
use crate::model::{Json, JsonObject};

fn client() -> ClientId {
    ClientId("client-a".to_owned())
}

fn json_value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        "[a-z]{0,4}".prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            btree_map("[a-z]{1,3}", inner, 0..4)
                .prop_map(|entries| serde_json::Value::Object(entries.into_iter().collect())),
        ]
    })
}

fn object() -> impl Strategy<Value = JsonObject> {
    btree_map("[a-z]{1,3}", json_value().prop_map(Json::from), 0..4)
        .prop_map(|entries| entries.into_iter().collect())
}

fn text() -> impl Strategy<Value = String> {
    "[a-zA-Zäß/ ]{0,8}"
}

fn date() -> impl Strategy<Value = DateTime<Utc>> {
    (0..4_000_000_000_i64).prop_map(|s| DateTime::from_timestamp(s, 0).expect("within chrono's range"))
}

prop_compose! {
    fn user(id: i64)(
        (email, username, name, bio) in (text(), option::of(text()), option::of(text()), option::of(text())),
        (time_zone, week_start, created_date) in (text(), text(), date()),
        (time_format, default_schedule_id) in (option::of(any::<i32>()), option::of(any::<i64>())),
        (locale, avatar_url) in (option::of(text()), option::of(text())),
        (metadata, extra) in (option::of(object()), object()),
    ) -> ManagedUser {
        ManagedUser {
            id: UserId(id), email, username, name, bio, time_zone, week_start, created_date, time_format,
            default_schedule_id, locale, avatar_url, metadata, extra,
        }
    }
}

fn known_as(user: &ManagedUser, version: i32, removed: bool) -> HashMap<UserId, Known> {
    let mirrored = Mirrored {
        user: user.clone(),
        client_id: client(),
        version,
        removed,
    };
    HashMap::from([(
        user.id,
        Known {
            mirrored: Some(mirrored),
            ..Known::default()
        },
    )])
}

fn present_of(user: &ManagedUser) -> Vec<Observation> {
    vec![Observation::Present(Arc::new(user.clone()))]
}

/// Takes one field from another user.
fn take_field(to: &mut ManagedUser, from: &ManagedUser, field: Field) {
    match field {
        Field::Email => to.email.clone_from(&from.email),
        Field::Username => to.username.clone_from(&from.username),
        Field::Name => to.name.clone_from(&from.name),
        Field::Bio => to.bio.clone_from(&from.bio),
        Field::TimeZone => to.time_zone.clone_from(&from.time_zone),
        Field::WeekStart => to.week_start.clone_from(&from.week_start),
        Field::CreatedDate => to.created_date = from.created_date,
        Field::TimeFormat => to.time_format = from.time_format,
        Field::DefaultScheduleId => to.default_schedule_id = from.default_schedule_id,
        Field::Locale => to.locale.clone_from(&from.locale),
        Field::AvatarUrl => to.avatar_url.clone_from(&from.avatar_url),
        Field::Metadata => to.metadata.clone_from(&from.metadata),
        Field::Extra => to.extra.clone_from(&from.extra),
    }
}

/// The same value in another spelling: object keys reversed, whole numbers with a fraction.
fn respell(value: &serde_json::Value) -> String {
    use serde_json::Value;
    match value {
        Value::Number(number) => format!("{number}.0"),
        Value::Array(values) => format!("[{}]", values.iter().map(respell).collect::<Vec<_>>().join(" , ")),
        Value::Object(entries) => {
            let entries: Vec<_> = entries
                .iter()
                .rev()
                .map(|(k, v)| format!("{}:{}", Value::from(k.as_str()), respell(v)))
                .collect();
            format!("{{{}}}", entries.join(","))
        }
        other => other.to_string(),
    }
}

proptest! {
    #[test]
    fn the_diff_of_equals_is_empty(user in user(1), version in 1..100_i32) {
        let set = diff(&client(), present_of(&user), &known_as(&user, version, false));
        prop_assert!(set.writes_nothing(), "{set:?}");
        prop_assert_eq!(set.unchanged, 1);
    }

    #[test]
    fn applying_a_diff_gives_the_observed(old in user(1), new in user(1), removed: bool) {
        let set = diff(&client(), present_of(&new), &known_as(&old, 4, removed));
        let became = set.changes().next().map_or(&old, |change| &change.after);
        prop_assert_eq!(became, &new);
        let mut folded = old.clone();
        for change in set.changes() {
            prop_assert_eq!(change.version, 5);
            for field in &change.fields {
                prop_assert_eq!(&old.value(field.field), &field.old);
                prop_assert_eq!(&new.value(field.field), &field.new);
                take_field(&mut folded, &new, field.field);
            }
        }
        prop_assert_eq!(&folded, &new, "the changed fields alone lead to the new user");
    }

    #[test]
    fn a_one_field_change_is_exactly_that_field(
        old in user(1), other in user(1), field in prop::sample::select(Field::ALL.to_vec()),
    ) {
        let mut new = old.clone();
        take_field(&mut new, &other, field);
        let changed: Vec<_> = changed_fields(&old, &new).into_iter().map(|change| change.field).collect();
        let expected = if old.value(field) == other.value(field) { vec![] } else { vec![field] };
        prop_assert_eq!(changed, expected);
    }

    #[test]
    fn key_order_and_number_spelling_are_no_change(value in json_value()) {
        let respelled: Json = serde_json::from_str(&respell(&value)).expect("respelling keeps JSON valid");
        prop_assert_eq!(Json::from(value), respelled);
    }
}

fn alice() -> ManagedUser {
    ManagedUser {
        id: UserId(1),
        email: "alice+client-a@example.com".to_owned(),
        username: Some("alice".to_owned()),
        name: Some("Alice".to_owned()),
        bio: None,
        time_zone: "America/New_York".to_owned(),
        week_start: "Sunday".to_owned(),
        created_date: DateTime::from_timestamp(1_711_929_600, 0).expect("in range"),
        time_format: Some(12),
        default_schedule_id: None,
        locale: Some("en".to_owned()),
        avatar_url: None,
        metadata: None,
        extra: JsonObject::default(),
    }
}

#[test]
fn a_user_never_seen_is_an_insert_and_a_removed_one_a_restore() {
    let set = diff(&client(), present_of(&alice()), &HashMap::new());
    assert_eq!(set.inserts.len(), 1);
    assert_eq!(
        (set.inserts[0].version, set.inserts[0].kind),
        (1, ChangeKind::Insert)
    );

    let set = diff(&client(), present_of(&alice()), &known_as(&alice(), 3, true));
    assert_eq!(
        set.restores.len(),
        1,
        "an unchanged user is restored all the same"
    );
    assert_eq!(set.restores[0].version, 4);
}

#[test]
fn gone_is_never_a_change_by_itself() {
    let gone = || vec![Observation::Gone(UserId(1))];
    let set = diff(&client(), gone(), &known_as(&alice(), 1, false));
    assert!(set.is_empty());
    assert_eq!(set.bookkeeping.confirm_missing, [UserId(1)]);

    let set = diff(&client(), gone(), &known_as(&alice(), 2, true));
    assert!(
        set.writes_nothing(),
        "a removed user that is still gone is no news"
    );

    let set = diff(&client(), gone(), &HashMap::new());
    assert_eq!(set.bookkeeping.record_missing, [UserId(1)]);
    let on_record = HashMap::from([(
        UserId(1),
        Known {
            missing: true,
            ..Known::default()
        },
    )]);
    assert!(diff(&client(), gone(), &on_record).writes_nothing());
}

#[test]
fn a_sighting_clears_the_candidate_even_when_it_cannot_be_read() {
    let reject = Reject {
        id: UserId(1),
        faults: vec![FieldFault {
            field: "email".to_owned(),
            why: "missing".to_owned(),
        }],
        record: "{}".to_owned(),
    };
    let mut known = known_as(&alice(), 1, false);
    known.get_mut(&UserId(1)).expect("alice is known").missing = true;
    let set = diff(&client(), vec![Observation::Unreadable(reject.clone())], &known);
    assert_eq!(set.bookkeeping.sighted, [UserId(1)]);
    assert_eq!(set.bookkeeping.record_rejects, std::slice::from_ref(&reject));

    known.insert(
        UserId(1),
        Known {
            reject: Some(RecordedReject {
                reason: reject.reason(),
                record: reject.record.clone(),
            }),
            ..Known::default()
        },
    );
    assert!(diff(&client(), vec![Observation::Unreadable(reject)], &known).writes_nothing());
    let set = diff(&client(), present_of(&alice()), &known);
    assert_eq!(set.bookkeeping.clear_rejects, [UserId(1)]);
}

#[test]
fn another_clients_user_is_a_reject() {
    let other = ClientId("client-b".to_owned());
    let set = diff(&other, present_of(&alice()), &known_as(&alice(), 1, false));
    assert!(set.is_empty());
    assert_eq!(set.rejected, 1);
    let set = diff(
        &other,
        vec![Observation::Gone(UserId(1))],
        &known_as(&alice(), 1, false),
    );
    assert!(set.writes_nothing(), "and its absence says nothing");
}

#[test]
fn a_change_reads_as_one_line_and_masks_what_is_personal() {
    let mut new = alice();
    new.time_zone = "Asia/Tokyo".to_owned();
    new.name = Some("Alice Liddell".to_owned());
    new.bio = Some("Down the hole".to_owned());
    let set = diff(&client(), present_of(&new), &known_as(&alice(), 1, false));
    let change = &set.updates[0];
    insta::assert_snapshot!(
        change.display(Values::Masked),
        @r#"~ user 1 v2 name: *** -> ***, bio: null -> ***, time_zone: "America/New_York" -> "Asia/Tokyo""#
    );
    insta::assert_snapshot!(
        change.display(Values::Full),
        @r#"~ user 1 v2 name: "Alice" -> "Alice Liddell", bio: null -> "Down the hole", time_zone: "America/New_York" -> "Asia/Tokyo""#
    );
}
