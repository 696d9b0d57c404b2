//! Rows as binary COPY gives and takes them.

use std::ops::Range;

use anyhow::{Context as _, ensure};
use futures_util::TryStreamExt;
use sqlx::PgConnection;

/// Signature, flags, and the length of an extension that there is not.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

const TRAILER: &[u8] = b"\xff\xff";

/// Rows of one query.
#[derive(Debug)]
pub(crate) struct Rows {
    bytes: Vec<u8>,
    rows: Vec<Range<usize>>,
}

impl Rows {
    pub(crate) async fn of(connection: &mut PgConnection, query: &str) -> anyhow::Result<Self> {
        let mut bytes = Vec::new();
        let statement = out_statement(query);
        let mut stream = connection.copy_out_raw(&statement).await?;
        while let Some(chunk) = stream.try_next().await? {
            bytes.extend_from_slice(&chunk);
        }
        drop(stream);
        ensure!(bytes.starts_with(HEADER), "another format of COPY");
        let mut rows = Vec::new();
        let mut at = HEADER.len();
        loop {
            let start = at;
            let fields = i16::from_be_bytes(take(&bytes, &mut at)?);
            if fields < 0 {
                break;
            }
            for _ in 0..fields {
                let length = i32::from_be_bytes(take(&bytes, &mut at)?);
                at += usize::try_from(length).unwrap_or(0);
            }
            rows.push(start..at);
        }
        Ok(Self { bytes, rows })
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The first two fields of each row, both eight bytes long.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = anyhow::Result<(i64, u64)>> {
        self.rows.iter().map(|row| {
            let mut at = row.start + 2 + 4;
            let first = i64::from_be_bytes(take(&self.bytes, &mut at)?);
            at += 4;
            Ok((first, u64::from_be_bytes(take(&self.bytes, &mut at)?)))
        })
    }

    /// Sends some of the rows.
    pub(crate) async fn send(
        &self,
        rows: Range<usize>,
        connection: &mut PgConnection,
        statement: &str,
    ) -> anyhow::Result<()> {
        let rows = &self.rows[rows];
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
            return Ok(());
        };
        let mut bytes = Vec::with_capacity(HEADER.len() + last.end - first.start + TRAILER.len());
        bytes.extend_from_slice(HEADER);
        bytes.extend_from_slice(&self.bytes[first.start..last.end]);
        bytes.extend_from_slice(TRAILER);
        let mut copy = connection.copy_in_raw(statement).await?;
        copy.send(bytes).await?;
        copy.finish().await?;
        Ok(())
    }
}

/// Reads what a query gives, and forgets it; how many bytes it was.
pub(crate) async fn drain(connection: &mut PgConnection, query: &str) -> anyhow::Result<usize> {
    let statement = out_statement(query);
    let mut stream = connection.copy_out_raw(&statement).await?;
    let mut bytes = 0;
    while let Some(chunk) = stream.try_next().await? {
        bytes += chunk.len();
    }
    Ok(bytes)
}

fn out_statement(query: &str) -> String {
    format!("copy ({query}) to stdout (format binary)")
}

fn take<const N: usize>(bytes: &[u8], at: &mut usize) -> anyhow::Result<[u8; N]> {
    let taken = bytes.get(*at..*at + N).context("COPY ended early")?;
    *at += N;
    Ok(taken.try_into()?)
}
