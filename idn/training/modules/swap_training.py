"""SwapTraining: the LightningModule that trains a network that swaps, by distillation, adversarially, or both."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

import idn
from idn.errors import OptionError, UserError
from idn.files.digests import weights_digest
from idn.losses.adversarial import Scales
from idn.losses.objective import Objective
from idn.metrics.metric import measure
from idn.metrics.swaps import SWAP_METRICS, ask_recogniser
from idn.training.checkpoint_io import check_encoder, check_template, leave_out, note_encoder, note_template, refill
from idn.training.modules.adversarial import Adversary, Player, Real, Verdicts, differentiate, update
from idn.training.modules.finite_guard import FiniteGuard
from idn.training.modules.frozen_answers import FrozenAnswers
from idn.training.modules.needs import demand_met, leave_out_lacking, look, predict
from idn.training.modules.observed import Observed, seen_swaps
from idn.training.modules.supervision import Supervisor, terms_of_both
from idn.training.optimization.ema import MovingAverage
from idn.training.optimization.optimizers import Build, gradient_scaler, rated, stepwise, unfused
from idn.types import IdentityFeatures, Prediction, RunInput, Supervision, SwapBatch, Verdict

FROZEN = ("supervisor.", "encoder.", "recogniser.", "perceptual.", "adversary.discriminator.backbone.")
"""Prefixes of what is never written into a checkpoint."""


class SwapTraining(FiniteGuard):
    """Trains `network` to put identities into pictures, and validates its moving average.

    network: (target, IdentityFeatures) -> SwapOutput, with `parameter_groups()`, and `rates` of learning for those,
        relative to that of the optimizer, 1 where none is given; a student (arXiv:2201.03808), or one of
        teachers.trainable, which may have an encoder of attributes.
    supervisor: what the swaps should be: a teacher, exact answers, both, or nothing but the pair.
    encoder: frozen identity encoder.
    objective: what the network minimises. Terms that need a fusion mask or smaller pictures of the swap are left out,
        and a line says so, if the network has none.
    optimizer, schedule: constructors that only lack the parameter groups, or the optimizer; made once for each network
        that learns.
    write: (network, path, notes) writes the file of the network.
    notes: what that file says beside its origin, such as size and template of the crops.
    before: what the file says whose weights `network` has, if it does not begin anew.
    perceptual: frozen, feature maps for a perceptual term; `reads_encoder` if it needs what the encoder saw.
    discriminator: pictures to Verdict, for an adversarial term. It learns beside the network by the hinge (SimSwap,
        arXiv:2106.06340); optimization is manual then, and the trainer must not clip.
    discriminator_rate: its learning rate, relative to that of the optimizer.
    recogniser: frozen identity encoder that has no say in the training: validation asks it, too.
    clip: largest norm of either network's gradient where there is a discriminator; None for no limit.
    real: "target", "source" or "photograph", which picture of a pair the discriminator is shown as a photograph.
    scales: "mean", "sum" or one factor per scale, what becomes of the discriminator's losses at several scales.
    ema_decay: of the moving average.
    channels_last: keep the network's weights in that memory order.
    compile: compile the network in place.

    Frozen parts are not saved and do not change. Raises UserError for terms that ask for what is not there, for a
    discriminator that no term listens to, and OptionError for rates of groups that the network does not have.
    """

    def __init__(
        self,
        network: nn.Module,
        supervisor: Supervisor,
        encoder: nn.Module,
        objective: Objective,
        optimizer: Build,
        schedule: Callable[[Optimizer], LRScheduler],
        write: Callable[[nn.Module, str | Path, Mapping[str, str]], None],
        notes: Mapping[str, str] | None = None,
        before: Mapping[str, str] | None = None,
        perceptual: nn.Module | None = None,
        discriminator: nn.Module | None = None,
        discriminator_rate: float = 0.08,
        recogniser: nn.Module | None = None,
        clip: float | None = None,
        real: Real = "target",
        scales: Scales = "mean",
        ema_decay: float = 0.99,
        channels_last: bool = False,
        compile: bool = False,
    ) -> None:
        teaching = " and the teacher's pictures" if supervisor.answers else ""
        super().__init__(f"lower the learning rate, or check the data{teaching}")
        self.network = network.to(memory_format=torch.channels_last) if channels_last else network
        self.adversary = None if discriminator is None else Adversary(discriminator, real, scales)
        self.automatic_optimization = self.adversary is None
        self.supervisor, self.encoder, self.perceptual, self.recogniser = supervisor, encoder, perceptual, recogniser
        self.ema = MovingAverage(network, ema_decay)
        self.objective, self.optimizer, self.schedule = objective, optimizer, schedule
        self.discriminator_rate, self.clip = discriminator_rate, clip
        self.write, self.notes, self.before = write, dict(notes or {}), dict(before or {})
        self._check()
        if compile:
            self.network.compile()

    def _check(self) -> None:
        """Raise UserError for parts that do not fit each other."""
        groups, rates = self.network.parameter_groups(), self.network.rates
        if unknown := sorted(rates.keys() - groups.keys()):
            wanted = f"belongs to no parameters: there are {', '.join(groups)}"
            raise OptionError(f"rates.{unknown[0]}", rates[unknown[0]], wanted, self.network)
        demand_met(
            self.objective,
            answers=self.supervisor.answers,
            perceptual=self.perceptual is not None,
            discriminator=self.adversary is not None,
            attributes=hasattr(self.network, "attributes"),
        )
        if self.adversary is not None and "verdict" not in self.objective.needs:
            raise UserError(
                "no loss term listens to the discriminator: take a loss with an adversarial term, such as "
                "face_adversarial, or leave the discriminator out"
            )

    def observe(self, batch: SwapBatch, network: nn.Module, validates: bool = False) -> Observed:
        """Swap with `network`, and ask all who have a say. Gradients reach network and discriminator.

        validates: the encoder looks at the swaps, even if no loss does.
        """
        needs, (faces, source, supervised, maps, of_target) = self.objective.needs, self._said(batch)
        prediction = predict(network, batch, faces, needs, self.adversary)
        prediction = look(prediction, batch.face, supervised.answer, needs, self.encoder, self.perceptual, validates)
        verdicts = Verdicts(None, Verdict())
        if self.adversary is not None:
            verdicts = self.adversary.look(batch, "target_verdict" in needs)
        supervision = Supervision(
            target=batch.target,
            embedding=source.embedding,
            face=batch.face,
            same=batch.same,
            answer=supervised.answer,
            perceptual=maps,
            verdict=verdicts.target,
            known=supervised.known,
            target_perceptual=of_target,
        )
        return Observed(source, supervised, prediction, supervision, verdicts.real)

    def _said(self, batch: SwapBatch) -> FrozenAnswers:
        """What the frozen networks say of a batch; of one that is shown again, what they said the first time."""
        if batch.kept is None:
            return self._ask(batch)
        if batch.kept.said is None:
            batch.kept.said = self._ask(batch)
        return batch.kept.said

    @torch.no_grad()
    def _ask(self, batch: SwapBatch) -> FrozenAnswers:
        needs, faces = self.objective.needs, self._identify(batch)
        source = faces.repeated(batch.targets_per_identity)
        supervised = self.supervisor.supervise(batch, source, self.encoder, self._reads_answer())
        maps = self.perceptual(supervised.answer, supervised.seen) if "perceptual" in needs else ()
        of_target = self._maps_of(batch.target) if "target_perceptual" in needs else ()
        return FrozenAnswers(faces, source, supervised._replace(seen=None), maps, of_target)

    def _identify(self, batch: SwapBatch) -> IdentityFeatures:
        """Who the sources are, each once, the embedding in single precision; nothing compares their early maps."""
        source = self.encoder(batch.sources)
        return source._replace(embedding=source.embedding.float(), shallow=())

    def _maps_of(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """Perceptual maps of pictures at which nobody has looked yet, (N, 3, S, S)."""
        return self.perceptual(pictures, self.encoder(pictures) if self.perceptual.reads_encoder else None)

    def _reads_answer(self) -> bool:
        """Whether the perceptual maps are what the encoder sees in the answer."""
        return "perceptual" in self.objective.needs and self.perceptual.reads_encoder

    def _step(self, batch: SwapBatch, network: nn.Module, stage: str) -> tuple[Observed, Tensor, Tensor | None]:
        """The one path from a batch to the losses of network and discriminator, for training and validation alike."""
        seen = self.observe(batch, network, validates=stage == "val")
        self._fit_to(seen.prediction)
        total, parts = self.objective(seen.prediction, seen.supervision, seen.supervised.trust, self.global_step)
        logged = {"loss": total.detach(), **{f"loss_{name}": value for name, value in parts.items()}}
        hinge = None
        if self.adversary is not None:
            hinge = self.adversary.hinge(seen.real, seen.prediction.verdict).mean()
            logged["loss_discriminator"] = hinge.detach()
        self.log_dict(
            {f"{stage}/{name}": value for name, value in logged.items()},
            batch_size=len(batch.target),
            sync_dist=stage == "val",
        )
        self._log_metrics(stage, seen, batch)
        return seen, total, hinge

    def _fit_to(self, prediction: Prediction) -> None:
        """Leave out the terms of a mask or of smaller pictures if the network has none, and say so once."""
        for sentence in leave_out_lacking(self.objective, prediction):
            if self.trainer.is_global_zero:
                print(sentence)

    def _log_metrics(self, stage: str, seen: Observed, batch: SwapBatch) -> None:
        """Log the mean of every metric that can be known; in training, of those that cost nothing."""
        with torch.no_grad():
            swaps = seen_swaps(seen, batch)
            if stage == "val":
                recognised = ask_recogniser(self.recogniser, batch, swaps.image, swaps.answer)
                swaps = swaps._replace(target=self.encoder(batch.target).embedding, recognised=recognised)
            for name, values in measure(SWAP_METRICS, swaps, training=stage == "train").items():
                self.log(f"{stage}/{name}", values.mean(), batch_size=len(values), sync_dist=stage == "val")

    def training_step(self, batch: SwapBatch, batch_idx: int) -> dict[str, Tensor]:
        """One batch of the network, and of the discriminator if there is one. Returns loss, and trust in a teacher.

        Raises UserError as soon as a loss or a gradient is not a finite number, with all networks as they were before
        the batch: parameters have not been touched yet, and what the look did to buffers is undone. Gradients that
        overflow because 16-mixed precision scales them up are no reason to stop: that step is left out.
        """
        self.watch([self.network] if self.adversary is None else [self.network, self.adversary.discriminator])
        seen, total, hinge = self._step(batch, self.network, "train")
        self.demand_finite("loss", total)
        if hinge is not None:
            self.demand_finite("loss of the discriminator", hinge)
            self._update_both(total, hinge)
        return {"loss": total} | self._trust(seen)

    def _trust(self, seen: Observed) -> dict[str, Tensor]:
        """Trust in the answers of the teacher, if any of them are his."""
        trust, exact = seen.supervised.trust, seen.supervised.exact
        if trust is not None and exact is not None:
            trust = trust[~exact]
        return {} if trust is None or not len(trust) else {"trust": trust}

    def _update_both(self, loss: Tensor, hinge: Tensor) -> None:
        """One step of network and discriminator, each by its own loss."""
        players = self.players(loss, hinge)
        scaler = gradient_scaler(self)
        scale = 1.0 if scaler is None else scaler.get_scale()
        norms = differentiate(self, players, self.clip, scale)
        for player, norm in zip(players, norms, strict=True):
            if scale <= 1:
                self.demand_finite(f"gradient of the {player.name}", norm)
        update(self, scaler)
        self.ema.update(self.network)

    def players(self, loss: Tensor, hinge: Tensor) -> list[Player]:
        """The two networks that train each other, with what each minimises and may change."""
        pairs = (("network", self.network, loss), ("discriminator", self.adversary.discriminator, hinge))
        return [Player(name, value, [p for p in net.parameters() if p.requires_grad]) for name, net, value in pairs]

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Optimizer, optimizer_closure: Callable[[], Any] | None = None
    ) -> None:
        """After every step of the optimizer the average follows, before anything is told or saved."""
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        self.ema.update(self.network)

    def validation_step(self, batch: SwapBatch, batch_idx: int) -> dict[str, dict[str, Tensor]]:
        """Losses and metrics of the average on held-out people. Returns `pictures`, by name, for the grid."""
        seen, _, _ = self._step(batch, self.ema.network, "val")
        swap = seen.prediction
        taught = None if seen.supervised.cosine is None else seen.supervised.answer
        pictures = {"teacher": taught, "mask": swap.mask, "swap": swap.image.clamp(0, 1)}
        return {"pictures": {name: picture for name, picture in pictures.items() if picture is not None}}

    def configure_optimizers(self) -> Any:
        """One optimizer, every group of parameters at its own rate; another one for the discriminator."""
        build = unfused(self.optimizer, gradient_scaler(self))
        ours = rated(build, self.network.parameter_groups(), self.network.rates)
        if self.adversary is None:
            return stepwise(ours, self.schedule)
        judging = [p for p in self.adversary.discriminator.parameters() if p.requires_grad]
        theirs = rated(build, {"discriminator": judging}, {"discriminator": self.discriminator_rate})
        return [ours, theirs], [{"scheduler": self.schedule(one), "interval": "step"} for one in (ours, theirs)]

    def lineage(self) -> dict[str, str]:
        """Where the network comes from: who taught it, which encoder it reads, with their licences."""
        return {
            **terms_of_both(self.before, self.supervisor.lineage()),
            "encoder": self.encoder.name,
            "encoder_licence": self.encoder.licence,
            "trained_with": f"idn-distill {idn.__version__}",
        }

    def inputs(self) -> list[RunInput]:
        """What it learns from: its teacher, or that one's kept answers, and its encoder, by their weights."""
        taught = [] if self.supervisor.teacher is None else self.supervisor.teacher.origin()
        return [*taught, RunInput("encoder", self.encoder.name, {"weights_sha256": weights_digest(self.encoder)})]

    def save(self, path: str | Path, fraction: float, more: Mapping[str, str] | None = None) -> None:
        """Write the averaged network, its origin and what to feed it. fraction: of its training; more: other notes."""
        progress = {"steps": str(self.global_step), "max_steps": str(self.trainer.max_steps)}
        notes = {**self.notes, **self.lineage(), "encoder_dim": str(self.encoder.embedding_dim), **progress}
        self.write(self.ema.network, path, notes | {"fraction": f"{fraction:g}"} | dict(more or {}))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave the frozen networks out, and note which encoder it is, and which template."""
        leave_out(checkpoint, FROZEN)
        note_encoder(checkpoint, self.encoder)
        note_template(checkpoint, self.notes.get("template"))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refill the frozen networks with what they hold now, so that the rest still loads strictly.

        Raises EncoderMismatch for another identity encoder than that of the checkpoint, and OptionError for another
        template.
        """
        check_encoder(checkpoint, self.encoder)
        check_template(checkpoint, self.notes.get("template"))
        refill(checkpoint, self, FROZEN)
