"""Makes the pyramids of this folder from our own procedural slides: `python sample_data/make_samples.py`.

Each is a tiled, JPEG-compressed TIFF with half-size SubIFD levels and its pixel size, as slide
scanners write them, so that every reader test and demo has a real file to open without a download.
"""

import io
from pathlib import Path

import numpy as np
import tifffile

from hrviz.geometry import Box
from hrviz.image import open_image
from hrviz.image.resample import halve
from hrviz.results import write_whole

HERE = Path(__file__).parent
SLIDE = "scene:tissue?size=40000x40000&seed=11&tumour=0.02"
QUALITY = 80


def write_pyramid(pixels: np.ndarray, pixel_size: float, path: Path) -> None:
    """Write uint8 RGB `(h, w, 3)` as a pyramid; `pixel_size` in micrometres."""
    levels = [pixels]
    while max(levels[-1].shape[:2]) > 512:
        levels.append(halve(levels[-1]))

    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as tiff:
        for number, level in enumerate(levels):
            size = pixel_size * 2**number
            tiff.write(
                level, subifds=len(levels) - 1 if number == 0 else None,
                subfiletype=int(number > 0), resolution=(1e4 / size, 1e4 / size),
                resolutionunit="CENTIMETER", software="hrviz", tile=(256, 256), photometric="rgb",
                compression="jpeg", compressionargs={"level": QUALITY},
            )  # fmt: skip
    write_whole(path, lambda file: file.write(buffer.getvalue()))


def main() -> None:
    slide = open_image(SLIDE)
    boxes, areas = slide.truth.lesions()
    lesion = boxes[np.argsort(areas)[len(areas) * 9 // 10]]
    centre = (lesion[:2] + lesion[2:]) / 2
    corner = np.clip(centre - 2048, 0, 40000 - 4096).round()
    near = slide.rgb(Box(*corner, *(corner + 4096)), (2048, 2048))
    write_pyramid(near, 0.5, HERE / "tissue_tumour_0.5um.tif")
    write_pyramid(
        slide.rgb(slide.box, (2048, 2048)), 40000 * 0.25 / 2048, HERE / "tissue_overview.tif"
    )


if __name__ == "__main__":
    main()
