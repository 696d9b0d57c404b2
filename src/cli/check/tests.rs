use std::collections::HashMap;

use super::list;
use crate::{
    calcom::{Error, Lesson, OrganizationPage, Reach, Roll, Source},
    model::{Fingerprint, Seen, Target, UserId},
};

/// A source that knows one request only: the first user of its list, of which there are so many.
#[derive(Clone)]
struct List(usize);

impl Source for List {
    async fn get(&self, _: &Target) -> Result<Seen, Error> {
        unreachable!("nobody is known by an id")
    }

    async fn by_addresses(&self, _: &[Target]) -> Result<Roll, Error> {
        unreachable!("nobody is known by an address")
    }

    async fn page(
        &self,
        offset: usize,
        limit: usize,
        known: &HashMap<Fingerprint, UserId>,
    ) -> Result<Roll, Error> {
        assert_eq!((offset, limit, known.len()), (0, 1, 0));
        Ok(Roll {
            records: self.0.min(limit),
            ..Roll::default()
        })
    }

    async fn organization_page(&self, _: i64, _: usize) -> Result<OrganizationPage, Error> {
        unreachable!("one request is enough")
    }

    fn reach(&self) -> Reach {
        Reach::default()
    }

    fn learn(&self, _: Lesson) {}

    fn requests(&self) -> u64 {
        1
    }
}

#[tokio::test]
async fn a_list_that_answers_is_enough_for_everyone() {
    let answer = list(&List(600)).await.expect("it answers");
    assert_eq!(
        (answer.said.as_str(), answer.remedy),
        ("the list of users answers", None)
    );
    let answer = list(&List(0)).await.expect("it answers");
    assert_eq!(answer.said, "the list of users is empty");
    assert!(answer.remedy.is_some());
}
