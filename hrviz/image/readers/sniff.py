"""What a path is, told from its first bytes; and one sentence for everything that is no image."""

from __future__ import annotations

import difflib
import re
import stat
from pathlib import Path

from hrviz.errors import HrvizError

#: Content that readers here open. GIF gives its first frame.
RASTER_KINDS = ("png", "jpeg", "bmp", "webp", "gif")

#: Slide formats whose content is not a TIFF, or is told from a TIFF or JPEG by OpenSlide only.
SLIDE_SUFFIXES = (
    ".mrxs",
    ".vms",
    ".vmu",
    ".czi",
    ".svslide",
    ".dcm",
    ".ndpi",
    ".bif",
    ".scn",
    ".svs",
)

IMAGE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".btf"),
    *SLIDE_SUFFIXES,
)

SUPPORTED = (
    "hrviz opens whole slides (SVS, NDPI, MRXS, DICOM, ...), TIFF (OME, GeoTIFF, BigTIFF), OME-Zarr, "
    "PNG, JPEG, JPEG 2000, WebP, BMP, GIF, NumPy .npy, video and scene:... addresses"
)

_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"II*\0", "tiff"),
    (0, b"MM\0*", "tiff"),
    (0, b"II+\0", "tiff"),
    (0, b"MM\0+", "tiff"),
    (0, b"\x89PNG\r\n\x1a\n", "png"),
    (0, b"\xff\xd8\xff", "jpeg"),
    (0, b"GIF8", "gif"),
    (8, b"WEBP", "webp"),
    (0, b"\x93NUMPY", "npy"),
    (128, b"DICM", "dicom"),
    (0, b"\0\0\0\x0cjP  ", "jpeg2000"),
    (0, b"\xff\x4f\xff\x51", "jpeg2000"),
    (0, b"\xff\x0a", "jpegxl"),
    (0, b"\0\0\0\x0cJXL ", "jpegxl"),
    (4, b"ftypavif", "heif"),
    (4, b"ftyphei", "heif"),
    (4, b"ftypmif1", "heif"),
    (4, b"ftyp", "video"),
    (0, b"\x1a\x45\xdf\xa3", "video"),
    (8, b"AVI ", "video"),
    (0, b"\x89HDF\r\n\x1a\n", "hdf5"),
    (0, b"%PDF", "pdf"),
    (0, b"8BPS", "psd"),
    (0, b"PK\x03\x04", "zip"),
    (0, b"\x1f\x8b", "gzip"),
    (0, b"BM", "bmp"),
)

_SUFFIX = {
    **dict.fromkeys((".pkl", ".pickle", ".joblib"), "pickle"),
    **dict.fromkeys((".mp4", ".mov", ".avi", ".mkv", ".webm"), "video"),
    **dict.fromkeys((".jp2", ".j2k"), "jpeg2000"),
    ".dcm": "dicom",
    ".npy": "npy",
    ".jxl": "jpegxl",
}

# What it is, and what to do instead.
_LATER = {
    "pickle": (
        "a Python pickle, which hrviz never loads because loading one runs its code",
        "save the pixels as PNG or TIFF, e.g. tifffile.imwrite('image.tif', array)",
    ),
    "jpegxl": ("JPEG XL, not supported yet", "convert it: djxl FILE image.png"),
    "heif": ("HEIF or AVIF, not supported yet", "convert it: vips copy FILE image.png"),
    "hdf5": ("an HDF5 file, not supported", "write its image as a TIFF with tifffile.imwrite"),
    "pdf": ("a PDF, not an image", "export the page: pdftoppm -png -r 300 FILE page"),
    "psd": ("a Photoshop document, not supported", "export it as TIFF or PNG"),
    "zip": ("a zip archive, not an image", "unpack it and open the image inside"),
    "gzip": ("gzip-compressed, not an image", "unpack it with gunzip and open the result"),
    "text": ("text, not an image, whatever its name says", f"choose an image file: {SUPPORTED}"),
}


def short(path: Path) -> str:
    """File name with its folder: enough to find it, short enough for one line."""
    return f"{path.parent.name}/{path.name}" if path.parent.name else path.name


def later(kind: str, path: Path) -> HrvizError:
    """The sentence for content known but not opened."""
    what, instead = _LATER[kind]
    return HrvizError(f"{short(path)} is {what}; {instead}")


def refuse_shrunk(path: Path, file: tuple[int, int], end: int) -> None:
    """Raise where a memory-mapped file has shrunk: reading what is gone would end the process.

    Parameters
    ----------
    path : Path
    file : (int, int)
        Device and inode when it was mapped; what was deleted or replaced since is still mapped.
    end : int
        Where its pixels end.
    """
    try:
        status = path.stat()
    except OSError:
        return
    if (status.st_dev, status.st_ino) == file and status.st_size < end:
        raise HrvizError(
            f"{short(path)} has shrunk to {status.st_size:,} bytes since it was opened and needs "
            f"{end:,}; copy or download it again, and open it again"
        )


def is_address(text: str) -> bool:
    """Whether `text` is an address with a protocol (http://, s3://, memory://), not a path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", text) is not None


def local_path(text: str) -> Path:
    """The regular, readable, non-empty file that `text` names, or the folder of a Zarr or DICOM slide.

    Raises
    ------
    HrvizError
        For an address, a missing file, a directory, an empty or unreadable file.
    """
    if not text.strip() or "\0" in text:
        raise HrvizError(f"{text!r} is not a file name; give the path of an image or scene:...")
    path = Path(text)
    try:
        path = path.expanduser()
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise _missing(path) from None
    except PermissionError:
        raise _unreadable(path) from None
    except (OSError, RuntimeError) as error:
        raise HrvizError(
            f"{path.name[:60]} cannot be opened ({_reason(error)}); check the path"
        ) from None
    path = path.resolve()
    if stat.S_ISDIR(status.st_mode):
        if folder_kind(path):
            return path
        raise _directory(path)
    if not stat.S_ISREG(status.st_mode):
        raise HrvizError(f"{short(path)} is not a regular file; give the path of an image file")
    if status.st_size == 0:
        raise HrvizError(f"{short(path)} is empty (0 bytes); copy or download it again")
    return path


def content(path: Path) -> str:
    """Kind of the content: a reader's kind, a known other kind, `text` or `unknown`."""
    if path.is_dir():
        return folder_kind(path) or "unknown"
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except PermissionError:
        raise _unreadable(path) from None
    except OSError as error:
        raise HrvizError(
            f"{short(path)} cannot be read ({_reason(error)}); check the disk or copy it again"
        ) from None
    for offset, magic, kind in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return kind
    if head[0] == 0x80 and head[1:2] in (b"\2", b"\3", b"\4", b"\5"):
        return "pickle"
    if path.suffix.lower() in _SUFFIX:
        return _SUFFIX[path.suffix.lower()]
    try:
        text = head.decode() if len(head) < 512 else head[:-4].decode(errors="ignore")
        binary = sum(ord(c) < 32 and c not in "\t\r\n\f" for c in text)
    except UnicodeDecodeError:
        return "unknown"
    return "text" if not binary and len(text) > 0.9 * len(head) - 4 else "unknown"


def refuse(path: Path, kind: str) -> HrvizError:
    """The sentence for a file that no reader opens."""
    if kind in _LATER:
        return later(kind, path)
    return HrvizError(f"{short(path)} is in no format hrviz knows; {SUPPORTED}; convert it to TIFF")


def first_line(error: BaseException) -> str:
    """A library's reason, cut to something that fits in a sentence."""
    lines = str(error).strip().splitlines()
    text = re.sub(r"^<tifffile[^>]*>\s*", "", lines[0]) if lines else type(error).__name__
    text = re.sub(r"<([\w.]+)[^<>]* at 0x[0-9a-f]+>", r"\1", text)  # an object is no reason
    return text[:120].rstrip(" .:")


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or first_line(error)


def _unreadable(path: Path) -> HrvizError:
    return HrvizError(
        f"{short(path)} may not be read by this user; allow it: chmod u+r {path.name}"
    )


def _images_in(folder: Path) -> list[str]:
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError:
        return []
    return [n for n in names if n.lower().endswith(IMAGE_SUFFIXES)]


def _missing(path: Path) -> HrvizError:
    folder = path.parent
    if not folder.is_dir():
        return HrvizError(f"{short(path)} does not exist, nor does its folder; check the path")
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError:
        names = []
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.5)
    step = f"did you mean {near[0]}?" if near else "check the path"
    return HrvizError(f"{short(path)} does not exist; {step}")


def folder_kind(path: Path) -> str | None:
    """'zarr' or 'dicom' for a folder that is one image, else None."""
    if path.suffix == ".zarr" or any(
        (path / name).exists() for name in ("zarr.json", ".zgroup", ".zattrs", ".zarray")
    ):
        return "zarr"
    try:
        first = next((p for p in sorted(path.iterdir()) if p.is_file()), None)
        if first is None:
            return None
        with first.open("rb") as file:
            return "dicom" if file.read(132)[128:] == b"DICM" else None
    except OSError:
        return None


def _directory(path: Path) -> HrvizError:
    images = _images_in(path)
    if not images:
        return HrvizError(
            f"{short(path)} is a folder without images; give the path of an image file"
        )
    more = f" and {len(images) - 3} more" if len(images) > 3 else ""
    return HrvizError(
        f"{short(path)} is a folder; open one of its images: {', '.join(images[:3])}{more}"
    )
