//! The queries of lists.

use axum::http::Uri;
use serde_json::{Map, Value, json};
use url::form_urlencoded;

use crate::simulator::{
    email,
    lists::{EmailFilter, Lists, MaxLimit},
    refusal::{Refusal, Violation},
};

/// The query of a list of a client's users, checked.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::simulator) struct Page {
    pub(in crate::simulator) limit: usize,
    pub(in crate::simulator) offset: usize,
    /// With their suffixes.
    pub(in crate::simulator) emails: Option<Vec<String>>,
}

/// The query of a list of an organisation's users, checked. Its filters by team and by attribute are not simulated.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::simulator) struct OrganizationPage {
    pub(in crate::simulator) take: usize,
    pub(in crate::simulator) skip: usize,
    /// As they are stored.
    pub(in crate::simulator) emails: Option<Vec<String>>,
}

impl Page {
    pub(in crate::simulator) fn of(uri: &Uri, client_id: &str, lists: &Lists) -> Result<Self, Refusal> {
        const MAX_OFFSET: i64 = 250;
        const DEFAULT_LIMIT: i64 = 50;
        let (mut limit, mut offset, mut emails) = (Some(DEFAULT_LIMIT), Some(0), None);
        let mut unknown = None;
        for (key, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
            match (&*key, lists.emails) {
                ("limit", _) => limit = leading_number(&value),
                ("offset", _) => offset = leading_number(&value),
                ("emails", EmailFilter::Honoured) => emails = Some(addresses(&value, client_id)?),
                ("emails", EmailFilter::Refused) => unknown = Some(value.into_owned()),
                _ => {}
            }
        }
        let (max_limit, clamped) = match lists.max_limit {
            MaxLimit::Refuse(max) => (Some(i64::from(max)), limit),
            MaxLimit::Clamp(max) => (None, limit.map(|limit| limit.min(max.into()))),
        };
        let mut target = json!({ "limit": limit, "offset": offset });
        if let Some(emails) = &unknown {
            target["emails"] = Value::from(emails.as_str());
        }
        let unknown = unknown.map(|emails| Violation {
            target: target.clone(),
            value: emails.into(),
            property: "emails",
            children: [],
            constraints: Map::from_iter([(
                "whitelistValidation".to_owned(),
                "property emails should not exist".into(),
            )]),
        });
        refuse_any([
            unknown,
            out_of_bounds("limit", limit, 1, max_limit, &target),
            out_of_bounds("offset", offset, 0, Some(MAX_OFFSET), &target),
        ])?;
        Ok(Self {
            limit: within(clamped),
            offset: within(offset),
            emails,
        })
    }
}

impl OrganizationPage {
    pub(in crate::simulator) fn of(uri: &Uri) -> Result<Self, Refusal> {
        const MAX_TAKE: i64 = 1000;
        const DEFAULT_TAKE: i64 = 250;
        let (mut take, mut skip) = (Some(DEFAULT_TAKE), Some(0));
        let mut emails: Option<Vec<String>> = None;
        for (key, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
            match &*key {
                "take" => take = leading_number(&value),
                "skip" => skip = leading_number(&value),
                // One address each time, not several with commas.
                "emails" | "emails[]" => emails.get_or_insert_default().push(value.into_owned()),
                _ => {}
            }
        }
        let target = json!({ "take": take, "skip": skip, "emails": emails });
        let bad = emails
            .as_ref()
            .filter(|emails| !emails.iter().all(|address| email::is_valid(address)));
        let bad = bad.map(|emails| Violation {
            target: target.clone(),
            value: json!(emails),
            property: "emails",
            children: [],
            constraints: Map::from_iter([(
                "IsEmailStringOrArray".to_owned(),
                "Validation failed for one or more entries.".into(),
            )]),
        });
        refuse_any([
            out_of_bounds("take", take, 1, Some(MAX_TAKE), &target),
            out_of_bounds("skip", skip, 0, None, &target),
            bad,
        ])?;
        Ok(Self {
            take: within(take),
            skip: within(skip),
            emails,
        })
    }
}

/// Split at every comma, also within quotes, as the server does.
fn addresses(value: &str, client_id: &str) -> Result<Vec<String>, Refusal> {
    let checked = value.split(',').map(|address| {
        let address = address.trim_matches(email::is_space);
        if email::is_valid(address) {
            Ok(email::with_suffix(address, client_id))
        } else {
            Err(Refusal::InvalidEmail(address.to_owned()))
        }
    });
    checked.collect()
}

fn out_of_bounds(
    property: &'static str,
    value: Option<i64>,
    min: i64,
    max: Option<i64>,
    target: &Value,
) -> Option<Violation> {
    let mut constraints = Map::new();
    if let Some(max) = max
        && value.is_none_or(|value| value > max)
    {
        let says = format!("{property} must not be greater than {max}");
        constraints.insert("max".to_owned(), says.into());
    }
    if value.is_none_or(|value| value < min) {
        let says = format!("{property} must not be less than {min}");
        constraints.insert("min".to_owned(), says.into());
    }
    if value.is_none() {
        let says = format!("{property} must be a number conforming to the specified constraints");
        constraints.insert("isNumber".to_owned(), says.into());
    }
    (!constraints.is_empty()).then(|| Violation {
        target: target.clone(),
        value: value.into(),
        property,
        children: [],
        constraints,
    })
}

fn refuse_any<const N: usize>(violations: [Option<Violation>; N]) -> Result<(), Refusal> {
    let violations: Vec<_> = violations.into_iter().flatten().collect();
    if violations.is_empty() {
        Ok(())
    } else {
        Err(Refusal::Violations(violations))
    }
}

/// A number that was found to be in bounds.
fn within(value: Option<i64>) -> usize {
    value.and_then(|value| usize::try_from(value).ok()).unwrap_or(0)
}

/// JavaScript's parseInt, which the server uses: what follows the digits is ignored.
fn leading_number(text: &str) -> Option<i64> {
    let text = text.trim_start();
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let digits = unsigned.bytes().take_while(u8::is_ascii_digit).count();
    let end = text.len() - unsigned.len() + digits;
    if digits == 0 {
        return None;
    }
    // More digits than fit are out of bounds either way.
    Some(text[..end].parse().unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page_of(query: &str, lists: Lists) -> Result<Page, Refusal> {
        let uri = format!("/v2/oauth-clients/clx0/users?{query}")
            .parse()
            .expect("a valid path");
        Page::of(&uri, "clx0", &lists)
    }

    fn page(query: &str) -> Result<Page, Refusal> {
        page_of(query, Lists::default())
    }

    /// Property, rule and what it says, of the first violation.
    fn first<T: std::fmt::Debug>(refused: Result<T, Refusal>) -> (&'static str, String, String) {
        let Err(Refusal::Violations(violations)) = refused else {
            panic!("must be refused for a violation: {refused:?}");
        };
        let (rule, says) = violations[0].constraints.iter().next().expect("a rule");
        (
            violations[0].property,
            rule.clone(),
            says.as_str().expect("text").to_owned(),
        )
    }

    #[test]
    fn a_query_without_bounds_has_the_servers_own() {
        let page = page("").expect("an empty query is fine");
        assert_eq!((page.limit, page.offset, page.emails), (50, 0, None));
        let uri = "/v2/organizations/1/users".parse().expect("a path");
        let page = OrganizationPage::of(&uri).expect("an empty query is fine");
        assert_eq!((page.take, page.skip, page.emails), (250, 0, None));
    }

    #[test]
    fn numbers_are_read_as_parse_int_does() {
        assert_eq!(leading_number(" -12abc"), Some(-12));
        assert_eq!(leading_number("abc"), None);
        assert_eq!(leading_number("99999999999999999999"), Some(i64::MAX));
    }

    #[test]
    fn one_bad_address_fails_the_query() {
        let good = page("emails=a%40x.org,b%2Bclx0%40x.org").expect("both are addresses");
        assert_eq!(
            good.emails.expect("emails were given"),
            ["a+clx0@x.org", "b+clx0@x.org"]
        );
        for (emails, culprit) in [
            ("a%40x.org,oops", "oops"),
            ("%22a,b%22%40x.org", "\"a"),
            ("a%20b%40x.org", "a b@x.org"),
            // A plus sign that is not encoded is a space.
            ("a+b%40x.org", "a b@x.org"),
        ] {
            assert_eq!(
                page(&format!("emails={emails}")).expect_err("one is none"),
                Refusal::InvalidEmail(culprit.to_owned())
            );
        }
    }

    #[test]
    fn another_server_has_another_limit() {
        let with = |max_limit| Lists {
            max_limit,
            ..Lists::default()
        };
        let refused = page_of("limit=101", with(MaxLimit::Refuse(100)));
        assert_eq!(
            first(refused),
            ("limit", "max".into(), "limit must not be greater than 100".into())
        );
        for (limit, max_limit, effective) in [
            (100, MaxLimit::Refuse(100), 100),
            (1000, MaxLimit::Refuse(1000), 1000),
            (250, MaxLimit::Clamp(100), 100),
            (99, MaxLimit::Clamp(100), 99),
        ] {
            let page = page_of(&format!("limit={limit}"), with(max_limit)).expect("it is in bounds");
            assert_eq!(page.limit, effective);
        }
        assert!(page_of("limit=0", with(MaxLimit::Clamp(100))).is_err());
    }

    #[test]
    fn another_server_knows_no_emails() {
        let with = |emails| Lists {
            emails,
            ..Lists::default()
        };
        let ignored = page_of("emails=oops", with(EmailFilter::Ignored)).expect("nobody looks at it");
        assert_eq!(ignored.emails, None);
        assert_eq!(
            first(page_of("emails=a%40x.org", with(EmailFilter::Refused))),
            (
                "emails",
                "whitelistValidation".into(),
                "property emails should not exist".into()
            )
        );
        assert!(page_of("limit=3", with(EmailFilter::Refused)).is_ok());
    }
}
