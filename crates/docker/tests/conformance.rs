//! The engine contract, kept by the Docker engine, with its files in place and by the API.
//!
//! Needs a Docker daemon and the image `legwork/testbed:dev` (`scripts/images plugins`).

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use legwork_docker::{DockerConfig, DockerEngine, Files};
use legwork_engine::conformance::Fixture;
use legwork_testbed::steering::Steering;
use serde_json::{Map, Value};

fn fixture(files: Files) -> Fixture {
    let engine = DockerEngine::new(DockerConfig { files, ..DockerConfig::default() }).expect("the defaults are valid");
    Fixture {
        engine: Arc::new(engine),
        image: "legwork/testbed:dev".to_owned(),
        expected_log,
        remove_by_others: Box::new(|handle| docker(vec!["rm".to_owned(), "-f".to_owned(), handle.0])),
        stop_by_others: Box::new(|handle| docker(vec!["stop".to_owned(), handle.0])),
    }
}

fn expected_log(inputs: &Map<String, Value>) -> (Vec<u8>, Vec<u8>) {
    let steering = Steering::from_inputs(inputs.clone()).expect("the cases use the testbed's inputs");
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    legwork_testbed::log::write(&steering.log, &mut stdout, &mut stderr).expect("writing to memory does not fail");
    (stdout, stderr)
}

/// What somebody does at a terminal.
fn docker(arguments: Vec<String>) -> BoxFuture<'static, ()> {
    async move {
        let done = tokio::process::Command::new("docker").args(&arguments).output().await.expect("the docker command is there");
        assert!(done.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    }
    .boxed()
}

#[cfg(test)]
mod in_place {
    use super::*;

    legwork_engine::conformance!(fixture(Files::WhereverTheyAre));
}

#[cfg(test)]
mod by_api {
    use super::*;

    legwork_engine::conformance!(fixture(Files::ByApi));
}
