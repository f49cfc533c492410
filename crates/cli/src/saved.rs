//! What is remembered about a server: `client.json`, written by `legwork login` and `legwork dev`.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use legwork_client::{Client, Connection, Credentials};
use serde::{Deserialize, Serialize};

use crate::args::connection::ConnectionArgs;
use crate::environment::Environment;
use crate::failure::Complaint;

/// The file's name.
pub(crate) const FILE: &str = "client.json";
/// The folder that `legwork dev` keeps its data in, and in which other commands look for it.
const DEV_DIR: &str = ".legwork";

/// A server that is remembered.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SavedServer {
    /// Its address.
    pub(crate) url: String,
    /// The file with CAs to trust, as seen from the folder of `client.json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<PathBuf>,
    /// The token to use.
    pub(crate) token: String,
}

impl SavedServer {
    /// Reads it from a folder, if there is one.
    pub(crate) fn read(folder: &Path) -> anyhow::Result<Option<Self>> {
        let file = folder.join(FILE);
        let text = match std::fs::read(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("{} cannot be read", file.display())),
        };
        let mut saved: Self = serde_json::from_slice(&text)
            .with_context(|| format!("{} cannot be understood; log in again with `legwork login`", file.display()))?;
        saved.ca = saved.ca.map(|ca| folder.join(ca));
        Ok(Some(saved))
    }

    /// Writes it into a folder, readable only by the user.
    pub(crate) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self).context("writing JSON")?;
        write_private(&folder.join(FILE), text.as_bytes())
    }
}

/// Writes a file that only the user can read, replacing it as a whole.
pub(crate) fn write_private(file: &Path, content: &[u8]) -> anyhow::Result<()> {
    let cannot = || format!("{} cannot be written", file.display());
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).with_context(cannot)?;
    }
    let temporary = file.with_extension(format!("new-{}", std::process::id()));
    let mut new =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary).with_context(cannot)?;
    new.write_all(content).and_then(|()| new.sync_all()).with_context(cannot)?;
    std::fs::rename(&temporary, file).with_context(cannot)
}

/// A client for the server that the flags name, or else for the one that is remembered.
pub(crate) fn client(args: &ConnectionArgs, environment: &Environment) -> anyhow::Result<Client> {
    let here = std::env::current_dir().ok();
    let saved = find(here.as_deref(), environment.config_dir().as_deref())?;
    Ok(Client::new(&choose(args, saved)?)?)
}

/// The nearest `.legwork` from a folder upwards, or else what `legwork login` has written.
fn find(here: Option<&Path>, config: Option<&Path>) -> anyhow::Result<Option<SavedServer>> {
    for folder in here.into_iter().flat_map(Path::ancestors) {
        if let Some(saved) = SavedServer::read(&folder.join(DEV_DIR))? {
            return Ok(Some(saved));
        }
    }
    match config {
        Some(config) => SavedServer::read(config),
        None => Ok(None),
    }
}

/// What is remembered holds only for the server that it was remembered for: a token is shown to no other.
fn choose(args: &ConnectionArgs, saved: Option<SavedServer>) -> anyhow::Result<Connection> {
    let same = |saved: &SavedServer| {
        args.server.as_deref().is_none_or(|url| url.trim_end_matches('/') == saved.url.trim_end_matches('/'))
    };
    let saved = saved.filter(same);
    let url = args.server.clone().or_else(|| saved.as_ref().map(|saved| saved.url.clone())).ok_or_else(|| {
        Complaint::usage("no server is known")
            .hint("start one with `legwork dev`, or log in with `legwork login URL`, or pass --server")
    })?;
    let ca = args.ca.clone().or_else(|| saved.as_ref().and_then(|saved| saved.ca.clone()));
    let ca_pem = match ca {
        Some(file) => Some(std::fs::read(&file).with_context(|| format!("the CA file {} cannot be read", file.display()))?),
        None => None,
    };
    let credentials = match args.token.clone().or_else(|| saved.map(|saved| saved.token)) {
        Some(token) => Credentials::Token(token),
        None => Credentials::None,
    };
    Ok(Connection { url, ca_pem, credentials })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn saved(url: &str) -> SavedServer {
        SavedServer { url: url.to_owned(), ca: Some("ca.pem".into()), token: "rpa_1".to_owned() }
    }

    #[test]
    fn the_nearest_folder_wins_and_login_comes_last() {
        let root = tempfile::tempdir().unwrap();
        let (deep, config) = (root.path().join("a/b/c"), root.path().join("config"));
        std::fs::create_dir_all(&deep).unwrap();
        assert!(find(Some(&deep), Some(&config)).unwrap().is_none());
        saved("https://login").write(&config).unwrap();
        assert_eq!(find(Some(&deep), Some(&config)).unwrap().unwrap().url, "https://login");
        saved("https://dev").write(&root.path().join("a/.legwork")).unwrap();
        let found = find(Some(&deep), Some(&config)).unwrap().unwrap();
        assert_eq!(found.url, "https://dev");
        assert_eq!(found.ca.unwrap(), root.path().join("a/.legwork/ca.pem"));
        let mode = std::fs::metadata(config.join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_token_is_shown_only_to_its_server() {
        let none = ConnectionArgs { server: None, token: None, ca: None };
        let without_ca = |url| SavedServer { ca: None, ..saved(url) };
        let same = ConnectionArgs { server: Some("https://a/".to_owned()), ..none.clone() };
        assert!(matches!(choose(&same, Some(without_ca("https://a"))).unwrap().credentials, Credentials::Token(_)));
        assert!(matches!(choose(&same, Some(without_ca("https://b"))).unwrap().credentials, Credentials::None));
        assert!(choose(&none, None).unwrap_err().to_string().contains("no server is known"));
    }
}
