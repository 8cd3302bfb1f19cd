//! Work on a file that goes on beside its transfer: hashing what is here, and bringing it to the disk. Both would else come
//! after the last byte, and a transfer that is over is one that somebody waits for.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::time::Duration;

use crate::hashing::{Hasher, Sums};

/// Bytes read back at once: they stay in the processor's cache between the read and the hash.
const BUFFER_BYTES: usize = 256 * 1024;
/// Bytes that arrive before the disk is asked to take them.
const SYNC_EVERY_BYTES: u64 = 64 << 20;
/// Between two looks at whether the caller still wants to wait.
const POLL: Duration = Duration::from_millis(50);

/// Hashes a file from its beginning, as far as it is complete, on a thread of its own. The bytes are read back, so that
/// what is hashed is what the file holds, whoever wrote it and when.
pub(super) struct Follower {
    fronts: Sender<u64>,
    sums: Receiver<io::Result<Sums>>,
    is_stopped: Arc<AtomicBool>,
    told: u64,
}

/// What a wait came to.
pub(super) enum Waited<T> {
    Done(T),
    Cancelled,
}

impl Follower {
    /// Begins with an empty `hasher`; `size_bytes` is where the file ends.
    pub(super) fn start(file: Arc<File>, hasher: Hasher, size_bytes: u64) -> io::Result<Self> {
        let (fronts, told) = channel();
        let (sender, sums) = sync_channel(1);
        let is_stopped = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&is_stopped);
        let work = move || {
            let hashed = follow(&file, hasher, (&told, size_bytes), &stopped);
            if let Some(hashed) = hashed {
                let _nobody_waits = sender.send(hashed);
            }
        };
        std::thread::Builder::new().name("llorch-hash".to_owned()).spawn(work)?;
        Ok(Self { fronts, sums, is_stopped, told: 0 })
    }

    /// The file is complete up to `front`.
    pub(super) fn advance(&mut self, front: u64) {
        if front > self.told {
            self.told = front;
            // It ended with an error, which `finish` tells.
            let _ended = self.fronts.send(front);
        }
    }

    /// The hashes, once the whole file was read. `tick` is called while that lasts and says whether to go on.
    pub(super) fn finish(self, tick: &mut dyn FnMut() -> bool) -> io::Result<Waited<Sums>> {
        wait(&self.sums, tick).map_or(Ok(Waited::Cancelled), |sums| sums.map(Waited::Done))
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }
}

/// The thread's work; `None` if it was stopped.
fn follow(
    file: &File,
    mut hasher: Hasher,
    (fronts, size_bytes): (&Receiver<u64>, u64),
    is_stopped: &AtomicBool,
) -> Option<io::Result<Sums>> {
    let mut buffer = vec![0_u8; BUFFER_BYTES];
    let mut at = 0;
    while at < size_bytes {
        let front = fronts.recv().ok()?;
        while at < front {
            if is_stopped.load(Ordering::Relaxed) {
                return None;
            }
            let wanted = usize::try_from(front - at).unwrap_or(BUFFER_BYTES).min(BUFFER_BYTES);
            match file.read_at(&mut buffer[..wanted], at) {
                Ok(0) => return Some(Err(io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => {
                    hasher.update(&buffer[..count]);
                    at += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }
    Some(Ok(hasher.finish()))
}

/// Brings a file to the disk while it grows, on a thread of its own.
pub(super) struct Syncer {
    asks: SyncSender<Ask>,
    arrived: u64,
}

enum Ask {
    Some,
    All(SyncSender<io::Result<()>>),
}

impl Syncer {
    pub(super) fn start(file: Arc<File>) -> io::Result<Self> {
        let (asks, asked) = sync_channel(1);
        let work = move || {
            while let Ok(ask) = asked.recv() {
                let synced = file.sync_data();
                if let Ask::All(sender) = ask {
                    let _nobody_waits = sender.send(synced);
                    return;
                }
                // An error comes again, or does not matter: the last call decides.
            }
        };
        std::thread::Builder::new().name("llorch-sync".to_owned()).spawn(work)?;
        Ok(Self { asks, arrived: 0 })
    }

    /// So many bytes more were written.
    pub(super) fn arrived(&mut self, bytes: u64) {
        self.arrived += bytes;
        if self.arrived >= SYNC_EVERY_BYTES {
            self.arrived = 0;
            // While the disk is busy with the last call there is nothing to ask for.
            let _busy = self.asks.try_send(Ask::Some);
        }
    }

    /// Waits until everything is on disk. `tick` is called while that lasts and says whether to go on.
    pub(super) fn finish(self, tick: &mut dyn FnMut() -> bool) -> io::Result<Waited<()>> {
        let (sender, synced) = sync_channel(1);
        let mut ask = Ask::All(sender);
        loop {
            match self.asks.try_send(ask) {
                Ok(()) => return wait(&synced, tick).map_or(Ok(Waited::Cancelled), |synced| synced.map(Waited::Done)),
                Err(std::sync::mpsc::TrySendError::Full(again)) if tick() => {
                    ask = again;
                    std::thread::sleep(POLL / 10);
                }
                Err(_) => return Ok(Waited::Cancelled),
            }
        }
    }
}

/// Waits for a thread's one message; `None` if `tick` says to stop.
fn wait<T>(messages: &Receiver<io::Result<T>>, tick: &mut dyn FnMut() -> bool) -> Option<io::Result<T>> {
    while tick() {
        match messages.recv_timeout(POLL) {
            Ok(message) => return Some(message),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Some(Err(io::Error::other("its thread ended early"))),
        }
    }
    None
}
