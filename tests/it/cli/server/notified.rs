//! What metrics say of the webhook.

use nix::sys::signal::Signal;

use super::{Daemon, HARDLY_EVER, Samples, Setup};
use crate::support::receiver::{Reaction, Receiver, secret};

/// A daemon of a client that Cal.com refuses, which the webhook is to be told.
async fn refused(receiver: &Receiver) -> Daemon {
    let mut setup = Setup::new(1, 3).await;
    for (name, value) in [
        ("URL", receiver.url()),
        ("KEY", secret()),
        ("SECRET_ACME", "not-it".to_owned()),
    ] {
        setup.workplace.set(name, &value);
    }
    let sections = format!(
        "{HARDLY_EVER}\n[notify]\nwebhook_url = {{ env = \"URL\" }}\nwebhook_secret = {{ env = \"KEY\" }}"
    );
    Daemon::start(setup, &sections).await
}

/// Failed, delivered, gone.
fn are(numbers: [f64; 3]) -> impl Fn(&Samples) -> bool {
    move |samples| {
        let counted = ["failed", "delivered", "gone"]
            .map(|result| samples.value(&format!("calmirror_notifications_total{{result=\"{result}\"}}")));
        counted == numbers.map(Some)
    }
}

#[tokio::test]
async fn notifications_are_counted_by_what_became_of_them() {
    let receiver = Receiver::start().await;
    receiver.script([Reaction::Status(503)]);
    let daemon = refused(&receiver).await;
    daemon.until("a failure", are([1.0, 0.0, 0.0])).await;
    daemon.until("a delivery", are([1.0, 1.0, 0.0])).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_reload_ends_what_a_gone_webhook_is_alarmed_for() {
    let receiver = Receiver::start().await;
    receiver.script([Reaction::Status(410)]);
    let mut daemon = refused(&receiver).await;
    let gone = |samples: &Samples| samples.value("calmirror_webhook_gone");
    let samples = daemon.until("a refusal", are([0.0, 0.0, 1.0])).await;
    assert_eq!(gone(&samples), Some(1.0), "{}", samples.0);
    daemon.program.logged("before a reload or a restart").await;
    daemon.program.signal(Signal::SIGHUP);
    daemon
        .until("another notifier", |samples| gone(samples) == Some(0.0))
        .await;
    daemon.stop().await;
}
