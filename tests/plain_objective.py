"""An objective with weights of its own and an opponent, for tests that only need one to be there."""

from torch import nn

from rgbx.objectives import Objective, objective


@objective("judged")
class Judged(Objective):
    """Maps deepest features to `width` channels, which its opponent judges."""

    def __init__(self, site, *, width=3, stages=(1, 2)):
        super().__init__()
        self.own = nn.Conv2d(site.channels[-1], width, 1)
        self.opponent = nn.Conv2d(width, 1, 1)

    def scores(self, step):
        return [self.opponent(self.own(x)).mean() for x in step.features[-1].values()]

    def forward(self, step):
        return {"fooled": -sum(self.scores(step))}

    def opponent_losses(self, step):
        return {"told": sum(self.scores(step))}
