//! Fields that this version does not know: announced once each.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::Observation;

/// The unknown fields that have been announced, by their names on the wire, each cut at [`AnnouncedFields::MAX_CHARS`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnnouncedFields(BTreeSet<String>);

/// An unknown field that has not been announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewField {
    /// The field's name on the wire, cut at [`AnnouncedFields::MAX_CHARS`].
    pub name: String,
    /// How many users of the batch have it.
    pub users: usize,
}

impl AnnouncedFields {
    /// More of them are no new fields, but a server that uses names as values. They are mirrored, and not announced.
    pub const MAX: usize = 100;

    /// A name that is longer is cut.
    pub const MAX_CHARS: usize = 200;

    /// The unknown fields of a batch that have not been announced, by name: never more than there is room for.
    pub fn new_in<'a>(&self, observed: impl IntoIterator<Item = &'a Observation>) -> Vec<NewField> {
        let room = Self::MAX.saturating_sub(self.0.len());
        if room == 0 {
            return Vec::new();
        }
        let mut found: BTreeMap<&str, usize> = BTreeMap::new();
        for observation in observed {
            if let Observation::Present(user) = observation {
                for key in user.extra.keys() {
                    let name = cut(key);
                    if !self.0.contains(name) {
                        *found.entry(name).or_default() += 1;
                    }
                }
            }
        }
        found
            .into_iter()
            .take(room)
            .map(|(name, users)| NewField {
                name: name.to_owned(),
                users,
            })
            .collect()
    }

    /// Takes note that these have been announced.
    pub fn announce(&mut self, fields: &[NewField]) {
        self.0.extend(fields.iter().map(|field| field.name.clone()));
    }
}

impl FromIterator<String> for AnnouncedFields {
    fn from_iter<T: IntoIterator<Item = String>>(names: T) -> Self {
        Self(names.into_iter().collect())
    }
}

fn cut(name: &str) -> &str {
    match name.char_indices().nth(AnnouncedFields::MAX_CHARS) {
        Some((end, _)) => &name[..end],
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{Json, ManagedUser, UserId};

    fn user(id: i64, keys: &[&str]) -> Observation {
        Observation::Present(Arc::new(ManagedUser {
            id: UserId(id),
            email: "a@b.c".to_owned(),
            username: None,
            name: None,
            bio: None,
            time_zone: "UTC".to_owned(),
            week_start: "Sunday".to_owned(),
            created_date: chrono::DateTime::UNIX_EPOCH,
            time_format: None,
            default_schedule_id: None,
            locale: None,
            avatar_url: None,
            metadata: None,
            extra: keys
                .iter()
                .map(|key| ((*key).to_owned(), Json::from("x")))
                .collect(),
        }))
    }

    fn found(announced: &AnnouncedFields, observed: &[Observation]) -> Vec<(String, usize)> {
        announced
            .new_in(observed)
            .into_iter()
            .map(|field| (field.name, field.users))
            .collect()
    }

    #[test]
    fn a_field_is_new_until_it_was_announced() {
        let batch = [
            user(1, &["b", "a"]),
            user(2, &["b"]),
            Observation::Gone(UserId(3)),
        ];
        let mut announced = AnnouncedFields::default();
        assert_eq!(
            found(&announced, &batch),
            [("a".to_owned(), 1), ("b".to_owned(), 2)]
        );
        announced.announce(&announced.new_in(&batch));
        assert_eq!(found(&announced, &batch), []);
        let known = AnnouncedFields::from_iter(["b".to_owned()]);
        assert_eq!(found(&known, &batch), [("a".to_owned(), 1)]);
    }

    #[test]
    fn names_are_cut_at_characters_and_count_as_one_then() {
        let long = "ü".repeat(AnnouncedFields::MAX_CHARS);
        let batch = [user(1, &[&format!("{long}a"), &format!("{long}b")])];
        let mut announced = AnnouncedFields::default();
        assert_eq!(found(&announced, &batch), [(long, 2)]);
        announced.announce(&announced.new_in(&batch));
        assert_eq!(found(&announced, &batch), []);
    }

    #[test]
    fn no_more_are_announced_than_the_most() {
        let keys: Vec<String> = (0..300).map(|n| format!("f{n:03}")).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let batch = [user(1, &keys)];
        let mut announced = AnnouncedFields::from_iter(["f000".to_owned(), "x".to_owned()]);
        let new = announced.new_in(&batch);
        assert_eq!(new.len(), AnnouncedFields::MAX - 2);
        announced.announce(&new);
        assert_eq!(announced.new_in(&batch), []);
    }
}
