"""The inputs of a job on divided text: its folder, its model, its text."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from rankadaptor.config import CompressConfig, ElasticConfig
from rankadaptor.named_models import load
from rankadaptor.pipeline.run_folder import RunFolder
from rankadaptor.pipeline.text_jobs.texts import CALIBRATION, Texts, load_texts
from rankadaptor.runtime import Compute, choose_compute, count_cores

if TYPE_CHECKING:
    import torch

Config = TypeVar("Config", CompressConfig, ElasticConfig)


@dataclass
class TextSetting(Generic[Config]):
    """The inputs of a run, loaded when they are first needed.

    Attributes:
        folder: The run's folder.
        config: The run.
        compute: Device, precision of products, threads of one process.
    """

    folder: RunFolder
    config: Config
    compute: Compute

    @property
    def stored(self) -> Compute:
        """Device and precision in which the model's weights are held."""
        return self.compute

    @property
    def training_windows(self) -> int:
        """Windows of text that the run trains on."""
        raise NotImplementedError

    @functools.cached_property
    def _loaded(self) -> tuple[Any, Any]:
        model, tokenizer = load(self.config.model, compute=self.stored)
        self.compute.apply()
        return model, tokenizer

    @property
    def model(self) -> Any:
        """The model as it was given."""
        return self._loaded[0]

    @property
    def tokenizer(self) -> Any:
        """Its tokenizer."""
        return self._loaded[1]

    @functools.cached_property
    def texts(self) -> Texts:
        """The text, divided."""
        model, tokenizer = self._loaded
        return load_texts(self.config, tokenizer, model=model, training=self.training_windows)

    def make_calibration(self) -> torch.Tensor:
        """Return the token ids of the calibration text, `(windows, length)`."""
        import torch

        device = next(self._loaded[0].parameters()).device
        return torch.tensor([each.input_ids for each in self.texts[CALIBRATION]]).to(device)


def pick_compute(config: CompressConfig | ElasticConfig) -> Compute:
    """Choose device and precision as the run asks, and the threads of one process.

    On a CPU that is one thread, whatever the run may use: results then do not depend on their number.
    """
    given = config.compute
    compute = choose_compute(device=given.device, dtype=given.dtype, threads=given.threads or count_cores())
    return compute if compute.device != "cpu" else dataclasses.replace(compute, threads=1)
