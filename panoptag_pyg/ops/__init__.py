"""Operations on ragged batches: flat values and the ``ptr`` that says where each event starts.

Every operation has one plain reference and interchangeable backends; ``backend="auto"`` picks one, and
:func:`available` says which exist and why one can't be used.
"""

from panoptag_pyg.ops import backends_numba as _numba  # registers it, as the next do torch-scatter and others
from panoptag_pyg.ops import backends_optional as _optional
from panoptag_pyg.ops import backends_triton as _triton
from panoptag_pyg.ops.attention import Attention, attention_weights, ragged_attention
from panoptag_pyg.ops.edge_convolution import edge_conv
from panoptag_pyg.ops.graphs import knn, knn_graph, radius, radius_graph
from panoptag_pyg.ops.metrics import available_metrics, register_metric
from panoptag_pyg.ops.neighbour_attention import neighbour_attention
from panoptag_pyg.ops.neighbours import (
    cross_neighbour_table,
    neighbour_count,
    neighbour_mask,
    neighbour_table,
)
from panoptag_pyg.ops.norm_linear import norm_linear
from panoptag_pyg.ops.pair_attention import pair_attention
from panoptag_pyg.ops.pair_embedding import pair_embedding
from panoptag_pyg.ops.pair_features import pair_features
from panoptag_pyg.ops.pairs import mirror_pairs, pair_index
from panoptag_pyg.ops.ragged import batch_from_ptr, complete_edges, ptr_from_batch
from panoptag_pyg.ops.registry import available, operations, register_backend, use_backend
from panoptag_pyg.ops.relation_attention import relation_attention
from panoptag_pyg.ops.relations import MIN_DELTA_R, RELATIONS, relations
from panoptag_pyg.ops.segment import segment_reduce, segment_softmax, segment_sum
from panoptag_pyg.ops.weighted_neighbours import weighted_neighbours

del _numba, _optional, _triton

__all__ = [
    "MIN_DELTA_R",
    "RELATIONS",
    "Attention",
    "attention_weights",
    "available",
    "available_metrics",
    "batch_from_ptr",
    "complete_edges",
    "cross_neighbour_table",
    "edge_conv",
    "knn",
    "knn_graph",
    "mirror_pairs",
    "neighbour_attention",
    "neighbour_count",
    "neighbour_mask",
    "neighbour_table",
    "norm_linear",
    "operations",
    "pair_attention",
    "pair_embedding",
    "pair_features",
    "pair_index",
    "ptr_from_batch",
    "radius",
    "radius_graph",
    "ragged_attention",
    "register_backend",
    "register_metric",
    "relation_attention",
    "relations",
    "segment_reduce",
    "segment_softmax",
    "segment_sum",
    "use_backend",
    "weighted_neighbours",
]
