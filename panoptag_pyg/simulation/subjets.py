"""Subjets: which smaller cluster inside its jet each constituent belongs to, by three algorithms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from panoptag_pyg.errors import require_extra
from panoptag_pyg.events import EventBlock
from panoptag_pyg.events.block import lengths_to_offsets
from panoptag_pyg.events.features import wrap_phi
from panoptag_pyg.simulation.detector_card import Positive
from panoptag_pyg.simulation.cards import Card
from panoptag_pyg.simulation.jets import cluster, jet_definition

#: Ways of finding subjets; the columns of :data:`~panoptag_pyg.events.schema.COLUMNS` are ``constituent/subjet_NAME``.
ALGORITHMS = ("cambridge", "antikt", "hdbscan")
#: A number of a subjet must fit into the column.
_MOST = np.iinfo(np.int16).max
