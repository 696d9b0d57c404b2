//! What a batch says of users that are missing or cannot be mirrored, and of fields that are new.

use super::{Error, Run, fields, held, tx::Tx};
use crate::{
    compare::{Bookkeeping, VersionFingerprint},
    model::UserId,
};

/// Writes candidates for removal, rejects and new fields, and deletes those that are over. Fingerprints only of users that are
/// not among those whose are written, which are in ascending order.
pub(super) async fn write(
    tx: &mut Tx,
    run: &Run,
    bookkeeping: &Bookkeeping,
    written: &[UserId],
) -> Result<(), Error> {
    let Bookkeeping {
        confirm_missing,
        record_missing,
        sighted,
        record_rejects,
        clear_rejects,
        new_fields,
        fingerprints,
    } = bookkeeping;
    let missing = ids(confirm_missing.iter().chain(record_missing));
    if !missing.is_empty() {
        sqlx::query!(
            r#"
            insert into missing_users as m (
                client_id, user_id, confirmations, first_missing_at, last_missing_at, last_run_id
            )
            select $1, id, 0, now(), now(), $2 from unnest($3::bigint[]) as gone (id) order by id
            on conflict (client_id, user_id) do update set
                last_missing_at = excluded.last_missing_at,
                last_run_id = excluded.last_run_id
            where m.last_run_id <> excluded.last_run_id
            "#,
            run.client_id.as_str(),
            run.id,
            &missing,
        )
        .execute(&mut *tx)
        .await?;
    }
    delete_rows(tx, run, sighted, clear_rejects).await?;
    for reject in record_rejects {
        let fields: Vec<String> = reject
            .faults
            .iter()
            .map(|fault| fault.field.clone())
            .filter(|field| !field.is_empty())
            .collect();
        sqlx::query!(
            r#"
            insert into rejects (client_id, user_id, run_id, first_seen_at, changed_at, reason, fields, record)
            values ($1, $2, $3, now(), now(), $4, $5, $6)
            on conflict (client_id, user_id) do update set
                run_id = excluded.run_id,
                changed_at = excluded.changed_at,
                reason = excluded.reason,
                fields = excluded.fields,
                record = excluded.record
            "#,
            run.client_id.as_str(),
            reject.id.0,
            run.id,
            reject.reason(),
            &fields,
            reject.record,
        )
        .execute(&mut *tx)
        .await?;
    }
    let due: Vec<_> = fingerprints
        .iter()
        .filter(|print| written.binary_search(&print.user_id).is_err())
        .collect();
    write_fingerprints(tx, run, &due).await?;
    fields::write(tx, run, new_fields).await
}

async fn write_fingerprints(
    tx: &mut Tx,
    run: &Run,
    fingerprints: &[&VersionFingerprint],
) -> Result<(), Error> {
    if fingerprints.is_empty() {
        return Ok(());
    }
    let users: Vec<i64> = fingerprints.iter().map(|print| print.user_id.0).collect();
    let versions: Vec<i32> = fingerprints.iter().map(|print| print.version).collect();
    let bytes: Vec<Vec<u8>> = fingerprints
        .iter()
        .map(|print| print.fingerprint.as_bytes().to_vec())
        .collect();
    sqlx::query!(
        r#"
        insert into record_fingerprints as f (user_id, client_id, version, fingerprint)
        select id, $1, version, fingerprint
        from unnest($2::bigint[], $3::integer[], $4::bytea[]) as seen (id, version, fingerprint)
        order by id
        on conflict (user_id) do update set
            client_id = excluded.client_id,
            version = excluded.version,
            fingerprint = excluded.fingerprint
        where (f.client_id, f.version, f.fingerprint)
            <> (excluded.client_id, excluded.version, excluded.fingerprint)
        "#,
        run.client_id.as_str(),
        &users,
        &versions,
        &bytes,
    )
    .execute(&mut *tx)
    .await?;
    Ok(())
}

async fn delete_rows(tx: &mut Tx, run: &Run, sighted: &[UserId], readable: &[UserId]) -> Result<(), Error> {
    if !sighted.is_empty() {
        sqlx::query!(
            "delete from missing_users where client_id = $1 and user_id = any($2)",
            run.client_id.as_str(),
            &ids(sighted),
        )
        .execute(&mut *tx)
        .await?;
        held::expire_with(tx, &run.client_id, &ids(sighted)).await?;
    }
    if !readable.is_empty() {
        sqlx::query!(
            "delete from rejects where client_id = $1 and user_id = any($2)",
            run.client_id.as_str(),
            &ids(readable),
        )
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}

fn ids<'a>(users: impl IntoIterator<Item = &'a UserId>) -> Vec<i64> {
    users.into_iter().map(|id| id.0).collect()
}
