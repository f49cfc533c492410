//! From a configuration to a running server. Whatever may be wrong with the configuration is found first.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use axum_server::tls_rustls::RustlsConfig;
use legwork_core::{Clock, Timestamp};
use legwork_lifecycle::Lifecycle;
use legwork_sealing::key::SealingKey;
use legwork_store::users::{Permission, Permissions, User, hash_password};
use legwork_store::{Location, OpenError, Store, StoreConfig};

use crate::background;
use crate::config::{MasterKey, ServerConfig, StartError, TlsConfig};
use crate::listener;
use crate::router;
use crate::state::AppState;
use crate::tls::{self, Authority};

/// The name of the user that is made at the first start.
pub const ADMIN: &str = "admin";

/// A server that answers.
#[derive(Clone, Debug)]
pub struct RunningServer {
    /// Where it listens.
    pub local_addr: SocketAddr,
    /// Its address for clients on this machine.
    pub url: String,
    /// The certificate of its own authority, which clients must trust; none if it was given a certificate or uses no TLS.
    pub ca_pem: Option<String>,
    /// The password of the user `admin`, if this start has made it up. Nothing else tells it.
    pub generated_admin_password: Option<String>,
}

/// Starts a server. It runs until the life is stopped; its end is waited for there.
pub async fn start(config: ServerConfig, lifecycle: &Lifecycle) -> Result<RunningServer, StartError> {
    if config.admin_password.as_deref() == Some("") {
        return Err(StartError::Configuration("the admin password must not be empty".to_owned()));
    }
    let location = location(&config)?;
    let lock = lock(&config.data_dir)?;
    let listener = listener::bind(config.listen).map_err(|error| refuse_address(config.listen, &error))?;
    let local_addr = listener.local_addr().map_err(|error| StartError::failed("asking for the port", error))?;
    let sealing_key = sealing_key(&config)?;
    let now = config.clock.now();
    let protection = protection(&config, now)?;

    let (store, writer) = Store::open(StoreConfig { location, sealing_key }).await.map_err(refuse_database)?;
    lifecycle.spawn("the store's writer", writer.run());
    let generated_admin_password = first_user(&store, &config, now).await?;

    let state = AppState::new(store.clone(), config.clock.clone(), lifecycle.clone())
        .map_err(|error| StartError::failed("asking for random bytes", error))?;
    background::spawn(&state, lifecycle);
    let ca_pem = protection.as_ref().and_then(|protection| protection.authority.as_ref()).map(|own| own.pem().to_owned());
    let tls = protection.as_ref().map(|protection| protection.tls.clone());
    if let Some(Protection { tls, authority: Some(authority), names }) = protection {
        lifecycle.spawn("the certificate's renewal", renew(tls, authority, names, config.clock.clone(), lifecycle.clone()));
    }
    let scheme = if tls.is_some() { "https" } else { "http" };
    if tls.is_none() {
        tracing::warn!(
            "TLS is switched off: tokens and inputs pass in clear unless something in front of the server protects them"
        );
    }
    listener::serve(listener, tls, router::build(state), lifecycle, close(store, lock))
        .map_err(|error| StartError::failed("listening", error))?;
    let host = if local_addr.ip().is_unspecified() { "localhost".to_owned() } else { host(local_addr.ip()) };
    let url = format!("{scheme}://{host}:{}", local_addr.port());
    tracing::info!(address = %local_addr, url, "the server answers");
    Ok(RunningServer { local_addr, url, ca_pem, generated_admin_password })
}

/// The last act: what was written is finished, then the data directory is free for another server.
async fn close(store: Store, lock: File) {
    store.close().await;
    drop(lock);
}

fn location(config: &ServerConfig) -> Result<Location, StartError> {
    match &config.database_url {
        None => Ok(Location::file(config.data_dir.join("server.sqlite"))),
        Some(url) => url.parse().map_err(|error: OpenError| StartError::Configuration(error.to_string())),
    }
}

/// Makes the data directory and takes it: two servers on one would give the same task twice.
fn lock(data_dir: &Path) -> Result<File, StartError> {
    let unusable = |error: io::Error| {
        StartError::Configuration(format!("the data directory {} cannot be used: {error}", data_dir.display()))
    };
    DirBuilder::new().recursive(true).mode(0o700).create(data_dir).map_err(unusable)?;
    let path = data_dir.join("server.lock");
    let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let known = file.read_to_string(&mut holder).is_ok() && !holder.trim().is_empty();
            let holder = if known { format!(" (process {})", holder.trim()) } else { String::new() };
            let message = format!("another server{holder} already uses the data directory {}", data_dir.display());
            return Err(StartError::Configuration(message));
        }
        Err(TryLockError::Error(error)) => return Err(unusable(error)),
    }
    let mut note = || {
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())
    };
    note().map_err(unusable)?;
    Ok(file)
}

fn refuse_address(address: SocketAddr, error: &io::Error) -> StartError {
    let why = match error.kind() {
        io::ErrorKind::AddrInUse => "the port is taken by another program; stop it, or choose another port".to_owned(),
        io::ErrorKind::PermissionDenied => "this user may not use the port; choose one over 1023".to_owned(),
        io::ErrorKind::AddrNotAvailable => "this machine does not have the address".to_owned(),
        _ => error.to_string(),
    };
    StartError::Configuration(format!("cannot listen on {address}: {why}"))
}

fn refuse_database(error: OpenError) -> StartError {
    match error {
        OpenError::Connect { .. } | OpenError::Migrate { .. } => StartError::failed("the database cannot be opened", error),
        // What stands in the way is the URL, the place or the version, all of which were chosen.
        other => StartError::Configuration(format!("{:#}", anyhow::Error::from(other))),
    }
}

fn sealing_key(config: &ServerConfig) -> Result<SealingKey, StartError> {
    let key = match &config.master_key {
        MasterKey::InDataDir => SealingKey::from_file_or_create(&config.data_dir.join("master.key")),
        MasterKey::File(path) => SealingKey::from_file_or_create(path),
        MasterKey::Given(text) => SealingKey::from_base64(text, "the master key that was given"),
    };
    key.map_err(|error| StartError::Configuration(format!("{:#}", anyhow::Error::from(error))))
}

/// How connections are protected, and what is needed to go on doing so.
struct Protection {
    tls: RustlsConfig,
    authority: Option<Authority>,
    names: Vec<String>,
}

fn protection(config: &ServerConfig, now: Timestamp) -> Result<Option<Protection>, StartError> {
    let made = match &config.tls {
        TlsConfig::Plain => return Ok(None),
        TlsConfig::Files { certificate, key } => tls::by_files(certificate, key).map(|tls| Protection {
            tls: RustlsConfig::from_config(tls),
            authority: None,
            names: Vec::new(),
        }),
        TlsConfig::OwnAuthority => {
            let names = names(config);
            Authority::open_or_create(&config.data_dir, now).map_err(Into::into).and_then(|authority| {
                let tls = RustlsConfig::from_config(tls::by_authority(&authority, &names, now)?);
                Ok(Protection { tls, authority: Some(authority), names })
            })
        }
    };
    made.map(Some).map_err(|error| StartError::Configuration(error.to_string()))
}

/// The names and addresses under which the server can be reached, as far as it can know.
fn names(config: &ServerConfig) -> Vec<String> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    names.extend(Some(host.trim().to_owned()).filter(|host| !host.is_empty()));
    names.extend(Some(config.listen.ip()).filter(|ip| !ip.is_unspecified()).map(|ip| ip.to_string()));
    names.extend(config.host_names.iter().cloned());
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}

fn host(address: IpAddr) -> String {
    match address {
        IpAddr::V4(Ipv4Addr::LOCALHOST) => "localhost".to_owned(),
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// Shows a fresh certificate from time to time.
async fn renew(tls: RustlsConfig, authority: Authority, names: Vec<String>, clock: Clock, lifecycle: Lifecycle) {
    loop {
        tokio::select! {
            () = lifecycle.stopping().cancelled() => return,
            () = tokio::time::sleep(tls::RENEWAL) => {}
        }
        match tls::by_authority(&authority, &names, clock.now()) {
            Ok(fresh) => tls.reload_from_config(fresh),
            Err(error) => tracing::error!(%error, "the certificate could not be renewed"),
        }
    }
}

/// Makes the user `admin` if there is no user. Gives back the password if it had to be made up.
async fn first_user(store: &Store, config: &ServerConfig, now: Timestamp) -> Result<Option<String>, StartError> {
    let failed = |error| StartError::failed("looking for users", error);
    if !store.has_no_users().await.map_err(failed)? {
        return Ok(None);
    }
    let (password, generated) = if let Some(password) = &config.admin_password {
        (password.clone(), None)
    } else {
        let random = legwork_sealing::token::generate("admin");
        let password = random.map_err(|error| StartError::failed("asking for random bytes", error))?.to_string();
        (password.clone(), Some(password))
    };
    let hashed = tokio::task::spawn_blocking(move || hash_password(&password)).await;
    let password_hash = hashed
        .map_err(|error| StartError::failed("hashing the admin password", error))?
        .map_err(|error| StartError::failed("hashing the admin password", error))?;
    let user =
        User { name: ADMIN.to_owned(), password_hash, permissions: Permissions::of(&[Permission::Admin]), created_at: now };
    let made = store.create_user(user).await.map_err(failed)?;
    Ok(generated.filter(|_| made))
}
