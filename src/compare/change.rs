//! One change of one user, and how it reads.

use std::{fmt, sync::Arc};

use serde::{Serialize, Serializer};

use crate::model::{Field, Json, ManagedUser, UserId};

/// What happened to a user at Cal.com. A `repair` in the ledger is none of these. Spelled in snake case wherever it is printed or stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChangeKind {
    /// Observed for the first time.
    Insert,
    /// Differs from the last observation.
    Update,
    /// Proven gone.
    Removal,
    /// Observed again after a removal.
    Restore,
}

impl ChangeKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Removal => "removal",
            Self::Restore => "restore",
        }
    }

    /// The sign that stands before a change where people read a list of them.
    pub const fn sign(self) -> char {
        match self {
            Self::Insert => '+',
            Self::Update => '~',
            Self::Removal => '-',
            Self::Restore => '^',
        }
    }
}

impl fmt::Display for ChangeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One change of one user other than a removal: what becomes one row of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub kind: ChangeKind,
    /// The user's version that this change makes.
    pub version: i32,
    /// What differs from the version before; empty for an insert.
    pub fields: Vec<FieldChange>,
    /// The user as it becomes.
    pub after: Arc<ManagedUser>,
}

/// A field with the value it had and the one it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldChange {
    pub field: Field,
    pub old: Json,
    pub new: Json,
}

/// Whether values of personal fields are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// As `***`; that a value is null is shown.
    Masked,
    Full,
}

impl Change {
    pub fn user_id(&self) -> UserId {
        self.after.id
    }

    /// The changed fields as one line: `time_zone: "Europe/Rome" -> "Asia/Tokyo", name: *** -> ***`.
    pub fn fields_display(&self, values: Values) -> impl fmt::Display {
        fmt::from_fn(move |f| {
            for (position, change) in self.fields.iter().enumerate() {
                if position > 0 {
                    f.write_str(", ")?;
                }
                write!(f, "{}", change.display(values))?;
            }
            Ok(())
        })
    }

    /// What differs, as the ledger has it: `{"time_zone": {"old": …, "new": …}}`.
    pub fn changed(&self) -> Changed<'_> {
        Changed(&self.fields)
    }

    /// The change as one line: `~ user 17 v3 time_zone: "Europe/Rome" -> "Asia/Tokyo"`.
    pub fn display(&self, values: Values) -> impl fmt::Display {
        fmt::from_fn(move |f| {
            write!(
                f,
                "{} user {} v{}",
                self.kind.sign(),
                self.user_id(),
                self.version
            )?;
            if self.fields.is_empty() {
                Ok(())
            } else {
                write!(f, " {}", self.fields_display(values))
            }
        })
    }
}

/// The fields of a [`Change`] as the ledger has them; none, as it has those of a removal, by default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Changed<'a>(&'a [FieldChange]);

impl Serialize for Changed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct OldAndNew<'a> {
            old: &'a Json,
            new: &'a Json,
        }
        serializer.collect_map(
            self.0
                .iter()
                .map(|FieldChange { field, old, new }| (field.column(), OldAndNew { old, new })),
        )
    }
}

impl FieldChange {
    /// `time_zone: "Europe/Rome" -> "Asia/Tokyo"`.
    pub fn display(&self, values: Values) -> impl fmt::Display {
        let masked = values.masks(self.field);
        let shown = move |value: &Json| match value {
            value if value.is_null() => "null".to_owned(),
            _ if masked => "***".to_owned(),
            value => shorten(value.to_string()),
        };
        fmt::from_fn(move |f| write!(f, "{}: {} -> {}", self.field, shown(&self.old), shown(&self.new)))
    }
}

impl Values {
    /// Whether values of a field are left out.
    pub const fn masks(self, field: Field) -> bool {
        matches!(self, Self::Masked) && field.is_personal()
    }
}

/// A line is read by people: one field's value gets at most this many characters of it.
const MAX_VALUE_CHARS: usize = 200;

/// Cut where a line for people ends.
pub fn shorten(text: String) -> String {
    match text.char_indices().nth(MAX_VALUE_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
