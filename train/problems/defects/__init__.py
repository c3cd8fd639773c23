"""Which kinds of point defects a host has, from a trace of it with and one without them."""

from train.problems.defects.problem import Defects as PLUG_IN

__all__ = ["PLUG_IN"]
