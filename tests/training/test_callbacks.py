"""Trainers of others step the formats with their optimizer, tried with the packages where they are installed."""

import math
import sys

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

import dse  # noqa: E402
from dse.errors import InputError  # noqa: E402
from dse.training.loops.callbacks import hugging_face_callback, lightning_callback  # noqa: E402

#: Six optimizer steps of two batches of four samples each.
STEPS, ACCUMULATE, BATCH = 6, 2, 4
SCHEDULE = dse.Schedule.piecewise([(2, "w8a8e8"), (STEPS - 2, "w4a4e8")])


class Small(nn.Module):
    """Outputs as models of Hugging Face give them: a dictionary with the loss."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.up, self.down = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x, labels=None):
        scores = self.down(self.up(x).relu())
        return {"loss": None if labels is None else functional.cross_entropy(scores, labels), "logits": scores}


def samples():
    generator = torch.Generator().manual_seed(1)
    count = STEPS * ACCUMULATE * BATCH
    x, y = torch.randn(count, 6, generator=generator), torch.randint(3, (count,), generator=generator)
    return [{"x": a, "labels": b} for a, b in zip(x, y, strict=True)]


def by_hand():
    """The same training in a plain loop: weights, and losses of the steps."""
    module, data, losses = Small(), samples(), []
    prepared = dse.prepare(module, torch.zeros(BATCH, 6), SCHEDULE)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    batches = [torch.utils.data.default_collate(data[i : i + BATCH]) for i in range(0, len(data), BATCH)]
    for i in range(0, len(batches), ACCUMULATE):
        optimizer.zero_grad()
        parts = [module(**batch)["loss"] / ACCUMULATE for batch in batches[i : i + ACCUMULATE]]
        for part in parts:
            part.backward()
        optimizer.step()
        losses.append(float(sum(parts).detach()))
        prepared.step(losses[-1])
    return prepared, losses


def same(prepared):
    other, losses = by_hand()
    assert prepared.iteration == STEPS
    assert prepared.schedule().plans(prepared.network) == SCHEDULE.plans(other.network)
    assert prepared.state_dict()["dse_prepared.losses"].tolist() == pytest.approx(losses, rel=1e-5)
    for found, own in zip(prepared.module.parameters(), other.module.parameters(), strict=True):
        assert torch.allclose(found, own, rtol=1e-4, atol=1e-6)


def test_lightning_trains_as_a_plain_loop(tmp_path):
    lightning = pytest.importorskip("pytorch_lightning")

    class Task(lightning.LightningModule):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def training_step(self, batch, _):
            return self.model(**batch)["loss"]

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    prepared = dse.prepare(Small(), torch.zeros(BATCH, 6), SCHEDULE)
    trainer = lightning.Trainer(
        max_epochs=1, accumulate_grad_batches=ACCUMULATE, callbacks=[lightning_callback(prepared)], accelerator="cpu",
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(Task(prepared.module), torch.utils.data.DataLoader(samples(), batch_size=BATCH))
    same(prepared)


def test_hugging_face_trains_as_a_plain_loop(tmp_path):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")

    class InOrder(transformers.Trainer):
        def _get_train_sampler(self, *_):
            return torch.utils.data.SequentialSampler(self.train_dataset)

    prepared = dse.prepare(Small(), torch.zeros(BATCH, 6), SCHEDULE)
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path), num_train_epochs=1, per_device_train_batch_size=BATCH, gradient_accumulation_steps=ACCUMULATE,
        learning_rate=0.1, lr_scheduler_type="constant", optim="sgd", max_grad_norm=0.0, report_to=[], save_strategy="no",
        use_cpu=True, disable_tqdm=True, remove_unused_columns=False,
    )  # fmt: skip
    hooks = list(prepared.module._forward_hooks)
    optimizers = (torch.optim.SGD(prepared.module.parameters(), lr=0.1), None)
    InOrder(
        prepared.module,
        arguments,
        train_dataset=samples(),
        optimizers=optimizers,
        callbacks=[hugging_face_callback(prepared)],
    ).train()
    assert list(prepared.module._forward_hooks) == hooks
    same(prepared)


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lightning_callback, ("lightning", "lightning.pytorch", "pytorch_lightning")),
        (hugging_face_callback, ("transformers",)),
    ],
)
def test_a_package_that_is_missing_is_named_in_one_line(monkeypatch, make, names):
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)
    prepared = dse.prepare(Small(), torch.zeros(BATCH, 6), "int8")
    with pytest.raises(InputError) as caught:
        make(prepared)
    assert "; pip install" in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 2
    assert math.isfinite(float(prepared.module(torch.zeros(BATCH, 6))["logits"].sum().detach()))
