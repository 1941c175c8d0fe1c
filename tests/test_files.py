import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from shiftlab import files
from tests.helpers import SRC, run_python

WRITE = """
import resource, sys
from pathlib import Path
from shiftlab import files
from shiftlab.errors import one_sentence
with one_sentence():
    if limit := int(sys.argv[2]):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    files.write(Path(sys.argv[1]), b"new" * 100_000)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_content_is_written_and_folders_are_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file.txt"
    files.write(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert names(path.parent) == ["file.txt"]


def test_text_is_written_as_utf8_with_its_own_newlines(tmp_path: Path) -> None:
    files.write(tmp_path / "file.txt", "größer\n")
    assert (tmp_path / "file.txt").read_bytes() == b"gr\xc3\xb6\xc3\x9fer\n"


def test_earlier_content_is_replaced_whole(tmp_path: Path) -> None:
    files.write(tmp_path / "file.txt", b"a long first content")
    files.write(tmp_path / "file.txt", b"short")
    assert (tmp_path / "file.txt").read_bytes() == b"short"


def test_other_links_to_the_earlier_content_keep_it(tmp_path: Path) -> None:
    """DVC may link an output to its cache."""
    (tmp_path / "cache").write_bytes(b"old")
    (tmp_path / "output").hardlink_to(tmp_path / "cache")
    files.write(tmp_path / "output", b"new")
    assert (tmp_path / "cache").read_bytes() == b"old"


def test_content_that_cannot_be_encoded_changes_nothing(tmp_path: Path) -> None:
    files.write(tmp_path / "file.txt", b"old")
    with pytest.raises(UnicodeEncodeError):
        files.write(tmp_path / "file.txt", "half a pair: \ud800")
    assert (tmp_path / "file.txt").read_bytes() == b"old"
    assert names(tmp_path) == ["file.txt"]


def test_writing_that_breaks_off_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_bytes(b"old")
    done = run_python("-c", WRITE, path, "1000", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == f"error: {path}: File too large\n"
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file.txt"]


@pytest.fixture
def mounting() -> list[str]:
    """A command that runs its arguments where file systems may be mounted."""
    command = ["unshare", "--user", "--map-root-user", "--mount"]
    if not shutil.which("unshare") or subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip("a full disk needs a file system of its own, and this machine lets no user mount one")
    return command


def test_full_disk_changes_nothing_and_is_one_sentence(tmp_path: Path, mounting: list[str]) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    path = disk / "file.txt"
    script = (
        'mount -t tmpfs -o size=64k tmpfs "$1" && printf old > "$2" && "$3" -c "$4" "$2" 0; '
        'echo "status $?"; cat "$2"; ls "$1"'
    )
    arguments = ["sh", str(disk), str(path), sys.executable, WRITE]
    done = subprocess.run(
        [*mounting, "sh", "-c", script, *arguments], env={"PYTHONPATH": str(SRC)}, capture_output=True, text=True
    )
    hint = "free some space and run the command again"
    assert done.stderr == f"error: {path}: No space left on device: {hint}\n"
    assert done.stdout == "status 1\noldfile.txt\n"


def test_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "reports").touch()
    with pytest.raises(OSError, match="reports") as caught:
        files.write(tmp_path / "reports" / "file.txt", b"")
    assert caught.value.filename is not None


def test_folder_in_place_of_the_file_is_named_and_left(tmp_path: Path) -> None:
    (tmp_path / "file.txt").mkdir()
    with pytest.raises(OSError, match=r"file\.txt") as caught:
        files.write(tmp_path / "file.txt", b"")
    assert caught.value.filename == str(tmp_path / "file.txt")
    assert names(tmp_path) == ["file.txt"]


def test_digest_is_md5(tmp_path: Path) -> None:
    content = b"content" * 100_000
    (tmp_path / "file").write_bytes(content)
    assert files.md5(tmp_path / "file") == hashlib.md5(content).hexdigest()


def test_table_quotes_what_needs_it() -> None:
    assert files.table(["a", "b"], [(1, 0.5), ("x,y", 'say "z"')]) == 'a,b\n1,0.5\n"x,y","say ""z"""\n'
