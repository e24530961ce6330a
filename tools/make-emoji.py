"""make-emoji.py: turns unpacked emoji packages into WebDataset tars and VQA v2 questions; run by make-emoji.sh.

Pictures are laid on white and written as RGB, so that every reader sees the same: what lies under transparent pixels is
arbitrary, and convert("RGB") would show it. Pictures with equal pixels become one sample with several captions, and
their concepts stay on one side of the split. Nothing here is random: choices follow SHA-256 of names.

A question is asked only where its answer follows from the data or the pixels; answers come from sets closed over
training, and those of a type are thinned out to about equal counts, so that the question alone tells nothing."""
import collections
import hashlib
import io
import json
import os
import re
import sys
import tarfile

from PIL import Image

SIDE = 64
HELD_OUT = 0.15          # share of concepts
HELD_OUT_VENDOR = "twemoji"
PER_TAR = 2048
PER_TYPE = {"train": 4000, "test": 1500, "concepts": 1500}
TONES = {"1f3fb": "light", "1f3fc": "medium light", "1f3fd": "medium", "1f3fe": "medium dark", "1f3ff": "dark"}
PEOPLE = {"1f466", "1f467", "1f468", "1f469", "1f9d1", "1f9d2"}
JOINERS = {"fe0f", "200d"}
HOURS = "one two three four five six seven eight nine ten eleven twelve".split()
# Where arrows, triangles and pointing hands point: facts about these characters.
DIRECTIONS = {c: way for way, all_of in {
    "up": "2b06 1f53c 23eb 1f446 261d 1f53a", "down": "2b07 1f53d 23ec 1f447 1f53b",
    "left": "2b05 25c0 23ea 23ee 1f448", "right": "27a1 25b6 23e9 23ed 1f449",
    "up left": "2196", "up right": "2197", "down left": "2199", "down right": "2198"}.items() for c in all_of.split()}
COLOURS = "red orange yellow green blue purple pink brown black white gray".split()


def draw(*words):
    """0 <= x < 1, the same for the same words."""
    return int.from_bytes(hashlib.sha256("\0".join(map(str, words)).encode()).digest()[:7], "big") / 2.0**56


def codes(name):
    """The characters of 1F468-200D-1F52C.png, without joiners and variation selectors."""
    return tuple(c for c in name.lower().split(".")[0].split("-") if c not in JOINERS)


def concept_of(chars):
    """What is drawn, whatever the skin tone and gender."""
    base = [c for c in chars if c not in TONES and c not in ("2640", "2642")]
    if sum(c in PEOPLE for c in base) == 1 and len(base) > 1:
        base = ["1f9d1" if c in PEOPLE else c for c in base]
    return "-".join(base or chars)


# ---- what the packages say ----------------------------------------------------------------------------------
def facts_of_gemojione(root):
    index = json.load(open(os.path.join(root, "config/index.json"), encoding="utf-8"))
    facts = {}
    for entry in index.values():
        group, words = entry["category"], set(entry["keywords"])
        if group in ("modifier", "extras"):
            continue
        name = re.sub(r" tone \d$", "", entry["name"])
        chars = codes(entry["unicode"])
        tone = next((TONES[c] for c in chars if c in TONES), None)
        label = "flag of " + name if group == "flags" else name
        kinds = [kind for kind, here in {
            "a flag": group == "flags", "food": group == "food", "an animal": "animal" in words,
            "a vehicle": words & {"vehicle", "transportation"}, "a plant": "plant" in words,
            "a face": "face" in name.split(), "a building": "building" in words}.items() if here]
        facts[chars] = dict(label=label + (", %s skin tone" % tone if tone else ""), tags=sorted(words), group=group,
                            subgroup=None, kinds=kinds, noun=re.split(r" with | of |[(,]", name)[0].split()[-1])
    return facts


def facts_of_emojibase(root, emojilib):
    meta = json.load(open(os.path.join(root, "meta/groups.json"), encoding="utf-8"))
    more = json.load(open(os.path.join(emojilib, "dist/emoji-en-US.json"), encoding="utf-8"))
    facts = {}
    for entry in json.load(open(os.path.join(root, "en/data.json"), encoding="utf-8")):
        if entry.get("group") is None or meta["groups"][str(entry["group"])] == "component":
            continue
        group = meta["groups"][str(entry["group"])].replace("-", " and ")
        sub = meta["subgroups"][str(entry["subgroup"])]
        kinds = [kind for kind, pattern in {
            "a flag": r".*flag$", "food": r"food-", "an animal": r"animal-", "a vehicle": r"transport-(ground|water|air)",
            "a plant": r"plant-", "a face": r"face-|cat-face|monkey-face", "a person": r"person(-|$)", "a hand": r"hand",
            "clothing": r"clothing", "a building": r"place-(building|religious)"}.items() if re.match(pattern, sub)]
        tags = sorted(set(entry.get("tags", [])) | {w.replace("_", " ") for w in more.get(entry["emoji"], [])})
        for variant in [entry] + entry.get("skins", []):
            label = re.sub(r"^flag: ", "flag of ", variant["label"]).replace(": ", ", ")
            facts[codes(variant["hexcode"])] = dict(label=label, tags=tags, group=group, subgroup=sub.replace("-", " "),
                                                    kinds=kinds, noun=None)
    return facts


def read_pictures(vendor, folder, facts):
    """Samples of one vendor: drawings that the facts know, in order of file names."""
    seen, samples = set(), []
    for name in sorted(os.listdir(folder)):
        chars = codes(name)
        if not name.endswith(".png") or chars not in facts or chars in seen:
            continue
        seen.add(chars)
        image = Image.open(os.path.join(folder, name)).convert("RGBA")
        if image.size != (SIDE, SIDE):
            image = image.resize((SIDE, SIDE), Image.LANCZOS)
        shown = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
        tones = {c for c in chars if c in TONES}
        samples.append(dict(facts[chars], vendor=vendor, chars=chars, concept=concept_of(chars), image=shown,
                            shares=colour_shares(image), captions=[facts[chars]["label"]],
                            tone=TONES[tones.pop()] if len(tones) == 1 else None))
    return samples


def colour_shares(image):
    """Share of each colour name among the pixels that can be seen."""
    small = image.resize((16, 16), Image.NEAREST)
    counts = collections.Counter()
    for (h, s, v), a in zip(small.convert("RGB").convert("HSV").getdata(), small.getchannel("A").getdata()):
        if a > 127:
            counts[colour_name(h * 360 / 255, s / 255, v / 255)] += 1
    total = sum(counts.values())
    return {c: counts[c] / total for c in COLOURS if total}


def colour_name(h, s, v):
    """A name that nobody would dispute, or None (pale, skin)."""
    if v < 0.22:
        return "black"
    if s < 0.25:
        return "gray" if v < 0.88 else "white" if s < 0.1 else None
    if h < 45 and s < 0.6 and v > 0.75:
        return None
    if h < 45 and v < 0.72:
        return "brown"
    for limit, name in ((14, "red"), (40, "orange"), (66, "yellow"), (165, "green"), (255, "blue"), (292, "purple"),
                        (342, "pink"), (361, "red")):
        if h < limit:
            return name


# ---- samples ------------------------------------------------------------------------------------------------
def merge_equal_pixels(samples):
    """One sample for equal pictures, with all their captions; facts in which they differ are unknown."""
    by_pixels = {}
    for s in samples:
        first = by_pixels.setdefault(s["image"].tobytes(), s)
        if first is s:
            continue
        if s["label"] not in first["captions"]:
            first["captions"].append(s["label"])
            first["label"] = None
        for fact in ("tone", "group", "subgroup", "noun"):
            if first[fact] != s[fact]:
                first[fact] = None
        if first["kinds"] != s["kinds"]:
            first["kinds"] = None
        first.setdefault("also", []).append(s)
    return list(by_pixels.values())


def split_of(samples, full):
    """Concepts that share a picture are one; whole concepts are held out, and in the full set one vendor."""
    parent = {}

    def root(c):
        while parent.setdefault(c, c) != c:
            c = parent[c]
        return c
    for s in samples:
        for other in s.get("also", []):
            a, b = sorted((root(s["concept"]), root(other["concept"])))
            parent[b] = a
    splits = {"train": [], "test": [], "concepts": []}
    for s in samples:
        held = draw("concept", root(s["concept"])) < HELD_OUT
        vendors = {s["vendor"]} | {o["vendor"] for o in s.get("also", [])}
        if not full:
            splits["test" if held else "train"].append(s)
        elif HELD_OUT_VENDOR in vendors:
            splits["test"].append(s)
        else:
            splits["concepts" if held else "train"].append(s)
    return {name: sorted(part, key=lambda s: draw("order", s["vendor"], s["chars"]))
            for name, part in splits.items() if part}


def write_tars(out, split, samples, first_id):
    for i, s in enumerate(samples):
        s["id"] = first_id + i
    for start in range(0, len(samples), PER_TAR):
        with tarfile.open(os.path.join(out, "%s-%06d.tar" % (split, start // PER_TAR)), "w", tarfile.USTAR_FORMAT) as tar:
            for s in samples[start:start + PER_TAR]:
                png = io.BytesIO()
                s["image"].save(png, "PNG", optimize=True)
                about = dict(captions=s["captions"], keywords=s["tags"], category=s["group"], vendor=s["vendor"],
                             characters="-".join(s["chars"]))
                for ext, data in (("png", png.getvalue()), ("txt", s["captions"][0].encode()),
                                  ("json", json.dumps(about, ensure_ascii=False, sort_keys=True).encode())):
                    info = tarfile.TarInfo("%09d.%s" % (s["id"], ext))
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))


# ---- questions ----------------------------------------------------------------------------------------------
def ask(s, full):
    """Yields (question type, question, answer) for what follows from sample s."""
    chars, people = s["chars"], [c for c in s["chars"] if c in PEOPLE]
    if s["group"]:
        yield "which group", "which group does this belong to?", s["group"]
    if s["subgroup"]:
        yield "what kind", "what kind of thing is this?", s["subgroup"]
    flag = s["kinds"] == ["a flag"] and (s["label"] or "").startswith("flag of ")
    if full and flag:
        yield "whose flag", "whose flag is this?", s["label"][8:].lower()
    elif full and s["label"] and not s["tone"]:
        yield "what is", "what is this?", s["label"].lower().replace("-", " ").replace(",", "")
    elif s["noun"] and s["noun"] not in DULL:
        yield "what is", "what is this?", s["noun"]
    if s["tone"]:
        yield "what skin tone", "what is the skin tone?", s["tone"]
    if len(chars) == 1 and 0x1f550 <= int(chars[0], 16) <= 0x1f567:
        place = int(chars[0], 16) - 0x1f550
        yield "which hour", "which hour does the clock show?", HOURS[place % 12]
        yield "half past", "is it the full hour or half past?", "half past" if place >= 12 else "full hour"
    if chars[0] in DIRECTIONS and all(c in TONES for c in chars[1:]):
        yield "which way", "which way does it point?", DIRECTIONS[chars[0]]
    if len(people) == 1 and people[0] in ("1f468", "1f469"):
        yield "man or woman", "is this a man or a woman?", "man" if people[0] == "1f468" else "woman"
    elif "2640" in chars or "2642" in chars:
        yield "man or woman", "is this a man or a woman?", "man" if "2642" in chars else "woman"
    if people and set(chars) - set(TONES) <= PEOPLE | {"2764", "1f48b", "1f91d"}:
        yield "how many people", "how many people are there?", str(len(people))
    colours = sorted(s["shares"], key=lambda c: -s["shares"][c])
    if colours and s["shares"][colours[0]] > 0.55 and s["shares"][colours[1]] < 0.2:
        yield "what color", "what color is it mostly?", colours[0]
    for colour in COLOURS[:7]:
        share = s["shares"].get(colour, 0)
        if s["shares"] and (share == 0 or share > 0.15):
            yield "is there " + colour, "is there anything %s in the picture?" % colour, "yes" if share else "no"
    if s["kinds"] is not None:
        for kind in KINDS[full]:
            yield "is this " + kind, "is this %s?" % kind, "yes" if kind in s["kinds"] else "no"


KINDS = {False: ["a flag", "food", "an animal", "a vehicle", "a plant", "a face", "a building"],
         True: ["a flag", "food", "an animal", "a vehicle", "a plant", "a face", "a person", "a hand", "clothing",
                "a building"]}
FEW = ("which way", "which hour", "half past")  # asked of every drawing there is; elsewhere 3 must share an answer
DULL = {"symbol", "sign", "mark", "index", "oclock", "button"}  # last words of names that say nothing
WORDINGS = {
    "which group does this belong to?": ["what group is this from?", "which of the groups is it in?"],
    "what kind of thing is this?": ["what sort of thing is this?", "what kind of thing is shown?"],
    "what is this?": ["what does the picture show?", "what can be seen here?"],
    "whose flag is this?": ["which flag is this?", "what does this flag stand for?"],
    "what is the skin tone?": ["which skin tone is it?", "what skin tone does it have?"],
    "which way does it point?": ["where does it point?", "in which direction does it point?"],
    "what color is it mostly?": ["what is the main color?", "which color is it for the most part?"],
}


def balance(asked, split):
    """Thin out so that the answers of a question type come about equally often: none more often than the median."""
    kept = []
    for kind in sorted({a[0] for a in asked}):
        by_answer = collections.defaultdict(list)
        for a in asked:
            if a[0] == kind:
                by_answer[a[2]].append(a)
        counts = sorted(map(len, by_answer.values()))
        binary = set(by_answer) <= {"yes", "no"}
        if binary and len(counts) < 2:
            continue
        most = counts[0] if binary else max(counts[len(counts) // 2], 4)
        limit = PER_TYPE[split] // (8 if binary else 1)
        most = min(most, max(limit // len(counts), 1))
        for answer in sorted(by_answer):
            kept += sorted(by_answer[answer], key=lambda a: draw("keep", kind, a[3]["vendor"], a[3]["chars"]))[:most]
    return kept


def questions_of(samples, split, full, closed):
    """Balanced questions; `closed` maps each type to the answers that may be expected (None: this is training)."""
    asked = [(kind, q, a, s) for s in samples for kind, q, a in ask(s, full)]
    if closed is None:
        drawn, answers = collections.defaultdict(set), collections.defaultdict(set)
        for kind, _, answer, s in asked:
            drawn[kind, answer].add((s["concept"], s["vendor"]))
            answers[kind].add(answer)
        asked = [x for x in asked if (len(drawn[x[0], x[2]]) >= 3 or x[0] in FEW) and len(answers[x[0]]) > 1]
    else:
        asked = [x for x in asked if x[2] in closed.get(x[0], ())]
    return sorted(balance(asked, split), key=lambda x: (x[3]["id"], x[0]))


def type_name(kind):
    return "is there" if kind.startswith("is there") else "is this" if kind.startswith("is this") else kind


def write_questions(out, split, asked, first_id):
    questions, annotations = [], []
    for i, (kind, text, answer, s) in enumerate(asked):
        forms = [text] + WORDINGS.get(text, [])
        text = forms[int(draw("wording", kind, s["vendor"], s["chars"]) * len(forms))]
        at = dict(question_id=first_id + i, image_id=s["id"])
        questions.append(dict(at, question=text[0].upper() + text[1:]))
        annotations.append(dict(
            at, question_type=type_name(kind), multiple_choice_answer=answer,
            answer_type="yes/no" if answer in ("yes", "no") else "number" if answer.isdigit() else "other",
            answers=[dict(answer=answer, answer_confidence="yes", answer_id=k + 1) for k in range(10)]))
    head = dict(info=dict(description="questions about emoji"), data_type="emoji", data_subtype=split,
                license=dict(name="see LICENSES.txt"))
    for name, body in (("questions", dict(head, task_type="Open-Ended", questions=questions)),
                       ("annotations", dict(head, annotations=annotations))):
        with open(os.path.join(out, "%s_%s.json" % (split, name)), "w", encoding="utf-8") as f:
            json.dump(body, f, ensure_ascii=False, separators=(",", ":"))


# ---- the whole ----------------------------------------------------------------------------------------------
# vendor, who drew it, licence, file of the packages that says so
CREDITS = [
    ("emojione", "EmojiOne 3, Ranks.com Inc. (Debian's ruby-gemojione)", "CC-BY-SA-4.0",
     "gemojione/usr/share/doc/ruby-gemojione/copyright"),
    ("noto", "Noto Emoji, Google LLC (npm emoji-datasource-google 16.0.0)", "Apache-2.0", None),
    ("twemoji", "Twemoji, Twitter, Inc. and contributors (npm emoji-datasource-twitter 16.0.0)", "CC-BY-4.0", None),
    ("openmoji", "OpenMoji, the open-source emoji and icon project (npm openmoji 17.0.0)", "CC-BY-SA-4.0",
     "openmoji/LICENSE.txt"),
    ("fluent", "Fluent Emoji, Microsoft Corporation (npm @iconify-json/fluent-emoji-flat 1.2.6)", "MIT", None),
    ("words", "emojibase-data 17.0.0, Miles Johnson; emojilib 4.0.3, Mu-An Chiou (npm)", "MIT", "emojibase-data/LICENSE"),
]


def write_licenses(work, out, vendors):
    with open(os.path.join(out, "LICENSES.txt"), "w", encoding="utf-8") as f:
        f.write("The pictures in these tars were scaled to 64 x 64 pixels and laid on white; \"vendor\" in each KEY.json\n"
                "says whose they are. Whoever passes them on must keep these notices; ShareAlike works stay under their\n"
                "own licence.\n\n")
        for vendor, who, licence, text in CREDITS:
            if vendor in vendors:
                f.write("%s: %s: %s\n" % (vendor, who, licence))
        for vendor, who, licence, text in CREDITS:
            if vendor in vendors and text:
                body = open(os.path.join(work, text), encoding="utf-8").read()
                f.write("\n%s\n%s (%s)\n%s\n%s" % ("=" * 80, who, licence, "=" * 80, body))


def summary(split, samples, asked):
    print("%s: %d pictures of %d concepts, %d captions, vendors: %s" % (
        split, len(samples), len({s["concept"] for s in samples}), len({c for s in samples for c in s["captions"]}),
        ", ".join("%s %d" % x for x in sorted(collections.Counter(s["vendor"] for s in samples).items()))))
    by_type = collections.defaultdict(collections.Counter)
    for kind, _, answer, _ in asked:
        by_type[type_name(kind)][answer] += 1
    for kind, answers in sorted(by_type.items()):
        n = sum(answers.values())
        top, most = min(answers.items(), key=lambda x: (-x[1], x[0]))
        print("  %-16s %5d questions, %4d answers, most frequent \"%s\" %.0f %%" % (kind, n, len(answers), top,
                                                                                  100 * most / n))
    print("  %-16s %5d questions" % ("all", len(asked)))


def build(work, out, full):
    gem = os.path.join(work, "gemojione/usr/share/rubygems-integration/all/gems")
    gem = os.path.join(gem, sorted(os.listdir(gem))[0])
    at = {"emojione": os.path.join(gem, "assets/png")}
    if full:
        facts = facts_of_emojibase(os.path.join(work, "emojibase-data"), os.path.join(work, "emojilib"))
        at.update(noto=os.path.join(work, "emoji-datasource-google/img/google/64"), openmoji=os.path.join(work, "openmoji-png"),
                  twemoji=os.path.join(work, "emoji-datasource-twitter/img/twitter/64"), fluent=os.path.join(work, "fluent-png"))
    else:
        facts = facts_of_gemojione(gem)
    drawn = [s for vendor in sorted(at) for s in read_pictures(vendor, at[vendor], facts)]
    samples = merge_equal_pixels(drawn)
    print("%d drawings, %d different pictures" % (len(drawn), len(samples)))
    for name in os.listdir(out):
        if re.fullmatch(r"(train|test|concepts)(-\d{6}\.tar(\.idx)?|_(questions|annotations)\.json)", name):
            os.remove(os.path.join(out, name))
    closed, first_id, first_question = None, 0, 0
    for split, part in split_of(samples, full).items():
        write_tars(out, split, part, first_id)
        asked = questions_of(part, split, full, closed)
        write_questions(out, split, asked, first_question)
        summary(split, part, asked)
        first_id, first_question = first_id + len(part), first_question + len(asked)
        if closed is None:
            closed = collections.defaultdict(set)
            for kind, _, answer, _ in asked:
                closed[kind].add(answer)
    write_licenses(work, out, set(at) | ({"words"} if full else set()))
    print("written to %s; licences and whom to name: %s" % (out, os.path.join(out, "LICENSES.txt")))


def unpack_fluent(package, out):
    """icons.json holds SVG bodies by name, chars.json says which characters have which name."""
    icons = json.load(open(os.path.join(package, "icons.json"), encoding="utf-8"))
    chars = json.load(open(os.path.join(package, "chars.json"), encoding="utf-8"))
    os.makedirs(out)
    for code, name in sorted(chars.items()):
        icon = icons["icons"].get(icons.get("aliases", {}).get(name, {}).get("parent", name))
        if icon:
            with open(os.path.join(out, code + ".svg"), "w", encoding="utf-8") as f:
                f.write('<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
                        'viewBox="0 0 %d %d">%s</svg>' % (icons["width"], icons["height"], icon["body"]))


if sys.argv[1] == "unpack-fluent":
    unpack_fluent(sys.argv[2], sys.argv[3])
else:
    build(sys.argv[2], sys.argv[3], sys.argv[4] == "1")
