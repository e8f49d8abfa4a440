"""A host that Ansible reaches by SSH: a real server on loopback, with a home and an environment of its own."""

from __future__ import annotations

import asyncio
import os
import random
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncssh

# Below what the kernel gives to outgoing connections.
PORTS = range(20000, 32768)
USER = "operator"


@dataclass(frozen=True)
class SshHost:
    """``home`` is the home directory of who logs in."""

    home: Path
    variables: Mapping[str, Any]


@contextmanager
def ssh_host(folder: Path) -> Iterator[SshHost]:
    """Serve commands and files to the one key that the variables name, until the context ends."""
    home = folder / "home"
    home.mkdir(parents=True)
    host_key, user_key = asyncssh.generate_private_key("ssh-ed25519"), asyncssh.generate_private_key("ssh-ed25519")
    user_key.write_private_key(folder / "key")
    (folder / "key").chmod(0o600)
    user_key.write_public_key(folder / "authorized_keys")
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="ssh host")
    thread.start()
    try:
        server = asyncio.run_coroutine_threadsafe(_listening(host_key, folder, home), loop).result(timeout=10)
        port = server.get_port()
        public = host_key.export_public_key().decode()
        (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {public}")
        # No connection is kept open: it would outlive the server.
        options = f"-F none -o ControlMaster=no -o UserKnownHostsFile={folder}/known_hosts -o IdentitiesOnly=yes"
        yield SshHost(
            home,
            {
                "ansible_connection": "ssh",
                "ansible_host": "127.0.0.1",
                "ansible_port": port,
                "ansible_user": USER,
                "ansible_ssh_private_key_file": str(folder / "key"),
                "ansible_ssh_common_args": "",
                "ansible_ssh_args": options,
                "ansible_remote_tmp": str(home / ".ansible/tmp"),
                "ansible_async_dir": str(home / ".ansible_async"),
            },
        )
        asyncio.run_coroutine_threadsafe(_closed(server), loop).result(timeout=10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _listening(host_key: asyncssh.SSHKey, folder: Path, home: Path) -> asyncssh.SSHAcceptor:
    async def run(process: asyncssh.SSHServerProcess[bytes]) -> None:
        await _run(process, home)

    for port in random.sample(PORTS, 50):
        try:
            return await asyncssh.listen(
                "127.0.0.1",
                port,
                server_host_keys=[host_key],
                authorized_client_keys=str(folder / "authorized_keys"),
                process_factory=run,
                sftp_factory=True,
                encoding=None,
            )
        except OSError:  # somebody listens there
            continue
    raise RuntimeError("none of 50 ports is free")


async def _run(process: asyncssh.SSHServerProcess[bytes], home: Path) -> None:
    """What sshd does with a command: the user's shell runs it, in their home and with little environment."""
    child = await asyncio.create_subprocess_exec(
        "/bin/sh",
        "-c",
        process.command or "",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=home,
        env={"HOME": str(home), "USER": USER, "PATH": os.defpath, "LANG": "C.UTF-8"},
    )
    await process.redirect(stdin=child.stdin, stdout=child.stdout, stderr=child.stderr)
    status = await child.wait()
    # Leaving drops what has not been passed on yet.
    await process.stdout.drain()
    await process.stderr.drain()
    process.exit(status)
    await process.wait_closed()


async def _closed(server: asyncssh.SSHAcceptor) -> None:
    server.close()
    await server.wait_closed()
