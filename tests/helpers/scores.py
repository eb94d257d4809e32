"""Made-up scores of jets, without a model or events."""

from __future__ import annotations

import numpy as np

from panoptag_pyg.evaluation import Predictions


def made_up_scores(
    rng: np.random.Generator,
    num_events: int = 240,
    spread: float = 1.5,
    weight: np.ndarray | None = None,
    processes: tuple[str, ...] = ("ttbar", "ZH"),
    common: float = 0.0,
) -> Predictions:
    """Scores on events of 1 to 6 jets, of each process in turn.

    Args:
        rng: of all numbers.
        num_events: how many.
        spread: how well the true class is told; 0 for not at all.
        weight: of each event. Default: 1.
        processes: their names.
        common: how much of the scores an event's jets share.
    """
    per_event = rng.integers(1, 7, num_events)
    event = np.repeat(np.arange(num_events), per_event)
    flavour = rng.choice(3, len(event), p=[0.5, 0.2, 0.3])
    noise = rng.normal(0, 1, (len(event), 3)) + common * rng.normal(0, 1, (num_events, 3))[event]
    of_event = np.ones(num_events) if weight is None else weight
    return Predictions(
        logits=(noise + spread * np.eye(3)[flavour]).astype(np.float32),
        flavour=flavour.astype(np.int8),
        process=(event % len(processes)).astype(np.int16),
        event_index=event,
        event_id=event,
        file=np.zeros(len(event), np.int32),
        jet_index=(np.arange(len(event)) - (np.cumsum(per_event) - per_event)[event]).astype(np.int32),
        pt=rng.uniform(20, 200, len(event)).astype(np.float32),
        eta=rng.uniform(-2.4, 2.4, len(event)).astype(np.float32),
        phi=rng.uniform(-3, 3, len(event)).astype(np.float32),
        mass=np.full(len(event), 5, np.float32),
        weight=of_event[event].astype(np.float32),
        process_names=tuple(processes),
        num_events=num_events,
    )
