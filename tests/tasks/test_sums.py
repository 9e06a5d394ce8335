"""What an evaluation by sums knows of its frames."""

import pytest
import torch

from rgbx.tasks import PROTOCOLS, Prediction, Score, SumTask, Target


class Bright(SumTask):
    """The mean absolute error of one channel."""

    kind, channels, target = "bright", 1, "bright"

    def read_target(self, batch):
        return Target(batch["bright"])

    def activate(self, raw):
        return raw.float()

    def losses(self, outputs, target):
        return {}

    def finish(self, total, target, protocol, *, keep_probability=False):
        return []

    def draw(self, values, about, *, truth=None, valid=None, masked=False):
        return values

    def table(self, meta=None, **options):
        return (Score("MAE"),)

    def measure(self, values, target):
        return {"error": float((values - target.truth).abs().sum()), "count": float(values.numel())}

    def scores_of(self, sums):
        return {"MAE": sums["error"] / sums["count"]}


def evaluated(*samples):
    counter = Bright().counter(PROTOCOLS["rgbx"], {})
    return counter.evaluation([counter.count(str(i), one, {"rgb": 7}) for i, one in enumerate(samples)])


TRUTH = torch.arange(6.0).view(1, 2, 3)
VALID = TRUTH > 1
ONE = Prediction({"rgb": TRUTH + 3, "ensemble": TRUTH + 1}, TRUTH, VALID)


def test_predictions_have_the_ensemble_first():
    evaluation = evaluated(ONE, ONE)
    assert evaluation.names == ["ensemble", "rgb"]
    assert (evaluation.scores("rgb"), evaluation.image_scores(evaluation.images[0])) == ({"MAE": 3.0}, {"MAE": 1.0})


@pytest.mark.parametrize(
    "change",
    [
        dict(target=TRUTH + 1),
        dict(target=TRUTH.double()),
        dict(target=TRUTH.view(1, 3, 2), prediction={"ensemble": TRUTH.view(1, 3, 2)}, valid=VALID.view(1, 3, 2)),
        dict(valid=~VALID),
        dict(valid=None),
    ],
    ids=["values", "type", "shape", "mask", "no mask"],
)
def test_the_fingerprint_holds_the_truth(change):
    assert evaluated(ONE).fingerprint() == evaluated(ONE._replace(prediction={"ensemble": TRUTH})).fingerprint()
    assert evaluated(ONE).fingerprint() != evaluated(ONE._replace(**change)).fingerprint()
