//! The hostile families: files that must be refused, each with the words its error must hold, and a few that must be taken.

use crate::raw::{ARRAY, BOOL, Raw, STRING, U8, U32};

/// One file of the table.
pub struct Case {
    /// Its name, also that of its file in the fuzz corpus.
    pub name: String,
    /// Its content.
    pub bytes: Vec<u8>,
    /// Words the error must hold (the field and the reason), or `None` if the file is acceptable.
    pub refused: Option<Vec<&'static str>>,
}

/// The values at which counts and lengths break.
pub const BOUNDARIES: [u64; 8] = [0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 1 << 63, u64::MAX - 7, u64::MAX];

fn refused(name: impl Into<String>, raw: Raw, words: &[&'static str]) -> Case {
    Case { name: name.into(), bytes: raw.0, refused: Some(words.to_vec()) }
}

fn accepted(name: impl Into<String>, raw: Raw) -> Case {
    Case { name: name.into(), bytes: raw.0, refused: None }
}

/// The part of the table that seeds the fuzzer: small files, one boundary a count.
#[allow(dead_code, reason = "the tests of the table do not need it")]
pub fn corpus() -> Vec<Case> {
    let boundaries = BOUNDARIES.map(|n| format!("-{n:x}"));
    let one_of_many = |name: &str| {
        let boundary = boundaries.iter().find(|end| name.ends_with(end.as_str()));
        boundary.is_some_and(|end| end != "-80000000") && name.contains("-length-")
            || name.contains("-count-f")
            || name.contains("-count-8")
            || name.starts_with("dim-")
            || name.starts_with("version-")
            || name.starts_with("magic-")
            || name.starts_with("dims-product-")
            || name.starts_with("alignment-")
    };
    let mut cases = cases();
    cases.retain(|case| case.bytes.len() <= 5_000 && !one_of_many(&case.name));
    cases
}

/// All of them.
pub fn cases() -> Vec<Case> {
    let mut cases = preamble();
    cases.extend(counts());
    cases.extend(metadata());
    cases.extend(arrays());
    cases.extend(alignment());
    cases.extend(tensors());
    cases.extend(placement());
    cases.extend(good());
    cases
}

fn preamble() -> Vec<Case> {
    let with_magic = |magic: &[u8]| Raw::default().bytes(magic).u32(3).u64(0).u64(0);
    vec![
        refused("empty", Raw::default(), &["magic at byte 0", "file has 0"]),
        refused("magic-bad", with_magic(b"GGUZ"), &["magic", "`GGUZ`"]),
        refused("magic-ggjt", with_magic(b"tjgg"), &["magic", "before GGUF"]),
        refused("magic-zip", with_magic(b"PK\x03\x04"), &["zip archive"]),
        refused("magic-reversed", with_magic(b"FUGG"), &["big-endian"]),
        refused("version-big-endian", Raw::start(3u32.swap_bytes(), 0, 0), &["version at byte 4", "big-endian"]),
        refused("version-0", Raw::start(0, 0, 0), &["version 0 is not"]),
        refused("version-1", Raw::start(1, 0, 0), &["version 1 is not", "withdrawn"]),
        refused("version-4", Raw::start(4, 0, 0), &["version 4 is not"]),
        refused("version-max", Raw::start(u32::MAX, 0, 0), &["version at byte 4"]),
    ]
}

/// Every count and length of the format at every boundary. 0 and 1 are sometimes right, which the table then says.
fn counts() -> Vec<Case> {
    let mut cases = Vec::new();
    for n in BOUNDARIES {
        let filler = [0u8; 64];
        if n > 1 {
            cases.push(refused(
                format!("tensor-count-{n:x}"),
                Raw::start(3, n, 0).bytes(&filler),
                &["tensor count at byte 8"],
            ));
            cases.push(refused(
                format!("metadata-count-{n:x}"),
                Raw::start(3, 0, n).bytes(&filler),
                &["metadata count at byte 16"],
            ));
            cases.push(refused(
                format!("string-length-{n:x}"),
                Raw::start(3, 0, 1).key("k", STRING).u64(n).bytes(b"a"),
                &["metadata key `k` at byte 37", "does not fit"],
            ));
            for (type_name, element_type) in [("u8", U8), ("string", STRING), ("array", ARRAY)] {
                let raw = Raw::start(3, 0, 1).key("k", ARRAY);
                cases.push(refused(
                    format!("array-{type_name}-length-{n:x}"),
                    raw.array(element_type, n).bytes(b"\x01"),
                    &["metadata key `k` at byte 41", "does not fit"],
                ));
            }
        }
        let key_words: &[&str] = match n {
            0 => &["key of metadata entry 0 at byte 24", "is empty"],
            // A key of one zero byte, then a type that is not there.
            1 => &["metadata key `\\u{0}` at byte 33", "file has"],
            _ => &["key of metadata entry 0 at byte 24", "does not fit"],
        };
        if n != 1 {
            let raw = Raw::start(3, 0, 1).u64(n).bytes(&filler);
            cases.push(refused(format!("key-length-{n:x}"), raw, key_words));
            let name_words: &[&str] = match n {
                0 => &["name of tensor 0 at byte 24", "is empty"],
                _ => &["name of tensor 0 at byte 24", "does not fit"],
            };
            let raw = Raw::start(3, 1, 0).u64(n).bytes(&filler);
            cases.push(refused(format!("name-length-{n:x}"), raw, name_words));
        }
    }
    let long = vec![b'k'; 70_000];
    cases.push(refused(
        "key-too-long",
        Raw::start(3, 0, 1).string(&long).u32(U8).bytes(&[1]),
        &["key of metadata entry 0", "70000 bytes long"],
    ));
    cases.push(refused(
        "name-too-long",
        Raw::start(3, 1, 0).tensor(&"n".repeat(2_000), &[1], (0, 0)),
        &["name of tensor 0", "2000 bytes long"],
    ));
    cases
}

fn metadata() -> Vec<Case> {
    let one = || Raw::start(3, 0, 1);
    vec![
        refused("value-type-13", one().key("k", 13).u64(0), &["metadata key `k` at byte 33", "type 13"]),
        refused("value-type-max", one().key("k", u32::MAX).u64(0), &["type 4294967295"]),
        refused("bool-2", one().key("k", BOOL).bytes(&[2]), &["metadata key `k` at byte 37", "not 2"]),
        refused("key-utf8", one().string(b"\xff\xfe").u32(U8).bytes(&[1]), &["key of metadata entry 0", "UTF-8"]),
        refused("value-utf8", one().key("k", STRING).string(b"\xc3\x28"), &["metadata key `k`", "UTF-8"]),
        refused(
            "key-twice",
            Raw::start(3, 0, 3).key_u32("k", 1).key_u32("l", 2).key_u32("k", 3),
            &["metadata key `k` at byte 58", "twice, first at byte 24"],
        ),
        refused(
            "key-twice-one-byte-keys",
            (0..200).fold(Raw::start(3, 0, 200), |raw, _| raw.key("k", U8).bytes(&[1])),
            &["metadata key `k`", "twice"],
        ),
        refused("value-cut", one().key("k", U32).bytes(&[1, 2]), &["metadata key `k` at byte 37", "file has"]),
        refused("metadata-count-one-more", Raw::start(3, 0, 2).key_u32("general.alignment", 32), &["metadata entry 1"]),
    ]
}

fn nested(depth: usize) -> Raw {
    let raw = Raw::start(3, 0, 1).key("k", ARRAY);
    let raw = (1..depth).fold(raw, |raw, _| raw.array(ARRAY, 1));
    raw.array(U8, 1).bytes(&[7])
}

fn arrays() -> Vec<Case> {
    let one = || Raw::start(3, 0, 1).key("k", ARRAY);
    let empties = |count: u64| (0..count).fold(one().array(ARRAY, count), |raw, _| raw.array(U8, 0));
    vec![
        refused("array-type-13", one().array(13, 1).u64(0), &["metadata key `k` at byte 37", "type 13"]),
        refused("array-bool-2", one().array(BOOL, 3).bytes(&[0, 1, 2]), &["`k`, element 2 at byte 51", "not 2"]),
        refused(
            "array-string-cut",
            one().array(STRING, 2).string(b"ab").u64(9).bytes(b"c"),
            &["`k`, element 1 at byte 59", "does not fit"],
        ),
        refused(
            "array-string-count-plausible",
            one().array(STRING, 3).string(b"").string(b"0123456789abcdef"),
            &["`k`, element 2"],
        ),
        accepted("nesting-8", nested(8)),
        refused("nesting-9", nested(9), &["metadata key `k`", "deeper than 8"]),
        refused("nesting-65", nested(65), &["metadata key `k`", "deeper than 8"]),
        refused("nesting-2000", nested(2_000), &["metadata key `k`", "deeper than 8"]),
        accepted("nested-empty-100", empties(100)),
    ]
}

fn alignment() -> Vec<Case> {
    let with = |value: u32| Raw::start(3, 0, 1).key_u32("general.alignment", value);
    let mut cases: Vec<Case> = [0, 1, 4, 31, 33, 48, (1 << 20) + 1, 1 << 21, 1 << 31, u32::MAX]
        .into_iter()
        .map(|value| {
            let words = ["metadata key `general.alignment` at byte 24", "power of two"];
            refused(format!("alignment-{value}"), with(value), &words)
        })
        .collect();
    let text = Raw::start(3, 0, 1).key("general.alignment", STRING).string(b"32");
    cases.push(refused("alignment-string", text, &["`general.alignment`", "type string"]));
    cases.push(accepted("alignment-8", with(8)));
    cases.push(accepted("alignment-1m", with(1 << 20)));
    cases
}

fn tensors() -> Vec<Case> {
    let one = |shape: &[u64], ggml_type: u32| Raw::start(3, 1, 0).tensor("t", shape, (ggml_type, 0)).data(32, 4_096);
    let half = 1 << 32;
    let mut cases = vec![
        refused("dims-0", one(&[], 0), &["tensor `t` at byte 33", "0 dimensions"]),
        refused("dims-5", one(&[1, 1, 1, 1, 1], 0), &["tensor `t`", "5 dimensions"]),
        refused("dims-zero-first", one(&[0], 0), &["tensor `t` at byte 37", "dimension 0 is zero"]),
        refused("dims-zero-last", one(&[4, 4, 0], 0), &["tensor `t`", "dimension 2 is zero"]),
        refused("dims-product-wraps-to-0", one(&[half, half], 0), &["tensor `t`", "64 bits"]),
        refused("dims-product-wraps-to-1", one(&[u64::MAX, u64::MAX], 24), &["tensor `t`", "64 bits"]),
        refused("dims-product-wraps-unknown-type", one(&[half, half], 77), &["tensor `t`", "64 bits"]),
        refused("bytes-wrap", one(&[1 << 62], 0), &["tensor `t`", "64 bits"]),
        refused("bytes-wrap-q8", one(&[1 << 63, 1], 8), &["tensor `t`", "file has"]),
        refused("bytes-2-63", one(&[1 << 63], 24), &["tensor `t`", "file has"]),
        refused("bytes-max-i8", one(&[u64::MAX], 24), &["tensor `t`", "ends at byte 18446744073709551"]),
        refused("block-partial", one(&[33], 2), &["tensor `t`", "rows of 33", "Q4_0"]),
        refused("block-partial-k", one(&[64, 4], 12), &["tensor `t`", "rows of 64", "Q4_K"]),
        refused(
            "name-utf8",
            Raw::start(3, 1, 0).string(b"\xff").u32(1).u64(1).u32(0).u64(0).data(32, 32),
            &["name of tensor 0", "UTF-8"],
        ),
        refused(
            "name-twice",
            Raw::start(3, 2, 0).tensor("t", &[8], (0, 0)).tensor("t", &[8], (0, 32)).data(32, 64),
            &["tensor `t` at byte 57", "twice, first at byte 24"],
        ),
        refused(
            "entry-cut",
            Raw::start(3, 1, 0).string(b"a-long-enough-name").u32(1).u64(1),
            &["tensor `a-long-enough-name`", "file has"],
        ),
        accepted("type-unknown", one(&[8], 77)),
        accepted("type-removed", one(&[8], 4)),
        accepted("type-max", one(&[8], u32::MAX)),
    ];
    for n in [1 << 31, u64::from(u32::MAX), 1 << 63, u64::MAX] {
        let raw = one(&[n, 2, 2, 2], 24);
        cases.push(refused(format!("dim-{n:x}"), raw, &["tensor `t`"]));
    }
    cases
}

fn placement() -> Vec<Case> {
    let at =
        |offset: u64, size: u64, data: usize| Raw::start(3, 1, 0).tensor("t", &[size], (24, offset)).data(32, data);
    let two = |types: (u32, u32), offsets: (u64, u64)| {
        Raw::start(3, 2, 0)
            .tensor("t", &[64], (types.0, offsets.0))
            .tensor("u", &[64], (types.1, offsets.1))
            .data(32, 512)
    };
    vec![
        accepted("end-exact", at(0, 64, 64)),
        refused("end-plus-one", at(0, 65, 64), &["tensor `t` at byte 24", "ends at byte 129", "has 128"]),
        refused("offset-end", at(64, 1, 64), &["tensor `t`", "ends at byte 129"]),
        refused("offset-max", at(u64::MAX - 31, 64, 64), &["tensor `t`", "ends at byte 18446744073709551"]),
        refused("offset-2-63", at(1 << 63, 64, 64), &["tensor `t`", "ends at byte"]),
        refused("offset-odd", at(1, 1, 64), &["tensor `t`", "offset 1 is not a multiple"]),
        refused("offset-unaligned-max", at(u64::MAX, 1, 64), &["tensor `t`", "not a multiple"]),
        refused(
            "offset-aligned-otherwise",
            Raw::start(3, 1, 1).key_u32("general.alignment", 64).tensor("t", &[8], (0, 32)).data(64, 512),
            &["tensor `t`", "alignment 64"],
        ),
        refused("no-data", Raw::start(3, 1, 0).tensor("t", &[8], (0, 0)), &["tensor `t`", "file has 57"]),
        refused(
            "unknown-type-past-end",
            Raw::start(3, 1, 0).tensor("t", &[8], (77, 1 << 40)).data(32, 64),
            &["tensor `t`", "ends at byte"],
        ),
        refused("overlap", two((24, 24), (0, 32)), &["tensor `u` at byte 57", "overlaps that of tensor `t`"]),
        refused("overlap-same", two((24, 24), (0, 0)), &["tensor `u`", "overlaps"]),
        refused("overlap-reversed", two((24, 24), (32, 0)), &["tensor `t`", "overlaps that of tensor `u`"]),
        refused("overlap-unknown", two((77, 24), (0, 0)), &["tensor `u`", "overlaps"]),
        accepted("order-reversed", two((24, 24), (64, 0))),
        accepted("hole", two((24, 24), (0, 256))),
    ]
}

fn good() -> Vec<Case> {
    let small = |version: u32| {
        Raw::start(version, 2, 3)
            .key("general.architecture", STRING)
            .string(b"llama")
            .key_u32("llama.block_count", 2)
            .key("tokenizer.ggml.tokens", ARRAY)
            .array(STRING, 3)
            .string(b"a")
            .string(b"\xff")
            .string(b"")
            .tensor("a", &[64, 2], (2, 0))
            .tensor("b", &[8], (0, 96))
            .data(32, 128)
    };
    vec![accepted("good-v2", small(2)), accepted("good-v3", small(3)), accepted("good-nothing", Raw::start(3, 0, 0))]
}
