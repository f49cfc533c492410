//! `make bench`: measures, prints, and writes the numbers down. `make bench ONLY=docker` runs a part.

use std::io::Write as _;
use std::path::Path;

use legwork_e2e::bench;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let only: Vec<String> =
        std::env::args().skip(1).flat_map(|argument| argument.split(',').map(str::to_owned).collect::<Vec<_>>()).collect();
    if let Some(unknown) = only.iter().find(|name| !bench::PARTS.contains(&name.as_str())) {
        anyhow::bail!("there is no part {unknown:?}; there are {}", bench::PARTS.join(", "));
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("e2e lies in the project");
    let measured = bench::run(&only).await;
    bench::write(&measured, root, only.is_empty())?;
    std::io::stdout().write_all(bench::table(&measured).as_bytes())?;
    Ok(())
}
