from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Any

import pytest
from semilinear.integrators.common.files import read_json, write_atomically


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "x"
    write_atomically(target, "old")

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(target, "new")
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "file")
    write_atomically(tmp_path / "link", b"bytes")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"bytes"


def test_permissions_are_kept_and_new_files_obey_the_mask(tmp_path: Path) -> None:
    target = tmp_path / "x"
    mask = os.umask(0o027)
    try:
        write_atomically(target, "a")
        assert stat.S_IMODE(target.stat().st_mode) == 0o640
        target.chmod(0o600)
        write_atomically(target, "b")
        assert stat.S_IMODE(target.stat().st_mode) == 0o600
    finally:
        os.umask(mask)


def test_only_files_are_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for target in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(OSError, match="not a regular file"):
            write_atomically(target, "x")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


class Refused(ValueError):
    pass


def positive(data: Any) -> int:
    if not isinstance(data, int) or data <= 0:
        raise Refused(f"must be a positive integer, got {data!r}")
    return data


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "not JSON: Expecting value"),
        (b"{", "not JSON: "),
        (b"[" * 100_000, "not JSON: brackets nested too deeply"),
        (b"1" * 5000, "not JSON: Exceeds the limit"),
        (b"\xff\xfe", "not text in UTF-8: "),
        (b" " * 10_001, "at most 10000 bytes are read"),
        (b"-3", "must be a positive integer, got -3"),
    ],
)
def test_what_is_not_read_is_named_with_the_reason(tmp_path: Path, raw: bytes, message: str) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(raw)
    most = 10_000 if raw[:1] == b" " else None
    with pytest.raises(Refused, match=f"^{re.escape(f'{path}: {message}')}"):
        read_json(path, Refused, positive, most)


def test_a_file_is_read_to_what_is_made_of_it(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(b"\xef\xbb\xbf 12\n")
    assert read_json(path, Refused, positive) == 12
    assert read_json(path, Refused, positive, 7) == 12
    assert read_json(path, Refused, str, parse_int=lambda text: f"<{text}>") == "<12>"
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "y.json", Refused, positive)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Refused, match="pipe: not a regular file"):
        read_json(tmp_path / "pipe", Refused, positive)
