"""What the name of a folder or file says: normal, anomalous, training, test, or masks, in eight languages.

This is the only list of such words. A name is split into words at separators, numbers, and capitals, and compared
without case and accents: `Test_Images 2`, `testImages`, and `TESTSET` are the same name. `not` and the like turn a word
around: `not_good` is anomalous, `no_defect` is normal. The languages are English, German, French, Spanish, Italian,
Japanese, Chinese, and Korean.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
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
        ng nok ko unacceptable fail fails failed failure failures fault faults faulty reject rejects rejected scrap
        broken damage damages damaged flaw flaws flawed error errors outlier outliers scratch scratches scratched crack
        cracks cracked dent dents dented contamination contaminated missing misplaced deformed deformation bent torn
        chipped stain stains stained rust rusty corrosion corroded unsafe violence violent fight fights fighting
        accident accidents crime crimes abuse arson assault burglary explosion robbery shooting shoplifting stealing
        vandalism
        schlecht schlechte schlechtteil schlechtteile fehler fehlerhaft fehlerhafte defekt defekte nio anomalie
        anomalien anormal ausschuss schaden schäden beschädigt beschaedigt kratzer riss risse mangel mängel mangelhaft
        mauvais mauvaise mauvaises défaut défauts défectueux défectueuse défectueuses anormaux anormale anormales
        rebut rebuts rayure rayures fissure fissures
        malo malos mala malas defecto defectos defectuoso defectuosos defectuosa defectuosas anomalía anomalías anómalo
        anómalos anómala anómalas anormales rechazo rechazado rechazados falla fallas fallo fallos rayado rayados
        cattivo cattivi cattiva cattive difetto difetti difettoso difettosi difettosa difettose anomalo anomali anomala
        anomale anormali scarto scarti scartato scartati guasto guasti graffio graffi
        不良 不良品 異常 異常品 欠陥 欠陥品 不合格 不合格品 傷 キズ 异常 异常品 缺陷 缺陷品 次品 瑕疵 坏 坏品 坏件 损坏
        불량 불량품 이상 비정상 결함 결함품 불합격""",
    "test": """
        test tests testing eval evaluation testdaten testbilder testmenge évaluation prueba pruebas evaluación prova
        prove valutazione テスト 評価 試験 测试 測試 评估 評估 테스트 시험 평가""",
    "validation": """
        val valid validation validate validierung validierungsdaten validación validazione 検証 验证 驗證 검증""",
    "train": """
        train training trainingsdaten trainingsbilder trainingsmenge entraînement apprentissage entrenamiento
        aprendizaje addestramento allenamento apprendimento 訓練 学習 トレーニング 训练 학습 훈련 트레이닝""",
    "normal": """
        good goods normal normals ok okay pass passed flawless intact healthy nominal undamaged
        gut gute gutteil gutteile io in+ordnung einwandfrei unbeschädigt normale
        bon bons bonne bonnes normaux normales conforme conformes conforming
        bueno buenos buena buenas correcto correctos correcta correctas
        buono buoni buona buone normali conformi
        良品 良 正常 正常品 合格 合格品 好 好品 정상 정상품 양품 합격 합격품 양호""",
}
_NEUTRAL = """
    image images img imgs photo photos frame frames video videos clip clips data dataset set sets sample samples part
    parts png jpg jpeg bmp tif tiff file files folder folders all visible any logical structural public private mixed
    bild bilder daten teil teile foto fotos donnée données datos dati imagen imágenes immagine immagini
    画像 影像 图像 图片 圖像 圖片 图 写真 照片 データ 数据 數據 セット 集 用 品 이미지 사진 데이터 세트 용"""
_NOT_BEFORE = """
    no not non without zero free+of nicht kein keine keinen ohne sans pas sin senza 不 无 無 非 无明显 没有 未見 무"""
_NOT_AFTER = "free frei freie freies less なし 無し 없음"
_ONLY_ALONE = frozenset(("io", "val", "bon", "bons"))  # also parts of other names: io_board
_OTHER, _NUMBER = "other", "number"
_OPPOSITE = {"normal": "anomalous", "anomalous": "normal"}
_PIECES = 4  # joined to one word at most
_IDEOGRAPHS = "\u3040"  # from here on, words are not separated


def meaning_of(name: str, *, whole: bool = False) -> Meaning | None:
    """Return what the name of a folder says; None if it says nothing.

    whole: no word of the name may say anything else. Otherwise one word is enough, and the first in the order mask,
    anomalous, test, validation, train, normal counts.

    >>> [meaning_of(name) for name in ("TestSet", "0.normal", "NG_front", "n.i.O.", "no_defects", "良品画像", "tester")]
    ['test', 'normal', 'anomalous', 'anomalous', 'normal', 'normal', None]
    >>> meaning_of("NG_front", whole=True)
    """
    return next(iter(meanings_of(name, whole=whole)), None)


def meanings_of(name: str, *, whole: bool = False) -> list[Meaning]:
    """Return everything that the words of a name say, each once, in the order of precedence; see `meaning_of`."""
    says = _says(name)
    if whole and _OTHER in says:
        return []
    return [meaning for meaning in _WORDS if meaning in says]


def split_mask_name(stem: str) -> str | None:
    """Return the name of the image that a file name without suffix is the mask of; None for other names.

    >>> [split_mask_name(stem) for stem in ("10000_GT", "Part0_label", "mask_7", "a-ground-truth", "a", "unmask")]
    ['10000', 'Part0', '7', 'a', None, None]
    """
    for separator in re.finditer(r"[ ._-]+", stem):
        before, after = stem[: separator.start()], stem[separator.end() :]
        if before and after and not after.isdecimal() and meanings_of(after, whole=True) == ["mask"]:
            return before
        if before and after and meanings_of(before, whole=True) == ["mask"]:
            return after
    return None


@lru_cache(maxsize=4096)  # thousands of files are named alike
def _says(name: str) -> list[str]:
    """Return what each word of a name says, after its negations."""
    return _negated(list(_join([word for piece in _pieces(name) for word in (_split(piece) or [piece])])))


def _pieces(name: str) -> list[str]:
    """Split a name at separators, at numbers, and before capitals; each piece plain."""
    spaced = re.sub(r"(?<=[a-zà-ÿ])(?=[A-ZÀ-Þ])|(?<=[A-Z])(?=[A-Z][a-z])", " ", unicodedata.normalize("NFC", name))
    return [piece for piece in re.split(r"[\W_]+|(?<=\D)(?=\d)|(?<=\d)(?=\D)", _plain(spaced)) if piece]


def _plain(text: str) -> str:
    """Return a text without case and accents, in half-width letters."""
    decomposed = unicodedata.normalize("NFKD", text).casefold()
    return unicodedata.normalize("NFC", "".join(char for char in decomposed if not unicodedata.combining(char)))


def _split(piece: str) -> list[str] | None:
    """Split a piece without separators into words, as in `testset`; None if it contains other text.

    Chinese, Japanese, and Korean pieces may contain other text.
    """
    vocabulary = _vocabulary()
    if piece in vocabulary:
        return [piece]
    for end in range(len(piece) - 1, 0, -1):
        is_word = (head := piece[:end]) in vocabulary and (end > 1 or head >= _IDEOGRAPHS)
        if is_word and (tail := _split(piece[end:])) is not None:
            return [head, *tail]
    if max(piece) < _IDEOGRAPHS:
        return None
    longest = (
        (piece[start:end], piece[end:])
        for start in range(len(piece))
        for end in range(len(piece), start + 1, -1)
        if piece[start:end] in vocabulary
    )
    if (match := next(longest, None)) is None:
        return None
    word, rest = match
    return [_OTHER, word, *((_split(rest) or [_OTHER]) if rest else [])]


def _join(words: list[str]) -> Iterator[str]:
    """Yield what each word says: a meaning, a negation, or something else; pieces such as `in ordnung` are one word."""
    vocabulary, start = _vocabulary(), 0
    is_alone = sum(not word.isdecimal() and vocabulary.get(word) != "" for word in words) == 1
    while start < len(words):
        for end in range(min(len(words), start + _PIECES), start, -1):
            word = "".join(words[start:end])
            says = vocabulary.get(word)
            if says is not None and (end - start > 1 or is_alone or word not in _ONLY_ALONE):
                break
        else:
            is_nothing = word.isdecimal() or (len(word) == 1 and word.isascii())  # `NG_2`, `NG_A`
            end, says = start + 1, _NUMBER if is_nothing else _OTHER
        if says:
            yield says
        start = end


def _negated(says: Sequence[str]) -> list[str]:
    """Apply negations to the meanings next to them; before a number, `no` is none: `No1_NG`."""
    meanings: list[str] = []
    for before, word, after in zip(["", *says], says, [*says[1:], ""], strict=False):
        if word == "not_after" and before == "anomalous":
            meanings[-1] = "normal"
        elif word == "not_after" or (word == "not_before" and after not in (*_WORDS, _NUMBER)):
            meanings.append(_OTHER)
        elif word not in ("not_before", _NUMBER):
            meanings.append(_OPPOSITE.get(word, _OTHER) if before == "not_before" else word)
    return meanings


@cache
def _vocabulary() -> dict[str, str]:
    """Return plain word -> its meaning, "not_before", "not_after", or "" if it says nothing."""
    words: dict[str, str] = {}
    for meaning, text in (*_WORDS.items(), ("", _NEUTRAL), ("not_before", _NOT_BEFORE), ("not_after", _NOT_AFTER)):
        for word in text.split():
            words.setdefault(_plain(word.replace("+", "")), meaning)
    return words
