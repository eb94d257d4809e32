"""Kept kernels don't outlive a change of what they are made from."""

from panoptag_pyg.ops.kernels_numba import _forget_outdated


def test_a_change_in_any_file_forgets_all_kept_kernels(tmp_path):
    (tmp_path / "tiles.py").write_text("ROWS = 12\n")
    cache = tmp_path / "__pycache__"
    _forget_outdated(tmp_path)
    kept = cache / "edge.block-1.py311.1.nbc"
    kept.write_bytes(b"code")
    _forget_outdated(tmp_path)
    assert kept.exists()
    (tmp_path / "tiles.py").write_text("ROWS = 6\n")
    _forget_outdated(tmp_path)
    assert not kept.exists()
    _forget_outdated(tmp_path)
    assert (cache / "kernels.sha256").exists()
