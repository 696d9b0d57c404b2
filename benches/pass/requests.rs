//! Requests alone: the same client, the same addresses, bodies read and forgotten.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use anyhow::ensure;
use reqwest::{Response, StatusCode, header::HeaderMap, redirect};
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
pub(crate) async fn in_parallel<F, Fut>(
    concurrency: usize,
    urls: Arc<Vec<String>>,
    one: F,
) -> anyhow::Result<()>
where
    F: Fn(String) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = anyhow::Result<()>> + Send,
{
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

/// What a plan asks for, and who asks: with connections that are kept from one time to the next.
#[derive(Clone, Debug)]
pub(crate) struct Asking {
    client: reqwest::Client,
    headers: HeaderMap,
    urls: Arc<Vec<String>>,
    pub(crate) plan: Plan,
}

impl Asking {
    pub(crate) fn new(source: &Source, plan: Plan) -> anyhow::Result<Self> {
        Ok(Self {
            client: client()?,
            headers: source.people.headers()?,
            urls: Arc::new(source.urls(plan)),
            plan,
        })
    }

    /// Does something with each answer.
    pub(crate) async fn each<F, Fut>(&self, one: F) -> anyhow::Result<()>
    where
        F: Fn(Response) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = anyhow::Result<()>> + Send,
    {
        let (client, headers) = (self.client.clone(), self.headers.clone());
        in_parallel(self.plan.concurrency(), self.urls.clone(), move |url| {
            let request = client.get(url).headers(headers.clone());
            let one = one.clone();
            async move {
                let response = request.send().await?;
                ensure!(response.status() == StatusCode::OK, "{}", response.status());
                one(response).await
            }
        })
        .await
    }
}

/// Asks for everybody as the plan does, and forgets what is answered. Seconds.
pub(crate) async fn floor(asking: &Asking) -> anyhow::Result<f64> {
    let start = Instant::now();
    asking
        .each(|mut response| async move {
            while response.chunk().await?.is_some() {}
            Ok(())
        })
        .await?;
    Ok(start.elapsed().as_secs_f64())
}
