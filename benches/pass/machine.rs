//! What it was measured on.

use std::fs;

use serde::Serialize;
use sqlx::PgConnection;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    pub(crate) processor: String,
    pub(crate) memory_gib: Option<u64>,
    pub(crate) system: String,
    pub(crate) postgres: String,
    pub(crate) calmirror: String,
    /// By the database's clock.
    pub(crate) date: String,
}

impl Machine {
    pub(crate) async fn describe(connection: &mut PgConnection) -> anyhow::Result<Self> {
        let (postgres, date): (String, String) =
            sqlx::query_as("select current_setting('server_version'), to_char(now(), 'YYYY-MM-DD')")
                .fetch_one(connection)
                .await?;
        let of = |file: &str, key: &str| {
            let text = fs::read_to_string(file).ok()?;
            let line = text.lines().find_map(|line| line.strip_prefix(key))?;
            Some(line.trim_start_matches([' ', '\t', ':']).trim().to_owned())
        };
        let kib = of("/proc/meminfo", "MemTotal:")
            .and_then(|memory| memory.strip_suffix("kB")?.trim().parse::<u64>().ok());
        Ok(Self {
            cores: std::thread::available_parallelism()?.get(),
            processor: of("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".to_owned()),
            memory_gib: kib.map(|kib| kib.div_ceil(1024 * 1024)),
            system: format!("{} on {}", std::env::consts::OS, std::env::consts::ARCH),
            postgres,
            calmirror: env!("CARGO_PKG_VERSION").to_owned(),
            date,
        })
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} cores ({})", self.cores, self.processor)?;
        if let Some(memory) = self.memory_gib {
            write!(f, ", {memory} GiB")?;
        }
        write!(
            f,
            ", {}, Postgres {}, calmirror {}, {}",
            self.system, self.postgres, self.calmirror, self.date
        )
    }
}
