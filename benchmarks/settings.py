"""What a run of the bench was asked to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import torch

from panoptag_pyg.errors import ConfigError, EventFileError, suggest
from panoptag_pyg.events import EventDataset
from panoptag_pyg.events.block import EventBlock

from .limits import Limits, measure_limits
from .sampling import RANDOM, random_block, sample_file

#: Sizes of the model, by name: arguments of :class:`panoptag_pyg.models.PanopTag`.
SIZES: dict[str, dict[str, int]] = {
    "paper": {"dim": 256, "num_heads": 32, "k": 20, "num_inducing": 48, "num_decoder_layers": 4, "edge_mlp_layers": 3},
    "small": {"dim": 64, "num_heads": 4, "k": 8, "num_inducing": 32, "num_decoder_layers": 2, "edge_mlp_layers": 2},
    "tiny": {"dim": 16, "num_heads": 2, "k": 4, "num_inducing": 5, "num_decoder_layers": 1, "edge_mlp_layers": 2},
}

DTYPES = {
    str(dtype).removeprefix("torch."): dtype for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.float64)
}


@dataclass
class Settings:
    """Options of ``panoptag bench``.

    Attributes:
        device: where to compute.
        dtype: of the inputs; models run under autocast if it is shorter than float32.
        events: event files, or ``["random"]``.
        sizes: names of :data:`SIZES`.
        max_pfos: leading PFOs per event in the second of the two event sizes that are measured.
        num_events: events per batch.
        rounds: of each comparison. Default: as many as its budget allows, three at least.
        seed: of weights and random events.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype = torch.float32
    events: list[str] = field(default_factory=lambda: [sample_file()])
    sizes: tuple[str, ...] = ("paper",)
    max_pfos: int = 128
    num_events: int = 32
    rounds: int | None = None
    seed: int = 0

    @property
    def limit_dtypes(self) -> tuple[torch.dtype, ...]:
        """What matrix products are timed in."""
        return torch.float32, torch.bfloat16, self.dtype

    @cached_property
    def limits(self) -> Limits:
        """Measured once per run, before anything else."""
        width = SIZES[self.sizes[0]]["dim"]
        return measure_limits(self.device, self.limit_dtypes, width)

    def block(self, num_events: int, max_pfos: int | None = None) -> EventBlock:
        """The first events; a file with fewer is gone through again."""
        import numpy as np

        if self.events == [RANDOM]:
            return random_block(num_events, self.seed).leading(max_pfos)
        dataset = EventDataset(self.events, max_pfos=max_pfos)
        return dataset.read_block(np.arange(num_events) % len(dataset))

    def describe(self) -> dict[str, object]:
        """For JSON."""
        return {
            "device": str(self.device),
            "dtype": str(self.dtype).removeprefix("torch."),
            "threads": torch.get_num_threads(),
            "events": self.events,
            "num_events": self.num_events,
            "sizes": {name: SIZES[name] for name in self.sizes},
            "max_pfos": self.max_pfos,
            "seed": self.seed,
        }


def check_settings(settings: Settings) -> None:
    """Turn names into what they mean; look the event files up before anything runs.

    Raises:
        ConfigError: for an unknown dtype or size.
        EventFileError: for files that aren't there, are damaged or empty.
    """
    if not isinstance(settings.dtype, torch.dtype):
        if settings.dtype not in DTYPES:
            raise ConfigError(f"there is no dtype '{settings.dtype}' here{suggest(settings.dtype, DTYPES)}")
        settings.dtype = DTYPES[settings.dtype]
    for name in settings.sizes:
        if name not in SIZES:
            raise ConfigError(f"there is no model size '{name}'{suggest(name, SIZES)}")
    if settings.events != [RANDOM] and len(EventDataset(settings.events)) == 0:
        raise EventFileError(f"{', '.join(settings.events)}: no events in it; simulate some with panoptag simulate")
