"""The causes of a difference, in the order in which one leads to the next, and the words for each:
what it is called, what is likely behind it, and what to change."""

from __future__ import annotations

from typing import NamedTuple


class Cause(NamedTuple):
    """`{who}` stands for the run that stands out, A or B."""

    title: str
    likely: str
    change: str


# The first word of a cause's name says what it is found in.
KINDS = {
    "weights": "initial weights and buffers",
    "batch": "the batch",
    "setting": "settings of layers",
    "hook": "hooks",
    "frozen": "frozen parameters",
    "mode": "train or eval mode",
    "generator": "the generator's state",
    "window": "the loss",
    "forward": "the loss",
    "compiled": "the loss",
    "loss": "the loss",
    "zero_grad": "gradients",
    "gradients": "gradients",
    "scaler": "gradients",
    "clip": "gradients",
    "clipped": "gradients",
    "optimizer": "the optimizer",
    "schedule": "the optimizer",
    "stepped": "weights after the step",
    "buffers": "weights after the step",
    "touched": "what the program writes itself",
    "steps": "the number of steps",
    "resumed": "what a resumed run took over",
    "evaluation": "evaluation",
    "reported": "reported numbers",
    "saved": "what was saved",
}

CAUSES = {
    "weights": Cause(
        "initial weights",
        "something else was drawn from the generator before the model was made, or the layers are "
        "made in another order or initialised otherwise",
        "seed directly before the model is made on both sides, and make the layers in one order",
    ),
    "weights-seed": Cause(
        "initial weights: another seed",
        "the two programs are given different seeds",
        "give both the same seed",
    ),
    "weights-seed-late": Cause(
        "initial weights: seeded after the model was made",
        "the weights of {who} were drawn before its seed was set, so every start has others",
        "in {who}, call torch.manual_seed (or seed_everything) before the model is made",
    ),
    "weights-unseeded": Cause(
        "initial weights: not seeded",
        "the weights are drawn from a generator that starts anywhere",
        "call torch.manual_seed (or seed_everything) with one seed before the model is made",
    ),
    "weights-missing": Cause(
        "initial weights: parameters or buffers missing",
        "layers kept in a plain list or dict, or a tensor kept as a plain attribute, are not "
        "registered: they do not train, move or get saved",
        "use nn.ModuleList or nn.ParameterList for layers, register_buffer for tensors",
    ),
    "weights-other": Cause(
        "initial weights: other parameters or buffers",
        "the two models are built otherwise",
        "compare how the layers are made, and their sizes",
    ),
    "weights-dtype": Cause(
        "initial weights: another dtype",
        "one model was cast (model.half(), .bfloat16(), .double(), or Lightning's -true "
        "precisions, which cast the weights; -mixed ones do not)",
        "give both models the same dtype, and both the same kind of precision",
    ),
    "weights-loaded": Cause(
        "initial weights: loaded on one side",
        "one program begins with weights from a file",
        "load the same checkpoint on both sides, or on neither",
    ),
    "setting": Cause(
        "a setting of a layer",
        "the layer is made with other arguments",
        "make this layer with the same arguments on both sides",
    ),
    "hook": Cause(
        "a hook on one side",
        "what a hook returns takes the place of an output or a gradient",
        "register the hook on both sides, or on neither",
    ),
    "frozen": Cause(
        "parameters frozen on one side",
        "requires_grad is False for them",
        "freeze the same parameters on both sides",
    ),
    "frozen-weights": Cause(
        "other weights where nothing is trained",
        "a teacher or frozen layers with the weights of another checkpoint or of another seed, or "
        "an average of weights that is updated otherwise",
        "load the same weights on both sides, or update the average alike and at the same place",
    ),
    "gradients-further": Cause(
        "gradients where the other has none",
        "no_grad() or detach() is missing around a teacher or a target network: the steps may be "
        "the same, and each takes more time and memory",
        "in {who}, call this model under torch.no_grad()",
    ),
    "batch-world": Cause(
        "the batch: another number of processes",
        "each process has a batch of its own: the batch of a step is all of them together, and "
        "batch norm and dropout see one process's part",
        "compare runs of equally many processes; or give each process its share of the batch",
    ),
    "generator-unseeded": Cause(
        "a generator that is not seeded",
        "what is drawn from it differs from run to run, of one program too",
        "seed it (numpy.random.seed, random.seed, default_rng(seed)) before it is drawn from",
    ),
    "mode-some": Cause(
        "some layers in eval mode on one side",
        "part of the model is kept in eval mode, as frozen batch norm is, and the call of train() "
        "at the start of an epoch may undo that",
        "decide which layers train, and set their modes after each train() on both sides",
    ),
    "batch-size": Cause(
        "the batch: another size",
        "batch_size or drop_last differs, or one splits the data otherwise",
        "give both loaders the same batch_size, drop_last and split",
    ),
    "batch-calls": Cause(
        "the batch: in another number of calls",
        "one calls the model for each part of the batch, the other once for all of it: batch norm "
        "and dropout see something else then; other layers give the same but for rounding",
        "call the model equally often on both sides",
    ),
    "batch-shape": Cause(
        "the batch: another shape",
        "the samples are resized, cropped or flattened otherwise",
        "use the same transforms",
    ),
    "batch-dtype": Cause(
        "the batch: another dtype", "one side casts its batch", "cast in one place, to one dtype"
    ),
    "batch-device": Cause(
        "the batch: another device",
        "the programs run on different devices, whose sums are taken in different orders",
        "run both on one device",
    ),
    "batch-order": Cause(
        "the batch: samples in another order",
        "one side sorts or shuffles within the batch, in its collate function or sampler",
        "use one sampler and one collate function",
    ),
    "batch-shuffle": Cause(
        "the batch: another order of the data",
        "the order is drawn from a generator in another state, or only one side shuffles",
        "give the loader a generator= or a sampler of its own, seeded alike on both sides",
    ),
    "batch-generator": Cause(
        "the batch: the loader's own generator in another state",
        "it is seeded otherwise, or one side draws from it more often: a loader that shuffles may "
        "draw once more when it is asked for a batch beyond its last; a for loop asks for it, and "
        "Lightning counts the batches and does not",
        "seed both alike; if they are, let the number of the epoch decide the order, by a "
        "DistributedSampler of one replica and set_epoch(epoch), which Lightning calls by itself",
    ),
    "batch-sampler": Cause(
        "the batch: another sampler, or another setting of it",
        "only one side shuffles or weights its samples; or the seeds differ: a DistributedSampler "
        "is seeded by its own argument, and the one that Lightning makes by seed_everything, or "
        "with 0",
        "make both samplers alike: shuffle=, weights, seed= or seed_everything in Lightning",
    ),
    "batch-repeated": Cause(
        "the batch: the order of an earlier epoch again",
        "the generator that orders the data of {who} begins anew in each epoch: it is made or "
        "seeded there, or a sampler is not told which epoch it is",
        "in {who}, make the loader and its generator once; call set_epoch(epoch) where a sampler "
        "has it",
    ),
    "batch-normalised": Cause(
        "the batch: normalised otherwise",
        "mean and standard deviation differ, or one side does not scale to 0..1",
        "use the same transforms, with the statistics of the training images",
    ),
    "batch-target": Cause(
        "the batch: other targets",
        "labels are shuffled, encoded or shifted otherwise",
        "print the labels of one batch on both sides",
    ),
    "batch-values": Cause(
        "the batch: other values",
        "other files, another split, or random augmentation drawn otherwise",
        "compare the data sets first: one sample, then its transforms",
    ),
    "mode": Cause(
        "a layer in eval mode during training",
        "eval() was called, by a validation or by hand, and train() not afterwards: dropout is "
        "off and batch norm learns no statistics",
        "in {who}, call model.train() at the start of every epoch, after any eval()",
    ),
    "generator": Cause(
        "the generator's state before the forward pass",
        "one side drew more numbers: another layer, an augmentation, a loader",
        "seed at the start of each epoch, and give loaders a generator= of their own",
    ),
    "generator-seed": Cause(
        "the generator's state: seeded otherwise",
        "one side seeds again, or with another number, and dropout draws other masks",
        "call torch.manual_seed at the same places with the same numbers",
    ),
    "generator-loader": Cause(
        "the generator's state: a loader drew from it",
        "each iterator over a DataLoader draws a seed, from the global generator unless the loader "
        "has one: a validation loop changes the training after it",
        "in {who}, give the loader generator=torch.Generator().manual_seed(seed)",
    ),
    "window": Cause(
        "batches accumulated for one step",
        "accumulation over windows of other lengths, or a last window left without a step",
        "accumulate over the same number, and step after the last batch of an epoch too",
    ),
    "forward": Cause(
        "what the model computes",
        "with equal weights, batch, modes and generator: another layer or another setting of it",
        "compare this layer, with its arguments, on both sides",
    ),
    "forward-random": Cause(
        "what the model computes: dropout",
        "another probability, or masks drawn from a generator in another state",
        "compare p on both sides; seed at the start of each epoch",
    ),
    "forward-autocast": Cause(
        "what the model computes: another precision",
        "the forward pass of {who} is not under autocast, or not in the same dtype",
        "run forward and loss under torch.autocast with one dtype on both sides",
    ),
    "compiled": Cause(
        "compiled code",
        "compiled code draws other random numbers than eager code, for dropout too, and may take "
        "sums in another order",
        "compare both without torch.compile; or compile both",
    ),
    "forward-shape": Cause(
        "what the model computes: another shape",
        "the last layer or a reshaping differs",
        "compare the last layer on both sides",
    ),
    "forward-argument": Cause(
        "what the model computes: a call with other arguments",
        "the two calls get the same tensors and other settings",
        "give this call the same arguments on both sides",
    ),
    "forward-call": Cause(
        "what the model computes: another call",
        "up to here all results are equal; here the two programs call different functions",
        "compare these two lines",
    ),
    "forward-more": Cause(
        "what the model computes: a call more on one side",
        "one program does something to its tensors that the other leaves out",
        "add or remove this call",
    ),
    "forward-input": Cause(
        "what the model computes: another tensor goes in",
        "a mask, a constant or noise differs that is neither a weight nor in the batch",
        "print this tensor on both sides",
    ),
    "loss-argument": Cause(
        "the loss: a call with other arguments",
        "the model gave the same; the loss is computed with other settings",
        "give this call the same arguments on both sides",
    ),
    "loss-call": Cause(
        "the loss: another call",
        "the model gave the same; here the two programs call different functions",
        "compare these two lines",
    ),
    "loss-more": Cause(
        "the loss: a term or a factor on one side",
        "the model gave the same; one program adds something to its loss or multiplies it",
        "add or remove this call",
    ),
    "loss-input": Cause(
        "the loss: another tensor goes in",
        "weights of classes, a mask or a target differ",
        "print the arguments of this call on both sides",
    ),
    "loss-autocast": Cause(
        "the loss: another precision",
        "the loss of one side is computed under autocast, or in another dtype",
        "compute the loss at the same place, within or outside autocast",
    ),
    "loss": Cause(
        "the loss",
        "the model gave the same; something was added to the loss or multiplied with it",
        "compare what happens between the model's output and backward()",
    ),
    "loss-softmax": Cause(
        "the loss: softmax before cross entropy",
        "cross entropy takes the softmax itself; twice, gradients get small and learning slow",
        "in {who}, hand logits to cross entropy: no softmax at the end of the model",
    ),
    "loss-broadcast": Cause(
        "the loss: scores and targets of two shapes",
        "where shapes differ, tensors are broadcast: every score is compared with every target",
        "in {who}, squeeze or unsqueeze one of them, so that both have one shape",
    ),
    "loss-reduction": Cause(
        "the loss: summed, not averaged",
        "the loss of {who} grows with the batch, and with it every gradient",
        'in {who}, use reduction="mean", or divide by the number of samples',
    ),
    "loss-not-divided": Cause(
        "the loss: not divided in accumulation",
        "gradients of a window are added up; undivided they are too large by its length. An "
        "optimizer like Adam hides that, clipping and weight decay do not",
        "in {who}, call (loss / accumulate).backward()",
    ),
    "loss-function": Cause(
        "the loss: another function or option",
        "weights, label smoothing or the kind of loss differ",
        "call the same loss function with the same options",
    ),
    "zero_grad-forgotten": Cause(
        "gradients of the step before were still there",
        "zero_grad() is not called, or not for this optimizer",
        "in {who}, call optimizer.zero_grad() before the first backward() of each step",
    ),
    "zero_grad-in-window": Cause(
        "gradients zeroed within the accumulation window",
        "zero_grad() is called for every batch: only the last batch of a window counts",
        "in {who}, call optimizer.zero_grad() once a window",
    ),
    "gradients": Cause(
        "gradients",
        "the loss is the same and its gradient not: a detach, a hook, a frozen or shared weight, "
        "or an operation with a gradient of its own",
        "look for detach(), no_grad, requires_grad and hooks on this parameter",
    ),
    "gradients-missing": Cause(
        "gradients: a parameter has none",
        "it is frozen, detached, or not used in {who}",
        "look for requires_grad, detach() and no_grad around this parameter",
    ),
    "gradients-scaled": Cause(
        "gradients: all scaled",
        "the loss was scaled, divided or averaged over processes otherwise",
        "compare loss scaling, accumulation and the number of processes",
    ),
    "gradients-unsynchronised": Cause(
        "gradients: not averaged over the processes",
        "{who} calls the inner module, past its DistributedDataParallel wrapper, and each process "
        "trains a model of its own",
        "in {who}, call the wrapper: ddp_model(batch), not ddp_model.module(batch)",
    ),
    "scaler": Cause(
        "gradients: another scale of the loss",
        "the gradient scalers begin with other scales, or one has met infinite gradients; only "
        "powers of two are undone to the bit",
        "give both scalers the same init_scale, or scale on neither side",
    ),
    "clip-missing": Cause(
        "gradients: clipping",
        "{who} does not clip its gradients, the other does",
        "clip on both sides or on neither",
    ),
    "clip-limit": Cause(
        "gradients: clipped to another limit",
        "the limits differ",
        "give clip_grad_norm_ the same limit",
    ),
    "clip-early": Cause(
        "gradients: clipped before the window is full",
        "{who} clips after every backward pass and not once before the step",
        "in {who}, clip once, after the last backward() of a window",
    ),
    "clip-scaled": Cause(
        "gradients: clipped before they were unscaled",
        "with a loss scaler, gradients are thousands of times too large until unscaled: clipping "
        "then always cuts, and down to almost nothing",
        "in {who}, call scaler.unscale_(optimizer) before clip_grad_norm_",
    ),
    "clipped": Cause(
        "gradients at the step",
        "they were equal after backward(): something changed them before the step",
        "compare what stands between backward() and step()",
    ),
    "clipped-scaled": Cause(
        "gradients at the step: all scaled",
        "clipped over other parameters, or with another kind of norm",
        "give clip_grad_norm_ the same parameters and norm_type",
    ),
    "touched-gradient": Cause(
        "gradients: written to by the program",
        "one program changes gradients itself between backward() and step()",
        "do the same on both sides",
    ),
    "touched": Cause(
        "weights: written to by the program",
        "{who} changes weights itself, outside of any optimizer (clamping, averaging, a reset)",
        "do the same on both sides",
    ),
    "optimizer-class": Cause(
        "the optimizer: another kind",
        "different optimizers, or the same ones stepped in another order",
        "use one optimizer, and one order",
    ),
    "optimizer-lr": Cause(
        "the optimizer: another learning rate",
        "the first step has another rate already: another lr, or a schedule set up otherwise",
        "compare lr, and the arguments of the schedule",
    ),
    "optimizer-option": Cause(
        "the optimizer: another setting",
        "defaults differ between optimizers; weight decay of Adam is not that of AdamW",
        "write this option out on both sides",
    ),
    "optimizer-groups": Cause(
        "the optimizer: other parameter groups",
        "one side treats some parameters apart, as biases without weight decay",
        "make the same groups",
    ),
    "optimizer-missing": Cause(
        "the optimizer: parameters missing from it",
        "a layer was added or replaced after the optimizer of {who} was made, or left out",
        "in {who}, make the optimizer last, from model.parameters()",
    ),
    "optimizer-foreign": Cause(
        "the optimizer: it holds other parameters than the model's",
        "{who} made its optimizer before the model was moved, replaced or copied, and steps "
        "tensors that nothing uses",
        "in {who}, make the optimizer after .to(device), from the model that is trained",
    ),
    "schedule": Cause(
        "the learning rate",
        "the schedules differ, or have other lengths",
        "compare the kind of schedule and its total steps",
    ),
    "schedule-epoch": Cause(
        "the learning rate: stepped once an epoch",
        "{who} moves a schedule that counts steps once an epoch, which is Lightning's default",
        'in {who}, scheduler.step() after optimizer.step(); in Lightning {{"interval": "step"}}',
    ),
    "schedule-still": Cause(
        "the learning rate: it does not move",
        "the schedule of {who} is not stepped, or once an epoch, which is Lightning's default",
        'in {who}, scheduler.step() after optimizer.step(); in Lightning {{"interval": "step"}}',
    ),
    "stepped": Cause(
        "weights after the step",
        "gradients and settings are equal: the optimizers compute otherwise, have another state, "
        "or something else writes to the weights",
        "compare the optimizer's state, and look for copies into the weights (EMA, init, load)",
    ),
    "stepped-state": Cause(
        "weights after the step: the optimizer had another state",
        "the state was loaded on one side only, or another one was",
        "load optimizer.load_state_dict() on both sides, or on neither",
    ),
    "stepped-hand": Cause(
        "weights after the step: updated by hand",
        "the two updates are not the same, and at least one is written out in the program",
        "compare the two updates: sign, rate, weight decay, momentum",
    ),
    "resumed-optimizer": Cause(
        "resumed without the optimizer's state",
        "momenta begin at zero or elsewhere",
        "in {who}, load the optimizer's state_dict from the checkpoint",
    ),
    "resumed-schedule": Cause(
        "resumed with another learning rate",
        "the schedule's state was not loaded",
        "in {who}, load the schedule's state_dict from the checkpoint",
    ),
    "resumed-order": Cause(
        "resumed at another place in the data",
        "the state of the generator or sampler that orders the data was not restored; Lightning's "
        "checkpoints do not hold it",
        "in {who}, restore the loader's generator, and skip what was seen of the epoch",
    ),
    "resumed-generator": Cause(
        "resumed with another state of the generator",
        "checkpoints do not hold it unless the program puts it there; Lightning's do not",
        "in {who}, save torch.get_rng_state() in the checkpoint, and set it after loading",
    ),
    "resumed-scaler": Cause(
        "resumed with another scale of the loss",
        "the state of the gradient scaler was not loaded",
        "in {who}, load the scaler's state_dict from the checkpoint",
    ),
    "buffers": Cause(
        "buffers after the step",
        "batch norm gathers its statistics otherwise: another momentum, or a forward pass more",
        "compare the batch norm layers, and count the forward passes of a step",
    ),
    "steps": Cause(
        "the number of steps",
        "another number of epochs or of steps, a step left out, or another rule of stopping early",
        "compare epochs, max_steps, the last window of each epoch, and early stopping",
    ),
    "evaluation": Cause(
        "what evaluation computed",
        "equal weights, batch and modes: another setting of a layer",
        "compare this layer, with its arguments, on both sides",
    ),
    "evaluation-mode": Cause(
        "evaluation in train mode",
        "eval() is not called: dropout drops, and batch norm learns from the validation data",
        "in {who}, call model.eval() before evaluation, and model.train() after",
    ),
    "evaluation-grad": Cause(
        "evaluation with gradients on",
        "no_grad is missing: same numbers, more memory and time",
        "in {who}, evaluate under torch.no_grad() or torch.inference_mode()",
    ),
    "evaluation-weights": Cause(
        "evaluation of other weights",
        "one evaluates its last weights, the other those of a checkpoint or an average of weights",
        "evaluate the same weights on both sides",
    ),
    "evaluation-batch": Cause(
        "evaluation: other data",
        "another split, another order, or other transforms",
        "give both the same evaluation loader",
    ),
    "evaluation-batches": Cause(
        "evaluation: another number of batches",
        "limited, padded to divide among processes, or drop_last",
        "evaluate every sample once: no padding, no drop_last, no limit",
    ),
    "evaluation-autocast": Cause(
        "evaluation in another precision",
        "the evaluation of {who} is not under autocast, or not in the same dtype",
        "evaluate under the same autocast as training",
    ),
    "evaluation-shape": Cause(
        "evaluation: another shape", "the output differs in shape", "compare the last layer"
    ),
    "evaluation-mean": Cause(
        "evaluation: batch means averaged",
        "{who} averages the means of its batches: a smaller last one counts as much as the others",
        "in {who}, weight each batch by its size: sum over samples, divide once",
    ),
    "evaluation-reset": Cause(
        "evaluation: a metric not reset",
        "{who} goes on adding up what earlier evaluations saw",
        "in {who}, reset the metric at the start of each evaluation",
    ),
    "evaluation-argument": Cause(
        "evaluation: a call with other arguments",
        "the two calls get the same tensors and other settings",
        "give this call the same arguments on both sides",
    ),
    "evaluation-shared": Cause(
        "evaluation: one metric for training and validation",
        "{who} counts training and validation in one metric object",
        "in {who}, keep a metric object of its own for each split",
    ),
    "reported": Cause(
        "a reported number",
        "what was evaluated on this process is equal to the bit, the number made of it not: "
        "averaged otherwise, not reset, padded, or from one process only",
        "compute metrics over all samples of all processes at once, and reset them",
    ),
    "reported-average": Cause(
        "a reported number: another kind of average",
        "the mean over classes is not the mean over samples; average=\"macro\", over classes, is "
        "what torchmetrics takes by default",
        "give both the same average; over samples it is average=\"micro\"",
    ),
    "reported-ratio": Cause(
        "a reported number: averaged over batches",
        "a ratio such as F1 is not the mean of its values over batches",
        "count over the whole split and divide once: metric.update per batch, compute at the end",
    ),
    "reported-missing": Cause(
        "a number that is never reported",
        "reported every so many steps, and the run has fewer (Lightning: log_every_n_steps=50)",
        "for {who}, report more often, or once an epoch",
    ),
    "saved-optimizer": Cause(
        "saved without the optimizer's state",
        "a run resumed from it starts its momenta at zero",
        "in {who}, save optimizer.state_dict() beside the weights",
    ),
    "saved-schedule": Cause(
        "saved without the schedule's state",
        "a run resumed from it starts its schedule anew",
        "in {who}, save scheduler.state_dict() beside the weights",
    ),
    "saved-weights": Cause(
        "saved: other weights",
        "saved before the step, from a copy, or only in part",
        "save model.state_dict() after the step",
    ),
    "saved-names": Cause(
        "saved under names with a prefix",
        "a compiled or wrapped model was saved; a plain one cannot load these names as they are",
        "in {who}, save the inner model (model._orig_mod, model.module)",
    ),
    "saved-when": Cause(
        "saved at other times",
        "a checkpoint that follows another one grows stale (Lightning: save_last beside a monitor)",
        "give last and best a callback each",
    ),
}  # fmt: skip


GROWN = Cause(
    "a difference of this size: cause not found",
    "rounding that grows fast, as in training that is not stable; or something that is not on "
    "record",
    "take away what rounds otherwise, and compare again: what then differs has a cause",
)


def cause_of(name: str) -> Cause:
    """The words for a cause; a variant without words of its own has those of its kind."""
    if name.endswith("-grown"):
        return GROWN
    return CAUSES.get(name) or CAUSES[name.split("-")[0]]


def kind_of(name: str) -> str:
    return KINDS[name.split("-")[0]]
