"""Master weights: float32 copies of 2-byte parameters, which the optimizer works on.

An update is often smaller than half the distance from a float16 weight to its neighbour: added in
float16, it is rounded away, however often it comes. Added to a float32 master it counts, and moves
the float16 weight once enough have come together. Source: Micikevicius et al., Mixed Precision
Training (ICLR 2018), section 3.1.

    masters = MasterWeights(model.parameters())
    optimizer = SGD(masters.parameters(), lr=0.1)

    optimizer.zero_grad()
    loss.backward()                  gradients of the model, in its dtype
    masters.copy_gradients()         model → masters, exactly, in float32
    optimizer.step()                 on the masters, with float32 state
    masters.copy_weights()           masters → model, rounded once
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tinymp.autograd import Tensor
from tinymp.autograd.modes import not_for_capture
from tinymp.formats import active_rounding, float32, rounded, unpack


class MasterWeights:
    """A float32 master for each parameter that is narrower than float32.

    Every other parameter is its own master, and with `enabled=False` all are: one training loop
    serves with and without masters.

    Raises:
        TypeError: a parameter that is not a floating-point tensor.
        ValueError: no parameters.
    """

    def __init__(self, parameters: Iterable[Tensor], enabled: bool = True) -> None:
        self._model = list(dict.fromkeys(parameters))  # tied ones once
        if not self._model:
            raise ValueError(
                "MasterWeights was given no parameters; pass model.parameters() (an iterator that "
                "was walked once before is empty)"
            )
        for p in self._model:
            if not isinstance(p, Tensor) or p.dtype.kind != "float":
                given = p.dtype.name if isinstance(p, Tensor) else type(p).__name__
                raise TypeError(
                    f"MasterWeights was given a parameter of {given}; it takes float tensors"
                )
        self._masters = [
            p.detach().to(float32).requires_grad_(p.requires_grad)
            if enabled and p.dtype.itemsize < float32.itemsize
            else p
            for p in self._model
        ]
        # Parameters with a master of their own, and what they were when it was made.
        self._own = [
            (p, master, p.dtype)
            for p, master in zip(self._model, self._masters, strict=True)
            if p is not master
        ]

    def parameters(self) -> list[Tensor]:
        """The masters, in the order of the model's parameters: what the optimizer is built on."""
        return list(self._masters)

    def pairs(self) -> list[tuple[Tensor, Tensor]]:
        """Every parameter of the model with its master, which may be the parameter itself."""
        return list(zip(self._model, self._masters, strict=True))

    def own_pairs(self, call: str = "own_pairs") -> list[tuple[Tensor, Tensor]]:
        """Parameters with a master of their own, and that; `call`: who asks.

        Raises:
            RuntimeError: one is not what it was when its master was made.
        """
        not_for_capture("copied master weights")
        for p, master, dtype in self._own:
            if p.dtype is not dtype or p._device is not master._device:
                raise RuntimeError(
                    f"{call} found a parameter of shape {p.shape} that was {dtype.name} on "
                    f"{master.device} when its master was made, and is {p.dtype.name} on "
                    f"{p.device} now; convert and move the model first, then make MasterWeights"
                )
        return [(p, master) for p, master, _ in self._own]

    def copy_gradients(self, accumulate: bool = False) -> None:
        """Hand the model's gradients to the masters, in float32, and drop the model's.

        With `accumulate` they are added to what the masters have, so that the gradients of
        microbatches are summed in float32. The model's are dropped because the next backward would
        add to them, in 2 bytes. Gradients of parameters that are their own masters stay where they
        are; backward adds to them in float32 until `optimizer.zero_grad()`.

        Raises:
            RuntimeError: none of the parameters has a gradient, or the model was converted since.
        """
        if all(p.grad is None for p in self._model):
            raise RuntimeError(
                f"copy_gradients found no gradient in any of the {len(self._model)} parameters; "
                "call backward first, on a loss of the model that these masters were made of"
            )
        for parameter, master in self.own_pairs("copy_gradients"):
            gradient = None if parameter.grad is None else _in_float32(parameter.grad)
            parameter.grad = None
            if not accumulate or master.grad is None:
                master.grad = gradient
            elif gradient is not None:
                master.grad.add_(gradient)

    def copy_weights(self, mode: str | None = None) -> None:
        """Write the masters into the model, each value rounded once, by `mode` or the active mode.

        Raises:
            RuntimeError: the model was converted or moved since the masters were made.
        """
        state = active_rounding().choosing(mode, None) if mode else active_rounding()
        for parameter, master in self.own_pairs("copy_weights"):
            parameter._array[...] = rounded(master._array, parameter.dtype, state)
            parameter.version.count += 1

    def state_dict(self) -> dict[str, Tensor]:
        """The masters by position, without those that are parameters of the model themselves.

        A run that is resumed without them starts from rounded weights. They share storage with the
        masters: training on changes them.
        """
        pairs = enumerate(self.pairs())
        return {str(i): master.data for i, (p, master) in pairs if p is not master}

    def load_state_dict(self, state_dict: Mapping[str, Tensor]) -> None:
        """Copy saved masters into these.

        Raises:
            RuntimeError: other positions or shapes than the masters have; nothing is changed then.
        """
        own = self.state_dict()
        given = {name: master.shape for name, master in state_dict.items()}
        expected = {name: master.shape for name, master in own.items()}
        if given != expected:
            raise RuntimeError(
                f"load_state_dict was given masters {given}, but this model's are {expected}; load "
                "the state that was saved with this model"
            )
        for name, master in own.items():
            master.copy_(state_dict[name])


def _in_float32(tensor: Tensor) -> Tensor:
    return Tensor(unpack(tensor._array, tensor.dtype), float32, tensor._device)
