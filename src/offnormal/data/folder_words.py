"""What the name of a folder or file says: normal, anomalous, training, test, or masks, in eight languages.

This is the only list of such words. A name is compared without case, accents, numbers, and separators, and without
words such as `images`: `Test_Images 2`, `testImages`, and `TEST` are the same name. English, German, French, Spanish,
Italian, Japanese, Chinese, and Korean.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import Literal

Meaning = Literal["mask", "anomalous", "test", "validation", "train", "normal"]

_WORDS: dict[Meaning, str] = {  # spaces separate words, + joins the pieces of one; in the order of precedence
    "mask": """
        mask masks gt gts ground+truth ground+truths truth label labels annotation annotations seg segs segmentation
        segmentations maske masken annotationen beschriftung beschriftungen grundwahrheit
        masque masques vérité+terrain étiquette étiquettes
        máscara máscaras etiqueta etiquetas anotación anotaciones
        maschera maschere etichetta etichette annotazione annotazioni
        マスク ラベル 正解 真値 アノテーション 掩码 掩膜 掩模 遮罩 蒙版 标签 標籤 标注 標註
        真值 마스크 라벨 레이블 정답 주석 어노테이션""",
    "anomalous": """
        bad anomaly anomalies anomalous abnormal abnormals abnormality abnormalities defect defects defective defected
        ng nok ko not+ok not+good no+good not+normal non+normal non+conforming fail failed failure failures fault faults
        faulty reject rejects rejected scrap broken damage damages damaged flaw flaws flawed error errors outlier
        outliers logical+anomalies structural+anomalies scratch scratches scratched crack cracks cracked dent dents
        dented contamination violence violent fight fights fighting accident accidents crime crimes abuse arson assault
        burglary explosion robbery shooting shoplifting stealing vandalism
        schlecht schlechte schlechtteil schlechtteile fehler fehlerhaft fehlerhafte defekt defekte nio n+i+o
        nicht+in+ordnung anomalie anomalien anormal ausschuss schaden schäden beschädigt beschaedigt kratzer riss risse
        mangel mängel mangelhaft
        mauvais mauvaise mauvaises défaut défauts défectueux défectueuse défectueuses anormaux anormale anormales
        non+conforme non+conformes rebut rebuts rayure rayures fissure fissures
        malo malos mala malas defecto defectos defectuoso defectuosos defectuosa defectuosas anomalía anomalías anómalo
        anómalos anómala anómalas anormales no+conforme no+conformes rechazo rechazado rechazados falla fallas fallo
        fallos rayado rayados
        cattivo cattivi cattiva cattive difetto difetti difettoso difettosi difettosa difettose anomalo anomali anomala
        anomale anormali non+conformi scarto scarti scartato scartati guasto guasti graffio graffi
        不良 不良品 異常 異常品 欠陥 欠陥品 不合格 不合格品 傷 キズ 异常 异常品 缺陷 缺陷品 次品 瑕疵 坏 坏品 坏件 损坏
        불량 불량품 이상 비정상 결함 결함품 불합격""",
    "test": """
        test tests testing test+public test+private test+private+mixed eval evaluation
        testdaten testbilder testmenge évaluation prueba pruebas evaluación prova prove valutazione
        テスト 評価 試験 测试 測試 评估 評估 테스트 시험 평가""",
    "validation": """
        val valid validation validate validierung validierungsdaten validación validazione 検証 验证 驗證 검증""",
    "train": """
        train training trainset trainingset trainingsdaten trainingsbilder trainingsmenge entraînement apprentissage
        entrenamiento aprendizaje addestramento allenamento apprendimento
        訓練 学習 トレーニング 训练 학습 훈련 트레이닝""",
    "normal": """
        good goods normal normals ok okay pass passed defect+free no+defect no+defects non+defective anomaly+free
        flawless intact healthy nominal undamaged non+violence no+fight
        gut gute gutteil gutteile io i+o in+ordnung fehlerfrei fehlerfreie einwandfrei unbeschädigt normale
        bon bons bonne bonnes normaux normales conforme conformes sans+défaut sans+défauts
        bueno buenos buena buenas correcto correctos correcta correctas sin+defecto sin+defectos
        buono buoni buona buone normali conformi senza+difetti
        良品 良 正常 正常品 合格 合格品 好 好品 无缺陷 無缺陷 无异常 無異常 정상 정상품 양품 합격 합격품 양호""",
}
_NEUTRAL = """
    image images img imgs photo photos frame frames video videos clip clips data dataset set sets sample samples part
    parts png jpg jpeg bmp tif tiff file files folder bild bilder daten teil teile foto fotos donnée données datos dati
    imagen imágenes immagine immagini"""
_NEUTRAL_ENDINGS = (
    "画像 影像 图像 图片 圖像 圖片 图 写真 照片 データ 数据 數據 セット 集 用 品 이미지 사진 데이터 세트 용"
)


def meaning_of(name: str) -> Meaning | None:
    """Return what the whole name of a folder says; None if it says nothing.

    >>> [meaning_of(name) for name in ("Test_Images", "0.normal", "GroundTruth", "n.i.O.", "良品画像", "testimony")]
    ['test', 'normal', 'mask', 'anomalous', 'normal', None]
    """
    pieces = [piece for piece in _pieces(name) if piece not in _plain_neutral() and not piece.isdecimal()]
    meanings = _meanings()
    whole = "".join(pieces)
    while whole:
        if (meaning := meanings.get(whole)) is not None:
            return meaning
        ending = next((ending for ending in map(_plain, _NEUTRAL_ENDINGS.split()) if whole.endswith(ending)), None)
        if ending is None:
            break
        whole = whole.removesuffix(ending)
    each = {meanings.get(piece) for piece in pieces if len(piece) > 1 or not piece.isascii()}  # `NG_A` is `NG`
    return None if None in each else next((meaning for meaning in _WORDS if meaning in each), None)


def split_mask_name(stem: str) -> str | None:
    """Return the name of the image that a file name without suffix is the mask of; None for other names.

    >>> [split_mask_name(stem) for stem in ("10000_GT", "Part0_label", "mask_7", "a-ground-truth", "a", "unmask")]
    ['10000', 'Part0', '7', 'a', None, None]
    """
    for separator in re.finditer(r"[ ._-]+", stem):
        before, after = stem[: separator.start()], stem[separator.end() :]
        if before and after and not after.isdecimal() and meaning_of(after) == "mask":
            return before
        if before and after and meaning_of(before) == "mask":
            return after
    return None


def _pieces(name: str) -> list[str]:
    """Split a name at separators, at numbers, and before capitals; each piece plain."""
    spaced = re.sub(r"(?<=[a-zà-ÿ])(?=[A-ZÀ-Þ])", " ", unicodedata.normalize("NFC", name))
    return [piece for piece in re.split(r"[\W_]+|(?<=\D)(?=\d)|(?<=\d)(?=\D)", _plain(spaced)) if piece]


def _plain(text: str) -> str:
    """Return a text without case and accents, in half-width letters."""
    decomposed = unicodedata.normalize("NFKD", text).casefold()
    return "".join(char for char in decomposed if not unicodedata.combining(char))


@cache
def _meanings() -> dict[str, Meaning]:
    words: dict[str, Meaning] = {}
    for meaning, text in _WORDS.items():
        for word in text.split():
            words.setdefault(_plain(word.replace("+", "")), meaning)
    return words


@cache
def _plain_neutral() -> frozenset[str]:
    return frozenset(map(_plain, _NEUTRAL.split()))
