"""A film of a pocket desktop, made by ffmpeg inside."""

from __future__ import annotations

import time
from asyncio import sleep

from stepladder.envs.osworld.lacking import Lacks
from stepladder.envs.osworld.pocket import PocketMachine
from stepladder.interfaces import EnvironmentFailure

_FILE = "/tmp/recording.mp4"
_PID = "/tmp/recording.pid"
#: Pictures a second; seconds after which ffmpeg that cannot begin has ended, and within which it ends what it writes.
_RATE = 30
_START_SECONDS = 0.5
END_SECONDS = 30.0


class Recording:
    """A film that is being made; one at a time on a machine."""

    def __init__(self, machine: PocketMachine) -> None:
        self._machine = machine

    @classmethod
    async def start(cls, machine: PocketMachine) -> Recording:
        """Raises Lacks without ffmpeg, EnvironmentFailure when it does not start."""
        if (await machine.execute("command -v ffmpeg", True)).returncode != 0:
            raise Lacks("program ffmpeg", "apt-get install ffmpeg")
        width, height = machine.size
        film = (
            f"ffmpeg -nostdin -y -f x11grab -draw_mouse 1 -s {width}x{height} -framerate {_RATE} -i $DISPLAY "
            f"-c:v libx264 -preset ultrafast -pix_fmt yuv420p {_FILE}"
        )
        await machine.execute(["rm", "-f", _FILE, _PID], False)
        await machine.launch(f"echo $$ > {_PID}; exec {film}", True)
        await sleep(_START_SECONDS)
        if not await cls._until(machine, f"kill -0 $(cat {_PID})", 2.0):
            raise EnvironmentFailure(f"ffmpeg has ended: {(await machine.desktop.guest.log('applications'))[-500:]}")
        return cls(machine)

    async def end(self) -> bytes:
        """End the film; its content, an MP4 file. Raises EnvironmentFailure when there is none."""
        await self._machine.execute(f"kill -INT $(cat {_PID})", True)
        if not await self._until(self._machine, f"! kill -0 $(cat {_PID}) 2>/dev/null", END_SECONDS):
            raise EnvironmentFailure(f"ffmpeg did not end the film within {END_SECONDS:g} s")
        content = await self._machine.read(_FILE)
        if not content:
            raise EnvironmentFailure("ffmpeg has written no film")
        return content

    @staticmethod
    async def _until(machine: PocketMachine, condition: str, seconds: float) -> bool:
        """Wait until a condition of the shell holds; whether it came to hold."""
        until = time.monotonic() + seconds
        while (await machine.execute(condition, True)).returncode != 0:
            if time.monotonic() > until:
                return False
            await sleep(0.1)
        return True
