//! A page of an organisation's users, who may be of any client: their ids and addresses, and nothing else.

use reqwest::StatusCode;
use secrecy::SecretString;

use super::{Answer, data, failure, record::Record, records::Records};
use crate::{
    calcom::{Error, OrganizationPage, address},
    model::{ClientId, Target, UserId},
};

/// Decides what the answer to the request for a page of the organisation's users contains.
///
/// # Errors
/// Whatever proves nothing.
pub(in crate::calcom) fn decode_organization_page(
    answer: &Answer<'_>,
    client: &ClientId,
    secret: &SecretString,
) -> Result<OrganizationPage, Error> {
    if answer.status != StatusCode::OK {
        return Err(failure::error(answer, secret));
    }
    let records: Records<'_> = data(answer.body)?;
    let found = records.raws.iter().filter_map(|raw| {
        let record = Record::read(raw)?;
        let email = record
            .email()
            .filter(|email| address::has_suffix(email, client))?;
        Some(Target {
            id: UserId(record.id()?),
            email: Some(email),
            fingerprint: None,
        })
    });
    Ok(OrganizationPage {
        found: found.collect(),
        records: records.count,
        first: records
            .raws
            .iter()
            .find_map(|raw| Record::read(raw)?.id())
            .map(UserId),
    })
}
