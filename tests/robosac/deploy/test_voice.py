"""What is said reaches people when they listen, and holds up nobody when they do not."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

from robosac.deploy.voice import Voice


def test_lines_come_in_their_order() -> None:
    """All of what was said before the end."""
    heard: list[str] = []
    with Voice(heard.append) as voice:
        for number in range(100):
            voice.say(str(number))
    assert heard == [str(number) for number in range(100)]


def test_a_terminal_that_is_stopped_keeps_nobody_waiting() -> None:
    """What finds no room is dropped, and closing ends all the same."""
    stopped, heard = threading.Event(), []

    def write(text: str) -> None:
        stopped.wait()
        heard.append(text)

    voice = Voice(write)
    for number in range(5000):
        voice.say(str(number))
    voice.close()
    assert not heard
    stopped.set()
    voice.close()
    assert len(heard) <= 1001


def test_a_reader_that_has_gone_changes_nothing() -> None:
    """As behind `| head`: the program goes on to its end, and ends well."""
    code = (
        "import time\n"
        "from robosac.deploy.voice import Voice\n"
        "with Voice() as voice:\n"
        "    voice.say('first')\n"
        "    input()\n"
        "    for number in range(2000):\n"
        "        voice.say(str(number))\n"
        "        time.sleep(0.0001)\n"
        "print('to nobody')\n"
    )
    reading, writing = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        os.close(writing)
        assert os.read(reading, 1) == b"f"
        os.close(reading)
        _, error = process.communicate("\n")
    assert process.returncode == 0
    assert error == "output: nobody reads it any more (Broken pipe)\n"
