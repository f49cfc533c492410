//! Prints statements and durable writes per second: `cargo run --release -p legwork-database --example bench [URL]`.
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a program that prints numbers, and joins what it spawns")]

use std::time::{Duration, Instant};

use legwork_database::{Database, Error, Migration, Options, Tx, args, migration};

const MIGRATIONS: &[Migration] = &[migration!("../tests/migrations", 1, "0001_first")];
const CALLERS: i64 = 64;
const TIME: Duration = Duration::from_secs(3);

#[tokio::main]
async fn main() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let url = std::env::args().nth(1).unwrap_or_else(|| directory.path().join("bench.sqlite").display().to_string());
    let options = Options { location: url.parse().expect("the URL can be read"), migrations: MIGRATIONS, readers: 4 };
    let (database, writer) = Database::open(&options).await.expect("the database opens");
    let writer = tokio::spawn(writer.run());
    for (statements, callers) in [(1, 1), (1, CALLERS), (8, CALLERS)] {
        let start = Instant::now();
        let running: Vec<_> = (0..callers)
            .map(|caller| {
                let database = database.clone();
                tokio::spawn(async move {
                    let mut writes = 0;
                    while start.elapsed() < TIME {
                        let id = ((caller * 1_000_000 + writes) * 100 + statements) * 100 + callers;
                        database.write((id, statements), |input, tx| Box::pin(touch(input, tx))).await.expect("it is written");
                        writes += 1;
                    }
                    writes
                })
            })
            .collect();
        let mut writes = 0;
        for caller in running {
            writes += caller.await.expect("no caller panics");
        }
        let rate = writes as f64 / start.elapsed().as_secs_f64();
        println!(
            "{callers:>3} callers, {statements} statements each: {rate:>8.0} durable writes/s, {:>8.0} statements/s",
            rate * statements as f64
        );
    }
    database.close().await;
    writer.await.expect("the writer does not panic");
}

async fn touch((id, statements): &(i64, i64), tx: &mut Tx) -> Result<(), Error> {
    tx.execute("INSERT INTO things (id, name, size) VALUES ($1, $2, 0)", args![*id, "thing"]).await?;
    for size in 1..*statements {
        tx.execute("UPDATE things SET size = $2 WHERE id = $1 AND size < $2", args![*id, size]).await?;
    }
    Ok(())
}
