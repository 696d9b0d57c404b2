use std::fmt;

use secrecy::{ExposeSecret, SecretString};

/// A line of what the server said, made fit for logs: one line, no addresses, not the secret, not long.
#[derive(Clone, PartialEq, Eq)]
pub struct Said(String);

impl Said {
    /// Cal.com's own messages are shorter; more than this of another server's tells nobody anything.
    const MAX_CHARS: usize = 200;

    /// Nothing that could be shown.
    pub const fn nothing() -> Self {
        Self(String::new())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(in crate::calcom) fn new(text: &str, secret: &SecretString) -> Self {
        let secret = secret.expose_secret();
        let text = if secret.is_empty() {
            text.to_owned()
        } else {
            text.replace(secret, "<secret>")
        };
        let mut said = String::new();
        for word in text.split(|c: char| c.is_whitespace() || c.is_control()) {
            if word.is_empty() {
                continue;
            }
            if !said.is_empty() {
                said.push(' ');
            }
            if word.contains('@') || word.contains("%40") {
                said.push_str("<address>");
            } else {
                said.extend(word.chars().filter(|c| !is_deceptive(*c)));
            }
        }
        if let Some((end, _)) = said.char_indices().nth(Self::MAX_CHARS) {
            said.truncate(end);
            said.push('…');
        }
        Self(said)
    }
}

/// Characters that show nothing themselves and change how a terminal shows others.
fn is_deceptive(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Nothing, or what was said with what leads over to it.
impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            Ok(())
        } else {
            write!(f, ", saying: {}", self.0)
        }
    }
}

impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> String {
        Said::new(text, &SecretString::from("s3cr3t")).to_string()
    }

    #[test]
    fn what_is_shown_is_one_line_without_secrets_and_addresses() {
        assert_eq!(
            said("Invalid email alice+x@example.com!"),
            ", saying: Invalid email <address>"
        );
        assert_eq!(
            said("GET /users?emails=a%40b.c now"),
            ", saying: GET <address> now"
        );
        assert_eq!(
            said("you sent s3cr3t\r\n\u{1b}[31mred\u{0}"),
            ", saying: you sent <secret> [31mred"
        );
        assert_eq!(said("a\u{202e}b"), ", saying: ab");
        assert_eq!(said(" \n"), "");
        assert!(said(&"é".repeat(100_000)).chars().count() <= 220);
        assert!(
            !said(&format!("{}s3cr3t", "x ".repeat(97))).contains("s3c"),
            "cut after masking"
        );
    }
}
