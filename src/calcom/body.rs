//! The body of an answer, within bounds: of bytes, of time, and of how many large ones there are at once.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use reqwest::{Response, StatusCode};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, timeout_at},
};

use super::error::{Error, Obstacle};

/// Cal.com's envelope of an error is a hundredth of this. What is longer is a page, of which nothing is needed.
const MAX_FAILURE_BYTES: usize = 64 * 1024;

/// A user's record has a kilobyte or less, and an answer 250 of them. So much of each body can be in memory at the same time.
const SMALL_BYTES: usize = 256 * 1024;

/// Bodies of any length that may outgrow the small size at the same time, of all clients. In their place there may be more bodies whose
/// lengths are known, and together are no more. The others wait.
const LARGE_AT_ONCE: usize = 2;

/// What leave to outgrow the small size is counted in.
const SHARE_BYTES: usize = 64 * 1024;

/// Reads bodies. Clones share the bound on large ones.
#[derive(Clone, Debug)]
pub(super) struct Bodies {
    /// Of an answer that holds data, decompressed.
    max_bytes: usize,
    timeout: Duration,
    large: Arc<Semaphore>,
    /// Memory of large bodies of unknown length that are over, as many as there may be at once. What one thread gives back to
    /// the system's allocator may be of no use to another for long.
    spare: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// A body that came whole, or as far as it was needed.
#[derive(Debug)]
pub(super) struct Body<'a> {
    pub(super) bytes: Vec<u8>,
    bodies: &'a Bodies,
    /// Held as long as the bytes are.
    leave: Option<SemaphorePermit<'a>>,
}

impl Drop for Body<'_> {
    fn drop(&mut self) {
        if self.leave.is_some() && self.bytes.capacity() == self.bodies.max_bytes {
            let mut bytes = mem::take(&mut self.bytes);
            bytes.clear();
            self.bodies.spare().push(bytes);
        }
    }
}

impl Bodies {
    /// `timeout` is that of a whole request.
    pub(super) fn new(max_bytes: usize, timeout: Duration) -> Self {
        Self {
            max_bytes,
            timeout,
            large: Arc::new(Semaphore::new(LARGE_AT_ONCE * shares(max_bytes) as usize)),
            spare: Arc::default(),
        }
    }

    fn spare(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
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
        // Not of compressed answers, whose length says nothing of what is in them.
        let length = response.content_length();
        let length = length.map(|length| usize::try_from(length).unwrap_or(usize::MAX));
        if status == StatusCode::OK && length.is_some_and(|length| length > limit) {
            return Err(Error::TooLarge { limit });
        }
        let whole = length.unwrap_or(limit).min(limit);
        let mut body = Body {
            bytes: Vec::new(),
            bodies: self,
            leave: None,
        };
        let Body { bytes, leave, .. } = &mut body;
        loop {
            let chunk = match response.chunk().await {
                Ok(Some(chunk)) if bytes.len() + chunk.len() <= limit => chunk,
                Ok(Some(_)) if status == StatusCode::OK => return Err(Error::TooLarge { limit }),
                Err(error) if needed => return Err(Error::cut_off(error)),
                Ok(_) | Err(_) => break,
            };
            let total = bytes.len() + chunk.len();
            if total > SMALL_BYTES && leave.is_none() {
                // Nobody polls the response meanwhile, and so nobody else keeps its time.
                let acquiring = self.large.acquire_many(shares(whole));
                match timeout_at(begun + self.timeout, acquiring).await {
                    Ok(Ok(permit)) => *leave = Some(permit),
                    Ok(Err(_)) | Err(_) => return Err(Error::Unreachable(Obstacle::TimeOut, None)),
                }
                if whole == self.max_bytes
                    && let Some(mut spare) = self.spare().pop()
                {
                    spare.extend_from_slice(bytes);
                    *bytes = spare;
                }
            }
            if total > bytes.capacity() {
                // All at once: the pages of what never comes are never touched, and nothing is held twice while it is moved.
                let capacity = if total > SMALL_BYTES {
                    whole
                } else if bytes.is_empty() && length.is_none() {
                    // What comes in one piece is all there is, more often than not.
                    total
                } else {
                    whole.min(SMALL_BYTES)
                };
                bytes.reserve_exact(capacity.max(total) - bytes.len());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

/// What a body of so many bytes takes of the leave that all large ones share.
fn shares(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(SHARE_BYTES)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
