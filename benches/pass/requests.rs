//! Requests alone: the same client, the same addresses, bodies read and forgotten.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use anyhow::ensure;
use reqwest::{StatusCode, redirect};
use rustls::crypto::CryptoProvider;
use tokio::task::JoinSet;

use crate::{arguments::Plan, source::Source};

/// A client as the program has it.
pub(crate) fn client() -> anyhow::Result<reqwest::Client> {
    if CryptoProvider::get_default().is_none() {
        // Another thread may have been faster, which is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
    }
    #[expect(clippy::disallowed_methods, reason = "the floor has a client of its own")]
    let builder = reqwest::Client::builder();
    Ok(builder
        .redirect(redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .retry(reqwest::retry::never())
        .tls_certs_only([])
        .build()?)
}

/// Does something for each address, a number of them at a time, on all cores.
pub(crate) async fn in_parallel<F, Fut>(concurrency: usize, urls: Vec<String>, one: F) -> anyhow::Result<()>
where
    F: Fn(String) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = anyhow::Result<()>> + Send,
{
    let urls = Arc::new(urls);
    let next = Arc::new(AtomicUsize::new(0));
    let mut workers = JoinSet::new();
    for _ in 0..concurrency {
        let (urls, next, one) = (urls.clone(), next.clone(), one.clone());
        workers.spawn(async move {
            while let Some(url) = urls.get(next.fetch_add(1, Ordering::Relaxed)) {
                one(url.clone()).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = workers.join_next().await {
        ended??;
    }
    Ok(())
}

/// Asks for everybody as the plan does, and forgets what is answered. Seconds.
pub(crate) async fn floor(source: &Source, plan: Plan) -> anyhow::Result<f64> {
    let client = client()?;
    let headers = source.people.headers()?;
    let urls = source.urls(plan);
    let start = Instant::now();
    in_parallel(plan.concurrency(), urls, move |url| {
        let request = client.get(url).headers(headers.clone());
        async move {
            let mut response = request.send().await?;
            ensure!(response.status() == StatusCode::OK, "{}", response.status());
            while response.chunk().await?.is_some() {}
            Ok(())
        }
    })
    .await?;
    Ok(start.elapsed().as_secs_f64())
}
