"""Labels one frame with a file of `rgbx export`, by numpy, onnxruntime and OpenCV: neither torch nor rgbx is needed.

python predict_onnx.py exported/rgb+depth.onnx rgb=photo.png depth=depth.png --out overlay.png [--ids ids.png]
"""

import argparse
import json

import cv2
import numpy as np
import onnxruntime


def read_map(file, about):
    """A map [1, C, H, W] in the type and unit of the model's input; `about` says how training's files held it."""
    image = cv2.imread(file, cv2.IMREAD_COLOR_RGB if about["dtype"] == "uint8" else cv2.IMREAD_UNCHANGED)
    if image is None:
        raise SystemExit(f"{file} cannot be read")
    if about["dtype"] == "uint8":
        return np.ascontiguousarray(image.transpose(2, 0, 1)[None])
    stored = about["stored"] or {"scale": 1000.0 if about["unit"] == "metre" else 1.0}
    if image.ndim != 2 or stored.get("log") or (image.dtype.kind == "f" and stored["scale"] != 1):
        raise SystemExit(f"{file} holds {image.dtype} {image.shape}; this example reads one channel of whole numbers")
    if about["unit"] == "metre" and (image.dtype == np.uint8) != (stored.get("bits") == 8):
        raise SystemExit(f"{file} holds {image.dtype}; depth files of the training had {stored.get('bits', 16)} bits")
    values = (image.astype(np.float32) + stored.get("half_step", 0)) / stored["scale"] + (stored.get("add") or 0)
    lacking = np.isin(image, stored.get("missing", [])) | ((image == 0) & (about["unit"] == "metre"))
    return np.where(lacking, np.nan, values).astype(np.float32)[None, None]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("maps", nargs="+", metavar="NAME=FILE")
    parser.add_argument("--out", default="overlay.png", help="the classes over the image")
    parser.add_argument("--ids", help="also the class ids as they are, for programs")
    arguments = parser.parse_args()
    session = onnxruntime.InferenceSession(arguments.model, providers=["CPUExecutionProvider"])
    about = json.loads(session.get_modelmeta().custom_metadata_map["rgbx"])
    files = dict(word.partition("=")[::2] for word in arguments.maps)
    if set(files) != set(about["modalities"]):
        raise SystemExit(f"{arguments.model} takes {', '.join(about['modalities'])}; found {', '.join(files)}")
    maps = {name: read_map(file, about["inputs"][name]) for name, file in files.items()}
    if len(sizes := {each.shape[2:] for each in maps.values()}) > 1:
        raise SystemExit(f"the maps of a frame have one size; found {sizes}")
    head, labels = next((name, each) for name, each in about["outputs"].items() if each.get("task") == "classes")
    (ids,) = session.run([head], maps)

    for index, share in enumerate(np.bincount(ids[0].ravel(), minlength=len(labels["classes"])) / ids[0].size):
        print(f"{labels['classes'][index]:20} {share:6.1%}")
    colours = np.array(labels["palette"], np.uint8)[ids[0]]
    shown = maps["rgb"][0].transpose(1, 2, 0) if "rgb" in maps else colours
    cv2.imwrite(arguments.out, cv2.cvtColor((0.5 * shown + 0.5 * colours).astype(np.uint8), cv2.COLOR_RGB2BGR))
    if arguments.ids:
        cv2.imwrite(arguments.ids, ids[0])


if __name__ == "__main__":
    main()
