//! Invented users, the same ones for the same seed.

mod cultures;

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
};

use chrono::{DateTime, SecondsFormat, TimeDelta};
use fastrand::Rng;
use serde_json::{Value, json};

use super::{email, record::User};
use cultures::{CULTURES, Culture};

/// One client's name, id and secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) name: String,
    pub(super) id: String,
    pub(super) secret: String,
}

/// Ids below this are free for users that are placed by hand.
const FIRST_ID: i64 = 1001;

/// Makes clients and their users. What a user is like follows from the seed and the user's id.
#[derive(Debug)]
pub(super) struct People {
    seed: u64,
    next_id: i64,
    ids: Rng,
}

impl People {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            next_id: FIRST_ID,
            ids: Rng::with_seed(seed),
        }
    }

    /// The credentials of the `index`th client, counted from 0.
    pub(super) fn credentials(seed: u64, index: usize) -> Credentials {
        const NAMES: [&str; 8] = [
            "acme", "globex", "initech", "umbra", "hooli", "stark", "wonka", "tyrell",
        ];
        let mut rng = Rng::with_seed(mix(seed, u64::MAX - u64::try_from(index).unwrap_or(u64::MAX)));
        let name = NAMES
            .get(index)
            .map_or_else(|| format!("client-{}", index + 1), |name| (*name).to_owned());
        // The shape of a cuid, which Cal.com's client ids are.
        let id = format!("cl{}", letters(&mut rng, 23));
        let secret = format!("sim_{}", letters(&mut rng, 44));
        Credentials { name, id, secret }
    }

    /// The users of several clients, and among them so many people without a client; their ids interleave and have
    /// gaps, as where users come and go over the years. `home` gets each with the place of its client.
    pub(super) fn settle(
        &mut self,
        clients: &[Credentials],
        users_per_client: usize,
        plain: usize,
        mut home: impl FnMut(Option<usize>, User),
    ) {
        const YEARS_MINUTES: i64 = 3 * 365 * 24 * 60;
        let total = (clients.len() * users_per_client).max(1);
        let (mut settled, mut settled_plain) = (0, 0);
        let mut addresses = HashSet::with_capacity(users_per_client);
        let mut settle = |client: Option<usize>, age: usize| {
            self.next_id += self.ids.i64(0..3);
            let age = i64::try_from(age)
                .unwrap_or(i64::MAX)
                .saturating_mul(YEARS_MINUTES)
                / i64::try_from(total).unwrap_or(i64::MAX);
            let client_id = client.map(|client| clients[client].id.as_str());
            let user = self.user(self.next_id, client_id, TimeDelta::minutes(age), &mut addresses);
            home(client, user);
            self.next_id += 1;
        };
        for _ in 0..users_per_client {
            for client in 0..clients.len() {
                settle(Some(client), settled);
                settled += 1;
            }
            while settled_plain < plain * settled / total {
                settle(None, settled);
                settled_plain += 1;
            }
        }
        for _ in settled_plain..plain {
            settle(None, settled);
        }
    }

    /// The lowest id that no settled user has.
    pub(super) fn next_id(&self) -> i64 {
        self.next_id
    }

    /// `addresses` has the hashes of those that are taken: a chance collision only makes an address longer.
    fn user(&self, id: i64, client_id: Option<&str>, age: TimeDelta, addresses: &mut HashSet<u64>) -> User {
        let mut rng = Rng::with_seed(mix(self.seed, id.unsigned_abs()));
        let culture = &CULTURES[rng.usize(..CULTURES.len())];
        let (given, given_ascii) = pick(&mut rng, culture.given);
        let (family, family_ascii) = pick(&mut rng, culture.family);
        let name = if culture.family_first {
            format!("{family} {given}")
        } else {
            format!("{given} {family}")
        };
        let local = address(&mut rng, given_ascii, family_ascii);
        let domain = pick(&mut rng, culture.domains);
        let mut plain = format!("{local}@{domain}");
        if !addresses.insert(hash(&plain)) {
            // The id makes it unique without a search.
            plain = format!("{local}.{id}@{domain}");
            addresses.insert(hash(&plain));
        }
        let email = match client_id {
            Some(client_id) => email::with_suffix(&plain, client_id),
            None => plain,
        };
        User {
            id,
            username: (!chance(&mut rng, 2)).then(|| email::username(&email)),
            name: (!chance(&mut rng, 3)).then_some(name),
            bio: chance(&mut rng, 55).then(|| bio(&mut rng, given)),
            time_zone: time_zone(&mut rng, culture),
            week_start: culture.week_start.to_owned(),
            created_date: created(&mut rng, age),
            time_format: (!chance(&mut rng, 4)).then_some(culture.time_format),
            default_schedule_id: (!chance(&mut rng, 12)).then(|| id * 2 + rng.i64(0..2)),
            locale: (!chance(&mut rng, 8)).then(|| pick(&mut rng, culture.locales).to_owned()),
            avatar_url: chance(&mut rng, 60).then(|| avatar(&mut rng)),
            metadata: chance(&mut rng, 65).then(|| metadata(&mut rng, culture)),
            email,
        }
    }
}

/// Two numbers as one seed; neighbours give unrelated ones.
fn mix(seed: u64, number: u64) -> u64 {
    let mut mixed = seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ (mixed >> 31)
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

fn chance(rng: &mut Rng, percent: u32) -> bool {
    rng.u32(..100) < percent
}

fn pick<T: Copy>(rng: &mut Rng, choices: &[T]) -> T {
    choices[rng.usize(..choices.len())]
}

fn letters(rng: &mut Rng, count: usize) -> String {
    const BASE36: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    (0..count).map(|_| char::from(pick(rng, BASE36))).collect()
}

/// The local part that such a person might have. Short enough to bear the client's suffix within 64 bytes.
fn address(rng: &mut Rng, given: &str, family: &str) -> String {
    let initial = &given[..1];
    match rng.u32(..6) {
        0 => format!("{given}.{family}"),
        1 => format!("{initial}.{family}"),
        2 => format!("{given}{}", rng.u32(61..100)),
        3 => format!("{given}_{family}{}", rng.u32(1..10)),
        4 => format!("{initial}{family}{}", rng.u32(1960..2006)),
        _ => format!("{family}.{given}{}", rng.u32(1..100)),
    }
}

fn bio(rng: &mut Rng, given: &str) -> String {
    const TRADES: [&str; 10] = [
        "physiotherapist",
        "tax adviser",
        "language teacher",
        "product designer",
        "career coach",
        "architect",
        "notary",
        "nutritionist",
        "guitar teacher",
        "backend engineer",
    ];
    const ENDS: [&str; 6] = [
        "Book a slot and we will talk.",
        "Evenings only, please.",
        "Working remotely since 2019 \u{2615}",
        "First consultation is free.",
        "I answer within a day.\nPlease add an agenda.",
        "Also on weekends.",
    ];
    let (trade, end) = (pick(rng, &TRADES), pick(rng, &ENDS));
    if chance(rng, 50) {
        format!("{given}, {trade}. {end}")
    } else {
        format!("I am a {trade}. {end}")
    }
}

fn time_zone(rng: &mut Rng, culture: &Culture) -> String {
    let zone = pick(rng, culture.time_zones);
    if zone == "America/New_York" && chance(rng, 3) {
        // Old rows at the source hold it so.
        return "America/New_york".to_owned();
    }
    zone.to_owned()
}

fn created(rng: &mut Rng, age: TimeDelta) -> String {
    const EPOCH_MILLIS: i64 = 1_668_412_800_000;
    let epoch = DateTime::from_timestamp_millis(EPOCH_MILLIS).expect("2022-11-14 is a date");
    let time = epoch + age + TimeDelta::milliseconds(rng.i64(0..60_000));
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn avatar(rng: &mut Rng) -> String {
    let bits = rng.u128(..);
    let (a, b, c) = (
        (bits >> 96) as u32,
        (bits >> 80) as u16,
        (bits >> 68) as u16 & 0xfff,
    );
    let (d, e) = ((bits >> 48) as u16 & 0x3fff | 0x8000, bits & 0xffff_ffff_ffff);
    format!("https://cal.com/api/avatar/{a:08x}-{b:04x}-4{c:03x}-{d:04x}-{e:012x}.png")
}

fn metadata(rng: &mut Rng, culture: &Culture) -> Value {
    let plan = pick(rng, &["free", "team", "pro", "enterprise"]);
    let account = format!("ACC-{:06}", rng.u32(1..1_000_000));
    match rng.u32(..5) {
        0 => json!({ "crmId": account }),
        1 => json!({ "crmId": account, "plan": plan, "seats": rng.u32(1..40), "trial": chance(rng, 20) }),
        2 => json!({
            "plan": plan,
            "address": { "city": pick(rng, culture.cities), "country": culture.country, "floor": null },
        }),
        3 => json!({
            "tags": [plan, "newsletter"],
            "billing": { "currency": culture.currency, "rate": f64::from(rng.u32(80..400)) / 2.0, "account": account },
        }),
        _ => json!({ "source": pick(rng, &["import", "signup", "partner"]), "score": rng.i32(-10..100) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settle(seed: u64) -> Vec<Vec<User>> {
        let clients = [People::credentials(seed, 0), People::credentials(seed, 1)];
        let mut settled = vec![Vec::new(); 2];
        People::new(seed).settle(&clients, 500, 0, |client, user| {
            settled[client.expect("nobody is without a client")].push(user);
        });
        settled
    }

    #[test]
    fn people_without_a_client_live_among_the_others() {
        let clients = [People::credentials(1, 0)];
        let mut plain = Vec::new();
        let mut ids = Vec::new();
        People::new(1).settle(&clients, 10, 5, |client, user| {
            ids.push(user.id);
            if client.is_none() {
                plain.push(user);
            }
        });
        assert!(ids.is_sorted() && ids.len() == 15);
        assert_eq!(plain.len(), 5);
        assert!(plain.iter().all(|user| !user.email.contains('+')));
        assert!(plain[0].id < ids[5] && plain[4].id == ids[14]);
        let mut alone = 0;
        People::new(1).settle(&[], 10, 5, |_, _| alone += 1);
        assert_eq!(alone, 5);
    }

    #[test]
    fn the_same_seed_gives_the_same_people() {
        assert_eq!(settle(7), settle(7));
        assert_ne!(settle(7), settle(8));
        assert_eq!(People::credentials(7, 0), People::credentials(7, 0));
        assert_ne!(People::credentials(7, 0).id, People::credentials(7, 1).id);
    }

    #[test]
    fn ids_are_global_and_addresses_are_valid_and_unique() {
        let users: Vec<User> = settle(1).into_iter().flatten().collect();
        let ids: HashSet<i64> = users.iter().map(|user| user.id).collect();
        let addresses: HashSet<&str> = users.iter().map(|user| user.email.as_str()).collect();
        assert_eq!((ids.len(), addresses.len()), (users.len(), users.len()));
        for user in &users {
            assert!(email::is_valid(&user.email), "{} is no address", user.email);
        }
    }

    #[test]
    fn people_differ_as_real_ones_do() {
        let users: Vec<User> = settle(1).into_iter().flatten().collect();
        let count = |holds: &dyn Fn(&User) -> bool| users.iter().filter(|user| holds(user)).count();
        for (what, some) in [
            ("no bio", count(&|user| user.bio.is_none())),
            ("no avatar", count(&|user| user.avatar_url.is_none())),
            ("no locale", count(&|user| user.locale.is_none())),
            ("no metadata", count(&|user| user.metadata.is_none())),
            ("no name", count(&|user| user.name.is_none())),
            (
                "a name that is not ASCII",
                count(&|user| user.name.as_ref().is_some_and(|name| !name.is_ascii())),
            ),
            ("a Monday", count(&|user| user.week_start == "Monday")),
            (
                "nested metadata",
                count(&|user| {
                    let entries = user.metadata.as_ref().and_then(Value::as_object);
                    entries.is_some_and(|entries| entries.values().any(Value::is_object))
                }),
            ),
        ] {
            assert!(
                some > 0 && some < users.len(),
                "{what}: {some} of {}",
                users.len()
            );
        }
    }
}
