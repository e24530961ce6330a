#!/usr/bin/env python3
"""Embeddings of a teacher, made on a machine with GPUs, for `pupil cache import`.

Runs an open_clip model over image-text pairs and writes one HDF5 file a shard: image_embeddings and
text_embeddings [N, D] before normalisation, keys [N], and attributes that tell of the teacher. A shard whose
file is there is skipped, so the same command goes on after a stop; --rank and --world-size share the shards
out over the jobs of a job array. tools/export-teacher.md describes the format and both sides of the way.

Needs Python 3.9, torch, open_clip_torch, h5py and Pillow."""

import argparse
import csv
import hashlib
import io
import itertools
import json
import os
import re
import sys
import tarfile
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

PICTURES = {"jpg", "jpeg", "png", "webp"}
BLANK = " \t\n\r\v\f"


def fail(text):
    sys.exit("export-teacher: " + text)


# ---- what there is to embed: shards of samples ----------------------------------------------------------


class Sample:
    """A key as pupil names it, the first caption, and where the picture's bytes are."""

    def __init__(self, key, caption, path, offset=None, size=None):
        self.key, self.caption, self.path, self.offset, self.size = key, caption, path, offset, size

    def picture(self):
        with open(self.path, "rb") as f:
            if self.offset is None:
                return f.read()
            f.seek(self.offset)
            return f.read(self.size)


def json_caption(text):
    """The first text among "caption", "captions" and else "text", each a text or a list of them."""
    try:
        root = json.loads(text)
    except ValueError:
        return ""
    for key in ("caption", "captions", "text"):
        value = root.get(key) if isinstance(root, dict) else None
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, str) and item.strip(BLANK):
                return item.strip(BLANK)
    return ""


def read_tar(path):
    """Samples of a WebDataset tar. A key is a member's name up to the last dot of its file name."""
    found = {}
    with tarfile.open(path, "r:") as tar:
        for m in tar:
            name = m.name
            while name.startswith("./"):
                name = name[2:]
            stem, dot, extension = name.rpartition(".")
            if m.isreg() and dot and not stem.endswith("/") and stem and "/" not in extension:
                kind = "picture" if extension.lower() in PICTURES else extension.lower()
                found.setdefault(stem, {}).setdefault(kind, (m.offset_data, m.size))
    with open(path, "rb") as f:

        def text(place):
            f.seek(place[0])
            return f.read(place[1]).decode("utf-8", "replace")

        for key, parts in found.items():
            caption = text(parts["txt"]).strip(BLANK) if "txt" in parts else ""
            if not caption and "json" in parts:
                caption = json_caption(text(parts["json"]))
            place = parts.get("picture", (None, None))
            yield Sample(key, caption, path if place[0] is not None else None, *place)


def file_sample(roots, name, caption):
    """A picture in a file of its own. Its key is its path below the root, without the extension."""
    parts = [p for p in name.split("/") if p not in ("", ".")]
    for root in roots:
        top = [p for p in os.path.abspath(root).split("/") if p]
        if name.startswith("/") and parts[: len(top)] == top:
            parts = parts[len(top):]
            break
    name = "/".join(parts)
    path = next((p for p in (os.path.join(r, name) for r in roots) if os.path.isfile(p)), None)
    folder, _, file = name.rpartition("/")
    stem = file.rpartition(".")[0] or file
    return Sample(f"{folder}/{stem}" if folder else stem, caption.strip(BLANK), path)


def read_csv(path, images, image_key, caption_key):
    roots = images or [os.path.dirname(path) or "."]
    with open(path, encoding="utf-8", errors="replace", newline="") as f:
        tab = "\t" in f.readline()
        f.seek(0)
        table = csv.DictReader(f, delimiter="\t" if tab else ",")
        columns = [c.strip(" ") for c in table.fieldnames or []]
        table.fieldnames = columns
        for key in (image_key, caption_key):
            if key not in columns:
                fail(f'{path}: no column "{key}"; there are {", ".join(columns)}')
        seen = set()
        for row in table:
            s = file_sample(roots, row[image_key] or "", row[caption_key] or "")
            if s.key not in seen:  # later rows are further captions of the same picture
                seen.add(s.key)
                yield s


def braces(pattern):
    """shards/{000..011}.tar and {a,b}.tar, as pupil's settings have them."""
    m = re.search(r"\{([^{}]*)\}", pattern)
    if not m:
        return [pattern]
    run = re.fullmatch(r"(\d+)\.\.(\d+)", m[1])
    if run:
        words = [str(i).zfill(len(run[1])) for i in range(int(run[1]), int(run[2]) + 1)]
    else:
        words = m[1].split(",")
    return [x for w in words for x in braces(pattern[: m.start()] + w + pattern[m.end():])]


def chunks(samples, n):
    samples = iter(samples)
    while True:
        part = list(itertools.islice(samples, n))
        if not part:
            return
        yield part


def shards_of(args):
    """(name of the output, function that gives its samples) for each shard."""
    if args.tars:
        words = [w for pattern in args.tars for w in re.split(r",(?![^{]*\})", pattern)]
        tars = [t for w in words for t in braces(w)]
        names = [os.path.basename(t).rpartition(".")[0] or os.path.basename(t) for t in tars]
        if len(set(names)) < len(names):
            names = [f"{i:05d}-{name}" for i, name in enumerate(names)]
        return [(n, lambda t=t: list(read_tar(t))) for n, t in zip(names, tars)]
    table = read_csv(args.csv, args.images, args.image_key, args.caption_key)
    name = os.path.basename(args.csv).rpartition(".")[0] or os.path.basename(args.csv)
    return [(f"{name}-{i:05d}", lambda part=part: part) for i, part in enumerate(chunks(table, args.rows_per_file))]


# ---- the teacher ----------------------------------------------------------------------------------------


def weights_digest(model):
    """SHA-256 over names, shapes and values, whatever file they came from."""
    import torch

    h = hashlib.sha256()
    for name, t in sorted(model.state_dict().items()):
        t = t.detach().cpu().contiguous()
        h.update(f"{name} {t.dtype} {tuple(t.shape)}\n".encode())
        h.update(t.reshape(-1).view(torch.uint8).numpy().tobytes() if t.dim() else str(t.item()).encode())
    return h.hexdigest()


class Teacher:
    def __init__(self, args):
        import open_clip
        import torch

        self.torch = torch
        self.device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.kind = {"fp32": None, "fp16": torch.float16, "bf16": torch.bfloat16}[args.precision]
        self.model, self.preprocess = open_clip.create_model_from_pretrained(
            args.model, pretrained=args.pretrained, device=self.device)
        self.model.eval()
        self.tokenizer = open_clip.get_tokenizer(args.model)
        self.attributes = self.describe(args, open_clip)

    def describe(self, args, open_clip):
        bias = getattr(self.model, "logit_bias", None)
        visual = self.model.visual
        cfg = dict(getattr(visual, "preprocess_cfg", None) or {})
        size = cfg.get("size", getattr(visual, "image_size", None))
        a = {
            "teacher": args.model + (f" {args.pretrained}" if args.pretrained else ""),
            "weights": weights_digest(self.model),
            "logit_scale": float(self.model.logit_scale.detach().exp()),
            "logit_bias": None if bias is None else float(bias.detach()),
            "normalized": "false",
            "image_size": size[0] if isinstance(size, (tuple, list)) else size,
            "mean": cfg.get("mean", getattr(visual, "image_mean", None)),
            "std": cfg.get("std", getattr(visual, "image_std", None)),
            "interpolation": cfg.get("interpolation"),
            "resize_mode": cfg.get("resize_mode"),
            "tokenizer": type(self.tokenizer).__name__,
            "context_length": getattr(self.tokenizer, "context_length", None),
            "view": "whole picture",
            "precision": args.precision,
            "software": f"open_clip {getattr(open_clip, '__version__', '?')}, torch {self.torch.__version__}",
        }
        return {k: v for k, v in a.items() if v is not None}

    def embed(self, images, captions):
        torch = self.torch
        cast = torch.autocast(self.device.split(":")[0], dtype=self.kind) if self.kind else nullcontext()
        with torch.no_grad(), cast:
            image = self.model.encode_image(torch.stack(images).to(self.device, non_blocking=True))
            text = self.model.encode_text(self.tokenizer(captions).to(self.device))
        return image.float().cpu().numpy(), text.float().cpu().numpy()


# ---- a shard --------------------------------------------------------------------------------------------


def load(sample, preprocess):
    """(sample, pixels), or (sample, why not)."""
    from PIL import Image

    if sample.path is None:
        return sample, "no picture"
    if not sample.caption:
        return sample, "no caption"
    try:
        with Image.open(io.BytesIO(sample.picture())) as im:
            return sample, preprocess(im.convert("RGB"))
    except Exception as e:  # a picture can be broken in as many ways as its decoder can fail
        return sample, f"{type(e).__name__}: {e}"


def loaded(samples, preprocess, pool, ahead):
    """Samples with their pixels, decoded `ahead` of their use."""
    waiting, rest = deque(), iter(samples)
    while True:
        for s in itertools.islice(rest, ahead - len(waiting)):
            waiting.append(pool.submit(load, s, preprocess))
        if not waiting:
            return
        yield waiting.popleft().result()


def pack(parts, dtype, keys, side):
    import numpy as np

    x = np.concatenate(parts).astype(dtype)
    bad = ~np.isfinite(x).all(axis=1)
    if bad.any():
        fail(f"{bad.sum()} {side} embeddings are not finite in {dtype}, first that of '{keys[int(bad.argmax())]}'; "
             "try --dtype float32 or --precision bf16")
    return x


def write(path, attributes, keys, image, text):
    import h5py
    import numpy as np

    part = path + ".part"
    with h5py.File(part, "w") as f:
        f["image_embeddings"], f["text_embeddings"] = image, text
        f["keys"] = np.array([k.encode() for k in keys], dtype="S")
        f.attrs["dim"] = image.shape[1]
        for name, value in attributes.items():
            f.attrs[name] = value
    os.replace(part, path)


def run_shard(teacher, samples, path, args, pool, show):
    keys, captions, pixels, images, texts, broken = [], [], [], [], [], []

    def flush():
        image, text = teacher.embed(pixels, captions)
        images.append(image)
        texts.append(text)
        pixels.clear()
        captions.clear()
        show(len(keys))

    for sample, x in loaded(samples, teacher.preprocess, pool, 2 * args.batch_size):
        if isinstance(x, str):
            broken.append(f"{sample.key} ({x})")
            if args.on_error == "stop":
                fail(f"{path}: {broken[0]}; --on-error skip leaves such samples out")
            continue
        keys.append(sample.key)
        captions.append(sample.caption)
        pixels.append(x)
        if len(pixels) == args.batch_size:
            flush()
    if pixels:
        flush()
    if not keys:
        fail(f"{path}: not one of {len(samples)} samples could be read{': ' + broken[0] if broken else ''}")
    write(path, teacher.attributes, keys, pack(images, args.dtype, keys, "image"), pack(texts, args.dtype, keys, "text"))
    if broken:
        print(f"{path}: {len(broken)} broken samples left out, first {broken[0]}", file=sys.stderr)
    return len(keys)


def done_before(path, teacher):
    """The file is there and whole (it got its name when it was), and of this teacher."""
    import h5py

    if not os.path.exists(path):
        return False
    with h5py.File(path, "r") as f:
        for name in ("teacher", "weights", "precision"):
            if f.attrs.get(name) != teacher.attributes[name]:
                fail(f"{path}: was made with another {name} ({f.attrs.get(name)}); choose another --out, or remove it")
    return True


def arguments():
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], epilog=__doc__.split("\n\n", 1)[1],
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", required=True, help="open_clip's name: hf-hub:ORG/NAME, local-dir:PATH, or ViT-L-14 with --pretrained")
    p.add_argument("--pretrained", help="weights of a built-in architecture: a tag of open_clip, or a file")
    source = p.add_mutually_exclusive_group(required=True)
    source.add_argument("--shards", dest="tars", nargs="+", metavar="TAR", help="WebDataset tars; braces and commas as in pupil's data.train")
    source.add_argument("--csv", help="a table of files and captions, as data.source: csv")
    p.add_argument("--images", nargs="+", metavar="DIR", help="csv: folders that pictures are looked for in (default: that of the table)")
    p.add_argument("--image-key", default="filepath", help="csv: column of the file (default filepath)")
    p.add_argument("--caption-key", default="title", help="csv: column of the caption (default title)")
    p.add_argument("--rows-per-file", type=int, default=100000, help="csv: samples a shard (default 100000)")
    p.add_argument("--out", required=True, metavar="DIR", help="folder for the HDF5 files, one a shard")
    p.add_argument("--precision", choices=["fp32", "fp16", "bf16"], default="fp32", help="of the forward passes (autocast); default fp32")
    p.add_argument("--dtype", choices=["float16", "float32"], default="float16", help="of the stored embeddings (default float16)")
    p.add_argument("--batch-size", type=int, default=256)
    p.add_argument("--workers", type=int, default=min(16, os.cpu_count() or 1), help="threads that decode pictures")
    p.add_argument("--device", help="cuda, cuda:1, cpu, ... (default: cuda where there is one)")
    p.add_argument("--rank", type=int, default=0, help="of this job (default 0): it takes shards rank, rank + world-size, ...")
    p.add_argument("--world-size", type=int, default=1, help="how many jobs share the shards")
    p.add_argument("--on-error", choices=["stop", "skip"], default="stop", help="what a broken sample does")
    args = p.parse_args()
    if not 0 <= args.rank < args.world_size:
        p.error("--rank must be from 0 to --world-size minus 1")
    if min(args.batch_size, args.workers, args.rows_per_file) < 1:
        p.error("--batch-size, --workers and --rows-per-file must be 1 or more")
    return args


def main():
    args = arguments()
    os.makedirs(args.out, exist_ok=True)
    shards = shards_of(args)
    mine = shards[args.rank::args.world_size]
    teacher = Teacher(args)
    began, before = time.time(), 0
    with ThreadPoolExecutor(args.workers) as pool:
        for i, (name, samples) in enumerate(mine):
            path = os.path.join(args.out, name + ".h5")
            if done_before(path, teacher):
                print(f"{path}: is there already", file=sys.stderr)
                continue

            def show(n):
                rate = (before + n) / max(time.time() - began, 1e-9)
                print(f"shard {i + 1}/{len(mine)} {name}: {n} samples, {rate:.0f} samples/s", file=sys.stderr, flush=True)

            before += run_shard(teacher, samples(), path, args, pool, show)
    print(f"{len(mine)} of {len(shards)} shards are in {args.out}; then: pupil cache import CONF --from {args.out}")


if __name__ == "__main__":
    main()
