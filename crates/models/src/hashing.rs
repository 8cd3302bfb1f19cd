//! Hashes of files: SHA-256 for all, with a waypoint after every chunk, and git's own SHA-1 for small files of the hub
//! that the catalog does not pin.
//!
//! A waypoint is the inner state of SHA-256 at a chunk's end. It costs nothing to keep, and it lets each chunk be checked
//! alone: from one waypoint, the chunk's bytes must lead to the next, the last one to the digest. A second hash a chunk
//! would double the work and prove no more.

mod sha1;

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use protocol::identifiers::Digest;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::block_api::compress256;

pub(crate) use sha1::Sha1;

/// Bytes read from a file at once.
const BUFFER_BYTES: usize = 256 * 1024;
/// Bytes that SHA-256 takes at a time (FIPS 180-4, 1).
const BLOCK_BYTES: usize = 64;
/// Where SHA-256 begins (FIPS 180-4, 5.3.3).
const BEGINNING: Waypoint =
    Waypoint([0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19]);

/// The inner state of SHA-256 after whole blocks. Text form: 64 lowercase hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waypoint([u32; 8]);

impl fmt::Display for Waypoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|word| write!(formatter, "{word:08x}"))
    }
}

impl Serialize for Waypoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Waypoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // The same grammar as a digest's, without its prefix.
        let digest = Digest::from_str(&text).map_err(serde::de::Error::custom)?.hex();
        let mut words = [0; 8];
        for (index, word) in words.iter_mut().enumerate() {
            let digits = digest.get(8 * index..8 * index + 8).unwrap_or_default();
            *word = u32::from_str_radix(digits, 16).map_err(serde::de::Error::custom)?;
        }
        Ok(Self(words))
    }
}

/// SHA-256 whose state can be taken and put back between blocks.
#[derive(Clone)]
struct Sha256 {
    state: Waypoint,
    /// What does not fill a block yet.
    rest: [u8; BLOCK_BYTES],
    size_bytes: u64,
}

impl Sha256 {
    /// A hash that goes on from `state`, which was reached after `size_bytes` bytes, a multiple of the block.
    fn resumed(state: Waypoint, size_bytes: u64) -> Self {
        Self { state, rest: [0; BLOCK_BYTES], size_bytes }
    }

    fn rest_bytes(&self) -> usize {
        usize::try_from(self.size_bytes % BLOCK_BYTES as u64).unwrap_or(0)
    }

    fn update(&mut self, mut bytes: &[u8]) {
        let filled = self.rest_bytes();
        self.size_bytes = self.size_bytes.saturating_add(bytes.len() as u64);
        if filled > 0 {
            let (head, tail) = bytes.split_at(bytes.len().min(BLOCK_BYTES - filled));
            self.rest[filled..filled + head.len()].copy_from_slice(head);
            if filled + head.len() < BLOCK_BYTES {
                return;
            }
            compress256(&mut self.state.0, &[self.rest]);
            bytes = tail;
        }
        let (blocks, rest) = bytes.as_chunks();
        compress256(&mut self.state.0, blocks);
        self.rest[..rest.len()].copy_from_slice(rest);
    }

    /// Padding and the digest (FIPS 180-4, 5.1.1).
    fn finish(mut self) -> Digest {
        let bits = self.size_bytes.wrapping_mul(8);
        let mut padding = [0_u8; BLOCK_BYTES + 8];
        padding[0] = 0x80;
        let filled = self.rest_bytes();
        let zeros_end = if filled < BLOCK_BYTES - 8 { BLOCK_BYTES - 8 - filled } else { 2 * BLOCK_BYTES - 8 - filled };
        self.update(&padding[..zeros_end]);
        self.update(&bits.to_be_bytes());
        let mut bytes = [0; 32];
        for (four, word) in bytes.chunks_exact_mut(4).zip(self.state.0) {
            four.copy_from_slice(&word.to_be_bytes());
        }
        Digest::from_bytes(bytes)
    }
}

/// Hashes bytes as they come.
#[derive(Clone)]
pub(crate) struct Hasher {
    sha256: Sha256,
    git_blob: Option<Sha1>,
    /// A waypoint is kept after each so many bytes.
    chunk_bytes: u64,
    waypoints: Vec<Waypoint>,
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) size_bytes: u64,
    pub(crate) sha256: Digest,
    /// Hash as git names the content, if it was asked for.
    pub(crate) git_blob: Option<[u8; 20]>,
    pub(crate) chunk_bytes: u64,
    /// One after every chunk but the last.
    pub(crate) waypoints: Vec<Waypoint>,
}

impl Hasher {
    /// SHA-256 alone, without waypoints.
    pub(crate) fn new() -> Self {
        Self::chunked(u64::MAX)
    }

    /// SHA-256 with a waypoint after every `chunk_bytes`, a multiple of 64.
    pub(crate) fn chunked(chunk_bytes: u64) -> Self {
        debug_assert!(chunk_bytes == u64::MAX || chunk_bytes.is_multiple_of(BLOCK_BYTES as u64));
        Self { sha256: Sha256::resumed(BEGINNING, 0), git_blob: None, chunk_bytes, waypoints: Vec::new() }
    }

    /// Computes the name git gives to a content of `size_bytes` as well.
    pub(crate) fn with_git_blob(self, size_bytes: u64) -> Self {
        let mut git_blob = Sha1::new();
        git_blob.update(format!("blob {size_bytes}\0").as_bytes());
        Self { git_blob: Some(git_blob), ..self }
    }

    /// Bytes that were hashed.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.sha256.size_bytes
    }

    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        if let Some(git_blob) = &mut self.git_blob {
            git_blob.update(bytes);
        }
        while !bytes.is_empty() {
            let left = self.chunk_bytes - self.sha256.size_bytes % self.chunk_bytes;
            let (now, later) = bytes.split_at(bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
            self.sha256.update(now);
            if now.len() as u64 == left {
                self.waypoints.push(self.sha256.state);
            }
            bytes = later;
        }
    }

    /// Reads `source` to its end; `on_bytes` is told the size so far and may stop the reading.
    pub(crate) fn read_all<E>(
        &mut self,
        source: &mut dyn Read,
        wrap: impl FnOnce(io::Error) -> E,
        on_bytes: &mut dyn FnMut(u64) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut buffer = vec![0_u8; BUFFER_BYTES];
        loop {
            match source.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => {
                    self.update(&buffer[..count]);
                    on_bytes(self.size_bytes())?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(wrap(error)),
            }
        }
    }

    pub(crate) fn finish(mut self) -> Sums {
        let size_bytes = self.size_bytes();
        if size_bytes > 0 && size_bytes.is_multiple_of(self.chunk_bytes) {
            // The digest stands for the end of the last chunk.
            self.waypoints.pop();
        }
        Sums {
            size_bytes,
            sha256: self.sha256.finish(),
            git_blob: self.git_blob.map(Sha1::finish),
            chunk_bytes: self.chunk_bytes,
            waypoints: self.waypoints,
        }
    }
}

/// One chunk that is checked alone.
pub(crate) struct ChunkCheck {
    sha256: Sha256,
    goal: Goal,
}

enum Goal {
    Waypoint(Waypoint),
    Digest(Digest),
}

impl ChunkCheck {
    /// Chunk `index` of a file whose waypoints and digest are known; `None` if there is no such chunk.
    pub(crate) fn new(index: usize, chunk_bytes: u64, (waypoints, digest): (&[Waypoint], Digest)) -> Option<Self> {
        let state = match index.checked_sub(1) {
            None => BEGINNING,
            Some(before) => *waypoints.get(before)?,
        };
        let goal = waypoints.get(index).map_or(Goal::Digest(digest), |waypoint| Goal::Waypoint(*waypoint));
        let before_bytes = chunk_bytes.checked_mul(index as u64)?;
        Some(Self { sha256: Sha256::resumed(state, before_bytes), goal })
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
    }

    /// Whether the bytes were the chunk's.
    pub(crate) fn passes(self) -> bool {
        match self.goal {
            Goal::Waypoint(waypoint) => self.sha256.rest_bytes() == 0 && self.sha256.state == waypoint,
            Goal::Digest(digest) => self.sha256.finish() == digest,
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::identifiers::Digest;
    use sha2::Digest as _;

    use super::{ChunkCheck, Hasher, Waypoint};

    fn content(size: usize) -> Vec<u8> {
        (0..size).map(|index| (index * 131 % 251) as u8).collect()
    }

    #[test]
    fn the_digest_is_sha_256_however_the_bytes_come() {
        for size in [0, 1, 55, 56, 63, 64, 65, 119, 120, 127, 128, 1000, 4096, 10_000] {
            let bytes = content(size);
            let expected = Digest::from_bytes(sha2::Sha256::digest(&bytes).into());
            for step in [1, 7, 63, 64, 65, 1000, usize::MAX] {
                let mut hasher = Hasher::chunked(128);
                bytes.chunks(step.min(size.max(1))).for_each(|piece| hasher.update(piece));
                let sums = hasher.finish();
                assert_eq!((sums.sha256, sums.size_bytes), (expected, size as u64), "{size} by {step}");
                assert_eq!(sums.waypoints.len(), size.div_ceil(128).saturating_sub(1), "{size} by {step}");
            }
        }
    }

    #[test]
    fn every_chunk_can_be_checked_alone() {
        let bytes = content(1000);
        let mut hasher = Hasher::chunked(128);
        hasher.update(&bytes);
        let sums = hasher.finish();
        let check = |bytes: &[u8], index: usize| {
            let mut check = ChunkCheck::new(index, 128, (&sums.waypoints, sums.sha256)).expect("a chunk");
            check.update(&bytes[128 * index..bytes.len().min(128 * (index + 1))]);
            check.passes()
        };
        assert!((0..8).all(|index| check(&bytes, index)));
        for at in [0, 127, 128, 500, 999] {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            let bad: Vec<usize> = (0..8).filter(|index| !check(&damaged, *index)).collect();
            assert_eq!(bad, [at / 128]);
        }
        assert!(ChunkCheck::new(9, 128, (&sums.waypoints, sums.sha256)).is_none());
    }

    #[test]
    fn waypoints_survive_their_text_form() {
        let mut hasher = Hasher::chunked(64);
        hasher.update(&content(200));
        for waypoint in hasher.finish().waypoints {
            let text = serde_json::to_string(&waypoint).expect("text");
            assert_eq!(text.len(), 66);
            assert_eq!(serde_json::from_str::<Waypoint>(&text).expect("a waypoint"), waypoint);
        }
        assert!(serde_json::from_str::<Waypoint>("\"../x\"").is_err());
    }
}
