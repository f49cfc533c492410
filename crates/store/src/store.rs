//! Opening the store.

use std::sync::Arc;

use legwork_database::{Database, Location, Migration, OpenError, Options, Writer, migration};
use legwork_sealing::SealingKey;

/// The schema's history.
const MIGRATIONS: &[Migration] = &[migration!("../migrations", 1, "0001_server")];
const READERS: u32 = 8;

/// How the store is opened.
#[derive(Debug)]
pub struct StoreConfig {
    /// Where it is.
    pub location: Location,
    /// The key under which inputs and results are sealed.
    pub sealing_key: SealingKey,
}

/// The server's memory. Clones share it.
#[derive(Clone)]
pub struct Store {
    pub(crate) database: Database,
    pub(crate) key: Arc<SealingKey>,
}

impl Store {
    /// Opens the store, makes it if it is new, and brings its schema up to date; refuses a schema newer than this program.
    ///
    /// Nothing can be written until [`Writer::run`] runs beside it.
    pub async fn open(config: StoreConfig) -> Result<(Self, Writer), OpenError> {
        let options = Options { location: config.location, migrations: MIGRATIONS, readers: READERS };
        let (database, writer) = Database::open(&options).await?;
        Ok((Self { database, key: Arc::new(config.sealing_key) }, writer))
    }

    /// Finishes the writes that wait and ends the writer; later writes are refused.
    pub async fn close(&self) {
        self.database.close().await;
    }
}
