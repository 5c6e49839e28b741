"""Reads one hostile file after the other, each in a process of its own with 1 GB of address space and 5 seconds.

python hostile_runner.py FOLDER: a JSON line for each case, a folder in FOLDER with a file `reader` that names how it is
read. The process of a case ends as the command line does: with the exit code of our error. No reader needs torch to
refuse, so that the limit is an absolute one. An audit hook watches what is opened, and ends the process with code 99
if anything is written, started or connected to.
"""

import json
import os
import resource
import signal
import sys
import time
from pathlib import Path

from nextword.errors import NextwordError
from nextword.interop.gguf import read_gguf
from nextword.interop.gguf.container import read_container
from nextword.interop.llama2c import read_llama2c
from nextword.interop.tensors import read_member, read_safetensors, read_sharded

READERS = {
    "container": lambda folder: read_container(folder / "model.gguf"),
    "gguf": lambda folder: read_gguf(folder / "model.gguf"),
    "llama2c": lambda folder: read_llama2c(folder / "model.bin", folder / "tokenizer.bin"),
    "safetensors": lambda folder: read_safetensors(folder / "model.safetensors"),
    "folder": read_sharded,
    "config": lambda folder: read_member(folder, "config.json"),
}
FORBIDDEN = ("socket.", "subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.fork", "pickle.", "marshal.load")
BUGS = 98, 99  # an exception that is not ours; something forbidden


def read(folder: Path, out: int) -> None:
    opened: list[str] = []

    def watch(event: str, arguments: tuple) -> None:
        if event.startswith(FORBIDDEN) or (event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
            os.write(out, json.dumps([f"forbidden: {event} {arguments}"[:300], opened]).encode())
            os._exit(99)
        if event == "open":
            opened.append(str(arguments[0]))

    reader = READERS[(folder / "reader").read_text()]
    resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
    resource.setrlimit(resource.RLIMIT_CPU, (5, 5))
    sys.addaudithook(watch)
    try:
        reader(folder)
        message, code = "", 0
    except NextwordError as error:
        message, code = str(error), error.exit_code
    except BaseException as error:
        message, code = repr(error), 98
    os.write(out, json.dumps([message[:2000], opened]).encode())
    os._exit(code if "torch" not in sys.modules else 98)


for case in sorted(Path(sys.argv[1]).iterdir()):
    before = sorted(case.rglob("*"))
    source, sink = os.pipe()
    started = time.monotonic()
    if (child := os.fork()) == 0:
        os.close(source)
        signal.alarm(5)
        read(case, sink)
    os.close(sink)
    with os.fdopen(source, "rb") as pipe:
        said = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    message, opened = json.loads(said) if said else ("", [])
    created = [str(path) for path in sorted(case.rglob("*")) if path not in before]
    line = {"case": case.name, "code": status, "message": message, "opened": opened, "created": created}
    print(json.dumps(line | {"seconds": time.monotonic() - started}), flush=True)
