"""What taggers with weaver-core's architectures share: its weights, pretrained files, a head to exchange."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from torch import Tensor, nn
from torch_geometric.data import HeteroData

from panoptag_pyg.errors import ConfigError, NoAttentionError, suggest
from panoptag_pyg.events.jets import JetView, jet_view
from panoptag_pyg.models import weaver
from panoptag_pyg.models.base import Embeddings, Tagger
from panoptag_pyg.models.jet_inputs import INPUTS, JETCLASS_INPUTS, InputFunction, JetInputs

Self = TypeVar("Self", bound="WeaverTagger")


class WeaverTagger(Tagger):
    """A tagger of single jets whose ``network`` and ``head`` take weaver-core's weights.

    A subclass says how the network is built from weaver-core's arguments, how it is called, and what the head begins
    with.

    Attributes:
        inputs: what is known of a constituent.
        network: from there to an embedding of each jet.
        fc_params: hidden layers of the head; ``None`` for no head.
        pretrained: a weaver-core state dict that has yet to be read.
        input_argument: weaver-core's name for the number of inputs.
    """

    needs = frozenset({"constituents"})
    input_argument: str
    network: nn.Module

    def _build(self, inputs: JetInputs, arguments: Mapping[str, Any]) -> None:
        self.pretrained: str | None = None
        self.pretrained_parts: tuple[str, ...] = ()
        self.register_load_state_dict_pre_hook(_other_weights_came)
        self.inputs = inputs
        self.fc_params: Sequence[Sequence[Any]] | None = arguments["fc_params"]
        self._build_network(arguments)
        self.replace_head(arguments["num_classes"])

    def _build_from_recipe(self, features: str | None, pretrained: str | None, arguments: Mapping[str, Any]) -> None:
        features = features or ("jetclass_full" if pretrained else "panoptag")
        if features not in INPUTS:
            raise ConfigError(f"there are no features '{features}'{suggest(features, INPUTS)}")
        inputs = JetInputs(features)
        self._build(inputs, self._checked({**arguments, self.input_argument: len(inputs.names)}))
        self.pretrained = pretrained

    @classmethod
    def from_weaver(
        cls: type[Self],
        state_dict: Mapping[str, Tensor],
        features: str | InputFunction | None = None,
        **arguments: Any,
    ) -> Self:
        """The network of a weaver-core state dict; gives weaver-core's own logits on the same jets.

        Args:
            state_dict: what ``torch.load(file, weights_only=True)`` gives for a file that weaver-core saved; names of
                wrappers (``mod.``, ``module.``) are taken off.
            features: as of the class, or a function ``(JetView, batch) → [N, F]``. Default: by the number of inputs:
                17, 13 and 7 are JetClass's, 14 our raw features.
            **arguments: those that weaver-core's class was made with; its own defaults for the others. ``trim``,
                ``use_amp`` and ``compile_model`` change nothing here.

        Raises:
            ConfigError: for an argument that doesn't exist, is missing, or isn't supported.
            CheckpointError: if the weights are those of another architecture.
        """
        for name in (cls.input_argument, "num_classes"):
            if name not in arguments:
                raise ConfigError(
                    f"from_weaver needs the arguments of weaver-core's {cls.__name__}; '{name}' is missing"
                )
        weights = cls.weaver_names(state_dict)
        checked = cls._checked(arguments)
        num_inputs = arguments[cls.input_argument]
        inputs = JetInputs(features or _features_for(num_inputs))
        if inputs.names and len(inputs.names) != num_inputs:
            raise ConfigError(
                f"features = '{features}' are {len(inputs.names)}, but {cls.input_argument} = {num_inputs}"
            )
        model = cls.__new__(cls)
        nn.Module.__init__(model)
        model._build(inputs, checked)
        weaver.load_weights(model, {**model._own_buffers(), **weights}, "the weights")
        return model

    @classmethod
    def weaver_names(cls, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """weaver-core's tensors by our names."""
        return {
            "head." + name.removeprefix("fc.") if name.startswith("fc.") else "network." + name: value
            for name, value in weaver.without_prefixes(state_dict).items()
        }

    def replace_head(self, num_classes: int | None) -> None:
        """A new head for other classes, to fine-tune what the network has learned.

        Args:
            num_classes: C; ``None`` for no head: the logits are the embedding itself.
        """
        if num_classes is None or self.fc_params is None:
            self.head, self.num_classes = nn.Identity(), self.dim
            return
        layers, width = [], self.dim
        for parameters in self.fc_params:
            out, dropout, activation = (*parameters, "relu")[:3]
            if activation not in ("relu", "gelu"):
                raise ConfigError(f"fc_params with activation '{activation}' is not supported, only 'relu' or 'gelu'")
            function = nn.GELU() if activation == "gelu" else nn.ReLU()
            layers.append(nn.Sequential(nn.Linear(width, out), function, nn.Dropout(dropout)))
            width = out
        self.head, self.num_classes = nn.Sequential(*layers, nn.Linear(width, num_classes)), num_classes
        self._draw_head()

    def reset_parameters(self) -> None:
        """Draw all weights anew; the normalisation of the inputs stays."""
        self.network.reset_parameters()  # type: ignore[operator]
        self._draw_head()

    def fit_normalisation(self, batch: HeteroData) -> None:
        """Take means and deviations of the inputs from training jets; and the pretrained weights, if there are any."""
        self._load_pretrained()
        self.inputs.fit(jet_view(batch))

    def embed(self, batch: HeteroData, return_attention: bool = False) -> Embeddings:
        """Embedding of each jet, before the head [J, dim].

        Raises:
            ConfigError: if attention is asked for, or the batch has no constituents.
        """
        if return_attention:
            raise NoAttentionError("a tagger of single jets has no attention over the event to return")
        self._load_pretrained()
        jets = jet_view(batch)
        return Embeddings(self._encode(self.inputs(jets, batch), jets))

    def _load_pretrained(self) -> None:
        if self.pretrained is None:
            return
        weights = self.weaver_names(weaver.read_state_dict(self.pretrained))
        head = {name.removeprefix("head."): v.shape for name, v in weights.items() if name.startswith("head.")}
        same = head == {name: value.shape for name, value in self.head.state_dict().items()}
        source = f"the weights in {self.pretrained}"
        weaver.load_weights(self, {**self._own_buffers(), **weights}, source, ignore_head=not same)
        self.pretrained, self.pretrained_parts = None, ("network", "head") if same else ("network",)

    def _own_buffers(self) -> dict[str, Tensor]:
        """What a weaver-core state dict doesn't have: the normalisation of our own features."""
        return {name: value for name, value in self.state_dict().items() if name.startswith("inputs.")}

    @classmethod
    def _checked(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """All of weaver-core's arguments, or a ConfigError."""
        raise NotImplementedError

    def _build_network(self, arguments: Mapping[str, Any]) -> None:
        """Set ``network`` and ``dim``."""
        raise NotImplementedError

    def _encode(self, x: Tensor, jets: JetView) -> Tensor:
        raise NotImplementedError

    def _draw_head(self) -> None:
        for layer in self.head.modules():
            if isinstance(layer, nn.Linear):
                layer.reset_parameters()

    def __repr__(self) -> str:
        parameters = sum(p.numel() for p in self.parameters())
        parts = f"{self.inputs!r}, {self.network!r}, {self.num_classes} classes, {parameters:,} parameters"
        return f"{type(self).__name__}({parts})"


def _features_for(num_inputs: int) -> str:
    for name in (*JETCLASS_INPUTS, "raw"):
        if len(JetInputs.names_of(name)) == num_inputs:
            return name
    raise ConfigError(
        f"say what the {num_inputs} inputs are: features = a function (JetView, batch) → [N, {num_inputs}]"
    )


def _other_weights_came(module: nn.Module, *_: Any) -> None:
    module.pretrained = None  # type: ignore[assignment]
