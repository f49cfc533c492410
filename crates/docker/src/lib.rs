//! The Docker engine: executors are containers of a Docker daemon, here or elsewhere.
//!
//! Each executor is one container and one volume, both of its own name. What is created is in [`blueprint`], how input and
//! result are exchanged in [`files`], how the log stays exact in [`logs`], who ended an executor in [`watch`].
//!
//! This crate knows neither the server nor the runner, and reads no environment variables: its configuration is given.
//! Start reading at [`DockerEngine`].

mod blueprint;
mod config;
mod connection;
mod engine;
mod files;
mod images;
mod logs;
mod watch;

pub use config::{ConfigError, DockerConfig, Files};
pub use engine::DockerEngine;
