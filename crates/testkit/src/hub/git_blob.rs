//! The name git gives a file's content: SHA-1 over `blob <size>\0` and the bytes. Written straight from the standard and
//! apart from the product's, so that one can check the other.

/// Hash of `bytes` as git names them, 40 hexadecimal digits.
#[must_use]
pub fn git_blob_sha1(bytes: &[u8]) -> String {
    let mut message = format!("blob {}\0", bytes.len()).into_bytes();
    message.extend_from_slice(bytes);
    let bits = (message.len() as u64).wrapping_mul(8);
    message.push(0x80);
    while message.len() % 64 != 56 {
        message.push(0);
    }
    message.extend_from_slice(&bits.to_be_bytes());
    let mut state: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
    for block in message.chunks_exact(64) {
        absorb(&mut state, block);
    }
    state.iter().map(|word| format!("{word:08x}")).collect()
}

fn absorb(state: &mut [u32; 5], block: &[u8]) {
    let mut words: Vec<u32> =
        block.chunks_exact(4).map(|bytes| u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])).collect();
    for i in 16..80 {
        words.push((words[i - 3] ^ words[i - 8] ^ words[i - 14] ^ words[i - 16]).rotate_left(1));
    }
    let mut v = *state;
    for (i, word) in words.iter().enumerate() {
        let (f, k) = match i {
            0..20 => ((v[1] & v[2]) | (!v[1] & v[3]), 0x5a82_7999),
            20..40 => (v[1] ^ v[2] ^ v[3], 0x6ed9_eba1),
            40..60 => ((v[1] & v[2]) | (v[1] & v[3]) | (v[2] & v[3]), 0x8f1b_bcdc_u32),
            _ => (v[1] ^ v[2] ^ v[3], 0xca62_c1d6),
        };
        let first = [v[0].rotate_left(5), f, v[4], k, *word].iter().fold(0_u32, |sum, term| sum.wrapping_add(*term));
        v = [first, v[0], v[1].rotate_left(30), v[2], v[3]];
    }
    for (sum, word) in state.iter_mut().zip(v) {
        *sum = sum.wrapping_add(word);
    }
}

#[cfg(test)]
mod tests {
    use super::git_blob_sha1;

    #[test]
    fn git_says_the_same() {
        // `git hash-object` of an empty file, of "hello\n", and of 48 letters (the padding takes a block of its own).
        assert_eq!(git_blob_sha1(b""), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
        assert_eq!(git_blob_sha1(b"hello\n"), "ce013625030ba8dba906f756967f9e9ca394464a");
        assert_eq!(git_blob_sha1(&[b'x'; 48]), "3b3abca28de4b8ce6ea9dac5da512120ed7c5a0c");
    }
}
