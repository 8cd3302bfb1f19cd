//! `tokenizer.model`: the pieces of a sentencepiece model, read from its protobuf encoding.
//!
//! Three fields of one repeated message are needed (`ModelProto.pieces`: piece, score, type), so the wire format is walked
//! here; a code generator and its build step would be larger than this file. Source of the field numbers:
//! `sentencepiece_model.proto`.

use text::MAX_TOKENS;

/// A piece of the vocabulary.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Piece {
    pub(crate) text: Vec<u8>,
    pub(crate) score: f32,
    /// 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6 byte.
    pub(crate) kind: u64,
}

/// A field of a message.
enum Field<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    Fixed32([u8; 4]),
    Fixed64,
}

/// Walks the fields of a message.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    /// The next field with its number; `None` where the encoding is broken.
    fn next_field(&mut self) -> Option<(u64, Field<'a>)> {
        let key = self.varint()?;
        let field = match key & 7 {
            0 => Field::Varint(self.varint()?),
            1 => self.take(8).map(|_| Field::Fixed64)?,
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Field::Bytes(self.take(length)?)
            }
            5 => Field::Fixed32(self.take(4)?.try_into().ok()?),
            _ => return None,
        };
        Some((key >> 3, field))
    }
}

/// All pieces in the order of their ids, or what is wrong.
pub(crate) fn pieces(bytes: &[u8]) -> Result<Vec<Piece>, String> {
    let mut model = Fields(bytes);
    let mut pieces = Vec::new();
    while !model.0.is_empty() {
        let at = bytes.len() - model.0.len();
        let broken = || format!("not a sentencepiece model: damaged at byte {at}");
        if let (1, Field::Bytes(message)) = model.next_field().ok_or_else(broken)? {
            if pieces.len() == MAX_TOKENS {
                return Err(format!("more than {MAX_TOKENS} pieces"));
            }
            pieces.push(piece(message).ok_or_else(broken)?);
        }
    }
    if pieces.is_empty() {
        return Err("not a sentencepiece model: it has no pieces".to_owned());
    }
    Ok(pieces)
}

fn piece(message: &[u8]) -> Option<Piece> {
    let mut fields = Fields(message);
    let mut piece = Piece { text: Vec::new(), score: 0.0, kind: 1 };
    while !fields.0.is_empty() {
        match fields.next_field()? {
            (1, Field::Bytes(text)) => piece.text = text.to_vec(),
            (2, Field::Fixed32(score)) => piece.score = f32::from_le_bytes(score),
            (3, Field::Varint(kind)) => piece.kind = kind,
            (_, Field::Varint(_) | Field::Bytes(_) | Field::Fixed32(_) | Field::Fixed64) => {}
        }
    }
    Some(piece)
}

#[cfg(test)]
mod tests {
    use super::{Piece, pieces};

    #[test]
    fn pieces_are_read_and_damage_is_refused() {
        // pieces { piece: "ab" score: 0.5 type: CONTROL } and a field that is passed over.
        let model = [0x0a, 0x0b, 0x0a, 2, b'a', b'b', 0x15, 0, 0, 0, 0x3f, 0x18, 3, 0x12, 1, 0];
        let expected = Piece { text: b"ab".to_vec(), score: 0.5, kind: 3 };
        assert_eq!(pieces(&model), Ok(vec![expected]));
        for cut in 1..13 {
            assert!(pieces(&model[..cut]).is_err(), "{cut}");
        }
        assert!(pieces(&[]).is_err());
        assert!(pieces(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).is_err());
    }
}
