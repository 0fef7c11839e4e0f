"""A GPT of the library transformers that writes when told to; see `experiments.decoding`.

    python _decoding_in_torch.py WORDS CONTEXT WIDTH DEPTH HEADS ROWS PROMPT LENGTH

prints the number of parameters, and for each number of times that it reads the seconds they took.
"""

import sys
import time

import torch

# torchvision's compiled operators may be absent beside a CPU-only PyTorch, and transformers imports
# it where it is.
OPERATORS = torch.library.Library('torchvision', 'FRAGMENT')
for operator in ('nms', 'qnms'):
    OPERATORS.define(f'{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')

from transformers import GPT2Config, GPT2LMHeadModel, logging  # noqa: E402


def main(*sizes: str) -> None:
    """Write so many times, greedily."""
    words, context, width, depth, heads, rows, prompt, length = map(int, sizes)
    logging.set_verbosity_error()
    torch.set_float32_matmul_precision('high')  # as jax has it on a GPU
    config = GPT2Config(
        vocab_size=words,
        n_positions=context,
        n_embd=width,
        n_layer=depth,
        n_head=heads,
        bos_token_id=None,
        eos_token_id=None,
    )
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    model = GPT2LMHeadModel(config).eval().to(device)
    prompts = torch.ones((rows, prompt), dtype=torch.long, device=device)
    print(sum(p.numel() for p in model.parameters()), flush=True)
    with torch.inference_mode():
        for line in sys.stdin:
            begun = time.perf_counter()
            for _ in range(int(line)):
                text = model.generate(
                    prompts,
                    attention_mask=torch.ones_like(prompts),
                    max_new_tokens=length,
                    min_new_tokens=length,
                    do_sample=False,
                    pad_token_id=0,
                )
                text.cpu()
            print(time.perf_counter() - begun, flush=True)


if __name__ == '__main__':
    main(*sys.argv[1:])
