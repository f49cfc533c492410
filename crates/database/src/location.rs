//! Where a database is: what a URL says, judged before anything is opened.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use sqlx::postgres::PgConnectOptions;

use crate::error::OpenError;

/// Where a database is.
#[derive(Clone)]
pub enum Location {
    /// A file of SQLite.
    Sqlite(PathBuf),
    /// A database of a PostgreSQL server.
    Postgres(Box<PgConnectOptions>),
}

impl Location {
    /// The file at this path.
    pub fn file(path: impl AsRef<Path>) -> Self {
        Self::Sqlite(path.as_ref().to_owned())
    }
}

/// Reads `sqlite:<path>`, a plain path, or `postgres://…`. Every other scheme is refused by name.
impl FromStr for Location {
    type Err = OpenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = |problem: &str| OpenError::InvalidUrl { problem: problem.to_owned() };
        let text = text.trim();
        let Some((scheme, rest)) = text.split_once(':').filter(|(scheme, _)| is_scheme(scheme)) else {
            return if text.is_empty() { Err(invalid("it is empty")) } else { Ok(Self::file(text)) };
        };
        match scheme.to_ascii_lowercase().as_str() {
            "sqlite" | "file" => {
                let path = rest.strip_prefix("//").unwrap_or(rest);
                if path.is_empty() || path.contains(":memory:") {
                    return Err(invalid("SQLite needs the path of a file"));
                }
                if path.contains('?') {
                    return Err(invalid("options after `?` are not supported for SQLite"));
                }
                Ok(Self::file(path))
            }
            "postgres" | "postgresql" => match text.parse::<PgConnectOptions>() {
                Ok(options) => Ok(Self::Postgres(Box::new(options))),
                Err(error) => Err(invalid(&error.to_string())),
            },
            _ => Err(OpenError::Unsupported { scheme: scheme.to_owned() }),
        }
    }
}

/// A name for people, without user and password.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "the SQLite database {}", path.display()),
            Self::Postgres(options) => write!(
                f,
                "the PostgreSQL database {} on {}:{}",
                options.get_database().unwrap_or("(default)"),
                options.get_host(),
                options.get_port()
            ),
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_postgres_are_understood() {
        for text in
            ["/var/lib/legwork/server.sqlite", "sqlite:/var/lib/legwork/server.sqlite", "sqlite:///var/lib/legwork/server.sqlite"]
        {
            assert_eq!(text.parse::<Location>().unwrap().to_string(), "the SQLite database /var/lib/legwork/server.sqlite");
        }
        assert_eq!("data/a.db".parse::<Location>().unwrap().to_string(), "the SQLite database data/a.db");
        let shown = "postgres://anna:geheim@db:5433/legwork".parse::<Location>().unwrap().to_string();
        assert_eq!(shown, "the PostgreSQL database legwork on db:5433");
    }

    #[test]
    fn everything_else_is_refused_by_name() {
        for scheme in ["db2", "mysql", "oracle", "mssql", "mongodb+srv", "mariadb", "jdbc", "SQLSERVER"] {
            let error = format!("{scheme}://u:geheim@h/d").parse::<Location>().unwrap_err().to_string();
            assert!(error.contains(scheme) && error.contains("sqlite:") && error.contains("postgres:"), "{error}");
            assert!(!error.contains("geheim"), "{error}");
        }
        for text in ["", "sqlite:", "sqlite::memory:", "sqlite:a?mode=memory", "postgres://u:geheim@h:port/d"] {
            let error = text.parse::<Location>().unwrap_err();
            assert!(matches!(error, OpenError::InvalidUrl { .. }), "{text}: {error}");
            assert!(!error.to_string().contains("geheim"), "{error}");
        }
    }
}
