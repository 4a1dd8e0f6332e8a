//! The settings, parsed from a view.

use std::error::Error;
use std::fmt;

use kvwatch::mirror::View;

/// The server's settings, all from one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) greeting: String,
    pub(crate) signature: String,
    /// The maximum number of requests on a connection.
    pub(crate) limit: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            greeting: "Welcome".to_owned(),
            signature: "the server".to_owned(),
            limit: u64::MAX,
        }
    }
}

/// A setting with an invalid value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SettingError {
    key: &'static str,
    value: String,
    expected: &'static str,
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            key,
            value,
            expected,
        } = self;
        write!(f, "{key} is {value:?} and must be {expected}")
    }
}

impl Error for SettingError {}

impl Settings {
    /// Parses the settings in a view. A setting that it does not have gets its default.
    ///
    /// # Errors
    /// If a value is invalid.
    pub(crate) fn parse(view: &View) -> Result<Self, SettingError> {
        let mut settings = Self::default();
        if let Some(greeting) = text(view, "config/greeting")? {
            settings.greeting = greeting;
        }
        if let Some(signature) = text(view, "config/signature")? {
            settings.signature = signature;
        }
        if let Some(limit) = text(view, "config/limit")? {
            settings.limit = limit.parse().map_err(|_| SettingError {
                key: "config/limit",
                value: limit,
                expected: "a whole number",
            })?;
        }
        Ok(settings)
    }
}

/// The value of a key, which must be one line of text.
fn text(view: &View, key: &'static str) -> Result<Option<String>, SettingError> {
    let Some(value) = view.get(key) else {
        return Ok(None);
    };
    match std::str::from_utf8(value) {
        Ok(text) if !text.contains('\n') => Ok(Some(text.to_owned())),
        _ => Err(SettingError {
            key,
            value: value.escape_ascii().to_string(),
            expected: "one line of text",
        }),
    }
}

#[cfg(test)]
mod tests {
    use kvwatch::mirror::Snapshot;

    use super::*;

    fn settings(entries: &[(&'static str, &'static [u8])]) -> Result<Settings, String> {
        let mut snapshot = Snapshot::at(1);
        snapshot.extend(entries.iter().copied());
        Settings::parse(&snapshot.into_view()).map_err(|error| error.to_string())
    }

    #[test]
    fn missing_settings_have_their_default() {
        assert_eq!(settings(&[]), Ok(Settings::default()));
        let limited = settings(&[("config/limit", b"3"), ("config/other", b"\xff")]);
        let limit = 3;
        assert_eq!(
            limited,
            Ok(Settings {
                limit,
                ..Settings::default()
            })
        );
    }

    #[test]
    fn invalid_setting_is_named_in_the_error() {
        let wrong = settings(&[("config/limit", b"-1")]).unwrap_err();
        assert_eq!(wrong, "config/limit is \"-1\" and must be a whole number");
        for bytes in [&b"\xff"[..], b"two\nlines"] {
            let wrong = settings(&[("config/greeting", bytes)]).unwrap_err();
            assert!(wrong.contains("one line of text"), "{wrong}");
        }
    }
}
