"""compare-decode.py PUPIL ROUNDS: see compare-decode.sh. Prints a table and, as its last line, JSON whose "ratio" is the
least over the sets of Pillow's time for decoding and resizing divided by pupil's (medians of rounds taken in turns)."""
import io
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time

try:
    import numpy as np
    import PIL
    from PIL import Image
except ImportError as e:
    sys.exit(f"{e}: install python3-pil and python3-numpy")

SETS = ((200, 640, 480), (40, 1600, 1200))
SIZE = 224
MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)


def make(folder, n, w, h):
    """Coarse shapes, texture and grain: JPEGs of quality 90 with about as many bytes a pixel as photographs have."""
    rng = random.Random(w)

    def noise(grain, how):
        a, b = w // grain, h // grain
        return Image.frombytes("RGB", (a, b), rng.randbytes(3 * a * b)).resize((w, h), how)

    for i in range(n):
        shapes = Image.blend(noise(32, Image.BICUBIC), noise(4, Image.BILINEAR), 0.25)
        Image.blend(shapes, noise(1, Image.NEAREST), 0.06).save(f"{folder}/{i:04d}.jpg", quality=90)


def pillow_round(files):
    """Seconds for (decoding, resizing and cropping, normalising) all files, as open_clip's transform does them."""
    spent = [0.0, 0.0, 0.0]
    for data in files:
        t0 = time.perf_counter()
        im = Image.open(io.BytesIO(data)).convert("RGB")
        t1 = time.perf_counter()
        w, h = im.size
        w, h = (SIZE, SIZE * h // w) if w <= h else (SIZE * w // h, SIZE)
        im = im.resize((w, h), Image.BICUBIC)
        x, y = round((w - SIZE) / 2), round((h - SIZE) / 2)
        im = im.crop((x, y, x + SIZE, y + SIZE))
        t2 = time.perf_counter()
        a = np.asarray(im).astype(np.float32)
        a /= 255
        a -= MEAN
        a /= STD
        np.ascontiguousarray(a.transpose(2, 0, 1))
        t3 = time.perf_counter()
        for k, d in enumerate((t1 - t0, t2 - t1, t3 - t2)):
            spent[k] += d
    return [1e3 * s / len(files) for s in spent]


def pupil_round(pupil, folder):
    out = subprocess.run([pupil, "bench", "input", "--images", folder, "--size", str(SIZE), "--rounds", "1", "--json"],
                         check=True, stdout=subprocess.PIPE).stdout
    r = json.loads(out)
    return [r["decode_ms"], r["resize_ms"], r["normalize_ms"]]


def compare(pupil, rounds, n, w, h):
    with tempfile.TemporaryDirectory() as folder:
        make(folder, n, w, h)
        names = sorted(os.listdir(folder))
        files = [open(os.path.join(folder, name), "rb").read() for name in names]
        pillow_round(files)
        taken = {"pupil": [], "Pillow": []}
        for _ in range(rounds):
            taken["pupil"].append(pupil_round(pupil, folder))
            taken["Pillow"].append(pillow_round(files))
    result = {"pictures": n, "width": w, "height": h, "bytes": sum(map(len, files)) // n}
    print(f"{n} JPEGs of {w} x {h}, {result['bytes'] // 1024} KiB each; ms a picture, one thread, medians of {rounds} rounds")
    print(f"  {'':8}{'decode':>9}{'resize':>9}{'normalise':>11}{'all':>9}{'pictures/s':>12}")
    for who, all_rounds in taken.items():
        part = [statistics.median(r[k] for r in all_rounds) for k in range(3)]
        whole = statistics.median(sum(r) for r in all_rounds)
        pixels = statistics.median(r[0] + r[1] for r in all_rounds)
        result[who.lower()] = {"decode_resize_ms": round(pixels, 4), "all_ms": round(whole, 4)}
        print(f"  {who:8}{part[0]:9.3f}{part[1]:9.3f}{part[2]:11.3f}{whole:9.3f}{1e3 / whole:12.1f}")
    for key in ("decode_resize_ms", "all_ms"):
        result["ratio_" + key[:-3]] = round(result["pillow"][key] / result["pupil"][key], 3)
    print(f"  pupil is {result['ratio_decode_resize']:.2f} x as fast in decoding and resizing, {result['ratio_all']:.2f} x in all\n")
    return result


def main():
    pupil, rounds = sys.argv[1], int(sys.argv[2])
    print(f"Pillow {PIL.__version__}, NumPy {np.__version__}; shortest side to {SIZE} px, bicubic, centre crop\n")
    sets = [compare(pupil, rounds, *s) for s in SETS]
    print(json.dumps({"ratio": min(s["ratio_decode_resize"] for s in sets), "rounds": rounds, "sets": sets}))


if __name__ == "__main__":
    main()
