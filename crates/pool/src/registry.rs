//! What the pool remembers about its workers: one SQLite file, shared by every command and every supervisor.
//!
//! A row is a claim about a process, never a licence to signal it: that takes an identity and a proof (`identity`).

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use protocol::error::ErrorCode;
use protocol::identifiers::WorkerId;
use protocol::pool::{WorkerRecord, WorkerStatus};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::error::PoolError;
use crate::identity::Identity;

/// Version of the tables below. A file with a newer one belongs to a newer program and is left alone.
const SCHEMA_VERSION: i64 = 1;
/// Writers wait this long for each other; each holds the file for milliseconds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Ended workers that are remembered with their logs. More are forgotten, oldest first, when a worker starts.
const ENDED_MAX: usize = 32;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS workers (
        worker_id TEXT PRIMARY KEY,
        model TEXT NOT NULL,
        model_digest TEXT,
        backend TEXT NOT NULL,
        device INTEGER NOT NULL,
        status TEXT NOT NULL,
        url TEXT,
        reason TEXT,
        started_at_ms INTEGER NOT NULL,
        pid INTEGER NOT NULL,
        start_ticks INTEGER NOT NULL,
        boot_id TEXT NOT NULL,
        nonce TEXT NOT NULL,
        supervisor_pid INTEGER NOT NULL,
        supervisor_start_ticks INTEGER NOT NULL,
        log_tail TEXT NOT NULL DEFAULT ''
    );
";

/// One worker as remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    /// What is shown.
    pub record: WorkerRecord,
    /// The worker's process.
    pub process: Identity,
    /// The process that owns it.
    pub supervisor: Identity,
    /// What the worker's environment holds.
    pub nonce: String,
    /// Its last lines of output, once it has ended.
    pub log_tail: Vec<String>,
}

/// Rows that could be read, and the number of those that could not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// Oldest first.
    pub workers: Vec<Worker>,
    /// Rows that do not say what a row must say. They are never acted upon.
    pub damaged: usize,
}

/// The open registry.
#[derive(Debug)]
pub struct Registry {
    connection: Connection,
}

impl Registry {
    /// Opens `pool.db` in a state folder, making both when absent.
    ///
    /// # Errors
    /// The folder or file cannot be used, is no database, or is of a newer schema.
    pub fn open(state_dir: &Path) -> Result<Self, PoolError> {
        make_private_folder(state_dir)?;
        let path = state_dir.join("pool.db");
        let failed = |cause: rusqlite::Error| open_error(&path, &cause);
        let mut connection = Connection::open(&path).map_err(failed)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
        // Switching to WAL and making the tables is the one moment where waiting for each other is not SQLite's business.
        let lock_path = state_dir.join("pool.db.lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&lock_path);
        let lock = lock.and_then(|file| file.lock().map(|()| file));
        let _lock =
            lock.map_err(|cause| PoolError::internal(&format!("failed to lock `{}`", lock_path.display()), cause))?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
        // A record that is acknowledged survives a power cut, not only a crash.
        connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
        migrate(&mut connection, &path)?;
        private_mode(&path, 0o600)?;
        Ok(Self { connection })
    }

    /// Adds a worker.
    ///
    /// # Errors
    /// The file cannot be written, or the id is taken.
    pub fn insert(&self, worker: &Worker) -> Result<(), PoolError> {
        let record = &worker.record;
        let values = params![
            record.worker_id.as_str(),
            record.model.as_str(),
            record.model_digest.map(|digest| digest.to_string()),
            record.backend.name(),
            record.device,
            status_name(record.status),
            record.url,
            to_i64(record.started_at_ms),
            worker.process.pid,
            to_i64(worker.process.start_ticks),
            worker.process.boot_id,
            worker.nonce,
            worker.supervisor.pid,
            to_i64(worker.supervisor.start_ticks),
        ];
        let sql =
            "INSERT INTO workers (worker_id, model, model_digest, backend, device, status, url, started_at_ms, pid,
            start_ticks, boot_id, nonce, supervisor_pid, supervisor_start_ticks)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";
        self.connection.execute(sql, values).map(drop).map_err(write_error)
    }

    /// A starting worker is ready. One that is being stopped meanwhile stays so.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set_ready(&self, worker_id: &WorkerId, url: &str) -> Result<(), PoolError> {
        let sql = "UPDATE workers SET status = 'ready', url = ?2 WHERE worker_id = ?1 AND status = 'starting'";
        self.connection.execute(sql, params![worker_id.as_str(), url]).map(drop).map_err(write_error)
    }

    /// A worker that lives is being stopped.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set_stopping(&self, worker_id: &WorkerId) -> Result<(), PoolError> {
        let sql = "UPDATE workers SET status = 'stopping' WHERE worker_id = ?1 AND status IN ('starting', 'ready')";
        self.connection.execute(sql, params![worker_id.as_str()]).map(drop).map_err(write_error)
    }

    /// A worker has ended. The first ending that is written stands.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set_ended(&self, worker_id: &WorkerId, ended: &EndedRecord<'_>) -> Result<(), PoolError> {
        let sql = "UPDATE workers SET status = ?2, reason = ?3, log_tail = ?4
            WHERE worker_id = ?1 AND status NOT IN ('stopped', 'failed')";
        let tail = ended.log_tail.join("\n");
        let values = params![worker_id.as_str(), status_name(ended.status), ended.reason, tail];
        self.connection.execute(sql, values).map(drop).map_err(write_error)
    }

    /// A failed worker was dealt with: it is listed no more. Its log stays for a while.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set_dismissed(&self, worker_id: &WorkerId) -> Result<(), PoolError> {
        let sql = "UPDATE workers SET status = 'stopped' WHERE worker_id = ?1 AND status = 'failed'";
        self.connection.execute(sql, params![worker_id.as_str()]).map(drop).map_err(write_error)
    }

    /// One worker, if it is remembered and its row is sound.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn get(&self, worker_id: &WorkerId) -> Result<Option<Worker>, PoolError> {
        let sql = "SELECT * FROM workers WHERE worker_id = ?1";
        let row = self.connection.query_row(sql, params![worker_id.as_str()], |row| Ok(read_row(row)));
        Ok(row.optional().map_err(read_error)?.flatten())
    }

    /// Every worker.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn list(&self) -> Result<Listing, PoolError> {
        let sql = "SELECT * FROM workers ORDER BY started_at_ms, worker_id";
        let mut statement = self.connection.prepare(sql).map_err(read_error)?;
        let rows = statement.query_map([], |row| Ok(read_row(row))).map_err(read_error)?;
        let rows: Vec<Option<Worker>> = rows.collect::<Result<_, _>>().map_err(read_error)?;
        let total = rows.len();
        let workers: Vec<Worker> = rows.into_iter().flatten().collect();
        Ok(Listing { damaged: total - workers.len(), workers })
    }

    /// Forgets the oldest ended workers beyond the bound and returns their ids, whose logs may go.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn prune(&self) -> Result<Vec<WorkerId>, PoolError> {
        let ended = |worker: &Worker| matches!(worker.record.status, WorkerStatus::Stopped | WorkerStatus::Failed);
        let mut forgotten: Vec<_> = self.list()?.workers.into_iter().filter(ended).collect();
        forgotten.truncate(forgotten.len().saturating_sub(ENDED_MAX));
        let ids: Vec<WorkerId> = forgotten.into_iter().map(|worker| worker.record.worker_id).collect();
        for id in &ids {
            self.connection
                .execute("DELETE FROM workers WHERE worker_id = ?1", params![id.as_str()])
                .map_err(write_error)?;
        }
        Ok(ids)
    }
}

/// How a worker's end is written down.
#[derive(Debug, Clone, Copy)]
pub struct EndedRecord<'a> {
    /// `Stopped` or `Failed`.
    pub status: WorkerStatus,
    /// Why, in words.
    pub reason: &'a str,
    /// Last lines of output.
    pub log_tail: &'a [String],
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), PoolError> {
    let failed = |cause: rusqlite::Error| open_error(path, &cause);
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(failed)?;
    transaction.execute_batch(SCHEMA).map_err(failed)?;
    let found: Option<i64> = transaction
        .query_row("SELECT value FROM meta WHERE key = 'schema_version'", [], |row| row.get(0))
        .optional()
        .map_err(failed)?;
    match found {
        Some(SCHEMA_VERSION) => {}
        None => {
            let sql = "INSERT INTO meta (key, value) VALUES ('schema_version', ?1)";
            transaction.execute(sql, params![SCHEMA_VERSION]).map_err(failed)?;
        }
        Some(other) => {
            let message =
                format!("`{}` has schema version {other}, this program knows {SCHEMA_VERSION}", path.display());
            return Err(PoolError::new(ErrorCode::Internal, message).hint("use the newer `llorch-pool` that wrote it"));
        }
    }
    transaction.commit().map_err(failed)
}

/// `None` for a row that does not say what it must: an edited or damaged file is no reason to stop everything else.
fn read_row(row: &Row<'_>) -> Option<Worker> {
    let text = |name: &str| row.get::<_, String>(name).ok();
    let optional_text = |name: &str| row.get::<_, Option<String>>(name).ok();
    let number = |name: &str| row.get::<_, i64>(name).ok();
    let digest = optional_text("model_digest")?.map(|digest| digest.parse()).transpose().ok()?;
    let record = WorkerRecord {
        worker_id: text("worker_id")?.parse().ok()?,
        model: text("model")?.parse().ok()?,
        model_digest: digest,
        backend: text("backend")?.parse().ok()?,
        device: number("device")?.try_into().ok()?,
        pid: number("pid")?.try_into().ok()?,
        url: optional_text("url")?,
        status: status_of(&text("status")?)?,
        started_at_ms: number("started_at_ms")?.try_into().ok()?,
        reason: optional_text("reason")?,
    };
    let boot_id = text("boot_id")?;
    let process =
        Identity { pid: record.pid, start_ticks: number("start_ticks")?.try_into().ok()?, boot_id: boot_id.clone() };
    let supervisor = Identity {
        pid: number("supervisor_pid")?.try_into().ok()?,
        start_ticks: number("supervisor_start_ticks")?.try_into().ok()?,
        boot_id,
    };
    let log_tail = text("log_tail")?.lines().map(str::to_owned).collect();
    Some(Worker { record, process, supervisor, nonce: text("nonce")?, log_tail })
}

fn status_name(status: WorkerStatus) -> &'static str {
    match status {
        WorkerStatus::Starting => "starting",
        WorkerStatus::Ready => "ready",
        WorkerStatus::Stopping => "stopping",
        WorkerStatus::Stopped => "stopped",
        WorkerStatus::Failed => "failed",
    }
}

fn status_of(name: &str) -> Option<WorkerStatus> {
    use WorkerStatus::{Failed, Ready, Starting, Stopped, Stopping};
    [Starting, Ready, Stopping, Stopped, Failed].into_iter().find(|status| status_name(*status) == name)
}

/// SQLite's integers are signed; times and ticks stay far below the limit.
fn to_i64(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Makes a folder that only its owner can enter: nonces and logs are in it.
///
/// # Errors
/// It cannot be made.
pub fn make_private_folder(path: &Path) -> Result<(), PoolError> {
    let mut builder = std::fs::DirBuilder::new();
    std::os::unix::fs::DirBuilderExt::mode(builder.recursive(true), 0o700);
    builder.create(path).map_err(|cause| PoolError::internal(&format!("failed to make `{}`", path.display()), cause))
}

fn private_mode(path: &PathBuf, mode: u32) -> Result<(), PoolError> {
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
    std::fs::set_permissions(path, permissions)
        .map_err(|cause| PoolError::internal(&format!("failed to protect `{}`", path.display()), cause))
}

fn open_error(path: &Path, cause: &rusqlite::Error) -> PoolError {
    let error = PoolError::internal(&format!("failed to open `{}`", path.display()), cause);
    match cause.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => {
            error.hint("end its workers with `kill PID`, then move the file away; models are not touched by that")
        }
        _ => error,
    }
}

fn write_error(cause: rusqlite::Error) -> PoolError {
    PoolError::internal("failed to write the pool's records", cause)
}

fn read_error(cause: rusqlite::Error) -> PoolError {
    PoolError::internal("failed to read the pool's records", cause)
}
