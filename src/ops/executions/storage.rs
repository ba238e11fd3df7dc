//! What packages keep beyond their runs: values under keys, for each package and trust domain apart, within the quota that the
//! package asks for. One SQLite file of its own, since the list of executions may be thrown away and this may not.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};

use crate::package::name::PackageName;
use crate::sqlite::{Form, SqliteError};
use crate::value::Value;
use crate::vm::TrustDomain;
use crate::vm::storage::{self, KEYS_MAX, Storage, StorageAnswer, StorageAsk};

const FORM: Form = Form {
    what: "storage of packages",
    remedy: "nothing was changed, restore it from a copy",
    application_id: 0x4354_4C53,
    migrations: &["
CREATE TABLE kept (
    domain TEXT NOT NULL,
    package TEXT NOT NULL,
    key TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (domain, package, key)
) STRICT, WITHOUT ROWID;
"],
};

/// The stored values of all packages of a node. Methods block and may be called from any thread.
#[derive(Debug)]
pub struct Storages(Mutex<Connection>);

/// What one package keeps.
pub struct Kept {
    storages: Arc<Storages>,
    domain: String,
    package: PackageName,
    quota_bytes: u64,
}

impl Storages {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// A file that is damaged, foreign or newer.
    pub fn open(path: &Path) -> Result<Arc<Self>, SqliteError> {
        Ok(Arc::new(Self(Mutex::new(FORM.open(path)?))))
    }

    /// Gives the storage of a package, for those of one trust domain alone.
    pub fn of(self: &Arc<Self>, domain: &TrustDomain, package: &PackageName, quota_bytes: u64) -> Kept {
        let (storages, package) = (Arc::clone(self), package.clone());
        Kept { storages, domain: domain.0.clone(), package, quota_bytes }
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why something was not done: the program's fault, or the file's.
enum Refused {
    Asked(String),
    File(rusqlite::Error),
}

impl From<String> for Refused {
    fn from(reason: String) -> Self {
        Self::Asked(reason)
    }
}

impl From<rusqlite::Error> for Refused {
    fn from(error: rusqlite::Error) -> Self {
        Self::File(error)
    }
}

impl Kept {
    fn answer(&self, ask: StorageAsk) -> Result<Value, Refused> {
        let (domain, package) = (self.domain.as_str(), self.package.as_str());
        let mut connection = self.storages.connection();
        match ask {
            StorageAsk::Get { key } => {
                let sql = "SELECT value FROM kept WHERE domain = ?1 AND package = ?2 AND key = ?3";
                let mut statement = connection.prepare_cached(sql)?;
                let found =
                    statement.query_row(params![domain, package, key], |row| row.get::<_, Vec<u8>>(0)).optional()?;
                Ok(found.map_or(Ok(Value::Nil), |bytes| storage::decode(&bytes))?)
            }
            StorageAsk::Set { key, value } => {
                storage::check_key(&key)?;
                let bytes = storage::encode(&value)?;
                let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
                let sql = "SELECT count(*), coalesce(sum(length(CAST(key AS BLOB)) + length(value)), 0) FROM kept
                    WHERE domain = ?1 AND package = ?2 AND key <> ?3";
                let figures = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
                let (keys, others) = transaction.query_row(sql, params![domain, package, key], figures)?;
                let used = others.cast_unsigned() + (key.len() + bytes.len()) as u64;
                if used > self.quota_bytes {
                    return Err(storage::over_quota(used, self.quota_bytes).into());
                }
                if keys >= KEYS_MAX as i64 {
                    return Err(format!("a package keeps at most {KEYS_MAX} keys").into());
                }
                let sql = "INSERT OR REPLACE INTO kept (domain, package, key, value) VALUES (?1, ?2, ?3, ?4)";
                transaction.execute(sql, params![domain, package, key, bytes])?;
                transaction.commit()?;
                Ok(Value::Nil)
            }
            StorageAsk::Remove { key } => {
                let sql = "DELETE FROM kept WHERE domain = ?1 AND package = ?2 AND key = ?3";
                connection.execute(sql, params![domain, package, key])?;
                Ok(Value::Nil)
            }
            StorageAsk::Keys => {
                let sql = "SELECT key FROM kept WHERE domain = ?1 AND package = ?2 ORDER BY key";
                let mut statement = connection.prepare_cached(sql)?;
                let keys = statement.query_map(params![domain, package], |row| row.get(0).map(Value::Str))?;
                Ok(Value::List(keys.collect::<Result<_, _>>()?))
            }
        }
    }
}

impl Storage for Kept {
    fn ask(&self, ask: StorageAsk) -> StorageAnswer {
        match self.answer(ask) {
            Ok(value) => StorageAnswer::Value(value),
            Err(Refused::Asked(reason)) => StorageAnswer::Refused(reason),
            Err(Refused::File(error)) => {
                tracing::error!("the storage of package `{}` cannot be used: {error}", self.package);
                // What a disk says is no business of the program.
                StorageAnswer::refused("the node cannot use its storage at the moment")
            }
        }
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kept({}, {})", self.domain, self.package)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(storage: &Kept, key: &str, value: Value) -> StorageAnswer {
        storage.ask(StorageAsk::Set { key: key.into(), value })
    }

    fn get(storage: &Kept, key: &str) -> StorageAnswer {
        storage.ask(StorageAsk::Get { key: key.into() })
    }

    #[test]
    fn values_are_kept_apart_and_over_restarts() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("storage.sqlite");
        let (own, other) = (TrustDomain("node".into()), TrustDomain("guest".into()));
        let [first, second] = ["acme/a", "acme/b"].map(|name| name.parse().expect("a name"));
        let storages = Storages::open(&path).expect("opens");
        let value = Value::List(vec![Value::Int(1), Value::Bytes(vec![0xff])]);
        assert_eq!(set(&storages.of(&own, &first, 1_000), "k", value.clone()), StorageAnswer::Value(Value::Nil));
        drop(storages);
        let storages = Storages::open(&path).expect("opens");
        assert_eq!(get(&storages.of(&own, &first, 1_000), "k"), StorageAnswer::Value(value));
        for stranger in [storages.of(&own, &second, 1_000), storages.of(&other, &first, 1_000)] {
            assert_eq!(get(&stranger, "k"), StorageAnswer::Value(Value::Nil));
            assert_eq!(stranger.ask(StorageAsk::Keys), StorageAnswer::Value(Value::List(Vec::new())));
        }
    }

    #[test]
    fn a_quota_holds_and_what_is_over_it_changes_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let storages = Storages::open(&directory.path().join("storage.sqlite")).expect("opens");
        let package = "acme/a".parse().expect("a name");
        let kept = storages.of(&TrustDomain("node".into()), &package, 100);
        let text = |count| Value::Str("x".repeat(count));
        assert_eq!(set(&kept, "a", text(60)), StorageAnswer::Value(Value::Nil));
        assert!(matches!(set(&kept, "b", text(60)), StorageAnswer::Refused(reason) if reason.contains("storage_mb")));
        assert_eq!(set(&kept, "a", text(70)), StorageAnswer::Value(Value::Nil), "what it replaces does not count");
        assert!(matches!(set(&kept, "a", text(120)), StorageAnswer::Refused(_)));
        assert_eq!(get(&kept, "a"), StorageAnswer::Value(text(70)));
        kept.ask(StorageAsk::Remove { key: "a".into() });
        assert_eq!(set(&kept, "b", text(60)), StorageAnswer::Value(Value::Nil));
    }
}
