"""Writes small datasets in the published form of each image layout."""

from __future__ import annotations

import csv
import json
import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def image(path: Path, value: int = 128) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((12, 16, 3), value, np.uint8)
    number = zlib.crc32("/".join(path.parts[-3:]).encode())  # images differ
    pixels[::3] += np.uint8(number % 100)
    pixels[1::3] += np.uint8(number // 100 % 100)
    Image.fromarray(pixels).save(path)


def mask(path: Path, value: int = 255, row: int = 2) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((12, 16), np.uint8)
    pixels[row : row + 3, 4:8] = value
    Image.fromarray(pixels).save(path)


def images(folder: Path, count: int, suffix: str = ".png", first: int = 0, width: int = 3) -> list[Path]:
    paths = [folder / f"{number:0{width}}{suffix}" for number in range(first, first + count)]
    for path in paths:
        image(path)
    return paths


def split_tree(
    root: Path, normal: str, defects: tuple[str, ...], *, suffix: str = ".png", ending: str = "_mask"
) -> None:
    images(root / "train" / normal, 4, suffix)
    images(root / "test" / normal, 2, suffix)
    for defect in defects:
        for path in images(root / "test" / defect, 3, suffix):
            mask(root / "ground_truth" / defect / f"{path.stem}{ending}.png")


def mvtec(root: Path) -> None:
    split_tree(root / "bottle", "good", ("broken_large", "contamination"))


def mvtec_in_capitals(root: Path) -> None:
    images(root / "Train/Good", 4)
    images(root / "Test/Good", 2)
    for path in images(root / "Test/Bad", 3):
        mask(root / "Ground_truth/Bad" / f"{path.stem}_mask.png")


def mvtec_ad_2(root: Path) -> None:
    can = root / "can"
    images(can / "train/good", 4)
    images(can / "validation/good", 3)
    images(can / "test_public/good", 2)
    for path in images(can / "test_public/bad", 3):
        mask(can / "test_public/ground_truth/bad" / f"{path.stem}_mask.png")
    images(can / "test_private", 5)
    images(can / "test_private_mixed", 5)


def mvtec_loco(root: Path) -> None:
    box = root / "breakfast_box"
    images(box / "train/good", 4)
    images(box / "validation/good", 3)
    images(box / "test/good", 2)
    for kind, value in (("logical_anomalies", 254), ("structural_anomalies", 200)):
        for path in images(box / "test" / kind, 3):
            mask(box / "ground_truth" / kind / path.stem / "000.png", value)
            mask(box / "ground_truth" / kind / path.stem / "001.png", 5, row=8)
    (box / "defects_config.json").write_text("[]")


def visa(root: Path, *, split: bool = True) -> None:
    rows = []
    for category in ("candle", "pcb1"):
        data = root / category / "Data"
        for number, path in enumerate(images(data / "Images/Normal", 6, ".JPG", width=4)):
            rows.append((category, "train" if number < 4 else "test", "normal", path, ""))
        for path in images(data / "Images/Anomaly", 3, ".JPG"):
            mask(mask_path := data / "Masks/Anomaly" / f"{path.stem}.png", 1)
            rows.append((category, "test", "anomaly", path, mask_path.relative_to(root).as_posix()))
        (root / category / "image_anno.csv").write_text("image,label,mask\n")
    (root / "LICENSE-DATASET").write_text("CC BY 4.0")
    if split:
        (root / "split_csv").mkdir()
        with (root / "split_csv/1cls.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("object", "split", "label", "image", "mask"))
            writer.writerows((*row[:3], row[3].relative_to(root).as_posix(), row[4]) for row in rows)


def btad(root: Path) -> None:
    split_tree(root / "01", "ok", ("ko",), suffix=".bmp", ending="")
    split_tree(root / "02", "ok", ("ko",), ending="")
    (root / "03").mkdir()
    split_tree(root / "03", "ok", ("ko",), suffix=".bmp", ending="")


def mpdd(root: Path) -> None:
    split_tree(root / "bracket_black", "good", ("hole",))
    split_tree(root / "tubes", "good", ("anomalous",))


def real_iad(root: Path) -> None:
    for category in ("audiojack", "zipper"):
        table = {"meta": {"normal_class": "OK", "prefix": f"{category}/"}, "train": [], "test": []}
        folder = root / "realiad_1024" / category
        for sample in range(6):
            name = f"OK/S{sample:04}/{category}_{sample:04}_OK_C1_20231023.jpg"
            image(folder / name)
            row = {"category": category, "anomaly_class": "OK", "image_path": name, "mask_path": None}
            table["train" if sample < 4 else "test"].append(row)
        for sample, defect in enumerate(("BX", "HS", "BX"), 6):
            name = f"NG/{defect}/S{sample:04}/{category}_{sample:04}_NG_{defect}_C1_20231023"
            image(folder / f"{name}.jpg")
            mask(folder / f"{name}.png")
            row = {
                "category": category,
                "anomaly_class": defect,
                "image_path": f"{name}.jpg",
                "mask_path": f"{name}.png",
            }
            table["test"].append(row)
        for jsons in ("realiad_jsons", "realiad_jsons_sv"):
            (root / jsons).mkdir(exist_ok=True)
            (root / jsons / f"{category}.json").write_text(json.dumps(table))


def kolektor_sdd(root: Path) -> None:
    for number in range(1, 7):
        for part in range(4):
            image(root / f"kos{number:02}/Part{part}.jpg")
            is_marked = part == 2 and number < 4
            mask(root / f"kos{number:02}/Part{part}_label.bmp", 255 if is_marked else 0)


def kolektor_sdd2(root: Path) -> None:
    for folder, first, normal, anomalous in (("train", 10000, 4, 2), ("test", 20000, 2, 3)):
        for number, path in enumerate(images(root / folder, normal + anomalous, first=first)):
            mask(path.with_name(f"{path.stem}_GT.png"), 255 if number >= normal else 0)


def ok_ng(root: Path) -> None:
    images(root / "OK", 4)
    for path in images(root / "NG", 3):
        mask(root / "MASK" / path.name, 1)


def manifest(root: Path) -> None:
    rows = ["address;label;mask;group;split"]
    rows += [f"{path.relative_to(root)};normal;;lot 1;train" for path in images(root / "lots/1", 4)]
    rows += [f"{path.relative_to(root)};good;;lot 2;test" for path in images(root / "lots/2", 2)]
    for path in images(root / "lots/3", 3):
        mask(root / "marks" / path.name)
        rows.append(f"{path.relative_to(root)};1;marks/{path.name};lot 3;test")
    (root / "manifest.csv").write_text("\n".join(rows), encoding="utf-8-sig")


CATEGORIES = {  # layout -> one of the categories that its tree has
    "mvtec": "bottle",
    "mvtec_ad_2": "can",
    "mvtec_loco": "breakfast_box",
    "visa": "candle",
    "btad": "01",
    "mpdd": "tubes",
    "real_iad": "audiojack",
}
COUNTS = {  # writer -> layout, training, calibration, test normal, test anomalous, masks
    mvtec: ("mvtec", 4, 0, 2, 6, 6),
    mvtec_in_capitals: ("mvtec", 4, 0, 2, 3, 3),
    mvtec_ad_2: ("mvtec_ad_2", 4, 3, 2, 3, 3),
    mvtec_loco: ("mvtec_loco", 4, 3, 2, 6, 6),
    visa: ("visa", 4, 0, 2, 3, 3),
    btad: ("btad", 4, 0, 2, 3, 3),
    mpdd: ("mpdd", 4, 0, 2, 3, 3),
    real_iad: ("real_iad", 4, 0, 2, 3, 3),
    kolektor_sdd: ("kolektor_sdd", 14, 0, 7, 3, 3),
    kolektor_sdd2: ("kolektor_sdd2", 4, 0, 2, 3, 3),
    ok_ng: ("ok_ng", 4, 0, 0, 3, 3),
    manifest: ("manifest", 4, 0, 2, 3, 3),
}
