"""Watch the operations of a forward pass, whichever module or function calls them."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch.overrides import TorchFunctionMode


class Watch(TorchFunctionMode):
    """While this is entered, torch's operations go through :meth:`run`.

    Those that :meth:`run` itself calls do not, and neither do those inside an operation.
    """

    def __torch_function__(
        self,
        operation: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # whatever the operation returns
        """Hand the operation over."""
        return self.run(operation, args, kwargs or {})

    @abstractmethod
    def run(
        self, operation: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        """Run one operation and return what it returns.

        Args:
            operation: A function or method of torch.
            args: Its positional arguments.
            kwargs: Its keyword arguments.
        """
