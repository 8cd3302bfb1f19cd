"""Writes the stored reference of crates/engine/tests/reference.rs; see accuracy.md."""

import json
import math
import sys

import llama_cpp
import numpy as np

END_OF_GENERATION = {0, 2}
TOKENS_OUT = 24
DECIDED = 5


def chat(question):
    return f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"


PROMPTS = [
    'Once upon a time',
    'The capital of France is',
    'def fibonacci(n):\n',
    'Water boils at',
    chat('What is the largest planet of the solar system?'),
    'The quick brown fox jumps over',
    '1, 2, 3, 4, 5, 6,',
    'for i in range(10):\n',
    'Roses are red, violets are',
    'The first law of thermodynamics states that',
    chat('Write the numbers from one to ten.'),
    chat('What is the capital of Italy?'),
    chat('Name three primary colors.'),
    'To be, or not to be, that is',
    'The days of the week are Monday,',
    'import numpy as np\n',
    'SELECT name FROM users WHERE',
    'In the beginning God created',
    'Photosynthesis is the process by which',
    chat('How many legs does a spider have?'),
    'A, B, C, D, E, F, G,',
    'Monday, Tuesday, Wednesday,',
    '10, 20, 30, 40, 50,',
    'January, February, March,',
    'The United States of America is a country in',
    '#include <stdio.h>\n\nint main',
    '<html>\n<head>\n<title>',
    '2 + 2 = 4\n3 + 3 = 6\n4 + 4 =',
    'Four score and seven years ago our fathers',
    'We hold these truths to be self-evident, that all men are',
    'Twinkle, twinkle, little star,',
    'I think, therefore I',
    'Mary had a little lamb,',
    chat('Who wrote Romeo and Juliet?'),
    chat('What is 2 + 2?'),
    chat("Translate 'good morning' to French."),
    chat('List the seasons of the year.'),
    'one two three four five',
    'class Animal:\n    def __init__(self, name):\n',
    'import os\nimport sys\n',
]


def greedy(model, prompt, one_by_one):
    """The continuation and, for each of its tokens, how far apart the two best logits were."""
    prompt_ids = model.tokenize(prompt.encode(), add_bos=False, special=True)
    model.reset()
    for batch in [[token] for token in prompt_ids] if one_by_one else [prompt_ids]:
        model.eval(batch)
    tokens, gaps = [], []
    for _ in range(TOKENS_OUT):
        logits = model.scores[model.n_tokens - 1]
        best, second = np.argsort(-logits)[:2]
        tokens.append(int(best))
        gaps.append(round(float(logits[best] - logits[second]), 4))
        model.eval([tokens[-1]])
    return prompt_ids, tokens, gaps


def continuation(model, prompt):
    prompt_ids, tokens, gaps = greedy(model, prompt, one_by_one=False)
    ends_after = next((index for index, token in enumerate(tokens) if token in END_OF_GENERATION), None)
    return {
        "prompt": prompt,
        "prompt_ids": prompt_ids,
        "greedy_ids": tokens,
        "top_two_gaps": gaps,
        "ends_after": ends_after,
        "reference_repeats_itself": tokens == greedy(model, prompt, one_by_one=True)[1],
        "text": model.detokenize(tokens, special=True).decode("utf-8", "replace"),
    }


def perplexity(model, text):
    tokens = model.tokenize(text.encode(), add_bos=False, special=True)
    model.reset()
    model.eval(tokens)
    logits = model.scores[: len(tokens)].astype(np.float64)
    peaks = logits.max(1, keepdims=True)
    totals = np.log(np.sum(np.exp(logits - peaks), 1)) + peaks[:, 0]
    losses = totals[:-1] - logits[np.arange(len(tokens) - 1), tokens[1:]]
    return tokens, float(losses.mean())


def main(model_path, text_path, output_path):
    model = llama_cpp.Llama(model_path, n_ctx=8192, n_batch=512, logits_all=True, verbose=False)
    with open(text_path, encoding="utf-8") as file:
        tokens, loss = perplexity(model, file.read())
    prompts = [continuation(model, prompt) for prompt in PROMPTS]
    whole = sorted((p for p in prompts if p["ends_after"] is None), key=lambda p: -min(p["top_two_gaps"]))
    for prompt in prompts:
        prompt["decided"] = prompt in whole[:DECIDED]
    reference = {
        "llama_cpp_python": llama_cpp.__version__,
        "tokens": len(tokens),
        "first_ids": tokens[:32],
        "id_sum": sum(tokens),
        "mean_negative_log_likelihood": loss,
        "perplexity": math.exp(loss),
        "prompts": prompts,
    }
    with open(output_path, "w", encoding="utf-8") as file:
        json.dump(reference, file, indent=1, ensure_ascii=False)


main(*sys.argv[1:4])
