//! The byte alphabet of GPT-2 style vocabularies: every byte has a printable character that stands for it.
//!
//! Source: Radford et al. 2019, `bytes_to_unicode`: printable Latin-1 bytes stand for themselves, the other 68 are
//! moved to U+0100 and up in byte order.

/// Whether `byte` stands for itself.
fn is_printable(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff)
}

/// The byte that `character` stands for; `None` for characters outside the alphabet.
pub(crate) fn byte_of(character: char) -> Option<u8> {
    let code = u32::from(character);
    if let Ok(byte) = u8::try_from(code) {
        return is_printable(byte).then_some(byte);
    }
    let index = usize::try_from(code.checked_sub(0x100)?).ok()?;
    (0..=u8::MAX).filter(|&byte| !is_printable(byte)).nth(index)
}

/// The bytes a vocabulary entry stands for; `None` if it holds a character outside the alphabet.
pub(crate) fn bytes_of(entry: &str, table: &[Option<u8>; 0x200]) -> Option<Vec<u8>> {
    entry.chars().map(|character| *table.get(usize::try_from(u32::from(character)).ok()?)?).collect()
}

/// `byte_of` for every character below U+0200, so that a vocabulary is decoded without searching.
pub(crate) fn table() -> [Option<u8>; 0x200] {
    let mut table = [None; 0x200];
    for (code, entry) in (0_u32..).zip(table.iter_mut()) {
        *entry = char::from_u32(code).and_then(byte_of);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::{byte_of, table};

    #[test]
    fn every_byte_has_exactly_one_character() {
        let mut seen: Vec<u8> = table().into_iter().flatten().collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..=u8::MAX).collect::<Vec<_>>());
        assert_eq!(byte_of('Ġ'), Some(b' '));
        assert_eq!(byte_of('Ċ'), Some(b'\n'));
        assert_eq!(byte_of('A'), Some(b'A'));
        assert_eq!(byte_of(' '), None);
        assert_eq!(byte_of('€'), None);
    }
}
