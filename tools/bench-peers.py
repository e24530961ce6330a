#!/usr/bin/python3
"""bench-peers.py [--rounds N] [--threads N] [--only WORD] [--pupil PROGRAM]: pupil and PyTorch in turns on the same shapes.

Debian's python3-torch runs modules built as open_clip builds them (nn.MultiheadAttention, pre-norm blocks, GELU),
forward and, for the student, backward, with the OpenBLAS kernel that pupil has chosen, so that both call the same sgemm. The
table shows medians of rounds taken in turns; the last line is JSON. Memory: the peak of pupil's process as a part of
PyTorch's, both with everything that they loaded. Ratios of times mean something on a quiet machine only."""
import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time

VIT = {  # open_clip's sizes: pixels, patch, width, layers, head width, text width, text layers, embedding
    "ViT-B-32": (224, 32, 768, 12, 64, 512, 12, 512),
    "ViT-B-16": (224, 16, 768, 12, 64, 512, 12, 512),
    "ViT-L-14": (224, 14, 1024, 24, 64, 768, 12, 768),
    "ViT-T-16": (224, 16, 192, 12, 64, 384, 12, 512),
}
CONTEXT, VOCAB, REAL = 77, 49408, 15
# name, preset, batch, item of `pupil bench model --json`, what PyTorch does
WORK = [
    ("teacher forward ViT-B/32, images", "ViT-B-32", 16, "teacher forward, {n} images", "image"),
    ("teacher forward ViT-B/16, images", "ViT-B-16", 8, "teacher forward, {n} images", "image"),
    ("teacher forward ViT-L/14, images", "ViT-L-14", 2, "teacher forward, {n} images", "image"),
    ("student step ViT-T/16 + text 384, captions padded to 77", "ViT-T-16", 16, "student step, both towers, padded captions", "step"),
    ("the same, captions of 15 ids packed; PyTorch padded", "ViT-T-16", 16, "student step, both towers, packed captions", "step"),
]


def torch_side(preset, batch, what, rounds):
    """Runs in a process of its own: seconds of each round and the peak of its memory, as JSON."""
    import torch
    from torch import nn

    size, patch, width, layers, head, text_width, text_layers, dim = VIT[preset]
    torch.manual_seed(1)

    class Block(nn.Module):
        def __init__(self, w, heads):
            super().__init__()
            self.ln_1, self.ln_2 = nn.LayerNorm(w), nn.LayerNorm(w)
            self.attn = nn.MultiheadAttention(w, heads)
            self.mlp = nn.Sequential(nn.Linear(w, 4 * w), nn.GELU(), nn.Linear(4 * w, w))

        def forward(self, x, mask):
            y = self.ln_1(x)
            x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
            return x + self.mlp(self.ln_2(x))

    class Image(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, width, patch, patch, bias=False)
            self.cls = nn.Parameter(torch.randn(width) / width**0.5)
            self.pos = nn.Parameter(torch.randn((size // patch) ** 2 + 1, width) / width**0.5)
            self.pre, self.post = nn.LayerNorm(width), nn.LayerNorm(width)
            self.blocks = nn.ModuleList(Block(width, width // head) for _ in range(layers))
            self.proj = nn.Parameter(torch.randn(width, dim) / width**0.5)

        def forward(self, x):
            x = self.conv(x).flatten(2).transpose(1, 2)
            x = torch.cat([self.cls.expand(len(x), 1, -1), x], 1) + self.pos
            x = self.pre(x).transpose(0, 1)
            for b in self.blocks:
                x = b(x, None)
            return self.post(x[0]) @ self.proj

    class Text(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(VOCAB, text_width)
            self.pos = nn.Parameter(torch.randn(CONTEXT, text_width) * 0.01)
            self.blocks = nn.ModuleList(Block(text_width, text_width // 64) for _ in range(text_layers))
            self.final = nn.LayerNorm(text_width)
            self.proj = nn.Parameter(torch.randn(text_width, dim) / text_width**0.5)
            self.register_buffer("mask", torch.full((CONTEXT, CONTEXT), float("-inf")).triu_(1))

        def forward(self, ids):
            x = (self.table(ids) + self.pos).transpose(0, 1)
            for b in self.blocks:
                x = b(x, self.mask)
            x = self.final(x.transpose(0, 1))
            return x[torch.arange(len(ids)), ids.argmax(-1)] @ self.proj

    image, text = Image(), Text() if what == "step" else None
    pixels = torch.randn(batch, 3, size, size)
    ids = torch.zeros(batch, CONTEXT, dtype=torch.long)
    ids[:, : REAL - 1] = torch.randint(1, VOCAB - 2, (batch, REAL - 1))
    ids[:, REAL - 1] = VOCAB - 1

    def work():
        if what == "image":
            with torch.inference_mode():
                image(pixels)
            return
        (image(pixels).square().sum() + text(ids).square().sum()).backward()
        for p in (*image.parameters(), *text.parameters()):
            p.grad = None

    work()
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    a = torch.randn(1024, 1024)
    a @ a
    began = time.perf_counter()
    for _ in range(4):
        a @ a
    gflops = 4 * 2 * 1024**3 / (time.perf_counter() - began) / 1e9
    print(json.dumps({"seconds": seconds, "sgemm": gflops, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))


def pupil_round(args, preset, batch, item, env):
    words = [args.pupil, "bench", "model", "--only", item.split()[0], "--preset", preset, "--batch", str(batch), "--rounds", "1", "--threads", str(args.threads), "--json"]
    found = json.loads(subprocess.run(words, env=env, check=True, capture_output=True, text=True).stdout.strip().splitlines()[-1])
    one = {i["name"]: i for i in found["items"]}[item.format(n=batch)]
    return one["seconds"], one["share"], found["peak_bytes"]


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--only", default="", help="the work whose name holds this")
    p.add_argument("--pupil", default="build/src/cli/pupil")
    p.add_argument("--torch", nargs=3, help=argparse.SUPPRESS)
    args = p.parse_args()
    if args.torch:
        torch_side(args.torch[0], int(args.torch[1]), args.torch[2], 1)
        return
    env = dict(os.environ, OMP_NUM_THREADS=str(args.threads), OPENBLAS_NUM_THREADS=str(args.threads))
    kernel = subprocess.run([args.pupil, "bench", "gemm", "--json"], env=env, check=True, capture_output=True, text=True).stdout
    env["OPENBLAS_CORETYPE"] = json.loads(kernel.strip().splitlines()[-1])["kernel"].upper()
    print(f"OpenBLAS kernel {env['OPENBLAS_CORETYPE']} for both, {args.threads} thread(s), medians of {args.rounds} rounds in turns\n")
    print(f"{'work':58} {'pupil s':>9} {'torch s':>9} {'ratio':>6} {'of sgemm':>9} {'torch sgemm':>12} {'memory':>7}")
    rows = []
    for name, preset, batch, item, what in WORK:
        if args.only not in name:
            continue
        ours, theirs, share, sgemm, peak, own_peak = [], [], [], [], 0, 0
        for _ in range(args.rounds):
            seconds, part, used = pupil_round(args, preset, batch, item, env)
            words = [sys.executable, __file__, "--torch", preset, str(batch), what]
            other = json.loads(subprocess.run(words, env=env, check=True, capture_output=True, text=True).stdout)
            ours.append(seconds)
            share.append(part)
            theirs += other["seconds"]
            sgemm.append(other["sgemm"])
            peak, own_peak = max(peak, other["peak"]), max(own_peak, used)
        row = {"work": name, "pupil": statistics.median(ours), "torch": statistics.median(theirs), "share": statistics.median(share),
               "torch_sgemm": statistics.median(sgemm), "torch_peak_bytes": peak, "pupil_peak_bytes": own_peak}
        row["ratio"] = row["torch"] / row["pupil"]
        rows.append(row)
        print(f"{name:58} {row['pupil']:9.3f} {row['torch']:9.3f} {row['ratio']:6.2f} {100 * row['share']:8.0f}% {row['torch_sgemm']:7.0f} GF/s {own_peak / peak:7.2f}", flush=True)
    print("\n" + json.dumps({"kernel": env["OPENBLAS_CORETYPE"], "threads": args.threads, "rounds": args.rounds, "rows": rows}))


main()
