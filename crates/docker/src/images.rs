//! Images: there, or pulled.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard::Docker;
use bollard::auth::DockerCredentials;
use bollard::errors::Error;
use bollard::models::CreateImageInfo;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures::StreamExt;
use legwork_core::FailureClass;
use legwork_engine::{Fault, PreparedImage};
use tokio::time::Instant;

use crate::connection::{fault, is_missing, words};

/// The pauses before a busy registry is asked again.
const PAUSES: [u64; 5] = [1, 2, 4, 8, 16];
/// Between two lines about the same pull.
const PROGRESS_PAUSE: Duration = Duration::from_millis(500);
/// The name under which Docker keeps the credentials of its own registry.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// Looks for the image here and pulls it if it is not.
pub(crate) async fn prepare(
    docker: &Docker,
    image: &str,
    credentials: Option<&Path>,
    progress: &(dyn Fn(String) + Send + Sync),
) -> Result<PreparedImage, Fault> {
    if let Some(found) = inspect(docker, image).await? {
        return Ok(found);
    }
    let credentials = credentials.and_then(|file| credentials_for(file, registry_of(image)));
    let mut pauses = PAUSES.iter();
    progress(format!("pulling {image}"));
    loop {
        let error = match pull(docker, image, credentials.clone(), progress).await {
            Ok(()) => break,
            Err(error) => error,
        };
        let said = words(&error);
        let Some(pause) = pauses.next().filter(|_| is_busy(&said)) else {
            let secret = if credentials.is_some() { "with the credentials of the runner" } else { "without credentials" };
            return Err(fault(FailureClass::Image, &format!("cannot pull {image} ({secret})"), &error));
        };
        progress(format!("the registry is busy ({said}), trying again in {pause} s"));
        tokio::time::sleep(Duration::from_secs(*pause)).await;
    }
    inspect(docker, image).await?.ok_or_else(|| {
        Fault::passing(FailureClass::Image, format!("{image} was pulled and is not there: was it removed at once?"))
    })
}

async fn inspect(docker: &Docker, image: &str) -> Result<Option<PreparedImage>, Fault> {
    match docker.inspect_image(image).await {
        Ok(found) => Ok(Some(PreparedImage { digest: found.id.unwrap_or_default() })),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(fault(FailureClass::Image, &format!("cannot look for the image {image}"), &error)),
    }
}

async fn pull(
    docker: &Docker,
    image: &str,
    credentials: Option<DockerCredentials>,
    progress: &(dyn Fn(String) + Send + Sync),
) -> Result<(), Error> {
    let (name, tag) = name_and_tag(image);
    let options = CreateImageOptionsBuilder::default().from_image(name).tag(tag).build();
    let mut news = docker.create_image(Some(options), None, credentials).boxed();
    let mut layers = HashMap::new();
    let mut told = Instant::now();
    while let Some(news) = news.next().await {
        note(&mut layers, news?);
        if told.elapsed() >= PROGRESS_PAUSE {
            told = Instant::now();
            let (done, total) = layers.values().fold((0, 0), |(done, total), (d, t)| (done + d, total + t));
            if total > 0 {
                const MIB: i64 = 1024 * 1024;
                progress(format!("pulling {image}: {} of {} MiB", done / MIB, total / MIB));
            }
        }
    }
    Ok(())
}

/// Notes how much of a layer is there; only downloading is counted.
fn note(layers: &mut HashMap<String, (i64, i64)>, news: CreateImageInfo) {
    let Some(layer) = news.id else { return };
    match news.status.as_deref() {
        Some("Downloading") => {
            let detail = news.progress_detail.unwrap_or_default();
            layers.insert(layer, (detail.current.unwrap_or(0), detail.total.unwrap_or(0)));
        }
        Some("Download complete" | "Pull complete") => {
            layers.entry(layer).and_modify(|(done, total)| *done = *total);
        }
        _ => {}
    }
}

/// True if the registry may do it later: it limits requests, or is not well itself.
fn is_busy(said: &str) -> bool {
    let said = said.to_lowercase();
    [
        "toomanyrequests",
        "too many requests",
        "429",
        "500 internal server error",
        "502 bad gateway",
        "503 service unavailable",
        "504 gateway",
    ]
    .iter()
    .any(|sign| said.contains(sign))
}

/// Splits an image's name from its tag or digest. Without either, Docker would pull every tag there is.
fn name_and_tag(image: &str) -> (&str, &str) {
    if let Some(parts) = image.split_once('@') {
        return parts;
    }
    match image.rsplit_once(':') {
        // A colon before a slash belongs to a port.
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (image, "latest"),
    }
}

/// The registry in an image's name, by Docker's rule: the first part, if it looks like a host.
fn registry_of(image: &str) -> &str {
    match image.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        _ => DOCKER_HUB,
    }
}

/// What Docker's configuration file says about a registry. Helper programs are not asked.
fn credentials_for(file: &Path, registry: &str) -> Option<DockerCredentials> {
    let text = std::fs::read(file).ok()?;
    let config: serde_json::Value = serde_json::from_slice(&text)
        .inspect_err(
            |error| tracing::warn!(file = %file.display(), %error, "Docker's configuration file is no JSON and not used"),
        )
        .ok()?;
    let auths = config["auths"].as_object()?;
    let bare = |key: &str| key.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/').to_owned();
    let (_, entry) = auths.iter().find(|(key, _)| key.as_str() == registry || bare(key) == bare(registry))?;
    let text = |name: &str| entry[name].as_str().filter(|text| !text.is_empty()).map(ToOwned::to_owned);
    let decoded = text("auth").and_then(|auth| STANDARD.decode(auth).ok()).and_then(|bytes| String::from_utf8(bytes).ok());
    let (username, password) = match decoded.as_deref().and_then(|pair| pair.split_once(':')) {
        Some((username, password)) => (Some(username.to_owned()), Some(password.to_owned())),
        None => (text("username"), text("password")),
    };
    Some(DockerCredentials {
        username,
        password,
        identitytoken: text("identitytoken"),
        serveraddress: Some(registry.to_owned()),
        ..DockerCredentials::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tags_and_registries() {
        assert_eq!(name_and_tag("a/b"), ("a/b", "latest"));
        assert_eq!(name_and_tag("host:5000/a/b"), ("host:5000/a/b", "latest"));
        assert_eq!(name_and_tag("host:5000/a/b:1.2"), ("host:5000/a/b", "1.2"));
        assert_eq!(name_and_tag("a@sha256:00"), ("a", "sha256:00"));
        assert_eq!(registry_of("alpine"), DOCKER_HUB);
        assert_eq!(registry_of("org/alpine"), DOCKER_HUB);
        assert_eq!(registry_of("localhost/alpine"), "localhost");
        assert_eq!(registry_of("127.0.0.1:5000/a"), "127.0.0.1:5000");
    }

    #[test]
    fn credentials_come_from_dockers_own_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let auth = STANDARD.encode("me:se:cret");
        std::fs::write(file.path(), format!(r#"{{"auths":{{"https://reg.example/":{{"auth":"{auth}"}}}}}}"#)).unwrap();
        let found = credentials_for(file.path(), "reg.example").unwrap();
        assert_eq!((found.username.as_deref(), found.password.as_deref()), (Some("me"), Some("se:cret")));
        assert!(credentials_for(file.path(), "other.example").is_none());
    }
}
