use super::*;

/// One of each variant that can be made here, and how far it reaches.
fn each() -> Vec<(Error, Scope)> {
    use Scope::{Client, Route, Size};
    let status = StatusCode::NOT_FOUND;
    let said = Said::nothing;
    let refused = |refusal| Error::Refused {
        status,
        refusal,
        said: said(),
    };
    let unreachable = |obstacle| Error::Unreachable(obstacle, None);
    let rest = None;
    let to = String::new();
    vec![
        (Error::Unsendable("secret"), Client),
        (refused(Refusal::WrongSecret), Client),
        (refused(Refusal::UnknownClient), Client),
        (refused(Refusal::SecretNotSeen), Client),
        (refused(Refusal::Unauthorized), Client),
        (refused(Refusal::Forbidden), Route),
        (Error::Moved { status, to }, Client),
        (Error::NoSuchRoute(said()), Route),
        (Error::Withdrawn(said()), Client),
        (Error::NotCalcom, Route),
        (Error::BadRequest(said()), Route),
        (Error::InvalidAddress(said()), Size),
        (Error::LimitRefused { max: Some(100) }, Route),
        (Error::TooLong { bytes: 7000 }, Size),
        (
            Error::RateLimited {
                until: Instant::now(),
            },
            Client,
        ),
        (
            Error::Trouble {
                status,
                rest,
                said: said(),
            },
            Size,
        ),
        (unreachable(Obstacle::TimeOut), Size),
        (unreachable(Obstacle::Name), Client),
        (unreachable(Obstacle::Certificate(Flaw::Host)), Client),
        (unreachable(Obstacle::Tls), Client),
        (unreachable(Obstacle::Connection), Client),
        (Error::CutOff(None), Size),
        (Error::Garbled("x"), Size),
        (Error::TooLarge { limit: 1 }, Size),
        (Error::RecordMissing(said()), Route),
        (Error::Unforeseen { status, said: said() }, Route),
    ]
}

/// The place of each variant but `Setup`, which only reqwest can make: a variant that is new does not compile.
fn place(error: &Error) -> usize {
    match error {
        Error::Setup(_) => 0,
        Error::Unsendable(_) => 1,
        Error::Refused { .. } => 2,
        Error::Moved { .. } => 3,
        Error::NoSuchRoute(_) => 4,
        Error::Withdrawn(_) => 5,
        Error::NotCalcom => 6,
        Error::BadRequest(_) => 7,
        Error::InvalidAddress(_) => 8,
        Error::LimitRefused { .. } => 9,
        Error::TooLong { .. } => 10,
        Error::RateLimited { .. } => 11,
        Error::Trouble { .. } => 12,
        Error::Unreachable(..) => 13,
        Error::CutOff(_) => 14,
        Error::Garbled(_) => 15,
        Error::TooLarge { .. } => 16,
        Error::RecordMissing(_) => 17,
        Error::Unforeseen { .. } => 18,
    }
}

#[test]
fn every_error_says_how_far_it_reaches() {
    let mut places: Vec<usize> = Vec::new();
    for (error, scope) in each() {
        assert_eq!(error.scope(), scope, "{error}");
        places.push(place(&error));
    }
    places.dedup();
    assert_eq!(places, (1..=18).collect::<Vec<_>>());
}

#[test]
fn an_error_is_never_taken_for_a_user_that_is_gone() {
    for (error, _) in each() {
        assert_ne!(error.disposition(), Disposition::Gone, "{error}");
    }
}

#[test]
fn what_a_smaller_request_mends_needs_nobody() {
    for (error, _) in each() {
        if matches!(place(&error), 8..=10) {
            assert_eq!(error.disposition(), Disposition::Skip, "{error}");
            assert!(error.remedy().is_none() && !error.is_unavailable(), "{error}");
        }
    }
}
