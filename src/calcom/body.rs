//! The body of an answer, within bounds: of bytes, of time, and of how many large ones there are at once.

use std::{sync::Arc, time::Duration};

use reqwest::{Response, StatusCode};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, timeout_at},
};

use super::error::{Error, Obstacle};

/// Cal.com's envelope of an error is a hundredth of this. What is longer is a page, of which nothing is needed.
const MAX_FAILURE_BYTES: usize = 64 * 1024;

/// A user's record has a kilobyte or two. So much of each body can be in memory at the same time.
const SMALL_BYTES: usize = 256 * 1024;

/// Bodies that may outgrow the small size at the same time, of all clients. The others wait.
const LARGE_AT_ONCE: usize = 2;

/// Reads bodies. Clones share the bound on large ones.
#[derive(Clone, Debug)]
pub(super) struct Bodies {
    /// Of an answer that holds data, decompressed.
    max_bytes: usize,
    timeout: Duration,
    large: Arc<Semaphore>,
}

/// A body that came whole, or as far as it was needed.
#[derive(Debug)]
pub(super) struct Body<'a> {
    pub(super) bytes: Vec<u8>,
    /// Held as long as the bytes are.
    _leave: Option<SemaphorePermit<'a>>,
}

impl Bodies {
    /// `timeout` is that of a whole request.
    pub(super) fn new(max_bytes: usize, timeout: Duration) -> Self {
        Self {
            max_bytes,
            timeout,
            large: Arc::new(Semaphore::new(LARGE_AT_ONCE)),
        }
    }

    /// Reads the body of a request that was sent at `begun`.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::CutOff`], or a time-out: where the body decides what the answer proves.
    pub(super) async fn read(&self, response: &mut Response, begun: Instant) -> Result<Body<'_>, Error> {
        let status = response.status();
        // Only of these does the body decide what the answer proves; of the others, it is told as far as it came.
        let needed = matches!(status, StatusCode::OK | StatusCode::NOT_FOUND);
        let limit = if status == StatusCode::OK {
            self.max_bytes
        } else {
            self.max_bytes.min(MAX_FAILURE_BYTES)
        };
        let mut bytes = Vec::new();
        let mut leave = None;
        loop {
            let chunk = match response.chunk().await {
                Ok(Some(chunk)) if bytes.len() + chunk.len() <= limit => chunk,
                Ok(Some(_)) if status == StatusCode::OK => return Err(Error::TooLarge { limit }),
                Err(error) if needed => return Err(Error::cut_off(error)),
                Ok(_) | Err(_) => break,
            };
            let length = bytes.len() + chunk.len();
            if length > SMALL_BYTES && leave.is_none() {
                // Nobody polls the response meanwhile, and so nobody else keeps its time.
                match timeout_at(begun + self.timeout, self.large.acquire()).await {
                    Ok(Ok(permit)) => leave = Some(permit),
                    Ok(Err(_)) | Err(_) => return Err(Error::Unreachable(Obstacle::TimeOut, None)),
                }
            }
            if length > SMALL_BYTES {
                // All at once: the pages of what never comes are never touched, and nothing is held twice while it is moved.
                bytes.reserve_exact(limit - bytes.len());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(Body { bytes, _leave: leave })
    }
}

#[cfg(test)]
mod tests;
