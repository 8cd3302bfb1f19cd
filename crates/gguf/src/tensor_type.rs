//! The ggml tensor types: id, name, block geometry. Sizes only; nothing here reads a weight.

use std::borrow::Cow;
use std::fmt;

/// How the elements of a tensor are stored. Ids and block sizes are ggml's (`ggml.h`, `ggml-common.h`).
///
/// Ids ggml removed (4, 5, 31-33, 36-38) and ids nobody knows are [`TensorType::Unknown`]: listed and named, and an error
/// only where the tensor is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the variants are ggml's own names")]
pub enum TensorType {
    F32,
    F16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q8_1,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
    Q8K,
    Iq2Xxs,
    Iq2Xs,
    Iq3Xxs,
    Iq1S,
    Iq4Nl,
    Iq3S,
    Iq2S,
    Iq4Xs,
    I8,
    I16,
    I32,
    I64,
    F64,
    Iq1M,
    BF16,
    Tq1_0,
    Tq2_0,
    Mxfp4,
    Nvfp4,
    Q1_0,
    Q2_0,
    /// An id this table does not have. Its block geometry is unknown.
    Unknown(u32),
}

/// One row of the table below.
struct Row {
    tensor_type: TensorType,
    id: u32,
    name: &'static str,
    block_elements: u64,
    block_bytes: u64,
}

const fn row(tensor_type: TensorType, id: u32, name: &'static str, (block_elements, block_bytes): (u64, u64)) -> Row {
    Row { tensor_type, id, name, block_elements, block_bytes }
}

/// Every known type.
/// `Q8_1` is 36 bytes as in the C struct (two f16 and 32 bytes); no file stores it.
static TABLE: [Row; 35] = [
    row(TensorType::F32, 0, "F32", (1, 4)),
    row(TensorType::F16, 1, "F16", (1, 2)),
    row(TensorType::Q4_0, 2, "Q4_0", (32, 18)),
    row(TensorType::Q4_1, 3, "Q4_1", (32, 20)),
    row(TensorType::Q5_0, 6, "Q5_0", (32, 22)),
    row(TensorType::Q5_1, 7, "Q5_1", (32, 24)),
    row(TensorType::Q8_0, 8, "Q8_0", (32, 34)),
    row(TensorType::Q8_1, 9, "Q8_1", (32, 36)),
    row(TensorType::Q2K, 10, "Q2_K", (256, 84)),
    row(TensorType::Q3K, 11, "Q3_K", (256, 110)),
    row(TensorType::Q4K, 12, "Q4_K", (256, 144)),
    row(TensorType::Q5K, 13, "Q5_K", (256, 176)),
    row(TensorType::Q6K, 14, "Q6_K", (256, 210)),
    row(TensorType::Q8K, 15, "Q8_K", (256, 292)),
    row(TensorType::Iq2Xxs, 16, "IQ2_XXS", (256, 66)),
    row(TensorType::Iq2Xs, 17, "IQ2_XS", (256, 74)),
    row(TensorType::Iq3Xxs, 18, "IQ3_XXS", (256, 98)),
    row(TensorType::Iq1S, 19, "IQ1_S", (256, 50)),
    row(TensorType::Iq4Nl, 20, "IQ4_NL", (32, 18)),
    row(TensorType::Iq3S, 21, "IQ3_S", (256, 110)),
    row(TensorType::Iq2S, 22, "IQ2_S", (256, 82)),
    row(TensorType::Iq4Xs, 23, "IQ4_XS", (256, 136)),
    row(TensorType::I8, 24, "I8", (1, 1)),
    row(TensorType::I16, 25, "I16", (1, 2)),
    row(TensorType::I32, 26, "I32", (1, 4)),
    row(TensorType::I64, 27, "I64", (1, 8)),
    row(TensorType::F64, 28, "F64", (1, 8)),
    row(TensorType::Iq1M, 29, "IQ1_M", (256, 56)),
    row(TensorType::BF16, 30, "BF16", (1, 2)),
    row(TensorType::Tq1_0, 34, "TQ1_0", (256, 54)),
    row(TensorType::Tq2_0, 35, "TQ2_0", (256, 66)),
    row(TensorType::Mxfp4, 39, "MXFP4", (32, 17)),
    row(TensorType::Nvfp4, 40, "NVFP4", (64, 36)),
    row(TensorType::Q1_0, 41, "Q1_0", (128, 18)),
    row(TensorType::Q2_0, 42, "Q2_0", (64, 18)),
];

impl TensorType {
    /// The type with ggml's `id`.
    pub fn from_id(id: u32) -> TensorType {
        TABLE.iter().find(|row| row.id == id).map_or(TensorType::Unknown(id), |row| row.tensor_type)
    }

    /// ggml's id, as it stands in a file.
    pub fn id(self) -> u32 {
        match self {
            TensorType::Unknown(id) => id,
            known => known.row().map_or(u32::MAX, |row| row.id),
        }
    }

    /// ggml's name, as `Q4_1`; for an unknown id `unknown type 77`.
    pub fn name(self) -> Cow<'static, str> {
        match self {
            TensorType::Unknown(id) => match removed_name(id) {
                Some(name) => Cow::Owned(format!("removed type {name}")),
                None => Cow::Owned(format!("unknown type {id}")),
            },
            known => Cow::Borrowed(known.row().map_or("", |row| row.name)),
        }
    }

    /// Whether the geometry is known.
    pub fn is_known(self) -> bool {
        self.row().is_some()
    }

    /// Elements in one block, 1 for plain numbers; `None` for an unknown type.
    pub fn block_elements(self) -> Option<u64> {
        self.row().map(|row| row.block_elements)
    }

    /// Bytes of one block; `None` for an unknown type.
    pub fn block_bytes(self) -> Option<u64> {
        self.row().map(|row| row.block_bytes)
    }

    /// Bytes of a row of `elements`. `None` if the type is unknown, the row is not a whole number of blocks, or the size
    /// leaves u64.
    pub fn row_bytes(self, elements: u64) -> Option<u64> {
        let row = self.row()?;
        if !elements.is_multiple_of(row.block_elements) {
            return None;
        }
        (elements / row.block_elements).checked_mul(row.block_bytes)
    }

    /// Bytes of a tensor of `shape` (`shape[0]` is the row length). `None` as in [`TensorType::row_bytes`].
    pub fn tensor_bytes(self, shape: &[u64]) -> Option<u64> {
        let (first, rest) = shape.split_first()?;
        rest.iter().try_fold(self.row_bytes(*first)?, |bytes, dim| bytes.checked_mul(*dim))
    }

    /// Every type with a known geometry, in order of id within ggml's list.
    pub fn known() -> impl Iterator<Item = TensorType> {
        TABLE.iter().map(|row| row.tensor_type)
    }

    fn row(self) -> Option<&'static Row> {
        TABLE.iter().find(|row| row.tensor_type == self)
    }
}

/// Types that once were in files and that ggml no longer reads.
fn removed_name(id: u32) -> Option<&'static str> {
    Some(match id {
        4 => "Q4_2",
        5 => "Q4_3",
        31 => "Q4_0_4_4",
        32 => "Q4_0_4_8",
        33 => "Q4_0_8_8",
        36 => "IQ4_NL_4_4",
        37 => "IQ4_NL_4_8",
        38 => "IQ4_NL_8_8",
        _ => return None,
    })
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sizes from ggml's block structs, spelled as sums of their fields, so that a slip in the table shows.
    #[test]
    fn block_sizes_are_those_of_the_structs() {
        let half = 2;
        let cases: [(TensorType, u64, u64); 35] = [
            (TensorType::F32, 1, 4),
            (TensorType::F16, 1, 2),
            (TensorType::BF16, 1, 2),
            (TensorType::F64, 1, 8),
            (TensorType::I8, 1, 1),
            (TensorType::I16, 1, 2),
            (TensorType::I32, 1, 4),
            (TensorType::I64, 1, 8),
            (TensorType::Q4_0, 32, half + 16),
            (TensorType::Q4_1, 32, 2 * half + 16),
            (TensorType::Q5_0, 32, half + 4 + 16),
            (TensorType::Q5_1, 32, 2 * half + 4 + 16),
            (TensorType::Q8_0, 32, half + 32),
            (TensorType::Q8_1, 32, 2 * half + 32),
            (TensorType::Q2K, 256, 256 / 16 + 256 / 4 + 2 * half),
            (TensorType::Q3K, 256, 256 / 8 + 256 / 4 + 12 + half),
            (TensorType::Q4K, 256, 2 * half + 12 + 256 / 2),
            (TensorType::Q5K, 256, 2 * half + 12 + 256 / 8 + 256 / 2),
            (TensorType::Q6K, 256, 256 / 2 + 256 / 4 + 256 / 16 + half),
            (TensorType::Q8K, 256, 4 + 256 + 2 * (256 / 16)),
            (TensorType::Iq2Xxs, 256, half + 256 / 4),
            (TensorType::Iq2Xs, 256, half + 256 / 4 + 256 / 32),
            (TensorType::Iq2S, 256, half + 256 / 4 + 256 / 16),
            (TensorType::Iq3Xxs, 256, half + 3 * (256 / 8)),
            (TensorType::Iq3S, 256, half + 13 * (256 / 32) + 256 / 64),
            (TensorType::Iq1S, 256, half + 256 / 8 + 256 / 16),
            (TensorType::Iq1M, 256, 256 / 8 + 256 / 16 + 256 / 32),
            (TensorType::Iq4Nl, 32, half + 16),
            (TensorType::Iq4Xs, 256, 2 * half + 256 / 64 + 256 / 2),
            (TensorType::Tq1_0, 256, half + 256 / 64 + (256 - 16) / 5),
            (TensorType::Tq2_0, 256, half + 256 / 4),
            (TensorType::Mxfp4, 32, 1 + 16),
            (TensorType::Nvfp4, 64, 4 + 32),
            (TensorType::Q1_0, 128, half + 128 / 8),
            (TensorType::Q2_0, 64, half + 64 / 4),
        ];
        for (tensor_type, elements, bytes) in cases {
            assert_eq!(tensor_type.block_elements(), Some(elements), "{tensor_type}");
            assert_eq!(tensor_type.block_bytes(), Some(bytes), "{tensor_type}");
        }
        assert_eq!(TensorType::known().count(), cases.len());
    }

    #[test]
    fn ids_round_trip_and_are_unique() {
        for id in 0..200 {
            assert_eq!(TensorType::from_id(id).id(), id);
        }
        assert_eq!(TensorType::from_id(77), TensorType::Unknown(77));
        assert_eq!(TensorType::Unknown(77).name(), "unknown type 77");
        assert_eq!(TensorType::from_id(31).name(), "removed type Q4_0_4_4");
        assert_eq!(TensorType::from_id(12).name(), "Q4_K");
        assert_eq!(TensorType::from_id(41), TensorType::Q1_0);
    }

    #[test]
    fn sizes_are_checked() {
        assert_eq!(TensorType::Q4_1.row_bytes(576), Some(18 * 20));
        assert_eq!(TensorType::Q4_1.row_bytes(33), None);
        assert_eq!(TensorType::F64.row_bytes(u64::MAX), None);
        assert_eq!(TensorType::Unknown(77).row_bytes(32), None);
        assert_eq!(TensorType::Q8_0.tensor_bytes(&[576, 49152]), Some(576 / 32 * 34 * 49152));
        assert_eq!(TensorType::F32.tensor_bytes(&[1 << 32, 1 << 32, 1 << 32]), None);
        assert_eq!(TensorType::F32.tensor_bytes(&[]), None);
    }
}
