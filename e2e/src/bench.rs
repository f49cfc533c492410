//! The measurements of `make bench`. Each compares with something measured in the same run, since timings of a
//! shared machine mean nothing by themselves. Start reading at [`run`].

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

mod docker;
mod idle;
mod nothing;

/// One number of the report.
#[derive(Clone, Debug, Serialize)]
pub struct Measurement {
    /// What was measured.
    pub name: String,
    /// How much.
    pub value: f64,
    /// Of what.
    pub unit: &'static str,
    /// What it is compared with, if there is something.
    pub against: Option<String>,
    /// The value divided by what it is compared with.
    pub ratio: Option<f64>,
    /// What is wanted, in words.
    pub target: Option<String>,
    /// Whether it is met.
    pub met: Option<bool>,
}

impl Measurement {
    /// A number with nothing to say about it.
    pub fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { name: name.into(), value, unit, against: None, ratio: None, target: None, met: None }
    }

    /// Compares with another number of the same unit.
    #[must_use]
    pub fn against(mut self, what: &str, value: f64) -> Self {
        self.against = Some(format!("{what}: {value:.1} {}", self.unit));
        self.ratio = Some(self.value / value);
        self
    }

    /// Wants the value to be at most this.
    #[must_use]
    pub fn at_most(mut self, most: f64) -> Self {
        self.target = Some(format!("≤ {most} {}", self.unit));
        self.met = Some(self.value <= most);
        self
    }

    /// Wants the value to be at least this.
    #[must_use]
    pub fn at_least(mut self, least: f64) -> Self {
        self.target = Some(format!("≥ {least} {}", self.unit));
        self.met = Some(self.value >= least);
        self
    }

    /// Wants the ratio to be at most this.
    #[must_use]
    pub fn ratio_at_most(mut self, most: f64) -> Self {
        self.target = Some(format!("ratio ≤ {most}"));
        self.met = self.ratio.map(|ratio| ratio <= most);
        self
    }
}

/// Durations of one thing, measured again and again.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<Duration>);

impl Samples {
    /// Adds one.
    pub fn add(&mut self, duration: Duration) {
        self.0.push(duration);
    }

    /// The value below which this share of the samples lies, in milliseconds.
    pub fn percentile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort();
        let index = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len().max(1)) - 1;
        sorted.get(index).map_or(f64::NAN, |duration| duration.as_secs_f64() * 1000.0)
    }

    /// The median, in milliseconds.
    pub fn median(&self) -> f64 {
        self.percentile(0.5)
    }
}

/// What stands in `docs/benchmarks.md` before the numbers.
const MARK: &str = "<!-- numbers -->\n";

/// The parts that can be asked for by name.
pub const PARTS: &[&str] = &["sqlite", "postgres", "docker", "idle"];

/// Runs the parts that are asked for (all if none is) and gives what they measured.
pub async fn run(only: &[String]) -> Vec<Measurement> {
    let wanted = |part: &str| only.is_empty() || only.iter().any(|name| name == part);
    let mut measured = Vec::new();
    if wanted("idle") {
        measured.extend(idle::measure());
    }
    if wanted("sqlite") {
        measured.extend(nothing::measure("SQLite", None, 1_000.0).await);
    }
    if wanted("postgres") {
        let url = legwork_database::testing::fresh_postgres().await;
        measured.extend(nothing::measure("PostgreSQL", Some(url), 2_000.0).await);
    }
    if wanted("docker") {
        measured.extend(docker::measure().await);
    }
    measured
}

/// The report as a Markdown table.
pub fn table(measured: &[Measurement]) -> String {
    let mut table = String::from("| what | value | against | ratio | target | met |\n|---|---|---|---|---|---|\n");
    for row in measured {
        let ratio = row.ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
        let met = match row.met {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "",
        };
        let (against, target) = (row.against.as_deref().unwrap_or(""), row.target.as_deref().unwrap_or(""));
        table.push_str(&format!("| {} | {:.1} {} | {against} | {ratio} | {target} | {met} |\n", row.name, row.value, row.unit));
    }
    table
}

/// Writes `results.json` and, after a complete run, the numbers in `docs/benchmarks.md`.
pub fn write(measured: &[Measurement], root: &Path, complete: bool) -> std::io::Result<()> {
    let folder = root.join("target/bench");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("results.json"), serde_json::to_string_pretty(measured)? + "\n")?;
    if complete {
        let page = root.join("docs/benchmarks.md");
        let text = std::fs::read_to_string(&page)?;
        let head = text.split(MARK).next().unwrap_or_default();
        std::fs::write(page, format!("{head}{MARK}\n{}", table(measured)))?;
    }
    Ok(())
}
