"""The page on training names every key of a recipe, its default and its meaning, as the code has them."""

from pathlib import Path

from panoptag_pyg.events.augmentation import AugmentationSection
from panoptag_pyg.tasks.flavour import FlavourConfig
from panoptag_pyg.training.recipe import DataSection, TrainSection

PAGE = Path(__file__).parent.parent.parent / "docs" / "training.md"


def reference_table():
    """The table as Markdown; paste it into the page when this test fails."""
    rows = ["| key | default | meaning |", "|---|---|---|"]
    for section, model in (
        ("data", DataSection),
        ("task", FlavourConfig),
        ("train", TrainSection),
        ("augmentation", AugmentationSection),
    ):
        for name, field in model.model_fields.items():
            default = "" if field.default is None else f"`{field.default}`"
            rows.append(f"| `{section}.{name}` | {default} | {field.description} |")
    return "\n".join(rows)


def test_every_key_is_documented():
    table = reference_table()
    assert table in PAGE.read_text(encoding="utf-8"), table
