//! Fields that got a column of their own.

use super::*;

/// `bio` was kept in `extra` until it got a column of its own.
fn promoted() -> (Shape, Entry) {
    let shape = Shape {
        promoted: vec![Promoted {
            field: "bio".to_owned(),
            column: "bio".to_owned(),
        }],
        ..shape()
    };
    let mut first = History::of(&[observed("a")]).entries.remove(0);
    let after = with(
        &object(&first.after).expect("an object"),
        "extra",
        Json::from(json!({"bio": 5, "x": 1})),
    );
    first.after = after.into();
    first.lifted = fields(json!({"bio": "5"}));
    (shape, first)
}

#[test]
fn a_promoted_field_is_lifted_into_its_column() {
    let (shape, first) = promoted();
    let row = |bio: serde_json::Value, version: i64| {
        fields(json!({
            "id": 7, "client_id": CLIENT, "name": "a", "bio": bio, "extra": {"x": 1},
            "created_date": rfc3339(at(0)), "version": version,
            "first_seen_at": rfc3339(at(1)), "changed_at": rfc3339(at(usize::try_from(version).expect("small"))),
        }))
    };
    assert_eq!(
        compared(
            &shape,
            std::slice::from_ref(&first),
            Some(&row(json!("5"), 1)),
            &[]
        ),
        []
    );
    assert_ne!(
        compared(
            &shape,
            std::slice::from_ref(&first),
            Some(&row(json!(null), 1)),
            &[]
        ),
        []
    );

    let next = |kind: &str, changed: serde_json::Value, after: serde_json::Value| Entry {
        version: 2,
        kind: kind.to_owned(),
        observed_at: Some(at(2)),
        changed: changed.into(),
        after: with(
            &with(
                &object(&first.after).expect("an object"),
                "bio",
                after["bio"].clone().into(),
            ),
            "extra",
            after["extra"].clone().into(),
        )
        .into(),
        lifted: JsonObject::default(),
        ..first.clone()
    };
    for (second, bio) in [
        // After the promotion.
        (
            next(
                "update",
                json!({"bio": {"old": "5", "new": "6"}}),
                json!({"bio": "6", "extra": {"x": 1}}),
            ),
            json!("6"),
        ),
        (
            next("removal", json!({}), json!({"bio": "5", "extra": {"x": 1}})),
            json!("5"),
        ),
        (
            next(
                "repair",
                json!({"bio": {"old": "e", "new": "5"}}),
                json!({"bio": "5", "extra": {"x": 1}}),
            ),
            json!("5"),
        ),
        // Before it, the field went out of `extra`.
        (
            next(
                "update",
                json!({"extra": {"old": {"bio": 5, "x": 1}, "new": {"x": 1}}}),
                json!({"bio": null, "extra": {"x": 1}}),
            ),
            json!(null),
        ),
    ] {
        let mut truth = row(bio, 2);
        if second.kind == "removal" {
            truth.insert("removed_at".to_owned(), Json::from(rfc3339(at(2)).as_str()));
        }
        assert_eq!(
            compared(&shape, &[first.clone(), second.clone()], Some(&truth), &[]),
            [],
            "{second:?}"
        );
    }
    let lost = next(
        "update",
        json!({"name": {"old": "a", "new": "a"}}),
        json!({"bio": null, "extra": {"x": 1}}),
    );
    assert_ne!(
        compared(&shape, &[first, lost], Some(&row(json!(null), 2)), &[]),
        []
    );
}
