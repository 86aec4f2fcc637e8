"""Uniform downsampling or cutting into patches? The survey's Table I, with a network trained here.

Frames of 256 x 192 px on which people are 3 to 12 px tall (`square`, of scene:crowd), and as a control frames of
discs with rings of mean zero (`rings`); a U-Net of 60,361 parameters instead of SASNet's 38.9 million. The
survey's protocol: for downsampled input (`ud`) the network is fine-tuned at that size, for patches (`cip`) it
is not, and the counts of disjoint patches are summed. All arms train equally many steps.

`mae` is on unseen frames, the mean over trainings (a bundled network is one of them); its 95 % interval is from
resampling frames and trainings together, that of `change` from the same resamples of arm and original; `bias` is signed. `pass MiB` is
the predicted peak of one pass (weights, input, activations), `GFLOP` that of an image in all passes, `time x`
an image's processor time beside the original's, measured here in turn. Patches compare with downsampling at equal memory, not at equal
operations. `halo`: patches with so many px of their surroundings; from 24 px, the reach of the network, they count exactly
what the whole frame counts (first training, few frames). `mean guess` answers the training frames' mean count whatever it sees.

Trainings take some minutes of one thread each, and are kept in benchmarks/output.

    OMP_NUM_THREADS=1 python benchmarks/table_one.py --kinds square,rings --seeds 3,1 --write
    python benchmarks/table_one.py --kinds square --seeds 1    # the bundled networks only
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

OUTPUT = Path(__file__).parent / "output" / "table_one"
HALOS = (0, 4, 8, 12, 16, 20, 24)
HALO_FRAMES = 24
RESAMPLES = 4000
REPEATS = 7
#: arm -> (whose network, downsampling a side, patches a side)
ARMS = {
    "original": ("original", 1, 1),
    "ud-4": ("ud-4", 2, 1),
    "cip-4": ("original", 1, 2),
    "ud-16": ("ud-16", 4, 1),
    "cip-16": ("original", 1, 4),
}


def say(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)


def networks(kind: str, seed: int, quick: bool) -> tuple[dict[str, Any], float]:
    """All arms of one training, bundled, kept or trained now; and the seconds it took."""
    from safetensors.torch import load_file, save_file

    from hrviz import nets
    from hrviz.nets.sasnet import CrowdCounter
    from hrviz.training import crowd_counter as recipe

    names = {arm: name for arm, (name, _) in recipe.ARMS.items()}
    if kind == "square" and (nets.WEIGHTS / "crowd-counter.safetensors").exists():
        card = nets.card("crowd-counter")
        if card["seed"] == seed and not quick:
            return {arm: nets.load(name) for arm, name in names.items()}, card["seconds"]
    if quick:
        return recipe.fitted(kind, seed=seed, steps=2, full=2, tuned=2, report=say, count=2), 0.0
    folder = OUTPUT / f"{kind}-{seed}-{recipe.digest(kind)}"
    told = folder / "seconds.json"
    if not told.exists():
        clock = time.perf_counter()
        found = recipe.fitted(kind, seed=seed, report=say)
        folder.mkdir(parents=True, exist_ok=True)
        for arm, net in found.items():
            save_file(net.state_dict(), folder / f"{arm}.safetensors")
        told.write_text(json.dumps(round(time.perf_counter() - clock)))
    out = {}
    for arm in names:
        net = CrowdCounter()
        net.load_state_dict(load_file(folder / f"{arm}.safetensors"))
        out[arm] = net.eval().requires_grad_(False)
    return out, json.loads(told.read_text())


def errors(found: dict[str, Any], frames: Any, key: str) -> dict[str, np.ndarray]:
    """Signed errors of one training's arms, (frames,) each; kept, as counting takes a while."""
    from safetensors.torch import save

    from hrviz.training.crowd_counter import counts

    states = (save({k: v.contiguous() for k, v in net.state_dict().items()}) for net in found.values())  # fmt: skip
    digest = hashlib.sha256(b"".join(states) + f"{key} {len(frames.pixels)}".encode())
    file = OUTPUT / f"errors-{digest.hexdigest()[:12]}.npz"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        off = {
            arm: counts(found[whose], frames.pixels, factor, cut) - frames.counts
            for arm, (whose, factor, cut) in ARMS.items()
        }
        np.savez(file, **off)
    with np.load(file) as kept:
        return dict(kept)


def further(kind: str, steps: int) -> list[dict[str, Any]]:
    """The downsampled arms of the first training, fine-tuned by so many steps more."""
    import copy

    from hrviz.training import crowd_counter as recipe
    from hrviz.training import crowd_counter_data as data

    nets, _ = networks(kind, 0, False)
    frames, unseen = data.frames(kind, "train", None, say), data.frames(kind, "unseen", None, say)
    out = []
    for arm in ("ud-16", "ud-4"):
        factor, net = ARMS[arm][1], copy.deepcopy(nets[arm])
        trainer = recipe.Trainer(frames, factor, 1, say)
        trainer.fit(net, f"{kind} {arm} further", steps, recipe.RATE_FULL, recipe.BATCH_FULL)
        off = recipe.counts(net, unseen.pixels, factor) - unseen.counts
        before = recipe.counts(nets[arm], unseen.pixels, factor) - unseen.counts
        out.append({
            "kind": kind, "arm": arm, "steps": steps, "mae": round(float(np.abs(off).mean()), 2),
            "bias": round(float(off.mean()), 2), "before": round(float(np.abs(before).mean()), 2),
        })  # fmt: skip
        print(out[-1], flush=True)
    return out


def costs(arm: str, halo: int = 0) -> dict[str, float]:
    """Passes, share of the pixels in one, peak bytes of the largest one, operations of them all."""
    from hrviz.cost.meter import Subject
    from hrviz.nets.sasnet import CrowdCounter
    from hrviz.training.crowd_counter_data import SIZE

    _, factor, cut = ARMS[arm]
    h, w = SIZE[0] // factor, SIZE[1] // factor
    net, sizes = Subject(CrowdCounter), []
    for top in range(0, h, h // cut):
        for left in range(0, w, w // cut):
            high = min(top + h // cut + halo, h) - max(top - halo, 0)
            wide = min(left + w // cut + halo, w) - max(left - halo, 0)
            sizes.append((high, wide))
    known = {size: net.measure((1, 3, *size)) for size in set(sizes)}
    return {
        "passes": len(sizes),
        "share": max(a * b for a, b in sizes) / (SIZE[0] * SIZE[1]),
        "memory": max(m.peak for m in known.values()),
        "flops": sum(known[size].flops for size in sizes),
    }


def seconds(found: dict[str, Any], pixels: np.ndarray) -> dict[str, float]:
    """Of a processor for an image in each arm: the least of several rounds, arms in turn."""
    from hrviz.training.crowd_counter import counts

    calls = {
        arm: partial(counts, found[whose], pixels, factor, cut)
        for arm, (whose, factor, cut) in ARMS.items()
    }
    rounds = []
    for _ in range(REPEATS):
        row = []
        for call in calls.values():
            clock = time.process_time()
            call()
            row.append((time.process_time() - clock) / len(pixels))
        rounds.append(row)
    return dict(zip(calls, np.min(rounds, 0), strict=True))


def resampled(trainings: int, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Which trainings and which frames each resample takes, the same for all arms."""
    rng = np.random.default_rng(0)
    return (
        rng.integers(trainings, size=(RESAMPLES, trainings)),
        rng.integers(frames, size=(RESAMPLES, frames)),
    )


def means(values: np.ndarray, chosen: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Mean of (trainings, frames) in each resample."""
    return np.array([values[a][:, b].mean() for a, b in zip(*chosen, strict=True)])


def bounds(values: np.ndarray, digits: int) -> list[float]:
    return [round(float(v), digits) for v in np.quantile(values, [0.025, 0.975])]


def judge(kind: str, seeds: int, quick: bool) -> dict[str, Any]:
    """Rows, halo and controls of one kind of frames."""
    from hrviz.survey.table_one import PAPER
    from hrviz.training import crowd_counter_data as data
    from hrviz.training.crowd_counter import counts

    trained = [networks(kind, seed, quick) for seed in range(seeds)]
    frames = data.frames(kind, "unseen", 4 if quick else None, say)
    each = [errors(found, frames, data.key(kind, "unseen")) for found, _ in trained]
    off = {arm: np.stack([one[arm] for one in each]) for arm in ARMS}
    spent = seconds(trained[0][0], frames.pixels[:8])
    chosen = resampled(seeds, len(frames.pixels))
    whole = means(np.abs(off["original"]), chosen)
    base = np.abs(off["original"]).mean()
    rows = []
    for row in PAPER:
        e = np.abs(off[row.arm])
        drawn = means(e, chosen)
        rows.append({
            "kind": kind, "arm": row.arm, **costs(row.arm),
            "mae": round(float(e.mean()), 2), "interval": bounds(drawn, 2),
            "change": round(float(e.mean() / base - 1), 3),
            "change_interval": bounds(drawn / whole - 1, 3),
            "bias": round(float(off[row.arm].mean()), 2),
            "mae_by_seed": [round(float(v), 2) for v in e.mean(1)],
            "seconds": round(spent[row.arm], 4),
            "time_ratio": round(spent[row.arm] / spent["original"], 2),
            "paper_mae": row.mae, "paper_change": row.change,
        })  # fmt: skip
    few, net = slice(HALO_FRAMES), trained[0][0]["original"]
    halos = []
    for arm in ("cip-4", "cip-16"):
        for halo in HALOS:
            found = counts(net, frames.pixels[few], 1, ARMS[arm][2], halo) - frames.counts[few]
            halos.append({
                "kind": kind, "arm": arm, "halo": halo, "frames": len(found), **costs(arm, halo),
                "mae": round(float(np.abs(found).mean()), 2), "bias": round(float(found.mean()), 2),
                "whole_mae": round(float(np.abs(off["original"][0, few]).mean()), 2),
                "from_whole": float(f"{np.abs(found - off['original'][0, few]).max():.2g}"),
            })  # fmt: skip
    untuned = {
        arm: np.abs(counts(net, frames.pixels[few], ARMS[arm][1]) - frames.counts[few]).mean()
        for arm in ("ud-4", "ud-16")
    }
    guess = data.frames(kind, "train", 4 if quick else None, say).counts.mean()
    return {
        "rows": rows, "halo": halos,
        "facts": {
            "kind": kind, "seeds": list(range(seeds)), "seconds": [s for _, s in trained],
            "frames": len(frames.pixels), "people": round(float(frames.counts.mean()), 1),
            "mean_guess_mae": round(float(np.abs(guess - frames.counts).mean()), 2),
            "untuned_mae": {arm: round(float(v), 2) for arm, v in untuned.items()},
        },
    }  # fmt: skip


def table(found: dict[str, Any]) -> str:
    """One kind as text, the paper's numbers beside ours."""
    facts = found["facts"]
    lines = [
        f"{facts['kind']}: {facts['frames']} unseen frames, {facts['people']} heads each, trainings {facts['seeds']}; mean guess {facts['mean_guess_mae']}",
        f"{'arm':<10}{'share':>7}{'mae':>8}{'interval':>16}{'change':>9}{'interval':>18}{'bias':>8}{'passes':>8}{'pass MiB':>10}{'GFLOP':>8}{'time x':>8}{'paper':>8}{'change':>8}  mae by seed",
    ]
    for r in found["rows"]:
        a, b = r["interval"]
        c, d = r["change_interval"]
        lines.append(
            f"{r['arm']:<10}{r['share']:>7.4f}{r['mae']:>8.2f}{f'{a:.2f}-{b:.2f}':>16}{r['change']:>+9.0%}{f'{c:+.0%} {d:+.0%}':>18}{r['bias']:>+8.2f}"
            f"{r['passes']:>8}{r['memory'] / 2**20:>10.2f}{r['flops'] / 1e9:>8.3f}{r['time_ratio']:>8.2f}{r['paper_mae']:>8.2f}{r['paper_change']:>+8.0%}  {r['mae_by_seed']}"
        )
    for r in found["halo"]:
        lines.append(
            f"{r['arm']:<7} halo {r['halo']:>2}: mae {r['mae']:.2f}, bias {r['bias']:+.2f}, at most {r['from_whole']} from the whole frame's, {r['memory'] / 2**20:.2f} MiB a pass, {r['flops'] / 1e9:.3f} GFLOP"
        )
    return "\n".join(lines)


def main() -> None:
    """Train what is missing, measure, print, and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kinds", default="square,rings", help="of frames, by comma")
    parser.add_argument(
        "--seeds", default="3", help="trainings of each kind, or of every kind by comma"
    )
    parser.add_argument(
        "--further", type=int, default=0, metavar="STEPS",
        help="also tune the downsampled arms of the first kind longer: were they done?",
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="few frames and steps: does it run?")
    parser.add_argument("--write", action="store_true", help="renew hrviz/survey/table_one.json")
    parser.add_argument("--json", metavar="FILE", help="write the record there too")
    options = parser.parse_args()
    if options.quick and options.write:
        sys.exit("--quick gives no numbers to keep: leave --write out")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import torch

    from hrviz.survey.table_one import RECORD
    from hrviz.training.crowd_counter_data import KINDS

    kinds = options.kinds.split(",")
    if unknown := [k for k in kinds if k not in KINDS]:
        sys.exit(f"there are no frames of kind {', '.join(unknown)}: choose of {', '.join(KINDS)}")
    seeds = [int(n) for n in options.seeds.split(",")]
    if len(seeds) not in (1, len(kinds)) or min(seeds) < 1:
        sys.exit(
            f"--seeds {options.seeds}: give one number from 1, or as many as kinds ({len(kinds)})"
        )
    found = []
    for kind, n in zip(kinds, seeds * len(kinds), strict=False):
        found.append(judge(kind, n, options.quick))
        print(table(found[-1]), end="\n\n", flush=True)
    record = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": f"python benchmarks/table_one.py --kinds {options.kinds} --seeds {options.seeds}{f' --further {options.further}' if options.further else ''} --write",
        "network": "CrowdCounter, 60,361 parameters",
        "torch": torch.__version__.partition("+")[0],
        "threads": torch.get_num_threads(),
        "sets": [f["facts"] for f in found],
        "rows": [r for f in found for r in f["rows"]],
        "halo": [r for f in found for r in f["halo"]],
    }
    if options.further and not options.quick:
        record["further"] = further(kinds[0], options.further)
    text = json.dumps(record, indent=1) + "\n"
    for file in ([RECORD] if options.write else []) + (
        [Path(options.json)] if options.json else []
    ):
        file.write_text(text)


if __name__ == "__main__":
    main()
