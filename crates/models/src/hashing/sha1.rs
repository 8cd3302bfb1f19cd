//! SHA-1 (FIPS 180-4), only to compare a small file with the name git gives it: the hub announces nothing better for
//! files outside its large-file store. What is recorded and compared later is SHA-256.

/// Hashes bytes as they come.
#[derive(Clone)]
pub(crate) struct Sha1 {
    state: [u32; 5],
    block: [u8; 64],
    block_bytes: usize,
    total_bytes: u64,
}

impl Sha1 {
    pub(crate) fn new() -> Self {
        let state = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
        Self { state, block: [0; 64], block_bytes: 0, total_bytes: 0 }
    }

    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        self.total_bytes = self.total_bytes.wrapping_add(bytes.len() as u64);
        while !bytes.is_empty() {
            let count = bytes.len().min(64 - self.block_bytes);
            let (head, tail) = bytes.split_at(count);
            self.block[self.block_bytes..self.block_bytes + count].copy_from_slice(head);
            self.block_bytes += count;
            bytes = tail;
            if self.block_bytes == 64 {
                compress(&mut self.state, &self.block);
                self.block_bytes = 0;
            }
        }
    }

    pub(crate) fn finish(mut self) -> [u8; 20] {
        let total_bits = self.total_bytes.wrapping_mul(8);
        self.update(&[0x80]);
        while self.block_bytes != 56 {
            self.update(&[0]);
        }
        self.update(&total_bits.to_be_bytes());
        let mut digest = [0; 20];
        for (bytes, word) in digest.chunks_exact_mut(4).zip(self.state) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        digest
    }
}

fn compress(state: &mut [u32; 5], block: &[u8; 64]) {
    let mut words = [0_u32; 80];
    for (word, bytes) in words.iter_mut().zip(block.chunks_exact(4)) {
        *word = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    for i in 16..80 {
        words[i] = (words[i - 3] ^ words[i - 8] ^ words[i - 14] ^ words[i - 16]).rotate_left(1);
    }
    let [mut a, mut b, mut c, mut d, mut e] = *state;
    for (round, word) in words.iter().enumerate() {
        let (mix, constant) = match round / 20 {
            0 => ((b & c) | (!b & d), 0x5a82_7999),
            1 => (b ^ c ^ d, 0x6ed9_eba1),
            2 => ((b & c) | (b & d) | (c & d), 0x8f1b_bcdc),
            _ => (b ^ c ^ d, 0xca62_c1d6),
        };
        let next = a.rotate_left(5).wrapping_add(mix).wrapping_add(e).wrapping_add(constant).wrapping_add(*word);
        (e, d, c, b, a) = (d, c, b.rotate_left(30), a, next);
    }
    for (sum, word) in state.iter_mut().zip([a, b, c, d, e]) {
        *sum = sum.wrapping_add(word);
    }
}

#[cfg(test)]
mod tests {
    use super::Sha1;

    fn hex(parts: &[&[u8]]) -> String {
        let mut hasher = Sha1::new();
        parts.iter().for_each(|part| hasher.update(part));
        hasher.finish().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_published_vectors_hold_whatever_the_slicing() {
        assert_eq!(hex(&[]), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
        assert_eq!(hex(&[b"abc"]), "a9993e364706816aba3e25717850c26c9cd0d89d");
        let two_blocks = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
        assert_eq!(hex(&[two_blocks]), "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
        let million = vec![b'a'; 1_000_000];
        let slices: Vec<&[u8]> = million.chunks(977).collect();
        assert_eq!(hex(&slices), "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
        // What `git hash-object` says of an empty file.
        assert_eq!(hex(&[b"blob 0\0"]), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
    }
}
