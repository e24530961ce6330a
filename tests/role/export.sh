#!/bin/sh
# tools/export-teacher.py with a stand-in for open_clip: it reads the tars and the csv that pupil reads, names samples alike, is
# resumed shard by shard and shared out over jobs; what it wrote is imported, holds the right rows, and trains a student.
set -eu
here=$(dirname "$0")
python=/usr/bin/python3
"$python" -c 'import h5py, torch, numpy, PIL' 2>/dev/null || { echo "skipped: $python has no h5py, torch, numpy and PIL"; exit 77; }
dir=$(mktemp -d "${TMPDIR:-/tmp}/pupil-export.XXXXXX")
trap 'rm -rf "$dir"' EXIT
fail() { echo "FAIL $1"; exit 1; }
mkdir "$dir/fake"
cat >"$dir/fake/open_clip.py" <<'PY'
# A "model" whose features are plain functions of pixels and letters.
import types
import numpy as np
import torch

__version__ = "0.0-fake"


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.logit_scale = torch.nn.Parameter(torch.tensor(4.0))
        self.visual = types.SimpleNamespace(preprocess_cfg={"size": (16, 16), "mean": (0.5, 0.25, 1.0), "std": (1.0, 1.0, 2.0),
                                                            "interpolation": "bicubic", "resize_mode": "shortest"})

    def encode_image(self, x):
        return torch.nn.functional.avg_pool2d(x, 4).reshape(len(x), -1) + 1

    def encode_text(self, ids):
        return torch.stack([torch.bincount(row, minlength=48).float() for row in ids])


def preprocess(im):
    return torch.from_numpy(np.asarray(im.resize((16, 16)), dtype=np.float32)).permute(2, 0, 1) / 255


def create_model_from_pretrained(name, pretrained=None, device="cpu"):
    return Model().to(device), preprocess


class FakeTokenizer:
    context_length = 77

    def __call__(self, texts):
        rows = [[ord(c) % 48 for c in t][:300] + [0] * (300 - len(t)) for t in texts]
        return torch.tensor(rows)


def get_tokenizer(name):
    return FakeTokenizer()
PY
export PYTHONPATH="$dir/fake" PYTHONDONTWRITEBYTECODE=1
export_teacher() { "$python" "$PUPIL_SOURCE/tools/export-teacher.py" --model hf-hub:some/teacher --device cpu --batch-size 7 --workers 2 "$@" 2>"$dir/err.txt"; }

"$PUPIL_BIN" data scenes --out "$dir/tars" --train 130 --test 10 --per-tar 50 --size 32 >/dev/null
"$python" - "$dir/tars" <<'PY'
# The second tar once more, as others write tars: a folder in the names, picture and caption apart, a caption in JSON alone.
import io, json, sys, tarfile
path = sys.argv[1] + "/train-000001.tar"
with tarfile.open(path) as t:
    parts = {m.name: t.extractfile(m).read() for m in t}
with tarfile.open(path, "w") as t:
    for ending in (".png", ".txt", ".json"):
        for i, (name, data) in enumerate(parts.items()):
            key = name.rpartition(".")[0]
            if not name.endswith(ending) or (ending != ".png" and (i // 3 % 2 == 0) == (ending == ".txt")):
                continue
            if ending == ".json":
                data = json.dumps({"caption": "  told in JSON about " + key + "\n"}).encode()
            info = tarfile.TarInfo("./part.one/" + name)
            info.size = len(data)
            t.addfile(info, io.BytesIO(data))
PY
cat >"$dir/s.yaml" <<YAML
run: {dir: $dir/run, mode: students}
data: {source: webdataset, train: ["$dir/tars/train-{000000..000002}.tar"], test: ["$dir/tars/test-000000.tar"], block: 16, window: 2}
tokenizer: {vocab_size: 600}
student:
  model: {image_size: 32, patch_size: 16, vision_width: 32, vision_layers: 1, vision_head_width: 32, text_width: 32, text_layers: 1, text_heads: 1, context_length: 40, embed_dim: 32}
  train: {steps: 4, batch_size: 32, slots: 4}
loss: {task: 1, crd: 1, fd: 100}
cache: {dir: $dir/cache}
eval: {vqa: false}
YAML

# two jobs share the shards; then a third command finds all but one there
export_teacher --shards "$dir/tars/train-{000000..000002}.tar" --out "$dir/out" --rank 1 --world-size 2 || { cat "$dir/err.txt"; fail "job 1 of 2"; }
[ "$(ls "$dir/out")" = train-000001.h5 ] || fail "job 1 made $(ls "$dir/out")"
"$PUPIL_BIN" cache import "$dir/s.yaml" --from "$dir/out" >"$dir/import.txt" 2>&1 && fail "two missing shards were not noticed"
grep -q '80 of 130 samples have no embeddings' "$dir/import.txt" || { cat "$dir/import.txt"; fail "the missing samples are not counted"; }
before=$(stat -c %Y.%s "$dir/out/train-000001.h5")
echo torn >"$dir/out/train-000002.h5.part"
export_teacher --shards "$dir/tars/train-000000.tar,$dir/tars/train-00000{1,2}.tar" --out "$dir/out" >/dev/null || { cat "$dir/err.txt"; fail "all shards"; }
grep -q 'train-000001.h5: is there already' "$dir/err.txt" && [ "$before" = "$(stat -c %Y.%s "$dir/out/train-000001.h5")" ] || fail "a finished shard was made again"
[ "$(ls "$dir/out" | tr '\n' ' ')" = "train-000000.h5 train-000001.h5 train-000002.h5 " ] || fail "the folder holds $(ls "$dir/out")"
echo "ok   shared out and resumed"
if export_teacher --shards "$dir/tars/train-000000.tar" --out "$dir/out" --precision bf16; then fail "another precision was taken for the same"; fi
grep -q 'was made with another precision' "$dir/err.txt" || { cat "$dir/err.txt"; fail "the precision is not named"; }

"$PUPIL_BIN" cache import "$dir/s.yaml" --from "$dir/out" 2>"$dir/import.txt" || { cat "$dir/import.txt"; fail "import"; }
"$PUPIL_BIN" cache ls "$dir/cache" >"$dir/ls.txt"
for line in 'teacher.name  *hf-hub:some/teacher$' 'teacher.logit_scale  *54.5981' 'imported.mean  *0.5, 0.25, 1$' 'imported.software  *open_clip 0.0-fake, torch' \
  'imported.context_length *77$' 'origin  *imported$' 'dim  *48$'; do
  grep -q "$line" "$dir/ls.txt" || { cat "$dir/ls.txt"; fail "the identity lacks: $line"; }
done
# every row is that of its sample: pictures and captions as pupil itself sees them
"$PUPIL_BIN" data inspect "$dir/s.yaml" --n 130 --out "$dir/pictures" >"$dir/samples.txt"
"$python" - "$dir" <<'PY'
import glob, re, sys
import h5py, numpy as np, open_clip
from PIL import Image
dir, rows = sys.argv[1], {}
for path in glob.glob(dir + "/cache/seg-*.h5"):
    with h5py.File(path) as f:
        for place, block in enumerate(f["block_ids"]):
            for i in range(f["rows"][place]):
                rows[16 * block + i] = [f[s + "_embeddings"][place, 0, i].astype("f4") for s in ("image", "text")]
samples = re.findall(r"^(\S*scene-\d+)  .*\n(?:  caption   (.*)\n)", open(dir + "/samples.txt").read(), re.M)
assert len(samples) == len(rows) == 130, (len(samples), len(rows))
assert sum("told in JSON" in caption for _, caption in samples) > 10 and any(key.startswith("part.one/") for key, _ in samples)
model, preprocess = open_clip.create_model_from_pretrained("x")
tokenizer = open_clip.get_tokenizer("x")
for i, (key, caption) in enumerate(samples):
    im = Image.open(f"{dir}/pictures/{key.replace('/', '_')}.png").convert("RGB")
    image = model.encode_image(preprocess(im)[None]).detach().numpy()[0].astype("f2").astype("f4")
    text = model.encode_text(tokenizer([caption])).numpy()[0]
    assert np.abs(image - rows[i][0]).max() <= 2e-3 and np.array_equal(text, rows[i][1]), (i, key, caption)
PY
echo "ok   130 rows under their own keys"
"$PUPIL_BIN" run "$dir/s.yaml" >"$dir/run.txt" 2>&1 || { cat "$dir/run.txt"; fail "a student from the imported cache"; }
grep -q 'teacher forward passes: 0' "$dir/run.txt" || fail "the teacher was run"
grep -q 'hf-hub:some/teacher.*imported' "$dir/run/report.html" || fail "the report does not name the teacher"
echo "ok   a student"

# the same samples from a csv, with the columns' names changed, and rows that are broken
"$python" - "$dir" <<'PY'
import csv, os, re, sys
dir = sys.argv[1]
os.makedirs(dir + "/csv/sub", exist_ok=True)
rows = []
for i, (key, caption) in enumerate(re.findall(r"^(\S*scene-\d+)  .*\n(?:  caption   (.*)\n)", open(dir + "/samples.txt").read(), re.M)):
    name = f"sub/p.{i}.png"
    os.rename(f"{dir}/pictures/{key.replace('/', '_')}.png", f"{dir}/csv/{name}")
    rows += [("./" + name, f' {caption}, "so to say" '), (name, "another caption of it")]
with open(dir + "/csv/train.csv", "w", newline="") as f:
    csv.writer(f).writerows([("image", "text")] + rows)
with open(dir + "/csv/broken.csv", "w", newline="") as f:
    csv.writer(f).writerows([("image", "text"), ("gone.png", "a"), ("train.csv", "no picture"), rows[0]])
PY
set -- --image-key image --caption-key text
sed "s|source: webdataset.*test-000000.tar\"\]|source: csv, train: $dir/csv/train.csv, test: $dir/csv/test.csv, csv: {image_key: image, caption_key: text}|;
  s|run: {dir: $dir/run|run: {dir: $dir/run2|; s|$dir/cache|$dir/cache2|" "$dir/s.yaml" >"$dir/csv.yaml"
head -n 9 "$dir/csv/train.csv" >"$dir/csv/test.csv"
export_teacher --csv "$dir/csv/train.csv" "$@" --rows-per-file 60 --out "$dir/out2" >/dev/null || { cat "$dir/err.txt"; fail "csv"; }
[ "$(ls "$dir/out2" | tr '\n' ' ')" = "train-00000.h5 train-00001.h5 train-00002.h5 " ] || fail "csv: $(ls "$dir/out2")"
"$PUPIL_BIN" cache import "$dir/csv.yaml" --from "$dir/out2" >"$dir/import.txt" 2>&1 || { cat "$dir/import.txt"; fail "import of the csv"; }
if export_teacher --csv "$dir/csv/broken.csv" "$@" --out "$dir/out3"; then fail "broken rows did not stop it"; fi
export_teacher --csv "$dir/csv/broken.csv" "$@" --out "$dir/out3" --on-error skip >/dev/null || { cat "$dir/err.txt"; fail "broken rows stopped it"; }
grep -q '2 broken samples left out, first gone (no picture)' "$dir/err.txt" || { cat "$dir/err.txt"; fail "broken rows are not told of"; }
echo "ok   csv"
