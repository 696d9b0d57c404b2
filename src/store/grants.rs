//! The rights that the program's statements need, as SQL for an administrator: `calmirror grants`.
//!
//! A test holds what is granted here against every statement of the program: each one has to be allowed, and each right has to
//! be missed by one of them.

mod daemon;
mod reader;
mod roles;

use std::fmt::Write as _;

pub use self::roles::{BadRole, Roles};
use self::{reader::READER, roles::unfit};
use super::{copy::quote_literal, quote_identifier};

/// What belongs to the migrator, besides the tables that the daemon has rights on.
const VIEWS: [&str; 4] = [
    "managed_users_live",
    "managed_users_history",
    "managed_users_freshness",
    "deletable_runs",
];

/// Functions that whoever reads the history has to be able to call.
const READING: [&str; 3] = [
    "managed_users_as_of(timestamptz)",
    "managed_users_known_at(timestamptz, timestamptz)",
    "managed_user_promoted(jsonb)",
];

/// Functions for migrations.
const MIGRATING: [&str; 1] = ["promote_extra_field(text, text)"];

/// A relation that the last migration has made: where it is, all columns are.
const NEWEST: &str = "sync_runs_not_skipped";

/// Three roles, and what each may do in a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grants {
    schema: String,
    roles: Roles,
    /// The daemon may fold the ledger.
    ledger_retention: bool,
}

/// Statements that belong together.
struct Part {
    comment: &'static str,
    statements: Vec<String>,
}

impl Grants {
    /// # Errors
    ///
    /// [`BadRole`] for names that Postgres would refuse or cut off, and for two that are the same.
    pub fn new(schema: &str, roles: Roles, ledger_retention: bool) -> Result<Self, BadRole> {
        let names = [&roles.migrator, &roles.daemon, &roles.reader];
        for (position, name) in names.into_iter().enumerate() {
            if let Some(why) = unfit(name) {
                return Err(BadRole::Name(name.clone(), why));
            }
            if names[..position].contains(&name) {
                return Err(BadRole::Twice(name.clone()));
            }
        }
        Ok(Self {
            schema: schema.to_owned(),
            roles,
            ledger_retention,
        })
    }

    pub fn schema(&self) -> &str {
        &self.schema
    }

    pub fn roles(&self) -> &Roles {
        &self.roles
    }

    /// The statements in their order, which is one transaction.
    pub fn statements(&self) -> Vec<String> {
        self.parts()
            .into_iter()
            .flat_map(|part| part.statements)
            .collect()
    }

    /// The same for people, with comments.
    pub fn script(&self) -> String {
        let mut script = String::from(
            "-- The roles of calmirror and their rights, for a superuser or for the owner of\n\
             -- the database and its tables. Needs the tables of this version, which\n\
             -- `calmirror migrate` makes. To be run again after each upgrade.\n",
        );
        for part in self.parts() {
            script.push('\n');
            for line in part.comment.lines() {
                // Writing to a string cannot fail.
                writeln!(script, "-- {line}").ok();
            }
            for statement in part.statements {
                writeln!(script, "{statement};").ok();
            }
        }
        script
    }

    fn parts(&self) -> Vec<Part> {
        let mut parts = vec![
            Part {
                comment: "All of it or nothing.",
                statements: vec!["begin".to_owned(), self.tables_are_there()],
            },
            Part {
                comment: "Roles that may log in and have no password yet.\nWhoever runs this has to be able to act for the owner.",
                statements: vec![self.make_roles()],
            },
            self.ownership(),
            self.nothing(),
            self.for_the_daemon(),
        ];
        if self.ledger_retention {
            parts.push(self.ledger());
        }
        parts.extend([self.for_the_reader(), self.by_default()]);
        parts.push(Part {
            comment: "The end.",
            statements: vec!["commit".to_owned()],
        });
        parts
    }

    fn tables_are_there(&self) -> String {
        format!(
            "do $calmirror$ begin\n    if to_regclass('{schema}.{last}') is null then\n        \
             raise exception 'schema {schema} has no tables of calmirror, or older ones'\n            \
             using errcode = 'undefined_table', hint = 'run `calmirror migrate` first';\n    end if;\nend $calmirror$",
            schema = self.schema,
            last = NEWEST,
        )
    }

    fn make_roles(&self) -> String {
        let Roles {
            migrator,
            daemon,
            reader,
        } = &self.roles;
        let mut body = String::from("begin\n");
        for name in [migrator, daemon, reader] {
            let (literal, identifier) = (quote_literal(name), quote_identifier(name));
            write!(
                body,
                "    if not exists (select from pg_roles where rolname = {literal}) then\n        \
                     create role {identifier} login;\n    end if;\n    \
                     if not has_database_privilege({literal}, current_database(), 'CONNECT') then\n        \
                     execute format('grant connect on database %I to %I', current_database(), {literal});\n    \
                     end if;\n",
            )
            .ok();
        }
        let (literal, identifier) = (quote_literal(migrator), quote_identifier(migrator));
        write!(
            body,
            "    if not pg_has_role(current_user, {literal}, 'USAGE') then\n        \
                 grant {identifier} to current_user;\n    end if;\nend "
        )
        .ok();
        let tag = self.dollar_tag();
        format!("do {tag} {body}{tag}")
    }

    /// One that stands in no name, so that no name can end the block.
    fn dollar_tag(&self) -> String {
        let Roles {
            migrator,
            daemon,
            reader,
        } = &self.roles;
        let mut tag = "$calmirror$".to_owned();
        while [migrator, daemon, reader].iter().any(|name| name.contains(&tag)) {
            tag.insert(1, '_');
        }
        tag
    }

    fn ownership(&self) -> Part {
        let migrator = quote_identifier(&self.roles.migrator);
        let schema = quote_identifier(&self.schema);
        let mut statements = if self.schema == "public" {
            // It belongs to whoever owns the database, and others may use it.
            vec![format!("grant usage, create on schema {schema} to {migrator}")]
        } else {
            vec![format!("alter schema {schema} owner to {migrator}")]
        };
        statements.extend(
            tables().map(|table| format!("alter table {} owner to {migrator}", self.qualified(table))),
        );
        statements
            .extend(VIEWS.map(|view| format!("alter view {} owner to {migrator}", self.qualified(view))));
        statements
            .extend(functions().map(|name| format!("alter function {schema}.{name} owner to {migrator}")));
        Part {
            comment: "The migrator owns all of it.",
            statements,
        }
    }

    fn nothing(&self) -> Part {
        let others = self.others();
        let schema = quote_identifier(&self.schema);
        let relations: Vec<_> = tables().chain(VIEWS).map(|name| self.qualified(name)).collect();
        let functions: Vec<_> = functions().map(|name| format!("{schema}.{name}")).collect();
        Part {
            comment: "The others begin with nothing, so that what follows is all that they may.",
            statements: vec![
                format!("revoke create on schema {schema} from public, {others}"),
                format!("grant usage on schema {schema} to {others}"),
                format!(
                    "revoke all on table {} from public, {others}",
                    relations.join(", ")
                ),
                format!(
                    "revoke all on sequence {} from public, {others}",
                    self.qualified(daemon::SEQUENCE)
                ),
                format!(
                    "revoke execute on function {} from public, {others}",
                    functions.join(", ")
                ),
            ],
        }
    }

    fn for_the_daemon(&self) -> Part {
        let role = quote_identifier(&self.roles.daemon);
        let mut statements: Vec<String> = daemon::TABLES
            .iter()
            .map(|table| {
                let mut rights = vec!["select".to_owned()];
                if !table.insert.is_empty() {
                    rights.push(format!("insert ({})", table.insert.join(", ")));
                }
                if !table.update.is_empty() {
                    rights.push(format!("update ({})", table.update.join(", ")));
                }
                if table.delete {
                    rights.push("delete".to_owned());
                }
                format!(
                    "grant {} on {} to {role}",
                    rights.join(", "),
                    self.qualified(table.name)
                )
            })
            .collect();
        statements
            .extend(daemon::VIEWS.map(|view| format!("grant select on {} to {role}", self.qualified(view))));
        statements.push(format!(
            "grant usage on sequence {} to {role}",
            self.qualified(daemon::SEQUENCE)
        ));
        statements.push(self.reading_functions(&role));
        Part {
            comment: "The daemon makes passes. The ledger it may only add to.",
            statements,
        }
    }

    fn ledger(&self) -> Part {
        let role = quote_identifier(&self.roles.daemon);
        Part {
            comment: "For retention of the ledger: the daemon may fold and delete what is old, and lock `forget` out meanwhile.",
            statements: vec![
                format!(
                    "grant update, delete on {} to {role}",
                    self.qualified(daemon::LEDGER)
                ),
                format!("grant update on {} to {role}", self.qualified("sync_state")),
            ],
        }
    }

    fn for_the_reader(&self) -> Part {
        let role = quote_identifier(&self.roles.reader);
        let mut statements: Vec<String> = READER
            .iter()
            .map(|(name, columns)| {
                let columns = match columns {
                    [] => String::new(),
                    columns => format!(" ({})", columns.join(", ")),
                };
                format!("grant select{columns} on {} to {role}", self.qualified(name))
            })
            .collect();
        statements.push(self.reading_functions(&role));
        Part {
            comment: "The reader sees users, their history, and how far both can be trusted.",
            statements,
        }
    }

    fn by_default(&self) -> Part {
        let migrator = quote_identifier(&self.roles.migrator);
        let daemon = quote_identifier(&self.roles.daemon);
        let schema = quote_identifier(&self.schema);
        Part {
            comment: "What later versions make: the daemon may read tables, nobody may call\n\
                      functions. The rest is granted by their own `calmirror grants`. Of functions\n\
                      not in the schema alone, since there nothing can be taken from public.",
            statements: vec![
                format!(
                    "alter default privileges for role {migrator} in schema {schema} grant select on tables to {daemon}"
                ),
                format!(
                    "alter default privileges for role {migrator} revoke execute on functions from public"
                ),
            ],
        }
    }

    fn reading_functions(&self, role: &str) -> String {
        let schema = quote_identifier(&self.schema);
        let names = READING.map(|name| format!("{schema}.{name}"));
        format!("grant execute on function {} to {role}", names.join(", "))
    }

    fn others(&self) -> String {
        let Roles { daemon, reader, .. } = &self.roles;
        format!("{}, {}", quote_identifier(daemon), quote_identifier(reader))
    }

    fn qualified(&self, name: &str) -> String {
        format!("{}.{name}", quote_identifier(&self.schema))
    }
}

/// Every table that there is.
pub(super) fn tables() -> impl Iterator<Item = &'static str> {
    daemon::TABLES.iter().map(|table| table.name)
}

fn functions() -> impl Iterator<Item = &'static str> {
    READING.into_iter().chain(MIGRATING)
}

#[cfg(test)]
mod tests;
