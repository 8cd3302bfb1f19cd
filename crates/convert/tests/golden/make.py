#!/usr/bin/env python3
"""Makes the golden conversions of this directory again.

    python make.py inputs                       # writes inputs/ (tiny random checkpoints)
    python make.py convert LLAMA_CPP            # writes expected/ and cases.json
    python make.py check LLAMA_CPP              # converts into a scratch directory and compares

LLAMA_CPP is the directory that holds the reference's convert_hf_to_gguf.py, conversion/ and gguf-py/.
The quantizer's data has a script of its own, make_quantize.py. README.md says which versions were used.
"""
import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
INPUTS = HERE / "inputs"
EXPECTED = HERE / "expected"

# Directory, arguments and patched pre-tokenizer name of every run. `name` None: the reference takes the directory's name.
# `strip`: tensors that the reference cannot read at this commit and that are taken out for its run only.
CASES = [
    {"input": "gpt2", "outtypes": ["f32", "q8_0"], "name": None, "pre": "gpt-2", "strip": [".attn.bias", ".attn.masked_bias"]},
    {"input": "gpt2-prefixed", "outtypes": ["f16", "bf16"], "name": "Golden GPT2", "pre": "gpt-2"},
    {"input": "llama-tied", "outtypes": ["f32", "f16", "bf16", "q8_0"], "name": "Golden Llama", "pre": "smollm"},
    {"input": "llama3", "outtypes": ["f16", "q8_0"], "name": "Golden Llama 3", "pre": "llama-bpe"},
    {"input": "llama-spm", "outtypes": ["f16"], "name": "Golden Llama 2", "pre": None},
    {"input": "llama-eleven", "outtypes": ["f16", "q8_0"], "name": "Golden Eleven", "pre": "smollm"},
    {"input": "mistral", "outtypes": ["bf16"], "name": "Golden Mistral", "pre": None},
    {"input": "qwen2", "outtypes": ["f16", "q8_0"], "name": "Golden Qwen2", "pre": "qwen2"},
    {"input": "qwen2-odd", "outtypes": ["f32", "f16", "bf16", "q8_0"], "name": "Golden Qwen2 Odd", "pre": "qwen2"},
    {"input": "phi3", "outtypes": ["f16", "q8_0"], "name": "Golden Phi3", "pre": None},
    {"input": "phi3-longrope", "outtypes": ["f16"], "name": "Golden Phi3 Long", "pre": None},
    {"input": "granite3", "outtypes": ["f16"], "name": "Golden Granite", "pre": "refact"},
    {"input": "granite-4.0-micro", "outtypes": ["bf16", "q8_0"], "name": None, "pre": "dbrx"},
]


def case_id(case, outtype):
    return f"{case['input']}.{outtype}"


# ---------------------------------------------------------------------------------------------------------------
# inputs


CORPUS = [
    "the quick brown fox jumps over the lazy dog and then the other dog jumps over the fox",
    "There are 3 ways to do it, 33 of them wrong; I've seen them all, and you're not there yet.",
    "this is the thing that the other thing is not, and that is that",
    "    indented code\n\tand tabs\n\n\nthen text again, in the end the end",
    "naïve café, Größe, où est la bibliothèque? 猫が好きです。",
]

GPT4_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2_SPLIT = GPT4_SPLIT.replace(r"\p{N}{1,3}", r"\p{N}")


def byte_level(prefix, trim, regex=None):
    out = {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": trim}
    if regex is not None:
        out["use_regex"] = regex
    return out


def split(pattern):
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def sequence(*parts):
    return {"type": "Sequence", "pretokenizers": list(parts)}


# The pre-tokenizer, normalizer and post-processor as the family's published tokenizer.json has them.
FAMILIES = {
    "gpt-2": {"pre": byte_level(False, True), "post": byte_level(True, False), "normalizer": None},
    "smollm": {
        "pre": sequence({"type": "Digits", "individual_digits": True}, byte_level(False, True, True)),
        "post": None,
        "normalizer": None,
    },
    "refact": {
        "pre": sequence({"type": "Digits", "individual_digits": True}, byte_level(False, True, True)),
        "post": byte_level(True, False, True),
        "normalizer": None,
    },
    "llama-bpe": {"pre": sequence(split(GPT4_SPLIT), byte_level(False, True, False)), "post": "bos", "normalizer": None},
    "qwen2": {
        "pre": sequence(split(QWEN2_SPLIT), byte_level(False, False, False)),
        "post": byte_level(False, False, False),
        "normalizer": {"type": "NFC"},
    },
    "dbrx": {
        "pre": sequence(split(GPT4_SPLIT), byte_level(False, True, False)),
        "post": byte_level(True, False, True),
        "normalizer": None,
    },
}


def added(token_id, content, special=True, normalized=False):
    return {
        "id": token_id,
        "content": content,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": normalized,
        "special": special,
    }


def train_merges(family, merge_count):
    """Trains byte-level BPE merges on CORPUS with the family's pre-tokenizer; returns (vocab, merges)."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    skeleton = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": FAMILIES[family]["normalizer"],
        "pre_tokenizer": FAMILIES[family]["pre"],
        "post_processor": None,
        "decoder": byte_level(True, True, True),
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "vocab": {}, "merges": []},
    }
    tokenizer = Tokenizer.from_str(json.dumps(skeleton))
    trainer = trainers.BpeTrainer(
        vocab_size=256 + merge_count, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], model["merges"]


def write_json(path, value, indent=None):
    path.write_text(json.dumps(value, ensure_ascii=False, indent=indent) + "\n", encoding="utf-8")


def bpe_tokenizer(directory, family, config, added_after, specials_first=(), pair_merges=True, ignore_merges=False):
    """Writes tokenizer.json and tokenizer_config.json; returns {content: id} of the added tokens and the token count.

    `specials_first` shift the trained vocabulary up (SmolLM and Granite 3 keep their specials at the front, in the vocabulary itself).
    """
    vocab, merges = train_merges(family, 24)
    shift = len(specials_first)
    vocab = {token: token_id + shift for token, token_id in vocab.items()}
    vocab = {**{content: i for i, content in enumerate(specials_first)}, **vocab}
    tokens = [added(i, content) for i, content in enumerate(specials_first)]
    next_id = len(vocab)
    for entry in added_after:
        tokens.append(added(next_id, *entry))
        next_id += 1
    ids = {token["content"]: token["id"] for token in tokens}
    post = FAMILIES[family]["post"]
    if post == "bos":
        bos = config["bos_token"]
        post = {
            "type": "Sequence",
            "processors": [
                byte_level(True, False, True),
                {
                    "type": "TemplateProcessing",
                    "single": [{"SpecialToken": {"id": bos, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                    "pair": [
                        {"SpecialToken": {"id": bos, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                        {"SpecialToken": {"id": bos, "type_id": 1}}, {"Sequence": {"id": "B", "type_id": 1}},
                    ],
                    "special_tokens": {bos: {"id": bos, "ids": [ids[bos]], "tokens": [bos]}},
                },
            ],
        }
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None if family != "qwen2" else "",
             "end_of_word_suffix": None if family != "qwen2" else "", "fuse_unk": False, "byte_fallback": False,
             "ignore_merges": ignore_merges, "vocab": vocab, "merges": merges if pair_merges else [" ".join(pair) for pair in merges]}
    write_json(directory / "tokenizer.json", {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": tokens, "normalizer": FAMILIES[family]["normalizer"],
        "pre_tokenizer": FAMILIES[family]["pre"], "post_processor": post, "decoder": byte_level(True, True, True), "model": model,
    })
    decoder = {str(t["id"]): {k: v for k, v in t.items() if k != "id"} for t in tokens}
    write_json(directory / "tokenizer_config.json", {"added_tokens_decoder": decoder, **config}, indent=2)
    return ids, next_id, vocab, merges


def spm_model(directory):
    """Writes a tiny sentencepiece BPE model with byte fallback; returns its size. The model holds no path of this machine."""
    import io
    import sentencepiece

    target = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS), model_writer=target, model_type="bpe", vocab_size=320, byte_fallback=True, num_threads=1,
        character_coverage=1.0, unk_id=0, bos_id=1, eos_id=2, pad_id=-1, hard_vocab_limit=True, normalization_rule_name="identity",
        add_dummy_prefix=True, remove_extra_whitespaces=False, allow_whitespace_only_pieces=True, split_digits=True, minloglevel=2,
    )
    (directory / "tokenizer.model").write_bytes(target.getvalue())
    processor = sentencepiece.SentencePieceProcessor(model_proto=target.getvalue())
    return processor.vocab_size()


# Values that only careful code gets right, put at the start of each matrix' first rows: ties of the f16, bf16 and Q8_0 roundings (with
# a maximum of 127 the Q8_0 scale is exactly 1), both zeros, denormals of f32, f16 and bf16, the largest value that f16 still holds.
SPECIALS = [127.0, 0.5, 1.5, 2.5, -0.5, -1.5, -126.5, -0.0, 0.0, 1e-40, -1e-40, 5.9e-8, 2.9e-8, -3.0e-8, 1.00390625, 1.01171875,
            1.00048828125, 1.00146484375, 65519.0 / 1024, 3.3e-39, 1.1754942e-38, -6.1e-5, 6.0975e-5, 0.1, 1 / 3, 2047.0 / 2048, 126.50001]


def randomize(model, seed):
    """Gives every parameter repeatable random values; norms near one; special values where the rows are long enough."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            values = torch.randn(parameter.shape, generator=generator, dtype=torch.float32)
            if name.endswith(("norm.weight", "layernorm.weight", "ln_1.weight", "ln_2.weight", "ln_f.weight")):
                values = 1.0 + 0.1 * values
            else:
                values = values * (0.02 if parameter.ndim > 1 else 0.1)
            flat = values.view(-1)
            if parameter.ndim > 1 and flat.numel() >= 512:
                flat[: len(SPECIALS)] = torch.tensor(SPECIALS)
                flat[len(SPECIALS): len(SPECIALS) + 5] = 0.01
                row = parameter.shape[-1]
                flat[row: 2 * row] = 0.0  # an all-zero row
                flat[2 * row] = 65519.0  # an outlier that rounds to f16's largest
            parameter.copy_(values)


def save(model, directory, dtype, rename=None, extra=None):
    """Writes model.safetensors and config.json; tied heads are left out as `save_pretrained` does."""
    import torch
    from safetensors.torch import save_file

    model = model.to(getattr(torch, dtype))
    model.save_pretrained(directory)
    (directory / "generation_config.json").unlink(missing_ok=True)
    if rename or extra:
        from safetensors.torch import load_file

        path = directory / "model.safetensors"
        tensors = {rename(k) if rename else k: v for k, v in load_file(path).items()}
        tensors.update(extra or {})
        save_file(tensors, path, metadata={"format": "pt"})


def make_gpt2(base, prefixed):
    import torch
    import transformers

    directory = base / ("gpt2-prefixed" if prefixed else "gpt2")
    directory.mkdir()
    vocab, merges = train_merges("gpt-2", 24)
    end = len(vocab)
    vocab = {**vocab, "<|endoftext|>": end}
    config = transformers.GPT2Config(
        vocab_size=len(vocab), n_positions=32, n_ctx=32, n_embd=16 if prefixed else 32, n_layer=2,
        n_head=2 if prefixed else 4, bos_token_id=end, eos_token_id=end,
    )
    model = transformers.GPT2LMHeadModel(config)
    randomize(model, 11 if prefixed else 10)
    if prefixed:  # names as current transformers writes them, f16; vocab.json and merges.txt only
        save(model, directory, "float16")
        write_json(directory / "tokenizer_config.json", {"tokenizer_class": "GPT2Tokenizer", "model_max_length": 32,
                   "bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"})
    else:  # names and masks as in the published gpt2
        mask = torch.tril(torch.ones(32, 32)).view(1, 1, 32, 32)
        extra = {f"h.{i}.attn.bias": mask.clone() for i in range(2)}
        extra["h.1.attn.masked_bias"] = torch.tensor(-10000.0)
        save(model, directory, "float32", rename=lambda k: k.removeprefix("transformer."), extra=extra)
        raw = json.loads((directory / "config.json").read_text())
        raw.pop("dtype", None)
        raw.pop("transformers_version", None)
        raw["n_ctx"] = 32
        write_json(directory / "config.json", raw, indent=2)
        write_json(directory / "generation_config.json", {"bos_token_id": end, "eos_token_id": end, "_from_model_config": True})
        write_json(directory / "tokenizer_config.json", {"model_max_length": 32})
        write_json(directory / "tokenizer.json", {
            "version": "1.0", "truncation": None, "padding": None,
            "added_tokens": [added(end, "<|endoftext|>", True, True)], "normalizer": None, "pre_tokenizer": FAMILIES["gpt-2"]["pre"],
            "post_processor": FAMILIES["gpt-2"]["post"], "decoder": byte_level(True, True),
            "model": {"dropout": None, "unk_token": None, "continuing_subword_prefix": "", "end_of_word_suffix": "", "fuse_unk": False,
                      "vocab": vocab, "merges": [" ".join(pair) for pair in merges]},
        })
    write_json(directory / "vocab.json", vocab)
    (directory / "merges.txt").write_text("#version: 0.2\n" + "".join(" ".join(p) + "\n" for p in merges), encoding="utf-8")


def make_llama_tied(base):
    import transformers

    directory = base / "llama-tied"
    directory.mkdir()
    ids, size, _, _ = bpe_tokenizer(
        directory, "smollm",
        {"add_prefix_space": False, "bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "unk_token": "<|endoftext|>", "pad_token": "<|im_end|>",
         "clean_up_tokenization_spaces": False, "model_max_length": 64, "tokenizer_class": "GPT2Tokenizer",
         "chat_template": "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
                          "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"},
        [("<plain▁normalized>", False, True), ("<plain▁verbatim>", False, False), ("<|looks special|>", False, False)],
        specials_first=("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    )
    config = transformers.LlamaConfig(
        vocab_size=size, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=64, rope_theta=100000, rms_norm_eps=1e-5, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2, pad_token_id=2,
    )
    model = transformers.LlamaForCausalLM(config)
    randomize(model, 20)
    save(model, directory, "bfloat16")
    write_json(directory / "generation_config.json", {"_from_model_config": True, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2})
    (directory / "README.md").write_text(
        "---\nlibrary_name: transformers\nlicense: apache-2.0\nlanguage:\n- en\n- no\npipeline_tag: text-generation\ntags:\n- golden\n- tiny\n"
        "base_model:\n- example-org/Tiny-Llama-0.1B\ndatasets:\n- example-org/tiny-corpus\n---\n\n# A tiny checkpoint\n\nRandom weights.\n",
        encoding="utf-8",
    )


def make_llama3(base):
    import transformers

    directory = base / "llama3"
    directory.mkdir()
    ids, size, _, _ = bpe_tokenizer(
        directory, "llama-bpe",
        {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>", "clean_up_tokenization_spaces": True,
         "model_input_names": ["input_ids", "attention_mask"], "model_max_length": 256, "tokenizer_class": "PreTrainedTokenizerFast",
         "chat_template": "{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message['role'] }}<|end_header_id|>\n\n"
                          "{{ message['content'] | trim }}<|eot_id|>{% endfor %}"},
        [("<|begin_of_text|>",), ("<|end_of_text|>",), ("<|start_header_id|>",), ("<|end_header_id|>",), ("<|eot_id|>",)],
        ignore_merges=True,
    )
    config = transformers.LlamaConfig(
        vocab_size=size + 3, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
        max_position_embeddings=256, rope_theta=500.0, rms_norm_eps=1e-5, tie_word_embeddings=False,
        bos_token_id=ids["<|begin_of_text|>"], eos_token_id=[ids["<|end_of_text|>"], ids["<|eot_id|>"]],
        rope_scaling={"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64},
    )
    model = transformers.LlamaForCausalLM(config)
    randomize(model, 21)
    save(model, directory, "bfloat16")
    write_json(directory / "generation_config.json", {
        "bos_token_id": ids["<|begin_of_text|>"], "do_sample": True, "eos_token_id": [ids["<|end_of_text|>"], ids["<|eot_id|>"]],
        "temperature": 0.6, "top_p": 0.9, "transformers_version": "4.45.0",
    })


def make_llama_spm(base):
    import transformers

    directory = base / "llama-spm"
    directory.mkdir()
    size = spm_model(directory)
    write_json(directory / "added_tokens.json", {"<pad>": size, "▁two▁words": size + 1})
    entry = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    write_json(directory / "tokenizer_config.json", {
        "add_bos_token": True, "add_eos_token": False,
        "added_tokens_decoder": {
            "0": {"content": "<unk>", **entry, "special": True}, "1": {"content": "<s>", **entry, "special": True},
            "2": {"content": "</s>", **entry, "special": True}, str(size): {"content": "<pad>", **entry, "special": False},
        },
        "bos_token": {"__type": "AddedToken", "content": "<s>", **entry}, "eos_token": "</s>", "unk_token": "<unk>", "pad_token": None,
        "legacy": False, "model_max_length": 64, "padding_side": "right", "sp_model_kwargs": {}, "tokenizer_class": "LlamaTokenizer",
    }, indent=2)
    config = transformers.LlamaConfig(
        vocab_size=size + 4, hidden_size=16, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2,
        max_position_embeddings=64, rms_norm_eps=1e-5, tie_word_embeddings=False, pad_token_id=0,
    )
    model = transformers.LlamaForCausalLM(config)
    randomize(model, 22)
    save(model, directory, "float16")
    # As old checkpoints have it: no rope_theta, no head_dim, `torch_dtype` for `dtype`.
    raw = json.loads((directory / "config.json").read_text())
    for key in ("rope_theta", "head_dim", "attention_bias", "attention_dropout", "mlp_bias", "rope_scaling", "dtype"):
        raw.pop(key, None)
    raw["torch_dtype"] = "float16"
    write_json(directory / "config.json", raw, indent=2)
    write_json(directory / "generation_config.json", {
        "bos_token_id": 1, "do_sample": True, "eos_token_id": 2, "pad_token_id": 0, "temperature": 0.6, "max_length": 64, "top_p": 0.9,
    })


def make_llama_eleven(base):
    import transformers

    directory = base / "llama-eleven"
    directory.mkdir()
    _, size, _, _ = bpe_tokenizer(
        directory, "smollm",
        {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>", "tokenizer_class": "GPT2Tokenizer"},
        [], specials_first=("<|endoftext|>",), pair_merges=False,
    )
    config = transformers.LlamaConfig(
        vocab_size=size, hidden_size=8, intermediate_size=32, num_hidden_layers=11, num_attention_heads=2, num_key_value_heads=1,
        max_position_embeddings=64, tie_word_embeddings=True, bos_token_id=0, eos_token_id=0,
        rope_scaling={"type": "linear", "factor": 2.0},
    )
    model = transformers.LlamaForCausalLM(config)
    randomize(model, 23)
    save(model, directory, "float32")


def make_mistral(base):
    import transformers

    directory = base / "mistral"
    directory.mkdir()
    size = spm_model(directory)
    entry = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    write_json(directory / "tokenizer_config.json", {
        "add_bos_token": True, "add_eos_token": False, "add_prefix_space": True,
        "added_tokens_decoder": {str(i): {"content": c, **entry} for i, c in enumerate(("<unk>", "<s>", "</s>"))},
        "additional_special_tokens": [], "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": None,
        "chat_template": "{{ bos_token }}{% for message in messages %}{{ '[INST] ' + message['content'] + ' [/INST]' }}{% endfor %}",
        "legacy": True, "model_max_length": 1000000000000000019884624838656, "tokenizer_class": "LlamaTokenizer",
    }, indent=2)
    config = transformers.MistralConfig(
        vocab_size=size, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=128, rms_norm_eps=1e-5, rope_theta=1000000.0, sliding_window=None, tie_word_embeddings=False,
    )
    model = transformers.MistralForCausalLM(config)
    randomize(model, 30)
    save(model, directory, "bfloat16")
    # The published configs carry few keys: what is missing comes from the reference library's defaults.
    keep = ("architectures", "attention_dropout", "bos_token_id", "eos_token_id", "hidden_act", "hidden_size", "initializer_range",
            "intermediate_size", "max_position_embeddings", "model_type", "num_attention_heads", "num_hidden_layers", "num_key_value_heads",
            "rms_norm_eps", "rope_theta", "sliding_window", "tie_word_embeddings", "use_cache", "vocab_size")
    raw = json.loads((directory / "config.json").read_text())
    write_json(directory / "config.json", {k: raw[k] for k in keep if k in raw}, indent=2)
    write_json(directory / "generation_config.json", {"_from_model_config": True, "bos_token_id": 1, "eos_token_id": 2})


def make_qwen2(base, odd):
    import transformers

    directory = base / ("qwen2-odd" if odd else "qwen2")
    directory.mkdir()
    config = {"add_prefix_space": False, "additional_special_tokens": ["<|im_start|>", "<|im_end|>"], "bos_token": None,
              "clean_up_tokenization_spaces": False, "eos_token": "<|im_end|>", "errors": "replace", "model_max_length": 128,
              "pad_token": "<|endoftext|>", "split_special_tokens": False, "tokenizer_class": "Qwen2Tokenizer", "unk_token": None}
    template = ("{%- for message in messages %}\n{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}\n{%- endfor %}\n")
    if odd:
        (directory / "chat_template.jinja").write_text(template, encoding="utf-8")
    else:
        config["chat_template"] = template
    ids, size, vocab, merges = bpe_tokenizer(
        directory, "qwen2", config,
        [("<|endoftext|>",), ("<|im_start|>",), ("<|im_end|>",), ("<tool_call>", False, False), ("</tool_call>", False, False)],
        pair_merges=not odd,
    )
    if not odd:
        write_json(directory / "vocab.json", vocab)
        (directory / "merges.txt").write_text("".join(" ".join(p) + "\n" for p in merges), encoding="utf-8")
    settings = transformers.Qwen2Config(
        vocab_size=size if odd else size + 5, hidden_size=36 if odd else 32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2 if odd else 4, num_key_value_heads=1 if odd else 2, max_position_embeddings=128, rms_norm_eps=1e-6,
        rope_theta=1000000.0, tie_word_embeddings=True, bos_token_id=ids["<|endoftext|>"], eos_token_id=ids["<|im_end|>"],
        use_sliding_window=False,
    )
    model = transformers.Qwen2ForCausalLM(settings)
    randomize(model, 41 if odd else 40)
    save(model, directory, "bfloat16")
    write_json(directory / "generation_config.json", {
        "bos_token_id": ids["<|endoftext|>"], "pad_token_id": ids["<|endoftext|>"], "do_sample": True, "eos_token_id": [ids["<|im_end|>"], ids["<|endoftext|>"]],
        "repetition_penalty": 1.1, "temperature": 0.7, "top_p": 0.8, "top_k": 20,
    })


def make_phi3(base, longrope):
    import transformers

    directory = base / ("phi3-longrope" if longrope else "phi3")
    directory.mkdir()
    size = spm_model(directory)
    names = ["<|endoftext|>", "<|assistant|>", "<|user|>", "<|end|>"]
    entry = {"lstrip": False, "normalized": False, "single_word": False}
    decoder = {str(i): {"content": c, **entry, "rstrip": i == 2, "special": i != 2} for i, c in enumerate(("<unk>", "<s>", "</s>"))}
    decoder |= {str(size + i): {"content": c, **entry, "rstrip": i > 0, "special": True} for i, c in enumerate(names)}
    write_json(directory / "added_tokens.json", {c: size + i for i, c in enumerate(names)})
    write_json(directory / "tokenizer_config.json", {
        "add_bos_token": False, "add_eos_token": False, "added_tokens_decoder": decoder, "bos_token": "<s>",
        "chat_template": "{% for message in messages %}{{'<|' + message['role'] + '|>\n' + message['content'] + '<|end|>\n'}}{% endfor %}",
        "clean_up_tokenization_spaces": False, "eos_token": "<|endoftext|>", "legacy": False, "model_max_length": 64, "pad_token": "<|endoftext|>",
        "padding_side": "left", "sp_model_kwargs": {}, "tokenizer_class": "LlamaTokenizer", "unk_token": "<unk>", "use_default_system_prompt": False,
    }, indent=2)
    if longrope:  # with a tokenizer.json beside it, whose added tokens are applied last; only the keys that are read
        tokens = [added(int(i), t["content"], t["special"]) for i, t in decoder.items()]
        tokens[-1]["special"] = False
        write_json(directory / "tokenizer.json", {"version": "1.0", "truncation": None, "padding": None, "added_tokens": tokens, "normalizer": None,
                   "pre_tokenizer": None, "post_processor": None, "decoder": None,
                   "model": {"type": "BPE", "byte_fallback": True, "vocab": {}, "merges": []}})
    config = transformers.Phi3Config(
        vocab_size=size + 8, hidden_size=16 if longrope else 32, intermediate_size=48 if longrope else 64, num_hidden_layers=2,
        num_attention_heads=2 if longrope else 4, num_key_value_heads=1 if longrope else 4,
        max_position_embeddings=256 if longrope else 64, original_max_position_embeddings=64, rms_norm_eps=1e-5, rope_theta=10000.0,
        rope_scaling={"type": "longrope", "long_factor": [1.08, 1.1, 4.5, 29.3], "short_factor": [1.0, 1.02, 1.05, 2.03]} if longrope else None,
        sliding_window=None if longrope else 31, tie_word_embeddings=False, bos_token_id=1, eos_token_id=size, pad_token_id=size,
    )
    model = transformers.Phi3ForCausalLM(config)
    randomize(model, 51 if longrope else 50)
    save(model, directory, "bfloat16")
    write_json(directory / "generation_config.json", {"_from_model_config": True, "bos_token_id": 1, "eos_token_id": [size, size + 3], "pad_token_id": size})


def make_granite3(base):
    import transformers

    directory = base / "granite3"
    directory.mkdir()
    _, size, vocab, merges = bpe_tokenizer(
        directory, "refact",
        {"add_bos_token": False, "add_prefix_space": False, "bos_token": "<|end_of_text|>", "clean_up_tokenization_spaces": True,
         "eos_token": "<|end_of_text|>", "errors": "replace", "model_max_length": 64, "pad_token": "<|end_of_text|>", "padding_side": "left",
         "tokenizer_class": "GPT2Tokenizer", "unk_token": "<|end_of_text|>",
         "chat_template": "{%- for message in messages %}{{- '<|start_of_role|>' + message['role'] + '<|end_of_role|>' + message['content'] + '<|end_of_text|>\n' }}{%- endfor %}"},
        [("<|start_of_role|>",), ("<|end_of_role|>",), ("<|tool_call|>",)],
        specials_first=("<|end_of_text|>", "<fim_prefix>", "<fim_middle>"),
    )
    config = transformers.GraniteConfig(
        vocab_size=size, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=64, rms_norm_eps=1e-5, rope_theta=10000000.0, tie_word_embeddings=True, bos_token_id=0, eos_token_id=0, pad_token_id=0,
        attention_multiplier=0.015625, embedding_multiplier=12.0, residual_multiplier=0.22, logits_scaling=8.0,
    )
    model = transformers.GraniteForCausalLM(config)
    randomize(model, 60)
    save(model, directory, "bfloat16")
    write_json(directory / "generation_config.json", {"_from_model_config": True, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0})


def make_granite4(base):
    import transformers
    from safetensors.torch import load_file, save_file

    directory = base / "granite-4.0-micro"
    directory.mkdir()
    ids, size, _, _ = bpe_tokenizer(
        directory, "dbrx",
        {"add_prefix_space": False, "bos_token": "<|end_of_text|>", "clean_up_tokenization_spaces": False, "eos_token": "<|end_of_text|>",
         "errors": "replace", "model_max_length": 128, "pad_token": "<|pad|>", "padding_side": "left", "tokenizer_class": "GPT2Tokenizer",
         "unk_token": "<|unk|>"},
        [("<|pad|>",), ("<|end_of_text|>",), ("<|unk|>",), ("<|start_of_role|>",), ("<|end_of_role|>",), ("<tool_call>", False, False)],
    )
    (directory / "chat_template.jinja").write_text(
        "{%- for message in messages %}\n{{- '<|start_of_role|>' + message.role + '<|end_of_role|>' + message.content + '<|end_of_text|>\\n' }}\n{%- endfor %}\n",
        encoding="utf-8",
    )
    vocab_size = (size + 7) // 8 * 8
    settings = {
        "architectures": ["GraniteMoeHybridForCausalLM"], "attention_bias": False, "attention_dropout": 0.0, "attention_multiplier": 0.015625,
        "bos_token_id": ids["<|end_of_text|>"], "embedding_multiplier": 12, "eos_token_id": ids["<|end_of_text|>"], "hidden_act": "silu",
        "hidden_size": 32, "init_method": "mup", "initializer_range": 0.1, "intermediate_size": 64, "layer_types": ["attention", "attention"],
        "logits_scaling": 10, "mamba_chunk_size": 256, "mamba_conv_bias": True, "mamba_d_conv": 4, "mamba_d_head": 32, "mamba_d_state": 256,
        "mamba_expand": 2, "mamba_n_groups": 1, "mamba_n_heads": 2, "mamba_proj_bias": False, "max_position_embeddings": 128,
        "model_type": "granitemoehybrid", "normalization_function": "rmsnorm", "num_attention_heads": 4, "num_experts_per_tok": 0,
        "num_hidden_layers": 2, "num_key_value_heads": 2, "num_local_experts": 0, "output_router_logits": False, "pad_token_id": ids["<|pad|>"],
        "position_embedding_type": "rope", "residual_multiplier": 0.22, "rms_norm_eps": 1e-5, "rope_scaling": None, "rope_theta": 10000000,
        "router_aux_loss_coef": 0.01, "shared_intermediate_size": 64, "tie_word_embeddings": True, "torch_dtype": "bfloat16", "use_cache": True,
        "vocab_size": vocab_size,
    }
    config = transformers.GraniteMoeHybridConfig(**{k: v for k, v in settings.items() if k not in ("architectures", "model_type", "torch_dtype")})
    model = transformers.GraniteMoeHybridForCausalLM(config)
    randomize(model, 61)
    save(model, directory, "bfloat16")
    write_json(directory / "config.json", settings, indent=2)
    write_json(directory / "generation_config.json", {"_from_model_config": True, "bos_token_id": ids["<|end_of_text|>"],
               "eos_token_id": ids["<|end_of_text|>"], "pad_token_id": ids["<|pad|>"]})
    # Two shards; layer 0 is torn between them, as a size limit tears a layer.
    tensors = load_file(directory / "model.safetensors")
    (directory / "model.safetensors").unlink()
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    first = [k for k in tensors if k.startswith("model.embed") or (k.startswith("model.layers.0.") and "shared_mlp" not in k)]
    weight_map = {k: names[0] if k in first else names[1] for k in sorted(tensors)}
    for name in names:
        save_file({k: v for k, v in tensors.items() if weight_map[k] == name}, directory / name, metadata={"format": "pt"})
    total = sum(v.numel() * v.element_size() for v in tensors.values())
    write_json(directory / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": weight_map}, indent=2)


def make_inputs(base):
    base.mkdir(parents=True)
    make_gpt2(base, prefixed=False)
    make_gpt2(base, prefixed=True)
    make_llama_tied(base)
    make_llama3(base)
    make_llama_spm(base)
    make_llama_eleven(base)
    make_mistral(base)
    make_qwen2(base, odd=False)
    make_qwen2(base, odd=True)
    make_phi3(base, longrope=False)
    make_phi3(base, longrope=True)
    make_granite3(base)
    make_granite4(base)


# ---------------------------------------------------------------------------------------------------------------
# the reference's runs


def run_reference(llama_cpp, pre, arguments):
    """Runs the reference's main in this process, with its pre-tokenizer lookup answered by `pre`."""
    sys.path.insert(0, str(llama_cpp))
    sys.argv = ["convert_hf_to_gguf.py", *arguments]
    import convert_hf_to_gguf  # noqa: E402  (its own directory was just put on the path)
    from conversion.base import TextModel

    if pre != "-":
        TextModel.get_vocab_base_pre = lambda self, tokenizer: pre
    convert_hf_to_gguf.main()


def strip_tensors(directory, suffixes):
    from safetensors.torch import load_file, save_file

    path = directory / "model.safetensors"
    kept = {k: v for k, v in load_file(path).items() if not k.endswith(tuple(suffixes))}
    save_file(kept, path, metadata={"format": "pt"})


def convert_all(llama_cpp, expected):
    expected.mkdir(parents=True, exist_ok=True)
    cases = []
    for case in CASES:
        for outtype in case["outtypes"]:
            outfile = expected / f"{case_id(case, outtype)}.gguf"
            outfile.unlink(missing_ok=True)
            with tempfile.TemporaryDirectory() as scratch:
                directory = Path(scratch) / case["input"]  # same last component: the reference may derive names from it
                shutil.copytree(INPUTS / case["input"], directory)
                if case.get("strip"):
                    strip_tensors(directory, case["strip"])
                arguments = [str(directory), "--outtype", outtype, "--outfile", str(outfile)]
                if case["name"]:
                    arguments += ["--model-name", case["name"]]
                environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
                done = subprocess.run(
                    [sys.executable, __file__, "_run", str(llama_cpp), case["pre"] or "-", "--", *arguments],
                    env=environment, capture_output=True, text=True,
                )
                if done.returncode != 0:
                    sys.exit(f"{case_id(case, outtype)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
            digest = hashlib.sha256(outfile.read_bytes()).hexdigest()
            print(f"{digest}  {outfile.name}  {outfile.stat().st_size}", flush=True)
            cases.append({
                "id": case_id(case, outtype), "input": f"inputs/{case['input']}", "outtype": outtype, "model_name": case["name"],
                "pre": case["pre"], "stripped_for_reference": case.get("strip", []), "expected": f"expected/{outfile.name}",
                "size_bytes": outfile.stat().st_size, "sha256": digest,
            })
    return cases


def main():
    if len(sys.argv) > 1 and sys.argv[1] == "_run":
        return run_reference(Path(sys.argv[2]), sys.argv[3], sys.argv[5:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["inputs", "convert", "check"])
    parser.add_argument("llama_cpp", nargs="?", type=Path)
    options = parser.parse_args()
    if options.what == "inputs":
        shutil.rmtree(INPUTS, ignore_errors=True)
        make_inputs(INPUTS)
    elif options.llama_cpp is None:
        parser.error("name the directory that holds convert_hf_to_gguf.py")
    elif options.what == "convert":
        shutil.rmtree(EXPECTED, ignore_errors=True)
        write_json(HERE / "cases.json", convert_all(options.llama_cpp.resolve(), EXPECTED), indent=2)
    else:
        with tempfile.TemporaryDirectory() as scratch:
            cases = convert_all(options.llama_cpp.resolve(), Path(scratch))
        if cases != json.loads((HERE / "cases.json").read_text(encoding="utf-8")):
            sys.exit("the reference's output differs from cases.json")
        print("all as committed")


if __name__ == "__main__":
    main()
