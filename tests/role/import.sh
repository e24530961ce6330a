#!/bin/sh
# A computed cache, taken out with h5py and imported again: the student is the same, bit for bit, with and without the teacher's
# folder; a cache check against that folder passes, and names the sample when one row or two keys are wrong. An import that
# was cut short, or of other data, is refused.
set -eu
here=$(dirname "$0")
python=/usr/bin/python3
"$python" -c 'import h5py, numpy' 2>/dev/null || { echo "skipped: $python has no h5py and numpy"; exit 77; }
dir=$(mktemp -d "${TMPDIR:-/tmp}/pupil-import.XXXXXX")
trap 'rm -rf "$dir"' EXIT
fail() { echo "FAIL $1"; exit 1; }
sed '/^  train: {steps: 6,/d' "$here/tiny.yaml" >"$dir/given.yaml"        # the teacher is there: nothing to train
sed '/^teacher:/,/^student:/{/^student:/!d}' "$here/tiny.yaml" >"$dir/none.yaml" # no teacher at all
run() { # name yaml ranks [--set ...]
  name=$1 yaml=$2 np=$3
  shift 3
  "$here/../mpirun.sh" "$np" "$PUPIL_BIN" run "$yaml" --set run.dir="$dir/$name" --set cache.dtype=f32 "$@" >"$dir/$name.log" 2>&1 ||
    { cat "$dir/$name.log"; fail "$name"; }
}
refused() { # what exit text command...
  what=$1 want=$2 text=$3 code=0
  shift 3
  "$@" >"$dir/out.txt" 2>&1 || code=$?
  [ "$code" = "$want" ] || { cat "$dir/out.txt"; fail "$what: exit $code, expected $want"; }
  grep -q "$text" "$dir/out.txt" || { cat "$dir/out.txt"; fail "$what: expected '$text'"; }
  echo "ok   $what"
}
run computed "$here/tiny.yaml" 1 --set teacher.dir="$dir/teacher" --set cache.dir="$dir/cache"
scale=$("$PUPIL_BIN" cache ls "$dir/cache" | awk '$1 == "teacher.logit_scale" {print $2}')
"$python" - "$dir" "$scale" <<'PY'
# take-out/: three HDF5 files of the cache's rows, shuffled; wrong-row/, wrong-keys/: .npy with one mistake each
import glob, os, sys
import h5py, numpy as np
dir, scale = sys.argv[1], float(sys.argv[2])
x = {}
for path in glob.glob(dir + "/cache/seg-*.h5"):
    with h5py.File(path) as f:
        for place, block in enumerate(f["block_ids"]):
            for i in range(f["rows"][place]):
                x[32 * block + i] = [f[s + "_embeddings"][place, 0, i] for s in ("image", "text")]
assert sorted(x) == list(range(500))
keys = np.array([f"scene-{i:06d}" for i in range(500)])
side = [np.stack([x[i][k] for i in range(500)]) for k in (0, 1)]
order = np.random.RandomState(0).permutation(500)
os.makedirs(dir + "/take-out")
for k in range(3):
    mine = order[k::3]
    with h5py.File(f"{dir}/take-out/{k}.h5", "w") as f:
        layout = [{}, {"chunks": (7, 48), "compression": "gzip"}, {"maxshape": (None, 48)}][k]
        f.create_dataset("image_embeddings", data=side[0][mine], **layout)
        f.create_dataset("text_embeddings", data=side[1][mine], **layout)
        f["keys"] = keys[mine].astype("S") if k == 0 else keys[mine].astype(object)
        f.attrs["teacher"], f.attrs["logit_scale"], f.attrs["normalized"], f.attrs["mean"] = "tiny", scale, False, np.ones(3)
open(dir + "/told.yaml", "w").write(f"teacher: tiny\nlogit_scale: {scale!r}\n")
for name in ("wrong-row", "wrong-keys"):
    image, names = side[0].copy(), list(keys)
    if name == "wrong-row":
        image[123, 7] += 0.5 * image[123].std()
    else:
        names[5], names[77] = names[77], names[5]
    os.makedirs(f"{dir}/{name}")
    np.save(f"{dir}/{name}/image_embeddings.npy", image)
    np.save(f"{dir}/{name}/text_embeddings.npy", side[1])
    open(f"{dir}/{name}/keys.txt", "w").write("\n".join(names))
PY
import() { # cache from [options]
  name=$1 from=$2
  shift 2
  "$PUPIL_BIN" cache import "$dir/none.yaml" --set cache.dtype=f32 --set cache.dir="$dir/$name" --from "$dir/$from" "$@"
}
check() { # cache [options]
  name=$1
  shift
  "$PUPIL_BIN" cache check "$dir/given.yaml" --set cache.dtype=f32 --set run.dir="$dir/computed" --set teacher.dir="$dir/teacher" \
    --set cache.dir="$dir/$name" --rows 500 "$@"
}
import imported take-out 2>"$dir/err.txt" || { cat "$dir/err.txt"; fail "import"; }
run alone "$dir/none.yaml" 2 --set cache.dir="$dir/imported"
grep -q 'its embeddings were imported, so it is not scored here' "$dir/alone.log" || { cat "$dir/alone.log"; fail "nothing is said of the teacher's score"; }
run beside "$dir/given.yaml" 1 --set cache.dir="$dir/imported" --set teacher.dir="$dir/teacher" --set run.mode=students
for name in alone beside; do
  cmp "$dir/computed/model.safetensors" "$dir/$name/model.safetensors" || fail "another student: $name"
  echo "ok   the same student from the imported cache: $name"
done
cmp "$dir/computed/eval.json" "$dir/beside/eval.json" || fail "the teacher beside an imported cache has another score"
check imported --tolerance 1e-4 >"$dir/check.txt" || { cat "$dir/check.txt"; fail "check of the imported cache"; }
import bad-row wrong-row --provenance "$dir/told.yaml" 2>/dev/null || fail "import of a wrong row"
refused "one wrong value is found" 1 'bad-row: 1 of 500 image rows are not what the teacher computes; the worst is that of scene-000123' check bad-row
import bad-keys wrong-keys --provenance "$dir/told.yaml" 2>/dev/null || fail "import of wrong keys"
refused "two exchanged keys are found" 1 'bad-keys: 2 of 500 text rows are not' check bad-keys
refused "no teacher, no import" 2 'teacher.dir is missing, and .*/nothing holds no imported embeddings' \
  "$PUPIL_BIN" run "$dir/none.yaml" --set run.dir="$dir/x" --set cache.dir="$dir/nothing"
refused "imported for other data" 2 'holds another cache: block: 32 here, 64 wanted; data: ' "$PUPIL_BIN" run "$dir/none.yaml" --set run.dir="$dir/y" \
  --set cache.dtype=f32 --set cache.dir="$dir/imported" --set data.scenes.seed=9 --set data.block=64
refused "a teacher to train beside an import" 2 'teacher.train asks for a teacher' "$PUPIL_BIN" run "$here/tiny.yaml" --set run.dir="$dir/z" \
  --set teacher.dir="$dir/new" --set cache.dir="$dir/imported"
refused "an import of other views" 2 'data.view of the settings is: random_resized_crop' "$PUPIL_BIN" cache import "$dir/none.yaml" --from "$dir/take-out" \
  --set cache.dir="$dir/views" --set data.view.name=random_resized_crop
PUPIL_FAULT=seg.write:9:kill import short take-out >/dev/null 2>&1 && fail "nothing was killed"
refused "an import that was cut short" 2 'holds 4 of 16 blocks of an import that was cut short; run `pupil cache import` again' \
  "$PUPIL_BIN" run "$dir/none.yaml" --set run.dir="$dir/w" --set cache.dtype=f32 --set cache.dir="$dir/short"
import short take-out >/dev/null 2>&1 || fail "the import was not taken up again"
run after "$dir/none.yaml" 1 --set cache.dir="$dir/short"
cmp "$dir/computed/model.safetensors" "$dir/after/model.safetensors" || fail "another student after a resumed import"
