//! What must hold of any bytes that are read as server-sent events. Shared by the fuzz target and the test that replays its
//! corpus. The first byte says how the rest is cut.

use protocol::sse::{Decoder, Frame, SseError, encode};

/// Panics if a promise is broken.
pub fn check(bytes: &[u8]) {
    let Some((&cut, stream)) = bytes.split_first() else { return };
    let whole = Decoder::new().push(stream);
    assert_eq!(in_pieces(stream, usize::from(cut).max(1)), whole, "the cuts change what arrives");
    for frame in whole.unwrap_or_default() {
        if frame.data.contains('\n') {
            continue;
        }
        let id = frame.id.as_ref().map(|id| id as &dyn std::fmt::Display);
        let again = Decoder::new().push(encode(id, &frame.data).as_bytes());
        assert_eq!(again, Ok(vec![frame]));
    }
}

fn in_pieces(stream: &[u8], piece_bytes: usize) -> Result<Vec<Frame>, SseError> {
    let mut decoder = Decoder::new();
    let pieces = stream.chunks(piece_bytes).map(|piece| decoder.push(piece)).collect::<Result<Vec<_>, _>>()?;
    Ok(pieces.into_iter().flatten().collect())
}
