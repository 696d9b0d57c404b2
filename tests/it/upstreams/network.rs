//! No answer at all: what can go wrong on the way to one.

use nix::sys::signal::Signal;

use super::{
    Expected, Upstream,
    case::{away, fault, partial},
    check_memory,
    front::{Front, Identity, Raw, Secure},
    named,
};
use crate::support::{gate::Gate, program::Program};

/// The whole host is hit, and so both clients: `sync` says so of each, and the daemon lives.
async fn is_down(upstream: &mut Upstream, baseline: u64, expected: Expected) -> Program {
    let before = upstream.state().await;
    let seen = upstream.sync_freely().await;
    for client in [&upstream.acme, &upstream.globex] {
        seen.ended.check(client, expected);
    }
    assert_eq!(upstream.state().await, before, "all is as it was");

    let mut program = upstream.daemon();
    for client in [&upstream.acme, &upstream.globex] {
        let failed = [&named(client), "\"run.outcome\":\"failed\""];
        program.logged_with(&failed, 2).await;
    }
    check_memory(program.peak_memory(), baseline);
    assert_eq!(upstream.state().await, before, "all is as it was");
    program
}

#[tokio::test]
async fn a_refused_connection_is_away_and_the_daemon_recovers() {
    let mut upstream = Upstream::new().await;
    let baseline = upstream.fill().await;
    let mut gate = Gate::before(upstream.simulator.address());
    upstream.settings.base_url = format!("http://{}", gate.address());
    upstream.configure();
    let before = upstream.state().await;
    let away = away(&["cannot be reached: the connection fails"]);
    let program = is_down(&mut upstream, baseline, away).await;
    gate.open();
    upstream.recovers(program, &before).await;
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_away_and_the_daemon_lives() {
    let mut upstream = Upstream::new().await;
    let baseline = upstream.fill().await;
    let known = upstream.settings.base_url.clone();
    upstream.settings.base_url = "https://calmirror.invalid".to_owned();
    upstream.configure();
    let before = upstream.state().await;
    let away = away(&["the host's name cannot be resolved", "`calcom.base_url`", "DNS"]);
    let program = is_down(&mut upstream, baseline, away).await;
    program.signal(Signal::SIGTERM);
    program.end().await.expect(0);
    upstream.settings.base_url = known;
    upstream.configure();
    upstream.check_over(&before).await;
}

/// A certificate that proves nothing is no matter of waiting: somebody has to look, and the secret is not sent.
async fn is_mistrusted(wrong: Identity, says: &'static [&'static str]) {
    let mut upstream = Upstream::new().await;
    let right = Identity::of("127.0.0.1");
    // Whether the wrong one is trusted is a part of what is wrong with it.
    let trusted = if says.iter().any(|says| says.contains("issuer")) {
        right.pem.clone()
    } else {
        format!("{}{}", right.pem, wrong.pem)
    };
    let trusted = upstream.workplace.write("trusted.pem", &trusted);
    upstream
        .workplace
        .set("SSL_CERT_FILE", trusted.to_str().expect("the path is text"));
    let secure = Secure::before(upstream.simulator.address(), &right).await;
    upstream.settings.base_url = secure.base_url();
    upstream.configure();
    let baseline = upstream.fill().await;
    let asked = upstream.simulator.requests().total;
    secure.turn_into(&wrong);
    let before = upstream.state().await;
    let program = is_down(&mut upstream, baseline, fault(says)).await;
    assert_eq!(upstream.simulator.requests().total, asked, "nobody was asked");
    secure.turn_into(&right);
    upstream.recovers(program, &before).await;
}

#[tokio::test]
async fn a_certificate_for_another_host_is_a_fault() {
    let says = &["certificate is for another host", "`calcom.base_url`"];
    is_mistrusted(Identity::of("elsewhere.example"), says).await;
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_a_fault() {
    let says = &["from an issuer that is not trusted here", "ca-certificates"];
    is_mistrusted(Identity::of("127.0.0.1"), says).await;
}

#[tokio::test]
async fn a_certificate_that_has_run_out_is_a_fault() {
    let says = &["certificate has run out", "clock"];
    is_mistrusted(Identity::of_old("127.0.0.1"), says).await;
}

#[tokio::test]
async fn a_connection_that_is_reset_is_tried_again_and_then_away() {
    let mut upstream = Upstream::new().await;
    let front = Front::before(upstream.simulator.address()).await;
    upstream.settings.base_url = front.base_url();
    upstream.configure();
    let baseline = upstream.fill().await;
    let says = &["cannot be reached: the connection fails"];
    let one = format!("/users/{} ", upstream.acme.users[4]);
    for (met, expected) in [(&upstream.acme.id, away(says)), (&one, partial(says))] {
        let before = upstream.state().await;
        front.set(met, Raw::Reset);
        let seen = upstream.sync().await;
        front.clear();
        upstream.check(&seen, expected, &before).await;
        check_memory(seen.peak.expect("the pass was held up"), baseline);
    }
    let before = upstream.state().await;
    upstream.check_over(&before).await;
}
