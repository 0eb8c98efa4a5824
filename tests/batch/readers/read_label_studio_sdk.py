"""Checks tasks as Label Studio does when it imports them, accepts their predictions as annotations
and reads what its converter exports: `FORMAT FOLDER OUT.npz`."""

import json
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
from label_studio_sdk.converter import Converter
from label_studio_sdk.label_interface import LabelInterface
from painting import painted, pairs

_, folder, out = sys.argv[1:]
config = Path(folder, "config.xml").read_text(encoding="utf-8")
tasks = json.loads(Path(folder, "tasks.json").read_text(encoding="utf-8"))
interface = LabelInterface(config)
keys = {}
for number, task in enumerate(tasks, start=1):
    for prediction in task["predictions"]:
        problems = interface.validate_prediction(prediction, return_errors=True)
        assert not problems, problems
    keys[number] = parse_qs(urlsplit(task["data"]["image"]).query)["d"][0]
    task |= {"id": number, "annotations": [{"id": number, "result": prediction["result"]}]}
exported = Path(out).parent / "export"
accepted = Path(out).with_suffix(".json")
accepted.write_text(json.dumps(tasks), encoding="utf-8")
converter = Converter(config, project_dir=folder, download_resources=False)
converter.convert_to_coco(str(accepted), str(exported), is_dir=False)
coco = json.loads((exported / "result.json").read_text(encoding="utf-8"))
classes = {one["id"]: one["name"] for one in coco["categories"]}
names = interface.get_control("label").labels
masks = {}
for image in coco["images"]:
    polygons = [
        (names.index(classes[one["category_id"]]), pairs(one["segmentation"][0]))
        for one in coco["annotations"]
        if one["image_id"] == image["id"]
    ]
    key = keys[image["id"] + 1].removeprefix("images/")
    masks[str(Path(key).with_suffix(""))] = painted(polygons, (image["height"], image["width"]))
np.savez(out, classes=names, **masks)
