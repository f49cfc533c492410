//! The two files of an executor: its input and its result, in a folder of the volume that is its own.
//!
//! There are two ways to them. If the daemon's volumes lie in our own file system they are used in place ([`in_place`]): the
//! result is seen the moment the plugin closes it, and a named pipe makes parking possible. If they do not, because
//! the daemon is on another machine or we are in a container, they go through the API as archives ([`by_api`]): the
//! input before the start, the result after the end.
//!
//! A plugin may do to its folder what it likes. So nothing in it is opened through a symbolic link, and nothing but
//! an ordinary file (or our own pipe) is read or written.

pub(crate) mod by_api;
pub(crate) mod in_place;

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bollard::Docker;
use bollard::models::VolumeCreateRequest;
use bollard::query_parameters::RemoveVolumeOptions;
use legwork_core::FailureClass;
use legwork_engine::{Fault, ResultTaken};

use crate::connection::fault;

/// Marks the volume that is made to find out where volumes lie.
const PROBE_LABEL: &str = "legwork.probe";
/// Bytes that are copied at a time.
const CHUNK: usize = 256 * 1024;

/// Where volumes lie in our file system, if they do.
///
/// A volume with a name that nobody can have used before is made; if its folder is at the place that the daemon tells, our
/// file system and the daemon's are one there.
pub(crate) async fn volumes_in_place(docker: &Docker) -> Result<Option<PathBuf>, Fault> {
    let failed = |error| fault(FailureClass::EngineLost, "cannot try out a volume", &error);
    let name = format!("legwork-probe-{}", uuid::Uuid::now_v7());
    let request = VolumeCreateRequest {
        name: Some(name.clone()),
        labels: Some([(PROBE_LABEL.to_owned(), String::new())].into()),
        ..VolumeCreateRequest::default()
    };
    let volume = docker.create_volume(request).await.map_err(failed)?;
    let mountpoint = PathBuf::from(volume.mountpoint);
    let writable = std::fs::write(mountpoint.join("probe"), name.as_bytes()).is_ok();
    docker.remove_volume(&name, None::<RemoveVolumeOptions>).await.map_err(failed)?;
    let vanished = !mountpoint.exists();
    // The usual driver: <root>/<name>/_data.
    let root = mountpoint.parent().filter(|folder| folder.file_name().is_some_and(|last| last == name.as_str()));
    Ok(root.and_then(Path::parent).filter(|_| writable && vanished).map(Path::to_path_buf))
}

/// Copies at most `limit` bytes of a result; with more of them nothing is kept.
fn copy_result(from: &mut impl Read, into: &Path, limit: u64) -> io::Result<Copied> {
    let mut copy = std::fs::File::create(into)?;
    let mut buffer = vec![0; CHUNK];
    let mut bytes = 0;
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => return Ok(Copied::All),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        bytes += count as u64;
        if bytes > limit {
            copy.set_len(0)?;
            return Ok(Copied::TooMany { bytes });
        }
        io::Write::write_all(&mut copy, &buffer[..count])?;
    }
}

enum Copied {
    All,
    TooMany { bytes: u64 },
}

/// Says what was copied, asking `is_complete` off the other work of this thread.
fn judge(copied: &Copied, into: &Path, is_complete: &(dyn for<'p> Fn(&'p Path) -> bool + Send + Sync)) -> ResultTaken {
    match copied {
        Copied::TooMany { bytes } => ResultTaken::TooLarge { bytes: *bytes },
        Copied::All => {
            let complete = if tokio::runtime::Handle::current().runtime_flavor() == tokio::runtime::RuntimeFlavor::MultiThread {
                tokio::task::block_in_place(|| is_complete(into))
            } else {
                is_complete(into)
            };
            if complete { ResultTaken::Complete } else { ResultTaken::Incomplete }
        }
    }
}

fn spool_fault(into: &Path, error: &io::Error) -> Fault {
    Fault::passing(FailureClass::RunnerFull, format!("cannot copy the result to {}: {error}", into.display()))
}
