//! Reads values of one section, each by its type; a fault gives the default and is remembered.

use std::{fmt::Display, ops::RangeInclusive};

use super::{
    names,
    reading::Reading,
    tree::{Node, Origin, Raw, Table},
};

/// A section or one `[[clients]]` block.
pub(super) struct Section<'a> {
    /// As messages name it: `calcom`, or `clients.acme`.
    pub(super) path: String,
    /// `None` where the file leaves it out.
    pub(super) table: Option<&'a Table>,
    pub(super) origin: Origin,
}

/// A value and where it was said.
pub(super) struct Said<T> {
    pub(super) value: T,
    pub(super) origin: Origin,
}

impl<'a> Section<'a> {
    /// The section of this name, after its unknown keys were reported.
    pub(super) fn of(root: &'a Table, name: &'static str, keys: &[&str], reading: &mut Reading<'_>) -> Self {
        let mut section = Self {
            path: name.to_owned(),
            table: None,
            origin: Origin::Nowhere,
        };
        if let Some(node) = root.get(name) {
            section.origin = node.origin.clone();
            match &node.raw {
                Raw::Table(table) => section.table = Some(table),
                other => reading.fault(
                    &node.origin,
                    name,
                    format!("must be a section, not {}", other.kind()),
                    format!("write [{name}] on a line of its own and its keys below it"),
                ),
            }
        }
        names::refuse_unknown(&section, name, keys, reading);
        section
    }

    /// A key's full name.
    pub(super) fn key(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    pub(super) fn node(&self, key: &str) -> Option<&'a Node> {
        self.table?.get(key)
    }

    /// Text that is not blank, without white space around it.
    pub(super) fn text(&self, key: &str, reading: &mut Reading<'_>) -> Option<Said<String>> {
        let node = self.node(key)?;
        let (Raw::Text(text) | Raw::Variable(text)) = &node.raw else {
            self.wrong_type(key, node, "a string", reading);
            return None;
        };
        let text = text.trim();
        if text.is_empty() {
            let remedy = match node.origin {
                Origin::Variable(_) => "unset the variable, or give it a value",
                Origin::Byte(_) | Origin::Nowhere => "give it a value, or remove the line",
            };
            reading.fault(&node.origin, self.key(key), "is empty", remedy);
            return None;
        }
        Some(Said {
            value: text.to_owned(),
            origin: node.origin.clone(),
        })
    }

    /// Text that may be blank, without white space around it.
    pub(super) fn text_or_blank(&self, key: &str, reading: &mut Reading<'_>) -> Option<Said<String>> {
        match self.node(key) {
            Some(Node {
                raw: Raw::Text(text),
                origin,
            }) if text.trim().is_empty() => Some(Said {
                value: String::new(),
                origin: origin.clone(),
            }),
            _ => self.text(key, reading),
        }
    }

    /// A list of texts; of a variable, with commas in between.
    pub(super) fn texts(&self, key: &str, reading: &mut Reading<'_>) -> Vec<String> {
        const WANTED: &str = "a list of strings";
        let Some(node) = self.node(key) else {
            return Vec::new();
        };
        match &node.raw {
            Raw::Array(values) => {
                let mut texts = Vec::with_capacity(values.len());
                for value in values {
                    match &value.raw {
                        Raw::Text(text) if !text.trim().is_empty() => texts.push(text.trim().to_owned()),
                        _ => self.wrong_type(key, value, "strings that are not empty", reading),
                    }
                }
                texts
            }
            Raw::Variable(text) => {
                let parts = text.split(',').map(str::trim);
                parts.filter(|part| !part.is_empty()).map(str::to_owned).collect()
            }
            _ => {
                self.wrong_type(key, node, WANTED, reading);
                Vec::new()
            }
        }
    }

    /// A whole number within `bounds`.
    pub(super) fn whole<T>(
        &self,
        key: &str,
        bounds: RangeInclusive<T>,
        default: T,
        reading: &mut Reading<'_>,
    ) -> T
    where
        T: Copy + Display + PartialOrd + TryFrom<i64>,
    {
        let remedy = format!("the default is {default}");
        self.whole_if_said(key, bounds, &remedy, reading)
            .unwrap_or(default)
    }

    /// A whole number within `bounds`, of a key that has no default; `remedy` is for one out of bounds.
    pub(super) fn whole_if_said<T>(
        &self,
        key: &str,
        bounds: RangeInclusive<T>,
        remedy: &str,
        reading: &mut Reading<'_>,
    ) -> Option<T>
    where
        T: Copy + Display + PartialOrd + TryFrom<i64>,
    {
        let node = self.node(key)?;
        let number = match &node.raw {
            Raw::Integer(number) => *number,
            Raw::Variable(text) => match text.trim().parse() {
                Ok(number) => Some(number),
                Err(_) => {
                    self.wrong_type(key, node, "a whole number", reading);
                    return None;
                }
            },
            _ => {
                self.wrong_type(key, node, "a whole number", reading);
                return None;
            }
        };
        let number = number
            .and_then(|number| T::try_from(number).ok())
            .filter(|number| bounds.contains(number));
        if number.is_none() {
            let message = format!("must be from {} to {}", bounds.start(), bounds.end());
            reading.fault(&node.origin, self.key(key), message, remedy);
        }
        number
    }

    /// A number within `bounds`, with or without a fraction.
    pub(super) fn number(
        &self,
        key: &str,
        bounds: RangeInclusive<f64>,
        default: f64,
        reading: &mut Reading<'_>,
    ) -> f64 {
        let Some(node) = self.node(key) else {
            return default;
        };
        let number = match &node.raw {
            #[expect(clippy::cast_precision_loss, reason = "the bounds are far below 2^53")]
            Raw::Integer(Some(number)) => Some(*number as f64),
            Raw::Integer(None) => Some(f64::INFINITY),
            Raw::Float(number) => Some(*number),
            Raw::Variable(text) => text.trim().parse().ok(),
            _ => None,
        };
        match number {
            Some(number) if bounds.contains(&number) => number,
            Some(_) => {
                let message = format!("must be from {} to {}", bounds.start(), bounds.end());
                reading.fault(
                    &node.origin,
                    self.key(key),
                    message,
                    format!("the default is {default}"),
                );
                default
            }
            None => {
                self.wrong_type(key, node, "a number", reading);
                default
            }
        }
    }

    pub(super) fn truth(&self, key: &str, default: bool, reading: &mut Reading<'_>) -> bool {
        let Some(node) = self.node(key) else {
            return default;
        };
        match &node.raw {
            Raw::Boolean(truth) => *truth,
            Raw::Variable(text) if text.trim() == "true" => true,
            Raw::Variable(text) if text.trim() == "false" => false,
            _ => {
                self.wrong_type(key, node, "true or false", reading);
                default
            }
        }
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(
        &self,
        key: &str,
        choices: &[(&'static str, T)],
        default: T,
        reading: &mut Reading<'_>,
    ) -> T {
        let Some(said) = self.text(key, reading) else {
            return default;
        };
        if let Some((_, choice)) = choices.iter().find(|(word, _)| *word == said.value) {
            return *choice;
        }
        let words: Vec<_> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let message = format!("must be {}, not {:?}", words.join(" or "), said.value);
        let near = names::nearest(&said.value, choices.iter().map(|(word, _)| *word));
        let remedy = near.map_or_else(String::new, |near| format!("did you mean \"{near}\"?"));
        reading.fault(&said.origin, self.key(key), message, remedy);
        default
    }

    pub(super) fn wrong_type(&self, key: &str, node: &Node, wanted: &str, reading: &mut Reading<'_>) {
        let (message, remedy) = match &node.raw {
            Raw::Variable(_) => (format!("must be {wanted}"), ""),
            Raw::Text(text) if wanted != "a string" && text.trim().parse::<f64>().is_ok() => {
                (format!("must be {wanted}, not a string"), "remove the quotes")
            }
            Raw::Text(text) if matches!(text.as_str(), "true" | "false") => {
                (format!("must be {wanted}, not a string"), "remove the quotes")
            }
            other => (format!("must be {wanted}, not {}", other.kind()), ""),
        };
        reading.fault(&node.origin, self.key(key), message, remedy);
    }
}
