//! Answers that prove nothing, and the one that proves that a user is gone.

use super::*;
use crate::calcom::Disposition;

#[test]
fn every_row_of_the_error_table_has_its_disposition() {
    use Disposition::{Retry, Skip, StopClient};
    let unauthorized = "UnauthorizedException";
    let strategy = "ApiAuthStrategy - oAuth client - Invalid client secret";
    for (result, disposition, shows) in [
        (
            failure(401, unauthorized, strategy),
            StopClient,
            "the secret is wrong",
        ),
        (
            failure(
                401,
                unauthorized,
                "ApiAuthStrategy - oAuth client - Client with ID abc not found",
            ),
            StopClient,
            "no client of this id",
        ),
        (
            failure(
                401,
                unauthorized,
                "ApiAuthStrategy - Only 'x-cal-client-id' header provided. Please also provide 'x-cal-secret-key'",
            ),
            StopClient,
            "did not arrive",
        ),
        (failure(401, unauthorized, "?"), StopClient, "not authorized"),
        (
            failure(403, "ForbiddenException", "no"),
            StopClient,
            "may not read",
        ),
        (
            failure(404, "NotFoundException", "Cannot GET /v2/x"),
            StopClient,
            "does not know the address",
        ),
        (
            failure(
                404,
                "NOT_FOUND",
                "Invalid Query: The requested record was not found.",
            ),
            Skip,
            "lacks a record",
        ),
        (
            failure(
                404,
                "NotFoundException",
                "User with ID 8 is not part of this OAuth client.",
            ),
            Skip,
            "unforeseen status 404",
        ),
        (failure(410, "GoneException", "bye"), StopClient, "withdrawn"),
        (
            failure(
                400,
                "BadRequestException",
                "Validation failed (numeric string is expected)",
            ),
            StopClient,
            "numeric string",
        ),
        (
            failure(400, "BadRequestException", "Invalid email alice@example.com"),
            StopClient,
            "Invalid email <address>",
        ),
        (
            decode(500, r#"{"statusCode":500,"message":"Internal server error"}"#),
            Retry,
            "in trouble (500",
        ),
        (
            decode(500, "A server error has occurred"),
            Retry,
            "in trouble (500",
        ),
        (decode(502, "<html>bad gateway</html>"), Retry, "in trouble (502"),
        (decode(503, ""), Retry, "in trouble (503"),
        (decode(408, ""), Retry, "in trouble (408"),
        (decode(404, "<html>not found</html>"), StopClient, "not cal.com's"),
        (decode(404, ""), StopClient, "not cal.com's"),
        (
            decode(
                404,
                r#"{"statusCode":404,"message":"User with ID 7 is not part of this OAuth client."}"#,
            ),
            StopClient,
            "not cal.com's",
        ),
        (decode(301, ""), StopClient, "redirect (301"),
        (decode(304, ""), StopClient, "redirect (304"),
        (decode(418, ""), Skip, "unforeseen status 418"),
        (decode(204, ""), Skip, "unforeseen status 204"),
        (decode(201, record(&[])), Skip, "unforeseen status 201"),
    ] {
        let error = error(result);
        assert_eq!(error.disposition(), disposition, "{error}");
        assert!(
            error.to_string().contains(shows),
            "{error} does not say {shows:?}"
        );
        if disposition == StopClient {
            assert!(error.remedy().is_some(), "{error} has no remedy");
        }
    }
}

#[test]
fn a_429_names_the_end_of_the_block() {
    let until = Instant::now();
    let answer = Answer {
        status: StatusCode::TOO_MANY_REQUESTS,
        location: None,
        blocked_until: Some(until),
        rest: None,
        body: b"ThrottlerException",
    };
    let error = error(decode_answer(&answer, ASKED, &SecretString::default()));
    assert_eq!(error.disposition(), Disposition::WaitUntil(until));
    assert!(error.is_unavailable());
}

#[test]
fn only_the_one_sentence_means_gone() {
    let sentence = "User with ID 7 is not part of this OAuth client.";
    assert_eq!(
        failure(404, "NotFoundException", sentence).expect("this is the sentence"),
        Observation::Gone(ASKED)
    );
    for (status, code, message) in [
        (
            404,
            "NotFoundException",
            "User with ID 70 is not part of this OAuth client.",
        ),
        (
            404,
            "NotFoundException",
            "User with ID 7 is not part of this OAuth client",
        ),
        (
            404,
            "NotFoundException",
            "user with id 7 is not part of this oauth client.",
        ),
        (
            404,
            "NotFoundException",
            "User with ID 7 is not part of this OAuth client. Try later.",
        ),
        (404, "NOT_FOUND", sentence),
        (404, "", sentence),
        (400, "NotFoundException", sentence),
        (403, "NotFoundException", sentence),
        (410, "NotFoundException", sentence),
        (500, "NotFoundException", sentence),
        (200, "NotFoundException", sentence),
    ] {
        assert!(
            failure(status, code, message).is_err(),
            "{status} {code} {message}"
        );
    }
    let not_an_error = r#"{"status":"success","error":{"code":"NotFoundException","message":"User with ID 7 is not part of this OAuth client."}}"#;
    assert!(decode(404, not_an_error).is_err());
}

#[test]
fn a_redirect_is_told_by_its_host_alone() {
    for (location, shown) in [
        (
            Some("https://login.example.com:8443/x?secret=1#y"),
            "https://login.example.com:8443",
        ),
        (Some("http://user:pass@evil.example/"), "http://evil.example"),
        (Some("//evil.example/x"), "https://evil.example"),
        (Some("/login?next=1"), "another address of the same host"),
        (Some("javascript:alert(1)"), "an address that is not of the web"),
        (Some("http://"), "an address that cannot be read"),
        (None, "an address that cannot be read"),
    ] {
        assert_eq!(failure::destination(location), shown);
    }
}

#[test]
fn a_secret_that_the_server_repeats_is_masked() {
    let error = error(failure(401, "UnauthorizedException", "the key s3cr3t is no good"));
    assert!(!format!("{error} {error:?}").contains("s3cr3t"), "{error:?}");
}
