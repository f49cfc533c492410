//! Users and what they may do. Passwords are stored as Argon2id hashes.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use legwork_core::Timestamp;
use legwork_database::{Row, args};

use crate::error::{InRow, StoreError};
use crate::rows::time;
use crate::sql::Stored;
use crate::store::Store;

/// Something that a user or a token may be allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Permission {
    /// Everything.
    Admin,
    /// Register a runner.
    RunnerRegistration,
    /// See runners.
    RunnerView,
    /// Change runners.
    RunnerEdit,
    /// Run and retry tasks.
    TaskRun,
    /// See tasks, their logs and results.
    TaskView,
    /// Abort tasks.
    TaskAbort,
    /// Make and revoke tokens.
    TokenManage,
}

impl Permission {
    /// Every permission.
    pub const ALL: &'static [Self] = &[
        Self::Admin,
        Self::RunnerRegistration,
        Self::RunnerView,
        Self::RunnerEdit,
        Self::TaskRun,
        Self::TaskView,
        Self::TaskAbort,
        Self::TokenManage,
    ];

    /// Its name in the API, the database, the UI and the CLI.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::RunnerRegistration => "runner#registration",
            Self::RunnerView => "runner#view",
            Self::RunnerEdit => "runner#edit",
            Self::TaskRun => "task#run",
            Self::TaskView => "task#view",
            Self::TaskAbort => "task#abort",
            Self::TokenManage => "token#manage",
        }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text names no permission.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no permission: use {names}", names = Permissions::of(Permission::ALL))]
pub struct UnknownPermission(String);

impl FromStr for Permission {
    type Err = UnknownPermission;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.iter().copied().find(|permission| permission.as_str() == text);
        found.ok_or_else(|| UnknownPermission(text.chars().take(100).collect()))
    }
}

/// A set of permissions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions(pub BTreeSet<Permission>);

impl Permissions {
    /// These permissions.
    pub fn of(permissions: &[Permission]) -> Self {
        Self(permissions.iter().copied().collect())
    }

    /// True if this is allowed.
    pub fn allow(&self, permission: Permission) -> bool {
        self.0.contains(&permission) || self.0.contains(&Permission::Admin)
    }

    /// The permissions that both sets give: what a token may do for its owner.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self(Permission::ALL.iter().copied().filter(|permission| self.allow(*permission) && other.allow(*permission)).collect())
    }
}

/// Names separated by commas.
impl fmt::Display for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(|permission| permission.as_str()).collect::<Vec<_>>().join(","))
    }
}

impl FromStr for Permissions {
    type Err = UnknownPermission;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

/// A user.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// The name to log in with.
    pub name: String,
    /// The password's hash, as [`hash_password`] makes it.
    pub password_hash: String,
    /// What the user may do.
    pub permissions: Permissions,
    /// Since when the user exists.
    pub created_at: Timestamp,
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("name", &self.name).field("permissions", &self.permissions).finish_non_exhaustive()
    }
}

/// The system could not hash a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the password cannot be hashed: {0}")]
pub struct HashError(argon2::password_hash::Error);

/// The Argon2id hash of a password, with a salt of its own. Takes tens of milliseconds of processor time.
pub fn hash_password(password: &str) -> Result<String, HashError> {
    Argon2::default().hash_password(password.as_bytes()).map(|hash| hash.to_string()).map_err(HashError)
}

/// True if this is the password that was hashed. Takes tens of milliseconds of processor time.
pub fn verify_password(password: &str, hash: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

impl Store {
    /// Makes a user unless there is one of this name; true if it was made.
    pub async fn create_user(&self, user: User) -> Result<bool, StoreError> {
        self.database
            .write(user, |user, tx| {
                let sql = "INSERT INTO users (name, password_hash, permissions, created_at) VALUES ($1, $2, $3, $4) \
                           ON CONFLICT (name) DO NOTHING";
                let values = args![&user.name, &user.password_hash, user.permissions.to_string(), user.created_at.stored()];
                Box::pin(async move { Ok(tx.execute(sql, values).await? == 1) })
            })
            .await
    }

    /// The user of this name.
    pub async fn find_user(&self, name: &str) -> Result<Option<User>, StoreError> {
        let sql = "SELECT name, password_hash, permissions, created_at FROM users WHERE name = $1";
        self.database.fetch_optional(sql, args![name.to_owned()]).await?.as_ref().map(read_user).transpose()
    }

    /// True if nobody can log in yet: this is the first start.
    pub async fn has_no_users(&self) -> Result<bool, StoreError> {
        Ok(self.database.fetch_optional("SELECT name FROM users LIMIT 1", args![]).await?.is_none())
    }
}

fn read_user(row: &Row) -> Result<User, StoreError> {
    let name: String = row.get("name").in_row("users", "?")?;
    let read = || {
        Ok(User {
            name: name.clone(),
            password_hash: row.get("password_hash")?,
            permissions: row.parse("permissions")?,
            created_at: time(row, "created_at")?,
        })
    };
    read().in_row("users", &name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_known_again() {
        let hash = hash_password("geheim").unwrap();
        assert!(hash.starts_with("$argon2id$") && verify_password("geheim", &hash));
        assert!(!verify_password("Geheim", &hash) && !verify_password("geheim", "no hash"));
    }

    #[test]
    fn a_token_gives_no_more_than_its_owner_has() {
        let user = Permissions::of(&[Permission::TaskRun, Permission::TaskView]);
        let admin: Permissions = "admin".parse().unwrap();
        assert_eq!(user.and(&admin), user);
        assert_eq!(admin.and(&user), user);
        assert!(admin.allow(Permission::RunnerEdit) && !user.allow(Permission::RunnerEdit));
        assert!("task#runn".parse::<Permissions>().unwrap_err().to_string().contains("task#run"));
    }
}
