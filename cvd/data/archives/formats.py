"""What kind of image a file is by its first bytes, whether it can be read, and why not."""

from cvd.runtime.errors import disarm_cell, show_text

_READ = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"II+\x00\x08\x00\x00\x00": "TIFF",  # BigTIFF
    b"MM\x00+\x00\x08\x00\x00": "TIFF",
}
_NOT_READ = {
    b"8BPS": "Photoshop",
    b"\x00\x00\x01\x00": "icon",
    b"\x00\x00\x00\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\xff\x0a": "JPEG XL",
    b"\x00\x00\x00\x0cJXL ": "JPEG XL",
    b"<svg": "SVG",
    b"qoif": "QOI",
    b"P4\n": "PNM",
    b"P5\n": "PNM",
    b"P6\n": "PNM",
}
_NOT_READ_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"hevc", b"mif1", b"msf1")
_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)


class RefusedError(Exception):
    """Why an image is not used: a reason of cvd.data.images.manifest.REASONS, and a detail."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = disarm_cell(show_text(detail))


def find_format(data: bytes) -> str:
    """Find the image format, by Pillow's name, that the first 64 bytes show.

    Raises:
        RefusedError: `empty`, `unsupported` (a kind of image that is not read) or `not_an_image`.
    """
    if not data:
        raise RefusedError("empty", "no bytes")
    for magic, name in _READ.items():
        if data.startswith(magic):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[:2] == b"BM" and int.from_bytes(data[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    if data[4:8] == b"ftyp" and data[8:12] in _NOT_READ_BRANDS:
        raise RefusedError("unsupported", f"an image of kind {data[8:12].decode()}: convert it to JPEG or PNG")
    for magic, name in _NOT_READ.items():
        if data.startswith(magic):
            raise RefusedError("unsupported", f"an image of kind {name}: convert it to JPEG or PNG")
    if data.startswith(b"PK\x03\x04"):
        raise RefusedError("not_an_image", "a zip that is damaged, too dense for photos, or in a zip inside the source")
    raise RefusedError("not_an_image", f"begins with {data[:16]!r}")
