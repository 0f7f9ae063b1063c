"""Callbacks that step prepared modules where somebody else owns the training loop: the Trainers of Lightning and Hugging Face.

Neither package is needed by anything else here; a callback asks for its own when it is made.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Protocol

from dse.errors import InputError


class Stepped(Protocol):
    """What a callback uses of a :class:`~dse.training.prepare.Prepared` module."""

    module: Any

    def step(self, loss: Any = None) -> None:
        """An optimizer step is done."""


def lightning_callback(prepared: Stepped) -> Any:
    """For ``lightning.Trainer(callbacks=[...])``: one step of the formats for each optimizer step.

    A step's loss is the sum over its accumulated batches of what Lightning hands out, which it has divided by their number. In
    manual optimization a batch in which several optimizers step is one step of the formats.

    Parameters
    ----------
    prepared
        Of the LightningModule itself, or of a module inside it.

    Raises
    ------
    InputError
        Neither ``lightning`` nor ``pytorch_lightning`` can be imported.
    """
    base: Any = _class("Callback", "lightning.pytorch", "pytorch_lightning", extra="lightning")

    class Steps(base):
        """Steps of the formats beside those of the optimizer."""

        done, losses = 0, 0.0

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            """Steps of a run that is resumed were counted by the state of the module."""
            self.done = trainer.global_step

        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            """Gradients are still there: Lightning sets them to zero before the next backward pass."""
            loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
            self.losses += float("nan") if loss is None else float(loss)
            if trainer.global_step > self.done:
                prepared.step(self.losses)
                self.done, self.losses = trainer.global_step, 0.0

    return Steps()


def hugging_face_callback(prepared: Stepped) -> Any:
    """For ``transformers.Trainer(callbacks=[...])``: one step of the formats for each optimizer step.

    The Trainer hands no loss to its callbacks: a step's loss is the mean of the ``loss`` in the outputs of the prepared module
    since the last step. Modules that return none are stepped without, which plans and schedules do not mind.

    Parameters
    ----------
    prepared
        Of the model that the Trainer trains.

    Raises
    ------
    InputError
        ``transformers`` cannot be imported.
    """
    base: Any = _class("TrainerCallback", "transformers", extra="transformers")

    class Steps(base):
        """Steps of the formats beside those of the optimizer."""

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            """Look at the losses that the module returns in training."""
            self.losses: list[float] = []
            self.hook = prepared.module.register_forward_hook(self.look)

        def look(self, module: Any, inputs: Any, outputs: Any) -> None:
            """Keep a loss; outputs are a dictionary with attributes, or a tuple that says nothing of a loss."""
            loss = outputs.get("loss") if isinstance(outputs, dict) else None
            if module.training and loss is not None:
                self.losses.append(float(loss.detach()))

        def on_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            """Gradients are still there for policies that read them: they are zeroed before ``on_step_end``."""
            prepared.step(sum(self.losses) / len(self.losses) if self.losses else None)
            self.losses.clear()

        def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            """Leave no hook behind."""
            self.hook.remove()

    return Steps()


def _class(name: str, *modules: str, extra: str) -> Any:
    for module in modules:
        try:
            return getattr(import_module(module), name)
        except ImportError:
            continue
    raise InputError("dse.training.loops.callbacks", [f"needs {' or '.join(modules)}; pip install {extra}"])
