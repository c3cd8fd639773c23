"""A trained model as a program for torch alone, and the card that describes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from train.judging.calibration import Calibration
from train.models import Layout, Outputs
from train.problems import Program
from train.problems.defects.inputs import PairInput

if TYPE_CHECKING:
    from train.problems.defects.task import DefectTask

SCALING_MEANING = {
    "shared": "both traces minus the pristine one's minimum, over the pristine one's range",
    "trace": "each trace minus its own minimum, over its own range",
}


class Classifier(torch.nn.Module):
    """Class probabilities (n, classes) of traces as in the store, each (n, R) float32."""

    def __init__(
        self, model: torch.nn.Module, inputs: PairInput, layout: Layout, calibration: Calibration
    ) -> None:
        super().__init__()
        self.model, self.inputs, self.layout = model, inputs, layout
        self.calibration = calibration

    def forward(self, pristine: torch.Tensor, defective: torch.Tensor) -> torch.Tensor:
        outputs = Outputs.of(self.model(self.inputs(pristine, defective)), self.layout)
        return self.calibration.apply(outputs).logits.softmax(1)


def program_of(problem: DefectTask, model: torch.nn.Module, calibration: Calibration) -> Program:
    """From two traces, pristine and defective, to the probabilities of the classes."""
    inputs, layout = problem.inputs(), problem.layout(model)
    traces = torch.zeros(2, len(problem.points))
    module = Classifier(model, inputs, layout, calibration)
    return Program(module, (traces, traces.clone()), _card(problem))


def _card(problem: DefectTask) -> dict[str, Any]:
    points, classes, scaling = len(problem.points), len(problem.classes), problem.recipe.scaling
    trace, along = problem.trace, np.array(problem.points)
    steps = np.diff(along).round(6)
    units = "1/A^2, un-normalised" if trace.is_pdf else trace.units
    return {
        "description": "Tells the kind of point defect in an elemental metal from two traces, of "
        f"the pristine and of the defective crystal: {trace.long_name}.",
        "architecture": {"name": problem.recipe.model, "classes": classes},
        "input": {
            "pristine": f"{trace.quantity} of the host without defects",
            "defective": f"{trace.quantity} of the same host with defects",
            "units": units,
            "shape": f"(n, {points}) each, float32",
            trace.axis: {
                "units": "A" if trace.is_pdf else trace.axis_units,
                "first": problem.points[0],
                "last": problem.points[-1],
                "points": points,
                "step": {"smallest": steps.min(), "largest": steps.max()},
                "values": problem.points,
            },
        },
        "scaling": {
            "name": scaling,
            "meaning": SCALING_MEANING[scaling],
            "where": "the program does it; the network of the weights takes scaled pairs "
            f"(n, 2, {points})",
        },
        "absorbed": {
            "names": problem.recipe.absorbed,
            "meaning": "parameters of the host and the instrument whose first-order effect is "
            "taken off the change first, as of train.problems.defects.inputs.PairInput",
        },
        "output": f"of the program: probabilities (n, {classes}) in the order of classes, "
        "all of which are taken for equally frequent; the "
        f"first {classes} outputs of the network of the weights are their logits, to be divided by "
        "the calibration's temperature",
        "classes": problem.classes,
    }
