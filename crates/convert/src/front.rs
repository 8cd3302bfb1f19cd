//! The hash of an output while it is written: the bytes before the first chunk that is still missing are final, and a thread
//! of its own hashes them from the page cache as that place moves on. What is written and where is `pipeline`'s.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

use crate::error::ConvertError;
use crate::source::hex;

/// Bytes that are read at once.
const BUFFER_BYTES: usize = 1 << 20;

#[derive(Debug, Default)]
struct State {
    /// Everything before it is final.
    final_bytes: u64,
    /// Nothing comes any more.
    is_closed: bool,
}

/// How far the output is final.
#[derive(Debug, Default)]
pub(crate) struct Front {
    state: Mutex<State>,
    moved: Condvar,
}

impl Front {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything before `final_bytes` is final.
    pub(crate) fn advance(&self, final_bytes: u64) {
        let mut state = self.lock();
        if final_bytes > state.final_bytes {
            state.final_bytes = final_bytes;
            self.moved.notify_one();
        }
    }

    /// It moves until the result is dropped, and then no more, wherever it is.
    pub(crate) fn open(&self) -> Open<'_> {
        Open(self)
    }

    /// SHA-256 of the file's first `file_len` bytes, each hashed once it is final; `None` if the front was closed before.
    pub(crate) fn hash(
        &self,
        path: &Path,
        file_len: u64,
        proceed: &dyn Fn() -> Result<(), ConvertError>,
    ) -> Result<Option<String>, ConvertError> {
        let file = File::open(path).map_err(ConvertError::io("open", path))?;
        let (mut hasher, mut buffer, mut hashed) = (Sha256::new(), vec![0; BUFFER_BYTES], 0);
        while hashed < file_len {
            let Some(end) = self.wait_past(hashed) else { return Ok(None) };
            while hashed < end {
                proceed()?;
                let count = usize::try_from(end - hashed).map_or(BUFFER_BYTES, |left| left.min(BUFFER_BYTES));
                file.read_exact_at(&mut buffer[..count], hashed).map_err(ConvertError::io("read", path))?;
                hasher.update(&buffer[..count]);
                hashed += count as u64;
            }
        }
        Ok(Some(hex(&hasher.finalize())))
    }

    /// The front, once it is past `hashed`; `None` if it will never be.
    fn wait_past(&self, hashed: u64) -> Option<u64> {
        let still = |state: &mut State| state.final_bytes <= hashed && !state.is_closed;
        let state = self.moved.wait_while(self.lock(), still).unwrap_or_else(PoisonError::into_inner);
        (state.final_bytes > hashed).then_some(state.final_bytes)
    }
}

/// Somebody moves the front. Its end is a drop, so that a hash does not wait for one that panicked.
pub(crate) struct Open<'a>(&'a Front);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.lock().is_closed = true;
        self.0.moved.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::{BUFFER_BYTES, Front};
    use crate::source::hex;

    #[test]
    fn the_hash_follows_the_front_and_gives_up_with_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x");
        let bytes: Vec<u8> = (0..BUFFER_BYTES * 2 + 7).map(|index| (index % 251) as u8).collect();
        std::fs::write(&path, &bytes).expect("written");
        let length = bytes.len() as u64;
        let front = Front::default();
        let hash = std::thread::scope(|scope| {
            let hash = scope.spawn(|| front.hash(&path, length, &|| Ok(())));
            [1, 1 << 10, length - 1, length].into_iter().for_each(|place| front.advance(place));
            hash.join().expect("no panic").expect("readable")
        });
        assert_eq!(hash, Some(hex(&Sha256::digest(&bytes))));
        let stopped = Front::default();
        stopped.advance(length / 2);
        drop(stopped.open());
        assert_eq!(stopped.hash(&path, length, &|| Ok(())).expect("readable"), None);
    }
}
