//! The environment variables of the original runner, and which of our settings each stands for.
//!
//! A flag or a variable of our own wins over the original's. What the original knows and this version does not is
//! named in a warning, so that nobody believes that it has an effect.

use crate::args::runner_start::RunnerStartArgs;
use crate::environment::Environment;
use crate::failure::Complaint;

const PREFIX: &str = "RELEASE_RUNNER_";
const METADATA: &str = "RELEASE_RUNNER_METADATA_";

/// The original's variables that have a meaning here, and the flags that they stand for.
pub(crate) const NAMES: &[(&str, &str)] = &[
    ("RELEASE_RUNNER_RELEASE_URL", "--url"),
    ("RELEASE_RUNNER_TOKEN", "--token"),
    ("RELEASE_RUNNER_NAME", "--name"),
    ("RELEASE_RUNNER_CAPABILITIES", "--capabilities"),
    ("RELEASE_RUNNER_STORE_NAME", "--data-dir"),
    ("RELEASE_RUNNER_REST_CLIENT_CA", "--ca"),
    ("RELEASE_RUNNER_PROFILE", "--profiles"),
    ("RELEASE_RUNNER_PROFILES", "--profiles"),
    ("RELEASE_RUNNER_METADATA_<KEY>", "--metadata <key>=…"),
];

/// Takes over what the original's variables say and our own settings leave open. Gives the warnings to show.
pub(crate) fn take_over(args: &mut RunnerStartArgs, environment: &Environment) -> Result<Vec<String>, Complaint> {
    let mut unknown = Vec::new();
    for (name, value) in environment.beginning_with(PREFIX) {
        let text = || Some(value.to_owned());
        match name {
            "RELEASE_RUNNER_RELEASE_URL" => args.url = args.url.take().or_else(text),
            "RELEASE_RUNNER_TOKEN" if args.token_file.is_none() => args.token = args.token.take().or_else(text),
            "RELEASE_RUNNER_TOKEN" => {}
            "RELEASE_RUNNER_NAME" => args.name = args.name.take().or_else(text),
            "RELEASE_RUNNER_STORE_NAME" => args.data_dir = args.data_dir.take().or_else(|| Some(value.into())),
            "RELEASE_RUNNER_REST_CLIENT_CA" => args.ca = args.ca.take().or_else(text),
            "RELEASE_RUNNER_PROFILE" | "RELEASE_RUNNER_PROFILES" => args.profiles = args.profiles.take().or_else(text),
            "RELEASE_RUNNER_CAPABILITIES" => {
                if args.capabilities.is_none() {
                    let capabilities = legwork_core::Capabilities::parse_list(value)
                        .map_err(|error| Complaint::configuration(format!("{name}: {error}")))?;
                    args.capabilities = Some(capabilities);
                }
            }
            _ => match name.strip_prefix(METADATA).filter(|key| !key.is_empty()) {
                Some(key) => {
                    let key = key.to_ascii_lowercase();
                    if !args.metadata.iter().any(|(known, _)| *known == key) {
                        args.metadata.push((key, value.to_owned()));
                    }
                }
                None => unknown.push(name),
            },
        }
    }
    if unknown.is_empty() {
        return Ok(Vec::new());
    }
    let accepted: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
    Ok(vec![format!("{} has no effect in this version; it knows {}", unknown.join(", "), accepted.join(", "))])
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::runner::RunnerCommand;
    use crate::args::{Cli, Command};

    fn start(flags: &[&str]) -> RunnerStartArgs {
        let words = ["legwork", "runner", "start"].into_iter().chain(flags.iter().copied());
        match Cli::try_parse_from(words).unwrap().command {
            Command::Runner(RunnerCommand::Start(args)) => *args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_originals_names_are_taken_over() {
        let environment = Environment::from([
            ("RELEASE_RUNNER_RELEASE_URL", "https://release:5516"),
            ("RELEASE_RUNNER_TOKEN", "rpa_1"),
            ("RELEASE_RUNNER_NAME", "one"),
            ("RELEASE_RUNNER_CAPABILITIES", "remote, gpu"),
            ("RELEASE_RUNNER_STORE_NAME", "/store"),
            ("RELEASE_RUNNER_REST_CLIENT_CA", "/ca.pem"),
            ("RELEASE_RUNNER_PROFILE", "docker"),
            ("RELEASE_RUNNER_METADATA_DATA_CENTRE", "north"),
            ("OTHER", "thing"),
        ]);
        let mut args = start(&[]);
        assert!(take_over(&mut args, &environment).unwrap().is_empty());
        assert_eq!(args.url.as_deref(), Some("https://release:5516"));
        assert_eq!(args.token.as_deref(), Some("rpa_1"));
        assert_eq!(args.name.as_deref(), Some("one"));
        assert_eq!(args.capabilities.unwrap().to_string(), "gpu,remote");
        assert_eq!(args.data_dir.unwrap().to_str(), Some("/store"));
        assert_eq!(args.ca.as_deref(), Some("/ca.pem"));
        assert_eq!(args.profiles.as_deref(), Some("docker"));
        assert_eq!(args.metadata, [("data_centre".to_owned(), "north".to_owned())]);
    }

    #[test]
    fn our_own_settings_win() {
        let environment = Environment::from([("RELEASE_RUNNER_NAME", "theirs"), ("RELEASE_RUNNER_TOKEN", "theirs")]);
        let mut args = start(&["--name", "ours", "--token-file", "token"]);
        take_over(&mut args, &environment).unwrap();
        assert_eq!(args.name.as_deref(), Some("ours"));
        assert_eq!(args.token, None);
    }

    #[test]
    fn what_has_no_effect_is_named() {
        let environment = Environment::from([("RELEASE_RUNNER_KUBERNETES_NAMESPACE", "x"), ("RELEASE_RUNNER_TYPO", "y")]);
        let warnings = take_over(&mut start(&[]), &environment).unwrap();
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].starts_with("RELEASE_RUNNER_KUBERNETES_NAMESPACE, RELEASE_RUNNER_TYPO has no effect"));
        let wrong = Environment::from([("RELEASE_RUNNER_CAPABILITIES", "Not One")]);
        assert!(take_over(&mut start(&[]), &wrong).unwrap_err().to_string().contains("RELEASE_RUNNER_CAPABILITIES"));
    }
}
