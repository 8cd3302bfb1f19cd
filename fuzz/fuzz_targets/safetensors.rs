//! Arbitrary bytes through the safetensors header parser: no panic, and what it accepts keeps the parser's promises.

#![no_main]

use convert::safetensors::Header;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let file_len = bytes.len() as u64;
    let Ok(header) = Header::parse(bytes, file_len) else { return };
    let mut end = header.data_offset;
    let mut tensors: Vec<_> = header.tensors.iter().collect();
    tensors.sort_unstable_by_key(|tensor| (tensor.offset, tensor.size_bytes));
    for tensor in tensors {
        assert_eq!(tensor.offset, end, "`{}` overlaps or leaves a hole", tensor.name);
        end = tensor.offset.checked_add(tensor.size_bytes).expect("an accepted tensor has an end");
        assert_eq!(header.tensor(&tensor.name), Some(tensor));
        assert_eq!(tensor.elements() * tensor.element_type.size_bytes(), tensor.size_bytes);
    }
    assert_eq!(end, file_len);
});
