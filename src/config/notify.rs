//! `[notify]`.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use url::Url;

use super::{
    Notify, Secrets, Webhook,
    calcom::is_near,
    reading::Reading,
    secret,
    section::Section,
    tree::{Origin, Table},
};

pub(super) const KEYS: [&str; 3] = ["webhook_url", "webhook_secret", "postgres"];

/// What the Standard Webhooks specification allows, in bytes.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
const AS_IN: &str = "write the receiver's address there, as in https://example.com/hooks/calmirror";
const PREFIX: &str = "whsec_";
const MAKE_ONE: &str = "make one with: echo \"whsec_$(openssl rand -base64 32)\"";

/// Some write the padding and some do not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl Default for Notify {
    fn default() -> Self {
        Self {
            webhook: None,
            postgres: true,
        }
    }
}

pub(super) fn read(root: &Table, reading: &mut Reading<'_>) -> Notify {
    let section = Section::of(root, "notify", &KEYS, reading);
    Notify {
        webhook: webhook(&section, reading),
        postgres: section.truth("postgres", Notify::default().postgres, reading),
    }
}

fn webhook(section: &Section<'_>, reading: &mut Reading<'_>) -> Option<Webhook> {
    let url = section.node("webhook_url");
    let secret = section.node("webhook_secret");
    let (url_origin, secret_origin) = match (url, secret) {
        (None, None) => return None,
        (Some(url), None) => {
            let message = "messages could not be signed: there is no notify.webhook_secret";
            reading.fault(&url.origin, section.key("webhook_url"), message, MAKE_ONE);
            return None;
        }
        (None, Some(secret)) => {
            let message = "signs nothing: there is no notify.webhook_url";
            let remedy = "set notify.webhook_url, or remove the line";
            reading.fault(&secret.origin, section.key("webhook_secret"), message, remedy);
            return None;
        }
        (Some(url), Some(secret)) => (url.origin.clone(), secret.origin.clone()),
    };
    let url = secret::read(section, "webhook_url", reading);
    let secret = secret::read(section, "webhook_secret", reading);
    let is_read = reading.secrets == Secrets::Read;
    let mut fault = |origin: &Origin, key: &str, (message, remedy): (String, &str)| {
        reading.fault(origin, section.key(key), message, remedy);
    };
    let url = url.and_then(|(url, source)| {
        if !is_read {
            return Some((None, source));
        }
        checked_url(&url)
            .map_err(|found| fault(&url_origin, "webhook_url", found))
            .ok()
            .map(|url| (Some(url), source))
    });
    let key = secret.and_then(|(secret, source)| {
        if !is_read {
            return Some((SecretSlice::default(), source));
        }
        key(&secret)
            .map_err(|found| fault(&secret_origin, "webhook_secret", found))
            .ok()
            .map(|key| (key, source))
    });
    let ((url, url_source), (key, secret_source)) = (url?, key?);
    let origin = url.as_ref().map(|url| url.origin().ascii_serialization());
    Some(Webhook {
        url: url
            .map(|url| SecretString::from(String::from(url)))
            .unwrap_or_default(),
        origin: origin.unwrap_or_default(),
        url_source,
        key,
        secret_source,
    })
}

type Found = (String, &'static str);

/// Nothing of the address is shown: any part of it may be what has to stay secret.
fn checked_url(text: &SecretString) -> Result<Url, Found> {
    let fault = |message: &str, remedy| Err((message.to_owned(), remedy));
    let mut url = match Url::parse(text.expose_secret()) {
        Ok(url) => url,
        Err(error) => return Err((format!("what is there is no URL: {error}"), AS_IN)),
    };
    if !matches!(url.scheme(), "http" | "https") {
        return fault("what is there must begin with https://", AS_IN);
    }
    if url.scheme() == "http" && !url.host().is_some_and(|host| is_near(&host)) {
        return fault(
            "would send messages unencrypted over a public network",
            "use https://; http:// is for localhost, private addresses, names without a dot, .internal and .local",
        );
    }
    url.set_fragment(None);
    Ok(url)
}

fn key(secret: &SecretString) -> Result<SecretSlice<u8>, Found> {
    let Some(encoded) = secret.expose_secret().strip_prefix(PREFIX) else {
        return Err((format!("what is there must begin with {PREFIX}"), MAKE_ONE));
    };
    let Ok(key) = BASE64.decode(encoded) else {
        return Err((format!("what is there is not base64 after {PREFIX}"), MAKE_ONE));
    };
    if !KEY_BYTES.contains(&key.len()) {
        let (least, most, bytes) = (KEY_BYTES.start(), KEY_BYTES.end(), key.len());
        return Err((
            format!("the key must have from {least} to {most} bytes, not {bytes}"),
            MAKE_ONE,
        ));
    }
    Ok(SecretSlice::from(key))
}
