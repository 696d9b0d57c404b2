//! What is around every page.

use maud::{DOCTYPE, Markup, html};

use super::assets;

/// A page with this title. `alert` is what its title begins with where somebody has to do something.
pub(super) fn page(title: &str, main: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                title { (title) " · calmirror" }
                link rel="icon" type="image/svg+xml" href=(assets::icon());
                link rel="stylesheet" href=(assets::style());
                script src=(assets::script()) defer {}
            }
            body {
                a.skip href="#main" { "Skip to the content" }
                header.top {
                    div.inner {
                        a.home href="/" { (logo()) span { "calmirror" } }
                        form.find action="/users" method="get" role="search" {
                            label for="find" { "User" }
                            input #find name="id" type="text" inputmode="numeric" pattern="-?[0-9]+" required
                                autocomplete="off" placeholder="id" size="10";
                            button type="submit" { "History" }
                        }
                        p.live #live data-state="off" { span.dot aria-hidden="true" {} span.text { "Reload for news" } }
                    }
                }
                main #main tabindex="-1" { (main) }
                footer.foot {
                    div.inner {
                        p { "calmirror " (env!("CARGO_PKG_VERSION")) }
                        nav aria-label="For machines" {
                            ul {
                                li { a href="/api/v1/overview" { "JSON" } }
                                li { a href="/metrics" { "Metrics" } }
                                li { a href="/readyz" { "Readiness" } }
                            }
                        }
                    }
                }
                p.hidden #said role="status" aria-live="polite" {}
            }
        }
    }
}

/// A page that says one thing.
pub(super) fn message(heading: &str, text: &str) -> Markup {
    let main = html! {
        div.inner {
            h1 { (heading) }
            p.lead { (text) }
            p { a href="/" { "Back to the status" } }
        }
    };
    page(heading, &main)
}

fn logo() -> Markup {
    html! {
        svg.logo viewBox="0 0 24 24" aria-hidden="true" {
            rect.back x="3" y="3" width="11" height="18" rx="3" {}
            rect.front x="10" y="3" width="11" height="18" rx="3" {}
        }
    }
}
