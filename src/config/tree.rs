//! A configuration as it was written: every value with its place, before anything is checked.

use std::collections::BTreeMap;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// Where a value came from.
#[derive(Clone)]
pub(super) enum Origin {
    /// The byte of the file at which it starts.
    Byte(usize),
    Variable(String),
    /// The file does not mention it.
    Nowhere,
}

pub(super) enum Raw {
    Text(String),
    /// `None` past 64 bits.
    Integer(Option<i64>),
    Float(f64),
    Boolean(bool),
    Datetime,
    Array(Vec<Node>),
    Table(Table),
    /// From the environment: whatever type the key asks for.
    Variable(String),
}

impl Raw {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Integer(_) => "a whole number",
            Self::Float(_) => "a number with a fraction",
            Self::Boolean(_) => "true or false",
            Self::Datetime => "a date",
            Self::Array(_) => "a list",
            Self::Table(_) => "a table",
            Self::Variable(_) => "an environment variable",
        }
    }
}

pub(super) struct Node {
    pub(super) raw: Raw,
    pub(super) origin: Origin,
}

pub(super) struct Entry {
    pub(super) key_origin: Origin,
    pub(super) node: Node,
}

#[derive(Default)]
pub(super) struct Table(pub(super) BTreeMap<String, Entry>);

impl Table {
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.0.get(key).map(|entry| &entry.node)
    }

    /// Puts an environment variable's text in place of whatever the file says.
    pub(super) fn set_variable(&mut self, key: &str, variable: &str, text: &str) {
        let origin = Origin::Variable(variable.to_owned());
        self.0.insert(
            key.to_owned(),
            Entry {
                key_origin: origin.clone(),
                node: Node {
                    raw: Raw::Variable(text.to_owned()),
                    origin,
                },
            },
        );
    }
}

impl From<&DeTable<'_>> for Table {
    fn from(table: &DeTable<'_>) -> Self {
        Self(
            table
                .iter()
                .map(|(key, value)| {
                    let entry = Entry {
                        key_origin: Origin::Byte(key.span().start),
                        node: Node::from(value),
                    };
                    (key.get_ref().clone().into_owned(), entry)
                })
                .collect(),
        )
    }
}

impl From<&Spanned<DeValue<'_>>> for Node {
    fn from(value: &Spanned<DeValue<'_>>) -> Self {
        let raw = match value.get_ref() {
            DeValue::String(text) => Raw::Text(text.clone().into_owned()),
            DeValue::Integer(number) => {
                Raw::Integer(i64::from_str_radix(number.as_str(), number.radix()).ok())
            }
            DeValue::Float(number) => Raw::Float(number.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Boolean(truth) => Raw::Boolean(*truth),
            DeValue::Datetime(_) => Raw::Datetime,
            DeValue::Array(values) => Raw::Array(values.iter().map(Self::from).collect()),
            DeValue::Table(table) => Raw::Table(Table::from(table)),
        };
        Self {
            raw,
            origin: Origin::Byte(value.span().start),
        }
    }
}
