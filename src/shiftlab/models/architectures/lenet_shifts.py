"""LeNet-5 once more, under a name of its own: `conf/model/lenet_shifts.yaml` has it learn from moved images."""

from shiftlab.models.architectures.lenet import build as build
