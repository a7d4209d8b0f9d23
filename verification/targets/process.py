"""Programs that speak JSON lines on standard input and output: ports in C++, Julia, or anything else.

Every run starts the program anew and sends it one line,

    {"run": {"x": [..], "times": [..], "alpha": [..], "sigma": [..], "rho": [..]}}

x: the initial states, nested lists of shape (batch, ..), x = alpha x_0 + sigma eps; the others n + 1 numbers
each, from the start to the end.  The program asks, one line and one answer at a time,

    {"evaluate": {"x": [..], "t": 0.5}}      ->  {"output": [..]}    the noise prediction; "prediction": "x0",
                                                                     "v", "score" or "flow" asks for another
    {"noise": {"from": 0.5, "to": 0.4}}      ->  {"noise": [..]}     a standard normal of the shape of x: the
                                                                     increment between two times; {} draws
                                                                     one that belongs to none
    {"level": {"t": 0.5}}                    ->  {"alpha": .., "sigma": .., "rho": ..}
    {"time": {"rho": 1.5}}                   ->  {"t": ..}

and ends with {"final": [..]}.  An answer {"error": "why"} comes before the run is given up.
"""

from __future__ import annotations

import contextlib
import json
import math
import shlex
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from semilinear.integrators.common import checks
from semilinear.integrators.common.messages import shown

from .run import Run, Sampler

SECONDS = 60.0
"""How long a program may think."""


class ProcessError(RuntimeError):
    """A program that does not speak the protocol, or no longer speaks at all."""


def sampler(command: str | Sequence[str], *, seconds: float = SECONDS) -> Sampler:
    """A program as a sampler of runs.

    command: its path and arguments, as words or as a shell would split them; no shell runs them.  seconds:
    for every answer.  Raises ValueError for an empty command; runs raise ProcessError, with what the program
    wrote to standard error, for one that cannot be started, dies, thinks too long or says what is no request.
    """
    words = shlex.split(command) if isinstance(command, str) else [str(word) for word in command]
    if not words:
        raise ValueError(f"command must name a program, got {shown(command)}")
    if shutil.which(words[0]) is None:
        raise ValueError(f"command must name a program that can be run, got {shown(words[0])}")
    checks.number("seconds", seconds, above=0)

    def sample(run: Run) -> Any:
        with tempfile.TemporaryFile() as errors:
            try:
                process = subprocess.Popen(
                    words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, bufsize=1
                )
            except OSError as error:
                raise ProcessError(f"{words[0]} cannot be started: {error.strerror}") from error
            try:
                return _Conversation(process, words[0], run, float(seconds)).final()
            except ProcessError as error:
                process.kill()
                process.wait()
                errors.seek(0)
                said = errors.read().decode(errors="replace").strip()[-500:]
                raise ProcessError(f"{error}; on standard error: {said}" if said else str(error)) from None
            finally:
                process.kill()
                for pipe in (process.stdin, process.stdout):
                    with contextlib.suppress(OSError):  # what a dead program did not read
                        pipe.close()  # type: ignore[union-attr]
                process.wait()

    return sample


class _Conversation:
    def __init__(self, process: Any, name: str, run: Run, seconds: float) -> None:
        self.process, self.name, self.run, self.seconds = process, name, run, seconds
        self.answers: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
            "evaluate": self._evaluate,
            "noise": self._noise,
            "level": self._level,
            "time": self._time,
        }

    def final(self) -> Any:
        """The states that the program ends with."""
        times = [float(t) for t in self.run.times]
        levels = [self._level({"t": t}) for t in times]
        numbers = {key: [level[key] for level in levels] for key in ("alpha", "sigma", "rho")}
        self._say({"run": {"x": self.run.x.tolist(), "times": times} | numbers})
        while True:
            line = self._hear()
            try:
                request = json.loads(line)
            except (ValueError, RecursionError):
                raise ProcessError(f"{self.name} must speak JSON, got {shown(line.strip())}") from None
            if not isinstance(request, dict) or len(request) != 1:
                got = f"the keys {', '.join(request)}" if isinstance(request, dict) else shown(request)
                raise ProcessError(f"{self.name} must send an object with one key, got {got}")
            [(kind, content)] = request.items()
            if kind == "final":
                return self._states("final", content)
            if kind not in self.answers or not isinstance(content, dict):
                wanted = ", ".join((*self.answers, "final"))
                raise ProcessError(f"{self.name} must ask one of {wanted}, got {shown(request)}")
            try:
                answer = self.answers[kind](content)
            except (KeyError, TypeError, ValueError) as error:
                why = f"{kind} wants {error}" if isinstance(error, KeyError) else str(error)
                self._say({"error": why})
                raise ProcessError(
                    f"{self.name} asked for what is none: {why}, in {shown(request)}"
                ) from error
            self._say(answer)

    def _say(self, message: Mapping[str, Any]) -> None:
        try:
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()
        except (BrokenPipeError, OSError):
            raise ProcessError(self._died()) from None

    def _hear(self) -> str:
        late = threading.Event()

        def stop() -> None:
            late.set()
            self.process.kill()

        timer = threading.Timer(self.seconds, stop)
        timer.start()
        try:
            line: str = self.process.stdout.readline()
        except UnicodeDecodeError as error:
            raise ProcessError(f"{self.name} must speak JSON, got bytes that are no text: {error}") from None
        finally:
            timer.cancel()
        if late.is_set():
            raise ProcessError(f"{self.name} has said nothing for {self.seconds:g} s")
        if not line:
            raise ProcessError(self._died())
        return line

    def _died(self) -> str:
        code = self.process.wait()
        return f"{self.name} ended before its final states, with exit code {code}"

    def _states(self, what: str, value: Any) -> torch.Tensor:
        try:
            found = torch.tensor(value, dtype=torch.float64)
        except (TypeError, ValueError, RuntimeError):
            found = torch.empty(0)
        if found.shape != self.run.x.shape:
            got = tuple(found.shape) if found.numel() else shown(value)
            raise ProcessError(
                f"{self.name}: {what} must be states of shape {tuple(self.run.x.shape)}, got {got}"
            )
        return found.to(self.run.x)

    def _evaluate(self, content: Mapping[str, Any]) -> dict[str, Any]:
        model = self.run.predict(content.get("prediction", "eps"))
        return {"output": model(self._states("x", content["x"]), float(content["t"])).tolist()}

    def _noise(self, content: Mapping[str, Any]) -> dict[str, Any]:
        if not content:
            return {"noise": torch.randn_like(self.run.x).tolist()}
        span = float(content["from"]), float(content["to"])
        return {"noise": self.run.increment(*span, self.run.x).tolist()}

    def _level(self, content: Mapping[str, Any]) -> dict[str, Any]:
        t, s = float(content["t"]), self.run.schedule
        found = {"alpha": float(s.alpha(t)), "sigma": float(s.sigma(t)), "rho": float(s.rho(t))}
        return {key: value if math.isfinite(value) else None for key, value in found.items()}

    def _time(self, content: Mapping[str, Any]) -> dict[str, Any]:
        return {"t": float(self.run.schedule.t_of_rho(float(content["rho"])))}
