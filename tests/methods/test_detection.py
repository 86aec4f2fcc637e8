"""Detection: average precision by hand, targets that decode to themselves, suppression, scores."""

from __future__ import annotations

import numpy as np
import pytest
from fake_images import image_of

import hrviz
from hrviz.boxes import areas, iou, suppress
from hrviz.methods import detection
from hrviz.methods.detection import Found, Wanted, average_precision, judge, match
from hrviz.results import WarpGrid
from hrviz.scenes.truth import Objects, Truth

torch = pytest.importorskip("torch")


def found(*rows: tuple[float, ...]) -> Found:
    """Rows of (y0, x0, y1, x1, score, class)."""
    table = np.array(rows, float).reshape(-1, 6)
    return Found(table[:, :4], table[:, 4], table[:, 5].astype(int))


def wanted(*rows: tuple[float, ...], ignored: tuple[int, ...] = ()) -> Wanted:
    """Rows of (y0, x0, y1, x1, class)."""
    table = np.array(rows, float).reshape(-1, 5)
    left_out = np.isin(np.arange(len(table)), ignored)
    return Wanted(table[:, :4], table[:, 4].astype(int), left_out)


A, B, C = (0, 0, 10, 10), (0, 50, 10, 60), (50, 0, 60, 10)


# ------------------------------------------------------------------ boxes
def test_iou_by_hand() -> None:
    a = np.array([[0, 0, 10, 10.0]])
    b = np.array([[0, 0, 10, 10.0], [0, 5, 10, 15], [20, 20, 30, 30], [2, 2, 4, 4], [5, 5, 5, 5]])
    np.testing.assert_allclose(iou(a, b), [[1, 50 / 150, 0, 4 / 100, 0]])
    np.testing.assert_array_equal(areas(b), [100, 100, 100, 4, 0])


def test_suppression_keeps_the_best_of_each_heap() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 1, 10, 11], [0, 3, 10, 13], [40, 40, 50, 50.0]])
    scores = np.array([0.5, 0.9, 0.8, 0.1])
    # 0 overlaps 1 by 9/11, 2 overlaps 1 by 8/12: over 0.6 both go; over 0.7 only 0 does
    assert suppress(boxes, scores, 0.6).tolist() == [1, 3]
    assert suppress(boxes, scores, 0.7).tolist() == [1, 2, 3]
    assert suppress(boxes[:0], scores[:0]).tolist() == []


# ------------------------------------------------------------------ average precision
def test_average_precision_by_hand() -> None:
    truth = wanted((*A, 0), (*B, 0), (*C, 0))
    hit_a, hit_b, miss = (*A, 0.9, 0), (*B, 0.7, 0), (80, 80, 90, 90, 0.8, 0)
    assert average_precision([found(hit_a, hit_b, (*C, 0.5, 0))], [truth]) == 1
    # hit, miss, hit of 3: the envelope is 1 up to 1/3, then 2/3 up to 2/3
    assert average_precision([found(hit_a, miss, hit_b)], [truth]) == pytest.approx((1 + 2 / 3) / 3)
    assert average_precision([found(miss)], [truth]) == 0
    assert average_precision([found()], [truth]) == 0
    assert np.isnan(average_precision([found(miss)], [wanted()]))


def test_the_envelope_never_falls_towards_lower_recall() -> None:
    """A miss first: precision rises 0, 1/2, 2/3; all-point interpolation takes 2/3 throughout."""
    truth = wanted((*A, 0), (*B, 0))
    ranked = found((80, 80, 90, 90, 0.9, 0), (*A, 0.8, 0), (*B, 0.7, 0))
    assert average_precision([ranked], [truth]) == pytest.approx(2 / 3)


def test_a_second_box_on_the_same_object_is_wrong() -> None:
    truth = wanted((*A, 0), (*B, 0))
    ranked = found((*A, 0.9, 0), (0, 1, 10, 11, 0.8, 0), (*B, 0.7, 0))
    assert average_precision([ranked], [truth]) == pytest.approx((1 + 2 / 3) / 2)


def test_images_are_pooled_by_score_and_classes_averaged() -> None:
    truth = [wanted((*A, 0)), wanted((*A, 0), (*B, 1))]
    ranked = [found((*B, 0.95, 0)), found((*A, 0.9, 0), (*B, 0.2, 1))]
    # class 0: a miss, then a hit of 2 objects: 1/2 * 1/2; class 1: perfect
    assert average_precision(ranked, truth) == pytest.approx((0.25 + 1) / 2)


def test_stricter_thresholds() -> None:
    """A box 2 px off a 10 px object: IoU 80/120 = 0.667, a hit at 0.5 to 0.65 of ten thresholds."""
    truth, ranked = [wanted((*A, 0))], [found((0, 2, 10, 12, 0.9, 0))]
    assert average_precision(ranked, truth, 0.65) == 1
    assert average_precision(ranked, truth, 0.7) == 0
    assert judge(ranked, truth)["ap"] == pytest.approx(0.4)


def test_sizes_out_of_range_are_ignored_both_ways() -> None:
    large = (100, 100, 300, 300)
    truth = [wanted((*A, 0), (*large, 0))]
    ranked = [found((*large, 0.9, 0), (100, 500, 300, 700, 0.8, 0), (*A, 0.7, 0))]
    told = judge(ranked, truth)
    assert told["small_ap50"] == 1  # neither the large hit nor the large miss counts
    assert told["large_ap50"] == 1  # its one object ranks first
    assert told["small_objects"] == 1
    assert told["small_recall"] == 1
    assert "medium_ap50" not in told


def test_objects_cut_by_the_border_are_neither_wanted_nor_wrong() -> None:
    truth = [wanted((*A, 0), (*B, 0), ignored=(1,))]
    told = judge([found((*A, 0.9, 0), (*B, 0.8, 0))], truth)
    assert told["ap50"] == 1
    assert told["objects"] == 1
    assert told["false_positives"] == 0
    hit, judged, wants = match(found((*B, 0.8, 0)), truth[0], 0, 0.5, (0, np.inf))
    assert (hit.any(), judged.any(), wants.tolist()) == (False, False, [True, False])


def test_recall_counts_sure_boxes_of_the_right_class() -> None:
    truth = [wanted((*A, 0), (*B, 0), (*C, 1))]
    told = judge([found((*A, 0.9, 0), (*B, 0.2, 0), (*C, 0.8, 0))], truth)
    assert told["recall"] == pytest.approx(1 / 3)
    assert told["false_positives"] == 1


# ------------------------------------------------------------------ the network
@pytest.mark.parametrize("size", [(96, 128), (90, 131)])
def test_targets_decode_to_the_boxes_they_were_made_of(size: tuple[int, int]) -> None:
    from hrviz.nets.detector import SmallDetector, decode

    net = SmallDetector(3, [4, 8, 8], 0)
    boxes = np.array([[10, 20, 40, 60], [60.5, 33, 67, 41.25], [3, 3, 9, 80], [70, 90, 84, 120.0]])
    classes = np.array([0, 2, 1, 2])
    targets = net.targets(boxes, classes, size)
    assert targets.shape == (8, -(-size[0] // 4), -(-size[1] // 4))
    answer = torch.cat([torch.logit(targets[:3].clamp(1e-6, 1 - 1e-6)), targets[3:7]])
    ((told, scores, labels),) = decode(answer[None], threshold=0.9)
    order = np.argsort(told[:, 0])
    expected = np.argsort(boxes[:, 0])
    np.testing.assert_allclose(told[order], boxes[expected], atol=1e-4)
    np.testing.assert_array_equal(labels[order], classes[expected])
    assert (scores > 0.99).all()
    # objects whose centre lies outside leave no trace
    assert not net.targets(np.array([[-9, 0, 3, 9.0]]), np.array([0]), size).any()


def test_two_sizes_and_any_input() -> None:
    from hrviz.nets.detector import SmallDetector

    light, heavy = SmallDetector(1, [8, 16, 24], 0), SmallDetector(1, [16, 32, 48, 64, 96], 2)
    count = [sum(p.numel() for p in net.parameters()) for net in (light, heavy)]
    assert 20 * count[0] < count[1]
    for net in (light.eval(), heavy.eval()):
        for h, w in ((1, 1), (1, 90), (33, 47), (96, 64)):
            with torch.no_grad():
                assert net(torch.rand(2, 3, h, w)).shape == (2, 5, -(-h // 4), -(-w // 4))


def test_the_loss_falls_on_what_it_sees() -> None:
    from hrviz.nets.detector import SmallDetector

    torch.manual_seed(0)
    net = SmallDetector(2, [8, 16, 24], 1)
    boxes, classes = np.array([[8, 8, 24, 28], [36, 30, 50, 60.0]]), np.array([0, 1])
    x = torch.full((2, 3, 64, 64), 0.2)
    x[:, 0, 8:24, 8:28], x[:, 1, 36:50, 30:60] = 0.9, 0.9
    targets = torch.stack([net.targets(boxes, classes, (64, 64))] * 2)
    optimiser = torch.optim.Adam(net.parameters(), 5e-3)
    losses = []
    for _ in range(60):
        loss = net.loss(net(x), targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]
    assert torch.isfinite(net.loss(net(x), torch.zeros_like(targets)))  # a picture without objects


# ------------------------------------------------------------------ scores
class Signs(Truth):
    """Two objects, one of them half outside."""

    objects = {4: "other sign", 5: "car", 9: "head"}  # noqa: RUF012
    classes = {}  # noqa: RUF012
    knows = frozenset({"boxes"})

    def boxes(self, box: object = None) -> Objects:
        boxes = np.array([[10, 10, 30, 30], [40, 95, 60, 125], [0, 0, 5, 5.0]])
        return Objects(boxes, np.array([4, 5, 9]), self.objects)


def test_score_of_a_region() -> None:
    view = image_of(np.zeros((200, 300, 3), np.uint8), truth=Signs()).view((0, 0, 100, 100))
    truth = detection.wanted(view, detection.DETECTORS["sign detection"].classes)
    assert truth.labels.tolist() == [3, 4]  # heads are nobody's business here
    assert truth.ignored.tolist() == [False, True]  # a sixth of the car is in the region
    np.testing.assert_array_equal(truth.boxes[1], [40, 95, 60, 100])
    seen = found((10, 10, 30, 30, 0.9, 3), (70, 70, 80, 80, 0.6, 4))
    (step,) = detection.score(view, seen, "sign detection")
    assert step.name == "score"
    assert step.result.values["ap50"] == 1
    assert step.result.values["false_positives"] == 1
    assert step.result.source == "trained: road-detector"


def test_score_where_there_is_nothing_of_the_kind() -> None:
    view = image_of(np.zeros((100, 100, 3), np.uint8), truth=Signs()).view()
    (step,) = detection.score(view, found((*A, 0.9, 0), (*B, 0.1, 0)), "person detection")
    assert step.result.values == {"false_positives": 1}
    assert "task to none" in step.note
    still = image_of(np.zeros((10, 10, 3), np.uint8)).view()
    assert list(detection.score(still, found(), "sign detection")) == []


def test_boxes_are_carried_to_the_image() -> None:
    view = image_of(np.zeros((200, 400, 3), np.uint8)).view()
    even = WarpGrid.identity(view.box, (100, 200))
    moved = found((0.5, 0.5, 99.5, 199.5, 1, 0)).to_image(even)
    np.testing.assert_allclose(moved.boxes, [[0.5, 0.5, 199.5, 399.5]], atol=1e-9)


def test_the_trained_detector_finds_signs_it_has_never_seen() -> None:
    image = hrviz.scenes.dataset("road", "unseen", 1)[0]
    view = image.view()
    even = WarpGrid.identity(view.box, (480, 640))
    seen = detection.detect("road-detector", view.read((480, 640))).to_image(even)
    truth = detection.wanted(view, detection.DETECTORS["sign detection"].classes)
    assert judge([seen], [truth])["recall"] > 0.6
