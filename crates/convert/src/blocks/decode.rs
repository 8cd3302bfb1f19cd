//! Every encoding back to f32: the one place that knows how stored weights are read.

use half::f16;

fn half(bytes: &[u8]) -> f32 {
    f16::from_le_bytes([bytes[0], bytes[1]]).to_f32()
}

pub(super) fn f32(bytes: &[u8], out: &mut [f32]) {
    for (value, bytes) in out.iter_mut().zip(bytes.chunks_exact(4)) {
        *value = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
}

pub(super) fn f16(bytes: &[u8], out: &mut [f32]) {
    use half::slice::HalfFloatSliceExt;
    const STRIDE: usize = 256;
    let mut buffer = [f16::ZERO; STRIDE];
    for (bytes, out) in bytes.chunks(STRIDE * 2).zip(out.chunks_mut(STRIDE)) {
        let buffer = &mut buffer[..out.len()];
        for (half, bytes) in buffer.iter_mut().zip(bytes.chunks_exact(2)) {
            *half = f16::from_le_bytes([bytes[0], bytes[1]]);
        }
        buffer.convert_to_f32_slice(out);
    }
}

pub(super) fn bf16(bytes: &[u8], out: &mut [f32]) {
    for (value, bytes) in out.iter_mut().zip(bytes.chunks_exact(2)) {
        *value = f32::from_bits(u32::from(u16::from_le_bytes([bytes[0], bytes[1]])) << 16);
    }
}

/// Elements i and i + 16 from the nibbles of 16 bytes.
fn nibbles(bytes: &[u8], out: &mut [f32], value: impl Fn(usize, u8) -> f32) {
    let (low, high) = out.split_at_mut(16);
    for (index, ((byte, low), high)) in bytes.iter().zip(low).zip(high).enumerate() {
        *low = value(index, byte & 0x0f);
        *high = value(index + 16, byte >> 4);
    }
}

pub(super) fn q4_0(bytes: &[u8], out: &mut [f32]) {
    for (block, out) in bytes.chunks_exact(18).zip(out.chunks_exact_mut(32)) {
        let scale = half(block);
        nibbles(&block[2..], out, |_, level| (f32::from(level) - 8.0) * scale);
    }
}

pub(super) fn q4_1(bytes: &[u8], out: &mut [f32]) {
    for (block, out) in bytes.chunks_exact(20).zip(out.chunks_exact_mut(32)) {
        let (scale, least) = (half(block), half(&block[2..]));
        nibbles(&block[4..], out, |_, level| f32::from(level) * scale + least);
    }
}

/// Level with its fifth bit.
fn five_bits(fifth: &[u8], index: usize, level: u8) -> f32 {
    f32::from(level | (fifth[index / 8] >> (index % 8) & 1) << 4)
}

pub(super) fn q5_0(bytes: &[u8], out: &mut [f32]) {
    for (block, out) in bytes.chunks_exact(22).zip(out.chunks_exact_mut(32)) {
        let scale = half(block);
        nibbles(&block[6..], out, |index, level| (five_bits(&block[2..6], index, level) - 16.0) * scale);
    }
}

pub(super) fn q5_1(bytes: &[u8], out: &mut [f32]) {
    for (block, out) in bytes.chunks_exact(24).zip(out.chunks_exact_mut(32)) {
        let (scale, least) = (half(block), half(&block[2..]));
        nibbles(&block[8..], out, |index, level| five_bits(&block[4..8], index, level) * scale + least);
    }
}

pub(super) fn q8_0(bytes: &[u8], out: &mut [f32]) {
    for (block, out) in bytes.chunks_exact(34).zip(out.chunks_exact_mut(32)) {
        let scale = half(block);
        for (value, level) in out.iter_mut().zip(&block[2..]) {
            *value = f32::from(level.cast_signed()) * scale;
        }
    }
}

/// Scale and offset of group `group` from the 12 bytes that hold eight of each (`k_blocks::pack_six_bits`).
fn six_bits(packed: &[u8], group: usize) -> (f32, f32) {
    let (scale, min) = if group < 4 {
        (packed[group] & 63, packed[group + 4] & 63)
    } else {
        let nibbles = packed[group + 4];
        (nibbles & 0x0f | packed[group - 4] >> 6 << 4, nibbles >> 4 | packed[group] >> 6 << 4)
    };
    (f32::from(scale), f32::from(min))
}

pub(super) fn q4_k(bytes: &[u8], out: &mut [f32]) {
    for (block, out) in bytes.chunks_exact(144).zip(out.chunks_exact_mut(256)) {
        let (scale_step, min_step) = (half(block), half(&block[2..]));
        for (group, out) in out.chunks_exact_mut(32).enumerate() {
            let (scale, min) = six_bits(&block[4..16], group);
            let (scale, min) = (scale_step * scale, min_step * min);
            let levels = &block[16 + group / 2 * 32..];
            let shift = group % 2 * 4;
            for (value, byte) in out.iter_mut().zip(levels) {
                *value = scale * f32::from(byte >> shift & 0x0f) - min;
            }
        }
    }
}

pub(super) fn q5_k(bytes: &[u8], out: &mut [f32]) {
    for (block, out) in bytes.chunks_exact(176).zip(out.chunks_exact_mut(256)) {
        let (scale_step, min_step) = (half(block), half(&block[2..]));
        let fifth = &block[16..48];
        for (group, out) in out.chunks_exact_mut(32).enumerate() {
            let (scale, min) = six_bits(&block[4..16], group);
            let (scale, min) = (scale_step * scale, min_step * min);
            let levels = &block[48 + group / 2 * 32..];
            let shift = group % 2 * 4;
            for ((value, byte), fifth) in out.iter_mut().zip(levels).zip(fifth) {
                let level = byte >> shift & 0x0f | (fifth >> group & 1) << 4;
                *value = scale * f32::from(level) - min;
            }
        }
    }
}

pub(super) fn q6_k(bytes: &[u8], out: &mut [f32]) {
    for (block, out) in bytes.chunks_exact(210).zip(out.chunks_exact_mut(256)) {
        let step = half(&block[208..]);
        let scale = |group: usize| step * f32::from(block[192 + group].cast_signed());
        for (part, out) in out.chunks_exact_mut(128).enumerate() {
            let (low, high) = (&block[part * 64..], &block[128 + part * 32..]);
            for (quarter, out) in out.chunks_exact_mut(32).enumerate() {
                let low = &low[quarter % 2 * 32..];
                let scales = [0, 1].map(|half| scale(part * 8 + quarter * 2 + half));
                for (index, value) in out.iter_mut().enumerate() {
                    let nibble = low[index] >> (quarter / 2 * 4) & 0x0f;
                    let level = nibble | (high[index] >> (quarter * 2) & 3) << 4;
                    *value = scales[index / 16] * (f32::from(level) - 32.0);
                }
            }
        }
    }
}
