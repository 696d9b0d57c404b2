//! Bodies that no honest server sends.

use std::{convert::Infallible, io, io::Write, time::Duration};

use axum::body::{Body, Bytes};
use flate2::{Compress, Compression, Crc, FlushCompress, write::GzEncoder};
use futures_util::{StreamExt, stream};
use tokio_util::sync::CancellationToken;

const MIB: usize = 1 << 20;

/// These bytes, then an error: the server closes the connection where more was declared.
pub(super) fn cut_short(sent: Bytes) -> Body {
    let cut = stream::once(async {
        // The server sends what it has when it finds nothing more; an error at once would swallow it.
        tokio::task::yield_now().await;
        Err(io::Error::from(io::ErrorKind::ConnectionAborted))
    });
    Body::from_stream(stream::iter([Ok(sent)]).chain(cut))
}

/// Spaces until the token is cancelled or the client leaves.
pub(super) fn endless(until: CancellationToken) -> Body {
    const CHUNK: &[u8] = &[b' '; 16 * 1024];
    let chunks = stream::repeat_with(|| Ok::<_, Infallible>(Bytes::from_static(CHUNK)));
    Body::from_stream(chunks.take_until(until.cancelled_owned()))
}

/// One byte, a pause, the next byte.
pub(super) fn drip(body: Bytes, pause: Duration, until: CancellationToken) -> Body {
    let bytes = stream::iter(0..body.len()).then(move |index| {
        let byte = body.slice(index..=index);
        async move {
            tokio::time::sleep(pause).await;
            Ok::<_, Infallible>(byte)
        }
    });
    Body::from_stream(bytes.take_until(until.cancelled_owned()))
}

/// A gzip stream of so many MiB of spaces: one compressed MiB, sent again and again, each time self-contained.
pub(super) fn gzip_bomb(inflated_bytes: u64) -> Body {
    let times = inflated_bytes.div_ceil(MIB as u64);
    let spaces = vec![b' '; MIB];
    let block = Bytes::from(deflated(&spaces));
    let mut once = Crc::new();
    once.update(&spaces);
    let mut whole = Crc::new();
    for _ in 0..times {
        whole.combine(&once);
    }
    // The header and the empty last block of a gzip stream without content; its trailer is replaced.
    let empty = GzEncoder::new(Vec::new(), Compression::default())
        .finish()
        .expect("writing to memory does not fail");
    const HEADER_BYTES: usize = 10;
    const TRAILER_BYTES: usize = 8;
    let (header, rest) = empty.split_at(HEADER_BYTES);
    let mut end = rest[..rest.len() - TRAILER_BYTES].to_vec();
    for number in [whole.sum(), whole.amount()] {
        end.write_all(&number.to_le_bytes())
            .expect("writing to memory does not fail");
    }
    let blocks = stream::iter(0..times).map(move |_| block.clone());
    let parts = stream::iter([Bytes::copy_from_slice(header)])
        .chain(blocks)
        .chain(stream::iter([Bytes::from(end)]));
    Body::from_stream(parts.map(Ok::<_, Infallible>))
}

/// Deflated so that nothing before or after is referred to.
fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    Compress::new(Compression::best(), false)
        .compress_vec(bytes, &mut out, FlushCompress::Full)
        .expect("deflating does not fail");
    out
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[tokio::test]
    async fn a_bomb_is_a_valid_gzip_stream() {
        let body = axum::body::to_bytes(gzip_bomb(3 * MIB as u64 - 1), usize::MAX)
            .await
            .expect("the body ends");
        assert!(body.len() < 32 * 1024, "{} bytes on the wire", body.len());
        let mut inflated = Vec::new();
        flate2::read::GzDecoder::new(&*body)
            .read_to_end(&mut inflated)
            .expect("length and checksum agree");
        assert!(inflated.len() == 3 * MIB && inflated.iter().all(|byte| *byte == b' '));
    }
}
