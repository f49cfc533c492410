//! Runners for people.

use std::time::Duration;

use legwork_core::Timestamp;
use legwork_protocol::api::Runner;
use owo_colors::OwoColorize as _;

use crate::output::table::{fields, table};
use crate::output::{one_line, short_id, time};

/// Clocks that differ by less are shown as agreeing.
const SKEW_WORTH_SHOWING: Duration = Duration::from_secs(2);

/// All runners.
pub(crate) fn list(runners: &[Runner], now: Timestamp) -> String {
    if runners.is_empty() {
        return "no runners; start one with `legwork runner start`\n".to_owned();
    }
    let rows: Vec<Vec<String>> = runners
        .iter()
        .map(|runner| {
            vec![
                short_id(runner.id),
                one_line(&runner.title),
                status(&runner.status),
                format!("{}/{}", runner.used, runner.capacity),
                runner.last_seen.map_or_else(|| "never".to_owned(), |at| time::relative(at, now)),
                one_line(&runner.version),
                runner.capabilities.to_string(),
            ]
        })
        .collect();
    table(&["RUNNER", "TITLE", "STATUS", "USED", "LAST SEEN", "VERSION", "CAPABILITIES"], &rows)
}

/// Everything about a runner.
pub(crate) fn show(runner: &Runner, now: Timestamp) -> String {
    let skew = Duration::from_millis(runner.clock_skew_millis.unsigned_abs());
    let direction = if runner.clock_skew_millis > 0 { "ahead of" } else { "behind" };
    let metadata: Vec<String> =
        runner.metadata.iter().map(|(name, value)| format!("{} = {}", one_line(name), one_line(value))).collect();
    fields(&[
        ("Runner", Some(runner.id.bold().to_string())),
        ("Title", Some(one_line(&runner.title))),
        ("Status", Some(status(&runner.status))),
        ("", runner.explanation.as_deref().map(one_line)),
        ("Capabilities", Some(runner.capabilities.to_string())),
        ("Executors", Some(format!("{} of {}", runner.used, runner.capacity))),
        ("Eviction time", Some(runner.eviction_time.to_string())),
        ("Last seen", runner.last_seen.map(|at| time::at(at, now))),
        ("Registered first", Some(time::at(runner.created, now))),
        ("Registrations", Some(runner.epoch.to_string())),
        ("Token expires", runner.token_expires.map(|at| time::at(at, now))),
        ("Clock", (skew >= SKEW_WORTH_SHOWING).then(|| format!("{} {direction} the server's", time::span(skew)))),
        ("Version", Some(one_line(&runner.version))),
        ("Metadata", (!metadata.is_empty()).then(|| metadata.join("\n"))),
    ])
}

fn status(status: &str) -> String {
    match status {
        "online" => status.green().to_string(),
        "offline" | "conflict" | "outdated" => status.red().to_string(),
        other => one_line(other).yellow().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use legwork_core::{Capabilities, RunnerId};
    use legwork_protocol::duration::HumanDuration;

    use super::*;

    #[test]
    fn runners_look_like_this() {
        let now: Timestamp = "2026-11-23T18:00:00Z".parse().unwrap();
        let runner = Runner {
            id: RunnerId("01936000-0000-7000-8000-00000000beef".parse().unwrap()),
            title: "north-1".to_owned(),
            capabilities: Capabilities::parse_list("remote,docker").unwrap(),
            capacity: 8,
            used: 3,
            eviction_time: HumanDuration(Duration::from_mins(1)),
            status: "online".to_owned(),
            explanation: None,
            epoch: 2,
            last_seen: Some(now.minus(Duration::from_secs(1))),
            created: now.minus(Duration::from_hours(50)),
            token_expires: Some(now.plus(Duration::from_hours(30 * 24))),
            clock_skew_millis: -90_000,
            version: "0.1.0".to_owned(),
            metadata: [("cluster".to_owned(), "north".to_owned())].into(),
        };
        let plain = |text: &str| anstream::adapter::strip_str(text).to_string();
        insta::assert_snapshot!(plain(&show(&runner, now)), @r#"
        Runner            01936000-0000-7000-8000-00000000beef
        Title             north-1
        Status            online
        Capabilities      docker,remote
        Executors         3 of 8
        Eviction time     1m
        Last seen         2026-11-23T17:59:59.000Z (just now)
        Registered first  2026-11-21T16:00:00.000Z (2 d ago)
        Registrations     2
        Token expires     2026-12-23T18:00:00.000Z (in 30 d)
        Clock             1 min 30 s behind the server's
        Version           0.1.0
        Metadata          cluster = north
        "#);
        insta::assert_snapshot!(plain(&list(&[runner], now)), @r#"
        RUNNER    TITLE    STATUS  USED  LAST SEEN  VERSION  CAPABILITIES
        0000beef  north-1  online  3/8   just now   0.1.0    docker,remote
        "#);
    }
}
