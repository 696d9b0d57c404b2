use super::{BadRole, Grants, Roles};

fn grants(names: [&str; 3]) -> Result<Grants, BadRole> {
    let [migrator, daemon, reader] = names.map(str::to_owned);
    let roles = Roles {
        migrator,
        daemon,
        reader,
    };
    Grants::new("public", roles, false)
}

#[test]
fn names_that_no_three_roles_can_have_are_refused() {
    let long = "r".repeat(64);
    for bad in ["", "pg_owner", "public", "none", "a\nb", "a\0b", long.as_str()] {
        assert!(
            matches!(grants(["m", bad, "r"]), Err(BadRole::Name(name, _)) if name == bad),
            "{bad:?}"
        );
    }
    assert_eq!(grants(["m", "d", "m"]), Err(BadRole::Twice("m".to_owned())));
    assert!(grants(["m", "d", &long[1..]]).is_ok());
}

#[test]
fn a_name_stays_one_name_wherever_it_stands() {
    let sly = r#"a"; drop schema public; --$calmirror$'"#;
    let script = grants([sly, "d", "r"]).expect("a name like any other").script();
    let identifier = r#""a""; drop schema public; --$calmirror$'""#;
    let literal = r#"E'a"; drop schema public; --$calmirror$'''"#;
    let found = script.matches(identifier).count() + script.matches(literal).count();
    assert_eq!(found, script.matches("drop schema").count(), "{script}");
    assert!(script.contains("do $_calmirror$ begin"), "{script}");
}

#[test]
fn the_ledger_is_only_added_to_unless_it_is_to_be_folded() {
    let roles = grants(["m", "d", "r"]).expect("three names").roles().clone();
    for (retention, rights) in [(false, "select, insert ("), (true, "update, delete on")] {
        let grants = Grants::new("mirror", roles.clone(), retention).expect("three names");
        let of_ledger: Vec<_> = grants
            .statements()
            .into_iter()
            .filter(|statement| statement.ends_with(r#"on "mirror".managed_user_changes to "d""#))
            .collect();
        assert_eq!(of_ledger.len(), 1 + usize::from(retention), "{of_ledger:?}");
        assert!(of_ledger.iter().any(|statement| statement.contains(rights)));
    }
}
