"""``python -m panoptag_pyg.benchmarks.pretraining``: do what of the curve isn't done; options are the study's."""

from __future__ import annotations

import sys

from ..study import __main__ as study
from .plan import RESULTS, CurvePlan


def main() -> int:
    """Do as the command line says; the exit code."""
    return study.main(plan=CurvePlan(), results=RESULTS, name="pretraining")


if __name__ == "__main__":
    sys.exit(main())
