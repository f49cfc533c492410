//! The files of an executor, sent and fetched as archives.

use std::io::{self, Read};
use std::path::Path;

use bollard::Docker;
use bollard::query_parameters::{DownloadFromContainerOptionsBuilder, UploadToContainerOptionsBuilder};
use bytes::Bytes;
use futures::StreamExt;
use legwork_core::FailureClass;
use legwork_engine::{Fault, ResultTaken};
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::{Copied, copy_result, judge, spool_fault};
use crate::blueprint::{FOLDER, INPUT, MOUNT, OUTPUT};
use crate::connection::{fault, is_missing};

/// Puts folder and input into the volume of an executor that was not started yet.
pub(crate) async fn send_input(docker: &Docker, name: &str, input: &[u8]) -> Result<(), Fault> {
    let archive = archive(input).map_err(|error| {
        Fault::lasting(FailureClass::CouldNotStart, format!("cannot pack the input of {} bytes: {error}", input.len()))
    })?;
    let options = UploadToContainerOptionsBuilder::default().path(MOUNT).build();
    docker
        .upload_to_container(name, Some(options), bollard::body_full(archive))
        .await
        .map_err(|error| fault(FailureClass::CouldNotStart, "cannot send the executor its input", &error))
}

fn archive(input: &[u8]) -> io::Result<Bytes> {
    let mut archive = tar::Builder::new(Vec::with_capacity(input.len() + 4096));
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Directory);
    header.set_mode(0o777);
    header.set_size(0);
    archive.append_data(&mut header, format!("{FOLDER}/"), io::empty())?;
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o644);
    header.set_size(input.len() as u64);
    archive.append_data(&mut header, format!("{FOLDER}/{INPUT}"), input)?;
    archive.into_inner().map(Bytes::from)
}

/// Fetches the result of an executor that has ended.
pub(crate) async fn fetch_result(
    docker: &Docker,
    name: &str,
    into: &Path,
    limit: u64,
    is_complete: &(dyn for<'p> Fn(&'p Path) -> bool + Send + Sync),
) -> Result<ResultTaken, Fault> {
    let options = DownloadFromContainerOptionsBuilder::default().path(&format!("{MOUNT}/{FOLDER}/{OUTPUT}")).build();
    let mut body = docker.download_from_container(name, Some(options)).boxed().peekable();
    match std::pin::Pin::new(&mut body).peek().await {
        None => return Ok(ResultTaken::Missing),
        Some(Err(error)) if is_missing(error) => return Ok(ResultTaken::Missing),
        Some(Err(error)) => return Err(fault(FailureClass::EngineLost, "cannot fetch the result", error)),
        Some(Ok(_)) => {}
    }
    let reader = StreamReader::new(body.map(|piece| piece.map_err(io::Error::other)));
    let bridge = SyncIoBridge::new(reader);
    let target = into.to_owned();
    let unpacked = tokio::task::spawn_blocking(move || unpack(bridge, &target, limit)).await;
    let copied = unpacked.map_err(io::Error::other).flatten().map_err(|error| spool_fault(into, &error))?;
    Ok(copied.map_or(ResultTaken::Missing, |copied| judge(&copied, into, is_complete)))
}

/// The one file in the archive, if it is an ordinary one that is not empty.
fn unpack(archive: impl Read, into: &Path, limit: u64) -> io::Result<Option<Copied>> {
    let mut archive = tar::Archive::new(archive);
    let Some(entry) = archive.entries()?.next() else { return Ok(None) };
    let mut entry = entry?;
    if entry.header().entry_type() != tar::EntryType::Regular || entry.size() == 0 {
        return Ok(None);
    }
    if entry.size() > limit {
        return Ok(Some(Copied::TooMany { bytes: entry.size() }));
    }
    copy_result(&mut entry, into, limit).map(Some)
}
